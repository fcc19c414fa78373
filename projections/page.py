"""A page of a list of resources: filtered, sorted, and from behind a place or an offset on; in one statement."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
from msgspec import Struct

from projections import order as orders
from projections.order import BY_AGE, Order, Place
from projections.where import FIRST_PARAMETER, Condition


class Part(Struct, frozen=True, kw_only=True):
    """Which part of a list: at most `limit` rows in this order, from behind a place or an offset on."""

    limit: int
    offset: int = 0
    order: Order = BY_AGE
    after: Place | None = None


class Found(Struct, frozen=True):
    """The rows, how many there are in all, and the place of the last one, if more of them stand behind."""

    rows: Sequence[Any]
    total: int
    last: Place | None


async def fetch(  # noqa: PLR0913, PLR0917  a table, and what is asked of it
    pool: asyncpg.Pool, table: str, columns: str, total: str, tenant_id: UUID, condition: Condition, part: Part
) -> Found:
    """The rows of a table that are not deleted and fulfil the condition. `total` is a query of their number."""
    values = list(condition.values)
    behind, more = "true", list[object]()
    if part.after:
        behind, more = orders.behind(part.order, part.after, FIRST_PARAMETER + len(values))
    query = f"""
        SELECT {columns}, total.total, sort_key::text AS sort_text
        FROM ({total}) AS total(total)
        LEFT JOIN (
            SELECT {columns}, {part.order.key} AS sort_key
            FROM {table}
            WHERE tenant_id = $1 AND NOT is_deleted AND ({condition.sql}) AND {behind}
            ORDER BY {orders.order_by(part.order)}
            OFFSET $2
            LIMIT $3
        ) AS page ON true
        ORDER BY {orders.order_by(part.order, "sort_key")}
    """  # noqa: S608  our own tables and columns; values are parameters
    rows = await pool.fetch(query, tenant_id, part.offset, part.limit + 1, *values, *more)
    # An empty page has one row, of the total alone.
    found = [row for row in rows if row["id"]][: part.limit]
    last = Place(found[-1]["sort_text"], found[-1]["id"]) if found and len(rows) > part.limit else None
    return Found(found, rows[0]["total"], last)


def counted(table: str, condition: Condition) -> str:
    """The query of how many rows of a table are not deleted and fulfil the condition."""
    return f"SELECT count(*) FROM {table} WHERE tenant_id = $1 AND NOT is_deleted AND ({condition.sql})"  # noqa: S608
