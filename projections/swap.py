"""Puts rebuilt tables into the place of the live ones, in one short transaction that whoever writes these waits for."""

import time
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from projections.audit_views import definitions_of, put_views_of, views_of
from projections.shadow import REPLACED
from projections.target import Target

# How long the swap waits for locks in all, and everybody else behind it. Appends are over in milliseconds; on tables,
# readers wait behind us, and somebody who reads two of them may wait for us while we wait for him.
PATIENCE = 0.15  # seconds
PLACES_PATIENCE = 5.0  # seconds; nobody but followers waits
VACUUM_PATIENCE = 10.0  # seconds; nobody waits


class Lock:
    """Takes locks, none of which is waited for beyond one moment. Raises asyncpg.LockNotAvailableError."""

    def __init__(self, connection: asyncpg.Connection, seconds: float) -> None:
        self._connection = connection
        self._until = time.monotonic() + seconds

    async def take(self, statement: str, *values: object) -> None:
        left = max(round((self._until - time.monotonic()) * 1000), 1)
        await self._connection.execute(f"SET LOCAL lock_timeout = {left}")
        await self._connection.execute(statement, *values)


async def keep_vacuum_away(connection: asyncpg.Connection, target: Target, tenant_id: UUID | None) -> None:
    """Postgres ends its own vacuum for whoever waits a second, which is longer than writers and readers should wait:
    so the locks that it needs are taken before, beside those of everybody else."""
    lock = Lock(connection, VACUUM_PATIENCE)
    if tenant_id is None:
        for table in (_written(target), *await _live(connection, target)):
            await lock.take(f"LOCK TABLE rollbook.{table} IN SHARE UPDATE EXCLUSIVE MODE")
        for table in _in_order(target):
            await lock.take(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    # Should this program stand still from here on, nobody waits for it for longer.
    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '3s'")


async def stop_writers(connection: asyncpg.Connection, target: Target, tenant_id: UUID | None) -> Lock:
    """Let those under way end, and make others wait until the commit; what remains of our patience."""
    lock = Lock(connection, PLACES_PATIENCE if target.is_follower else PATIENCE)
    if tenant_id is None:
        # Stronger than the locks of an append, or of a place's move.
        await lock.take(f"LOCK TABLE rollbook.{_written(target)} IN EXCLUSIVE MODE")
    elif target.is_follower:
        await lock.take(_LOCK_PLACE, tenant_id, target.name)
    else:
        await lock.take(_LOCK_HEAD, tenant_id)
    return Lock(connection, PATIENCE) if target.is_follower else lock


async def lock_tables(connection: asyncpg.Connection, lock: Lock, target: Target) -> None:
    """Let readers of the live tables end, and make others wait until the commit."""
    live = await _live(connection, target)
    # Readers lock a view before its tables. LOCK TABLE would lock all of those as well; this changes nothing.
    for view in await views_of(connection, live):
        await lock.take(f"ALTER VIEW audit.{view} OWNER TO rollbook_owner")
    for table in live:
        await lock.take(f"LOCK TABLE rollbook.{table} IN ACCESS EXCLUSIVE MODE")


async def replace_tables(connection: asyncpg.Connection, target: Target, schema: str, *, functions: bool) -> None:
    """Move the live tables away, and the rebuilt ones into their place; with their functions, if those changed.

    Rights that were given on the live tables are given on the new ones, too, and auditors' views show these.
    """
    live = await _live(connection, target)
    # As they are, whichever program made them; unless the tables are others now.
    definitions = await definitions_of(connection, await views_of(connection, live))
    for grant in await connection.fetch(_GRANTS, live, schema):
        await connection.execute(grant["statement"])
    moves = (live, "rollbook", REPLACED + target.name), (_in_order(target), schema, "rollbook")
    for tables, start, end in moves:
        for move in await connection.fetch(_MOVES, tables, functions, schema, start, end):
            await connection.execute(move["statement"])
    if functions:
        await put_views_of(connection, _in_order(target))
    else:
        for definition in definitions:
            await connection.execute(definition)


async def replace_rows(connection: asyncpg.Connection, target: Target, tenant_id: UUID) -> None:
    """Replace one tenant's live rows: those that differed, and those of streams that went on since."""
    for table in target.wanted_tables:
        columns = {"table": table.name, "stream": table.stream}
        await connection.execute(_DELETE_ROWS.format(**columns), tenant_id)
        await connection.execute(_COPY_ROWS.format(**columns), tenant_id)


async def note_swap(connection: asyncpg.Connection, target: Target) -> None:
    """Note which versions the tables have now and, of a follower, how far they are."""
    versions = {name: target.versions[name] for name in target.names}
    await connection.execute(_NOTE_VERSIONS, list(versions), list(versions.values()), target.is_follower)
    if target.is_follower:
        await connection.execute(_NOTE_PLACES, target.name)


async def dependents(connection: asyncpg.Connection, target: Target) -> Sequence[str]:
    """What others have made of the live tables, and what would be left with the old ones: views above all.

    Auditors' views, and what others have made of those, show the new ones.
    """
    tables = _in_order(target)
    ours = [f"audit.{view}" for view in await views_of(connection, tables)]
    rows = await connection.fetch(_DEPENDENTS, [f"rollbook.{table}" for table in tables], ours)
    return [row["name"] for row in rows]


def _written(target: Target) -> str:
    """The table in which each writer locks a row before it does anything."""
    return "places" if target.is_follower else "heads"


def _in_order(target: Target) -> Sequence[str]:
    """Our own queries name the tables in this order: so none of those waits for us while we wait for it."""
    return sorted((table.name for table in target.wanted_tables), key="tokens tenants seats users groups members".find)


async def _live(connection: asyncpg.Connection, target: Target) -> Sequence[str]:
    """Those of the tables that there are; this version may bring new ones."""
    rows = await connection.fetch(_LIVE, _in_order(target))
    return [row["name"] for row in rows]


_LIVE = """
    SELECT name
    FROM unnest($1::text[]) WITH ORDINALITY AS wanted(name, place)
    WHERE to_regclass('rollbook.' || name) IS NOT NULL
    ORDER BY place
"""

# The place may not be there yet, and must not come up meanwhile.
_LOCK_PLACE = """
    INSERT INTO rollbook.places AS place (tenant_id, follower, seq)
    VALUES ($1, $2, 0)
    ON CONFLICT (tenant_id, follower) DO UPDATE SET seq = place.seq
"""

_LOCK_HEAD = "SELECT FROM rollbook.heads WHERE tenant_id = $1 FOR UPDATE"

# On tables, and on single columns.
_GRANTS = """
    SELECT format(
        'GRANT %s%s ON %I.%I TO %s',
        privilege_type,
        ' (' || quote_ident(attname) || ')',
        $2::text,
        relname,
        CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
            || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    ) AS statement
    FROM (
        SELECT oid, relname, relnamespace, relowner, NULL AS attname, relacl AS acl FROM pg_class
        UNION ALL
        SELECT pg_class.oid, relname, relnamespace, relowner, attname, attacl
        FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid
        WHERE NOT attisdropped
    ) AS granted
    CROSS JOIN LATERAL aclexplode(acl)
    WHERE relnamespace = 'rollbook'::regnamespace AND relname = ANY ($1) AND grantee <> relowner
"""

# The functions are those that the rebuild made beside its tables.
_MOVES = """
    SELECT format('ALTER TABLE %I.%I SET SCHEMA %I', $4::text, name, $5::text) AS statement
    FROM unnest($1::text[]) AS name
    UNION ALL
    SELECT format('ALTER FUNCTION %I.%I SET SCHEMA %I', $4::text, moving.proname, $5::text)
    FROM pg_proc AS moving
    WHERE $2
        AND moving.pronamespace = to_regnamespace($4::text)
        AND moving.proname IN (SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace($3::text))
"""

# A view depends by its rule; what depends on a table's type, as a function that returns it, does so too.
_DEPENDENTS = """
    SELECT DISTINCT
        CASE classid
            WHEN 'pg_rewrite'::regclass THEN (
                SELECT pg_describe_object('pg_class'::regclass, ev_class, 0) FROM pg_rewrite WHERE oid = objid
            )
            ELSE pg_describe_object(classid, objid, objsubid)
        END AS name
    FROM pg_class
    JOIN pg_depend ON
        (refclassid = 'pg_class'::regclass AND refobjid = pg_class.oid)
        OR (refclassid = 'pg_type'::regclass AND refobjid = pg_class.reltype)
    WHERE pg_class.oid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)
        AND deptype = 'n'
        AND NOT EXISTS (
            SELECT
            FROM pg_rewrite
            WHERE classid = 'pg_rewrite'::regclass
                AND oid = objid
                AND ev_class IN (SELECT to_regclass(name) FROM unnest($2::text[]) AS name)
        )
        -- What the tables have themselves goes with them: rules of columns, and of rows.
        AND NOT EXISTS (
            SELECT FROM pg_attrdef WHERE classid = 'pg_attrdef'::regclass AND oid = objid AND adrelid = pg_class.oid
        )
        AND NOT EXISTS (
            SELECT FROM pg_constraint
            WHERE classid = 'pg_constraint'::regclass AND oid = objid AND conrelid = pg_class.oid
        )
    ORDER BY name
"""

_DELETE_ROWS = """
    DELETE FROM rollbook.{table}
    WHERE tenant_id = $1
        AND {stream} IN (
            SELECT stream_id FROM _touched
            UNION
            SELECT stream_id FROM _differences WHERE table_name = '{table}'
        )
"""

_COPY_ROWS = """
    INSERT INTO rollbook.{table}
    SELECT *
    FROM {table}
    WHERE tenant_id = $1
        AND {stream} IN (
            SELECT stream_id FROM _touched
            UNION
            SELECT stream_id FROM _differences WHERE table_name = '{table}'
        )
"""

_NOTE_VERSIONS = """
    INSERT INTO rollbook.projections (name, version, is_follower, rebuilt_at)
    SELECT name, version, $3, now()
    FROM unnest($1::text[], $2::int[]) AS installed(name, version)
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, rebuilt_at = excluded.rebuilt_at
"""

_NOTE_PLACES = """
    INSERT INTO rollbook.places AS place (tenant_id, follower, seq)
    SELECT tenant_id, $1, seq
    FROM _places
    WHERE seq > 0
    ON CONFLICT (tenant_id, follower) DO UPDATE
    SET seq = excluded.seq, attempts = 0, error = NULL, parked_at = NULL, retry_at = NULL
    WHERE place.seq <> excluded.seq
"""
