"""A company in which everything has happened that the console has something to show of."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx

from engine.tenant import ChangeSettings
from ops import administration
from ops.database import Database
from ops.directory import MEMBER, Directory, SecurityGroup
from ops.entra import EntraJob
from ops.entra_contoso import contoso
from ops.entra_mapping import Options
from projections.connections import connected
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.rebuild import rebuild
from projections.target import inline_target
from tests.browsers import Served
from tests.conftest import issue, register

WEEKS = 10  # over which the events are spread

# What the pages of the console are called, and where they are.
PAGES = {
    "setup": "setup",
    "people": "people",
    "people-nobody": "people?q=nobody",
    "person": "people/{person}",
    "person-before": "people/{person}?as_of={week_ago}",
    "person-edit": "people/{person}/edit",
    "person-active": "people/{person}/active",
    "person-erase": "people/{person}/erase",
    "seats": "seats?days=90",
    "audit": "audit",
    "audit-event": "audit/events/{edit}",
    "audit-local-edits": "audit/local-edits",
    "audit-changes": "audit/changes?from={week_ago}",
    "audit-questions": "audit/questions",
    "audit-question": "audit/questions/roster",
    "audit-evidence": "audit/evidence",
    "sync": "sync",
    "tokens": "tokens",
    "token-rotate": "tokens/{token}/rotate",
    "token-revoke": "tokens/{token}/revoke",
    "operations": "operations",
    "nothing": "nowhere",
    "wrong": "people?status=nonsense",
}

# Later events later, and most of them at the beginning, as a company arrives.
_SPREAD = """
    UPDATE rollbook.events
    SET recorded_at = now() - make_interval(secs => $1 * (1 - sqrt((seq - 1)::float8 / $2)))
    WHERE stream_id <> tenant_id
"""


@dataclass
class Showcase:
    """A token of its admin, and what to put into the addresses of `PAGES`."""

    token: str
    places: dict[str, str]

    def address(self, page: str) -> str:
        return f"/console/{PAGES[page].format(**self.places)}"


async def fill(database: Database, served: Served, people: int) -> Showcase:
    """A company that arrived over some weeks, with groups, local edits, refused writes and people who left."""
    services, chance = served.services, random.Random(7)
    tenant_id = await register(services, "Contoso")
    limit = people + people // 10
    settings = ChangeSettings({"seat_limit": limit, "groups": "on"})
    await services.engine.administer(settings, administration.cause(tenant_id))
    directory = contoso(people, chance)
    leads = frozenset(each.object_id for each in directory.people[:5])
    directory.add_group(SecurityGroup("g-1", "Leads of all departments", leads))
    scim, token = await issue(services, tenant_id, "scim"), await issue(services, tenant_id, "admin")
    async with (
        EntraJob(f"{served.url}/scim/v2", scim, directory, Options(groups=True), chance) as job,
        httpx.AsyncClient(base_url=f"{served.url}/v1/users", headers={"Authorization": f"Bearer {token}"}) as app,
    ):
        await job.test_connection()
        await job.initial_cycle()
        person = next(each for each in directory.people if each.job_title)
        person_id = str(job.target_id(person))
        await app.patch(f"/{person_id}", json={"title": "Chief Improviser"})
        for other in directory.people[5:11]:
            await app.patch(f"/{job.target_id(other)}", json={"title": "Edited here"})
        directory.change(person.object_id, job_title="Principal Engineer")
        directory.change(directory.people[3].object_id, display_name="Zoë ☂ Umbrella")
        _some_leave(directory, people // 6)
        await job.incremental_cycle()
    await _spread(database, served)
    edit = await services.pool.fetchval("SELECT min(seq) FROM rollbook.events WHERE source = 'local'")
    week_ago = datetime.now(UTC) - timedelta(days=7)
    token_id = (await services.tenants.tokens(tenant_id))[0].id
    places = {"person": person_id, "edit": str(edit), "week_ago": f"{week_ago:%Y-%m-%d}", "token": str(token_id)}
    return Showcase(token, places)


def _some_leave(directory: Directory, count: int) -> None:
    members = [each for each in directory.people if directory.role_of(each.object_id) == MEMBER]
    for leaver in members[-count:]:
        directory.unassign(leaver.object_id)


async def _spread(database: Database, served: Served) -> None:
    async with connected(database.owner_url) as owner:
        last = await owner.fetchval("SELECT max(seq) FROM rollbook.events")
        await owner.execute(_SPREAD, WEEKS * 7 * 86_400.0, float(last))
    await rebuild(database.owner_url, inline_target())
    await Following(served.services.pool, FOLLOWERS).catch_up()
    await served.services.request_writer.flush()
