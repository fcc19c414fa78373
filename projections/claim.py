"""A rebuild's claim to its projections: rows that it renews for as long as it lives, so that no two do the same."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import NoReturn
from uuid import uuid4

import asyncpg

from projections.connections import connected
from projections.target import Target

LEASE = 6.0  # seconds until a run that is not heard of is dead
HEARTBEAT = 1.5  # seconds


class AlreadyRunningError(Exception):
    """Another replay of the same projection is running."""


class Claim:
    """This run's claim to its projections: rows that it renews for as long as it lives."""

    def __init__(self, connection: asyncpg.Connection, target: Target) -> None:
        self._connection = connection
        self._target = target
        self.id = uuid4()
        self.started = time.monotonic()
        self.done = self.total = 0

    async def take(self) -> None:
        """Raises AlreadyRunningError if another run shows a sign of life; waits for the end of one that shows none."""
        names, seen = list(self._target.names), None
        while True:
            claimed = await self._connection.fetch(_CLAIM, names, self.id, LEASE)
            if len(claimed) == len(names):
                return
            await self.release()
            signs = await self._connection.fetchval(_SIGNS_OF_LIFE, names)
            if seen and signs and signs > seen:
                raise AlreadyRunningError(
                    f"Another replay of {' or '.join(sorted(names))} is running; wait for its end."
                )
            seen = signs
            await asyncio.sleep(0.5)

    async def keep_alive(self) -> NoReturn:
        """Raises AlreadyRunningError if another run took this one for dead."""
        while True:
            renewed = await self._connection.fetch(_RENEW, self.id, LEASE, self.done, max(self.done, self.total))
            if not renewed:
                raise taken_for_dead()
            await asyncio.sleep(HEARTBEAT)

    async def check(self, connection: asyncpg.Connection) -> None:
        """Raises AlreadyRunningError if another run took this one for dead. No other one can before the end of the
        transaction that is under way."""
        if not await connection.fetch("SELECT FROM rollbook.replays WHERE run = $1 FOR SHARE", self.id):
            raise taken_for_dead()

    async def release(self) -> None:
        await self._connection.execute("DELETE FROM rollbook.replays WHERE run = $1", self.id)


def taken_for_dead() -> AlreadyRunningError:
    return AlreadyRunningError("Another replay took this one for dead, and runs now; wait for its end.")


@contextlib.asynccontextmanager
async def claimed(owner_url: str, target: Target) -> AsyncIterator[Claim]:
    async with connected(owner_url) as connection:
        await connection.execute("SET ROLE rollbook_owner")
        claim = Claim(connection, target)
        await claim.take()
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:  # which ends the work if the claim cannot be kept
                alive = tasks.create_task(claim.keep_alive())
                yield claim
                alive.cancel()
        except BaseExceptionGroup as errors:
            failure = errors.exceptions[0]
        finally:
            if not connection.is_closed():
                await claim.release()
        if failure:
            raise failure


_CLAIM = """
    INSERT INTO rollbook.replays AS replay (projection, run, leased_until, events_done, events_total)
    SELECT name, $2, now() + make_interval(secs => $3), 0, 0
    FROM unnest($1::text[]) AS name
    ORDER BY name
    ON CONFLICT (projection) DO UPDATE SET run = excluded.run, leased_until = excluded.leased_until
    WHERE replay.leased_until < now()
    RETURNING projection
"""

_SIGNS_OF_LIFE = "SELECT max(leased_until) FROM rollbook.replays WHERE projection = ANY ($1)"

_RENEW = """
    UPDATE rollbook.replays
    SET leased_until = now() + make_interval(secs => $2), events_done = $3, events_total = $4
    WHERE run = $1
    RETURNING projection
"""
