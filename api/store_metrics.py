"""What the database says about the whole store when metrics are asked for: followers, rebuilds, directories."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from api.gate import now
from api.last_calls import LastCalls
from projections.followers import Followers, FollowerStatus, ReplayStatus

REMEMBERED = 5.0  # seconds; however often and by however many we are asked, the database is not
WAIT = 3.0  # seconds; who asks waits for 10 at most, if nobody told it otherwise


class _Answer(Struct, frozen=True):
    followers: Sequence[FollowerStatus]
    replays: Sequence[ReplayStatus]
    calls: Sequence[tuple[UUID, datetime]]


class StoreMetrics:
    """Asks the database, and remembers for some seconds what it said, or that it said nothing."""

    def __init__(self, followers: Followers, calls: LastCalls) -> None:
        self._followers = followers
        self._calls = calls
        self._asking = asyncio.Lock()
        self._answer: _Answer | None = None
        self._forget_at = 0.0

    async def collect(self) -> list[Metric]:
        """`rollbook_database_up`, and everything else only if that is 1. Never raises."""
        async with self._asking:
            if time.monotonic() >= self._forget_at:
                self._answer = await self._ask()
                self._forget_at = time.monotonic() + REMEMBERED
            answer = self._answer
        is_up = GaugeMetricFamily("rollbook_database_up", "Whether the database answers.", int(answer is not None))
        return [is_up, *(_families(answer) if answer else ())]

    async def _ask(self) -> _Answer | None:
        try:
            async with asyncio.timeout(WAIT):
                return _Answer(
                    await self._followers.status(), await self._followers.replays(), await self._calls.latest()
                )
        except Exception:  # noqa: BLE001  whatever it is, the other metrics are there
            return None


_OF_FOLLOWERS: dict[str, tuple[str, Callable[[FollowerStatus], float]]] = {
    "rollbook_follower_lag_events": ("Events that are yet to be applied.", lambda each: each.events_behind),
    "rollbook_follower_lag_seconds": ("How long the oldest of them has been waiting.", lambda each: each.oldest_lag),
    "rollbook_follower_tenants_behind": ("Tenants with such events.", lambda each: each.tenants_behind),
    "rollbook_follower_parked": ("Tenants in which an event cannot be applied.", lambda each: each.parked_tenants),
}
_OF_REPLAYS: dict[str, tuple[str, Callable[[ReplayStatus], float]]] = {
    "rollbook_replay_events_done": ("Events that a rebuild under way has applied.", lambda each: each.events_done),
    "rollbook_replay_events_total": ("Events that it has to apply.", lambda each: each.events_total),
}


def _families(answer: _Answer) -> Iterator[Metric]:
    for name, (text, value) in _OF_FOLLOWERS.items():
        yield _family(name, text, "follower", [(each.name, value(each)) for each in answer.followers])
    for name, (text, of_replay) in _OF_REPLAYS.items():
        yield _family(name, text, "projection", [(each.projection, of_replay(each)) for each in answer.replays])
    at = now()
    yield _family(
        "rollbook_directory_silence_seconds",
        "For how long a tenant's directory has not called.",
        "tenant",
        [(str(tenant_id), max(0.0, (at - called_at).total_seconds())) for tenant_id, called_at in answer.calls],
    )


def _family(name: str, text: str, label: str, values: Sequence[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for of, value in values:
        family.add_metric([of], value)
    return family
