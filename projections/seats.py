"""How many people there are, by role: differences for the `seats` table, and the query that reads it."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import asyncpg
from msgspec import Struct

from engine.decision import Outcome, State
from engine.events import (
    AnyEvent,
    AttributesChanged,
    Deactivated,
    Reactivated,
    RoleAssigned,
    UserDeleted,
    UserProvisioned,
)
from engine.user import User
from projections.table import Table


class Difference(Struct, frozen=True):
    """How an event changes the counts of one role; `put_seats` adds it.

    `taken` says whether somebody sits down, for which a seat must be free, whoever else stands up in the same append.
    """

    role: str
    active: int = 0
    inactive: int = 0
    deleted: int = 0
    taken: int = 0


class SeatsProjection:
    """Counts that every event brings up to date, for events say which role and whether a seat was held."""

    name = "seats"
    version = 1
    tables = (Table("seats", ("tenant_id", "role")),)

    def rows(self, outcome: Outcome[State]) -> Sequence[Difference]:
        return [difference for each in outcome.recorded if _moves(each.event) for difference in differences(each.event)]


def _moves(event: AnyEvent) -> bool:
    """Most events move no seat."""
    return not isinstance(event, AttributesChanged)


def differences(event: AnyEvent) -> Iterator[Difference]:
    match event:
        case UserProvisioned(active=active, role=role):
            yield Difference(role, active=int(active), inactive=int(not active), taken=int(active))
        case RoleAssigned(from_=before, to=after, active=active):
            yield Difference(before, active=-int(active), inactive=-int(not active))
            yield Difference(after, active=int(active), inactive=int(not active))
        case Deactivated(role=role):
            yield Difference(role, active=-1, inactive=1)
        case Reactivated(role=role):
            yield Difference(role, active=1, inactive=-1, taken=1)
        case UserDeleted(active=active, role=role):
            yield Difference(role, active=-int(active), inactive=-int(not active), deleted=1)
        case _:  # no other event moves a seat
            pass


def held(user: User) -> Difference:
    """What a user counts for."""
    if user.is_deleted:
        return Difference(user.role, deleted=1)
    return Difference(user.role, active=int(user.active), inactive=int(not user.active))


class SeatCounts(Struct, frozen=True):
    """Who holds seats in a tenant, now. `inactive` counts everybody without a seat; `deleted` are some of these."""

    active: int
    inactive: int
    deleted: int
    by_role: dict[str, int]
    limit: int | None


class Seats:
    """The query on the counts: one statement."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def counts(self, tenant_id: UUID) -> SeatCounts:
        rows = await self._pool.fetch(_COUNTS, tenant_id)
        counted = [row for row in rows if row["role"] is not None]
        return SeatCounts(
            active=sum(row["active"] for row in counted),
            inactive=sum(row["inactive"] + row["deleted"] for row in counted),
            deleted=sum(row["deleted"] for row in counted),
            by_role={row["role"]: row["active"] for row in counted},
            limit=rows[0]["seat_limit"] if rows else None,
        )


_COUNTS = """
    SELECT tenants.seat_limit, seats.role, seats.active, seats.inactive, seats.deleted
    FROM rollbook.tenants
    LEFT JOIN rollbook.seats ON seats.tenant_id = tenants.tenant_id
    WHERE tenants.tenant_id = $1
    ORDER BY seats.role
"""
