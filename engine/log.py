"""Reads the log: the events of one tenant, in order or newest first, page by page."""

from collections.abc import Sequence
from datetime import datetime
from itertools import product
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

    `types` are alternatives. `since` is included, `until` is not, `after` and `before` are seqs that are not included
    either. `token_id` finds what was asked with the token, in whosever name.
    """

    stream_id: UUID | None = None
    types: tuple[str, ...] = ()
    source: Source | None = None
    actor: str | None = None
    token_id: UUID | None = None
    request_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None
    before: int | None = None
    order: Literal["asc", "desc"] = "desc"


# The moments are looked up in sub-selects, which Postgres evaluates once a statement; the bare call, once a row.
_CONDITIONS = {
    "stream_id": "stream_id = {}::uuid",
    "source": "source = {}::text",
    "actor": "actor = {}::text",
    "request_id": "request_id = {}::uuid",
    "since": "seq > (SELECT rollbook.last_seq_before($1, {}::timestamptz))",
    "until": "seq <= (SELECT rollbook.last_seq_before($1, {}::timestamptz))",
    "after": "seq > {}::bigint",
    "before": "seq < {}::bigint",
}

COLUMNS = "seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data"


class EventLog:
    """Queries on the log. Each is one statement and names one tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def read(self, tenant_id: UUID, selection: Selection, limit: int) -> list[LoggedEvent]:
        """The first events of the selection, at most `limit`."""
        query, values = _query(selection)
        rows = await self._pool.fetch(query, tenant_id, limit, *values)
        return [LoggedEvent(**dict(row)) for row in rows]

    async def places(
        self, tenant_id: UUID, stream_id: UUID, versions: Sequence[int]
    ) -> dict[int, tuple[int, datetime]]:
        """The seq and the time of events of one stream, by their version."""
        rows = await self._pool.fetch(_PLACES, tenant_id, stream_id, versions)
        return {row["version"]: (row["seq"], row["recorded_at"]) for row in rows}


_PLACES = """
    SELECT version, seq, recorded_at
    FROM rollbook.events
    WHERE tenant_id = $1 AND stream_id = $2 AND version = ANY ($3)
"""


def _query(selection: Selection) -> tuple[str, list[object]]:
    given = {name: value for name in _CONDITIONS if (value := getattr(selection, name)) is not None}
    # Without "directory", by the index of what the directory did not do; a parameter could not prove that.
    conditions = ["source <> 'directory'"] if selection.source not in {None, "directory"} else []
    conditions += [_CONDITIONS[name].format(f"${place}") for place, name in enumerate(given, 3)]
    values: list[object] = list(given.values())
    # In a stream, the order by version is the order by seq, and there is an index for it.
    order = f"ORDER BY {'version' if selection.stream_id else 'seq'} {selection.order} LIMIT $2"
    branches = list(product(_types(selection.types, values), _token(selection.token_id, values)))
    selects = [
        f"SELECT {COLUMNS} FROM rollbook.events WHERE {' AND '.join(['tenant_id = $1', *conditions, *filter(None, each)])} {order}"  # noqa: E501, S608  constants
        for each in branches
    ]
    if len(selects) == 1:
        return selects[0], values
    # Each alternative is a range of an index, in order; their first ones hold the first ones of all.
    return f"SELECT * FROM (({') UNION ALL ('.join(selects)})) AS events {order}", values  # noqa: S608  constants


def _types(types: Sequence[str], values: list[object]) -> list[str]:
    return [f"type = {_placed(each, values)}::text" for each in types] or [""]


def _token(token_id: UUID | None, values: list[object]) -> list[str]:
    """A token acts in its own name, or in that of a person whom the app named."""
    if token_id is None:
        return [""]
    place = _placed(token_id, values)
    return [
        f"actor = {place}::uuid::text AND token_id = {place}::uuid",
        f"token_id = {place}::uuid AND actor <> token_id::text",
    ]


def _placed(value: object, values: list[object]) -> str:
    values.append(value)
    return f"${len(values) + 2}"
