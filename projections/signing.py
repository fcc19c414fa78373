"""Keeps checkpoints up to date: signs, each second, the ledgers that went on since they were signed.

Any number of processes do this side by side. What one of them overlooked is found by the next look at all tenants.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import structlog

from projections.following import LATE, LOOK_COST, SWEEP, UNREACHABLE
from projections.signer import BehindError, ForkError, NoKeyError, Signer

EVERY = 1.0  # seconds
SIGN_COST = 4  # how many times what they took is the least that lies between two rounds of signing
AT_ONCE = 2  # tenants; a connection each
ROUND = 200  # tenants in one round; of more, those where something happens at this moment come first

_log = structlog.get_logger("rollbook")


class Signing:
    """One process's share of the work."""

    def __init__(self, pool: asyncpg.Pool, signer: Signer) -> None:
        self._pool = pool
        self._signer = signer
        self._looked = time.monotonic()
        self._swept = -SWEEP
        self._sweep_pause = SWEEP
        self._waiting: dict[UUID, int] = {}  # tenants, and the seq up to which they are to be signed
        self._recent: set[UUID] = set()
        self._signed: dict[UUID, int] = {}  # of those that were seen at the last look
        self._forked: set[UUID] = set()
        self._trouble: str | None = None

    async def run(self) -> None:
        """Sign until cancelled. A database that is away is waited for."""
        while True:
            started = time.monotonic()
            try:
                await self.sign_some()
            except Exception as error:  # noqa: BLE001  whatever it was, the next look finds the work again
                self._tell(f"the database was away: {type(error).__name__}")
                await asyncio.sleep(UNREACHABLE)
            took = time.monotonic() - started
            await asyncio.sleep(max(EVERY - took, took * SIGN_COST))

    async def sign_some(self) -> None:
        """One round: find what went on, and sign that of it which is in the ledger by now."""
        await self._find()
        if not self._waiting:
            return
        rows = await self._pool.fetch(_SEALED, list(self._waiting))
        ready = [row["tenant_id"] for row in rows if row["seq"] > self._signed.get(row["tenant_id"], 0)]
        ready = sorted(ready, key=lambda tenant_id: tenant_id not in self._recent)[:ROUND]
        free = asyncio.Semaphore(AT_ONCE)

        async def sign(tenant_id: UUID) -> None:
            async with free:
                await self._sign(tenant_id)

        try:
            await _all(sign, ready)
        except NoKeyError as error:
            self._tell(str(error))
        else:
            self._tell(None)

    async def _find(self) -> None:
        """A look at the ends of the logs alone; now and then, at all tenants."""
        started = time.monotonic()
        rows = await self._pool.fetch(_RECENT, LATE + started - self._looked)
        recent = {row["tenant_id"]: row["seq"] for row in rows}
        self._signed = {tenant_id: size for tenant_id, size in self._signed.items() if tenant_id in recent}
        self._looked, self._recent = started, set(recent)
        if started >= self._swept + self._sweep_pause:
            recent |= {row["tenant_id"]: row["seq"] for row in await self._pool.fetch(_UNSIGNED)}
            self._swept = time.monotonic()
            self._sweep_pause = max(SWEEP, (self._swept - started) * LOOK_COST)
        for tenant_id, seq in recent.items():
            if seq > self._signed.get(tenant_id, 0):
                self._waiting[tenant_id] = seq

    async def _sign(self, tenant_id: UUID) -> None:
        try:
            signed = await self._signer.sign(tenant_id, keep=False)
        except BehindError:
            return
        except ForkError as error:
            if tenant_id not in self._forked:
                _log.error("a ledger is not signed", tenant_id=str(tenant_id), reason=str(error))
            self._forked.add(tenant_id)
            del self._waiting[tenant_id]
            return
        self._forked.discard(tenant_id)
        self._signed[tenant_id] = signed.checkpoint.size
        if signed.checkpoint.size >= self._waiting[tenant_id]:
            del self._waiting[tenant_id]

    def _tell(self, trouble: str | None) -> None:
        """Once, until it changes."""
        if trouble and trouble != self._trouble:
            _log.error("checkpoints are not signed", reason=trouble)
        elif self._trouble and not trouble:
            _log.info("checkpoints are signed again")
        self._trouble = trouble


async def _all(work: Callable[[UUID], Awaitable[None]], tenants: list[UUID]) -> None:
    """For each of them; the first error ends it."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for tenant_id in tenants:
                tasks.create_task(_awaited(work(tenant_id)))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _awaited(work: Awaitable[None]) -> None:
    await work


# The subquery is computed once, and not for each row.
_RECENT = """
    SELECT tenant_id, seq
    FROM rollbook.heads
    WHERE recorded_at > (SELECT now() - make_interval(secs => $1))
"""

_SEALED = "SELECT tenant_id, seq FROM rollbook.places WHERE follower = 'ledger' AND tenant_id = ANY ($1)"

_UNSIGNED = """
    SELECT tenant_id, seq
    FROM rollbook.heads
    WHERE seq > coalesce(
        (
            SELECT size
            FROM rollbook.checkpoints
            WHERE checkpoints.tenant_id = heads.tenant_id
            ORDER BY size DESC
            LIMIT 1
        ),
        0
    )
"""
