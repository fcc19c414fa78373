"""Keeps followers up to date: finds tenants whose log went on, and applies what is new, batch by batch.

Any number of processes do this side by side. A lease keeps two of them from the same work; and should it fail, nothing
is lost or doubled, for a place in a tenant's log is moved in the transaction of the follower's writes, by whoever names
the seq that it had. Finding work only has to be quick: what was overlooked is found by the next look at all tenants.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Mapping, Sequence
from uuid import UUID, uuid4

import asyncpg
import structlog

from projections.batch import LogIsBrokenError, read_batch
from projections.follower import Follower
from projections.place import LEASE, Lease, LeasedError, LostPlaceError, Place
from projections.work import Work, WorkQueue

BATCH = 1_000  # events that are applied together
TURNS = 4  # tenants at a time, in one process
LOOK = 0.2  # seconds between two looks at what was appended ...
LONGEST_LOOK = 1.0  # ... or up to so many, where a look takes long
LEFT_BEHIND = 2.0  # seconds between two looks at what was left behind, and at what is to be tried again
SWEEP = 10.0  # seconds between two looks at all places of all tenants
LOOK_COST = 150  # how many times what they took is the least that lies between two looks, of whichever kind
LATE = 5.0  # seconds between recorded_at and the commit; what takes longer is found by the sweep
LEASED = 0.5  # seconds until it is looked whether another process did what it works on
UNREACHABLE = 1.0  # seconds until a database that is away is asked again

_log = structlog.get_logger("rollbook")


class Following:
    """One process's share of the work. The pool's role may write to the followers' tables."""

    def __init__(self, pool: asyncpg.Pool, followers: Sequence[Follower]) -> None:
        self._pool = pool
        self._followers = {each.name: each for each in followers}
        self._process = uuid4()
        self._queue = WorkQueue()
        self._limits: dict[Work, int] = {}
        self._looked = time.monotonic()
        self._seen: Mapping[UUID, int] = {}
        self._is_away = False

    async def run(self) -> None:
        """Follow until cancelled. A database that is away is waited for."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_finding())
            for _ in range(TURNS):
                tasks.create_task(self._keep_taking_turns())

    async def catch_up(self) -> None:
        """Apply all that there is now. What is parked stays so."""
        await self._find_behind()
        while not self._queue.is_done:
            work = await self._queue.take()
            try:
                await self._take_turn(work)
            finally:
                self._queue.done(work)

    # Finding work.

    async def _keep_finding(self) -> None:
        await self._patiently(self._pool.execute(_TRY_PARKED_AGAIN, list(self._followers)))
        due = {self._find_left: 0.0, self._find_behind: 0.0}
        while True:
            started = time.monotonic()
            await self._patiently(self._find_recent())
            took = time.monotonic() - started
            for find, pause in ((self._find_left, LEFT_BEHIND), (self._find_behind, SWEEP)):
                if started >= due[find]:
                    begun = time.monotonic()
                    await self._patiently(find())
                    due[find] = begun + max(pause, (time.monotonic() - begun) * LOOK_COST)
            await asyncio.sleep(min(max(LOOK, took * LOOK_COST), LONGEST_LOOK))

    async def _find_recent(self) -> None:
        """A look at the ends of the logs alone, in the order of magnitude of a millisecond for 10,000 tenants."""
        looked = time.monotonic()
        rows = await self._pool.fetch(_RECENT, LATE + looked - self._looked)
        found = {row["tenant_id"]: row["seq"] for row in rows}
        for tenant_id, seq in found.items():
            if self._seen.get(tenant_id) != seq:
                for name in self._followers:
                    self._queue.add(Work(name, tenant_id), is_new=True)
        self._looked, self._seen = looked, found

    async def _find_left(self) -> None:
        """What a process that was killed left behind, and what is to be tried again."""
        rows = await self._pool.fetch(_LEFT, list(self._followers))
        if rows:
            await self._pool.execute(_END_STUCK, LEASE)
        for row in rows:
            self._queue.add(Work(row["follower"], row["tenant_id"]))

    async def _find_behind(self) -> None:
        """A look at all places of all tenants."""
        found: list[Work] = []
        for each in self._followers.values():
            rows = await self._pool.fetch(_BEHIND, each.name, each.version)
            found += [Work(each.name, row["tenant_id"]) for row in rows]
        random.shuffle(found)  # so that processes do not meet at each tenant
        for work in found:
            self._queue.add(work)

    # Doing it.

    async def _keep_taking_turns(self) -> None:
        while True:
            work = await self._queue.take()
            is_over = await self._patiently(self._take_turn(work))
            self._queue.done(work)
            if not is_over:
                self._queue.add(work)

    async def _take_turn(self, work: Work) -> None:
        """Apply one batch, and stand in line again if there may be more."""
        follower = self._followers[work.follower]
        async with self._pool.acquire() as connection:
            place = Place(connection, self._process, follower, work.tenant_id)
            try:
                lease = await place.lease()
            except LeasedError:
                self._queue.add_later(work, LEASED)
                return
            if lease and await self._advance(connection, place, lease, work):
                self._queue.add(work)

    async def _advance(self, connection: asyncpg.Connection, place: Place, lease: Lease, work: Work) -> bool:
        """Whether there may be more to do."""
        limit = 1 if lease.attempts else self._limits.pop(work, BATCH)
        try:
            seq = await self._apply(connection, place, lease, limit, work)
        except LostPlaceError:
            return True
        except Exception as error:
            if connection.is_closed():
                raise
            return await self._fail(place, lease, limit, work, error)
        if lease.attempts:
            _log.info("no longer parked", follower=work.follower, tenant_id=str(work.tenant_id), seq=lease.seq + 1)
        return seq < lease.last_seq

    async def _apply(self, connection: asyncpg.Connection, place: Place, lease: Lease, limit: int, work: Work) -> int:
        """The new seq. What the events bring about takes effect together with the place's move, or not at all."""
        follower = self._followers[work.follower]
        batch = await read_batch(connection, work.tenant_id, lease.seq, limit, reads_headers=follower.reads_headers)
        seq = lease.seq + len(batch.found)
        if seq < min(lease.seq + limit, lease.last_seq):
            raise LogIsBrokenError(f"the event after seq {seq} is missing")
        async with connection.transaction():
            await place.move(lease.seq, seq)
            await follower.apply(batch)
        return seq

    async def _fail(self, place: Place, lease: Lease, limit: int, work: Work, error: Exception) -> bool:
        """Find the event that it is by halving, and park the place before it; whether there is more to do."""
        if limit > 1:
            self._limits[work] = limit // 2
            return True
        await place.park(lease.seq, error)
        if not lease.attempts:
            # Neither the message nor a value: they may hold personal data.
            name, tenant_id = type(error).__name__, str(work.tenant_id)
            _log.error("parked", follower=work.follower, tenant_id=tenant_id, seq=lease.seq + 1, error=name)
        return False

    async def _patiently(self, work: Awaitable[object]) -> bool:
        """Whether it was done; if not, the database was away, and there was a pause."""
        try:
            await work
        except Exception as error:  # noqa: BLE001  whatever it was, the next look finds the work again
            if not self._is_away:
                _log.warning("followers wait for the database", error=type(error).__name__)
            self._is_away = True
            await asyncio.sleep(UNREACHABLE)
            return False
        if self._is_away:
            _log.info("followers go on")
        self._is_away = False
        return True


