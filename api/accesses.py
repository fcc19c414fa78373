"""Who looked at the audit: noted in the log after the answer, so that no reader waits for it, and lost by none."""

import asyncio

import structlog

from engine.engine import Engine
from engine.events import AuditAccessed, EvidenceExported
from engine.refusals import Busy
from engine.store import Cause

MOST_UNWRITTEN = 1_000  # accesses that wait for the database, until nobody may look any more
AGAIN = 1.0  # seconds until a note that could not be written is tried again
PATIENCE = 3.0  # seconds for what is not written yet, when the service ends

_log = structlog.get_logger("rollbook")


class Accesses:
    """Notes accesses in the background, those that come together in one append."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._unwritten: set[asyncio.Task[None]] = set()

    def check(self) -> None:
        """Raises Busy if so many accesses wait to be noted that another one cannot be vouched for."""
        if len(self._unwritten) >= MOST_UNWRITTEN:
            raise Busy("Nobody may look at the audit unless it is noted, and it cannot be noted now. Try again.")

    def note(self, event: AuditAccessed | EvidenceExported, cause: Cause) -> None:
        """Note it soon, and for certain as long as this process lives."""
        task = asyncio.create_task(self._write(event, cause))
        self._unwritten.add(task)
        task.add_done_callback(self._unwritten.discard)

    async def drain(self) -> None:
        """Wait until all are written, or our patience is over."""
        if self._unwritten:
            _, left = await asyncio.wait(self._unwritten, timeout=PATIENCE)
            if left:
                _log.error("accesses to the audit were not noted", count=len(left))

    async def _write(self, event: AuditAccessed | EvidenceExported, cause: Cause) -> None:
        is_known = False
        while True:
            try:
                await self._engine.note(event, cause)
            except Exception as error:  # noqa: BLE001  the database may be away; the note is kept
                if not is_known:
                    _log.warning("an access to the audit waits to be noted", error=type(error).__name__)
                is_known = True
                await asyncio.sleep(AGAIN)
            else:
                return
