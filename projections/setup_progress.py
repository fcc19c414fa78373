"""How far the set-up of a directory is: what was seen of it yet, read from what it really sent."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from projections.sync_health import PAUSE, SyncHealth

LATEST = 1_000  # people that are looked at: those who came last
RECENT = timedelta(hours=3)  # in which a directory that works has ended a cycle


class Step(Struct, frozen=True):
    """Whether something was seen, and when first, as far as that is known."""

    is_seen: bool
    at: datetime | None = None


class SetupProgress(Struct, frozen=True, kw_only=True):
    """The steps in their order."""

    token_issued: Step
    connection_tested: Annotated[Step, Meta(description="The directory asked for somebody, and was answered.")]
    first_person: Annotated[Step, Meta(description="Somebody was created.")]
    first_cycle: Annotated[Step, Meta(description="The directory has paused after creating somebody.")]
    roles_arriving: Annotated[Step, Meta(description="The directory sent a role for somebody who came lately.")]

    @property
    def is_complete(self) -> bool:
        return all(
            (
                self.token_issued.is_seen,
                self.connection_tested.is_seen,
                self.first_person.is_seen,
                self.first_cycle.is_seen,
                self.roles_arriving.is_seen,
            )
        )


async def setup_progress(pool: asyncpg.Pool, tenant_id: UUID, now: datetime) -> SetupProgress:
    """Two statements, however many people and requests there are; a third one while a cycle is under way."""
    row = await pool.fetchrow(_SEEN, tenant_id, LATEST)
    return SetupProgress(
        token_issued=_step(row["issued_at"]),
        # Whoever created somebody was connected, also if the request log is not kept so long.
        connection_tested=_step(row["tested_at"] or row["created_at"]),
        first_person=_step(row["created_at"]),
        first_cycle=await _first_cycle(pool, tenant_id, now, row),
        roles_arriving=Step(row["has_roles"] or row["has_sent_roles"]),
    )


def _step(at: datetime | None) -> Step:
    return Step(at is not None, at)


async def _first_cycle(pool: asyncpg.Pool, tenant_id: UUID, now: datetime, row: asyncpg.Record) -> Step:
    if row["created_at"] is None:
        return Step(False)
    called_at = row["called_at"]
    if called_at is None or now - called_at > PAUSE:
        return Step(True, called_at)
    cycles = await SyncHealth(pool).cycles(tenant_id, now - RECENT, now, 5)
    ended = next((each for each in cycles if each.effective and not each.may_go_on), None)
    return _step(ended.ended_at if ended else None)


# The first call that was answered is at the beginning of an index, but for those before it that were refused.
_SEEN = """
    SELECT
        (
            SELECT min(issued_at)
            FROM rollbook.tokens
            WHERE tenant_id = $1 AND 'scim' = ANY (scopes)
        ) AS issued_at,
        (
            SELECT at
            FROM rollbook.request_log
            WHERE tenant_id = $1 AND status = 200 AND method = 'GET' AND route = '/scim/v2/Users'
            ORDER BY at
            LIMIT 1
        ) AS tested_at,
        (SELECT at FROM rollbook.request_log WHERE tenant_id = $1 ORDER BY at DESC LIMIT 1) AS called_at,
        (SELECT created_at FROM rollbook.users WHERE tenant_id = $1 ORDER BY id LIMIT 1) AS created_at,
        EXISTS (
            SELECT
            FROM rollbook.seats
            JOIN rollbook.tenants ON tenants.tenant_id = seats.tenant_id
            WHERE seats.tenant_id = $1
                AND seats.active > 0
                AND seats.role <> tenants.settings -> 'roles' -> -1 ->> 'value'
        ) AS has_roles,
        EXISTS (
            SELECT
            FROM (SELECT attributes FROM rollbook.users WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2) AS latest
            WHERE attributes ? 'role'
        ) AS has_sent_roles
"""
