"""Seats over time: after each change, as of a time, and the peak of each day and month, by an independent count."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from api.services import Services
from engine.events import (
    AttributesChanged,
    Change,
    Deactivated,
    Reactivated,
    RoleAssigned,
    UserDeleted,
    UserEvent,
    UserProvisioned,
)
from projections import following
from projections.background.seat_history import FOLLOWER
from projections.following import Following
from projections.seat_curve import Peak, SeatCurve, SeatsTaken
from tests.test_plans import Explainer

TENANT = UUID(int=7)
ANN, BOB, EVE = (UUID(int=number) for number in (101, 102, 103))

Story = Sequence[tuple[str, UUID, UserEvent]]
"""Events in the order of the log: when each was recorded, who it is about, what happened."""


def joined(role: str = "member", *, active: bool = True) -> UserProvisioned:
    return UserProvisioned(attributes={"userName": "u"}, active=active, role=role)


class Log:
    """Writes a log with the times of the past, as its owner can."""

    def __init__(self, owner: asyncpg.Connection, services: Services) -> None:
        self._owner = owner
        self._services = services
        self._seq = 0
        self._versions: Counter[UUID] = Counter()
        self.curve = SeatCurve(services.pool)

    async def tell(self, *story: tuple[str, UUID, UserEvent]) -> "Log":
        await self._owner.executemany(_EVENT, [self._row(*each) for each in story])
        await self._owner.execute(_HEAD, TENANT, self._seq)
        return self

    def _row(self, at: str, person: UUID, event: UserEvent) -> tuple[Any, ...]:
        self._seq += 1
        self._versions[person] += 1
        data = msgspec.json.encode(event).decode()
        moment = datetime.fromisoformat(at)
        return TENANT, self._seq, person, self._versions[person], type(event).__name__, moment, uuid4(), data

    async def follow(self) -> "Log":
        await Following(self._services.pool, [FOLLOWER]).catch_up()
        return self

    async def days(self, first: str, last: str) -> list[tuple[str, int, int]]:
        found = await self.curve.peaks_by_day(TENANT, date.fromisoformat(first), date.fromisoformat(last))
        return shown(found)

    async def months(self, first: str, last: str) -> list[tuple[str, int, int]]:
        found = await self.curve.peaks_by_month(TENANT, date.fromisoformat(first), date.fromisoformat(last))
        return shown(found)

    async def at(self, moment: str) -> dict[str, int]:
        found = await self.curve.taken_at(TENANT, datetime.fromisoformat(moment))
        assert found.active == sum(found.by_role.values())
        return found.by_role


def shown(peaks: Sequence[Peak]) -> list[tuple[str, int, int]]:
    return [(each.first_day.isoformat(), each.peak, each.active) for each in peaks]


_EVENT = """
    INSERT INTO rollbook.events
    VALUES (
        $1, $2, $3, $4, $5, $6, 'directory', 'a', NULL, $7, $8::text::json, 's', sha256('s' || convert_to($8, 'UTF8'))
    )
"""

_HEAD = """
    INSERT INTO rollbook.heads VALUES ($1, $2, '2026-01-01')
    ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq
