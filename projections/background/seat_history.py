"""How many seats were taken, and when: after each change, and the peak of each day."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from engine.events import Erased, PersonalDataErased
from projections import seats
from projections.batch import Batch, Logged
from projections.follower import Follower
from projections.table import Table

# By the person and the version of an event, how it changed the seats of each role.
Erasures = Mapping[UUID, Mapping[int, Mapping[str, int]]]


class SeatChange(Struct, frozen=True):
    """The seats after an event: active users by role; roles that nobody active has are left out.

    `taken_seq` is the last event by which a seat was taken.
    """

    event: Logged
    by_role: dict[str, int]
    taken_seq: int | None

    @property
    def active(self) -> int:
        return sum(self.by_role.values())

    @property
    def day(self) -> date:
        return self.event.recorded_at.astimezone(UTC).date()


class SeatHistory(Follower):
    """Counts on from the last change, event by event."""

    name = "seat_history"
    version = 2
    tables = (Table("seat_changes", ("tenant_id", "seq")), Table("seat_days", ("tenant_id", "day")))

    async def apply(self, batch: Batch) -> None:
        last = await batch.connection.fetchrow(_LAST, batch.tenant_id)
        before: dict[str, int] = msgspec.json.decode(last["by_role"]) if last else {}
        taken_seq = last["taken_seq"] if last else None
        changes = list(changes_of(before, taken_seq, batch.events, await _erasures(batch)))
        if not changes:
            return
        await batch.connection.copy_records_to_table(
            "seat_changes",
            records=[
                (
                    batch.tenant_id,
                    each.event.seq,
                    each.event.recorded_at,
                    each.active,
                    _json(each.by_role),
                    each.taken_seq,
                )
                for each in changes
            ],
            columns=("tenant_id", "seq", "recorded_at", "active", "by_role", "taken_seq"),
        )
        days = [(batch.tenant_id, *day) for day in days_of(sum(before.values()), changes)]
        await batch.connection.executemany(_PUT_DAY, days)


FOLLOWER = SeatHistory()


async def _erasures(batch: Batch) -> Erasures:
    """What is known of the seats of erased people in the batch, by the person."""
    people = {each.stream_id for each in batch.events if isinstance(each.event, Erased)} - {batch.tenant_id}
    rows = await batch.connection.fetch(_ERASURES, batch.tenant_id, list(people)) if people else []
    known = {row["stream_id"]: _SEATS.decode(row["seats"]) for row in rows}
    return known | {
        each.stream_id: each.event.seats for each in batch.events if isinstance(each.event, PersonalDataErased)
    }


def changes_of(
    before: dict[str, int],
    taken_seq: int | None,
    events: Sequence[Logged],
    erasures: Erasures = MappingProxyType({}),
) -> Iterator[SeatChange]:
    """The seats after each of the events that changes them, counted on from those before."""
    active = Counter(before)
    for event in events:
        counted = _counted(event, erasures)
        if counted:
            active.update(counted)
            if sum(counted.values()) > 0:
                taken_seq = event.seq
            yield SeatChange(event, {role: active[role] for role in sorted(active) if active[role]}, taken_seq)


def _counted(event: Logged, erasures: Erasures) -> dict[str, int]:
    if isinstance(event.event, Erased | PersonalDataErased):
        known = erasures.get(event.stream_id, {}).get(event.version, {})
        return {role: change for role, change in known.items() if change}
    return {each.role: each.active for each in seats.differences(event.event) if each.active}


def days_of(opening: int, changes: Sequence[SeatChange]) -> Iterator[tuple[date, int, int]]:
    """Each day with its peak and what was taken at its end; a day opens with what was taken before."""
    day, peak, active = changes[0].day, opening, opening
    for change in changes:
        if change.day != day:
            yield day, peak, active
            day, peak = change.day, active
        active = change.active
        peak = max(peak, active)
    yield day, peak, active


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_SEATS = msgspec.json.Decoder(dict[int, dict[str, int]])

_ERASURES = """
    SELECT stream_id, coalesce(data ->> 'seats', '{}') AS seats
    FROM rollbook.events
    WHERE tenant_id = $1 AND stream_id = ANY ($2) AND type = 'PersonalDataErased'
"""

_LAST = "SELECT by_role, taken_seq FROM seat_changes WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1"

_PUT_DAY = """
    INSERT INTO seat_days AS known
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant_id, day) DO UPDATE SET
        peak = greatest(known.peak, excluded.peak),
        active = excluded.active
"""
