"""Rebuilds the inline projections from the log, beside the live ones, while the service runs.

Build beside → catch up → compare, within one snapshot → swap in a transaction that appends wait for, after a last
catch-up. The shadow tables stand in a schema of their own, made by the same DDL and written by the same functions as
the live ones; the swap moves tables between schemas. An interrupted rebuild leaves the live tables as they were.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from engine.engine import InlineProjection
from projections import installation
from projections.fold import Rows, Stream
from projections.inline import INLINE

SHADOW = "rollbook_replay"
REPLACED = "rollbook_replaced"

Progress = Callable[[int, int], None]
"""Called with the number of events that are folded, and of all."""


class AlreadyRunningError(Exception):
    """Another replay of this store is running."""


class Difference(Struct, frozen=True):
    """Where a live row and a rebuilt one differ; None as a row is none."""

    table: str
    key: dict[str, Any]
    live: dict[str, Any] | None
    rebuilt: dict[str, Any] | None

    def columns(self) -> list[str]:
        if self.live is None or self.rebuilt is None:
            return []
        return [name for name, value in self.live.items() if value != self.rebuilt.get(name)]


class Summary(Struct, frozen=True):
    """What a rebuild did."""

    events: int
    differences: list[Difference]
    swapped: bool


Heads = dict[UUID, int]


async def rebuild(owner_url: str, *, tenant_id: UUID | None, swap: bool, progress: Progress) -> Summary:
    """Rebuild all tenants, or one, and compare with the live tables; replace those if `swap`.

    The role must be able to act as the store's owner. Raises AlreadyRunningError if another rebuild is running.
    """
    async with _only_one(owner_url), _connected(owner_url) as writer, _connected(owner_url) as reader:
        await _make_shadow(writer)
        try:
            run = _Run(writer, tenant_id)
            await run.build(reader, progress)
            differences = await run.compare()
            if swap:
                await run.swap()
            return Summary(sum(run.heads.values()), differences, swap)
        finally:
            await _drop(writer)


@contextlib.asynccontextmanager
async def _connected(owner_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(owner_url)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _only_one(owner_url: str) -> AsyncIterator[None]:
    """A row lock, held as long as the rebuild lasts; the end of the connection ends it, however it comes."""
    async with _connected(owner_url) as connection, connection.transaction():
        try:
            await connection.execute("SELECT FROM rollbook.store FOR UPDATE NOWAIT")
        except asyncpg.LockNotAvailableError:
            raise AlreadyRunningError("Another replay of this store is running; wait for its end.") from None
        yield


async def _make_shadow(connection: asyncpg.Connection) -> None:
    await _drop(connection)
    await connection.execute(f"CREATE SCHEMA {SHADOW} AUTHORIZATION rollbook_owner")
    await connection.execute(f"SET ROLE rollbook_owner; SET search_path = {SHADOW}")
    for projection in INLINE:
        await connection.execute(installation.ddl(projection.name))


async def _drop(connection: asyncpg.Connection) -> None:
    await connection.execute("RESET ROLE; RESET search_path")
    await connection.execute(f"DROP SCHEMA IF EXISTS {SHADOW}, {REPLACED} CASCADE")


class _Run:
    """One rebuild. `heads` is how far the shadow tables are, by tenant."""

    def __init__(self, writer: asyncpg.Connection, tenant_id: UUID | None) -> None:
        self._writer = writer
        self._tenant_id = tenant_id
        self.heads: Heads = {}

    async def build(self, reader: asyncpg.Connection, progress: Progress) -> None:
        """One ordered scan over the log as it is now; memory holds one stream and the rows that wait."""
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            self.heads = await self._read_heads(reader)
            total, done = sum(self.heads.values()), 0
            stream, rows = None, Rows()
            async for row in reader.cursor(_ALL_EVENTS, self._tenant_id, prefetch=2_000):
                if stream is None or row["stream_id"] != stream.stream_id or row["tenant_id"] != stream.tenant_id:
                    is_end = stream is not None and row["tenant_id"] != stream.tenant_id
                    await self._finish(stream, rows, write=is_end)
                    stream = Stream(row["tenant_id"], row["stream_id"])
                stream.take(row)
                done += 1
                if done % 1_000 == 0:
                    progress(done, total)
            await self._finish(stream, rows, write=True)
            progress(done, total)

    async def _finish(self, stream: Stream | None, rows: Rows, *, write: bool) -> None:
        if stream is None:
            return
        if outcome := stream.outcome():
            rows.add(outcome)
        if write or rows.is_full():
            await self._write(stream.tenant_id, rows)

    async def _write(self, tenant_id: UUID, rows: Rows) -> None:
        for name, content in rows.take_all():
            await self._writer.execute(f"SELECT put_{name}($1, now(), $2)", tenant_id, content)

    async def _read_heads(self, connection: asyncpg.Connection) -> Heads:
        rows = await connection.fetch(_HEADS, self._tenant_id)
        return {row["tenant_id"]: row["seq"] for row in rows}

    async def _catch_up(self) -> None:
        """Write what was appended since, from the snapshot of the transaction that is under way."""
        for tenant_id, seq in (await self._read_heads(self._writer)).items():
            seen = self.heads.get(tenant_id, 0)
            if seq > seen:
                await self._catch_up_tenant(tenant_id, seen, seq)
                self.heads[tenant_id] = seq

    async def _catch_up_tenant(self, tenant_id: UUID, seen: int, seq: int) -> None:
        touched = [row["stream_id"] for row in await self._writer.fetch(_STREAMS_SINCE, tenant_id, seen, seq)]
        # Two people may have exchanged a unique value meanwhile: their rows cannot be written one after the other.
        await self._writer.execute("DELETE FROM users WHERE tenant_id = $1 AND id = ANY ($2)", tenant_id, touched)
        rows = Rows()
        for stream_id in touched:
            stream = Stream(tenant_id, stream_id, seen)
            async for row in self._writer.cursor(_STREAM, tenant_id, stream_id, seq):
                stream.take(row)
            await self._finish(stream, rows, write=False)
        await self._write(tenant_id, rows)

    async def compare(self) -> list[Difference]:
        """Every difference between the live rows and the rebuilt ones, both as of one snapshot."""
        async with self._writer.transaction(isolation="repeatable_read"):
            await self._catch_up()
            return [each for projection in INLINE for each in await self._compare(projection)]

    async def _compare(self, projection: InlineProjection) -> list[Difference]:
        query = _COMPARE.format(table=projection.name, key=", ".join(projection.key))
        rows = await self._writer.fetch(query, self._tenant_id)
        return [_difference(projection, row["live"], row["rebuilt"]) for row in rows]

    async def swap(self) -> None:
        async with self._writer.transaction():
            if self._tenant_id is None:
                # Stronger than the row lock of an append: appends wait, and those under way are waited for.
                await self._writer.execute("LOCK TABLE rollbook.heads IN EXCLUSIVE MODE")
                await self._catch_up()
                await self._swap_tables()
            else:
                await self._writer.execute(_LOCK_HEAD, self._tenant_id)
                await self._catch_up()
                await self._swap_rows()

    async def _swap_tables(self) -> None:
        await self._writer.execute(
            f"RESET ROLE; CREATE SCHEMA {REPLACED} AUTHORIZATION rollbook_owner; SET ROLE rollbook_owner"
        )
        for projection in INLINE:
            await self._writer.execute(f"ALTER TABLE rollbook.{projection.name} SET SCHEMA {REPLACED}")
            await self._writer.execute(f"ALTER TABLE {SHADOW}.{projection.name} SET SCHEMA rollbook")

    async def _swap_rows(self) -> None:
        for projection in INLINE:
            table = projection.name
            await self._writer.execute(f"DELETE FROM rollbook.{table} WHERE tenant_id = $1", self._tenant_id)  # noqa: S608  constants
            await self._writer.execute(_COPY.format(table=table), self._tenant_id)


def _difference(projection: InlineProjection, live: str | None, rebuilt: str | None) -> Difference:
    rows = [msgspec.json.decode(each, type=dict[str, Any]) if each else None for each in (live, rebuilt)]
    known = rows[0] or rows[1] or {}
    return Difference(projection.name, {name: known.get(name) for name in projection.key}, rows[0], rows[1])


_HEADS = """
    SELECT tenant_id, seq
    FROM rollbook.heads
    WHERE $1::uuid IS NULL OR tenant_id = $1
    ORDER BY tenant_id
