"""Newer programs on older stores: the old version serves until the new one is ready."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest

from ops.database import Database, prepare
from ops.trouble import Trouble
from projections.background.history import FOLLOWER as HISTORY
from projections.batch import Batch
from projections.follower import Follower
from projections.following import Following
from projections.rebuild import OtherVersionError
from projections.table import Table
from projections.target import Target, follower_target, inline_target
from projections.users import UsersProjection
from tests.conftest import Directory
from tests.replays import SHADOWS, differences, fill, follow, live, replay, write_until

# As version 1 left it, before there were followers.
VERSION_1 = """
    DROP SCHEMA audit CASCADE;
    DROP POLICY service_reads_all ON rollbook.events;
    DROP POLICY service_reads_all ON rollbook.heads;
    DROP POLICY auditors_read_their_tenants ON rollbook.events;
    DROP POLICY auditors_read_their_tenants ON rollbook.heads;
    ALTER TABLE rollbook.events DISABLE ROW LEVEL SECURITY;
    ALTER TABLE rollbook.heads DISABLE ROW LEVEL SECURITY;
    DROP FUNCTION rollbook.audited_tenants;
    DROP TABLE rollbook.auditors;
    REVOKE ALL ON rollbook.events, rollbook.heads FROM rollbook_auditor;
    DROP TABLE rollbook.projections, rollbook.places, rollbook.replays;
    DROP TABLE rollbook.history, rollbook.people, rollbook.seat_changes, rollbook.seat_days;
    DROP TABLE rollbook.checks;
    DROP TABLE rollbook.local_edits, rollbook.attribute_changes, rollbook.identities;
    DROP TABLE rollbook.member_history, rollbook.group_names;
    DROP TABLE rollbook.request_log, rollbook.prunes, rollbook.console_sessions;
    DROP TABLE rollbook.ledger_tiles, rollbook.checkpoints, rollbook.ledger_keys, rollbook.checkpoint_deliveries;
    DROP FUNCTION rollbook.prepare_request_log;
    DROP INDEX rollbook.events_by_actor, rollbook.events_by_token,
        rollbook.events_refused_for_user, rollbook.events_refused_for_name;
    DROP FUNCTION rollbook.erase, rollbook.names_of, rollbook.mentions, rollbook.notes_about, rollbook.seats_moved,
        rollbook.places_of_people, rollbook.forget, rollbook.rows_about, rollbook.awaited_as, rollbook.leave_groups;
    DROP TABLE rollbook.groups, rollbook.members;
    ALTER TABLE rollbook.store DROP COLUMN cursor_key;
    DROP FUNCTION rollbook.put_groups, rollbook.put_members, rollbook.keep_members, rollbook.keep_ties,
        rollbook.named_by, rollbook.as_uuid, rollbook.awaiting,
        rollbook.people_among, rollbook.groups_after, rollbook.keep_roles;
    UPDATE rollbook.store SET version = 1
