"""Finds the one event that cannot be applied, among the many of a slice."""

from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from engine.leaf import Header
from projections.batch import NO_NOTE, Batch, Logged
from projections.target import Target

Last = Logged | Header | None
"""The event behind which a page begins, if it is not the first."""

Read = Callable[[asyncpg.Connection, asyncpg.Record, Last, int], Awaitable[Batch]]
"""Reads of a slice the events behind one, at most so many."""


def is_poison(error: Exception) -> bool:
    """Whether it is about the events, not about a database that is away or has no room."""
    is_from_database = isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError)
    is_about_values = isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError | ValueError)
    return is_about_values or not is_from_database


async def about_poison(connection: asyncpg.Connection, target: Target, found: asyncpg.Record, read: Read) -> str | None:
    """Which event of a slice cannot be applied, and why; None if all can, this time."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        return await _find(connection, target, found, read)
    finally:
        await transaction.rollback()


async def _find(connection: asyncpg.Connection, target: Target, found: asyncpg.Record, read: Read) -> str | None:
    """Apply the slice again, in pages that are halved where they fail."""
    last: Last = None
    limit = max(found["events"], 1)
    while True:
        try:
            async with connection.transaction():
                batch = await read(connection, found, last, limit)
                await target.apply(batch)
        except Exception as error:
            if not is_poison(error):
                raise
            if limit == 1:
                return await _about(connection, target, found, last, error)
            limit //= 2
        else:
            if len(batch.found) < limit:
                return None
            last = batch.found[-1]


async def _about(
    connection: asyncpg.Connection, target: Target, found: asyncpg.Record, last: Last, error: Exception
) -> str:
    query = _NEXT_BY_STREAM if target.by_stream else _NEXT_BY_SEQ
    event = await connection.fetchrow(query, found["tenant_id"], found["to_seq"], *_place(target, found, last))
    return (
        f"{target.name} cannot be rebuilt: the {event['type']} at seq {event['seq']} of tenant {event['tenant']} "
        f"(version {event['version']} of stream {event['stream_id']}) raises {type(error).__name__}: {error}"
    )


def _place(target: Target, found: asyncpg.Record, last: Last) -> Sequence[object]:
    if not target.by_stream:
        return [last.seq if last else 0]
    return [last.stream_id, last.version] if last else [found["after_stream"], _LAST_VERSION]


_LAST_VERSION = 2**31 - 1

_NEXT = """
    SELECT
        seq,
        type,
        version,
        stream_id,
        (
            SELECT coalesce(first.data ->> 'name', tenant_id::text)
            FROM rollbook.events AS first
            WHERE first.tenant_id = $1 AND first.seq = 1
        ) AS tenant
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq <= $2
"""
_NEXT_BY_SEQ = f"{_NEXT} AND seq > $3 ORDER BY seq LIMIT 1"
_NEXT_BY_STREAM = f"""
    {_NEXT} AND (stream_id, version) > ($3, $4) AND {NO_NOTE} ORDER BY stream_id, version LIMIT 1
"""
