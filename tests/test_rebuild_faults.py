"""Replays that are interrupted, that meet each other, and that meet what somebody else made."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest

from ops.database import Database
from projections import claim, workers
from projections import rebuild as module
from projections.build import CannotApplyError
from projections.claim import AlreadyRunningError
from projections.connections import connected
from projections.rebuild import Summary, TablesInUseError, TablesNeededError
from projections.swap import stop_writers
from projections.target import inline_target, targets
from projections.workers import WorkerDiedError
from tests.conftest import Directory
from tests.replays import INLINE_TABLES, SHADOWS, claimed, differences, fill, live, replay, target_of

BREAK = "UPDATE rollbook.users SET role = 'broken'; UPDATE rollbook.history SET role = 'broken'"
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is not heard of is dead after a moment."""
    monkeypatch.setattr(claim, "LEASE", 0.6)
    monkeypatch.setattr(claim, "HEARTBEAT", 0.1)


# Two at a time.


async def test_of_two_replays_at_a_time_the_second_is_refused(
    company: Directory, database: Database, impatient: None
) -> None:
    async def second() -> None:
        for only in (None, company.tenant_id):
            for target in (inline_target(), inline_target(["users"])):
                with pytest.raises(AlreadyRunningError):
                    await replay(database, only, target=target)

    assert (await replay(database, meanwhile=second)).differences == []


