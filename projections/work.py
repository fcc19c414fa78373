"""What is to be done: tenants whose log went on for a follower, each once."""

import asyncio
from uuid import UUID

from msgspec import Struct


class Work(Struct, frozen=True):
    """A tenant whose log went on for a follower."""

    follower: str
    tenant_id: UUID


class WorkQueue:
    """Work that waits. Nobody gets what somebody else has taken and not yet done: it stays in line.

    What is new and what is a backlog are taken in turns, for a follower that has all tenants before it must not keep
    those waiting where something happens at this moment.
    """

    def __init__(self) -> None:
        self._new: dict[Work, None] = {}  # in the order in which they came
        self._backlog: dict[Work, None] = {}
        self._taken: set[Work] = set()
        self._delayed = 0
        self._is_turn_of_new = True
        self._changed = asyncio.Event()

    @property
    def is_done(self) -> bool:
        return not (self._new or self._backlog or self._taken or self._delayed)

    def add(self, work: Work, *, is_new: bool = False) -> None:
        if work in self._new:
            return
        if is_new:
            self._backlog.pop(work, None)
        (self._new if is_new else self._backlog).setdefault(work)
        self._changed.set()

    def add_later(self, work: Work, seconds: float) -> None:
        self._delayed += 1
        asyncio.get_running_loop().call_later(seconds, self._add_delayed, work)

    def _add_delayed(self, work: Work) -> None:
        self._delayed -= 1
        self.add(work)

    async def take(self) -> Work:
        """Wait for some; it is to be given back with `done`."""
        while (work := self._next()) is None:
            self._changed.clear()
            await self._changed.wait()
        self._taken.add(work)
        return work

    def _next(self) -> Work | None:
        lines = (self._new, self._backlog) if self._is_turn_of_new else (self._backlog, self._new)
        for line in lines:
            for work in line:  # few are taken at a time
                if work not in self._taken:
                    del line[work]
                    self._is_turn_of_new = line is not self._new
                    return work
        return None

    def done(self, work: Work) -> None:
        self._taken.discard(work)
        self._changed.set()
