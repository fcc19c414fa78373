"""The current people: rows of the `users` table, and the queries that read them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from engine.decision import Outcome, State
from engine.filters import Filter
from engine.schema import ENTERPRISE
from engine.user import Origin, User
from projections import page, where
from projections.order import BY_AGE, Order, Place
from projections.page import Part
from projections.table import Table

COLUMNS = """
    id,
    version,
    attributes,
    active,
    role,
    own_role,
    origins,
    prefixes,
    is_deleted,
    deleted_at,
    created_at,
    modified_at
"""


class Row(Struct, frozen=True):
    """A row as `put_users` takes it."""

    id: UUID
    version: int
    user_name: str
    microsoft_id: str | None
    external_id: str | None
    employee_number: str | None
    work_email: str | None
    has_more_work_emails: bool
    active: bool
    role: str
    own_role: str | None
    attributes: dict[str, Any]
    origins: dict[str, Origin]
    prefixes: tuple[str, ...]
    is_deleted: bool
    created_at: datetime | None
    modified_at: datetime | None
    deleted_at: datetime | None


class UsersProjection:
    """One row for each user, equal to the state that its events make."""

    name = "users"
    version = 2
    tables = (Table("users", ("tenant_id", "id"), stream="id"),)

    def rows(self, outcome: Outcome[State]) -> Sequence[Row]:
        return [row_of(outcome.state)] if isinstance(outcome.state, User) else []


def row_of(user: User) -> Row:
    attributes = user.attributes
    work_emails = [
        each.get("value") for each in attributes.get("emails", ()) if str(each.get("type", "")).lower() == "work"
    ]
    return Row(
        id=user.id,
        version=user.version,
        user_name=where.folded(attributes["userName"]),
        microsoft_id=_folded(attributes.get("microsoftId")),
        external_id=attributes.get("externalId"),
        employee_number=_folded(attributes.get(f"{ENTERPRISE}:employeeNumber")),
        work_email=_folded(work_emails[0]) if work_emails else None,
        has_more_work_emails=len(work_emails) > 1,
        active=user.active,
        role=user.role,
        own_role=user.own_role,
        attributes=attributes,
        origins=user.origins,
        prefixes=user.prefixes,
        is_deleted=user.is_deleted,
        created_at=user.created_at,
        modified_at=user.modified_at,
        deleted_at=user.deleted_at,
    )


def _folded(value: str | None) -> str | None:
    return where.folded(value) if value else None


def user_of(row: asyncpg.Record) -> User:
    return User(
        id=row["id"],
        version=row["version"],
        attributes=msgspec.json.decode(row["attributes"]),
        active=row["active"],
        role=row["role"],
        own_role=row["own_role"],
        origins=_ORIGINS.decode(row["origins"]),
        prefixes=tuple(row["prefixes"]),
        is_deleted=row["is_deleted"],
        deleted_at=row["deleted_at"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
    )


_ORIGINS: msgspec.json.Decoder[dict[str, Origin]] = msgspec.json.Decoder(dict[str, Origin])


class Page(Struct, frozen=True):
    """A part of a list: the users, and how many there are in all."""

    users: list[User]
    total: int
    last: Place | None = None  # of the last user, if more of them stand behind


class Users:
    """Queries on the current people. Each is one statement and names one tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, tenant_id: UUID, user_id: UUID) -> User | None:
        """The user, deleted or not; None if there never was one."""
        query = f"SELECT {COLUMNS} FROM rollbook.users WHERE tenant_id = $1 AND id = $2"  # noqa: S608  constants
        row = await self._pool.fetchrow(query, tenant_id, user_id)
        return user_of(row) if row else None

    async def find(  # noqa: PLR0913  what a list can be asked for
        self,
        tenant_id: UUID,
        filter_: Filter | None,
        *,
        offset: int = 0,
        limit: int,
        order: Order = BY_AGE,
        after: Place | None = None,
        base: str = "",
    ) -> Page:
        """The users that are not deleted and fulfil the filter, in that order, from behind a place or an offset on.

        `base` is the address of the service, for filters on addresses.
        """
        condition = where.compile_filter(filter_, base=base) if filter_ else where.Condition("true", ())
        # The number of all users is counted already; only a filter makes counting necessary.
        total = page.counted(_TABLE, condition) if filter_ else _KNOWN
        part = Part(offset=offset, limit=limit, order=order, after=after)
        found = await page.fetch(self._pool, _TABLE, COLUMNS, total, tenant_id, condition, part)
        return Page([user_of(row) for row in found.rows], found.total, found.last)

    async def names(self, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, str]:
        """The userNames of these users, of those among them whose data were not erased."""
        rows = await self._pool.fetch(_NAMES, tenant_id, ids)
        return {row["id"]: row["name"] for row in rows if row["name"]}

    async def all(self, tenant_id: UUID, after: UUID | None, limit: int, *, active: bool | None) -> list[User]:
        """Everybody, deleted people included, in the order of their creation, from behind `after`."""
        rows = await self._pool.fetch(_ALL.format(columns=COLUMNS), tenant_id, after or UUID(int=0), limit, active)
        return [user_of(row) for row in rows]


_TABLE = "rollbook.users"
_KNOWN = "SELECT coalesce(sum(active + inactive), 0) FROM rollbook.seats WHERE tenant_id = $1"

_NAMES = "SELECT id, attributes ->> 'userName' AS name FROM rollbook.users WHERE tenant_id = $1 AND id = ANY ($2)"

_ALL = """
    SELECT {columns}
    FROM rollbook.users
    WHERE tenant_id = $1 AND id > $2 AND ($4::boolean IS NULL OR active = $4)
    ORDER BY id
    LIMIT $3
"""
