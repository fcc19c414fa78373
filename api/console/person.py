"""The page of one person: what is known and where it comes from, and what happened."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from starlette.responses import Response

from api.console import words
from api.console.asking import ask, names
from api.console.somebody import id_of, name_of, person_of
from api.console.visit import Visit, for_role
from api.event_questions import STORY
from engine.catalog import users_of
from engine.refusals import BadRequest, NotFound
from engine.user import User
from projections.question import AsOf, settle

DONE = {
    "edited": "Saved. The directory overwrites it when it next sends another value.",
    "unchanged": "Nothing was changed, for nothing was different.",
    "deactivated": "Deactivated. The seat is free.",
    "reactivated": "Active again, on a seat.",
}


class Shown(Struct, frozen=True):
    """An attribute's value, who set it, and the event that did."""

    name: str
    value: Any
    source: str
    seq: int | None
    at: datetime | None


@for_role("auditor")
async def show(visit: Visit) -> Response:
    user_id = id_of(visit)
    wrong, status, seq, moment, user = "", 200, None, None, None
    try:
        if moment := _moment_asked_for(visit):
            seq = (await settle(visit.services.pool, visit.tenant_id, AsOf(as_of=moment))).to_seq
            user = await person_of(visit, user_id, seq)
    except (BadRequest, NotFound) as refusal:
        wrong, status, seq, moment = refusal.detail, refusal.status, None, None
    user = user or await person_of(visit, user_id)
    story = await ask(visit, STORY, {"id": str(user_id), **_only(visit, "after")})
    visit.note("console:person", 1, {"id": str(user_id), **_only(visit, "as_of")}, seq)
    return visit.page(
        "person.html",
        status,
        user=user,
        name=name_of(user),
        then=moment,
        then_text=moment.replace(tzinfo=None).isoformat(timespec="seconds") if moment else "",
        wrong=wrong,
        shown=await _shown(visit, user),
        story=story,
        names=await names(visit, story.rows),
        words=words,
        done_words=DONE,
        groups=await _groups(visit, user) if seq is None else [],
    )


def _moment_asked_for(visit: Visit) -> datetime | None:
    """In UTC, also where nothing is said of the zone."""
    text = visit.query.get("as_of")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest("as_of takes a date, or a date and a time, such as 2026-11-23T09:00.") from None


async def _groups(visit: Visit, user: User) -> list[tuple[UUID, str, bool]]:
    """The groups that the person is in now, where groups are on: id, name, and whether directly."""
    if visit.session.settings.groups == "off":
        return []
    return (await visit.services.groups.of_people(visit.tenant_id, [user.id]))[user.id]


def _only(visit: Visit, name: str) -> dict[str, str]:
    return {name: visit.query[name]} if name in visit.query else {}


async def _shown(visit: Visit, user: User) -> list[Shown]:
    """Every value with its origin, those of the product first. One statement."""
    values = {"active": user.active, "role": user.role}
    values |= {
        name: value
        for name, value in sorted(users_of(visit.session.settings).shown(user.attributes).items())
        if name != "role"
    }
    versions = sorted({origin.version for origin in user.origins.values()})
    places = await visit.services.log.places(visit.tenant_id, user.id, versions)
    found = []
    for name, value in values.items():
        origin = user.origins.get(name)
        seq, at = places.get(origin.version, (None, None)) if origin else (None, None)
        found.append(Shown(name, value, origin.source if origin else "", seq, at))
    return found
