"""Who counts what the engine does. By itself nobody; the composition root hands in somebody who does."""

from collections.abc import Sequence

from engine.store import NewEvent


class Observer:
    """Hears of what happened, and does nothing about it: whoever counts overrides what they count.

    Called in the middle of the work, so it neither waits nor raises.
    """

    def committed(self, batch: Sequence[NewEvent], appends: int) -> None:
        """One call of the store wrote these events, of so many appends that went together."""

    def lost_race(self, attempts_left: int) -> None:
        """Another writer came first. With an attempt left the command is decided afresh, otherwise it is refused."""


NOBODY = Observer()
