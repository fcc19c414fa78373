"""The page of one person: what is known and where it comes from, what happened, and what may be done."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import msgspec
from msgspec import Struct
from starlette.responses import Response

from api.call import call_of
from api.console import html, words
from api.console.asking import ask, names
from api.console.visit import Visit, done, for_role
from api.event_questions import STORY
from engine import patch
from engine.catalog import users_of
from engine.refusals import BadRequest, InvalidValue, NotFound, Refusal
from engine.schema import ENTERPRISE, Leaf
from engine.user import PatchUser, Terms, User
from engine.values import Quirks
from projections.background.history import name_of as called
from projections.certificate import Basis
from projections.question import AsOf, settle, wait_for

DONE = {
    "edited": "Saved. The directory overwrites it when it next sends another value.",
    "unchanged": "Nothing was changed, for nothing was different.",
    "deactivated": "Deactivated. The seat is free.",
    "reactivated": "Active again, on a seat.",
}
ARTICLE_17 = {
    "a": "no longer necessary",
    "b": "consent withdrawn",
    "c": "objection",
    "d": "unlawful processing",
    "e": "legal obligation",
    "f": "collected from a child",
}
# What the form offers beside everything that the person has.
_USUAL = (
    "displayName",
    "name.givenName",
    "name.familyName",
    "title",
    f"{ENTERPRISE}:department",
)
_FIELD = "value:"  # ahead of an attribute's name, in the form


class Shown(Struct, frozen=True):
    """An attribute's value, who set it, and the event that did."""

    name: str
    value: Any
    source: str
    seq: int | None
    at: datetime | None


@for_role("auditor")
async def show(visit: Visit) -> Response:
    user_id = _id(visit)
    wrong, seq = "", None
    try:
        seq = await _seq_asked_for(visit)
    except BadRequest as refusal:
        wrong = refusal.detail
    user = await _person(visit, user_id, seq)
    story = await ask(visit, STORY, {"id": str(user_id), **_only(visit, "after")})
    visit.note("console:person", 1, {"id": str(user_id), **_only(visit, "as_of")}, seq)
    return visit.page(
        "person.html",
        400 if wrong else 200,
        user=user,
        name=name_of(user),
        then=seq is not None,
        wrong=wrong,
        shown=await _shown(visit, user),
        story=story,
        names=await names(visit, story.rows),
        words=words,
        done_words=DONE,
        groups=await _groups(visit, user) if seq is None else [],
    )


@for_role("admin")
async def show_form(visit: Visit) -> Response:
    return await _form(visit, await _person(visit, _id(visit)))


@for_role("admin")
async def edit(visit: Visit) -> Response:
    """A local edit of what is different in the form."""
    form = await visit.form()
    user = await _person(visit, _id(visit))
    try:
        quirks: Quirks = []
        operations = patch.read({"Operations": list(_operations(form, user))}, users_of(visit.session.settings), quirks)
        if unknown := [quirk for quirk in quirks if "unknown" in quirk]:
            raise InvalidValue(f"Nothing was edited. {unknown[0]}.")
        changed = await _carry_out(visit, user.id, operations, form.get("version", ""))
    except Refusal as refusal:
        if refusal.status not in {400, 403, 409, 412}:
            raise
        return await _form(visit, user, form, refusal)
    return done(f"/console/people/{user.id}", "edited" if changed.version > user.version else "unchanged")


@for_role("admin")
async def ask_whether_active(visit: Visit) -> Response:
    """What will happen, before it does."""
    user = await _person(visit, _id(visit))
    return visit.page("person-active.html", user=user, name=name_of(user))


@for_role("admin")
async def set_active(visit: Visit) -> Response:
    form = await visit.form()
    user = await _person(visit, _id(visit))
    active = form.get("active") == "true"
    body = {"Operations": [{"op": "replace", "path": "active", "value": active}]}
    operations = patch.read(body, users_of(visit.session.settings), [])
    await _carry_out(visit, user.id, operations)
    return done(f"/console/people/{user.id}", "reactivated" if active else "deactivated")


@for_role("admin")
async def ask_whether_to_erase(visit: Visit) -> Response:
    user = await _person(visit, _id(visit))
    return visit.page("person-erase.html", user=user, name=name_of(user), bases=ARTICLE_17, wrong="")


