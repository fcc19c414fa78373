"""How long requests are kept: whole days are taken out of the request log and dropped, and each leaves a trace.

A day goes in two steps. Taking its partition out makes writers wait for a moment at most, and is given up and tried
again if somebody reads for long. Then the day is counted, traced and dropped in one transaction, while nobody waits.
Whatever was interrupted between the two is done by the next run.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta

import asyncpg
from msgspec import Struct

from projections.connections import connected

DAYS = 90
ATTEMPTS = 20
PAUSE = 0.5  # seconds between two attempts; whoever waited behind us goes first
_WAIT = "500ms"  # for which writers may have to wait behind us, at each attempt
_PREFIX = "request_log_"


class RequestLogInUseError(Exception):
    """Somebody reads the request log for so long that no day can be taken out of it."""


class Prune(Struct, frozen=True):
    """What is to be pruned, and who asks: `source` and `actor` are as those of an event."""

    keep_days: int
    source: str
    actor: str


class PrunedDay(Struct, frozen=True):
    """A day, of UTC, and how many requests of all tenants it had."""

    day: date
    requests: int


async def prunable(owner_url: str, keep_days: int) -> Sequence[PrunedDay]:
    """The days that a prune would drop now; nothing is changed."""
    async with connected(owner_url) as connection:
        await connection.execute(_AS_OWNER)
        first_kept = await _first_kept(connection, keep_days)
        found = {day: await _count(connection, day) for day in await _days_before(connection, first_kept)}
        for row in await connection.fetch(_REST, first_kept):
            found[row["day"]] = found.get(row["day"], 0) + row["requests"]
        return [PrunedDay(day, found[day]) for day in sorted(found)]


async def prune(owner_url: str, asked: Prune) -> Sequence[PrunedDay]:
    """Drop the days that ended more than so many days before today. Safe if several do it at once.

    The role must be able to act as the store's owner. Raises RequestLogInUseError.
    """
    async with connected(owner_url) as connection:
        await connection.execute(_AS_OWNER)
        first_kept = await _first_kept(connection, asked.keep_days)
        found: dict[date, int] = {}
        for day in await _days_before(connection, first_kept):
            await _take_out(connection, day)
            if (requests := await _drop(connection, day, asked)) is not None:
                found[day] = requests
        for row in await connection.fetch(_PRUNE_REST, first_kept, asked.keep_days, asked.source, asked.actor):
            found[row["day"]] = found.get(row["day"], 0) + row["requests"]
        return [PrunedDay(day, found[day]) for day in sorted(found)]


async def _first_kept(connection: asyncpg.Connection, keep_days: int) -> date:
    today: date = await connection.fetchval("SELECT current_date")
    return today - timedelta(days=keep_days)


async def _days_before(connection: asyncpg.Connection, first_kept: date) -> list[date]:
    """Days that have a table, whether it is still a partition or not."""
    return [row["day"] for row in await connection.fetch(_DAYS, first_kept)]


def _table(day: date) -> str:
    return f"{_PREFIX}{day:%Y%m%d}"


async def _take_out(connection: asyncpg.Connection, day: date) -> None:
    for _ in range(ATTEMPTS):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_WAIT}'")
                await connection.execute("LOCK TABLE ONLY request_log IN ACCESS EXCLUSIVE MODE")
                if await connection.fetchval(_IS_PARTITION, _table(day)):
                    await connection.execute(f"ALTER TABLE request_log DETACH PARTITION {_table(day)}")
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(PAUSE)
        else:
            return
    raise RequestLogInUseError(
        "The request log cannot be pruned: somebody reads it for long. End that query, or prune again later."
    )


async def _drop(connection: asyncpg.Connection, day: date, asked: Prune) -> int | None:
    """How many requests the day had; None if somebody else has dropped it meanwhile."""
    async with connection.transaction():
        try:
            await connection.execute(f"LOCK TABLE {_table(day)} IN ACCESS EXCLUSIVE MODE")
        except asyncpg.UndefinedTableError:
            return None
        requests = await _count(connection, day)
        await connection.execute(_TRACE.format(table=_table(day)), day, asked.keep_days, asked.source, asked.actor)
        await connection.execute(f"DROP TABLE {_table(day)}")
        return requests


async def _count(connection: asyncpg.Connection, day: date) -> int:
    count: int = await connection.fetchval(f"SELECT count(*) FROM {_table(day)}")  # noqa: S608  made of a date
    return count


_AS_OWNER = "SET ROLE rollbook_owner; SET search_path = rollbook, pg_temp; SET timezone = 'UTC'"

_DAYS = f"""
    SELECT to_date(right(relname, 8), 'YYYYMMDD') AS day
    FROM pg_class
    WHERE relnamespace = 'rollbook'::regnamespace
        AND relkind = 'r'
        AND relname ~ '^{_PREFIX}[0-9]{{8}}$'
        AND to_date(right(relname, 8), 'YYYYMMDD') < $1
    ORDER BY day
"""  # noqa: S608  constants

_IS_PARTITION = "SELECT relispartition FROM pg_class WHERE oid = to_regclass($1)"

_TRACE = """
    INSERT INTO prunes (tenant_id, day, pruned_at, requests, keep_days, source, actor)
    SELECT tenant_id, $1::date, now(), count(*), $2::int, $3::text, $4::text
    FROM {table}
    GROUP BY tenant_id
"""

_REST = """
    SELECT at::date AS day, count(*) AS requests
    FROM request_log_rest
    WHERE at < $1::date
    GROUP BY day
"""

_PRUNE_REST = """
    WITH pruned AS (
        DELETE FROM request_log_rest
        WHERE at < $1::date
        RETURNING tenant_id, at::date AS day
    ), traced AS (
        INSERT INTO prunes (tenant_id, day, pruned_at, requests, keep_days, source, actor)
        SELECT tenant_id, day, now(), count(*), $2::int, $3::text, $4::text
        FROM pruned
        GROUP BY tenant_id, day
    )
    SELECT day, count(*) AS requests
    FROM pruned
    GROUP BY day
"""
