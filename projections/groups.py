"""The current groups: rows of the `groups` table, the queries that read them, and whom the values of members mean."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from engine.decision import Outcome, State
from engine.filters import Filter
from engine.group import Group
from engine.membership import Facts, Member
from engine.ties import Awaited
from engine.user import User
from projections import page, where
from projections.order import BY_AGE, Order, Place
from projections.page import Part
from projections.table import Table
from projections.users import COLUMNS as USER_COLUMNS
from projections.users import user_of

COLUMNS = """
    id,
    version,
    attributes,
    is_deleted,
    created_at,
    modified_at,
    deleted_at
"""
MEMBERS_AT_ONCE = 5_000


class Row(Struct, frozen=True):
    """A row as `put_groups` takes it."""

    id: UUID
    version: int
    display_name: str
    external_id: str | None
    attributes: dict[str, Any]
    is_deleted: bool
    created_at: datetime | None
    modified_at: datetime | None
    deleted_at: datetime | None


class GroupsProjection:
    """One row for each group, equal to the state that its events make."""

    name = "groups"
    version = 1
    tables = (Table("groups", ("tenant_id", "id"), stream="id"),)

    def rows(self, outcome: Outcome[State]) -> Sequence[Row]:
        return [row_of(outcome.state)] if isinstance(outcome.state, Group) else []


def row_of(group: Group) -> Row:
    return Row(
        id=group.id,
        version=group.version,
        display_name=where.folded(group.attributes["displayName"]),
        external_id=group.attributes.get("externalId"),
        attributes=group.attributes,
        is_deleted=group.is_deleted,
        created_at=group.created_at,
        modified_at=group.modified_at,
        deleted_at=group.deleted_at,
    )


def group_of(row: asyncpg.Record) -> Group:
    return Group(
        id=row["id"],
        version=row["version"],
        attributes=msgspec.json.decode(row["attributes"]),
        is_deleted=row["is_deleted"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        deleted_at=row["deleted_at"],
    )


class GroupPage(Struct, frozen=True):
    """A part of a list: the groups, and how many there are in all."""

    groups: list[Group]
    total: int
    last: Place | None = None  # of the last group, if more of them stand behind


class GroupListed(Struct, frozen=True, kw_only=True):
    """A group in a list. `members` are those that it has directly, awaited ones included."""

    id: UUID
    display_name: str
    external_id: str | None
    members: int
    created_at: datetime
    modified_at: datetime


class Groups:
    """Queries on the current groups. Each is one statement and names one tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, tenant_id: UUID, group_id: UUID) -> Group | None:
        """The group, deleted or not; None if there never was one."""
        query = f"SELECT {COLUMNS} FROM rollbook.groups WHERE tenant_id = $1 AND id = $2"  # noqa: S608  constants
        row = await self._pool.fetchrow(query, tenant_id, group_id)
        return group_of(row) if row else None

    async def facts(self, tenant_id: UUID, group_id: UUID, values: Sequence[str], *, of_all: bool) -> Facts:
        """Whom the values mean, and which of them are members; with `of_all`, who is a member at all.

        No statement if there is nothing to ask; two, with `of_all`.
        """
        ids = [_as_id(each) for each in values]
        rows = await self._pool.fetch(_NAMED, tenant_id, group_id, list(values), ids) if values else []
        named = {row["given"]: Member(row["id"], row["type"]) for row in rows if row["id"]}
        if of_all:
            pages = self.pages_of_members(tenant_id, group_id)
            return Facts(named, {each.id: each async for page in pages for each in page})
        members = {each.id: each for row in rows for each in _members_among(row)}
        return Facts(named, members)

    async def pages_of_members(self, tenant_id: UUID, group_id: UUID) -> AsyncIterator[list[Member]]:
        """Everybody in the group, in the order of their ids; some at a time."""
        after = UUID(int=0)
        while rows := await self._pool.fetch(_MEMBERS, tenant_id, group_id, after, MEMBERS_AT_ONCE):
            yield [Member(row["member_id"], row["type"], row["value"]) for row in rows]
            if len(rows) < MEMBERS_AT_ONCE:
                return
            after = rows[-1]["member_id"]

    async def members_of_some(self, tenant_id: UUID, group_ids: Sequence[UUID], limit: int) -> dict[UUID, list[Member]]:
        """The members of each of the groups, at most so many in all."""
        found: dict[UUID, list[Member]] = {each: [] for each in group_ids}
        for row in await self._pool.fetch(_MEMBERS_OF_SOME, tenant_id, list(group_ids), limit):
            found[row["group_id"]].append(Member(row["member_id"], row["type"], row["value"]))
        return found

    async def awaiting(self, tenant_id: UUID, exact: Sequence[str], folded: Sequence[str]) -> list[Awaited]:
        """The groups that await somebody who has one of the names, each with the id that stands for who is awaited."""
        rows = await self._pool.fetch(_AWAITING, tenant_id, list(exact), list(folded))
        return [Awaited(group_of(row), row["member_id"]) for row in rows]

    async def arrived(self, tenant_id: UUID, limit: int) -> list[tuple[Awaited, Member]]:
        """Some of those who are still awaited, and are here."""
        rows = await self._pool.fetch(_ARRIVED, tenant_id, limit)
        return [(Awaited(group_of(row), row["awaited_id"]), Member(row["arrived_id"], row["type"])) for row in rows]

    async def containing(self, tenant_id: UUID, member_id: UUID) -> list[Group]:
        """The groups of which somebody is a member directly."""
        return [group_of(row) for row in await self._pool.fetch(_CONTAINING, tenant_id, member_id)]

    async def names(self, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, str]:
        """The displayNames of those among the ids that are groups, deleted ones included."""
        rows = await self._pool.fetch(_NAMES, tenant_id, ids)
        return {row["id"]: row["name"] for row in rows}

    async def named(self, tenant_id: UUID, name: str) -> list[UUID]:
        """The groups that have this id, or this displayName in whatever case; some, if there are many."""
        rows = await self._pool.fetch(_BY_NAME, tenant_id, _as_id(name), where.folded(name))
        return [row["id"] for row in rows]

    async def listed(
        self, tenant_id: UUID, after: UUID | None, limit: int, chosen: tuple[Sequence[UUID], bool] | None = None
    ) -> list[GroupListed]:
        """Groups in the order of their creation, from behind one; of those chosen, or all but those."""
        among, is_among = chosen or ([], None)
        rows = await self._pool.fetch(_LISTED, tenant_id, after or UUID(int=0), limit, list(among), is_among)
        return [GroupListed(**row) for row in rows]

    async def listed_one(self, tenant_id: UUID, group_id: UUID) -> GroupListed | None:
        """The group, if it is there."""
        rows = await self._pool.fetch(_LISTED, tenant_id, UUID(int=0), 1, [group_id], True)
        return GroupListed(**rows[0]) if rows else None

    async def people_in(self, tenant_id: UUID, group_id: UUID) -> list[UUID]:
        """Everybody in the group, directly or not, without those who were deleted; in the order of their ids."""
        rows = await self._pool.fetch(_PEOPLE_IN, tenant_id, [group_id])
        return [row["id"] for row in rows]

    async def people_among(self, tenant_id: UUID, ids: Sequence[UUID], limit: int) -> list[User]:
        """The people among the ids and within the groups among them, without those who were deleted; some of them, if
        there are more than the limit.
        """
        return [user_of(row) for row in await self._pool.fetch(_PEOPLE_AMONG, tenant_id, list(ids), limit)]

    async def after(
        self, tenant_id: UUID, people: Sequence[UUID], wanted: Sequence[UUID], changes: Sequence[Any]
    ) -> dict[UUID, list[UUID]]:
        """Which of the wanted groups each of the people is in once the changes, rows of members, have been made."""
        found: dict[UUID, list[UUID]] = {}
        changing = msgspec.json.encode(changes).decode()
        for row in await self._pool.fetch(_GROUPS_AFTER, tenant_id, list(people), list(wanted), changing):
            found.setdefault(row["user_id"], []).append(row["group_id"])
        return found

    async def of_people(self, tenant_id: UUID, user_ids: Sequence[UUID]) -> dict[UUID, list[tuple[UUID, str, bool]]]:
        """The groups that people are in: each with its id, its name, and whether directly."""
        found: dict[UUID, list[tuple[UUID, str, bool]]] = {each: [] for each in user_ids}
        for row in await self._pool.fetch(_OF_PEOPLE, tenant_id, list(user_ids)):
            found[row["user_id"]].append((row["group_id"], row["display"], row["is_direct"]))
        return found

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
    ) -> GroupPage:
        """The groups that are not deleted and fulfil the filter, in that order, from behind a place or an offset on.

        `base` is the address of the service, for filters on addresses.
        """
        condition = where.compile_filter(filter_, where.GROUPS, base) if filter_ else where.Condition("true", ())
        part = Part(offset=offset, limit=limit, order=order, after=after)
        total = page.counted(_TABLE, condition)
        found = await page.fetch(self._pool, _TABLE, COLUMNS, total, tenant_id, condition, part)
        return GroupPage([group_of(row) for row in found.rows], found.total, found.last)


