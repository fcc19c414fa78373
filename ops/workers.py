"""Several processes that answer requests, and the folder in which they count together."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from api.metrics import FOLDER


class Workers(Multiprocess):
    """uvicorn's. What a worker had open when it died is not counted any longer; what it had done is."""

    _seen: frozenset[int | None] = frozenset()

    def keep_subprocess_alive(self) -> None:
        seen = self._seen | self._pids()
        super().keep_subprocess_alive()
        self._seen = self._pids()
        for pid in seen - self._seen:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library's

    def _pids(self) -> frozenset[int | None]:
        return frozenset(each.pid for each in self.processes)


@contextmanager
def counting_together(workers: int) -> Iterator[None]:
    """A folder of this run alone for the counts of several workers. One worker counts in its memory."""
    if workers == 1 and FOLDER not in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="rollbook-metrics-") as folder:
        os.environ[FOLDER] = folder  # the library looks at it when a worker imports it
        yield
