"""Who joined, who left, and whose role changed: the events of a period, with what an auditor asks about each."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from projections.question import Asking, Page, Period, Question, page_of, page_up_to, seq_after


class Move(Struct, frozen=True, kw_only=True, rename={"user_name": "userName"}):
    """An event of a person, and who brought it about; `user_name` is the one of that time, null if erased."""

    seq: int
    recorded_at: datetime
    user_id: UUID
    user_name: str | None
    type: str
    source: str
    actor: str
    token_id: UUID | None
    request_id: UUID


class Joiner(Move, frozen=True, kw_only=True):
    """A person that was provisioned."""

    active: bool | None
    role: Annotated[str | None, Meta(description="The role at the start.")]
    assigned_role: Annotated[str | None, Meta(description="The first role that was assigned later on.")]
    assigned_at: datetime | None
    seconds_until_assigned: float | None


class Leaver(Move, frozen=True, kw_only=True):
    """A person that was deactivated or deleted."""

    requested_at: Annotated[datetime | None, Meta(description="When the request arrived, by the service's own clock.")]
    seconds: Annotated[float | None, Meta(description="From the request's arrival until it was in effect.")]
    in_time: Annotated[bool | None, Meta(description="Whether that was within the target.")]
    was_active: Annotated[bool | None, Meta(description="Whether the person was active until then.")]
    returned_at: Annotated[datetime | None, Meta(description="When the person was active again; null: not yet.")]


class Mover(Move, frozen=True, kw_only=True):
    """A person whose role changed."""

    before: Annotated[str | None, Meta(description="The role before.")]
    after: Annotated[str | None, Meta(description="The role from then on.")]
    changed: Annotated[list[str], Meta(description="Attributes that the same request changed.")]
    kept: Annotated[
        dict[str, Any], Meta(description="What tells of the person's place, and stayed: title, department, manager, …")
    ]


class MovesAsked(Period, frozen=True, kw_only=True):
    """In which period."""


class LeaversAsked(Period, frozen=True, kw_only=True):
    """In which period, and how long it may take."""

    target_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=31_536_000)] | None, Meta(description="How long it may take; 60 by default.")
    ] = None
    in_time: Annotated[bool | None, Meta(description="Only those within the target, or those outside it.")] = None


class MoversAsked(Period, frozen=True, kw_only=True):
    """In which period, and between which roles."""

    role: Annotated[tuple[str, ...], Meta(description="Only changes from or to one of these roles.")] = ()


TARGET = 60  # seconds
LATEST = 4_102_444_800_000  # milliseconds from 1970 to 2100; what claims to be later is no time
MOST_LOOKED_AT = 2_500  # events for one page


async def _joiners(asking: Asking[MovesAsked]) -> Page[Joiner]:
    rows = await asking.pool.fetch(_JOINERS, asking.tenant_id, seq_after(asking), asking.settled.to_seq, asking.limit)
    return page_of([Joiner(**dict(row)) for row in rows], asking.limit, lambda each: each.seq)


async def _leavers(asking: Asking[LeaversAsked]) -> Page[Leaver]:
    """Looks at so many at most for those who are asked for."""
    after, to_seq = seq_after(asking), asking.settled.to_seq
    target = TARGET if asking.asked.target_seconds is None else asking.asked.target_seconds
    many = asking.limit if asking.asked.in_time is None else MOST_LOOKED_AT
    rows = await asking.pool.fetch(_LEAVERS, asking.tenant_id, after, to_seq, many)
    leavers = [_leaver(row, target) for row in rows]
    found = [each for each in leavers if asking.asked.in_time in {None, each.in_time}][: asking.limit]
    looked_to = rows[-1]["seq"] if len(rows) == many else to_seq
    return page_up_to(found, asking.limit, lambda each: each.seq, looked_to, to_seq)


async def _movers(asking: Asking[MoversAsked]) -> Page[Mover]:
    """Looks at so many at most for those who are asked for."""
    after, to_seq, roles = seq_after(asking), asking.settled.to_seq, list(asking.asked.role)
    looked_to = to_seq
    if roles:
        last = await asking.pool.fetchval(_ROLES_ASSIGNED, asking.tenant_id, after, to_seq, MOST_LOOKED_AT - 1)
        looked_to = last or to_seq
    rows = await asking.pool.fetch(_MOVERS, asking.tenant_id, after, looked_to, asking.limit, roles, list(PLACE))
    return page_up_to([_mover(row) for row in rows], asking.limit, lambda each: each.seq, looked_to, to_seq)


JOINERS: Question[MovesAsked, Joiner] = Question(
    "joiners", "Who joined, and how long until a role was assigned", MovesAsked, Joiner, _joiners, ("history",)
)
LEAVERS: Question[LeaversAsked, Leaver] = Question(
    "leavers", "Who left, and how long that took", LeaversAsked, Leaver, _leavers, ("history",)
)
MOVERS: Question[MoversAsked, Mover] = Question(
    "movers", "Whose role changed, and what stayed as it was", MoversAsked, Mover, _movers, ("history",)
)


def arrived_at(request_id: UUID) -> datetime | None:
    """When a request arrived: its id begins with the milliseconds since 1970 (RFC 9562 §5.7). None of other ids."""
    milliseconds = request_id.int >> 80
    if request_id.version != 7 or milliseconds > LATEST:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _leaver(row: asyncpg.Record, target: float) -> Leaver:
    requested_at = arrived_at(row["request_id"])
    seconds = max((row["recorded_at"] - requested_at).total_seconds(), 0.0) if requested_at else None
    in_time = None if seconds is None else seconds <= target
    return Leaver(**dict(row), requested_at=requested_at, seconds=seconds, in_time=in_time)


def _mover(row: asyncpg.Record) -> Mover:
    return Mover(**{**dict(row), "kept": msgspec.json.decode(row["kept"])})


ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PLACE = (
    "title",
    "userType",
    "entitlements",
    f"{ENTERPRISE}:department",
    f"{ENTERPRISE}:division",
    f"{ENTERPRISE}:organization",
    f"{ENTERPRISE}:costCenter",
    f"{ENTERPRISE}:manager.value",
)

_MOVE = """
    moved.seq, moved.recorded_at, moved.stream_id AS user_id, state.attributes ->> 'userName' AS user_name,
    moved.type, moved.source, moved.actor, moved.token_id, moved.request_id
