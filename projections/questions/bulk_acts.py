"""Bulk acts: many people changed by one actor within a short time."""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from projections.batch import NO_GROUP
from projections.question import Asking, Page, Period, Question, page_up_to, seq_after

PART = 100_000  # events that are looked at for one page
READ_AT_A_TIME = 10_000


class BulkAct(Struct, frozen=True, kw_only=True):
    """A time in which one actor changed so many people: from the first to the last of the acts.

    One that goes on past a seq that is a multiple of 100,000 is told in parts.
    """

    first_seq: int
    last_seq: int
    began_at: datetime
    ended_at: datetime
    source: str
    actor: str
    events: int
    people: Annotated[int, Meta(description="The most that were changed within the minutes that were asked for.")]


class BulkActsAsked(Period, frozen=True, kw_only=True):
    """How many people, in how short a time."""

    people: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None, Meta(description="More people than these; 50 by default.")
    ] = None
    minutes: Annotated[
        Annotated[int, Meta(ge=1, le=1_440)] | None, Meta(description="Within so many minutes; 5 by default.")
    ] = None


@dataclass
class _Acts:
    """What one actor did in the last minutes, each with its number, and to how many."""

    recent: deque[tuple[datetime, int, UUID, int]] = field(default_factory=deque)
    people: Counter[UUID] = field(default_factory=Counter)
    count: int = 0  # of all that it ever did
    counted: int = 0  # of those that are in a bulk act

    def add(self, at: datetime, seq: int, user_id: UUID) -> None:
        self.count += 1
        self.recent.append((at, seq, user_id, self.count))
        self.people[user_id] += 1

    def forget(self, until: datetime) -> None:
        while self.recent[0][0] <= until:
            user_id = self.recent.popleft()[2]
            self.people[user_id] -= 1
            if not self.people[user_id]:
                del self.people[user_id]


async def _bulk_acts(asking: Asking[BulkActsAsked]) -> Page[BulkAct]:
    """Looks at one part of the log, in the order of the acts' ends: those that are found are all that is kept of it."""
    after, to_seq, minutes = seq_after(asking), asking.settled.to_seq, timedelta(minutes=asking.asked.minutes or 5)
    part_after = after // PART * PART
    part_to = min(part_after + PART, to_seq)
    if after >= to_seq:
        return Page([])
    finder = Finder(asking.asked.people or 50, minutes, part_after)
    looked_to = await asking.pool.fetchval(_BEFORE, asking.tenant_id, part_after + 1, minutes)
    looked_to = max(looked_to, part_after - PART, asking.settled.after_seq)
    while looked_to < part_to:
        rows = await asking.pool.fetch(_ACTS, asking.tenant_id, looked_to, min(looked_to + READ_AT_A_TIME, part_to))
        finder.look_at(rows)
        looked_to += READ_AT_A_TIME
    found = sorted((each for each in finder.found() if each.last_seq > after), key=lambda each: each.last_seq)
    return page_up_to(found[: asking.limit], asking.limit, lambda each: each.last_seq, part_to, to_seq)


class Finder:
    """Looks at acts one after the other; a time without enough of them ends a bulk act.

    Acts up to `after_seq` are remembered only for those that come.
    """

    def __init__(self, people: int, window: timedelta, after_seq: int) -> None:
        self._people = people
        self._window = window
        self._after_seq = after_seq
        self._acts: defaultdict[tuple[str, str], _Acts] = defaultdict(_Acts)
        self._found: list[BulkAct] = []
        self._open: dict[tuple[str, str], BulkAct] = {}

    def look_at(self, rows: Sequence[asyncpg.Record]) -> None:
        for row in rows:
            key = row["source"], row["actor"]
            acts = self._acts[key]
            acts.add(row["recorded_at"], row["seq"], row["stream_id"])
            acts.forget(row["recorded_at"] - self._window)
            if len(acts.people) > self._people and row["seq"] > self._after_seq:
                self._extend(key, acts)

    def found(self) -> Sequence[BulkAct]:
        return [*self._found, *self._open.values()]

    def _extend(self, key: tuple[str, str], acts: _Acts) -> None:
        """Let the open bulk act go on, or begin another one."""
        began, first_seq, _, first_count = acts.recent[0]
        ended, last_seq, _, last_count = acts.recent[-1]
        events, people = last_count - first_count + 1, len(acts.people)
        before = self._open.get(key)
        if before is not None and first_seq <= before.last_seq:
            events = before.events + last_count - acts.counted
            began, first_seq, people = before.began_at, before.first_seq, max(before.people, people)
        elif before is not None:
            self._found.append(before)
        acts.counted = last_count
        source, actor = key
        self._open[key] = BulkAct(
            first_seq=first_seq,
            last_seq=last_seq,
            began_at=began,
            ended_at=ended,
            source=source,
            actor=actor,
            events=events,
            people=people,
        )


BULK_ACTS: Question[BulkActsAsked, BulkAct] = Question(
    "bulk-acts", "Many people changed by one actor within minutes", BulkActsAsked, BulkAct, _bulk_acts
)

# The last seq that is not within the minutes before an event.
_BEFORE = """
    SELECT rollbook.last_seq_before($1, recorded_at - $3::interval)
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq = $2
"""

_ACTS = f"""
    SELECT seq, recorded_at, source, actor, stream_id
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 AND stream_id <> tenant_id AND {NO_GROUP}
    ORDER BY seq
"""  # noqa: S608  constants
