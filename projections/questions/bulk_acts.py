"""Bulk acts: many people changed by one actor within a short time."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from projections.question import Asking, Page, Period, Question, seq_after

READ_AT_A_TIME = 10_000  # events


class BulkAct(Struct, frozen=True, kw_only=True):
    """A time in which one actor changed so many people: from the first to the last of the acts."""

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
    """What one actor did in the last minutes, and to how many."""

    recent: deque[tuple[datetime, int, UUID]] = field(default_factory=deque)
    people: Counter[UUID] = field(default_factory=Counter)
    count: int = 0  # of all that it ever did


async def _bulk_acts(asking: Asking[BulkActsAsked]) -> Page[BulkAct]:
    """One look at each event of the period; all in one page, for there are few of them."""
    finder = Finder(asking.asked.people or 50, timedelta(minutes=asking.asked.minutes or 5))
    found: list[BulkAct] = []
    after = seq_after(asking)
    while True:
        rows = await asking.pool.fetch(_ACTS, asking.tenant_id, after, asking.settled.to_seq, READ_AT_A_TIME)
        found += finder.find(rows)
        if len(rows) < READ_AT_A_TIME:
            break
        after = rows[-1]["seq"]
    return Page(sorted([*found, *finder.end()], key=lambda each: each.first_seq))


class Finder:
    """Looks at acts one after the other; a time without enough of them ends a bulk act."""

    def __init__(self, people: int, window: timedelta) -> None:
        self._people = people
        self._window = window
        self._acts: dict[tuple[str, str], _Acts] = {}
        self._open: dict[tuple[str, str], BulkAct] = {}
        self._before: dict[tuple[str, str], int] = {}  # what the actor had done before the open bulk act

    def find(self, rows: Sequence[asyncpg.Record]) -> Iterator[BulkAct]:
        """The bulk acts that end with these acts."""
        for row in rows:
            key = row["source"], row["actor"]
            acts = self._acts.setdefault(key, _Acts())
            acts.recent.append((row["recorded_at"], row["seq"], row["stream_id"]))
            acts.people[row["stream_id"]] += 1
            acts.count += 1
            self._forget(acts, row["recorded_at"])
            if len(acts.people) > self._people:
                ended = self._extend(key, acts)
                if ended:
                    yield ended

    def end(self) -> Iterable[BulkAct]:
        """Those that have not ended yet."""
        return self._open.values()

    def _forget(self, acts: _Acts, now: datetime) -> None:
        while acts.recent[0][0] <= now - self._window:
            _, _, user_id = acts.recent.popleft()
            acts.people[user_id] -= 1
            if not acts.people[user_id]:
                del acts.people[user_id]

    def _extend(self, key: tuple[str, str], acts: _Acts) -> BulkAct | None:
        """Let the open bulk act go on, or begin another one; the one that ended by this."""
        began, first_seq, _ = acts.recent[0]
        ended, last_seq, _ = acts.recent[-1]
        before, people = self._open.get(key), len(acts.people)
        goes_on = before is not None and first_seq <= before.last_seq
        if before is not None and goes_on:
            began, first_seq, people = before.began_at, before.first_seq, max(before.people, people)
        else:
            self._before[key] = acts.count - len(acts.recent)
        source, actor = key
        self._open[key] = BulkAct(
            first_seq=first_seq,
            last_seq=last_seq,
            began_at=began,
            ended_at=ended,
            source=source,
            actor=actor,
            events=acts.count - self._before[key],
            people=people,
        )
        return None if goes_on else before


BULK_ACTS: Question[BulkActsAsked, BulkAct] = Question(
    "bulk-acts", "Many people changed by one actor within minutes", BulkActsAsked, BulkAct, _bulk_acts
)

_ACTS = """
    SELECT seq, recorded_at, source, actor, stream_id
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 AND stream_id <> tenant_id
    ORDER BY seq
    LIMIT $4
"""
