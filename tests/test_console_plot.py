"""The geometry of a plot: what is drawn is within it, goes forward in time, and shows each peak."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from api.console.plot import BOTTOM, LEFT, MOST, RIGHT, TOP, Plot, Point, plot, sampled

START = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = timedelta(days=1)

# Any span from a minute to centuries, and counts that a company could have, or not.
GAPS = st.lists(st.tuples(st.timedeltas(timedelta(0), 3_000 * DAY), st.integers(0, 2_000_000)), max_size=60)
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  the offset is given
LIMITS = st.none() | st.integers(0, 10_000_000)


def series(start: datetime, gaps: list[tuple[timedelta, int]]) -> list[Point]:
    points, at = [], start
    for gap, count in gaps:
        at += gap
        points.append((at, count))
    return points


def corners(path: str) -> list[tuple[float, float]]:
    """The corners of a path of M, H and V."""
    found: list[tuple[float, float]] = []
    for letter, first, second in re.findall(r"([MHV])(-?[\d.]+)(?: (-?[\d.]+))?", path):
        x, y = found[-1] if found else (0.0, 0.0)
        found.append({"M": (float(first), float(second or 0)), "H": (float(first), y), "V": (x, float(first))}[letter])
    return found


def highest(plotted: Plot) -> int:
    return int(plotted.counts[-1].label.replace(",", ""))


@for_all(TIMES, GAPS, LIMITS)
def test_the_line_goes_forward_within_the_plot_and_ends_at_its_right(
    start: datetime, gaps: list[tuple[timedelta, int]], limit: int | None
) -> None:
    plotted = plot(series(start, gaps), limit)

    found = corners(plotted.line)
    assert bool(found) == bool(gaps)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in found)
    assert not found or found[-1][0] == RIGHT
    assert not found or plotted.area == f"{plotted.line}V{BOTTOM:g}H{found[0][0]:g}Z"


@for_all(TIMES, GAPS, LIMITS, st.integers(3, 40))
def test_the_peak_is_where_and_as_high_as_it_was_however_few_steps_there_are(
    start: datetime, gaps: list[tuple[timedelta, int]], limit: int | None, most: int
) -> None:
    points = series(start, [*gaps, (DAY, 1), (DAY, 1)])
    plotted = plot(points, limit, most=most)

    peak = max(count for _, count in points)
    height = round(BOTTOM - peak / highest(plotted) * (BOTTOM - TOP), 1)
    assert min(y for _, y in corners(plotted.line)) == height
    places = {round(LEFT + (at - points[0][0]) / (points[-1][0] - points[0][0]) * (RIGHT - LEFT), 1)
              for at, count in points if count == peak}  # fmt: skip
    assert {x for x, y in corners(plotted.line) if y == height} & places
    assert plotted.line.count("V") < most


@for_all(st.lists(st.integers(0, 50), min_size=1, max_size=300), st.integers(3, 40))
def test_of_each_part_of_many_points_the_peak_and_the_last_one_stay(counts: list[int], most: int) -> None:
    points = series(START, [(DAY, count) for count in counts])

    kept = sampled(points, most)

    assert len(kept) <= most
    assert kept == sorted(kept, key=lambda each: each[0])
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert set(kept) <= set(points)
    part = -(-len(points) // max((most - 1) // 2, 1))  # no peak is further away from one that stayed than a part
    for place, (_, count) in enumerate(points):
        near = [each for at, each in kept if abs((at - points[place][0]) / DAY) <= part]
        assert max(near) >= count


@for_all(TIMES, GAPS, LIMITS)
def test_ticks_are_few_in_order_within_the_plot_and_the_count_ones_whole(
    start: datetime, gaps: list[tuple[timedelta, int]], limit: int | None
) -> None:
    plotted = plot(series(start, gaps), limit)

    times, counts = [each.at for each in plotted.times], [each.at for each in plotted.counts]
    assert times == sorted(set(times))
    assert len(times) <= 8
    assert all(LEFT <= at <= RIGHT for at in times)
    assert len({each.label for each in plotted.times}) == len(times)
    assert counts == sorted(set(counts), reverse=True)
    assert (counts[0], counts[-1]) == (BOTTOM, TOP)
    assert 2 <= len(counts) <= 6
    assert all(re.fullmatch(r"0|[125]|\d[\d,]*", each.label) for each in plotted.counts)


def test_without_points_there_are_axes_and_no_line() -> None:
    plotted = plot([], since=START - 30 * DAY, until=START)

    assert (plotted.line, plotted.area) == ("", "")
    assert [each.label for each in plotted.counts] == ["0", "1"]
    assert [each.label for each in plotted.times] == ["26 Oct", "2 Nov", "9 Nov", "16 Nov", "23 Nov"]
    assert plot([]).line == ""


def test_one_point_is_a_level_line() -> None:
    plotted = plot([(START, 7)])

    assert corners(plotted.line) == [(LEFT, 37.0), (RIGHT, 37.0)]
    assert [each.label for each in plotted.counts] == ["0", "2", "4", "6", "8"]


def test_nobody_at_all_is_a_line_on_the_axis() -> None:
    assert {y for _, y in corners(plot([(START, 0), (START + DAY, 0)]).line)} == {BOTTOM}


def test_a_point_before_the_axis_says_how_many_there_were_at_its_beginning_and_one_behind_it_says_nothing() -> None:
    points = [(START - 9 * DAY, 4), (START - DAY, 2), (START + DAY, 3), (START + 9 * DAY, 9)]

    plotted = plot(points, since=START, until=START + 2 * DAY)

    assert plotted.line == "M56 78.7H382V12H708"


@pytest.mark.parametrize(
    ("limit", "is_drawn", "is_above"), [(None, False, False), (90, True, False), (200, True, False), (201, False, True)]
)
def test_a_limit_far_above_does_not_flatten_the_line(limit: int | None, is_drawn: bool, is_above: bool) -> None:
    plotted = plot([(START, 100), (START + DAY, 50)], limit)

    assert (plotted.limit is not None, plotted.is_limit_above) == (is_drawn, is_above)
    assert highest(plotted) == (200 if limit == 200 else 100)
    assert plotted.limit is None or TOP <= plotted.limit.at <= BOTTOM


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (timedelta(minutes=5), ["09:00", "09:01", "09:02", "09:03", "09:04", "09:05"]),
        (timedelta(hours=3), ["09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00"]),
        (DAY, ["12:00", "18:00", "24 Nov", "06:00"]),
        (5 * DAY, ["24 Nov", "25 Nov", "26 Nov", "27 Nov", "28 Nov"]),
        (100 * DAY, ["Dec 2026", "Jan 2027", "Feb 2027", "Mar 2027"]),
        (365 * DAY, ["Jan 2027", "Apr 2027", "Jul 2027", "Oct 2027"]),
        (1_500 * DAY, ["2027", "2028", "2029", "2030", "2031"]),
        (30_000 * DAY, ["2041", "2061", "2081", "2101"]),
    ],
)
def test_ticks_of_time_stand_at_whole_units(span: timedelta, labels: list[str]) -> None:
    assert [each.label for each in plot([(START, 1), (START + span, 1)]).times] == labels


def test_a_million_changes_make_a_line_of_a_few_hundred_steps() -> None:
    points = [(START + place * timedelta(seconds=30), place % 1_000) for place in range(1_000_000)]

    plotted = plot(points, 1_000)

    assert MOST // 2 < plotted.line.count("V") < MOST
    assert len(plotted.line) < 8_000
