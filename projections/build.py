"""Builds the tables of a rebuild, slice by slice; any number of processes do this side by side.

A slice is taken by the lock of its row, and done in one transaction with the rows that it makes: so a worker that is
killed leaves it as it was, for another one.
"""

import gc
from collections.abc import Callable
from functools import partial

import asyncpg

from projections.batch import Batch, read_batch, read_streams
from projections.poison import Last, Read, about_poison, is_poison
from projections.shadow import SLICE, use
from projections.target import Target

PAGE = 2 * SLICE  # events in memory at a time, a slice's if no stream is too long

Report = Callable[[int], None]
"""Called with the number of events that were built since the last time."""


class CannotApplyError(Exception):
    """An event raises an error when it is applied."""


class _StuckError(Exception):
    """A slice cannot be built, because of one of its events."""

    def __init__(self, found: asyncpg.Record, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.found = found


async def build_slices(owner_url: str, target: Target, schema: str, report: Report) -> None:
    """Build slices until none is left."""
    gc.disable()  # it looks for cycles, of which events have none, among millions of objects
    connection = await asyncpg.connect(owner_url)
    try:
        await use(connection, schema)
        while await _build_some(connection, target, report):
            pass
    finally:
        gc.enable()
        await connection.close()


async def _build_some(connection: asyncpg.Connection, target: Target, report: Report) -> bool:
    """Build a slice, or as many small ones as make up one of the usual size; whether there was one."""
    try:
        async with connection.transaction():
            events, found = 0, None
            while events < SLICE and (found := await connection.fetchrow(_TAKE)):
                await _build_slice(connection, target, found, report)
                await connection.execute(_DONE, found["tenant_id"], found["after_stream"])
                events += found["events"]
    except asyncpg.DeadlockDetectedError:  # two workers count the seats of one tenant
        return True
    except _StuckError as error:
        about = await about_poison(connection, target, error.found, _read(target))
        raise CannotApplyError(about or f"{target.name} cannot be rebuilt: {error}") from None
    return found is not None


async def _build_slice(connection: asyncpg.Connection, target: Target, found: asyncpg.Record, report: Report) -> None:
    read = _read(target)
    last: Last = None
    while True:
        try:
            batch = await read(connection, found, last, PAGE)
            await target.apply(batch)
        except Exception as error:
            if not is_poison(error):
                raise
            raise _StuckError(found, error) from None
        report(len(batch.found))
        if len(batch.found) < PAGE:
            return
        last = batch.found[-1]


def _read(target: Target) -> Read:
    return _read_by_stream if target.by_stream else partial(_read_by_seq, target.reads_headers)


async def _read_by_stream(connection: asyncpg.Connection, found: asyncpg.Record, last: Last, limit: int) -> Batch:
    after = (last.stream_id, last.version) if last else (found["after_stream"], _LAST_VERSION)
    tenant_id = found["tenant_id"]
    events = await read_streams(connection, tenant_id, after, found["last_stream"], found["to_seq"], limit)
    return Batch(connection, tenant_id, events)


async def _read_by_seq(
    reads_headers: bool, connection: asyncpg.Connection, found: asyncpg.Record, last: Last, limit: int
) -> Batch:
    seq = last.seq if last else 0
    limit = min(limit, found["to_seq"] - seq)
    return await read_batch(connection, found["tenant_id"], seq, limit, reads_headers=reads_headers)


_LAST_VERSION = 2**31 - 1

_TAKE = """
    SELECT tenant_id, after_stream, last_stream, to_seq, events
    FROM _slices
    WHERE NOT is_done
    ORDER BY tenant_id, after_stream
    LIMIT 1
    FOR UPDATE SKIP LOCKED
"""

_DONE = "UPDATE _slices SET is_done = true WHERE tenant_id = $1 AND after_stream = $2"