# The subquery is computed once, and not for each row.
_RECENT = """
    SELECT tenant_id, seq
    FROM rollbook.heads
    WHERE recorded_at > (SELECT now() - make_interval(secs => $1))
"""

_BEHIND = """
    SELECT heads.tenant_id
    FROM rollbook.heads
    LEFT JOIN rollbook.places ON places.tenant_id = heads.tenant_id AND places.follower = $1
    WHERE heads.seq > coalesce(places.seq, 0)
        AND places.retry_at IS NULL
        AND EXISTS (SELECT FROM rollbook.projections WHERE name = $1 AND version = $2)
"""

_LEFT = """
    SELECT tenant_id, follower
    FROM rollbook.places
    WHERE (leased_by IS NOT NULL OR retry_at IS NOT NULL)
        AND (leased_until < now() OR (leased_by IS NULL AND retry_at <= now()))
        AND follower = ANY ($1)
"""

# A process that stands still while it sends rows, or is sent some, holds its place's lock against every time-out.
_END_STUCK = """
    SELECT pg_terminate_backend(pid)
    FROM pg_locks
    JOIN pg_stat_activity USING (pid)
    WHERE relation = 'rollbook.places'::regclass
        AND mode = 'RowExclusiveLock'
        AND usename = current_user
        AND state = 'active'
        AND wait_event_type = 'Client'
        AND state_change < now() - make_interval(secs => $1)
"""

_TRY_PARKED_AGAIN = """
    UPDATE rollbook.places
    SET retry_at = now()
    WHERE (leased_by IS NOT NULL OR retry_at IS NOT NULL) AND retry_at > now() AND follower = ANY ($1)
"""
