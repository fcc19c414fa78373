"""How many seats were taken over time, in few spans: queries on the rows that the follower `seat_history` keeps.

Spans are read from single changes where those are few, and from days where they are many; so the cost does not grow
with the number of changes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from msgspec import Struct

MOST = 400
FEW = 20_000  # changes that are read one by one

_DAY = timedelta(days=1)
_WIDTHS = (
    *(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30)),
    *(timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)),
    *(timedelta(days=days) for days in (1, 2, 7, 14, 28, 91, 182, 364, 3_640)),
)
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday, so that spans of whole weeks begin on one


class SeatSpan(Struct, frozen=True):
    """A span of time: the most seats that were taken at any moment of it, and how many at its end, or up to now."""

    start: datetime
    peak: int
    last: int


async def seats_over_time(
    pool: asyncpg.Pool, tenant_id: UUID, from_: datetime, to: datetime, most: int = MOST
) -> list[SeatSpan]:
    """At most so many spans (two at least), all of the same length and without gaps, the first of which holds `from_`
    and the last one `to`. Where there were many changes they are whole days of UTC. Two statements, three at most.

    What the follower has yet to apply is not there.
    """
    width = _width(from_, to, most)
    if width < _DAY:
        starts = _starts(from_, to, width)
        rows = await pool.fetch(_CHANGES, tenant_id, starts[0], starts[-1] + width, width, FEW + 1)
        if sum(row["changes"] for row in rows) <= FEW:
            return await _spans(pool, tenant_id, starts, rows)
        width = _DAY
    starts = _starts(from_, to, width)
    days = int(width / _DAY)
    rows = await pool.fetch(_DAYS, tenant_id, starts[0].date(), (starts[-1] + width).date(), days)
    return await _spans(pool, tenant_id, starts, rows)


def points_of(spans: Sequence[SeatSpan], until: datetime) -> list[tuple[datetime, int]]:
    """The spans as points of a plot that ends at `until`: the peak of each, and what was left in the end."""
    ends = [(min(each.start, until), each.peak) for each in spans]
    return [*ends, *((until, each.last) for each in spans[-1:])]


def _width(from_: datetime, to: datetime, most: int) -> timedelta:
    return next((width for width in _WIDTHS if _count(_first(from_, width), to, width) <= most), _WIDTHS[-1])


def _starts(from_: datetime, to: datetime, width: timedelta) -> list[datetime]:
    first = _first(from_, width)
    return [first + place * width for place in range(_count(first, to, width))]


def _first(from_: datetime, width: timedelta) -> datetime:
    return _EPOCH + (from_ - _EPOCH) // width * width


def _count(first: datetime, to: datetime, width: timedelta) -> int:
    return max((to - first) // width, 0) + 1


async def _spans(
    pool: asyncpg.Pool, tenant_id: UUID, starts: Sequence[datetime], rows: Sequence[asyncpg.Record]
) -> list[SeatSpan]:
    """With the spans in which nothing changed; each begins with what there was before."""
    last = await pool.fetchval(_BEFORE, tenant_id, starts[0]) or 0
    found = {row["place"]: row for row in rows}
    spans = []
    for place, start in enumerate(starts):
        row = found.get(place)
        peak = max(last, row["peak"]) if row else last
        last = row["last"] if row else last
        spans.append(SeatSpan(start, peak, last))
    return spans


_BEFORE = """
    SELECT active
    FROM rollbook.seat_changes
    WHERE tenant_id = $1 AND recorded_at < $2
    ORDER BY recorded_at DESC, seq DESC
    LIMIT 1
"""

_CHANGES = """
    SELECT
        floor(extract(epoch FROM recorded_at - $2) / extract(epoch FROM $4::interval))::int AS place,
        max(active) AS peak,
        (array_agg(active ORDER BY seq DESC))[1] AS last,
        count(*) AS changes
    FROM (
        SELECT recorded_at, seq, active
        FROM rollbook.seat_changes
        WHERE tenant_id = $1 AND recorded_at >= $2 AND recorded_at < $3
        ORDER BY recorded_at, seq
        LIMIT $5
    ) AS change
    GROUP BY place
"""

_DAYS = """
    SELECT (day - $2) / $4::int AS place, max(peak) AS peak, (array_agg(active ORDER BY day DESC))[1] AS last
    FROM rollbook.seat_days
    WHERE tenant_id = $1 AND day >= $2 AND day < $3
    GROUP BY place
"""
