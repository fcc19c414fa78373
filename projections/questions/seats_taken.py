"""Seats: how many were taken at a moment, each change with its reason, and the peaks of days and months."""

from datetime import date, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from engine.refusals import BadRequest
from projections.question import Asking, AsOf, Page, Period, Question, page_of, seq_after
from projections.seat_curve import SeatCurve


class SeatChangeShown(Struct, frozen=True, kw_only=True):
    """A change of the seats that were taken, and the event that brought it about."""

    seq: int
    recorded_at: datetime
    active: Annotated[int, Meta(description="Seats taken from then on.")]
    by_role: dict[str, int]
    change: Annotated[int, Meta(description="1: a seat was taken; -1: one is free; 0: it is one of another role.")]
    user_id: UUID
    type: str
    source: str
    actor: str
    token_id: UUID | None
    request_id: UUID


class SeatsThen(Struct, frozen=True, kw_only=True):
    """The seats as of a moment, and who took the last one of them before it."""

    as_of_seq: int
    active: int
    by_role: dict[str, int]
    last_taken: Annotated[SeatChangeShown | None, Meta(description="The last change by which a seat was taken.")]


class SeatPeak(Struct, frozen=True):
    """The most seats that were taken at any moment of a day or month (UTC), and how many at its end."""

    first_day: Annotated[date, Meta(description="The day, or the first one of the month.")]
    peak: int
    active: int


class SeatsAsked(AsOf, frozen=True, kw_only=True):
    """As of when."""


class SeatChangesAsked(Period, frozen=True, kw_only=True):
    """In which period."""


class PeaksAsked(Period, frozen=True, kw_only=True):
    """In which period, and of what."""

    by: Annotated[Literal["day", "month"], Meta(description="The peaks of days, or of months.")] = "month"


async def _then(asking: Asking[SeatsAsked]) -> Page[SeatsThen]:
    seq = asking.settled.to_seq
    row = await asking.pool.fetchrow(_THEN, asking.tenant_id, seq)
    last = await asking.pool.fetch(_LAST_TAKEN, asking.tenant_id, seq)
    then = SeatsThen(
        as_of_seq=seq,
        active=row["active"] if row else 0,
        by_role=msgspec.json.decode(row["by_role"]) if row else {},
        last_taken=_change(last[0]) if last else None,
    )
    return Page([then])


async def _changes(asking: Asking[SeatChangesAsked]) -> Page[SeatChangeShown]:
    rows = await asking.pool.fetch(_CHANGES, asking.tenant_id, seq_after(asking), asking.settled.to_seq, asking.limit)
    return page_of([_change(row) for row in rows], asking.limit, lambda each: each.seq)


async def _peaks(asking: Asking[PeaksAsked]) -> Page[SeatPeak]:
    days = await asking.pool.fetchrow(_DAYS, asking.tenant_id, asking.asked.from_, asking.asked.to)
    first, last = _day_after(asking, days["first"]), days["last"]
    if first is None or first > last:
        return Page([])
    curve, by = SeatCurve(asking.pool), asking.asked.by
    until = min(last, first + timedelta(days=(asking.limit - 1) * {"day": 1, "month": 28}[by]))
    peaks = curve.peaks_by_day if by == "day" else curve.peaks_by_month
    found = [SeatPeak(each.first_day, each.peak, each.active) for each in await peaks(asking.tenant_id, first, until)]
    is_end = until == last and len(found) <= asking.limit
    return Page(found[: asking.limit], None if is_end else found[: asking.limit][-1].first_day.isoformat())


def _day_after(asking: Asking[PeaksAsked], first: date | None) -> date | None:
    """Where the page begins: behind the period that the page before ended with."""
    if asking.after is None or first is None:
        return first
    try:
        day = date.fromisoformat(asking.after)
    except ValueError:
        raise BadRequest("after takes the key that the page before named as its end: a date.") from None
    if asking.asked.by == "day":
        return max(first, day + timedelta(days=1))
    return max(first, (day.replace(day=28) + timedelta(days=4)).replace(day=1))


def _change(row: asyncpg.Record) -> SeatChangeShown:
    return SeatChangeShown(**{**dict(row), "by_role": msgspec.json.decode(row["by_role"])})


SEATS_THEN: Question[SeatsAsked, SeatsThen] = Question(
    "seats-then", "Seats as of a moment, and who took the last one", SeatsAsked, SeatsThen, _then, ("seat_history",)
)
SEAT_CHANGES: Question[SeatChangesAsked, SeatChangeShown] = Question(
    "seat-changes",
    "Each change of the seats, with its reason",
    SeatChangesAsked,
    SeatChangeShown,
    _changes,
    ("seat_history",),
)
SEAT_PEAKS: Question[PeaksAsked, SeatPeak] = Question(
    "seat-peaks", "The peak of each day or month", PeaksAsked, SeatPeak, _peaks, ("seat_history",)
)

_THEN = """
    SELECT active, by_role
    FROM rollbook.seat_changes
    WHERE tenant_id = $1 AND seq <= $2
    ORDER BY seq DESC
    LIMIT 1
"""

_CHANGE = """
    SELECT
        seats.seq, seats.recorded_at, seats.active, seats.by_role, seats.active - coalesce(before.active, 0) AS change,
        events.stream_id AS user_id, events.type, events.source, events.actor, events.token_id, events.request_id
    FROM rollbook.seat_changes AS seats
    JOIN rollbook.events ON events.tenant_id = $1 AND events.seq = seats.seq
    LEFT JOIN LATERAL (
        SELECT active
        FROM rollbook.seat_changes
        WHERE tenant_id = $1 AND seq < seats.seq
        ORDER BY seq DESC
        LIMIT 1
    ) AS before ON true
"""

_LAST_TAKEN = f"""
    {_CHANGE}
    WHERE seats.tenant_id = $1 AND seats.seq <= $2 AND seats.active > coalesce(before.active, 0)
    ORDER BY seats.seq DESC
    LIMIT 1
"""

_CHANGES = f"""
    {_CHANGE}
    WHERE seats.tenant_id = $1 AND seats.seq > $2 AND seats.seq <= $3
    ORDER BY seats.seq
    LIMIT $4
"""

# From the first day on which seats changed, up to today, as far as the period goes.
_DAYS = """
    SELECT
        greatest(min(day), ($2::timestamptz AT TIME ZONE 'UTC')::date) AS first,
        least(
            (now() AT TIME ZONE 'UTC')::date,
            ($3::timestamptz AT TIME ZONE 'UTC' - interval '1 microsecond')::date
        ) AS last
    FROM (SELECT day FROM rollbook.seat_days WHERE tenant_id = $1 ORDER BY day LIMIT 1) AS first
"""
