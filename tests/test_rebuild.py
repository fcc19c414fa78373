"""Replay: the log alone makes the live tables again, beside them, while others write and read, whatever happens."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from api.composition import open_services
from api.services import Services
from engine import patch
from engine.resource import Values
from engine.tenant import ChangeSettings, RevokeToken
from engine.user import PatchUser, ProvisionUser, Terms
from ops import administration
from ops.database import Database
from projections import rebuild as module
from projections.rebuild import AlreadyRunningError, Difference, Summary, TablesInUseError, rebuild
from tests.conftest import Directory, connected, issue, register

TABLES = ("users", "seats", "tenants", "tokens")


async def replay(
    database: Database, tenant_id: UUID | None = None, *, swap: bool = True, meanwhile: Callable[[], None] | None = None
) -> Summary:
    """`meanwhile` is called when everything is folded that was in the log at first."""

    def progress(done: int, total: int) -> None:
        if done == total and meanwhile:
            meanwhile()

    return await rebuild(database.owner_url, tenant_id=tenant_id, swap=swap, progress=progress)


async def differences(database: Database, tenant_id: UUID | None = None) -> list[Difference]:
    return (await replay(database, tenant_id, swap=False)).differences


async def live(owner: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of every table."""
    return {
        table: [
            row["row"]
            for row in await owner.fetch(f"SELECT to_jsonb(t)::text AS row FROM rollbook.{table} AS t ORDER BY 1")  # noqa: S608  constants
        ]
        for table in TABLES
    }


def at_once(database: Database, work: Callable[[Services], Awaitable[Any]]) -> Callable[[], None]:
    """Does the work from beginning to end, on another thread, while the replay stands still."""

    async def run() -> None:
        async with open_services(database.service_url) as services:
            await work(services)

    def meanwhile() -> None:
        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        thread.join()

    return meanwhile


async def change(services: Services, tenant_id: UUID, user_id: str, **values: Any) -> None:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    command = PatchUser(patch.read({"Operations": operations}, []))
    await services.engine.carry_out(command, UUID(user_id), administration.cause(tenant_id), Terms())


@pytest.fixture
async def company(directory: Directory) -> Directory:
    """A tenant in which a bit of everything has happened, beside another one."""
    await directory.set_settings(seat_limit=50)
    ann = await directory.create("ann", title="Engineer", microsoftId="1", emails=[{"type": "work", "value": "a@x"}])
    bob = await directory.create("bob", active=False, externalId="B")
    eve = await directory.create("eve", role="Admin")
    await directory.request("POST", "/scim/v2/Users", json={"userName": "ANN"})
    await directory.request("PATCH", f"/v1/users/{ann}", json={"title": "Manager", "role": "owner"})
    await directory.patch(ann, {"op": "replace", "path": "title", "value": "Director"})
    await directory.patch(
        bob, {"op": "replace", "value": {"active": "True", "urn:ietf:params:scim:schemas:core:2.0:User:role": "admin"}}
    )
    await directory.request("PUT", f"/scim/v2/Users/{bob}", json={"userName": "bob", "displayName": "Zoë ’—’"})
    await directory.request("DELETE", f"/scim/v2/Users/{eve}")
    await directory.create("eve")
    services, tenant_id = directory.services, directory.tenant_id
    await issue(services, tenant_id, "audit:read")
    token_id = (await services.tenants.tokens(tenant_id))[-1].id
    await services.engine.administer(RevokeToken(token_id), administration.cause(tenant_id))
    other = await register(services, "fabrikam")
    await issue(services, other)
    await services.engine.carry_out(
        ProvisionUser(Values({"userName": "ann"})), UUID(int=7), administration.cause(other), Terms()
    )
    return directory


# What it says, and what it mends.


async def test_what_the_log_makes_equals_what_is_live(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)

    summary = await replay(database)

    assert (summary.differences, summary.swapped, summary.more) == ([], True, 0)
    assert summary.events == await owner.fetchval("SELECT count(*) FROM rollbook.events")
    assert await live(owner) == before


