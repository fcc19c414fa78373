"""What the service counts of its own work, for Prometheus.

With one process the counts are in its memory. With several, each writes its own into files of one folder, and whoever
is asked adds them up. No label takes a value that a client chose, so there are as many series as there are routes,
methods and statuses, whatever is sent.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import TypeVar

import asyncpg
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from engine import events
from engine.observer import Observer
from engine.refusals import Refusal
from engine.store import NewEvent

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of the files; the library goes by the same variable
VERSION = version("rollbook")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64)

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rollbook_requests_total": ("Requests that were answered.", ("route", "method", "status")),
    "rollbook_refusals_total": ("Requests that were refused, by scimType, or else by kind.", ("reason",)),
    "rollbook_events_appended_total": ("Events that were written to the log.", ("type",)),
    "rollbook_append_conflicts_total": ("Appends that another writer of the same stream forestalled.", ()),
    "rollbook_append_retries_total": ("Commands that were decided afresh after a conflict.", ()),
    "rollbook_append_busy_total": ("Commands that were given up, after a conflict at each attempt.", ()),
    "rollbook_request_log_written_total": ("Rows of the request log that were written.", ()),
    "rollbook_request_log_dropped_total": ("Rows of the request log that were dropped from a full memory.", ()),
    "rollbook_token_cache_lookups_total": ("Tokens of requests: remembered (hit), or not (miss).", ("result",)),
}
HISTOGRAMS: dict[str, tuple[str, tuple[str, ...], Sequence[float]]] = {
    "rollbook_request_duration_seconds": ("From a request's arrival to its answer.", ("route", "method"), SECONDS),
    "rollbook_group_commit_appends": ("How many appends were committed together.", (), SIZES),
}
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "rollbook_pool_connections": ("Open connections to the database, in_use and idle.", ("state",)),
    "rollbook_pool_connections_max": ("Connections to the database that may be open at most.", ()),
}

# There are no such series with several processes, and one shall look the same.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's


class Metrics(Observer):
    """The counts of this process, and the text that tells those of all."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        in_memory: CollectorRegistry | None = self._registry
        if folder := os.environ.get(FOLDER):
            MultiProcessCollector(self._registry, folder)  # type: ignore[no-untyped-call]  # the library's
            in_memory = None
        counters = {name: Counter(name, *how, registry=in_memory) for name, how in COUNTERS.items()}
        histograms = {
            name: Histogram(name, text, labels, buckets=buckets, registry=in_memory)
            for name, (text, labels, buckets) in HISTOGRAMS.items()
        }
        gauges = {
            name: Gauge(name, *how, registry=in_memory, multiprocess_mode="livesum") for name, how in GAUGES.items()
        }
        # To find the labels takes longer than to count, so it is done once for each.
        self._counter = cache(lambda name, *labels: _labelled(counters[name], labels))
        self._histogram = cache(lambda name, *labels: _labelled(histograms[name], labels))
        self._gauge = cache(lambda name, *labels: _labelled(gauges[name], labels))
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Prometheus sees no increase in a series that begins with 1."""
        for reason in reasons():
            self._counter("rollbook_refusals_total", reason)
        for name in events.TYPES:
            self._counter("rollbook_events_appended_total", name)
        for result in ("hit", "miss"):
            self._counter("rollbook_token_cache_lookups_total", result)

    def answered(self, route: str, method: str, status: int, seconds: float, refusal: type[Refusal] | None) -> None:
        method = method if method in METHODS else "other"
        self._counter("rollbook_requests_total", route, method, status).inc()
        self._histogram("rollbook_request_duration_seconds", route, method).observe(seconds)
        if refusal:
            self._counter("rollbook_refusals_total", reason_of(refusal)).inc()

    def committed(self, batch: Sequence[NewEvent], appends: int) -> None:
        self._histogram("rollbook_group_commit_appends").observe(appends)
        for each in batch:
            self._counter("rollbook_events_appended_total", events.type_of(each.event)).inc()

    def lost_race(self, attempts_left: int) -> None:
        self._counter("rollbook_append_conflicts_total").inc()
        self._counter("rollbook_append_retries_total" if attempts_left else "rollbook_append_busy_total").inc()

    def token_looked_up(self, was_remembered: bool) -> None:
        self._counter("rollbook_token_cache_lookups_total", "hit" if was_remembered else "miss").inc()

    def requests_written(self, rows: int) -> None:
        self._counter("rollbook_request_log_written_total").inc(rows)

    def requests_dropped(self, rows: int) -> None:
        self._counter("rollbook_request_log_dropped_total").inc(rows)

    def measure(self, pool: asyncpg.Pool) -> None:
        size, idle = pool.get_size(), pool.get_idle_size()
        self._gauge("rollbook_pool_connections", "in_use").set(size - idle)
        self._gauge("rollbook_pool_connections", "idle").set(idle)
        self._gauge("rollbook_pool_connections_max").set(pool.get_max_size())

    async def keep_measuring(self, pool: asyncpg.Pool, every: float = 1.0) -> None:
        """So that the other processes know what is in use here."""
        while True:
            self.measure(pool)
            await asyncio.sleep(every)

    def text(self, more: Iterable[Metric]) -> bytes:
        """All processes' counts and `more`, in Prometheus' text format."""
        build = InfoMetricFamily("rollbook_build", "The version of Rollbook that is running.", {"version": VERSION})
        return generate_latest(_Found([build, *self._registry.collect(), *more]))


class _Found:
    """Metrics as the library wants to be given them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


T = TypeVar("T", Counter, Histogram, Gauge)


def _labelled(metric: T, labels: Sequence[str | int]) -> T:
    return metric.labels(*labels) if labels else metric


def reason_of(refusal: type[Refusal]) -> str:
    return refusal.scim_type or refusal.__name__


def reasons(of: type[Refusal] = Refusal) -> Iterator[str]:
    """Every reason that there is."""
    for each in of.__subclasses__():
        yield reason_of(each)
        yield from reasons(each)
