"""The geometry of a plot: a count over time as a step line, for inline SVG without any style or script."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from msgspec import Struct

MOST = 400  # steps of the line; more than that nobody can see

Point = tuple[datetime, int]
"""From when on there were so many."""

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 56.0, WIDTH - 12.0, 12.0, HEIGHT - 28.0  # the edges of what is plotted, in units of SVG

_TIMES = 6  # ticks on the axis of time, about
_COUNTS = 5  # steps between ticks on the axis of counts, at most
_FAR = 2  # a limit of more than so many times the peak would flatten the line, and is left out

# A Monday, so that whole weeks begin on one.
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)
_STEPS = (
    *(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30)),
    *(timedelta(hours=hours) for hours in (1, 3, 6, 12)),
    *(timedelta(days=days) for days in (1, 2, 7, 14)),
)
_MONTHS = (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 12_000)
_LAST_MONTH = 9_999 * 12  # that a time can have, from January of the year 1 on


class Tick(Struct, frozen=True):
    """A place on an axis, in units of the view box, with what stands there."""

    at: float
    label: str


class Plot(Struct, frozen=True, kw_only=True):
    """What to draw. `line` and `area` are the `d` of paths, empty without points; `times` are of UTC.

    `limit` is where its line goes; None if there is none, or if it is far above all that is plotted.
    """

    line: str
    area: str
    times: list[Tick]
    counts: list[Tick]
    limit: Tick | None
    is_limit_above: bool
    view_box: str = f"0 0 {WIDTH} {HEIGHT}"
    left: float = LEFT
    right: float = RIGHT
    top: float = TOP
    bottom: float = BOTTOM


class _Scale(Struct, frozen=True):
    """From times and counts to places."""

    start: datetime
    end: datetime
    highest: int

    def x(self, at: datetime) -> float:
        return round(LEFT + (at - self.start) / (self.end - self.start) * (RIGHT - LEFT), 1)

    def y(self, count: int) -> float:
        return round(BOTTOM - count / self.highest * (BOTTOM - TOP), 1)


def plot(
    points: Sequence[Point],
    limit: int | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int = MOST,
) -> Plot:
    """Plot points in the order of their times, each of which holds until the next one and the last one to the end.

    Without `since` and `until` the axis goes from the first to the last. Times have an offset, counts are not negative.
    """
    start, end = _span(points, since, until)
    shown = sampled(_within(points, start, end), most)
    peak = max((count for _, count in shown), default=0)
    is_far = limit is not None and 0 < _FAR * peak < limit
    most_shown = max(peak, 1, 0 if limit is None or is_far else limit)
    step = _count_step(most_shown)
    highest = -(-most_shown // step) * step
    scale = _Scale(start, end, highest)
    line = "".join(_line(shown, scale))
    return Plot(
        line=line,
        area=f"{line}V{BOTTOM:g}H{scale.x(shown[0][0]):g}Z" if shown else "",
        times=[Tick(scale.x(at), label) for at, label in _time_ticks(start, end)],
        counts=[Tick(scale.y(count), f"{count:,}") for count in range(0, highest + 1, step)],
        limit=None if limit is None or is_far else Tick(scale.y(limit), f"{limit:,}"),
        is_limit_above=is_far,
    )


def _span(points: Sequence[Point], since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    start = since or (points[0][0] if points else (until or _EPOCH) - timedelta(days=1))
    end = until or (points[-1][0] if points else start)
    return start, max(end, start + timedelta(minutes=1))


def _within(points: Sequence[Point], start: datetime, end: datetime) -> list[Point]:
    """Those of the span, with how many there were at its beginning."""
    before = [(start, count) for at, count in points if at < start]
    return before[-1:] + [(at, count) for at, count in points if start <= at <= end]


def sampled(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of them: the first one, and of each of many equal parts the peak and the last one."""
    if len(points) <= most:
        return list(points)
    parts = max((most - 1) // 2, 1)
    ends = [1 + (len(points) - 1) * part // parts for part in range(parts + 1)]
    kept = [points[0]]
    for first, end in pairwise(ends):
        peak = max(range(first, end), key=lambda place: points[place][1])
        kept += [points[place] for place in sorted({peak, end - 1})]
    return kept


def _line(points: Sequence[Point], scale: _Scale) -> Iterator[str]:
    height: float | None = None
    for at, count in points:
        if height is None:
            yield f"M{scale.x(at):g} {scale.y(count):g}"
        elif scale.y(count) != height:
            yield f"H{scale.x(at):g}V{scale.y(count):g}"
        height = scale.y(count)
    if height is not None:
        yield f"H{RIGHT:g}"


def _count_step(highest: int) -> int:
    """The least of 1, 2, 5, 10, 20, … that does with few ticks."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power * _COUNTS >= highest:
                return digit * power
        power *= 10


def _time_ticks(start: datetime, end: datetime) -> Iterator[tuple[datetime, str]]:
    for step in _STEPS:
        if (end - start) / step <= _TIMES:
            return _regular(start, end, step)
    months = (end - start) / timedelta(days=30.4)
    return _months(start, end, next(step for step in _MONTHS if months / step <= _TIMES or step == _MONTHS[-1]))


def _regular(start: datetime, end: datetime, step: timedelta) -> Iterator[tuple[datetime, str]]:
    for place in range(-((_EPOCH - start) // step), (end - _EPOCH) // step + 1):
        at = _EPOCH + place * step
        is_day = at.hour == at.minute == 0
        yield at, f"{at.day} {at:%b}" if is_day else f"{at:%H:%M}"


def _months(start: datetime, end: datetime, step: int) -> Iterator[tuple[datetime, str]]:
    start = start.astimezone(UTC)
    first = (start.year - 1) * 12 + start.month - 1
    for month in range(-(-first // step) * step, _LAST_MONTH, step):
        at = datetime(month // 12 + 1, month % 12 + 1, 1, tzinfo=UTC)
        if at > end:
            return
        if at >= start:
            yield at, f"{at.year}" if step >= 12 else f"{at:%b} {at.year}"
