"""Writes the request log behind the requests: they leave a row in memory, and batches of rows go to the database.

No request waits for it. A process that is killed loses the rows of its last second; while the database is away they
are kept, up to so many, and then the oldest are dropped and counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import asyncpg
import structlog

from projections.request_log import LoggedRequest, RequestLog

PAUSE = 1.0  # seconds for which rows gather
BATCH = 500  # rows in one statement; as many do not wait for the second to end
MOST = 20_000  # rows in memory, about 15 MB; several minutes of a busy directory
UNREACHABLE = 2.0  # seconds until a database that is away is tried again
LAST_WAIT = 3.0  # seconds for the last rows at the end of the service

_log = structlog.get_logger("rollbook")


def _nobody_counts(rows: int) -> None:
    """How many rows were written, or dropped."""


class RequestWriter:
    """The rows of this process that are not written yet."""

    def __init__(
        self,
        log: RequestLog,
        on_written: Callable[[int], None] = _nobody_counts,
        on_dropped: Callable[[int], None] = _nobody_counts,
        most: int = MOST,
    ) -> None:
        self._log = log
        self._on_written = on_written
        self._on_dropped = on_dropped
        self._most = most
        self._waiting: deque[LoggedRequest] = deque()
        self._is_full = asyncio.Event()
        self._dropped = 0  # since the last line in the log about it
        self._error: str | None = None  # that stands in the way now

    def note(self, request: LoggedRequest) -> None:
        """Take a row. Costs about as much as a line in a list."""
        self._waiting.append(request)
        if len(self._waiting) > self._most:
            self._waiting.popleft()
            self._drop(1)
        if len(self._waiting) >= BATCH:
            self._is_full.set()

    async def keep_writing(self) -> None:
        """Write until cancelled, a batch a second or so. A database that is away is waited for."""
        while True:
            self._is_full.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_full.wait(), PAUSE)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001  whatever it is, the rows are kept, and tried again
                self._tell(type(error).__name__)
                await asyncio.sleep(UNREACHABLE)
            else:
                self._error = None

    async def flush(self) -> None:
        """Write all that there is. What fails is kept for the next time."""
        while self._waiting:
            await self._write([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])
        if self._dropped:
            _log.warning("rows of the request log were dropped", rows=self._dropped)
            self._dropped = 0

    async def _write(self, batch: list[LoggedRequest]) -> None:
        try:
            await self._log.write(batch)
        except asyncpg.DataError:  # it would never be taken
            self._drop(len(batch))
        except BaseException:
            self._keep(batch)
            raise
        else:
            self._on_written(len(batch))

    def _keep(self, batch: list[LoggedRequest]) -> None:
        """Put a batch back where it came from, as far as there is room: newer ones matter more."""
        kept = batch[len(batch) - max(0, min(len(batch), self._most - len(self._waiting))) :]
        self._waiting.extendleft(reversed(kept))
        if len(kept) < len(batch):
            self._drop(len(batch) - len(kept))

    def _tell(self, error: str) -> None:
        """Once for as long as it stays the same."""
        if error != self._error:
            _log.warning("the request log cannot be written", error=error, rows=len(self._waiting))
        self._error = error

    def _drop(self, rows: int) -> None:
        self._dropped += rows
        self._on_dropped(rows)

    async def end(self) -> None:
        """Write the last rows, if that can be done soon; tell how many could not be."""
        try:
            async with asyncio.timeout(LAST_WAIT):
                await self.flush()
        except Exception:  # noqa: BLE001  the database is away, or too slow
            _log.warning("rows of the request log were lost at the end", rows=len(self._waiting) + self._dropped)
