"""What an operator wants to know of one tenant, and of the store that it is in: whether everything keeps up."""

from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from projections import installation
from projections.checks import PROGRAM, CheckResult, last_checks
from projections.follower import FOLLOWERS


class ParkedEvent(Struct, frozen=True, kw_only=True):
    """The event that a follower cannot apply, and tries again and again: since when, how often, and why not. `error` is
    its type and place, never a value."""

    seq: int
    type: str | None
    since: datetime
    attempts: int
    error: str


class FollowerState(Struct, frozen=True, kw_only=True):
    """How far a follower is in this tenant's log. `seconds_behind` is for how long the next event has been waiting, and
    0 if none is. `is_current` is false while its rows are of another version than this program's."""

    name: str
    version: int
    is_current: bool
    seq: int
    events_behind: int
    seconds_behind: float
    parked: ParkedEvent | None


class Delivery(Struct, frozen=True):
    """The size of the tree whose checkpoint was last sent to a destination, 0 if none was. The destination is known by
    the digest of its address alone."""

    destination: str
    size: int


class Checkpointed(Struct, frozen=True):
    """The last checkpoint that is stored: the size of its tree, and when it was signed."""

    size: int
    made_at: datetime


class RebuildState(Struct, frozen=True):
    """How far a rebuild is that is under way, in all tenants together."""

    projection: str
    events_done: int
    events_total: int


class Operations(Struct, frozen=True, kw_only=True):
    """What the service can say of itself, as of one tenant. Counts are the tenant's; `database_bytes` is the whole
    database, with all tenants.

    `is_ready` says whether the store is of the version that this program knows, as `/readyz` does.
    """

    program: str
    store_version: int
    is_ready: bool
    postgres: str
    database_bytes: int
    events: int
    last_event_at: datetime | None
    people: int
    deleted: int
    followers: list[FollowerState]
    rebuilds: list[RebuildState]
    checkpoint: Checkpointed | None
    deliveries: list[Delivery]
    checks: list[CheckResult]


async def operations_of(pool: asyncpg.Pool, tenant_id: UUID) -> Operations:
    """Five statements, each of which reads rows in the number of followers, roles and destinations only.

    `people` are all that the app knows, `deleted` those of them whom the directory deleted.
    """
    store = await pool.fetchrow(_STORE, tenant_id)
    rebuilds = await pool.fetch(_REBUILDS)
    deliveries = await pool.fetch(_DELIVERIES, tenant_id)
    return Operations(
        program=PROGRAM,
        store_version=store["version"],
        is_ready=store["version"] == installation.VERSION,
        postgres=store["postgres"],
        database_bytes=store["database_bytes"],
        events=store["events"],
        last_event_at=store["last_event_at"],
        people=store["people"],
        deleted=store["deleted"],
        followers=[_follower(row) for row in await pool.fetch(_FOLLOWERS, tenant_id)],
        rebuilds=[RebuildState(*row.values()) for row in rebuilds],
        checkpoint=Checkpointed(store["size"], store["made_at"]) if store["size"] is not None else None,
        deliveries=[Delivery(*row.values()) for row in deliveries],
        checks=await last_checks(pool, tenant_id),
    )


def _follower(row: asyncpg.Record) -> FollowerState:
    parked = ParkedEvent(
        seq=row["seq"] + 1, type=row["type"], since=row["parked_at"], attempts=row["attempts"], error=row["error"]
    )
    return FollowerState(
        name=row["name"],
        version=row["version"],
        is_current=_VERSIONS.get(row["name"]) == row["version"],
        seq=row["seq"],
        events_behind=row["events_behind"],
        seconds_behind=row["seconds_behind"],
        parked=parked if row["parked_at"] is not None else None,
    )


_VERSIONS = {each.name: each.version for each in FOLLOWERS}

_STORE = """
    SELECT
        store.version,
        current_setting('server_version') AS postgres,
        pg_database_size(current_database()) AS database_bytes,
        coalesce(heads.seq, 0) AS events,
        heads.recorded_at AS last_event_at,
        people.count AS people,
        people.deleted,
        signed.size,
        signed.made_at
    FROM rollbook.store
    LEFT JOIN rollbook.heads ON heads.tenant_id = $1
    CROSS JOIN (
        SELECT
            coalesce(sum(active + inactive + deleted), 0)::bigint AS count,
            coalesce(sum(deleted), 0)::bigint AS deleted
        FROM rollbook.seats
        WHERE tenant_id = $1
    ) AS people
    LEFT JOIN (
        SELECT size, made_at
        FROM rollbook.checkpoints
        WHERE tenant_id = $1
        ORDER BY size DESC, key DESC
        LIMIT 1
    ) AS signed ON true
"""

# The limit keeps the planner from reading the log as a whole beside the few places.
_FOLLOWERS = """
    SELECT
        projections.name,
        projections.version,
        coalesce(places.seq, 0) AS seq,
        greatest(heads.seq - coalesce(places.seq, 0), 0) AS events_behind,
        greatest(coalesce(extract(epoch FROM clock_timestamp() - next.recorded_at), 0), 0)::float AS seconds_behind,
        next.type,
        places.parked_at,
        places.attempts,
        places.error
    FROM rollbook.projections
    JOIN rollbook.heads ON heads.tenant_id = $1
    LEFT JOIN rollbook.places ON places.tenant_id = $1 AND places.follower = projections.name
    LEFT JOIN LATERAL (
        SELECT type, recorded_at
        FROM rollbook.events
        WHERE tenant_id = $1 AND seq = coalesce(places.seq, 0) + 1
        LIMIT 1
    ) AS next ON true
    WHERE projections.is_follower
    ORDER BY projections.name
"""

_REBUILDS = """
    SELECT projection, events_done, events_total
    FROM rollbook.replays
    WHERE leased_until > now()
    ORDER BY projection
"""

_DELIVERIES = """
    SELECT destination, size
    FROM rollbook.checkpoint_deliveries
    WHERE tenant_id = $1
    ORDER BY destination
"""
