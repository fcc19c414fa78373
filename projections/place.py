"""One follower's place in one tenant's log: taken for a while, moved together with what was written, or parked."""

import traceback
from pathlib import Path
from uuid import UUID

import asyncpg
from msgspec import Struct

from projections.batch import LogIsBrokenError
from projections.follower import Follower

LEASE = 5.0  # seconds; a process that was killed keeps its work from others for so long
LONGEST_BACKOFF = 30  # seconds between two tries of a parked event
LONGEST_ERROR = 500  # characters


class Lease(Struct, frozen=True):
    """Everything up to `seq` is applied, and the log goes on up to `last_seq` at least.

    `attempts` is how often the next event failed since it was parked.
    """

    seq: int
    attempts: int
    last_seq: int


class LeasedError(Exception):
    """Another process works there."""


class LostPlaceError(Exception):
    """Another process moved the place, or the follower's tables are of another version by now."""


class Place:
    """A place through a connection of one process. All times are the database's."""

    def __init__(self, connection: asyncpg.Connection, process: UUID, follower: Follower, tenant_id: UUID) -> None:
        self._connection = connection
        self._process = process
        self._follower = follower
        self._tenant_id = tenant_id

    async def lease(self) -> Lease | None:
        """None if there is nothing to do now, or the tables are of another version. Raises LeasedError."""
        found = await self._connection.fetchrow(
            _LEASE, self._tenant_id, self._follower.name, self._process, LEASE, self._follower.version
        )
        if found is None:
            return None
        if found["seq"] is None:
            raise LeasedError
        return Lease(found["seq"], found["attempts"], found["last_seq"])

    async def move(self, seq: int, to_seq: int) -> None:
        """Within the transaction of what is written, and before it: the row is locked until the commit.

        Raises LostPlaceError; then nothing may be written.
        """
        await self._connection.execute(_IN_TRANSACTION)
        moved = await self._connection.execute(
            _MOVE, self._tenant_id, self._follower.name, seq, to_seq, self._follower.version
        )
        if moved != "UPDATE 1":
            raise LostPlaceError

    async def park(self, seq: int, error: Exception) -> None:
        """The event behind seq cannot be applied."""
        await self._connection.execute(
            _PARK, self._tenant_id, self._follower.name, self._process, seq, text_of(error), LONGEST_BACKOFF
        )


def text_of(error: Exception) -> str:
    """What it was and where it was raised. Not the message, unless it is of our own words: it may hold values, which
    would stay here when the person is erased whose they are."""
    if isinstance(error, LogIsBrokenError):
        return f"{type(error).__name__}: {error}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "site-packages" not in each.filename]
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    rule = getattr(error, "constraint_name", None) or getattr(error, "sqlstate", None)  # its name, or a code
    return f"{type(error).__name__}{at}{f' ({rule})' if rule else ''}"[:LONGEST_ERROR]


# No row: there is nothing to do. A row without values: somebody else does it. The conditions stand there twice, for
# what is locked may be newer than what was found. What a lease says need not outlast a crash of the database.
_LEASE = """
    WITH place AS MATERIALIZED (
        SELECT heads.seq AS last_seq, places.leased_until >= now() AND leased_by <> $3 AS is_leased
        FROM rollbook.heads
        LEFT JOIN rollbook.places ON places.tenant_id = heads.tenant_id AND places.follower = $2
        WHERE heads.tenant_id = $1
            AND heads.seq > coalesce(places.seq, 0)
            AND (places.retry_at IS NULL OR places.retry_at <= now())
            AND EXISTS (SELECT FROM rollbook.projections WHERE name = $2 AND version = $5)
    ),
    lease AS (
        INSERT INTO rollbook.places AS place (tenant_id, follower, seq, leased_by, leased_until)
        SELECT $1, $2, 0, $3, now() + make_interval(secs => $4)
        FROM place
        WHERE is_leased IS NOT TRUE
        ON CONFLICT (tenant_id, follower) DO UPDATE SET
            leased_by = excluded.leased_by,
            leased_until = excluded.leased_until
        WHERE (place.leased_by IS NULL OR place.leased_by = $3 OR place.leased_until < now())
            AND (place.retry_at IS NULL OR place.retry_at <= now())
            AND place.seq < (SELECT heads.seq FROM rollbook.heads WHERE heads.tenant_id = $1)
        RETURNING seq, attempts
    )
    SELECT lease.seq, lease.attempts, place.last_seq, set_config('synchronous_commit', 'off', true)
    FROM place
    LEFT JOIN lease ON true
"""

# A process that stands still must not hold a place for ever. A commit need not be waited for: if the database crashes,
# the place is taken back together with what was written, and the log, which is safe, is read from there again.
_IN_TRANSACTION = f"""
    SET LOCAL search_path = rollbook, pg_temp;
    SET LOCAL idle_in_transaction_session_timeout = '{LEASE}s';
    SET LOCAL synchronous_commit = off
"""

_MOVE = """
    UPDATE rollbook.places
    SET seq = $4, leased_by = NULL, leased_until = NULL, attempts = 0, error = NULL, parked_at = NULL, retry_at = NULL
    WHERE tenant_id = $1
        AND follower = $2
        AND seq = $3
        AND EXISTS (SELECT FROM rollbook.projections WHERE name = $2 AND version = $5)
"""

_PARK = """
    UPDATE rollbook.places
    SET
        leased_by = NULL,
        leased_until = NULL,
        attempts = attempts + 1,
        error = $5,
        parked_at = coalesce(parked_at, now()),
        retry_at = now() + make_interval(secs => least($6::int, 2 ^ least(attempts, 20)))
    WHERE tenant_id = $1 AND follower = $2 AND leased_by = $3 AND seq = $4
"""
