"""How many seats were taken, and when: queries on the rows that the follower `seat_history` keeps.

What the follower has yet to apply is not there. Days and months are those of UTC.
"""

from datetime import date, datetime
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct


class SeatsTaken(Struct, frozen=True):
    """Active users in all and by role, from an event on; roles that nobody active has are left out.

    The first two are None before anything was ever counted.
    """

    seq: int | None
    recorded_at: datetime | None
    active: int
    by_role: dict[str, int]


class Peak(Struct, frozen=True):
    """The most seats that were taken at any moment of a day or month, and how many at its end, or up to now.

    `first_day` is the day, or the first one of the month.
    """

    first_day: date
    peak: int
    active: int


class SeatCurve:
    """Queries of one tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def taken_at(self, tenant_id: UUID, moment: datetime) -> SeatsTaken:
        """After everything that was recorded at the moment or before it."""
        rows = await self._pool.fetch(_AT, tenant_id, moment)
        return _taken(rows[0]) if rows else SeatsTaken(None, None, 0, {})

    async def changes(
        self, tenant_id: UUID, start: datetime, end: datetime, after_seq: int = 0, limit: int = 1_000
    ) -> list[SeatsTaken]:
        """The changes from `start` on and before `end` in their order, a page of them."""
        rows = await self._pool.fetch(_CHANGES, tenant_id, start, end, after_seq, limit)
        return [_taken(row) for row in rows]

    async def seq_before_latest(self, tenant_id: UUID, number: int) -> int:
        """The seq of the change behind which so many are left; 0 if there are not more of them."""
        query = "SELECT seq FROM rollbook.seat_changes WHERE tenant_id = $1 ORDER BY seq DESC OFFSET $2 LIMIT 1"
        return await self._pool.fetchval(query, tenant_id, number) or 0

    async def peaks_by_day(self, tenant_id: UUID, first: date, last: date) -> list[Peak]:
        """Of each day, without gaps: on one without a change, there were as many as before it."""
        return _peaks(await self._pool.fetch(_PEAKS, tenant_id, first, last, "day"))

    async def peaks_by_month(self, tenant_id: UUID, first: date, last: date) -> list[Peak]:
        """Of each month as a whole, from that of `first` to that of `last`."""
        return _peaks(await self._pool.fetch(_PEAKS, tenant_id, first, last, "month"))


def _taken(row: asyncpg.Record) -> SeatsTaken:
    return SeatsTaken(row["seq"], row["recorded_at"], row["active"], msgspec.json.decode(row["by_role"]))


def _peaks(rows: list[asyncpg.Record]) -> list[Peak]:
    return [Peak(*row.values()) for row in rows]


_AT = """
    SELECT seq, recorded_at, active, by_role
    FROM rollbook.seat_changes
    WHERE tenant_id = $1 AND recorded_at <= $2
    ORDER BY recorded_at DESC, seq DESC
    LIMIT 1
"""

# Times never run backwards within a tenant, so that the order by time is that by seq.
_CHANGES = """
    SELECT seq, recorded_at, active, by_role
    FROM rollbook.seat_changes
    WHERE tenant_id = $1 AND recorded_at >= $2 AND recorded_at < $3 AND seq > $4
    ORDER BY recorded_at, seq
    LIMIT $5
"""

# A period opens with what was taken at the end of the last day that has a row.
_PEAKS = """
    SELECT
        period::date AS first_day,
        greatest(opening.active, coalesce(within.peak, 0)) AS peak,
        coalesce(within.active, opening.active) AS active
    FROM generate_series(
        date_trunc($4, $2::date::timestamp), date_trunc($4, $3::date::timestamp), ('1 ' || $4)::interval
    ) AS period
    CROSS JOIN LATERAL (
        SELECT coalesce((
            SELECT active
            FROM rollbook.seat_days
            WHERE tenant_id = $1 AND day < period::date
            ORDER BY day DESC
            LIMIT 1
        ), 0) AS active
    ) AS opening
    CROSS JOIN LATERAL (
        SELECT max(peak) AS peak, (array_agg(active ORDER BY day DESC))[1] AS active
        FROM rollbook.seat_days
        WHERE tenant_id = $1 AND day >= period::date AND day < (period + ('1 ' || $4)::interval)::date
    ) AS within
    ORDER BY period
"""
