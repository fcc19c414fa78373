"""Appends what a command comes to, and decides it again if another writer came first."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from engine.decision import Decide, Decision, InlineProjection, S, State, batch_of, dated
from engine.group_commit import Appends
from engine.observer import Observer
from engine.refusals import Busy
from engine.store import Cause, LostRaceError

ATTEMPTS = 5
ATTEMPTS_WITH_GROUPS = 30  # many may add members to one group at the same time, in several processes


class Attempts:
    """Makes each command's append succeed, or gives up with Busy."""

    def __init__(self, store: Appends, inline: Sequence[InlineProjection], observer: Observer) -> None:
        self._store = store
        self._inline = inline
        self._observer = observer
        # One writer for each group at a time in this process; a lock lives as long as somebody holds it or waits.
        self._locks = WeakValueDictionary[UUID, asyncio.Lock]()

    async def carry_out(
        self,
        decide: Decide[S],
        cause: Cause,
        groups: frozenset[UUID] = frozenset(),
        attempts: int = ATTEMPTS,
    ) -> S:
        """The state after the command. A decision without outcomes appends nothing.

        `groups` are those whose streams are written, as far as that is known before the decision. Raises Busy if other
        writers came first each time, and what `decide` and `EventStore.append` raise.
        """
        has_lost = False
        for attempts_left in reversed(range(attempts)):
            async with self._alone_with(groups):
                decision = await decide(is_again=has_lost)
                if not decision.outcomes:
                    return decision.state
                if not decision.groups <= groups:
                    groups |= decision.groups
                    continue  # with their locks, in their order
                try:
                    appended = await self._store.append(batch_of(decision, cause), self._rows(decision))
                except LostRaceError:
                    self._observer.lost_race(attempts_left)
                    has_lost = True
                    continue
                return dated(decision.state, appended.recorded_at)
        raise Busy("Others are changing the same resource at this moment; try again.")

    def members_in(self, decision: Decision[State]) -> Sequence[Any]:
        """The rows of members that the append of this decision writes."""
        return self._rows(decision).get("members", ())

    @asynccontextmanager
    async def _alone_with(self, groups: Iterable[UUID]) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            for each in sorted(groups):
                await held.enter_async_context(self._locks.setdefault(each, asyncio.Lock()))
            yield

    def _rows(self, decision: Decision[State]) -> dict[str, Sequence[Any]]:
        rows: dict[str, list[Any]] = {projection.name: [] for projection in self._inline}
        for projection in self._inline:
            for outcome in decision.outcomes:
                rows[projection.name] += projection.rows(outcome)
        rows["ties"] = [each.as_row() for each in decision.ties]
        rows["roles"] = [{"user_id": each} for each in decision.role_changes]
        return {name: found for name, found in rows.items() if found}