"""

_EVENT = "tenant_id, seq, stream_id, version, source, recorded_at, data"

_ALL_EVENTS = f"""
    SELECT {_EVENT}
    FROM rollbook.events
    WHERE $1::uuid IS NULL OR tenant_id = $1
    ORDER BY tenant_id, stream_id, version
"""  # noqa: S608  constants

_STREAMS_SINCE = """
    SELECT DISTINCT stream_id
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq > $2 AND seq <= $3
"""

_STREAM = f"""
    SELECT {_EVENT}
    FROM rollbook.events
    WHERE tenant_id = $1 AND stream_id = $2 AND seq <= $3
    ORDER BY version
"""  # noqa: S608  constants

_LOCK_HEAD = "SELECT FROM rollbook.heads WHERE tenant_id = $1 FOR UPDATE"

_COMPARE = f"""
    SELECT to_jsonb(live) AS live, to_jsonb(rebuilt) AS rebuilt
    FROM (SELECT * FROM rollbook.{{table}} WHERE $1::uuid IS NULL OR tenant_id = $1) AS live
    FULL JOIN (SELECT * FROM {SHADOW}.{{table}} WHERE $1::uuid IS NULL OR tenant_id = $1) AS rebuilt USING ({{key}})
    WHERE live IS DISTINCT FROM rebuilt
    ORDER BY {{key}}
"""  # noqa: S608  constants

_COPY = f"INSERT INTO rollbook.{{table}} SELECT * FROM {SHADOW}.{{table}} WHERE tenant_id = $1"  # noqa: S608  constants
