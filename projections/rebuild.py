"""Rebuilds the inline projections from the log, beside the live ones, while the service runs.

Build beside → catch up → compare, within one snapshot → swap in a transaction that appends wait for, after a last
catch-up. The shadow tables stand in a schema of their own, made by the same DDL and written by the same functions as
the live ones; the swap drops those and moves these into their place. An interrupted rebuild leaves the live tables as
they were.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from msgspec import Struct

from engine.engine import InlineProjection
from projections import installation
from projections.fold import Rows, Stream
from projections.inline import INLINE

# Each run has a schema of its own, with a name that begins so: one that lost its lock cannot write into the next one's.
SHADOW = "rollbook_replay_"

MOST_DIFFERENCES = 10_000  # that are kept, with both rows

# How long the swap waits for a lock, and everybody else behind it. On tables it is short: somebody who reads two of
# them may wait for us while we wait for him, and Postgres would end one of us after a second (deadlock_timeout).
HEADS_PATIENCE = "2s"
TABLES_PATIENCE = "200ms"
SWAP_ATTEMPTS = 100
SWAP_PAUSE = 0.5  # seconds

Progress = Callable[[int, int], None]
"""Called with the number of events that are folded, and of all."""


class AlreadyRunningError(Exception):
    """Another replay of this store is running."""


class TablesInUseError(Exception):
    """Somebody reads the live tables for so long that they cannot be replaced."""


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
    """What a rebuild did. `more` is how many differences there are besides the first ones."""

    events: int
    differences: list[Difference]
    swapped: bool
    more: int = 0


Heads = dict[UUID, int]


async def rebuild(owner_url: str, *, tenant_id: UUID | None, swap: bool, progress: Progress) -> Summary:
    """Rebuild all tenants, or one, and compare with the live tables; replace those if `swap`.

    The role must be able to act as the store's owner. Raises AlreadyRunningError if another rebuild is running, and
    TablesInUseError if a long query keeps the tables from being replaced.
    """
    async with (
        _only_one(owner_url),
        _connected(owner_url) as reader,
        _connected(owner_url) as writer,
        _shadow(writer),
    ):
        run = _Run(writer, tenant_id)
        await run.build(reader, progress)
        differences, more = await run.compare()
        if swap:
            await run.swap()
        return Summary(sum(run.heads.values()), differences, swap, more)


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


@contextlib.asynccontextmanager
async def _shadow(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A schema with empty tables, in which the connection works as long as it lasts."""
    for left_over in await connection.fetch(_SHADOWS, SHADOW):
        await _drop(connection, left_over["nspname"])
    name = SHADOW + uuid4().hex
    await connection.execute(f"CREATE SCHEMA {name} AUTHORIZATION rollbook_owner")
    try:
        await connection.execute(f"SET ROLE rollbook_owner; SET search_path = {name}")
        for projection in INLINE:
            await connection.execute(installation.ddl(projection.name))
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("RESET ROLE; RESET search_path")
            await _drop(connection, name)


async def _drop(connection: asyncpg.Connection, schema: str) -> None:
    await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


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
        # Plans are right from the first query on, whether it compares or, after the swap, is a directory's.
        await self._writer.execute(f"ANALYZE {_tables()}")

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

    async def compare(self) -> tuple[list[Difference], int]:
        """The first differences between the live rows and the rebuilt ones, and how many more there are.

        Both are seen as of one snapshot.
        """
        found: list[Difference] = []
        more = 0
        async with self._writer.transaction(isolation="repeatable_read"):
            await self._catch_up()
            for projection in INLINE:
                query = _COMPARE.format(table=projection.name, key=", ".join(projection.key))
                async for row in self._writer.cursor(query, self._tenant_id, prefetch=1_000):
                    if len(found) < MOST_DIFFERENCES:
                        found.append(_difference(projection, row["live"], row["rebuilt"]))
                    else:
                        more += 1
        return found, more

    async def swap(self) -> None:
        """Raises TablesInUseError if the locks cannot be had."""
        for _ in range(SWAP_ATTEMPTS):
            async with self._writer.transaction(isolation="repeatable_read"):
                await self._catch_up()  # appends wait for the rest only
            heads = dict(self.heads)
            try:
                async with self._writer.transaction():
                    await self._swap()
            except asyncpg.LockNotAvailableError:
                self.heads = heads
                await asyncio.sleep(SWAP_PAUSE)  # whoever waits behind us goes first
            else:
                return
        raise TablesInUseError(
            "The live tables cannot be replaced, because somebody keeps reading them. End long queries "
            "(pg_stat_activity lists them) and replay again."
        )

    async def _swap(self) -> None:
        await self._writer.execute(f"SET LOCAL lock_timeout = '{HEADS_PATIENCE}'")
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
        await self._writer.execute(f"SET LOCAL lock_timeout = '{TABLES_PATIENCE}'")
        await self._writer.execute(_LOCK_TABLES)
        await self._writer.execute(f"DROP TABLE {_tables('rollbook.')}")
        for projection in INLINE:
            await self._writer.execute(f"ALTER TABLE {projection.name} SET SCHEMA rollbook")

    async def _swap_rows(self) -> None:
        for projection in INLINE:
            table = projection.name
            await self._writer.execute(f"DELETE FROM rollbook.{table} WHERE tenant_id = $1", self._tenant_id)  # noqa: S608  constants
            await self._writer.execute(_COPY.format(table=table), self._tenant_id)


def _tables(prefix: str = "") -> str:
    return ", ".join(prefix + projection.name for projection in INLINE)


def _difference(projection: InlineProjection, live: str | None, rebuilt: str | None) -> Difference:
    rows = [msgspec.json.decode(each, type=dict[str, Any]) if each else None for each in (live, rebuilt)]
    known = rows[0] or rows[1] or {}
    return Difference(projection.name, {name: known.get(name) for name in projection.key}, rows[0], rows[1])


_SHADOWS = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)"

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

# Refusals are many, and have no effect on any row.
_STREAMS_SINCE = """
    SELECT DISTINCT stream_id
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 AND type <> 'RequestRefused'
"""

_STREAM = f"""
    SELECT {_EVENT}
    FROM rollbook.events
    WHERE tenant_id = $1 AND stream_id = $2 AND seq <= $3 AND type <> 'RequestRefused'
    ORDER BY version
"""  # noqa: S608  constants

# In the order in which our own queries name them: so none of those waits for us while we wait for it.
_LOCK_TABLES = """
    LOCK TABLE rollbook.tokens, rollbook.tenants, rollbook.seats, rollbook.users IN ACCESS EXCLUSIVE MODE
"""

_LOCK_HEAD = "SELECT FROM rollbook.heads WHERE tenant_id = $1 FOR UPDATE"

# The rebuilt tables are those on the search path.
_COMPARE = """
    SELECT to_jsonb(live) AS live, to_jsonb(rebuilt) AS rebuilt
    FROM (SELECT * FROM rollbook.{table} WHERE $1::uuid IS NULL OR tenant_id = $1) AS live
    FULL JOIN (SELECT * FROM {table} WHERE $1::uuid IS NULL OR tenant_id = $1) AS rebuilt USING ({key})
    WHERE live IS DISTINCT FROM rebuilt
    ORDER BY {key}
"""

_COPY = "INSERT INTO rollbook.{table} SELECT * FROM {table} WHERE tenant_id = $1"