async def test_tables_that_were_lost_come_back_as_they_were(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    await owner.execute("TRUNCATE rollbook.users, rollbook.seats, rollbook.tenants, rollbook.tokens")

    summary = await replay(database)

    assert {each.table for each in summary.differences} == set(TABLES)
    assert await live(owner) == before


# In each table: a row, what is done to it, and which columns show it; another row that could stand beside it.
ROWS = {
    "users": "microsoft_id = '1'",
    "seats": "role = 'owner'",
    "tenants": "name = 'contoso'",
    "tokens": "revoked_at IS NOT NULL",
}
CORRUPTIONS = {
    "users": {"attributes": """attributes || '{"title": "Boss"}'""", "version": "9"},
    "seats": {"active": "active + 1", "deleted": "5"},
    "tenants": {"seat_limit": "1000000"},
    "tokens": {"scopes": "'{admin}'", "revoked_at": "NULL"},
}
GHOSTS: dict[str, dict[str, Any]] = {
    "users": {"id": str(UUID(int=1)), "user_name": "ghost", "microsoft_id": None},
    "seats": {"role": "ghost"},
    "tenants": {"tenant_id": str(UUID(int=1))},
    "tokens": {"id": str(UUID(int=1)), "digest": "ghost"},
}


@pytest.mark.parametrize("table", TABLES)
async def test_a_check_names_a_corrupted_row_by_table_key_and_columns_and_replay_mends_it(
    company: Directory, database: Database, owner: asyncpg.Connection, table: str
) -> None:
    before = await live(owner)
    columns = CORRUPTIONS[table]
    assignments = ", ".join(f"{column} = {value}" for column, value in columns.items())
    row = await owner.fetchrow(f"UPDATE rollbook.{table} SET {assignments} WHERE {ROWS[table]} RETURNING *")  # noqa: S608  constants
    broken = await live(owner)

    [found] = await differences(database)

    assert found.table == table
    assert found.key == {name: str(row[name]) for name in found.key}
    assert sorted(found.columns()) == sorted(columns)
    assert await live(owner) == broken
    assert (await replay(database)).differences == [found]
    assert await live(owner) == before


@pytest.mark.parametrize("table", TABLES)
async def test_a_check_names_a_missing_row_and_one_too_many_and_replay_mends_both(
    company: Directory, database: Database, owner: asyncpg.Connection, table: str
) -> None:
    before = await live(owner)
    ghost = msgspec.json.encode(GHOSTS[table]).decode()
    await owner.execute(
        f"INSERT INTO rollbook.{table} SELECT (jsonb_populate_record(t, $1::jsonb)).* "  # noqa: S608  constants
        f"FROM rollbook.{table} AS t WHERE {ROWS[table]} LIMIT 1",
        ghost,
    )
    gone = await owner.fetchrow(
        f"DELETE FROM rollbook.{table} WHERE {ROWS[table]} AND NOT to_jsonb({table}) @> $1::jsonb "  # noqa: S608  constants
        "RETURNING *",
        ghost,
    )
    broken = await live(owner)

    found = await differences(database)

    missing, extra = sorted(found, key=lambda each: each.live is not None)
    assert (missing.table, missing.live, extra.table, extra.rebuilt) == (table, None, table, None)
    assert missing.key == {name: str(gone[name]) for name in missing.key}
    assert extra.live is not None
    assert GHOSTS[table].items() <= extra.live.items()
    assert await live(owner) == broken
    await replay(database)
    assert await live(owner) == before


async def test_replay_of_one_tenant_leaves_the_others_as_they_are(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    await owner.execute("UPDATE rollbook.users SET role = 'broken'; UPDATE rollbook.seats SET active = 99")
    others = "SELECT * FROM rollbook.users WHERE tenant_id <> $1"
    broken = await owner.fetch(others, company.tenant_id)

    found = (await replay(database, company.tenant_id)).differences

    assert {each.key["tenant_id"] for each in found} == {str(company.tenant_id)}
    assert await owner.fetch(others, company.tenant_id) == broken
    left = await differences(database)
    assert {each.key["tenant_id"] for each in left} == {str(broken[0]["tenant_id"])}
    await replay(database, broken[0]["tenant_id"])
    assert await live(owner) == before


CATALOGUES = (
    """
    SELECT relname, relowner, relacl, reloptions
    FROM pg_class
    WHERE relnamespace = 'rollbook'::regnamespace
    ORDER BY 1
    """,
    """
    SELECT conname, pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE connamespace = 'rollbook'::regnamespace
    ORDER BY 1, 2
    """,
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'rollbook' ORDER BY 1",
    "SELECT nspname FROM pg_namespace ORDER BY 1",
)


async def test_the_new_tables_have_the_same_rights_rules_and_indexes_as_the_old_ones(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    async def look() -> list[Any]:
        return [await owner.fetch(query) for query in CATALOGUES]

    before = await look()

    await replay(database)

    assert await look() == before


# While others write and read.


async def test_two_people_who_exchange_their_names_during_a_replay_are_told_apart(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    tenant_id = company.tenant_id
    ann, bob = [await company.create(name, microsoftId=name) for name in ("exchange-a", "exchange-b")]

    async def exchange(services: Services) -> None:
        await change(services, tenant_id, ann, userName="nobody", microsoftId="nobody")
        await change(services, tenant_id, bob, userName="exchange-a", microsoftId="exchange-a")
        await change(services, tenant_id, ann, userName="exchange-b", microsoftId="exchange-b")

    for only in (None, tenant_id):
        assert (await replay(database, only, meanwhile=at_once(database, exchange))).differences == []
        await exchange(company.services)
    assert await differences(database) == []


async def test_whatever_happens_during_a_replay_is_in_the_new_tables(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    tenant_id = company.tenant_id
    ann = await company.create("meanwhile")

    async def work(services: Services) -> None:
        await change(services, tenant_id, ann, title="Meanwhile", role="admin", active=False)
        await services.engine.administer(ChangeSettings({"seat_limit": 77}), administration.cause(tenant_id))
        await issue(services, tenant_id)
        token_id = (await services.tenants.tokens(tenant_id))[0].id
        await services.engine.administer(RevokeToken(token_id), administration.cause(tenant_id))
        new = await register(services, "new")
        create = ProvisionUser(Values({"userName": "new"}))
        await services.engine.carry_out(create, UUID(int=8), administration.cause(new), Terms())

    summary = await replay(database, meanwhile=at_once(database, work))

    assert summary.differences == []
    assert await differences(database) == []
    assert await owner.fetchval("SELECT count(*) FROM rollbook.tenants") == 3
    assert await owner.fetchval("SELECT seat_limit FROM rollbook.tenants WHERE tenant_id = $1", tenant_id) == 77


async def test_under_load_nobody_sees_an_error_and_nothing_that_was_acknowledged_is_lost(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    is_over = asyncio.Event()
    made: list[str] = []
    odd: list[Any] = []

    async def write(writer: int) -> None:
        turn = 0
        while not is_over.is_set():
            turn += 1
            answer = await company.request(
                "POST", "/scim/v2/Users", json={"userName": f"{writer}-{turn}", "active": False}
            )
            if answer.status_code != 201:
                odd.append(answer.text)
                continue
            user_id = answer.json()["id"]
            made.append(user_id)
            changed = await company.patch(user_id, {"op": "replace", "path": "title", "value": "Engineer"})
            read = await company.request("GET", f"/scim/v2/Users/{user_id}")
            if changed.status_code != 200 or read.json().get("title") != "Engineer":
                odd.append((changed.text, read.text))

    async def read(path: str) -> None:
        while not is_over.is_set():
            company.services.gate.forget()
            answer = await company.request("GET", path)
            if answer.status_code != 200 or answer.json().get("totalResults") == 0:
                odd.append(answer.text)

    async def replays() -> None:
        try:
            for turn in range(8):
                summary = await replay(database, company.tenant_id if turn % 4 == 3 else None)
                odd.extend(summary.differences)
        finally:
            is_over.set()

    paths = ["/scim/v2/Users?count=2", "/v1/seats", '/scim/v2/Users?filter=userName eq "ann"', "/v1/users?limit=2"]
    await asyncio.gather(replays(), *map(write, range(4)), *map(read, paths * 2))

    assert odd == []
    assert await differences(database) == []
    users = await owner.fetch("SELECT id FROM rollbook.users")
    assert set(made) <= {str(row["id"]) for row in users}


async def test_a_long_query_is_not_ended_and_holds_up_nobody_but_the_replay(
    company: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWAP_ATTEMPTS", 2)
    monkeypatch.setattr(module, "SWAP_PAUSE", 0.1)

    async with connected(database.owner_url) as reader, reader.transaction():
        await reader.fetch("SELECT * FROM rollbook.users")
        replaying = asyncio.create_task(replay(database))
        await write_until(replaying, company)
        with pytest.raises(TablesInUseError):
            await replaying
        await reader.fetch("SELECT * FROM rollbook.seats")

    assert await differences(database) == []


async def test_a_replay_that_had_to_wait_for_a_query_misses_nothing_of_what_happened_meanwhile(
    company: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWAP_PAUSE", 0.05)

    async with connected(database.owner_url) as reader:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM rollbook.users")
            replaying = asyncio.create_task(replay(database))
            writing = [asyncio.create_task(write_until(replaying, company)) for _ in range(6)]
            await asyncio.sleep(1)
            assert not replaying.done()
        assert (await replaying).swapped
        await asyncio.gather(*writing)

    assert await differences(database) == []


async def write_until(done: asyncio.Task[Any], directory: Directory) -> None:
    while not done.done():
        async with asyncio.timeout(5):
            await directory.create(str(uuid4()), active=False)
            await directory.request("GET", "/scim/v2/Users")


# When it is interrupted.


async def test_of_two_replays_at_a_time_the_second_is_refused(company: Directory, database: Database) -> None:
    refused: list[BaseException] = []

    async def second(_: Services) -> None:
        for only in (None, company.tenant_id):
            try:
                await replay(database, only)
            except AlreadyRunningError as error:
                refused.append(error)

    assert (await replay(database, meanwhile=at_once(database, second))).differences == []
    assert len(refused) == 2


async def test_a_replay_that_is_cancelled_leaves_everything_as_it_was(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    await owner.execute("UPDATE rollbook.users SET role = 'broken'")
    broken = await live(owner)

    async def cancelled_when(is_time: asyncio.Event) -> None:
        replaying = asyncio.create_task(replay(database, meanwhile=is_folded.set))
        await is_time.wait()
        await asyncio.sleep(0.1)
        replaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replaying
        assert await live(owner) == broken
        assert not await owner.fetchval(SHADOWS)

    is_now, is_folded = asyncio.Event(), asyncio.Event()
    is_now.set()
    async with connected(database.owner_url) as other:
        async with other.transaction():
            await other.execute("LOCK TABLE rollbook.events IN ACCESS EXCLUSIVE MODE")
            await cancelled_when(is_now)  # while it reads the log
        async with other.transaction():
            await other.execute("LOCK TABLE rollbook.users IN ACCESS SHARE MODE")
            await cancelled_when(is_folded)  # while it waits for the swap
    await replay(database)
    assert await live(owner) == before


SHADOWS = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rollbook_replay%'"
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
GUARD, READER, WRITER = "%FOR UPDATE NOWAIT%", "%FROM rollbook.events%", "%put_%"


@pytest.mark.parametrize("backend", [GUARD, READER, WRITER], ids=["guard", "reader", "writer"])
async def test_a_replay_whose_backend_is_killed_leaves_the_tables_right_and_the_next_one_works(
    company: Directory, database: Database, owner: asyncpg.Connection, backend: str
) -> None:
    before = await live(owner)

    with pytest.raises(LOST):
        await replay(database, meanwhile=at_once(database, lambda _: kill(database, backend)))

    assert await live(owner) == before
    await owner.execute("UPDATE rollbook.users SET role = 'broken'")
    await replay(database)
    assert await live(owner) == before
    assert not await owner.fetchval(SHADOWS)


async def kill(database: Database, query: str) -> None:
    async with connected(database.owner_url) as connection:
        killed = await connection.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = 'postgres' AND query LIKE $1 AND pid <> pg_backend_pid()",
            query,
        )
    assert len(killed) == 1


async def test_a_replay_that_has_lost_its_lock_cannot_spoil_the_one_that_runs_after_it(
    database: Database, owner: asyncpg.Connection
) -> None:
    await fill(owner, 5_000, 1_000)
    await replay(database)
    is_folded, is_over = threading.Event(), threading.Event()
    summaries: list[Summary] = []

    def wait_for_the_end(done: int, total: int) -> None:
        if done == total:
            is_folded.set()
            is_over.wait(30)

    def run_second() -> None:
        second = rebuild(database.owner_url, tenant_id=None, swap=True, progress=wait_for_the_end)
        summaries.append(asyncio.run(second))

    thread = threading.Thread(target=run_second)

    def lose_the_lock(done: int, _: int) -> None:
        if done == 1_000:
            at_once(database, lambda _: kill(database, GUARD))()
            thread.start()
            is_folded.wait(30)

    with pytest.raises(LOST):
        await rebuild(database.owner_url, tenant_id=None, swap=True, progress=lose_the_lock)
    is_over.set()
    await asyncio.to_thread(thread.join)

    assert [each.differences for each in summaries] == [[]]
    assert await differences(database) == []


# A long log.

EVENTS, STREAMS = 200_000, 40_000

_LOG = """
    INSERT INTO rollbook.events
    SELECT
        md5('big')::uuid, n, CASE n WHEN 1 THEN md5('big') ELSE md5(stream::text) END::uuid, version,
        data ->> 'type', timestamptz '2026-01-01' + n * interval '1 ms', 'directory', 'a', NULL, md5(n::text)::uuid,
        data, 'salt', sha256('salt' || convert_to(data::text, 'UTF8'))
    FROM (
        SELECT
            n,
            (n - 2) % $2 AS stream,
            CASE n WHEN 1 THEN 1 ELSE 1 + (n - 2) / $2 END AS version,
            CASE
                WHEN n = 1 THEN json_build_object('type', 'TenantRegistered', 'name', 'big', 'settings', '{}'::json)
                WHEN n < 2 + $2 THEN json_build_object(
                    'type', 'UserProvisioned', 'active', true, 'role', 'member', 'attributes', json_build_object(
                        'userName', 'user-' || n || '@contoso.example', 'title', 'Engineer', 'displayName', 'No. ' || n
                    )
                )
                ELSE json_build_object(
                    'type', 'AttributesChanged', 'changes', json_build_object(
                        'title', json_build_object('from', 'Engineer', 'to', 'Engineer ' || n)
                    )
                )
            END AS data
        FROM generate_series(1, $1::int) AS n
    ) AS numbered
"""


async def fill(owner: asyncpg.Connection, events: int, streams: int) -> None:
    """A tenant with so many events, of so many people."""
    await owner.execute(_LOG, events, streams)
    await owner.execute("INSERT INTO rollbook.heads SELECT md5('big')::uuid, $1::bigint, now()", events)


_PEAK = """
    import asyncio, re, sys
    from pathlib import Path
    from projections.rebuild import rebuild

    summary = asyncio.run(rebuild(sys.argv[1], tenant_id=None, swap=True, progress=lambda *_: None))
    # Not getrusage: its peak is that of the process before exec, too.
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(summary.events, len(summary.differences) + summary.more, int(peak[1]) // 1024)
"""


@pytest.mark.parametrize("streams", [STREAMS, 1], ids=["of many people", "of one person"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
async def test_a_long_log_takes_little_memory_even_if_every_row_differs(
    database: Database, owner: asyncpg.Connection, streams: int
) -> None:
    await fill(owner, EVENTS, streams)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_PEAK), database.owner_url, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    events, found, peak = map(int, output.split())

    assert (events, found) == (EVENTS, streams + 2)
    assert peak < 150, f"{peak} MB"
    assert await owner.fetchval("SELECT reltuples FROM pg_class WHERE oid = 'rollbook.users'::regclass") == streams
