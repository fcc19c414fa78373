"""Sends checkpoints to where they are to be kept by others. Any number of processes do this side by side."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import structlog

from ops.destinations import Destination
from projections.following import LOOK_COST

LOOK = 1.0  # seconds between two looks at least
AGAIN = 30.0  # seconds until a destination that failed is tried again, unless checkpoints are sent more often
AT_ONCE = 4  # notes that are under way to one destination
PAGE = 100  # tenants that are looked up together

_log = structlog.get_logger("rollbook")


class Deliveries:
    """One process's share of the work for one destination. `seconds` lie between two checkpoints of a tenant."""

    def __init__(self, pool: asyncpg.Pool, destination: Destination, seconds: float) -> None:
        self._pool = pool
        self._destination = destination
        self._seconds = seconds
        self._is_failing = False
        self._pause = LOOK

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            with contextlib.suppress(Exception):  # the database is away, which others tell
                await self.send_due()
            await asyncio.sleep(self._pause)

    async def send_due(self) -> None:
        """Send the last checkpoint of each tenant to which that is due."""
        while rows := await self._due():
            free = asyncio.Semaphore(AT_ONCE)
            async with asyncio.TaskGroup() as tasks:
                for row in rows:
                    tasks.create_task(self._send(free, row))
            if self._is_failing or len(rows) < PAGE:
                return

    async def _due(self) -> Sequence[asyncpg.Record]:
        """One alone for a destination that failed, to see whether it works again."""
        started = time.monotonic()
        page = 1 if self._is_failing else PAGE
        rows: list[asyncpg.Record] = await self._pool.fetch(_DUE, self._destination.id, self._seconds, page)
        self._pause = max(LOOK, (time.monotonic() - started) * LOOK_COST)
        return rows

    async def _send(self, free: asyncio.Semaphore, row: asyncpg.Record) -> None:
        tenant_id, size, key = row["tenant_id"], row["size"], row["key"]
        async with free:
            # By whoever comes first; the others find that it was tried just now.
            note = await self._pool.fetchval(_TAKE, tenant_id, self._destination.id, size, key, self._seconds)
            if note is None:
                return
            try:
                await self._destination.send(note)
            except Exception as error:  # noqa: BLE001  whatever it was, it is tried again
                await self._fail(tenant_id, error)
                return
            await self._pool.execute(_SENT, tenant_id, self._destination.id, size)
        if self._is_failing:
            _log.info("checkpoints are sent again", destination=self._destination.kind)
        self._is_failing = False

    async def _fail(self, tenant_id: UUID, error: Exception) -> None:
        if not self._is_failing:
            _log.error("checkpoints cannot be sent", destination=self._destination.kind, error=type(error).__name__)
        self._is_failing = True
        await self._pool.execute(_AGAIN, tenant_id, self._destination.id, max(self._seconds - AGAIN, 0))


# Tenants whose last checkpoint is newer than the one that was sent, and not sent too soon after that.
_DUE = """
    SELECT heads.tenant_id, last.size, last.key
    FROM rollbook.heads
    CROSS JOIN LATERAL (
        SELECT size, key
        FROM rollbook.checkpoints
        WHERE checkpoints.tenant_id = heads.tenant_id
        ORDER BY size DESC, key DESC
        LIMIT 1
    ) AS last
    LEFT JOIN rollbook.checkpoint_deliveries AS delivery
        ON delivery.tenant_id = heads.tenant_id AND delivery.destination = $1
    WHERE last.size > coalesce(delivery.size, 0)
        AND coalesce(delivery.tried_at, '-infinity') <= now() - make_interval(secs => $2)
    LIMIT $3
"""

# A process that is killed before it has sent it leaves that to others, for whom it is due again after a while. What is
# given away is kept.
_TAKE = """
    WITH given AS MATERIALIZED (
        SELECT tenant_id
        FROM rollbook.checkpoints
        WHERE tenant_id = $1 AND size = $3 AND key = $4
        FOR UPDATE
    ),
    taken AS (
        INSERT INTO rollbook.checkpoint_deliveries AS delivery (tenant_id, destination, size, tried_at)
        SELECT tenant_id, $2, 0, now()
        FROM given
        ON CONFLICT (tenant_id, destination) DO UPDATE SET tried_at = excluded.tried_at
        WHERE delivery.size < $3 AND delivery.tried_at <= now() - make_interval(secs => $5)
        RETURNING tenant_id
    )
    UPDATE rollbook.checkpoints
    SET is_kept = true
    WHERE tenant_id = (SELECT tenant_id FROM taken) AND size = $3 AND key = $4
    RETURNING note
"""

_SENT = """
    UPDATE rollbook.checkpoint_deliveries
    SET size = greatest(size, $3)
    WHERE tenant_id = $1 AND destination = $2
"""

_AGAIN = """
    UPDATE rollbook.checkpoint_deliveries
    SET tried_at = now() - make_interval(secs => $3)
    WHERE tenant_id = $1 AND destination = $2
"""
