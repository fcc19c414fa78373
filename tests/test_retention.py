"""Days of the request log come and go: no row is lost for want of a day, none goes without a trace."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from api.services import Services
from ops import retention
from ops.database import Database, prepare
from ops.follow import follow
from ops.trouble import Trouble
from projections import retention as pruner
from projections.connections import connected
from projections.follower import FOLLOWERS
from projections.request_log import LoggedRequest, RequestLog
from projections.retention import Prune, PrunedDay, RequestLogInUseError, prunable, prune
from tests.test_cli import Shell
from tests.test_following import until
from tests.test_request_log import request, written

TENANT, OTHER = UUID(int=1), UUID(int=3)
BY_ITSELF = Prune(90, "engine", "retention")


def noon(days_ago: int) -> datetime:
    return datetime.now(UTC).replace(hour=12) - timedelta(days=days_ago)


async def make_day(owner: asyncpg.Connection, days_ago: int) -> str:
    """A partition of the past, as it was made when the day was yet to come."""
    begin = noon(days_ago).date()
    name = f"rollbook.request_log_{begin:%Y%m%d}"
    await owner.execute("SET timezone = 'UTC'")
    await owner.execute(f"CREATE TABLE {name} (LIKE rollbook.request_log INCLUDING ALL)")
    await owner.execute(f"ALTER TABLE {name} OWNER TO rollbook_owner")
    bounds = f"FROM ('{begin}') TO ('{begin + timedelta(days=1)}')"
    await owner.execute(f"ALTER TABLE rollbook.request_log ATTACH PARTITION {name} FOR VALUES {bounds}")
    return name


async def partitions(owner: asyncpg.Connection) -> dict[str, str]:
    rows = await owner.fetch(
        """
        SELECT relname, pg_get_expr(relpartbound, oid) AS bound
        FROM pg_class
        WHERE relispartition AND relkind = 'r' AND relname LIKE 'request_log_%'
        """
    )
    return {row["relname"]: row["bound"] for row in rows}


async def place_of(owner: asyncpg.Connection, row: LoggedRequest) -> str:
    found: str = await owner.fetchval(
        "SELECT tableoid::regclass::text FROM rollbook.request_log WHERE request_id = $1", row.request_id
    )
    return found.removeprefix("rollbook.")


async def traces(owner: asyncpg.Connection) -> Sequence[tuple[Any, ...]]:
    rows = await owner.fetch(
        "SELECT tenant_id, day, requests, keep_days, source, actor FROM rollbook.prunes ORDER BY day, tenant_id"
    )
    return [tuple(row) for row in rows]


# Days that come.


async def test_a_new_store_has_today_and_seven_days_more_in_utc(owner: asyncpg.Connection) -> None:
    found = await partitions(owner)
    await owner.execute("SET timezone = 'UTC'")

    today = await owner.fetchval("SELECT current_date")
    for days in range(8):
        begin, end = today + timedelta(days=days), today + timedelta(days=days + 1)
        bound = (await partitions(owner)).pop(f"request_log_{begin:%Y%m%d}")
        assert bound == f"FOR VALUES FROM ('{begin} 00:00:00+00') TO ('{end} 00:00:00+00')"
    assert len(found) == 9
    assert found["request_log_rest"] == "DEFAULT"


async def test_days_are_those_of_utc_wherever_the_session_is(services: Services, owner: asyncpg.Connection) -> None:
    for name in await partitions(owner):
        if name != "request_log_rest":
            await owner.execute(f"DROP TABLE rollbook.{name}")
    async with services.pool.acquire() as connection:
        await connection.execute("SET timezone = 'Pacific/Kiritimati'")
        assert await connection.fetchval("SELECT rollbook.prepare_request_log()") == 8
        assert await connection.fetchval("SELECT rollbook.prepare_request_log()") == 0
        await connection.execute("RESET timezone")

    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    before, after = request(midnight - timedelta(microseconds=1)), request(midnight)
    await RequestLog(services.pool).write([before, after])
    assert await place_of(owner, before) == f"request_log_{before.at:%Y%m%d}"
    assert await place_of(owner, after) == f"request_log_{after.at:%Y%m%d}"


async def test_a_row_without_a_day_is_kept_and_moved_when_its_day_is_made(
    services: Services, owner: asyncpg.Connection
) -> None:
    log = RequestLog(services.pool)
    day = f"request_log_{noon(-2):%Y%m%d}"
    await owner.execute(f"DROP TABLE rollbook.{day}")
    soon, wrong_clock, long_ago = (request(noon(days)) for days in (-2, -4_000, 20_000))
    await log.write([soon, wrong_clock, long_ago])
    assert {await place_of(owner, each) for each in (soon, wrong_clock, long_ago)} == {"request_log_rest"}

    assert await log.prepare() == 1

    assert await place_of(owner, soon) == day
    assert await place_of(owner, wrong_clock) == "request_log_rest"
    assert await written(services, TENANT) == [long_ago, soon, wrong_clock]


async def test_days_are_made_while_several_write_and_several_make_them(
    services: Services, owner: asyncpg.Connection
) -> None:
    log = RequestLog(services.pool)
    for name in await partitions(owner):
        if name != "request_log_rest":
            await owner.execute(f"DROP TABLE rollbook.{name}")
    rows = [[request(noon(-(place % 8)), request_id=uuid4()) for place in range(40)] for _ in range(20)]

    made = await asyncio.gather(*(log.prepare() for _ in range(3)), *(log.write(batch) for batch in rows))

    assert sorted(each for each in made if each is not None) == [0, 0, 8]
    assert len(await written(services, TENANT)) == 800
    await log.write([msgspec.structs.replace(rows[0][0], request_id=uuid4())])
    assert await owner.fetchval("SELECT count(*) FROM rollbook.request_log") == 801
    assert await owner.fetchval("SELECT count(*) FROM rollbook.request_log_rest") == 0


async def test_the_service_can_neither_change_nor_delete_nor_reach_a_day_past_the_table(services: Services) -> None:
    row = request(datetime.now(UTC))
    await RequestLog(services.pool).write([row])
    for statement in (
        "DELETE FROM rollbook.request_log",
        "UPDATE rollbook.request_log SET status = 200",
        "TRUNCATE rollbook.request_log",
        f"SELECT 1 FROM rollbook.request_log_{row.at:%Y%m%d}",  # noqa: S608  a date
        f"DROP TABLE rollbook.request_log_{row.at:%Y%m%d}",
        "ALTER TABLE rollbook.request_log DETACH PARTITION rollbook.request_log_rest",
        "INSERT INTO rollbook.prunes VALUES (gen_random_uuid(), now(), now(), 1, 1, 'engine', 'x')",
        "DELETE FROM rollbook.prunes",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await services.pool.execute(statement)


# Days that go.


@pytest.fixture
async def old(services: Services, owner: asyncpg.Connection) -> dict[int, list[LoggedRequest]]:
    """Rows of two tenants by their age in days: of days that have partitions, and of one that has none."""
    for days in (92, 91, 90):
        await make_day(owner, days)
    found = {
        days: [request(noon(days), tenant_id=tenant_id) for tenant_id in tenants]
        for days, tenants in {
            200: [TENANT],
            92: [TENANT, TENANT, OTHER],
            91: [OTHER],
            90: [TENANT],
            0: [TENANT],
        }.items()
    }
    await RequestLog(services.pool).write([row for rows in found.values() for row in rows])
    return found


def day(days_ago: int) -> date:
    return noon(days_ago).date()


async def test_a_prune_drops_whole_days_that_are_too_old_and_leaves_a_trace_of_each_tenant(
    services: Services, database: Database, owner: asyncpg.Connection, old: dict[int, list[LoggedRequest]]
) -> None:
    expected = [PrunedDay(day(200), 1), PrunedDay(day(92), 3), PrunedDay(day(91), 1)]
    assert await prunable(database.owner_url, 90) == expected
    assert await traces(owner) == []

    assert await prune(database.owner_url, BY_ITSELF) == expected

    assert await written(services, TENANT) == [*old[90], *old[0]]
    assert await written(services, OTHER) == []
    assert await traces(owner) == [
        (TENANT, day(200), 1, 90, "engine", "retention"),
        (TENANT, day(92), 2, 90, "engine", "retention"),
        (OTHER, day(92), 1, 90, "engine", "retention"),
        (OTHER, day(91), 1, 90, "engine", "retention"),
    ]
    assert not {f"request_log_{day(days):%Y%m%d}" for days in (92, 91)} & {*await partitions(owner)}
    assert await prune(database.owner_url, BY_ITSELF) == []
    assert len(await traces(owner)) == 4


async def test_several_prunes_at_once_beside_writers_and_readers_trace_each_day_once(
    services: Services, database: Database, owner: asyncpg.Connection, old: dict[int, list[LoggedRequest]]
) -> None:
    log = RequestLog(services.pool)
    rows = [request(datetime.now(UTC), tenant_id=OTHER, request_id=uuid4()) for _ in range(50)]

    pruning = asyncio.gather(*(prune(database.owner_url, BY_ITSELF) for _ in range(4)))
    await asyncio.gather(
        *(log.write([row]) for row in rows),
        *(written(services, TENANT) for _ in range(10)),
        log.prepare(),
    )

    assert sorted((each.day, each.requests) for found in await pruning for each in found) == [
        (day(200), 1),
        (day(92), 3),
        (day(91), 1),
    ]
    assert len(await traces(owner)) == 4
    assert len(await written(services, OTHER)) == 50


async def test_writers_wait_for_a_prune_behind_a_long_reader_only_for_a_moment_and_it_is_told(
    services: Services,
    database: Database,
    owner: asyncpg.Connection,
    old: dict[int, list[LoggedRequest]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruner, "ATTEMPTS", 2)
    async with connected(database.owner_url) as reader, reader.transaction():
        await reader.fetch("SELECT count(*) FROM rollbook.request_log")
        pruned = asyncio.create_task(prune(database.owner_url, BY_ITSELF))
        async with asyncio.timeout(10):
            while not pruned.done():
                await RequestLog(services.pool).write([request(datetime.now(UTC), tenant_id=OTHER, request_id=uuid4())])
        with pytest.raises(RequestLogInUseError):
            await pruned
        with pytest.raises(Trouble, match="somebody reads it"):
            await asyncio.to_thread(retention.prune_now, database.owner_url, 90, dry_run=False)

    assert await traces(owner) == []
    assert len(await prune(database.owner_url, BY_ITSELF)) == 3


async def test_what_an_interrupted_prune_took_out_is_traced_and_dropped_by_the_next(
    database: Database, owner: asyncpg.Connection, old: dict[int, list[LoggedRequest]]
) -> None:
    name = f"request_log_{day(92):%Y%m%d}"
    await owner.execute(f"ALTER TABLE rollbook.request_log DETACH PARTITION rollbook.{name}")

    assert PrunedDay(day(92), 3) in await prune(database.owner_url, BY_ITSELF)

    assert await owner.fetchval("SELECT sum(requests) FROM rollbook.prunes WHERE day = $1", day(92)) == 3
    assert await owner.fetchval("SELECT to_regclass($1)", f"rollbook.{name}") is None


async def test_the_process_that_follows_makes_days_and_prunes_by_the_setting(
    database: Database,
    owner: asyncpg.Connection,
    old: dict[int, list[LoggedRequest]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ROLLBOOK_REQUEST_LOG_DAYS", "91")
    last = f"request_log_{noon(-7):%Y%m%d}"
    await owner.execute(f"DROP TABLE rollbook.{last}")

    following = asyncio.create_task(follow(database.service_url, database.owner_url, FOLLOWERS, tmp_path))
    await until(lambda: owner.fetchval("SELECT count(*) = 3 FROM rollbook.prunes"))
    following.cancel()

    assert {(trace[1], trace[3]) for trace in await traces(owner)} == {(day(200), 91), (day(92), 91)}
    assert last in await partitions(owner)


async def test_the_command_tells_what_it_would_delete_and_deletes_it(
    database: Database, owner: asyncpg.Connection, old: dict[int, list[LoggedRequest]]
) -> None:
    shell = Shell(database.owner_url)
    lines = ["day (UTC)   requests", f"{day(200)}  1", f"{day(92)}  3"]

    assert shell.output("prune", "--keep", "91", "--dry-run").splitlines() == [
        *lines,
        "Would delete 2 days with 4 requests.",
    ]
    assert shell.output("prune", "--keep", "91").splitlines() == [*lines, "Deleted 2 days with 4 requests."]
    assert shell.output("prune", "--keep", "91").splitlines() == ["Deleted 0 days with 0 requests."]
    assert {trace[4] for trace in await traces(owner)} == {"operator"}
    assert all(trace[5].startswith("uid:") for trace in await traces(owner))


@pytest.mark.parametrize("text", ["0", "-1", "ninety", "3651", "1e2"])
def test_a_setting_that_is_no_number_of_days_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_REQUEST_LOG_DAYS", text)

    with pytest.raises(Trouble, match="takes a whole number from 1 to 3,650"):
        retention.request_log_days()


async def test_a_start_makes_the_days_that_nobody_made_meanwhile(database: Database, owner: asyncpg.Connection) -> None:
    name = f"request_log_{datetime.now(UTC):%Y%m%d}"
    await owner.execute(f"DROP TABLE rollbook.{name}")

    await prepare(database)

    assert name in await partitions(owner)


async def test_the_requests_of_one_person_are_deleted_by_one_statement_and_an_index(
    services: Services, owner: asyncpg.Connection, old: dict[int, list[LoggedRequest]]
) -> None:
    person = UUID(int=70)
    rows = [
        request(noon(place % 3), user_id=person if place % 100 == 0 else uuid4(), request_id=uuid4())
        for place in range(6_000)
    ]
    await RequestLog(services.pool).write(rows)
    await owner.execute("ANALYZE rollbook.request_log")
    statement = "DELETE FROM rollbook.request_log WHERE tenant_id = $1 AND user_id = $2"

    plan = await owner.fetch(f"EXPLAIN {statement.replace('$1', repr(str(TENANT))).replace('$2', repr(str(person)))}")
    scans = [line for (line,) in plan if "Scan" in line]

    assert any("user_id" in line for line in scans)
    assert sum("Seq Scan" in line for line in scans) <= 12  # of days with hardly a row
    assert await owner.execute(statement, TENANT, person) == "DELETE 60"