"""

# The person's state that the event began.
_STATE = """
    LEFT JOIN rollbook.history AS state
        ON state.tenant_id = $1 AND state.user_id = moved.stream_id AND state.valid_from_seq = moved.seq
"""

_JOINERS = f"""
    SELECT
        {_MOVE},
        (moved.data ->> 'active')::boolean AS active,
        moved.data ->> 'role' AS role,
        assigned.role AS assigned_role,
        assigned.valid_from AS assigned_at,
        extract(epoch FROM assigned.valid_from - moved.recorded_at)::float AS seconds_until_assigned
    FROM rollbook.events AS moved
    {_STATE}
    LEFT JOIN LATERAL (
        SELECT role, valid_from
        FROM rollbook.history
        WHERE tenant_id = $1
            AND user_id = moved.stream_id
            AND valid_from_seq > moved.seq
            AND granted_seq = valid_from_seq
        ORDER BY valid_from_seq
        LIMIT 1
    ) AS assigned ON true
    WHERE moved.tenant_id = $1 AND moved.type = 'UserProvisioned' AND moved.seq > $2 AND moved.seq <= $3
    ORDER BY moved.seq
    LIMIT $4
"""  # noqa: S608  constants

# The first ones of either type are the first ones of both.
_LEAVERS = f"""
    SELECT
        {_MOVE},
        CASE moved.type WHEN 'UserDeleted' THEN (moved.data ->> 'active')::boolean ELSE true END AS was_active,
        returned.recorded_at AS returned_at
    FROM (
        SELECT left_.*
        FROM unnest(ARRAY['Deactivated', 'UserDeleted']) AS kind
        CROSS JOIN LATERAL (
            SELECT *
            FROM rollbook.events
            WHERE tenant_id = $1 AND type = kind AND seq > $2 AND seq <= $3
            ORDER BY seq
            LIMIT $4
        ) AS left_
        ORDER BY seq
        LIMIT $4
    ) AS moved
    {_STATE}
    LEFT JOIN LATERAL (
        SELECT recorded_at
        FROM rollbook.events
        WHERE tenant_id = $1 AND stream_id = moved.stream_id AND version > moved.version AND type = 'Reactivated'
        ORDER BY version
        LIMIT 1
    ) AS returned ON true
    ORDER BY moved.seq
"""  # noqa: S608  constants

# The seq of the last one of so many.
_ROLES_ASSIGNED = """
    SELECT seq
    FROM rollbook.events
    WHERE tenant_id = $1 AND type = 'RoleAssigned' AND seq > $2 AND seq <= $3
    ORDER BY seq
    OFFSET $4
    LIMIT 1
"""

_MOVERS = f"""
    SELECT
        {_MOVE},
        moved.data ->> 'from' AS before,
        moved.data ->> 'to' AS after,
        coalesce(beside.keys, '{{}}') AS changed,
        coalesce((
            SELECT json_object_agg(key, value)
            FROM jsonb_each(state.attributes)
            WHERE key = ANY ($6) AND NOT key = ANY (coalesce(beside.keys, '{{}}'))
        ), '{{}}') AS kept
    FROM rollbook.events AS moved
    {_STATE}
    LEFT JOIN LATERAL (
        SELECT array_agg(changed.key ORDER BY changed.key) AS keys
        FROM rollbook.events AS other
        CROSS JOIN LATERAL json_object_keys(other.data -> 'changes') AS changed(key)
        WHERE other.tenant_id = $1
            AND other.stream_id = moved.stream_id
            AND other.version BETWEEN moved.version - 1 AND moved.version + 1
            AND other.request_id = moved.request_id
            AND other.type = 'AttributesChanged'
    ) AS beside ON true
    WHERE moved.tenant_id = $1
        AND moved.type = 'RoleAssigned'
        AND moved.seq > $2
        AND moved.seq <= $3
        AND (cardinality($5::text[]) = 0 OR moved.data ->> 'from' = ANY ($5) OR moved.data ->> 'to' = ANY ($5))
    ORDER BY moved.seq
    LIMIT $4
"""  # noqa: S608  constants
