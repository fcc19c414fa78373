"""Several workers count together: whichever is asked, it tells the totals of all."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api import metrics
from tests.test_metrics import Scrape
from tests.test_serve import Service, status, until


class Workers:
    """A service of two workers, each of which can be stopped so that the other answers."""

    def __init__(self, service: Service, temporary: Path) -> None:
        self.service = service
        self.temporary = temporary

    @property
    def pids(self) -> list[int]:
        """Of those that count pool connections, which is to say that are alive."""
        return sorted(int(path.stem.rpartition("_")[2]) for path in self.temporary.glob("*/gauge_livesum_*.db"))

    def send(self, path: str, times: int = 1, stopped: int | None = None) -> list[httpx.Response]:
        """Answers to as many connections, none of them from the worker that is stopped meanwhile."""
        if stopped:
            os.kill(stopped, signal.SIGSTOP)
        try:
            return [httpx.get(self.service.url + path, timeout=5) for _ in range(times)]
        finally:
            if stopped:
                os.kill(stopped, signal.SIGCONT)

    def scrape(self, stopped: int | None = None) -> Scrape:
        return Scrape(self.send("/metrics", stopped=stopped)[0].text)


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))  # short enough for Postgres' socket
        monkeypatch.setenv("TMPDIR", str(temporary))
        service = Service(tmp_path / "data", "--workers", "2")
        stack.callback(service.close)
        found = Workers(service, temporary)
        assert until(lambda: status(f"{service.url}/readyz") == 200)
        assert until(lambda: len(found.pids) == 2)
        assert until(lambda: found.scrape()["rollbook_pool_connections_max"] == 32)
        yield found


def test_whichever_worker_is_asked_the_totals_are_those_of_all(workers: Workers) -> None:
    first, second = workers.pids
    workers.send("/nowhere", times=3, stopped=first)
    workers.send("/nowhere", times=4, stopped=second)
    for stopped in (first, second):
        found = workers.scrape(stopped=stopped)

        assert found.of("rollbook_requests_total", route="unknown", method="GET", status="404") == 7
        assert found.of("rollbook_request_duration_seconds_count", route="unknown") == 7
        assert found.of("rollbook_refusals_total", reason="NotFound") == 7
        assert set(metrics.COUNTERS) | set(metrics.GAUGES) <= found.names
        assert found["rollbook_build_info"] == 1
        assert found["rollbook_pool_connections_max"] == 32
        assert found["rollbook_database_up"] == 1


def test_of_a_worker_that_died_the_counts_stay_and_the_connections_do_not(workers: Workers) -> None:
    first, second = workers.pids
    workers.send("/nowhere", times=3, stopped=second)
    os.kill(first, signal.SIGKILL)

    assert until(lambda: len(workers.pids) == 2 and first not in workers.pids)
    assert until(lambda: workers.scrape()["rollbook_pool_connections_max"] == 32)
    assert workers.scrape().of("rollbook_requests_total", route="unknown") == 3


def test_the_folder_of_the_counts_is_of_one_run_alone_and_gone_after_it(workers: Workers) -> None:
    [folder] = workers.temporary.glob("rollbook-metrics-*")

    assert folder.stat().st_mode & 0o077 == 0
    assert workers.service.end() == 0
    assert list(workers.temporary.glob("rollbook-metrics-*")) == []
