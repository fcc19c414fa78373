"""Reads the log: the events of one tenant, in order or newest first, page by page."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from msgspec import Struct

from engine.streams import Source


class LoggedEvent(Struct, frozen=True, kw_only=True):
    """An event as it stands in the log. `data` is its JSON, byte for byte; None if it was erased."""

    seq: int
    stream_id: UUID
    version: int
    type: str
    recorded_at: datetime
    source: Source
    actor: str
    token_id: UUID | None
    request_id: UUID
    data: str | None


class Selection(Struct, frozen=True, kw_only=True):
    """Which events, in which order: those that fulfil all that is given.

    `since` is included, `until` is not, `after` and `before` are seqs that are not included either.
    """

    stream_id: UUID | None = None
    type: str | None = None
    source: Source | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None
    before: int | None = None
    order: Literal["asc", "desc"] = "desc"


# The moments are looked up in sub-selects, which Postgres evaluates once a statement; the bare call, once a row.
_CONDITIONS = {
    "stream_id": "stream_id = {}::uuid",
    "type": "type = {}::text",
    "source": "source = {}::text",
    "since": "seq > (SELECT rollbook.last_seq_before($1, {}::timestamptz))",
    "until": "seq <= (SELECT rollbook.last_seq_before($1, {}::timestamptz))",
    "after": "seq > {}::bigint",
    "before": "seq < {}::bigint",
}


class EventLog:
    """Queries on the log. Each is one statement and names one tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def read(self, tenant_id: UUID, selection: Selection, limit: int) -> list[LoggedEvent]:
        """The first events of the selection, at most `limit`."""
        query, values = _query(selection)
        rows = await self._pool.fetch(query, tenant_id, limit, *values)
        return [LoggedEvent(**dict(row)) for row in rows]


def _query(selection: Selection) -> tuple[str, list[object]]:
    given = {name: value for name in _CONDITIONS if (value := getattr(selection, name)) is not None}
    # Without "directory", by the index of what the directory did not do; a parameter could not prove that.
    conditions = ["source <> 'directory'"] if selection.source not in {None, "directory"} else []
    conditions += [_CONDITIONS[name].format(f"${place}") for place, name in enumerate(given, 3)]
    # In a stream, the order by version is the order by seq, and there is an index for it.
    order = "version" if selection.stream_id else "seq"
    query = f"""
        SELECT seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data
        FROM rollbook.events
        WHERE {" AND ".join(["tenant_id = $1", *conditions])}
        ORDER BY {order} {selection.order}
        LIMIT $2
    """  # noqa: S608  constants
    return query, list(given.values())
