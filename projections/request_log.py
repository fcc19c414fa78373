"""The request log: rows of SCIM requests, written in batches, read page by page."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

BETWEEN_QUIRKS = "\n"  # none of them has a line break


class LoggedRequest(Struct, frozen=True):
    """One SCIM request, with nothing in it that a client chose.

    `route` is the address's pattern, `method` one of HTTP's or `other`, `refusal` the scimType or the kind. `changes`
    is how many events it appended, without the record of its own refusal.
    """

    tenant_id: UUID
    at: datetime
    request_id: UUID
    token_id: UUID
    method: str
    route: str
    status: int
    microseconds: int
    user_id: UUID | None = None
    refusal: str | None = None
    quirks: tuple[str, ...] = ()
    changes: int = 0


class RequestSelection(Struct, frozen=True, kw_only=True):
    """Which requests: those that fulfil all that is given. `since` is included, `until` is not."""

    since: datetime | None = None
    until: datetime | None = None
    status: int | None = None
    refusal: str | None = None
    quirk: str | None = None
    token_id: UUID | None = None
    user_id: UUID | None = None


Key = tuple[datetime, UUID]
"""The place of a request in its tenant's order: when it arrived, and its id."""

_CONDITIONS = {
    "since": "at >= {}::timestamptz",
    "until": "at < {}::timestamptz",
    "status": "status = {}::int",
    "refusal": "refusal = {}::text",
    "quirk": "{}::text = ANY (quirks)",
    "token_id": "token_id = {}::uuid",
    "user_id": "user_id = {}::uuid",
}


class RequestLog:
    """Each query is one statement and names one tenant; it reads the period that is asked for, and no other."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def write(self, requests: Sequence[LoggedRequest]) -> None:
        """Add requests of any tenants in one statement; those that are there already stay as they are."""
        if not requests:
            return
        columns = list(zip(*map(_row, requests), strict=True))
        try:
            await self._pool.execute(_WRITE, *columns)
        except asyncpg.CheckViolationError:  # its day was made while it waited to go among the rest
            await self._pool.execute(_WRITE, *columns)

    async def page(
        self, tenant_id: UUID, asked: RequestSelection, cursor: Key | None, limit: int
    ) -> tuple[list[LoggedRequest], Key | None]:
        """The latest requests first, from behind the cursor on, and the cursor of the next page if there is one."""
        query, values = _query(asked, cursor)
        rows = await self._pool.fetch(query, tenant_id, limit + 1, *values)
        found = [_logged(row) for row in rows[:limit]]
        return found, (found[-1].at, found[-1].request_id) if len(rows) > limit else None

    async def prepare(self) -> int:
        """Make the partitions of today and the next days. Raises LockNotAvailableError if others are in the way."""
        made: int = await self._pool.fetchval("SELECT rollbook.prepare_request_log()")
        return made


def _row(request: LoggedRequest) -> tuple[object, ...]:
    return (
        request.tenant_id,
        request.at,
        request.request_id,
        request.token_id,
        request.method,
        request.route,
        request.status,
        request.microseconds,
        request.user_id,
        request.refusal,
        BETWEEN_QUIRKS.join(request.quirks),  # lists of several lengths are no array
        request.changes,
    )


def _logged(row: asyncpg.Record) -> LoggedRequest:
    return LoggedRequest(**{**dict(row), "quirks": tuple(row["quirks"])})


def _query(asked: RequestSelection, cursor: Key | None) -> tuple[str, list[object]]:
    given = {name: value for name in _CONDITIONS if (value := getattr(asked, name)) is not None}
    conditions = [_CONDITIONS[name].format(f"${place}") for place, name in enumerate(given, 3)]
    values = list(given.values())
    # By the index of what was refused; a parameter could not prove that.
    if asked.refusal is not None or (asked.status or 0) >= 400:
        conditions.append("status >= 400")
    if cursor:
        at, request_id = len(values) + 3, len(values) + 4
        # The first line lets partitions be passed over, which the second does not.
        conditions += [f"at <= ${at}::timestamptz", f"(at, request_id) < (${at}::timestamptz, ${request_id}::uuid)"]
        values += cursor
    query = f"""
        SELECT *
        FROM rollbook.request_log
        WHERE {" AND ".join(["tenant_id = $1", *conditions])}
        ORDER BY at DESC, request_id DESC
        LIMIT $2
    """  # noqa: S608  constants
    return query, values


# INSERT, not COPY, which would not go with row-level security. A batch of which nobody knows whether it was written is
# written again.
_WRITE = f"""
    INSERT INTO rollbook.request_log (
        tenant_id, at, request_id, token_id, method, route, status, microseconds, user_id, refusal, quirks, changes
    )
    SELECT
        tenant_id, at, request_id, token_id, method, route, status, microseconds, user_id, refusal,
        string_to_array(quirks, E'{BETWEEN_QUIRKS}'), changes
    FROM unnest(
        $1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int[], $8::bigint[],
        $9::uuid[], $10::text[], $11::text[], $12::int[]
    ) AS given(
        tenant_id, at, request_id, token_id, method, route, status, microseconds, user_id, refusal, quirks, changes
    )
    ON CONFLICT DO NOTHING
"""  # noqa: S608  constants
