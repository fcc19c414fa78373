"""Seats over time in few spans: by an independent count, and cheap however many changes there were."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.services import Services
from projections import seats_over_time as module
from projections.seats_over_time import SeatSpan, points_of, seats_over_time
from tests.test_plans import Explainer

TENANT, OTHER = UUID(int=7), UUID(int=8)
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

Changes = Sequence[tuple[datetime, int]]

PUT = """
    INSERT INTO rollbook.seat_changes (tenant_id, seq, recorded_at, active, by_role)
    VALUES ($1, $2, $3, $4, '{}')
"""
PUT_DAYS = """
    INSERT INTO rollbook.seat_days
    SELECT
        tenant_id,
        (recorded_at AT TIME ZONE 'UTC')::date AS day,
        max(greatest(active, before)),
        (array_agg(active ORDER BY seq DESC))[1]
    FROM (SELECT *, lag(active) OVER (PARTITION BY tenant_id ORDER BY seq) AS before FROM rollbook.seat_changes) AS told
    GROUP BY tenant_id, day
"""


async def keep(owner: asyncpg.Connection, changes: Changes) -> None:
    """The changes, and others of another tenant."""
    for tenant_id, factor in ((TENANT, 1), (OTHER, 1_000)):
        rows = [(tenant_id, seq, at, active * factor) for seq, (at, active) in enumerate(changes, 1)]
        await owner.executemany(PUT, rows)
    await owner.execute(PUT_DAYS)


def story(seed: int, count: int, longest: timedelta) -> Changes:
    dice, at, active, told = random.Random(seed), START, 0, []
    for _ in range(count):
        at += dice.random() ** 4 * longest
        active = max(active + dice.choice((-1, 1, 1, 2, -3, 40, -30)), 0)
        told.append((at, active))
    return told


def counted(changes: Changes, starts: Sequence[datetime], width: timedelta) -> list[SeatSpan]:
    """By looking at all changes for each span."""
    found = []
    for start in starts:
        opening = [active for at, active in changes if at < start][-1:] or [0]
        within = [active for at, active in changes if start <= at < start + width]
        found.append(SeatSpan(start, max(opening + within), (opening + within)[-1]))
    return found


@pytest.mark.parametrize(
    ("longest", "count", "width"),
    [
        (HOUR / 60, 300, timedelta(minutes=1)),
        (HOUR, 300, timedelta(minutes=15)),
        (5 * DAY, 300, DAY),
        (90 * DAY, 500, 28 * DAY),
    ],
)
async def test_each_span_has_the_peak_of_its_changes_and_what_was_left_at_its_end(
    owner: asyncpg.Connection, services: Services, longest: timedelta, count: int, width: timedelta
) -> None:
    changes = story(count, count, longest)
    await keep(owner, changes)

    spans = await seats_over_time(services.pool, TENANT, START, changes[-1][0] + width)

    starts = [each.start for each in spans]
    assert {later - earlier for earlier, later in pairwise(starts)} == {width}
    assert starts[0] <= START < starts[0] + width
    assert starts[-1] <= changes[-1][0] + width < starts[-1] + width
    assert len(spans) <= 400
    assert spans == counted(changes, starts, width)
    assert max(each.peak for each in spans) == max(active for _, active in changes)


async def test_a_part_of_the_time_begins_with_what_there_was_before(
    owner: asyncpg.Connection, services: Services
) -> None:
    await keep(owner, [(START, 5), (START + 30 * DAY, 7), (START + 30 * DAY + HOUR, 2), (START + 60 * DAY, 1)])

    spans = await seats_over_time(services.pool, TENANT, START + 10 * DAY, START + 31 * DAY, most=30)

    assert [(each.peak, each.last) for each in spans] == [(5, 5)] * 20 + [(7, 2)] + [(2, 2)]
    points = points_of(spans, START + 31 * DAY)
    assert [count for _, count in points] == [5] * 20 + [7, 2, 2]
    assert points[-1][0] == START + 31 * DAY


async def test_a_tenant_that_never_had_anybody_had_nobody_all_the_time(services: Services) -> None:
    spans = await seats_over_time(services.pool, TENANT, START, START + 2 * DAY, most=48)

    assert {(each.peak, each.last) for each in spans} == {(0, 0)}
    assert points_of([], START) == []


async def test_where_there_were_many_changes_the_spans_are_days(
    owner: asyncpg.Connection, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = story(1, 200, HOUR)
    await keep(owner, changes)
    end = changes[-1][0]
    monkeypatch.setattr(module, "FEW", 200)
    assert len(await seats_over_time(services.pool, TENANT, START, end)) > 100
    monkeypatch.setattr(module, "FEW", 199)

    spans = await seats_over_time(services.pool, TENANT, START, end)

    assert spans == counted(changes, [START + place * DAY for place in range((end - START) // DAY + 1)], DAY)


MANY = """
    INSERT INTO rollbook.seat_changes (tenant_id, seq, recorded_at, active, by_role)
    SELECT $1, n, $2::timestamptz + n * $3::interval, n % 1000, '{}' FROM generate_series(1, $4::int) AS n
"""


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_the_cost_does_not_grow_with_the_changes(owner: asyncpg.Connection, mode: str) -> None:
    for tenant_id in (TENANT, OTHER):
        await owner.execute(MANY, tenant_id, START, timedelta(seconds=1), 100_000)
    await owner.execute(PUT_DAYS)
    await owner.execute("ANALYZE rollbook.seat_changes, rollbook.seat_days")
    explainer: Any = Explainer(owner)

    asked: list[str] = []

    class Kept:
        """Explains each statement as it is asked for."""

        async def fetch(self, query: str, *values: object) -> Any:
            rows = await explainer.fetch(query, *values)
            await self._look(query)
            return rows

        async def fetchval(self, query: str, *values: object) -> Any:
            value = await explainer.fetchval(query, *values)
            await self._look(query)
            return value

        async def _look(self, query: str) -> None:
            plan = await explainer.plan(mode)
            assert plan.indexes <= {"seat_changes_by_time", "seat_days_pkey"}
            assert plan.pages < 1_000
            asked.append(query)

    pool: Any = Kept()
    assert len(await seats_over_time(pool, TENANT, START, START + DAY)) == 2  # days, for there were many
    assert len(await seats_over_time(pool, TENANT, START, START + HOUR)) == 61
    assert len(asked) == 5