"""

APPEND = "SELECT pg_get_functiondef('rollbook.append'::regproc)"


async def test_a_store_of_version_1_with_people_in_it_gets_its_followers_while_its_service_goes_on(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    append = await owner.fetchval(APPEND)
    await owner.execute(append.replace("what_is_erased_is_empty", "in another form"))
    await owner.execute(VERSION_1)

    upgrading = asyncio.gather(*(prepare(database) for _ in range(3)))
    await asyncio.gather(upgrading, write_until(upgrading, company))
    await follow(company.services)

    assert await owner.fetchval("SELECT version FROM rollbook.store") == 3
    assert await owner.fetchval(APPEND) == append
    assert set(before["history"]) <= set((await live(owner))["history"])
    assert await differences(database) == []


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Target:
    """The inline projections as a newer program might have them: with a column more."""
    monkeypatch.setattr(UsersProjection, "version", UsersProjection.version + 1)
    column = "title text GENERATED ALWAYS AS (attributes ->> 'title') STORED"
    target = inline_target()
    ddl = target.ddl.replace("    own_role text NULL,\n", f"    own_role text NULL,\n {column},\n", 1)
    target = replace(target, ddl=ddl)
    monkeypatch.setattr("ops.database.inline_target", lambda: target)
    return target


TITLES = "SELECT count(*) FROM rollbook.users WHERE title IS DISTINCT FROM attributes ->> 'title'"


async def test_a_changed_inline_projection_is_rebuilt_at_the_start_while_old_programs_read_and_write(
    company: Directory, database: Database, owner: asyncpg.Connection, changed: Target
) -> None:
    starting = asyncio.gather(prepare(database), prepare(database))  # both programs start, one of them rebuilds

    await asyncio.gather(starting, *(write_until(starting, company) for _ in range(4)))

    await company.create("afterwards", title="New")
    assert await owner.fetchval(TITLES) == 0
    assert await owner.fetchval("SELECT version FROM rollbook.projections WHERE name = 'users'") == 3
    assert not await owner.fetchval(SHADOWS)
    assert (await replay(database, target=changed, swap=False)).differences == []


async def test_a_changed_projection_can_neither_be_compared_nor_replaced_in_part(
    company: Directory, database: Database, changed: Target
) -> None:
    with pytest.raises(OtherVersionError):
        await replay(database, target=changed, swap=False)
    with pytest.raises(OtherVersionError):
        await replay(database, company.tenant_id, target=changed)


async def test_a_program_does_not_take_a_newer_ones_tables_back(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    await owner.execute("UPDATE rollbook.projections SET version = 9 WHERE name IN ('seats', 'history')")

    with pytest.raises(Trouble, match="newer Rollbook"):
        await prepare(database)
    for target in (inline_target(), follower_target(HISTORY)):
        with pytest.raises(OtherVersionError, match="newer Rollbook"):
            await replay(database, target=target)


async def test_an_upgrade_that_cannot_be_done_is_told_and_the_old_tables_stay(
    database: Database, owner: asyncpg.Connection, changed: Target
) -> None:
    await fill(owner, 300, 100)
    await owner.execute("UPDATE rollbook.events SET data = '{}', digest = sha256(salt || '{}'::bytea) WHERE seq = 150")

    with pytest.raises(Trouble, match="at seq 150 of tenant big"):
        await prepare(database)

    assert await owner.fetchval("SELECT version FROM rollbook.projections WHERE name = 'users'") == 2


class Types(Follower):
    """How many events of each type there are."""

    name = "types"
    version = 1
    tables: tuple[Table, ...] = (Table("types", ("tenant_id", "type")),)

    @property
    def ddl(self) -> str:
        return """
            CREATE TABLE types (tenant_id uuid, type text, count int NOT NULL, PRIMARY KEY (tenant_id, type));
            GRANT SELECT, INSERT, UPDATE ON types TO rollbook_service
        """

    async def apply(self, batch: Batch) -> None:
        await batch.connection.executemany(
            "INSERT INTO types AS known VALUES ($1, $2, 1) "
            "ON CONFLICT (tenant_id, type) DO UPDATE SET count = known.count + 1",
            [(batch.tenant_id, type(each.event).__name__) for each in batch.events],
        )


class NewTypes(Types):
    """With the last seq of each, and a table of those who asked."""

    version = 2
    tables = (*Types.tables, Table("sources", ("tenant_id", "source")))

    @property
    def ddl(self) -> str:
        return """
            CREATE TABLE types (
                tenant_id uuid, type text, count int NOT NULL, last_seq bigint NOT NULL, PRIMARY KEY (tenant_id, type)
            );
            CREATE TABLE sources (tenant_id uuid, source text, count int NOT NULL, PRIMARY KEY (tenant_id, source));
            CREATE INDEX sources_by_count ON sources (tenant_id, count);
            GRANT SELECT, INSERT, UPDATE ON types, sources TO rollbook_service
        """

    async def apply(self, batch: Batch) -> None:
        await batch.connection.executemany(
            "INSERT INTO types AS known VALUES ($1, $2, 1, $3) "
            "ON CONFLICT (tenant_id, type) DO UPDATE SET count = known.count + 1, last_seq = excluded.last_seq",
            [(batch.tenant_id, type(each.event).__name__, each.seq) for each in batch.events],
        )
        await batch.connection.executemany(
            "INSERT INTO sources AS known VALUES ($1, $2, 1) "
            "ON CONFLICT (tenant_id, source) DO UPDATE SET count = known.count + 1",
            [(batch.tenant_id, each.source) for each in batch.events],
        )


async def test_a_changed_follower_is_rebuilt_while_the_old_one_follows_and_goes_on_from_there(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    await owner.execute("SET ROLE rollbook_owner; SET search_path = rollbook")
    await owner.execute(Types().ddl)
    await owner.execute("INSERT INTO projections (name, version, is_follower) VALUES ('types', 1, true)")
    await owner.execute("RESET ROLE; RESET search_path")
    pool = company.services.pool
    await Following(pool, [Types()]).catch_up()
    old = asyncio.create_task(Following(pool, [Types()]).run())
    wrong = (
        "SELECT count(*) FROM rollbook.heads "
        "WHERE seq <> (SELECT sum(count) FROM rollbook.{} AS t WHERE t.tenant_id = heads.tenant_id)"
    )
    assert await owner.fetchval(wrong.format("types")) == 0

    upgrading = asyncio.create_task(replay(database, target=follower_target(NewTypes())))
    await asyncio.gather(upgrading, *(write_until(upgrading, company) for _ in range(4)))
    await company.create("afterwards")
    await asyncio.sleep(0.3)
    old.cancel()
    with suppress(asyncio.CancelledError):
        await old
    await Following(pool, [NewTypes()]).catch_up()

    assert not upgrading.result().is_compared
    assert await owner.fetchval(wrong.format("types")) == 0
    assert await owner.fetchval(wrong.format("sources")) == 0
    assert (await replay(database, target=follower_target(NewTypes()))).differences == []
    assert (await replay(database, company.tenant_id, target=follower_target(NewTypes()))).differences == []


async def test_a_follower_that_has_hardly_begun_is_built_up_to_the_end_of_the_log(
    database: Database, owner: asyncpg.Connection
) -> None:
    tenant_id = await fill(owner, 1_000, 100)
    history = follower_target(HISTORY)

    assert (await replay(database, tenant_id, target=history)).events == 0  # a tenant alone stays where it is

    summary = await replay(database, target=history)
    assert (summary.is_compared, summary.events) == (False, 1_000)
    assert await owner.fetchval("SELECT count(*) FROM rollbook.history") == 999
    assert await owner.fetchval("SELECT seq FROM rollbook.places WHERE follower = 'history'") == 1_000
