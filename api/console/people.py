"""The list of people."""

from typing import Literal
from uuid import UUID

from msgspec import Struct
from starlette.responses import Response

from api import parameters
from api.console.visit import Visit, for_role
from engine.refusals import BadRequest
from projections.people import PeopleAsked, PeoplePage

Status = Literal["present", "active", "inactive", "deleted", "all"]

# What each status means: active or not, deleted by the directory or not.
_STATUS: dict[Status, tuple[bool | None, bool | None]] = {
    "present": (None, False),
    "active": (True, False),
    "inactive": (False, False),
    "deleted": (None, True),
    "all": (None, None),
}


class Filters(Struct, frozen=True, kw_only=True):
    """What the address of the page takes."""

    q: str = ""
    status: Status = "present"
    role: str = ""
    edited: bool | None = None
    refused: bool | None = None
    sort: Literal["name", "created", "changed"] = "name"
    order: Literal["asc", "desc"] = "asc"
    after: UUID | None = None
    before: UUID | None = None


NOBODY = PeoplePage(people=[], next=None, previous=None, total=0, is_more=False)


@for_role("auditor")
async def show(visit: Visit) -> Response:
    given = {name: text for name, text in visit.query.items() if name != "done"}
    filters, found, wrong = Filters(), NOBODY, ""
    try:
        filters = parameters.read(Filters, given)
        found = await visit.services.people.page(visit.tenant_id, _asked(filters))
    except BadRequest as refusal:
        wrong = refusal.detail
    else:
        visit.note("console:people", len(found.people), given)
    return visit.page(
        "people.html",
        400 if wrong else 200,
        filters=filters,
        found=found,
        wrong=wrong,
        roles=visit.session.settings.roles,
        counts=await visit.services.seats.counts(visit.tenant_id),
    )


def _asked(filters: Filters) -> PeopleAsked:
    active, deleted = _STATUS[filters.status]
    return PeopleAsked(
        q=filters.q,
        active=active,
        deleted=deleted,
        role=(filters.role,) if filters.role else (),
        edited=filters.edited,
        refused=filters.refused,
        sort=filters.sort,
        order=filters.order,
        after=filters.after,
        before=filters.before,
    )
