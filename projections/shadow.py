"""The tables of a rebuild, in a schema of their own beside the live ones, with notes from which it can resume.

All that a run knows is in the schema: what is left to build, how far each tenant is, which indexes are to be made.
A run that was killed leaves it as it is; the next one goes on there, or drops it.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec

from projections.target import Target, names_of

SHADOW = "rollbook_replay_"  # and the target's name
REPLACED = "rollbook_replaced_"  # and the target's name: the tables that were live, until they are dropped

SLICE = 10_000  # events; what a worker does in one transaction

_LAST_STREAM = UUID(int=2**128 - 1)

Heads = Mapping[UUID, int]


class Shadow:
    """The schema of a target's rebuild, through a connection that acts as the store's owner."""

    def __init__(self, connection: asyncpg.Connection, target: Target, tenant_id: UUID | None) -> None:
        self._connection = connection
        self._target = target
        self._tenant_id = tenant_id
        self.schema = SHADOW + target.name
        self.replaced = REPLACED + target.name

    async def open(self, *, resume: bool, is_compared: bool) -> bool:
        """Make the schema, or go on in the one that is there; whether it is that one.

        `is_compared` says whether the tables are made to be compared, and end where the live ones do.
        """
        await self._connection.fetch(_END_LEFTOVERS, await self._schemas(SHADOW))
        if resume and await self._can_resume(is_compared=is_compared):
            await use(self._connection, self.schema)
            return True
        await self.drop()
        async with self._connection.transaction():
            for schema in (self.schema, self.replaced):
                await self._connection.execute(f"CREATE SCHEMA {schema} AUTHORIZATION rollbook_owner")
            await use(self._connection, self.schema)
            await self._connection.execute(self._target.ddl)
            await self._connection.execute(_NOTES)
            await self._connection.execute(_NOTE_RUN, self._tenant_id, self._versions(), is_compared)
            await self._connection.execute(_NOTE_INDEXES, self.schema)
            for index in await self._connection.fetch("SELECT name FROM _indexes"):
                await self._connection.execute(f"DROP INDEX {index['name']}")
        return False

    async def _can_resume(self, *, is_compared: bool) -> bool:
        if await self._connection.fetchval("SELECT to_regclass($1)", f"{self.schema}._run") is None:
            return False
        query = f"SELECT tenant_id, versions, is_compared, is_cut FROM {self.schema}._run"  # noqa: S608  constants
        found = await self._connection.fetchrow(query)
        return found is not None and tuple(found.values()) == (self._tenant_id, self._versions(), is_compared, True)

    def _versions(self) -> str:
        return msgspec.json.encode(self._target.versions, order="sorted").decode()

    async def drop(self) -> None:
        """Drop the rebuilt tables and those that were replaced, whatever run of one of these projections left them.

        Raises DependentObjectsStillExistError if somebody has made views of those that were replaced.
        """
        await self._connection.execute("RESET ROLE; RESET search_path")
        for schema in await self._schemas(REPLACED):
            for found in await self._connection.fetch(_REPLACED_TABLES, schema):
                await self._drop_table(f"{schema}.{found['relname']}")
            for found in await self._connection.fetch(_REPLACED_FUNCTIONS, schema):
                await self._connection.execute(f"DROP FUNCTION {schema}.{found['proname']}")
            await self._connection.execute(f"DROP SCHEMA {schema}")
        for schema in await self._schemas(SHADOW):
            await self._connection.execute(f"DROP SCHEMA {schema} CASCADE")

    async def _schemas(self, prefix: str) -> Sequence[str]:
        """Those that are of one of these projections; of no run that is alive, for this one has the claim."""
        rows = await self._connection.fetch("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", prefix)
        found = [str(row["nspname"]) for row in rows]
        return [each for each in found if names_of(each.removeprefix(prefix)) & self._target.names]

    async def _drop_table(self, table: str) -> None:
        """A query that began before the swap may still look at it, and wait for another of these tables."""
        while True:
            try:
                await self._connection.execute(f"DROP TABLE {table}")
            except asyncpg.DeadlockDetectedError:
                continue
            return

    async def cut(self, heads: Heads) -> None:
        """Cut the logs up to these seqs into slices: the work of the builders."""
        async with self._connection.transaction():
            for tenant_id, seq in heads.items():
                slices = await self._slices(tenant_id, seq)
                await self._connection.executemany("INSERT INTO _slices VALUES ($1, $2, $3, $4, $5)", slices)
            await self._connection.executemany("INSERT INTO _places VALUES ($1, $2)", heads.items())
            await self._connection.execute("UPDATE _run SET is_cut = true")

    async def _slices(self, tenant_id: UUID, seq: int) -> Sequence[tuple[UUID, UUID, UUID, int, int]]:
        """Ranges of streams, each from behind one stream up to another, with the events that are in it, about."""
        if not self._target.by_stream or seq <= SLICE:
            return [(tenant_id, UUID(int=0), _LAST_STREAM, seq, seq)]
        ends = [row["stream_id"] for row in await self._connection.fetch(_ENDS, tenant_id, SLICE)]
        starts = [UUID(int=0), *ends]
        sizes = [*([SLICE] * len(ends)), max(seq - SLICE * len(ends), 0)]
        return [
            (tenant_id, start, end, seq, size)
            for start, end, size in zip(starts, [*ends, _LAST_STREAM], sizes, strict=True)
        ]

    async def is_built(self) -> bool:
        return not await self._connection.fetchval("SELECT EXISTS (SELECT FROM _slices WHERE NOT is_done)")

    async def left_to_do(self) -> tuple[int, int]:
        """How many events are left to build, and how many there are, about."""
        return tuple(await self._connection.fetchrow(_LEFT))

    async def missing_indexes(self) -> Sequence[str]:
        """The statements that make the indexes that were left out: it is faster to make them of all rows at once."""
        return [row["definition"] for row in await self._connection.fetch(_MISSING_INDEXES, self.schema)]

    async def places(self) -> Heads:
        """How far the tables are, by tenant."""
        rows = await self._connection.fetch("SELECT tenant_id, seq FROM _places")
        return {row["tenant_id"]: row["seq"] for row in rows}


async def use(connection: asyncpg.Connection, schema: str) -> None:
    """Act as the store's owner, in this schema, with memory for sorting a slice."""
    await connection.execute(
        f"SET ROLE rollbook_owner; SET search_path = {schema}, pg_temp; SET work_mem = '32MB'; "
        f"SET maintenance_work_mem = '64MB'; SET synchronous_commit = off"
    )


