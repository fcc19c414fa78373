"""Logs as tests want them: many events, faster than through the engine."""

from uuid import UUID

import asyncpg

PEOPLE = 7  # streams to which the events belong in turn

# As the append writes them, but for the projections: tenants' own events first, and then people's.
_FILL = f"""
    WITH head AS (
        UPDATE rollbook.heads
        SET seq = seq + $2, recorded_at = greatest(clock_timestamp(), recorded_at)
        WHERE tenant_id = $1
        RETURNING seq - $2 AS last, recorded_at
    ),
    made AS (
        SELECT
            head.last + n AS seq,
            md5($1::text || (n % {PEOPLE}))::uuid AS stream_id,
            head.recorded_at,
            '{{"type":"AttributesChanged","changes":{{"title":{{"from":null,"to":"' || head.last + n || '"}}}}}}'
                AS data,
            sha256(convert_to($1::text || (head.last + n), 'UTF8')) AS salt
        FROM head, generate_series(1, $2) AS n
    )
    INSERT INTO rollbook.events (
        tenant_id, seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data, salt, digest
    )
    SELECT
        $1,
        seq,
        stream_id,
        row_number() OVER (PARTITION BY stream_id ORDER BY seq) + coalesce(
            (SELECT max(version) FROM rollbook.events WHERE tenant_id = $1 AND events.stream_id = made.stream_id), 0
        ),
        'AttributesChanged',
        recorded_at,
        'directory',
        'token',
        CASE seq % 3 WHEN 0 THEN NULL ELSE md5('token')::uuid END,
        md5(seq::text)::uuid,
        data::json,
        salt,
        sha256(salt || convert_to(data, 'UTF8'))
    FROM made
"""  # noqa: S608  constants


async def fill(owner: asyncpg.Connection, tenant_id: UUID, count: int) -> None:
    """Let so many more events have happened in a tenant."""
    await owner.execute(_FILL, tenant_id, count)