async def test_replays_of_different_projections_run_side_by_side(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    await owner.execute(BREAK)

    summaries = await asyncio.gather(
        *(replay(database, target=target_of(name)) for name in ("users", "seats", "history", "seat_days"))
    )

    assert [bool(each.differences) for each in summaries] == [True, False, True, False]
    assert await live(owner) == before
    assert not await owner.fetchval(SHADOWS)


async def test_the_claim_of_a_run_that_is_dead_is_waited_out(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    async with claimed(owner, "users", seconds=0.3):
        assert (await replay(database)).differences == []
        assert await owner.fetchval("SELECT count(*) FROM rollbook.replays") == 0


async def test_a_replay_whose_claim_was_taken_stops_before_it_does_any_harm(
    company: Directory, database: Database, owner: asyncpg.Connection, impatient: None
) -> None:
    await owner.execute(BREAK)
    broken = await live(owner)

    async def lose_the_claim() -> None:
        await owner.execute("UPDATE rollbook.replays SET run = gen_random_uuid()")

    with pytest.raises(AlreadyRunningError):
        await replay(database, meanwhile=lose_the_claim)
    assert await live(owner) == broken

    async def lose_the_claim_and_wait() -> None:
        await lose_the_claim()
        await asyncio.sleep(10)

    with pytest.raises(AlreadyRunningError):
        await replay(database, meanwhile=lose_the_claim_and_wait)


# The moment of the swap.


@pytest.mark.parametrize("is_whole", [True, False], ids=["all tenants", "one tenant"])
async def test_an_append_between_the_last_catch_up_and_the_swap_waits_and_is_in_the_new_tables(
    company: Directory, database: Database, owner: asyncpg.Connection, is_whole: bool
) -> None:
    appending: list[asyncio.Task[str]] = []
    swap = "replace_tables" if is_whole else "replace_rows"
    original = getattr(module, swap)

    async def swapped(*values: Any, **options: Any) -> None:
        appending.append(asyncio.create_task(company.create("late", title="Late")))
        done, _ = await asyncio.wait(appending, timeout=0.3)
        assert not done
        await original(*values, **options)

    with patch.object(module, swap, swapped):
        await replay(database, None if is_whole else company.tenant_id)
    user_id = await appending[0]

    assert (await company.request("GET", f"/scim/v2/Users/{user_id}")).json()["title"] == "Late"
    assert await differences(database) == []


@pytest.mark.parametrize("is_whole", [True, False], ids=["all tenants", "one tenant"])
async def test_an_append_that_comes_right_before_writers_are_locked_out_is_in_the_new_tables(
    company: Directory, database: Database, is_whole: bool
) -> None:
    created: list[str] = []

    async def stopped(*values: Any) -> Any:
        created.append(await company.create("late", title="Late"))
        return await stop_writers(*values)

    with patch.object(module, "stop_writers", stopped):
        await replay(database, None if is_whole else company.tenant_id)

    assert (await company.request("GET", f"/scim/v2/Users/{created[0]}")).json()["title"] == "Late"
    assert await differences(database) == []


async def test_a_program_that_stands_still_in_the_middle_of_the_swap_does_not_hold_up_writers_for_ever(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)

    async def stand_still(*_: Any, **__: Any) -> None:
        assert await company.create("patient")

    with patch.object(module, "replace_tables", stand_still), pytest.raises(LOST):
        await replay(database)

    assert len((await live(owner))["users"]) == len(before["users"]) + 1
    assert await differences(database) == []


# Interrupted.


@pytest.mark.parametrize("name", ["users", "history"])
async def test_a_replay_that_dies_at_any_statement_leaves_the_tables_whole_and_the_next_one_resumes_or_begins_anew(
    company: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(claim, "LEASE", 0.05)
    target = inline_target() if name == "users" else target_of(name)
    right = await live(owner)
    await owner.execute(BREAK)
    broken = await live(owner)
    resumed = set()
    for statements in range(1, 200, 13):
        with dying_after(statements) as is_dead:
            try:
                await replay(database, target=target)
            except LOST:
                assert is_dead()
        assert await untouched_or_whole(owner, broken, right, target_names=[each.name for each in target.wanted_tables])
        summary = await replay(database, target=target, resume=statements % 2 == 1)
        resumed.add(summary.is_resumed)
        assert not await owner.fetchval(SHADOWS)
        for table in target.wanted_tables:
            assert (await live(owner))[table.name] == right[table.name]
        if not is_dead():
            break
        await owner.execute(BREAK)
    else:
        raise AssertionError("no replay came to its end")
    assert resumed == {True, False}


async def untouched_or_whole(
    owner: asyncpg.Connection, broken: dict[str, list[str]], right: dict[str, list[str]], target_names: list[str]
) -> bool:
    now = await live(owner)
    wanted = [{name: rows[name] for name in target_names} for rows in (broken, right)]
    return {name: now[name] for name in target_names} in wanted


_is_mortal: ContextVar[bool] = ContextVar("is_mortal", default=False)


@contextmanager
def dying_after(statements: int) -> Iterator[Callable[[], bool]]:
    """After so many statements every connection that is opened in here is gone, as if the process had been killed."""
    left = statements

    def mortal(original: Callable[..., Any]) -> Callable[..., Any]:
        async def call(connection: asyncpg.Connection, *values: Any, **options: Any) -> Any:
            nonlocal left
            if _is_mortal.get():
                left -= 1
                if left <= 0:
                    connection.terminate()
                    raise ConnectionResetError
            return await original(connection, *values, **options)

        return call

    with ExitStack() as stack:
        for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval", "copy_records_to_table"):
            original = getattr(asyncpg.Connection, name)
            stack.enter_context(patch.object(asyncpg.Connection, name, mortal(original)))
        token = _is_mortal.set(True)
        yield lambda: left <= 0
        _is_mortal.reset(token)


async def test_a_replay_that_is_cancelled_leaves_everything_as_it_was(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    await owner.execute(BREAK)
    broken = await live(owner)

    async def cancelled_when(is_time: asyncio.Event) -> None:
        async def built() -> None:
            is_built.set()

        replaying = asyncio.create_task(replay(database, meanwhile=built))
        await is_time.wait()
        await asyncio.sleep(0.1)
        replaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replaying
        assert await live(owner) == broken
        assert not await owner.fetchval("SELECT count(*) FROM rollbook.replays")

    is_now, is_built = asyncio.Event(), asyncio.Event()
    is_now.set()
    async with connected(database.owner_url) as other:
        async with other.transaction():
            await other.execute("LOCK TABLE rollbook.events IN ACCESS EXCLUSIVE MODE")
            await cancelled_when(is_now)  # while it reads the log
        async with other.transaction():
            await other.execute("LOCK TABLE rollbook.users IN ACCESS SHARE MODE")
            await cancelled_when(is_built)  # while it waits for the swap
    await replay(database, resume=True)
    await replay(database, target=target_of("history"))
    assert await live(owner) == before


CLAIM, SWAPPER = "%rollbook.replays%", "ANALYZE%"


@pytest.mark.parametrize("backend", [CLAIM, SWAPPER], ids=["claim", "swapper"])
async def test_a_replay_whose_backend_is_killed_leaves_the_tables_right_and_the_next_one_works(
    company: Directory, database: Database, owner: asyncpg.Connection, impatient: None, backend: str
) -> None:
    before = await live(owner)
    await owner.execute(BREAK)
    broken = await live(owner)

    async def kill() -> None:
        killed = await owner.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = 'postgres' AND query LIKE $1 AND pid <> pg_backend_pid()",
            backend,
        )
        assert killed
        await asyncio.sleep(0.5)

    with pytest.raises(LOST):
        await replay(database, meanwhile=kill)

    assert await live(owner) == broken
    assert (await replay(database, resume=True)).is_resumed
    await replay(database, target=target_of("history"))
    assert await live(owner) == before
    assert not await owner.fetchval(SHADOWS)


async def test_what_a_killed_run_left_of_its_work_in_the_database_does_not_meet_the_next_one(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    class StopError(Exception):
        pass

    async def stop() -> None:
        raise StopError

    with pytest.raises(StopError):
        await replay(database, meanwhile=stop)
    async with connected(database.owner_url) as leftover:
        await leftover.execute("BEGIN")
        # As a worker's backend does that is busy when its process is killed: it holds a slice, and a table.
        await leftover.execute("UPDATE rollbook_replay_inline._slices SET is_done = false")
        await leftover.execute("LOCK TABLE rollbook_replay_inline.users IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(10):
            assert (await replay(database, resume=True)).is_resumed
        with pytest.raises(LOST):
            await leftover.execute("SELECT 1")

    assert await differences(database) == []


async def test_a_replay_in_several_processes_of_which_one_is_killed_says_so_and_can_be_resumed(
    database: Database, owner: asyncpg.Connection
) -> None:
    await fill(owner, 30_000, 10_000)
    started: list[asyncio.subprocess.Process] = []
    killed: list[asyncio.subprocess.Process] = []
    original = workers._start

    async def start(order: bytes) -> asyncio.subprocess.Process:
        started.append(await original(order))
        return started[-1]

    def kill(done: int, total: int) -> None:
        if done and started[0].returncode is None and not killed:
            killed.append(started[0])
            started[0].kill()

    with patch.object(workers, "_start", start), pytest.raises(WorkerDiedError):
        await replay(database, jobs=2, progress=kill)

    assert all(each.returncode is not None for each in started)
    assert await owner.fetchval("SELECT count(*) FROM rollbook.users") == 0
    summary = await replay(database, jobs=2, resume=True)
    assert (summary.is_resumed, summary.events) == (True, 30_000)
    assert (await replay(database, swap=False)).differences == []


async def test_a_worker_ends_with_its_parent(database: Database, owner: asyncpg.Connection) -> None:
    async with owner.transaction():
        worker = await workers._start(
            b'{"owner_url": "' + database.owner_url.encode() + b'", "names": ["users"], "schema": "x"}'
        )
        assert worker.stdin is not None
        worker.stdin.close()
        async with asyncio.timeout(10):
            await worker.wait()


# What others made, and what was not foreseen.


async def test_a_replay_sweeps_up_after_runs_that_were_never_resumed(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    for names in (["users"], ["seats", "users"], ["tokens"]):
        with pytest.raises(RuntimeError):
            await replay(database, target=inline_target(names), meanwhile=fail)

    await replay(database, target=inline_target(["users"]))
    assert await owner.fetchval(SHADOWS) == 2  # of the tokens, which somebody may resume
    await replay(database)
    assert await owner.fetchval(SHADOWS) == 0


async def fail() -> None:
    raise RuntimeError


async def test_a_run_is_not_resumed_for_another_tenant_or_another_version(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    with pytest.raises(RuntimeError):
        await replay(database, company.tenant_id, meanwhile=fail)

    assert not (await replay(database, resume=True)).is_resumed
    assert await differences(database) == []


@pytest.mark.parametrize("what", ["VIEW public.theirs", "MATERIALIZED VIEW public.theirs"])
async def test_a_view_of_a_live_table_is_named_and_neither_dropped_nor_left_with_old_rows(
    company: Directory, database: Database, owner: asyncpg.Connection, what: str
) -> None:
    before = await live(owner)

    async def look_on() -> None:
        await owner.execute(f"CREATE {what} AS SELECT id, role FROM rollbook.users")  # noqa: S608  constants

    with pytest.raises(TablesNeededError, match="theirs"):
        await replay(database, meanwhile=look_on)
    with pytest.raises(TablesNeededError, match="theirs"):
        await replay(database)

    assert await live(owner) == before
    assert await owner.fetchval("SELECT count(*) FROM public.theirs") == len(before["users"])
    await owner.execute("UPDATE rollbook.users SET role = 'broken'")
    assert (await replay(database, company.tenant_id)).differences
    await owner.execute(f"DROP {what}")
    await replay(database)
    assert await live(owner) == before


async def test_rights_that_others_were_given_on_tables_and_columns_are_kept(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    await owner.execute("DROP ROLE IF EXISTS analyst; CREATE ROLE analyst")
    await owner.execute("GRANT SELECT (id, role), REFERENCES (id) ON rollbook.users TO analyst WITH GRANT OPTION")
    await owner.execute(
        "GRANT SELECT ON rollbook.seats, rollbook.history TO analyst; GRANT SELECT ON rollbook.seat_days TO public"
    )
    rights = """
        SELECT relname, relacl::text, attname, attacl::text
        FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = 'rollbook'::regnamespace AND attnum > 0 AND relkind = 'r'
        ORDER BY 1, 3
    """
    before = await owner.fetch(rights)

    for target in targets():
        await replay(database, target=target)

    assert await owner.fetch(rights) == before
    await owner.execute("DROP OWNED BY analyst; DROP ROLE analyst")


POISON = """
    UPDATE rollbook.events
    SET data = changed.data, digest = sha256(salt || convert_to(changed.data::text, 'UTF8'))
    FROM (
        SELECT replace(data::text, '{was}', '{becomes}')::json AS data FROM rollbook.events WHERE seq = {seq}
    ) AS changed
    WHERE seq = {seq}
"""


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("AttributesChanged", "UserProvisioned"),
        ("AttributesChanged", "Unheard"),
        ('"changes" : {', '"changes" : 5, "further" : {'),
    ],
    ids=["fold", "type", "shape"],
)
async def test_an_event_that_cannot_be_applied_is_named_by_its_tenant_and_place_and_nothing_is_touched(
    database: Database, owner: asyncpg.Connection, was: str, becomes: str
) -> None:
    await fill(owner, 300, 100)
    await owner.execute(POISON.format(was=was, becomes=becomes, seq=177))

    for target in (inline_target(), target_of("history")):
        with pytest.raises(CannotApplyError, match=r"at seq 177 of tenant big \(version 2 of stream"):
            await replay(database, target=target)
    with pytest.raises(CannotApplyError, match=r"at seq 177 of tenant big"):
        await replay(database, jobs=2)

    assert not any((await live(owner)).values())


async def test_a_log_that_breaks_a_rule_of_a_table_is_told(database: Database, owner: asyncpg.Connection) -> None:
    await fill(owner, 300, 100)
    await owner.execute(POISON.format(was="user-50@", becomes="user-51@", seq=50))

    with pytest.raises(CannotApplyError, match=r"user_name_is_free.*user-51@contoso"):
        await replay(database)


async def test_an_empty_store_can_be_replayed(database: Database) -> None:
    for target in targets():
        summary: Summary = await replay(database, target=target)
        assert (summary.events, summary.differences) == (0, [])


async def test_a_reader_who_holds_one_table_and_wants_the_next_is_let_through(
    company: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWAP_ATTEMPTS", 2)
    monkeypatch.setattr(module, "SWAP_PAUSE", 0.05)
    for table in ("users", "tokens", "history"):
        async with connected(database.owner_url) as reader, reader.transaction():
            await reader.fetch(f"SELECT * FROM rollbook.{table}")  # noqa: S608  constants
            replaying = asyncio.create_task(replay(database, target=target_of(table)))
            with pytest.raises(TablesInUseError):
                await replaying
            for other in INLINE_TABLES:
                await reader.fetch(f"SELECT * FROM rollbook.{other}")  # noqa: S608  constants