_NOTES = """
    CREATE TABLE _run (
        tenant_id uuid NULL,
        versions text NOT NULL,
        is_compared boolean NOT NULL,
        is_cut boolean NOT NULL DEFAULT false
    );
    CREATE TABLE _slices (
        tenant_id uuid NOT NULL,
        after_stream uuid NOT NULL,
        last_stream uuid NOT NULL,
        to_seq bigint NOT NULL,
        events bigint NOT NULL,
        is_done boolean NOT NULL DEFAULT false,
        PRIMARY KEY (tenant_id, after_stream)
    );
    CREATE INDEX _slices_left ON _slices (tenant_id, after_stream) WHERE NOT is_done;
    CREATE TABLE _places (tenant_id uuid PRIMARY KEY, seq bigint NOT NULL);
    CREATE TABLE _indexes (name text NOT NULL, definition text NOT NULL);
    CREATE TABLE _touched (stream_id uuid PRIMARY KEY);
    CREATE TABLE _differences (
        place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        table_name text NOT NULL,
        tenant_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        key text NOT NULL,
        live text NULL,
        rebuilt text NULL
    );
"""

_NOTE_RUN = "INSERT INTO _run (tenant_id, versions, is_compared) VALUES ($1, $2, $3)"

# What a process that was killed had asked for last may still be under way, and would meet what this run does.
_END_LEFTOVERS = """
    SELECT pg_terminate_backend(pid, 5000)
    FROM pg_stat_activity
    WHERE backend_type = 'client backend'
        AND datname = current_database()
        AND pid <> pg_backend_pid()
        AND pid IN (
            SELECT pg_locks.pid
            FROM pg_locks
            JOIN pg_class ON pg_class.oid = pg_locks.relation
            JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = ANY ($1)
        )
"""

_NOTE_INDEXES = """
    INSERT INTO _indexes
    SELECT relname, pg_get_indexdef(indexrelid)
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = $1::regnamespace
        AND NOT starts_with(relname, '_')
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""

# Every so many events, the stream that stands there. A stream that is longer than a slice comes up once.
_ENDS = """
    SELECT DISTINCT stream_id
    FROM (
        SELECT stream_id, row_number() OVER (ORDER BY stream_id, version) AS place
        FROM rollbook.events
        WHERE tenant_id = $1
    ) AS placed
    WHERE place % $2 = 0
    ORDER BY stream_id
"""

_LEFT = """
    SELECT coalesce(sum(events) FILTER (WHERE NOT is_done), 0)::bigint, coalesce(sum(events), 0)::bigint
    FROM _slices
"""

_REPLACED_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'"

_REPLACED_FUNCTIONS = "SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace($1)"

_MISSING_INDEXES = """
    SELECT definition
    FROM _indexes
    WHERE NOT EXISTS (SELECT FROM pg_class WHERE relname = name AND relnamespace = $1::regnamespace)
"""
