"""Following: each event takes effect once, in order, whoever else follows; what cannot be applied is parked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from api.services import Services
from engine.resource import Values
from engine.user import ProvisionUser, Terms
from ops import administration
from ops.database import Database
from projections import following, place
from projections.background.history import FOLLOWER as HISTORY
from projections.batch import Batch
from projections.connections import connected
from projections.follower import FOLLOWERS, Follower
from projections.followers import SHOWN, FollowerStatus, Parked
from projections.following import Following
from projections.place import LeasedError, LostPlaceError, Place
from projections.rebuild import rebuild
from projections.table import Table
from projections.target import follower_target
from projections.work import Work, WorkQueue
from tests.conftest import Directory, register

Check = Callable[[Batch], Any]


class Noting(Follower):
    """Notes each event in a table that cannot hold one twice; does what a test wants before."""

    version = 1

    def __init__(self, name: str = "noting", check: Check | None = None) -> None:
        self.name = name
        self.check = check
        self.tables = (Table(name, ("tenant_id", "seq")),)

    @property
    def ddl(self) -> str:
        return (
            f"CREATE TABLE {self.name} (tenant_id uuid, seq bigint, batch int, PRIMARY KEY (tenant_id, seq));"
            f"GRANT SELECT, INSERT ON {self.name} TO rollbook_service"
        )

    async def apply(self, batch: Batch) -> None:
        rows = [(batch.tenant_id, event.seq, len(batch.events)) for event in batch.events]
        await batch.connection.copy_records_to_table(self.name, records=rows)
        if self.check and (waiting := self.check(batch)):
            await waiting


async def installed(owner: asyncpg.Connection, follower: Follower) -> Follower:
    async with owner.transaction():
        await owner.execute(f"SET LOCAL ROLE rollbook_owner; SET LOCAL search_path = rollbook; {follower.ddl}")
        await owner.execute("INSERT INTO projections VALUES ($1, $2, true)", follower.name, follower.version)
    return follower


@pytest.fixture
async def noting(owner: asyncpg.Connection) -> Noting:
    follower = Noting()
    await installed(owner, follower)
    return follower


async def noted(owner: asyncpg.Connection, tenant_id: UUID, name: str = "noting") -> list[int]:
    rows = await owner.fetch(f"SELECT seq FROM rollbook.{name} WHERE tenant_id = $1 ORDER BY seq", tenant_id)  # noqa: S608
    return [row["seq"] for row in rows]


async def provision(services: Services, tenant_id: UUID, count: int = 1) -> None:
    for _ in range(count):
        command, cause = ProvisionUser(Values({"userName": str(uuid4())})), administration.cause(tenant_id)
        await services.engine.carry_out(command, uuid4(), cause, Terms())


async def behind(owner: asyncpg.Connection, name: str = "noting") -> int:
    """How many tenants are behind."""
    count: int = await owner.fetchval(
        """
        SELECT count(*)
        FROM rollbook.heads
        LEFT JOIN rollbook.places ON places.tenant_id = heads.tenant_id AND follower = $1
        WHERE heads.seq IS DISTINCT FROM places.seq
        """,
        name,
    )
    return count


@asynccontextmanager
async def running(*all_following: Following) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in all_following]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(true: Callable[[], Any]) -> None:
    """Wait for something that must come about."""
    async with asyncio.timeout(20):
        while not await true():  # noqa: ASYNC110  what is waited for is in the database
            await asyncio.sleep(0.02)


async def status_of(services: Services, name: str = "noting") -> FollowerStatus:
    return {each.name: each for each in await services.followers.status()}[name]


async def parked_of(services: Services, name: str = "noting") -> Parked:
    [parked] = (await status_of(services, name)).parked
    return parked


async def end_backoff(owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE rollbook.places SET retry_at = now() WHERE retry_at IS NOT NULL")


def failing_at(seq: int, error: Exception | None = None) -> Check:
    def check(batch: Batch) -> None:
        if any(event.seq == seq for event in batch.events):
            raise error or ValueError("ann@contoso.example")

    return check


# Once, in order.


async def test_many_writers_and_several_that_follow_leave_nothing_out_and_do_nothing_twice(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK", 0.01)
    monkeypatch.setattr(following, "LEASED", 0.05)
    tenants = [await register(services, f"tenant {number}") for number in range(8)]

    async with running(*(Following(services.pool, [noting]) for _ in range(3))):
        await asyncio.gather(*(provision(services, tenant_id, 20) for tenant_id in tenants * 2))
        await until(lambda: nobody_is_behind(owner))

    for tenant_id in tenants:
        assert await noted(owner, tenant_id) == list(range(1, 42))


async def nobody_is_behind(owner: asyncpg.Connection, name: str = "noting") -> bool:
    return await behind(owner, name) == 0


async def test_what_is_appended_while_a_batch_is_applied_does_not_wait_for_the_sweep(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SWEEP", 3_600)
    monkeypatch.setattr(following, "LEFT_BEHIND", 3_600)
    is_applying, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        is_applying.set()
        await may_end.wait()

    noting.check = lambda _: wait()
    async with running(Following(services.pool, [noting]), Following(services.pool, [noting])):
        await asyncio.sleep(0.1)
        tenant_id = await register(services, "contoso")
        await is_applying.wait()
        await provision(services, tenant_id)
        await asyncio.sleep(following.LOOK * 3)  # it is found, and cannot be done
        may_end.set()
        await until(lambda: nobody_is_behind(owner))

    assert await noted(owner, tenant_id) == [1, 2]


async def test_a_long_log_is_applied_batch_by_batch(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BATCH", 4)
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 9)

    await Following(services.pool, [noting]).catch_up()

    assert [tuple(row) for row in await owner.fetch("SELECT seq, batch FROM rollbook.noting ORDER BY seq")] == [
        *((seq, 4) for seq in range(1, 9)),
        (9, 2),
        (10, 2),
    ]


async def test_a_batch_that_fails_leaves_neither_rows_nor_a_moved_place(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    noting.check = failing_at(1)

    await Following(services.pool, [noting]).catch_up()

    assert await noted(owner, tenant_id) == []
    assert await owner.fetchval("SELECT seq FROM rollbook.places") == 0


# Leases, and what they are not needed for.


async def test_a_lease_keeps_others_away_until_it_expires_by_the_clock_of_the_database(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    async with services.pool.acquire() as connection:
        one, other = (Place(connection, uuid4(), noting, tenant_id) for _ in range(2))
        assert await one.lease() == place.Lease(0, 0, 1)
        with pytest.raises(LeasedError):
            await other.lease()
        await owner.execute("UPDATE rollbook.places SET leased_until = now()")
        assert await other.lease() == place.Lease(0, 0, 1)
        with pytest.raises(LeasedError):
            await one.lease()


async def test_of_two_that_move_a_place_from_the_same_seq_one_writes_nothing(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id)
    async with services.pool.acquire() as first, services.pool.acquire() as second:
        one = Place(first, uuid4(), noting, tenant_id)
        other = Place(second, uuid4(), noting, tenant_id)
        await one.lease()
        async with first.transaction():
            await one.move(0, 2)
            loser = asyncio.create_task(self_contained(second, other))
            await asyncio.sleep(0.1)
            assert not loser.done()
        with pytest.raises(LostPlaceError):
            await loser
        assert await one.lease() is None
        with pytest.raises(LostPlaceError):
            await self_contained(first, one)


async def self_contained(connection: asyncpg.Connection, moved: Place) -> None:
    async with connection.transaction():
        await moved.move(0, 1)


async def test_what_another_process_works_on_is_not_forgotten(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEFT_BEHIND", "SWEEP"):
        monkeypatch.setattr(following, name, 3_600)
    monkeypatch.setattr(following, "LEASED", 0.05)
    tenant_id = await register(services, "contoso")
    async with services.pool.acquire() as connection:
        await Place(connection, uuid4(), noting, tenant_id).lease()

    async with running(Following(services.pool, [noting])):
        await asyncio.sleep(0.3)
        assert await noted(owner, tenant_id) == []
        await owner.execute("UPDATE rollbook.places SET leased_by = NULL, leased_until = NULL")
        await until(lambda: nobody_is_behind(owner))

    assert await noted(owner, tenant_id) == [1]


async def test_what_a_process_left_behind_when_it_was_killed_is_taken_over(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEFT_BEHIND", 0.05)
    monkeypatch.setattr(following, "SWEEP", 3_600)
    monkeypatch.setattr(following, "LATE", 0.0)
    async with running(Following(services.pool, [noting])):
        await asyncio.sleep(0.3)
        async with owner.transaction():
            tenant_id = await register_by(owner)
            await owner.execute(
                "INSERT INTO rollbook.places (tenant_id, follower, seq, leased_by, leased_until) "
                "VALUES ($1, 'noting', 0, $1, now() + interval '0.5 s')",
                tenant_id,
            )
        await until(lambda: nobody_is_behind(owner))

    assert await noted(owner, tenant_id) == [1]


async def register_by(owner: asyncpg.Connection) -> UUID:
    """A tenant whose only event was recorded long before it was committed, so that quick looks pass it over."""
    tenant_id = uuid4()
    await owner.execute(
        """
        INSERT INTO rollbook.events
        VALUES (
            $1, 1, $1, 1, 'TenantRegistered', '2026-01-01', 'operator', 'a', NULL, $1,
            '{"type":"TenantRegistered","name":"late","settings":{}}', 's',
            sha256('s{"type":"TenantRegistered","name":"late","settings":{}}')
        )
        """,
        tenant_id,
    )
    await owner.execute("INSERT INTO rollbook.heads VALUES ($1, 1, '2026-01-01')", tenant_id)
    return tenant_id


async def test_a_process_that_stands_still_in_the_middle_of_writing_holds_up_nobody_for_long(
    services: Services, database: Database, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEFT_BEHIND", 0.05)
    for module in (following, place):
        monkeypatch.setattr(module, "LEASE", 0.3)
    tenant_id = await register(services, "contoso")

    async with connected(database.service_url) as connection:
        stopped = asyncio.create_task(copy_for_ever(connection, Place(connection, uuid4(), noting, tenant_id)))
        await asyncio.sleep(0.2)
        async with running(Following(services.pool, [noting])):
            await until(lambda: nobody_is_behind(owner))
        stopped.cancel()
        with pytest.raises((asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await stopped

    assert await noted(owner, tenant_id) == [1]


async def copy_for_ever(connection: asyncpg.Connection, mine: Place) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b""
        await asyncio.Event().wait()

    await mine.lease()
    async with connection.transaction():
        await mine.move(0, 1)
        await connection.copy_to_table("noting", source=rows())


async def test_what_was_committed_late_is_found_by_the_sweep(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SWEEP", 0.05)
    async with running(Following(services.pool, [noting])):
        await asyncio.sleep(0.3)
        tenant_id = await register_by(owner)
        await until(lambda: nobody_is_behind(owner))

    assert await noted(owner, tenant_id) == [1]


async def test_a_turn_leaves_nothing_in_its_session(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 3)
    noting.check = failing_at(3)
    settings = "SELECT name, setting FROM pg_settings WHERE source = 'session'"
    locks = "SELECT * FROM pg_locks WHERE locktype = 'advisory'"

    async with services.pool.acquire() as connection:
        await connection.execute("SET application_name = 'only this'")
    await Following(services.pool, [noting]).catch_up()

    async with services.pool.acquire() as connection:
        left = {row["name"] for row in await connection.fetch(settings)}
    assert left <= {"application_name", "jit"}  # the driver turns it off for a query of its own, and on again
    assert await owner.fetch(locks) == []


# Parked.


async def test_a_poison_event_parks_its_tenant_and_everybody_else_goes_on(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    other = await installed(owner, Noting("other"))
    tenant_id, healthy = await register(services, "contoso"), await register(services, "fabrikam")
    await provision(services, tenant_id, 40)
    await provision(services, healthy, 40)
    noting.check = lambda batch: failing_at(30)(batch) if batch.tenant_id == tenant_id else None

    await Following(services.pool, [noting, other]).catch_up()

    assert await noted(owner, tenant_id) == list(range(1, 30))
    assert await noted(owner, healthy) == list(range(1, 42))
    assert await noted(owner, tenant_id, "other") == list(range(1, 42))
    found = await status_of(services)
    assert (found.tenants_behind, found.events_behind, found.parked_tenants) == (1, 12, 1)
    assert found.oldest_lag > 0
    assert (found.parked[0].tenant, found.parked[0].seq, found.parked[0].attempts) == ("contoso", 30, 1)
    assert found.parked[0].error.startswith("ValueError at test_following.py:")
    assert "ann" not in found.parked[0].error


async def test_a_parked_event_is_tried_again_and_again_ever_more_rarely_and_never_skipped(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 2)
    noting.check = failing_at(2)
    pauses = []
    for _ in range(8):
        one = Following(services.pool, [noting])
        one._queue.add(Work("noting", tenant_id))
        await one.catch_up()
        pauses.append(await owner.fetchval("SELECT extract(epoch FROM retry_at - now()) FROM rollbook.places"))
        await end_backoff(owner)

    assert [round(pause) for pause in pauses] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert (await parked_of(services)).attempts == 8
    assert await noted(owner, tenant_id) == [1]


async def test_a_parked_tenant_moves_on_by_itself_once_the_cause_is_mended(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEFT_BEHIND", 0.05)
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 20)
    noting.check = failing_at(10)
    async with running(Following(services.pool, [noting])):
        await until(lambda: is_parked(services))
        await provision(services, tenant_id, 5)
        assert await noted(owner, tenant_id) == list(range(1, 10))
        noting.check = None
        await until(lambda: nobody_is_behind(owner))

    found = await status_of(services)
    assert await noted(owner, tenant_id) == list(range(1, 27))
    assert (found.tenants_behind, found.events_behind, found.oldest_lag, found.parked) == (0, 0, 0, [])


async def is_parked(services: Services) -> bool:
    return (await status_of(services)).parked_tenants == 1


async def test_a_new_process_tries_what_is_parked_at_once(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    noting.check = failing_at(1)
    await Following(services.pool, [noting]).catch_up()
    await owner.execute("UPDATE rollbook.places SET retry_at = now() + interval '1 hour'")

    noting.check = None
    async with running(Following(services.pool, [noting])):
        await until(lambda: nobody_is_behind(owner))

    assert await noted(owner, tenant_id) == [1]


async def test_several_processes_try_a_parked_event_one_at_a_time(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LEFT_BEHIND", 0.02)
    monkeypatch.setattr(following, "LEASED", 0.05)
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 30)
    tries: list[int] = []

    def check(batch: Batch) -> None:
        if len(batch.events) == 1 and batch.events[0].seq == 7:
            tries.append(7)
        failing_at(7)(batch)

    noting.check = check
    async with running(*(Following(services.pool, [noting]) for _ in range(3))):
        await until(lambda: is_parked(services))
        await asyncio.sleep(1.2)  # a second try

    assert (await parked_of(services)).attempts == len(tries) <= 4
    assert await noted(owner, tenant_id) == list(range(1, 7))


ERRORS = {
    "a long one": ValueError("x" * 100_000),
    "many lines": ValueError("first\nsecond\r\n\n\tthird"),
    "nothing but a line break": ValueError("\n"),
    "NUL": ValueError("before\0after"),
    "half a character": ValueError("before\ud800after"),
    "colours": ValueError("\x1b[31mred\x1b[0m \u202e"),
    "an error of the database": asyncpg.UniqueViolationError("Key (user_name)=(ann@contoso.example)"),
    "a time-out": TimeoutError(),
    "a missing key": KeyError("ann@contoso.example"),
    "a lost network": OSError("ann@contoso.example"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=list(ERRORS))
async def test_whatever_the_error_is_its_type_and_place_are_stored_without_a_value_and_the_log_holds_its_type_only(
    services: Services, owner: asyncpg.Connection, noting: Noting, error: Exception
) -> None:
    tenant_id = await register(services, "contoso")
    noting.check = failing_at(1, error)

    with capture_logs() as lines:
        await Following(services.pool, [noting]).catch_up()

    stored = (await parked_of(services)).error
    assert stored.startswith(f"{type(error).__name__} at test_following.py:")
    assert "ann" not in stored
    assert stored.isprintable()
    assert len(stored) <= place.LONGEST_ERROR
    assert lines == [
        {
            "event": "parked",
            "log_level": "error",
            "follower": "noting",
            "tenant_id": str(tenant_id),
            "seq": 1,
            "error": type(error).__name__,
        }
    ]


@pytest.mark.parametrize("missing", [3, 5], ids=["in the middle", "at the end"])
async def test_a_gap_in_the_log_parks_the_tenant_before_it(
    services: Services, owner: asyncpg.Connection, noting: Noting, missing: int
) -> None:
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 4)
    await owner.execute("DELETE FROM rollbook.events WHERE seq = $1", missing)

    await Following(services.pool, [noting]).catch_up()

    assert await noted(owner, tenant_id) == list(range(1, missing))
    parked = await parked_of(services)
    assert (parked.seq, parked.error.split(":")[0]) == (missing, "LogIsBrokenError")


async def test_of_many_parked_tenants_those_that_wait_longest_are_told(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    await owner.execute(
        """
        INSERT INTO rollbook.places (tenant_id, follower, seq, attempts, error, parked_at, retry_at)
        SELECT md5(n::text)::uuid, 'noting', 0, 1, 'e', now() - n * interval '1 minute', now()
        FROM generate_series(1, 1000) AS n
        """
    )

    found = await status_of(services)

    assert (found.parked_tenants, len(found.parked)) == (1_000, SHOWN)
    assert [round(each.seconds / 60) for each in found.parked] == list(range(1_000, 1_000 - SHOWN, -1))


# Versions and rebuilds.


async def test_tables_of_another_version_are_left_alone(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    noting.version = 2

    await Following(services.pool, [noting]).catch_up()

    assert await noted(owner, tenant_id) == []
    assert await owner.fetchval("SELECT count(*) FROM rollbook.places") == 0


async def test_a_version_that_changes_while_a_batch_is_read_keeps_it_from_being_written(
    services: Services, owner: asyncpg.Connection, noting: Noting
) -> None:
    tenant_id = await register(services, "contoso")
    async with services.pool.acquire() as connection:
        mine = Place(connection, uuid4(), noting, tenant_id)
        await mine.lease()
        await owner.execute("UPDATE rollbook.projections SET version = 2 WHERE name = 'noting'")
        with pytest.raises(LostPlaceError):
            await self_contained(connection, mine)


async def test_rebuilds_in_the_middle_of_following_lose_nothing_and_double_nothing(
    directory: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK", 0.01)
    monkeypatch.setattr(following, "LEASED", 0.05)
    services, tenant_id = directory.services, directory.tenant_id
    other = await register(services, "fabrikam")
    is_over = asyncio.Event()

    async def write(of_tenant: UUID) -> None:
        while not is_over.is_set():
            await provision(services, of_tenant)

    async with running(*(Following(services.pool, FOLLOWERS) for _ in range(2))):
        writing = [asyncio.create_task(write(each)) for each in (tenant_id, other)]
        swaps = [await rebuild(database.owner_url, follower_target(each)) for each in FOLLOWERS * 2]
        is_over.set()
        await asyncio.gather(*writing)
        for each in FOLLOWERS:
            await until(partial(nobody_is_behind, owner, each.name))

    assert [found for swap in swaps for found in swap.differences] == []
    for each in FOLLOWERS:
        assert (await rebuild(database.owner_url, follower_target(each), swap=False)).differences == []


async def test_a_rebuild_of_a_parked_follower_lets_it_go_on(
    directory: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    services = directory.services
    user_id = await directory.create("ann")
    await Following(services.pool, [HISTORY]).catch_up()
    await owner.execute("DELETE FROM rollbook.history")  # somebody tampered with it
    await directory.patch(user_id, {"op": "replace", "path": "title", "value": "Dr"})
    await Following(services.pool, [HISTORY]).catch_up()
    assert (await status_of(services, "history")).parked_tenants == 1

    await rebuild(database.owner_url, follower_target(HISTORY), tenant_id=directory.tenant_id)
    await end_backoff(owner)
    async with running(Following(services.pool, [HISTORY])):
        await until(lambda: nobody_is_behind(owner, "history"))

    assert (await rebuild(database.owner_url, follower_target(HISTORY), swap=False)).differences == []


# The database goes away.


async def test_a_database_that_is_away_is_waited_for_and_told_of_once(
    services: Services, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "UNREACHABLE", 0.05)
    tenant_id = await register(services, "contoso")
    with capture_logs() as lines:
        async with running(Following(services.pool, [noting])):
            await until(lambda: nobody_is_behind(owner))
            await owner.execute("ALTER ROLE rollbook_service NOLOGIN")
            try:
                await owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE usename = 'rollbook_service' AND datname = current_database()"
                )
                await asyncio.sleep(0.5)
            finally:
                await owner.execute("ALTER ROLE rollbook_service LOGIN")
            await provision(services, tenant_id, 3)
            await until(lambda: nobody_is_behind(owner))

    assert await noted(owner, tenant_id) == [1, 2, 3, 4]
    assert [line["event"] for line in lines] == ["followers wait for the database", "followers go on"]


async def test_backends_that_are_ended_at_any_moment_lose_nothing(
    services: Services, database: Database, owner: asyncpg.Connection, noting: Noting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "UNREACHABLE", 0.01)
    monkeypatch.setattr(following, "LOOK", 0.01)
    monkeypatch.setattr(following, "BATCH", 3)
    tenants = [await register(services, f"tenant {number}") for number in range(6)]

    async with (
        asyncpg.create_pool(database.service_url, server_settings={"application_name": "victim"}) as pool,
        running(Following(pool, [noting])),
    ):
        for _ in range(25):
            await asyncio.gather(*(provision(services, tenant_id, 2) for tenant_id in tenants))
            await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'victim' AND datname = current_database()"
            )
        await until(lambda: nobody_is_behind(owner))

    for tenant_id in tenants:
        assert await noted(owner, tenant_id) == list(range(1, 52))


# The queue.


def work(number: int, follower: str = "noting") -> Work:
    return Work(follower, UUID(int=number))


async def test_work_stands_in_line_once_and_is_not_given_to_two() -> None:
    queue = WorkQueue()
    for _ in range(2):
        queue.add(work(1))
    assert await queue.take() == work(1)
    queue.add(work(1))
    queue.add(work(2))

    assert await queue.take() == work(2)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.done(work(1))
    assert await waiting == work(1)


async def test_what_is_new_does_not_wait_for_a_backlog_nor_the_backlog_for_ever() -> None:
    queue = WorkQueue()
    for number in range(100):
        queue.add(work(number))
    queue.add(work(50), is_new=True)
    for number in (200, 201, 202):
        queue.add(work(number), is_new=True)

    assert [(await queue.take()).tenant_id.int for _ in range(8)] == [50, 0, 200, 1, 201, 2, 202, 3]


async def test_what_stands_in_line_for_later_is_not_forgotten() -> None:
    queue = WorkQueue()
    queue.add_later(work(1), 0.01)

    assert not queue.is_done
    assert await queue.take() == work(1)
    queue.done(work(1))
    assert queue.is_done
