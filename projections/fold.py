"""Folds the log, stream by stream, into the rows of the inline projections."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, cast
from uuid import UUID

import asyncpg
import msgspec

from engine import events, tenant, user
from engine.engine import Outcome
from engine.events import AnyEvent, TenantEvent, UserEvent
from engine.streams import Recorded
from engine.tenant import Tenant
from engine.user import User
from projections.inline import INLINE
from projections.seats import Difference

MOST_ROWS = 1_000  # in one call of a projection's function

State = User | Tenant


def evolve(state: State | None, recorded: Recorded[AnyEvent], tenant_id: UUID) -> State:
    """The state after an event of whichever kind of stream: a tenant's own has the tenant's id."""
    if recorded.stream_id == tenant_id:
        return tenant.evolve(cast(Tenant | None, state), cast(Recorded[TenantEvent], recorded))
    return user.evolve(cast(User | None, state), cast(Recorded[UserEvent], recorded))


def recorded_of(row: asyncpg.Record) -> Recorded[AnyEvent]:
    return Recorded(row["stream_id"], row["version"], row["source"], events.decode(row["data"]), row["recorded_at"])


class Stream:
    """One stream on its way through the fold: its state so far, and the events whose effects are still to be written.

    Of events up to `seen` (a seq) the effects are written already; they only make the state.
    """

    def __init__(self, tenant_id: UUID, stream_id: UUID, seen: int = 0) -> None:
        self.tenant_id = tenant_id
        self.stream_id = stream_id
        self._seen = seen
        self._state: State | None = None
        self._is_changed = False
        self._unwritten: list[Recorded[AnyEvent]] = []

    def take(self, row: asyncpg.Record) -> None:
        recorded = recorded_of(row)
        self._state = evolve(self._state, recorded, self.tenant_id)
        if row["seq"] <= self._seen or isinstance(recorded.event, events.RequestRefused):
            return  # a refusal has no effect on any row
        self._is_changed = True
        # Streams may be long; rows are made of these events through the state alone.
        if not isinstance(recorded.event, events.AttributesChanged | events.SettingsChanged):
            self._unwritten.append(recorded)

    def outcome(self) -> Outcome[State] | None:
        if self._state is None or not self._is_changed:
            return None
        return Outcome(tuple(self._unwritten), self._state)


class Rows:
    """Rows of one tenant, waiting to be written together."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = defaultdict(list)
        self._seats: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, outcome: Outcome[State]) -> None:
        for projection in INLINE:
            for row in projection.rows(outcome):
                if isinstance(row, Difference):
                    self._count(row)
                else:
                    self._rows[projection.name].append(row)

    def _count(self, row: Difference) -> None:
        """Differences add up: one row a role is enough, however many events there were."""
        counts = self._seats[row.role]
        for place, number in enumerate((row.active, row.inactive, row.deleted)):
            counts[place] += number

    def is_full(self) -> bool:
        return any(len(rows) >= MOST_ROWS for rows in self._rows.values())

    def take_all(self) -> Iterator[tuple[str, str]]:
        """Each projection's name with its rows as JSON; nothing is waiting any more afterwards."""
        rows: dict[str, Sequence[Any]] = {**self._rows}
        rows["seats"] = [Difference(role, *counts) for role, counts in self._seats.items()]
        self._rows.clear()
        self._seats.clear()
        for projection in INLINE:
            if rows.get(projection.name):
                yield projection.name, msgspec.json.encode(rows[projection.name]).decode()
