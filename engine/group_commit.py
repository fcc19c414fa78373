"""Group commit: what waits for a tenant's log while an append is under way is appended together, in one call.

All appends of a tenant wait for its head's row, and each holds it until its commit is on disk. So at most one append a
tenant is under way in this process; meanwhile others gather, and go together when it ends.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from engine.observer import NOBODY, Observer
from engine.refusals import Refusal
from engine.store import Appended, ErasedError, LostRaceError, NewEvent

LARGEST = 64  # appends in one call


class Appends(Protocol):
    """What an event store does; and what it does again behind a queue."""

    async def append(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> Appended: ...


class _Waiting:
    """An append in the queue."""

    def __init__(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> None:
        self.batch = batch
        self.rows = rows
        self.appended: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()


class GroupCommit:
    """Appends through a queue for each tenant. Each append is still all or nothing, and refused for itself alone."""

    def __init__(self, store: Appends, observer: Observer = NOBODY) -> None:
        self._store = store
        self._observer = observer
        self._queues: defaultdict[UUID, list[_Waiting]] = defaultdict(list)
        self._writers: dict[UUID, asyncio.Task[None]] = {}

    async def append(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> Appended:
        """As `EventStore.append`. Once queued it is carried out, also if the caller is cancelled meanwhile."""
        tenant_id = batch[0].cause.tenant_id
        waiting = _Waiting(batch, rows)
        self._queues[tenant_id].append(waiting)
        if tenant_id not in self._writers:
            self._writers[tenant_id] = asyncio.create_task(self._write_all(tenant_id))
        return await waiting.appended

    async def _write_all(self, tenant_id: UUID) -> None:
        queue = self._queues[tenant_id]
        while queue:
            group = _take(queue)
            if len(group) == 1 or not await self._append_together(group):
                for waiting in group:
                    await self._append_alone(waiting)
        del self._queues[tenant_id], self._writers[tenant_id]

    async def _append_together(self, group: Sequence[_Waiting]) -> bool:
        """Whether all have their answer; if not, nothing was appended, for a rule was broken by one of them."""
        rows = defaultdict[str, list[Any]](list)
        for waiting in group:
            for name, found in waiting.rows.items():
                rows[name] += found
        batch = [event for waiting in group for event in waiting.batch]
        try:
            appended = await self._store.append(batch, rows)
        except (Refusal, LostRaceError, ErasedError):
            return False  # whose it is shows when each is appended alone
        except Exception as error:  # noqa: BLE001  it is everybody's
            for waiting in group:
                _fail(waiting, error)
            return True
        self._observer.committed(batch, len(group))
        first_seq = appended.first_seq
        for waiting in group:
            _settle(waiting, Appended(first_seq, appended.recorded_at))
            first_seq += len(waiting.batch)
        return True

    async def _append_alone(self, waiting: _Waiting) -> None:
        try:
            appended = await self._store.append(waiting.batch, waiting.rows)
        except Exception as error:  # noqa: BLE001  it is the caller's
            _fail(waiting, error)
        else:
            self._observer.committed(waiting.batch, 1)
            _settle(waiting, appended)


def _settle(waiting: _Waiting, appended: Appended) -> None:
    if not waiting.appended.done():  # the caller may have gone
        waiting.appended.set_result(appended)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.appended.done():
        waiting.appended.set_exception(error)


def _take(queue: list[_Waiting]) -> list[_Waiting]:
    """The next group. Two appends that expect the same place in one stream cannot go together."""
    group: list[_Waiting] = []
    left: list[_Waiting] = []
    places: set[tuple[UUID, int]] = set()
    for waiting in queue:
        wanted = {(event.stream_id, event.version) for event in waiting.batch if event.version is not None}
        if len(group) < LARGEST and not wanted & places:
            group.append(waiting)
            places |= wanted
        else:
            left.append(waiting)
    queue[:] = left
    return group
