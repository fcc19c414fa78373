"""Compares rebuilt tables with the live ones, exactly, and says where they differ."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from projections.table import Table

# That are told, with both rows. There may be millions.
MOST_DIFFERENCES = 10_000
MOST_CHARACTERS = 8_000_000


class Difference(Struct, frozen=True):
    """Where a live row and a rebuilt one differ; None as a row is none.

    `last_seq` is that of the last event of the stream that makes the row, None if it has none. Rows are kept as they
    were read, for decoded they take ten times the memory.
    """

    table: str
    tenant: str | None
    key_json: str
    live_json: str | None
    rebuilt_json: str | None
    last_seq: int | None

    @property
    def key(self) -> dict[str, Any]:
        return _row(self.key_json) or {}

    @property
    def live(self) -> dict[str, Any] | None:
        return _row(self.live_json)

    @property
    def rebuilt(self) -> dict[str, Any] | None:
        return _row(self.rebuilt_json)

    def columns(self) -> list[str]:
        """Those in which the rows differ, be it only in how a number is written."""
        if self.live_json is None or self.rebuilt_json is None:
            return []
        live, rebuilt = (_COLUMNS.decode(row) for row in (self.live_json, self.rebuilt_json))
        return [name for name, value in live.items() if bytes(value) != bytes(rebuilt[name])]


def _row(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])


_COLUMNS = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def compare(connection: asyncpg.Connection, tables: Sequence[Table], tenant_id: UUID | None) -> None:
    """Note down the differences, in the snapshot of the transaction that is under way; the search path leads to the
    rebuilt tables."""
    await connection.execute("TRUNCATE _differences")
    for table in tables:
        # Not one query for both: one tenant's rows shall be found by the index, whatever the planner thinks of it.
        only = "true" if tenant_id is None else "tenant_id = $1"
        keys = ", ".join(f"'{name}', {name}" for name in table.key)
        query = _COMPARE.format(table=table.name, key=", ".join(table.key), keys=keys, stream=table.stream, only=only)
        await connection.execute(query, *([] if tenant_id is None else [tenant_id]))


async def pass_over_erased(connection: asyncpg.Connection, follower: str) -> None:
    """Take back what differs of people whose erasure the follower has yet to come to. Their live rows were deleted at
    once, or written once more by a follower that had read the events before; it deletes them when it comes there."""
    await connection.execute(_DELETE_ERASED, follower)


async def read_differences(connection: asyncpg.Connection) -> tuple[list[Difference], int]:
    """The first differences, and how many more there are."""
    rows = await connection.fetch(_DIFFERENCES, MOST_DIFFERENCES, MOST_CHARACTERS)
    count = await connection.fetchval("SELECT count(*) FROM _differences")
    return [Difference(*row.values()) for row in rows], count - len(rows)


# Byte by byte (*=), so that 1 and 1.0 are not the same; and NULL equals NULL.
_COMPARE = """
    INSERT INTO _differences (table_name, tenant_id, stream_id, key, live, rebuilt)
    SELECT '{table}', tenant_id, coalesce(live.{stream}, rebuilt.{stream}), json_build_object({keys})::text,
        to_jsonb(live)::text, to_jsonb(rebuilt)::text
    FROM (SELECT * FROM rollbook.{table} WHERE {only}) AS live
    FULL JOIN (SELECT * FROM {table} WHERE {only}) AS rebuilt USING ({key})
    WHERE (live *= rebuilt) IS NOT TRUE
    ORDER BY {key}
"""

_DELETE_ERASED = """
    DELETE FROM _differences
    WHERE EXISTS (
        SELECT
        FROM rollbook.events
        LEFT JOIN rollbook.places ON places.tenant_id = events.tenant_id AND places.follower = $1
        WHERE events.tenant_id = _differences.tenant_id
            AND events.stream_id = _differences.stream_id
            AND events.type = 'PersonalDataErased'
            AND events.seq > coalesce(places.seq, 0)
    )
"""

_DIFFERENCES = """
    SELECT
        table_name,
        -- By the log: a row of the tenants may be what differs.
        (
            SELECT data ->> 'name'
            FROM rollbook.events
            WHERE events.tenant_id = told.tenant_id AND seq = 1
        ) AS tenant,
        key,
        live,
        rebuilt,
        (
            SELECT seq
            FROM rollbook.events
            WHERE events.tenant_id = told.tenant_id AND events.stream_id = told.stream_id
            ORDER BY version DESC
            LIMIT 1
        ) AS last_seq
    FROM (
        SELECT *, sum(length(concat(live, rebuilt))) OVER (ORDER BY place) AS characters
        FROM (SELECT * FROM _differences ORDER BY place LIMIT $1) AS first
    ) AS told
    WHERE characters <= $2 OR place = (SELECT min(place) FROM _differences)
    ORDER BY place
"""