"""


@pytest.fixture
def log(owner: asyncpg.Connection, services: Services) -> Log:
    return Log(owner, services)


async def test_a_day_without_a_change_has_as_many_seats_as_the_one_before_and_none_before_the_first(log: Log) -> None:
    await log.tell(("2026-03-02T09:00Z", ANN, joined()), ("2026-03-02T10:00Z", BOB, joined()))
    await (await log.tell(("2026-03-05T10:00Z", ANN, Deactivated(role="member")))).follow()

    assert await log.days("2026-03-01", "2026-03-07") == [
        ("2026-03-01", 0, 0),
        ("2026-03-02", 2, 2),
        ("2026-03-03", 2, 2),
        ("2026-03-04", 2, 2),
        ("2026-03-05", 2, 1),  # it opens with two
        ("2026-03-06", 1, 1),
        ("2026-03-07", 1, 1),
    ]


async def test_a_month_opens_with_what_the_one_before_left_and_ends_at_its_last_moment_in_utc(log: Log) -> None:
    await log.tell(
        ("2026-01-31T23:59:59.999999Z", ANN, joined()),
        ("2026-02-01T00:00:00Z", BOB, joined()),
        ("2026-03-01T00:30:00+01:00", EVE, joined()),  # in UTC it is still February
        ("2026-03-01T00:00:00Z", EVE, Deactivated(role="member")),
        ("2026-03-31T12:00:00Z", ANN, UserDeleted(active=True, role="member")),
    )
    await log.follow()

    assert await log.months("2026-01-15", "2026-05-02") == [
        ("2026-01-01", 1, 1),
        ("2026-02-01", 3, 3),
        ("2026-03-01", 3, 1),
        ("2026-04-01", 1, 1),
        ("2026-05-01", 1, 1),
    ]
    assert await log.days("2026-01-31", "2026-02-01") == [("2026-01-31", 1, 1), ("2026-02-01", 2, 2)]


async def test_a_seat_that_is_freed_and_taken_in_one_append_is_counted_event_by_event(log: Log) -> None:
    at = "2026-03-02T09:00Z"
    await log.tell(("2026-03-01T09:00Z", ANN, joined()))
    await log.tell((at, ANN, Deactivated(role="member")), (at, BOB, joined("admin")))
    await log.follow()

    assert await log.days("2026-03-02", "2026-03-02") == [("2026-03-02", 1, 1)]
    assert await log.at(at) == {"admin": 1}
    assert await log.at("2026-03-02T08:59:59.999999Z") == {"member": 1}
    changes = await log.curve.changes(TENANT, datetime.fromisoformat(at), datetime.fromisoformat("2026-03-03T00:00Z"))
    assert [(each.seq, each.active, each.by_role) for each in changes] == [(2, 0, {}), (3, 1, {"admin": 1})]


async def test_a_change_of_role_moves_a_seat_only_if_one_is_held_and_deletion_frees_it(log: Log) -> None:
    await log.tell(
        ("2026-03-01T01:00Z", ANN, joined()),
        ("2026-03-01T02:00Z", ANN, RoleAssigned(from_="member", to="owner", active=True)),
        ("2026-03-01T03:00Z", BOB, joined("admin", active=False)),
        ("2026-03-01T04:00Z", BOB, RoleAssigned(from_="admin", to="member", active=False)),
        ("2026-03-01T05:00Z", BOB, UserDeleted(active=False, role="member")),
        ("2026-03-01T06:00Z", ANN, AttributesChanged(changes={"title": Change(None, "Dr")})),
        ("2026-03-01T07:00Z", ANN, UserDeleted(active=True, role="owner")),
    )
    await log.follow()

    assert [await log.at(f"2026-03-01T0{hour}:30Z") for hour in range(8)] == [
        {},
        {"member": 1},
        *[{"owner": 1}] * 5,
        {},
    ]
    assert await log.days("2026-03-01", "2026-03-02") == [("2026-03-01", 1, 0), ("2026-03-02", 0, 0)]


async def test_changes_come_in_pages_and_end_before_the_end(log: Log) -> None:
    await log.tell(*((f"2026-03-0{day}T00:00Z", UUID(int=day), joined()) for day in range(1, 6)))
    await log.follow()
    start, end = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)

    first = await log.curve.changes(TENANT, start, end, limit=2)
    rest = await log.curve.changes(TENANT, start, end, after_seq=first[-1].seq or 0, limit=2)

    assert [each.active for each in first] == [2, 3]
    assert [each.active for each in rest] == [4]
    assert await log.curve.taken_at(UUID(int=8), end) == SeatsTaken(None, None, 0, {})


def random_story(chance: random.Random, events: int) -> Iterator[tuple[str, UUID, UserEvent]]:
    """Several days and months, several events at one time, people in every state."""
    people: dict[UUID, tuple[bool, str]] = {}
    at = datetime(2026, 1, 27, 20, tzinfo=UTC)
    for number in range(events):
        at += timedelta(minutes=chance.choice([0, 0, 1, 200, 1_440, 4_000]))
        if not people or chance.random() < 0.3:
            person, state = UUID(int=1_000 + number), (chance.random() < 0.8, chance.choice(["owner", "member"]))
            event: UserEvent = joined(state[1], active=state[0])
        else:
            person = chance.choice(list(people))
            event, state = some_event(chance, *people[person])
        people[person] = state
        if isinstance(event, UserDeleted):
            del people[person]
        yield at.isoformat(), person, event


def some_event(chance: random.Random, active: bool, role: str) -> tuple[UserEvent, tuple[bool, str]]:
    kind = chance.random()
    if kind < 0.1:
        return UserDeleted(active=active, role=role), (False, role)
    if kind < 0.3:
        other = "owner" if role == "member" else "member"
        return RoleAssigned(from_=role, to=other, active=active), (active, other)
    if kind < 0.4:
        return AttributesChanged(changes={"title": Change(None, "Dr")}), (active, role)
    return (Deactivated(role=role) if active else Reactivated(role=role)), (not active, role)


def counted(story: Story) -> list[tuple[datetime, Counter[str]]]:
    """Who is there after each event, by asking everybody."""
    people: dict[UUID, tuple[bool, str]] = {}
    found = []
    for at, person, event in story:
        match event:
            case UserProvisioned(active=active, role=role):
                people[person] = active, role
            case RoleAssigned(to=role):
                people[person] = people[person][0], role
            case Deactivated() | UserDeleted():
                people[person] = False, people[person][1]
            case Reactivated():
                people[person] = True, people[person][1]
            case _:
                pass
        seats = Counter(role for active, role in people.values() if active)
        found.append((datetime.fromisoformat(at), seats))
    return found


@pytest.mark.parametrize("seed", range(5))
async def test_however_it_is_cut_into_batches_it_equals_an_independent_count(
    log: Log, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    story = list(random_story(random.Random(seed), 120))
    await log.tell(*story)
    count = counted(story)
    first, last = count[0][0].date() - timedelta(days=1), count[-1][0].date() + timedelta(days=40)
    tables: list[list[tuple[Any, ...]]] = []

    for batch in (1, 2, 7, 1_000):
        monkeypatch.setattr(following, "BATCH", batch)
        await owner.execute("TRUNCATE rollbook.seat_changes, rollbook.seat_days, rollbook.places")
        await log.follow()
        rows = await owner.fetch("SELECT to_jsonb(t)::text FROM rollbook.seat_changes AS t ORDER BY seq")
        rows += await owner.fetch("SELECT to_jsonb(t)::text FROM rollbook.seat_days AS t ORDER BY day")
        tables.append([tuple(row) for row in rows])

    assert all(each == tables[0] for each in tables)
    for moment, _ in count:
        assert await log.at(moment.isoformat()) == [seats for at, seats in count if at <= moment][-1]
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    assert await log.days(first.isoformat(), last.isoformat()) == [
        (day.isoformat(), *peak(count, day, day + timedelta(days=1))) for day in days
    ]
    months = sorted({day.replace(day=1) for day in days})
    assert await log.months(first.isoformat(), last.isoformat()) == [
        (month.isoformat(), *peak(count, month, (month + timedelta(days=31)).replace(day=1))) for month in months
    ]


def peak(count: Sequence[tuple[datetime, Counter[str]]], start: date, end: date) -> tuple[int, int]:
    """The most within the period, and how many at its end."""
    before = [seats.total() for at, seats in count if at.date() < start]
    within = [seats.total() for at, seats in count if start <= at.date() < end]
    known = [before[-1] if before else 0, *within]
    return max(known), known[-1]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_the_seats_as_of_a_time_are_one_index_look_up(owner: asyncpg.Connection, mode: str) -> None:
    await owner.execute(
        """
        INSERT INTO rollbook.seat_changes
        SELECT md5((n % 4)::text)::uuid, n, timestamptz '2026-01-01' + n * interval '1 s', n, '{}'
        FROM generate_series(1, 50000) AS n
        """
    )
    await owner.execute("ANALYZE rollbook.seat_changes")
    explainer: Any = Explainer(owner)
    tenant_id = await owner.fetchval("SELECT md5('1')::uuid")

    await SeatCurve(explainer).taken_at(tenant_id, datetime(2026, 1, 1, 6, tzinfo=UTC))
    plan = await explainer.plan(mode)

    assert plan.indexes == {"seat_changes_by_time"}
    assert not plan.sorts
    assert plan.pages < 10