@for_role("admin")
async def erase(visit: Visit) -> Response:
    """Erase the person for good, if the one who asks has written who is meant."""
    form = await visit.form()
    user = await _person(visit, _id(visit))
    wanted = user.attributes.get("userName", "")
    if form.get("confirmation", "").strip().lower() != wanted.lower():
        return visit.page(
            "person-erase.html",
            400,
            user=user,
            name=name_of(user),
            bases=ARTICLE_17,
            wrong="Nothing was erased: write the userName exactly as it stands above.",
        )
    basis = form.get("basis") or None
    if basis is not None and basis not in get_args(Basis):
        raise BadRequest("basis takes a letter of article 17(1) GDPR, a to f.")
    await visit.services.accesses.drain()  # looks that named the person, and are not noted yet
    certificate = await visit.services.erasures.erase(user.id, visit.cause, msgspec.convert(basis, Basis | None))
    return visit.page("person-erased.html", certificate=certificate)


def name_of(user: User) -> str:
    """What a person is called on a page."""
    return called(user.attributes) or "Somebody whose data were erased"


def _id(visit: Visit) -> UUID:
    try:
        return UUID(visit.request.path_params["id"])
    except ValueError:
        raise NotFound("There is no such person; ids are UUIDs. The list of people leads to everybody.") from None


async def _person(visit: Visit, user_id: UUID, seq: int | None = None) -> User:
    """Now, or after an event. Raises NotFound."""
    if seq is None:
        user = await visit.services.users.get(visit.tenant_id, user_id)
    else:
        await wait_for(visit.services.pool, visit.tenant_id, ["history"], seq)
        user = await visit.services.histories.state_at_seq(visit.tenant_id, user_id, seq)
    if user is None:
        when = " at that time" if seq is not None else ""
        raise NotFound(f"There is no person with the id {user_id}{when}. The list of people leads to everybody.")
    call_of(visit.request).user_id = user_id
    return user


async def _seq_asked_for(visit: Visit) -> int | None:
    text = visit.query.get("as_of")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest("as_of takes a date, or a date and a time, such as 2026-11-23T09:00.") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (await settle(visit.services.pool, visit.tenant_id, AsOf(as_of=moment))).to_seq


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


async def _carry_out(visit: Visit, user_id: UUID, operations: tuple[patch.Operation, ...], version: str = "") -> User:
    """A local edit, of the version that was seen if that is known. Raises PreconditionFailed if it is another now."""
    versions = frozenset({int(version[:9])}) if version.isascii() and version.isdecimal() else None
    terms = Terms(visit.session.settings, "local", versions)
    return await visit.services.engine.carry_out(PatchUser(operations), user_id, visit.cause, terms)


class Field(Struct, frozen=True):
    """A field of the form: an attribute, what it holds as text, and whether that is JSON."""

    name: str
    text: str
    is_json: bool
    description: str


async def _form(
    visit: Visit, user: User, form: dict[str, str] | None = None, refusal: Refusal | None = None
) -> Response:
    given = form or {}
    fields = [
        msgspec.structs.replace(each, text=given.get(_FIELD + each.name, each.text)) for each in _fields(visit, user)
    ]
    visit.note("console:person", 1, {"id": str(user.id)})
    return visit.page(
        "person-edit.html",
        refusal.status if refusal else 200,
        user=user,
        name=name_of(user),
        fields=fields,
        roles=visit.session.settings.roles,
        role=given.get(_FIELD + "role", user.role),
        version=user.version,
        wrong=refusal.detail if refusal else "",
    )


def _fields(visit: Visit, user: User) -> Iterator[Field]:
    """Everything that may be edited and either is usual or has a value."""
    catalog = users_of(visit.session.settings)
    for name in dict.fromkeys((*_USUAL, *sorted(catalog.shown(user.attributes)))):
        leaf = catalog.leaves.get(name)
        if leaf is None or leaf.attribute.mutability != "readWrite" or name in {"role", "active"}:
            continue
        value = user.attributes.get(name)
        yield Field(name, html.plain(value), _is_json(leaf), leaf.attribute.description)


def _is_json(leaf: Leaf) -> bool:
    return leaf.attribute.multi_valued or leaf.attribute.type not in {"string", "reference", "dateTime", "binary"}


def _operations(form: dict[str, str], user: User) -> Iterator[dict[str, Any]]:
    """What is different in the form, as SCIM says it. Raises BadRequest for what is no JSON where it has to be."""
    for field, text in form.items():
        name = field.removeprefix(_FIELD)
        if name == field:
            continue
        before = user.role if name == "role" else html.plain(user.attributes.get(name))
        if text.strip().replace("\r\n", "\n") == before:
            continue
        yield (
            {"op": "replace", "path": name, "value": _value(name, text, user)}
            if text.strip()
            else {
                "op": "remove",
                "path": name,
            }
        )


def _value(name: str, text: str, user: User) -> Any:
    if isinstance(user.attributes.get(name, ""), str):
        return text.strip()
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(f"{name} is written as JSON, as it stood there before; this is not JSON.") from None
