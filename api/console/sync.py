"""The page of the sync: when the directory last called, what came of each cycle, and what was refused."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct
from starlette.responses import Response

from api import parameters
from api.console import advice
from api.console.visit import Visit, for_role
from engine.events import RequestRefused, decode
from engine.log import Selection
from engine.refusals import BadRequest
from projections.sync_health import Cycle, SyncHealth

CYCLES = 12  # that are shown
MOST_REFUSED = 500  # writes in which newcomers are looked for, the latest
MOST = 20_000  # requests that are counted: a first cycle of a large company has a million


class Filters(Struct, frozen=True, kw_only=True):
    """What the address of the page takes."""

    days: Literal["1", "7", "30"] = "7"


@for_role("auditor")
async def show(visit: Visit) -> Response:
    filters, wrong = Filters(), ""
    try:
        filters = parameters.read(Filters, {name: text for name, text in visit.query.items() if name != "done"})
    except BadRequest as refusal:
        wrong = refusal.detail
    health, now = SyncHealth(visit.services.pool), datetime.now(UTC)
    asked_since = now - timedelta(days=int(filters.days))
    since = await health.start_of_latest(visit.tenant_id, asked_since, MOST)
    refusals = await health.refusals(visit.tenant_id, since, now)
    cycles = await health.cycles(visit.tenant_id, since, now, CYCLES)
    concerned = {user_id for each in refusals for user_id in each.people_ids}
    visit.note("console:sync", len(refusals), {"days": filters.days})
    return visit.page(
        "sync.html",
        400 if wrong else 200,
        wrong=wrong,
        filters=filters,
        state=await health.state(visit.tenant_id, now),
        cycles=cycles,
        quirks=_quirks(cycles),
        refusals=refusals,
        newcomers=await _newcomers(visit, since),
        tokens=await health.tokens(visit.tenant_id, since, now, now),
        people=await visit.services.users.names(visit.tenant_id, list(concerned)),
        advice=advice,
        at=now,
        counted_since=since if since > asked_since else None,
    )


async def _newcomers(visit: Visit, since: datetime) -> dict[tuple[str, int], dict[str, int]]:
    """Who could not be created, by the reason and the status: their userName, and the refusal. Of the latest ones."""
    selection = Selection(types=("RequestRefused",), since=since, order="desc")
    found: dict[tuple[str, int], dict[str, int]] = {}
    for logged in await visit.services.log.read(visit.tenant_id, selection, MOST_REFUSED):
        refused = decode(logged.data) if logged.data else None
        if isinstance(refused, RequestRefused) and refused.scim_type and (name := refused.subject.get("userName")):
            found.setdefault((refused.scim_type, refused.status), {}).setdefault(name, logged.seq)
    return found


def _quirks(cycles: Sequence[Cycle]) -> list[tuple[str, int]]:
    """How often the directory needed each tolerance, in the cycles that are shown."""
    counted: dict[str, int] = {}
    for cycle in cycles:
        for each in cycle.quirks:
            counted[each.quirk] = counted.get(each.quirk, 0) + each.requests
    return sorted(counted.items(), key=lambda each: -each[1])
