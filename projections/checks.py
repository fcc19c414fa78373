"""What the last checks found: `rollbook replay --check` and `rollbook ledger check`, by tenant."""

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version as installed_version
from typing import Literal
from uuid import UUID

import asyncpg
from msgspec import Struct

from projections.table import Table

PROGRAM = installed_version("rollbook")

Kind = Literal["replay", "ledger"]
Outcome = Literal["holds", "differs", "failed", "content_differs", "proof_fails", "signature_fails", "incomplete"]


class CheckResult(Struct, frozen=True, kw_only=True):
    """What a check found in one tenant. `events` were read there, and `differences` were found.

    `name` is that of the projection, or `ledger`. `seconds` are those of the whole run, for a replay check of all
    tenants. Of a check that failed, for an event cannot be applied, nothing else is known. `version` is the program's.
    """

    kind: Kind
    name: str
    started_at: datetime
    seconds: float
    events: int
    differences: int
    outcome: Outcome
    is_of_all: bool
    version: str


async def last_checks(pool: asyncpg.Pool, tenant_id: UUID) -> list[CheckResult]:
    """The last result of each check of this tenant, alone or among all; none if it was never checked."""
    return [CheckResult(**dict(row)) for row in await pool.fetch(_LAST, tenant_id)]


async def note_replay(
    connection: asyncpg.Connection, tables: Sequence[tuple[str, Table]], seconds: float, *, is_of_all: bool
) -> None:
    """Remember what a rebuild found that only compared, through the connection whose search path leads to its notes.
    Each table comes with the name of its projection."""
    names, their_tables = [name for name, _ in tables], [table.name for _, table in tables]
    await connection.execute(_NOTE_REPLAY, names, their_tables, seconds, is_of_all, PROGRAM)


async def note_failed_replay(
    connection: asyncpg.Connection, names: Sequence[str], tenant_id: UUID | None, seconds: float
) -> None:
    """Remember that projections could not be compared: those of one tenant, or of all."""
    await connection.execute(_NOTE_FAILED_REPLAY, names, tenant_id, seconds, PROGRAM)


async def note_ledger(connection: asyncpg.Connection, tenant_id: UUID, result: CheckResult) -> None:
    """Remember what a check of the ledger found in a tenant."""
    await connection.execute(
        _NOTE_LEDGER,
        tenant_id,
        result.name,
        result.started_at,
        result.seconds,
        result.events,
        result.differences,
        result.outcome,
        result.is_of_all,
        result.version,
    )


_LAST = """
    SELECT kind, name, started_at, seconds, events, differences, outcome, is_of_all, version
    FROM rollbook.checks
    WHERE tenant_id = $1
    ORDER BY kind DESC, name
"""

_INSTEAD = """
    ON CONFLICT (tenant_id, kind, name) DO UPDATE SET
        started_at = excluded.started_at,
        seconds = excluded.seconds,
        events = excluded.events,
        differences = excluded.differences,
        outcome = excluded.outcome,
        is_of_all = excluded.is_of_all,
        version = excluded.version
"""

_NOTE_REPLAY = f"""
    INSERT INTO rollbook.checks
        (tenant_id, kind, name, started_at, seconds, events, differences, outcome, is_of_all, version)
    SELECT
        _places.tenant_id,
        'replay',
        checked.name,
        clock_timestamp() - make_interval(secs => $3),
        $3,
        _places.seq,
        coalesce(sum(found.rows), 0),
        CASE WHEN sum(found.rows) > 0 THEN 'differs' ELSE 'holds' END,
        $4,
        $5
    FROM _places
    CROSS JOIN unnest($1::text[], $2::text[]) AS checked(name, table_name)
    LEFT JOIN (
        SELECT tenant_id, table_name, count(*) AS rows
        FROM _differences
        GROUP BY tenant_id, table_name
    ) AS found ON found.tenant_id = _places.tenant_id AND found.table_name = checked.table_name
    GROUP BY _places.tenant_id, _places.seq, checked.name
    ORDER BY _places.tenant_id, checked.name  -- two checks that end at once lock the rows in the same order
    {_INSTEAD}
"""  # noqa: S608  constants

_NOTE_FAILED_REPLAY = f"""
    INSERT INTO rollbook.checks
        (tenant_id, kind, name, started_at, seconds, events, differences, outcome, is_of_all, version)
    SELECT
        heads.tenant_id, 'replay', checked.name, clock_timestamp() - make_interval(secs => $3), $3, 0, 0, 'failed',
        $2::uuid IS NULL, $4
    FROM rollbook.heads
    CROSS JOIN unnest($1::text[]) AS checked(name)
    WHERE $2 IS NULL OR heads.tenant_id = $2
    ORDER BY heads.tenant_id, checked.name
    {_INSTEAD}
"""  # noqa: S608  constants

_NOTE_LEDGER = f"""
    INSERT INTO rollbook.checks
        (tenant_id, kind, name, started_at, seconds, events, differences, outcome, is_of_all, version)
    VALUES ($1, 'ledger', $2, $3, $4, $5, $6, $7, $8, $9)
    {_INSTEAD}
"""  # noqa: S608  constants
