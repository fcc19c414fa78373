"""How far the followers are, and how far rebuilds are: queries for operators."""

from uuid import UUID

import asyncpg
from msgspec import Struct

SHOWN = 20  # parked tenants of a follower that are told one by one


class Parked(Struct, frozen=True):
    """A tenant that a follower cannot get on with: the event at `seq` raises an error, and is tried again."""

    tenant_id: UUID
    tenant: str | None
    seq: int
    attempts: int
    seconds: float
    error: str


class FollowerStatus(Struct, frozen=True):
    """How far a follower is. `oldest_lag` is for how many seconds the longest waiting event has been waiting.

    `parked` holds those of the parked tenants that have been so for longest; `parked_tenants` is how many there are.
    """

    name: str
    version: int
    tenants_behind: int
    events_behind: int
    oldest_lag: float
    parked_tenants: int
    parked: list[Parked]


class ReplayStatus(Struct, frozen=True):
    """How far a rebuild is that is under way."""

    projection: str
    events_done: int
    events_total: int


class Followers:
    """Queries over all tenants; for operators and metrics, not for requests."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def status(self) -> list[FollowerStatus]:
        """The followers whose tables are installed, by name."""
        return [await self._status(row["name"], row["version"]) for row in await self._pool.fetch(_FOLLOWERS)]

    async def _status(self, name: str, version: int) -> FollowerStatus:
        behind = await self._pool.fetchrow(_BEHIND, name)
        parked = await self._pool.fetch(_PARKED, name, SHOWN)
        return FollowerStatus(
            name=name,
            version=version,
            tenants_behind=behind["tenants"],
            events_behind=behind["events"],
            oldest_lag=behind["oldest_lag"],
            parked_tenants=await self._pool.fetchval(_PARKED_TENANTS, name),
            parked=[Parked(*row.values()) for row in parked],
        )

    async def replays(self) -> list[ReplayStatus]:
        """The rebuilds that are under way, by projection."""
        return [ReplayStatus(*row.values()) for row in await self._pool.fetch(_REPLAYS)]


_FOLLOWERS = "SELECT name, version FROM rollbook.projections WHERE is_follower ORDER BY name"

_BEHIND = """
    SELECT
        count(*)::int AS tenants,
        coalesce(sum(events), 0)::bigint AS events,
        coalesce(extract(epoch FROM clock_timestamp() - min(waiting_since)), 0)::float AS oldest_lag
    FROM (
        SELECT
            heads.seq - coalesce(places.seq, 0) AS events,
            (
                SELECT recorded_at
                FROM rollbook.events
                WHERE events.tenant_id = heads.tenant_id AND events.seq = coalesce(places.seq, 0) + 1
            ) AS waiting_since
        FROM rollbook.heads
        LEFT JOIN rollbook.places ON places.tenant_id = heads.tenant_id AND places.follower = $1
        WHERE heads.seq > coalesce(places.seq, 0)
    ) AS behind
"""

_OF_FOLLOWER = """
    WHERE places.follower = $1
        AND (places.leased_by IS NOT NULL OR places.retry_at IS NOT NULL)
        AND places.parked_at IS NOT NULL
"""

_PARKED_TENANTS = f"SELECT count(*)::int FROM rollbook.places {_OF_FOLLOWER}"  # noqa: S608  constants

_PARKED = f"""
    SELECT
        places.tenant_id,
        tenants.name AS tenant,
        places.seq + 1 AS seq,
        places.attempts,
        extract(epoch FROM now() - places.parked_at)::float AS seconds,
        places.error
    FROM rollbook.places
    LEFT JOIN rollbook.tenants ON tenants.tenant_id = places.tenant_id
    {_OF_FOLLOWER}
    ORDER BY places.parked_at, places.tenant_id
    LIMIT $2
"""  # noqa: S608  constants

_REPLAYS = """
    SELECT projection, events_done, events_total
    FROM rollbook.replays
    WHERE leased_until > now()
    ORDER BY projection
"""
