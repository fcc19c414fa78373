"""What PostgreSQL lets everybody do in a database, and no auditor should: write something, or get in others' way."""

from collections.abc import Sequence

import asyncpg


async def open_doors(connection: asyncpg.Connection) -> Sequence[str]:
    """The statements that take it from everybody, as far as auditors still may.

    Rights of PUBLIC cannot be taken from one role; so these are about all roles of the database but superusers and
    owners of what they are about.
    """
    return [row["statement"] for row in await connection.fetch(_DOORS)]


async def close_doors(connection: asyncpg.Connection) -> None:
    """In a database that nobody else uses. The connection must be a superuser's."""
    for statement in await open_doors(connection):
        await connection.execute(statement)


# Temporary tables fill the disk, and may hold functions; large objects can be made and written by everybody. Rollbook's
# own lock is an advisory one, and a session that takes very many leaves none to others; a message goes into the WAL.
_DOORS = """
    SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()) AS statement
    WHERE has_database_privilege('rollbook_auditor', current_database(), 'TEMPORARY')
    UNION ALL
    SELECT format('REVOKE CREATE ON DATABASE %I FROM PUBLIC', current_database())
    WHERE has_database_privilege('rollbook_auditor', current_database(), 'CREATE')
    UNION ALL
    SELECT format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', nspname)
    FROM pg_namespace
    WHERE has_schema_privilege('rollbook_auditor', oid, 'CREATE') AND NOT starts_with(nspname, 'pg_')
    UNION ALL
    SELECT format(
        'REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', string_agg(oid::regprocedure::text, ', ' ORDER BY oid)
    )
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
        AND (
            proname ~ '^(lo_(creat|create|from_bytea|import|put|truncate|truncate64|unlink)|lowrite)$'
            OR proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
            OR proname = 'pg_logical_emit_message'
        )
        AND has_function_privilege('rollbook_auditor', oid, 'EXECUTE')
    HAVING count(*) > 0
"""
