"""What an operator is told of one tenant: followers, what is parked, the store, and what checks found."""

from typing import Any

import asyncpg
import pytest

from ops.database import Database
from projections.follower import FOLLOWERS
from projections.operations import Checkpointed, Delivery, RebuildState, operations_of
from tests.conftest import Directory, register
from tests.replays import claimed, differences, fill, follow
from tests.test_plans import Explainer
from tests.visitors import visitor

NAMES = [each.name for each in FOLLOWERS]


async def other_than(directory: Directory) -> Any:
    return await directory.services.pool.fetchval(
        "SELECT tenant_id FROM rollbook.heads WHERE tenant_id <> $1", directory.tenant_id
    )


async def test_a_tenant_that_is_up_to_date_is_told_with_its_own_counts(
    company: Directory, owner: asyncpg.Connection
) -> None:
    await follow(company.services)
    other = await other_than(company)

    found = await operations_of(company.services.pool, company.tenant_id)

    assert (found.is_ready, found.store_version, found.program) == (True, 3, "0.1.0")
    assert found.postgres.startswith(await owner.fetchval("SHOW server_version"))
    assert found.database_bytes >= await owner.fetchval("SELECT pg_total_relation_size('rollbook.events')")
    head = await owner.fetchrow("SELECT * FROM rollbook.heads WHERE tenant_id = $1", company.tenant_id)
    assert (found.events, found.last_event_at) == (head["seq"], head["recorded_at"])
    people = "SELECT count(*), count(deleted_at) FROM rollbook.users WHERE tenant_id = $1"
    assert (found.people, found.deleted) == tuple(await owner.fetchrow(people, company.tenant_id)) == (4, 1)
    assert [each.name for each in found.followers] == NAMES
    for each in found.followers:
        assert (each.seq, each.events_behind, each.seconds_behind) == (head["seq"], 0, 0)
        assert (each.is_current, each.parked) == (True, None)
    assert (found.rebuilds, found.checkpoint, found.deliveries, found.checks) == ([], None, [], [])
    assert (await operations_of(company.services.pool, other)).people == 1


async def test_how_far_a_follower_is_behind_is_told_in_events_and_seconds_and_only_to_whom_it_concerns(
    company: Directory, owner: asyncpg.Connection
) -> None:
    await follow(company.services)
    await company.create("carl")
    await company.create("dora")
    await owner.execute("UPDATE rollbook.projections SET version = version + 1 WHERE name = 'history'")
    waiting = "SELECT extract(epoch FROM clock_timestamp() - min(recorded_at)) FROM rollbook.events WHERE seq > $1"

    found = await operations_of(company.services.pool, company.tenant_id)

    for each in found.followers:
        assert (each.seq, each.events_behind) == (found.events - 2, 2)
        assert 0 < each.seconds_behind < await owner.fetchval(waiting, each.seq)
        assert each.is_current == (each.name != "history")
    theirs = await operations_of(company.services.pool, await other_than(company))
    assert {(each.events_behind, each.seconds_behind) for each in theirs.followers} == {(0, 0)}


async def test_a_parked_event_is_told_with_its_place_and_type_and_what_is_wrong(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    await directory.create("ann", title="Secret")
    await directory.create("bob")
    await owner.execute("UPDATE rollbook.events SET data = '{}', digest = sha256(salt || '{}'::bytea) WHERE seq = 3")
    await follow(directory.services)

    found = await operations_of(directory.services.pool, directory.tenant_id)

    [history] = [each for each in found.followers if each.name == "history"]
    assert history.parked is not None
    assert (history.seq, history.parked.seq, history.parked.type) == (2, 3, "UserProvisioned")
    assert history.parked.attempts >= 1
    assert history.parked.since <= await owner.fetchval("SELECT clock_timestamp()")
    assert "Error" in history.parked.error
    assert [each.name for each in found.followers if each.parked is None] == ["ledger"]  # which decodes nothing
    page = (await (await visitor(directory, "admin")).get("/console/operations")).text
    assert "history is parked" in page
    assert "rollbook replay history --tenant NAME" in page


async def test_checks_rebuilds_and_checkpoints_are_told(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    await differences(database)
    for size in (5, 12):
        await owner.execute(
            "INSERT INTO rollbook.checkpoints VALUES ($1, $2, 1, '', now(), 'note', true)", company.tenant_id, size
        )
    await owner.execute("INSERT INTO rollbook.checkpoint_deliveries VALUES ($1, 'ab', 5, now())", company.tenant_id)

    async with claimed(owner, "users", seconds=60):
        found = await operations_of(company.services.pool, company.tenant_id)

    assert found.rebuilds == [RebuildState("users", 0, 0)]
    assert found.checkpoint == Checkpointed(12, await owner.fetchval("SELECT max(made_at) FROM rollbook.checkpoints"))
    assert found.deliveries == [Delivery("ab", 5)]
    assert len(found.checks) == 12
    theirs = await operations_of(company.services.pool, await other_than(company))
    assert (theirs.checkpoint, theirs.deliveries, len(theirs.checks)) == (None, [], 12)


async def test_a_store_of_another_version_is_not_ready(directory: Directory, owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE rollbook.store SET version = 4")

    found = await operations_of(directory.services.pool, directory.tenant_id)

    assert (found.is_ready, found.store_version) == (False, 4)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_the_cost_does_not_grow_with_the_log(directory: Directory, owner: asyncpg.Connection, mode: str) -> None:
    tenant_id = await fill(owner, 50_000, 20_000)
    await register(directory.services, "fabrikam")
    await owner.execute("ANALYZE rollbook.events, rollbook.heads")
    explainer: Any = Explainer(owner)
    pages: list[int] = []

    class Looking:
        """Explains each statement as it is asked for."""

        async def fetch(self, query: str, *values: object) -> Any:
            rows = await explainer.fetch(query, *values)
            pages.append((await explainer.plan(mode)).pages if values else 0)  # rebuilds, of which there are none
            return rows

        async def fetchrow(self, query: str, *values: object) -> Any:
            row = await explainer.fetchrow(query, *values)
            pages.append((await explainer.plan(mode)).pages)
            return row

    pool: Any = Looking()
    found = await operations_of(pool, tenant_id)

    assert (found.events, {each.events_behind for each in found.followers}) == (50_000, {50_000})
    assert len(pages) == 5
    assert max(pages) < 60
