"""Seats: how many were taken at a moment, each change with its reason, and the peaks of days and months."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Self
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from engine.refusals import BadRequest
from projections.question import Asking, AsOf, Page, Period, Question, Settled, page_of, seq_after


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

    def pinned(self, settled: Settled) -> Self:
        """Days without events pass, too."""
        return msgspec.structs.replace(self, to=self.to or datetime.now(UTC), to_seq=settled.to_seq)


async def _then(asking: Asking[SeatsAsked]) -> Page[SeatsThen]:
    seq = asking.settled.to_seq
    row = await asking.pool.fetchrow(_THEN, asking.tenant_id, seq)
    last = await asking.pool.fetch(_LAST_TAKEN, asking.tenant_id, row["taken_seq"]) if row else []
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
    """Of whole days as they were counted; those on which the part of the log begins and ends are counted afresh."""
    settled, by = asking.settled, asking.asked.by
    edges = await asking.pool.fetchrow(
        _EDGES, asking.tenant_id, settled.after_seq, settled.to_seq, asking.asked.after_seq
    )
    periods = _periods(asking, edges)
    if not periods:
        return Page([])
    first, behind = periods[0], _following(periods[-1], by)
    days = await asking.pool.fetch(
        _DAYS, asking.tenant_id, first, behind, edges["begin"], edges["end"], *_counted_afresh(settled, edges)
    )
    active = await asking.pool.fetchval(_OPENING, asking.tenant_id, settled.after_seq, settled.to_seq, _midnight(first))
    page = periods[: asking.limit]
    found: list[SeatPeak] = []
    for start in page:
        within = [row for row in days if start <= row["day"] < _following(start, by)]
        peak = max([active, *(row["peak"] for row in within)])
        active = within[-1]["active"] if within else active
        found.append(SeatPeak(start, peak, active))
    return Page(found, page[-1].isoformat() if len(periods) > len(page) else None)


def _periods(asking: Asking[PeaksAsked], edges: asyncpg.Record) -> list[date]:
    """The first days of the periods on the page, and of one more if there is one."""
    asked, today = asking.asked, datetime.now(UTC).date()
    if edges["first"] is None or edges["end"] is None or asking.settled.after_seq > asking.settled.to_seq:
        return []
    starts = [edges["first"], *([asked.from_.date()] if asked.from_ else []), *filter(None, [edges["asked"]])]
    start = _start_of(max(starts), asked.by)
    if asking.after is not None:
        start = max(start, _following(_start_of(_day(asking.after), asked.by), asked.by))
    last = min(today, _last_day(asked, edges))
    found: list[date] = []
    while start <= last and len(found) <= asking.limit:
        found.append(start)
        start = _following(start, asked.by)
    return found


def _last_day(asked: PeaksAsked, edges: asyncpg.Record) -> date:
    """The last one before the end of the period; if that is a seq, the one on which it was recorded."""
    if asked.to is not None:
        return (asked.to - datetime.resolution).date()
    last: date = date.max if asked.to_seq is None else edges["end"]
    return last


def _counted_afresh(settled: Settled, edges: asyncpg.Record) -> tuple[list[int], list[int]]:
    """The ends of the parts of the log that lie on the first day and on the last one, of which there are parts only."""
    ranges = {(max(settled.after_seq, edges["before_end"]), settled.to_seq)}
    if edges["begin"] is not None and edges["begin"] != edges["end"]:
        ranges.add((settled.after_seq, edges["begin_to"]))
    return [after for after, _ in ranges], [to for _, to in ranges]


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadRequest("after takes the key that the page before named as its end: a date.") from None
    if not 1 < day.year < date.max.year:
        raise BadRequest("after is a date on which nothing was counted.")
    return day


def _start_of(day: date, by: Literal["day", "month"]) -> date:
    return day if by == "day" else day.replace(day=1)


def _following(start: date, by: Literal["day", "month"]) -> date:
    return start + timedelta(days=1) if by == "day" else (start + timedelta(days=31)).replace(day=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


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
    SELECT active, by_role, taken_seq
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

_LAST_TAKEN = f"{_CHANGE} WHERE seats.tenant_id = $1 AND seats.seq = $2"

_CHANGES = f"""
    {_CHANGE}
    WHERE seats.tenant_id = $1 AND seats.seq > $2 AND seats.seq <= $3
    ORDER BY seats.seq
    LIMIT $4
"""

# The days of the first and of the last event of the part of the log, with the part's ends on them; the first day ever
# on which seats changed; and the day of the event behind which was asked.
_EDGES = """
    SELECT
        (SELECT day FROM rollbook.seat_days WHERE tenant_id = $1 ORDER BY day LIMIT 1) AS first,
        days.asked,
        days.begin,
        rollbook.last_seq_before($1, (days.begin + 1)::timestamp AT TIME ZONE 'UTC') AS begin_to,
        days.end,
        rollbook.last_seq_before($1, days.end::timestamp AT TIME ZONE 'UTC') AS before_end
    FROM (
        SELECT
            min((recorded_at AT TIME ZONE 'UTC')::date) FILTER (WHERE seq = $2) AS begin,
            min((recorded_at AT TIME ZONE 'UTC')::date) FILTER (WHERE seq = $3) AS end,
            min((recorded_at AT TIME ZONE 'UTC')::date) FILTER (WHERE seq = $4::bigint + 1) AS asked
        FROM rollbook.events
        WHERE tenant_id = $1 AND seq IN ($2, $3, $4::bigint + 1)
    ) AS days
"""

_DAYS = """
    SELECT day, peak, active
    FROM rollbook.seat_days
    WHERE tenant_id = $1 AND day >= $2 AND day < $3 AND ($4::date IS NULL OR day > $4) AND day < $5
    UNION ALL
    SELECT day, max(active), (array_agg(active ORDER BY seq DESC))[1]
    FROM (
        SELECT (changed.recorded_at AT TIME ZONE 'UTC')::date AS day, changed.seq, changed.active
        FROM unnest($6::bigint[], $7::bigint[]) AS part(after_seq, to_seq)
        CROSS JOIN LATERAL (
            SELECT *
            FROM rollbook.seat_changes
            WHERE tenant_id = $1 AND seq > part.after_seq AND seq <= part.to_seq
        ) AS changed
    ) AS changed
    WHERE day >= $2 AND day < $3
    GROUP BY day
    ORDER BY day
"""

# What was taken where the first period begins: at its midnight, or in its midst if the part of the log begins there.
_OPENING = """
    SELECT coalesce((
        SELECT active
        FROM rollbook.seat_changes
        WHERE tenant_id = $1
            AND seq <= (SELECT least($3, greatest($2, rollbook.last_seq_before($1, $4::timestamptz))))
        ORDER BY seq DESC
        LIMIT 1
    ), 0)
"""
