"""When Entra tries again: one object in escrow, and the whole job in quarantine."""

from dataclasses import dataclass
from datetime import datetime, timedelta

_DAILY = tuple(timedelta(days=day) for day in range(1, 29))
ESCROW = (timedelta(minutes=40), timedelta(hours=6), timedelta(hours=12), *_DAILY)
QUARANTINE = (timedelta(hours=6), timedelta(hours=12), *_DAILY)


def next_attempt(since: datetime, now: datetime, schedule: tuple[timedelta, ...]) -> datetime | None:
    """The first moment of the schedule after now, counted from the first failure; None once the schedule is over."""
    return next((since + delay for delay in schedule if since + delay > now), None)


@dataclass(frozen=True)
class _Escrowed:
    since: datetime
    due: datetime | None


class Escrow:
    """The objects that failed. One that changes in the directory is tried again whatever this says."""

    def __init__(self) -> None:
        self._objects: dict[str, _Escrowed] = {}

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    def due(self, now: datetime) -> list[str]:
        return [object_id for object_id, held in self._objects.items() if held.due and held.due <= now]

    def failed(self, object_id: str, now: datetime) -> None:
        since = self._since(object_id, now)
        self._objects[object_id] = _Escrowed(since, next_attempt(since, now, ESCROW))

    def postponed(self, object_id: str, now: datetime) -> None:
        """The app was busy or out of order: the next cycle tries again, whenever it comes."""
        self._objects[object_id] = _Escrowed(self._since(object_id, now), now)

    def cleared(self, object_id: str) -> None:
        self._objects.pop(object_id, None)

    def _since(self, object_id: str, now: datetime) -> datetime:
        held = self._objects.get(object_id)
        return held.since if held else now


@dataclass(frozen=True)
class Quarantine:
    """The job is held. `next_attempt` is None after four weeks: then the job is switched off."""

    reason: str
    code: str
    detail: str
    since: datetime
    next_attempt: datetime | None

    def lets_through(self, now: datetime) -> bool:
        return self.next_attempt is not None and self.next_attempt <= now


def too_many_failures(processed: int, failed: int, failed_references: int) -> bool:
    """Whether a cycle's failures put the job into quarantine: a small tenant never gets there."""
    if failed + failed_references >= 60_000:
        return True
    return failed >= 5_000 and (failed > 0.4 * processed or failed > 40_000)