_TABLE = "rollbook.groups"


def _as_id(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _members_among(row: asyncpg.Record) -> Iterator[Member]:
    if row["is_member"]:
        yield Member(row["id"], row["type"])
    if row["awaited_id"]:
        yield Member(row["awaited_id"], None, row["given"])


# One look into an index for each value, however many members there are: a LIMIT keeps the planner from reading them all
# instead. Whom a value means is told as by the function named_by, which would have to be called for each.
_NAMED = """
    SELECT
        given.value AS given,
        found.id,
        found.type,
        (
            SELECT true
            FROM rollbook.members
            WHERE tenant_id = $1 AND group_id = $2 AND member_id = found.id
            LIMIT 1
        ) AS is_member,
        (
            SELECT member_id
            FROM rollbook.members
            WHERE tenant_id = $1 AND lower(value) = lower(given.value) AND group_id = $2 AND value = given.value
            LIMIT 1
        ) AS awaited_id
    FROM unnest($3::text[], $4::uuid[]) AS given(value, id)
    LEFT JOIN LATERAL (
        SELECT id, 'User' AS type
        FROM rollbook.users
        WHERE tenant_id = $1 AND id = given.id AND NOT is_deleted
        UNION ALL
        SELECT id, 'Group'
        FROM rollbook.groups
        WHERE tenant_id = $1 AND id = given.id AND NOT is_deleted
        UNION ALL
        SELECT *
        FROM (
            SELECT id, 'User'
            FROM rollbook.users
            WHERE tenant_id = $1 AND microsoft_id = lower(given.value) AND NOT is_deleted
            LIMIT 1
        ) AS by_microsoft_id
        UNION ALL
        SELECT *
        FROM (
            SELECT id, 'User'
            FROM rollbook.users
            WHERE tenant_id = $1 AND external_id = given.value AND NOT is_deleted
            ORDER BY id
            LIMIT 1
        ) AS by_external_id
        UNION ALL
        SELECT *
        FROM (
            SELECT id, 'Group'
            FROM rollbook.groups
            WHERE tenant_id = $1 AND external_id = given.value AND NOT is_deleted
            ORDER BY id
            LIMIT 1
        ) AS group_by_external_id
        LIMIT 1
    ) AS found ON true
"""

_MEMBERS = """
    SELECT member_id, type, value
    FROM rollbook.members
    WHERE tenant_id = $1 AND group_id = $2 AND member_id > $3
    ORDER BY member_id
    LIMIT $4
"""

_MEMBERS_OF_SOME = """
    SELECT group_id, member_id, type, value
    FROM rollbook.members
    WHERE tenant_id = $1 AND group_id = ANY ($2)
    ORDER BY group_id, member_id
    LIMIT $3
"""

_AWAITING = f"""
    SELECT {COLUMNS}, found.member_id
    FROM rollbook.groups
    JOIN rollbook.awaiting($1, $2, $3) AS found ON groups.tenant_id = $1 AND groups.id = found.group_id
    ORDER BY id, found.member_id
"""  # noqa: S608  constants

_ARRIVED = f"""
    SELECT {COLUMNS}, awaited_id, arrived_id, type
    FROM (
        SELECT members.group_id, members.member_id AS awaited_id, named.id AS arrived_id, named.type
        FROM rollbook.members
        CROSS JOIN LATERAL rollbook.named_by($1, members.value) AS named
        WHERE members.tenant_id = $1 AND members.value IS NOT NULL
        ORDER BY members.group_id, members.member_id
        LIMIT $2
    ) AS found
    JOIN rollbook.groups ON groups.tenant_id = $1 AND groups.id = found.group_id
    ORDER BY found.group_id, awaited_id
"""  # noqa: S608  constants

_NAMES = """
    SELECT id, attributes ->> 'displayName' AS name FROM rollbook.groups WHERE tenant_id = $1 AND id = ANY ($2)
"""

_CONTAINING = f"""
    SELECT {COLUMNS}
    FROM rollbook.groups
    WHERE tenant_id = $1
        AND id IN (SELECT group_id FROM rollbook.members WHERE tenant_id = $1 AND member_id = $2)
    ORDER BY id
"""  # noqa: S608  constants

_BY_NAME = """
    SELECT id
    FROM rollbook.groups
    WHERE tenant_id = $1 AND NOT is_deleted AND (id = $2 OR display_name = $3)
    ORDER BY id
    LIMIT 10
"""

# The groups first: else the members of all would be counted for a page of some.
_LISTED = """
    SELECT
        page.*,
        (SELECT count(*) FROM rollbook.members WHERE tenant_id = $1 AND group_id = page.id) AS members
    FROM (
        SELECT id, attributes ->> 'displayName' AS display_name, external_id, created_at, modified_at
        FROM rollbook.groups
        WHERE tenant_id = $1
            AND id > $2
            AND NOT is_deleted
            AND ($5::boolean IS NULL OR (id = ANY ($4::uuid[])) = $5)
        ORDER BY id
        LIMIT $3
    ) AS page
    ORDER BY id
"""

_PEOPLE_IN = "SELECT id FROM rollbook.people_among($1, $2) AS id ORDER BY id"

_PEOPLE_AMONG = f"""
    SELECT person.*
    FROM (SELECT id FROM rollbook.people_among($1, $2) AS found(id) LIMIT $3) AS wanted
    CROSS JOIN LATERAL (
        SELECT {USER_COLUMNS} FROM rollbook.users WHERE tenant_id = $1 AND users.id = wanted.id LIMIT 1
    ) AS person
    ORDER BY id
"""  # noqa: S608  constants

_GROUPS_AFTER = "SELECT user_id, group_id FROM rollbook.groups_after($1, $2, $3, $4)"

_OF_PEOPLE = """
    WITH RECURSIVE within AS (
        SELECT person.id AS user_id, members.group_id, true AS is_direct
        FROM unnest($2::uuid[]) AS person(id)
        JOIN rollbook.members ON members.tenant_id = $1 AND members.member_id = person.id
        UNION
        SELECT within.user_id, members.group_id, false
        FROM within
        JOIN rollbook.members ON members.tenant_id = $1 AND members.member_id = within.group_id
    )
    SELECT user_id, group_id, groups.attributes ->> 'displayName' AS display, bool_or(is_direct) AS is_direct
    FROM rollbook.groups
    JOIN within ON groups.tenant_id = $1 AND groups.id = within.group_id
    GROUP BY user_id, group_id, groups.attributes
    ORDER BY user_id, group_id
"""
