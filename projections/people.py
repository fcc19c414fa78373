"""The list of people as a person reads it: searched, filtered and sorted, page by page in both directions."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from projections import search_words

MOST_COUNTED = 10_000
LATELY = 5_000  # refused writes


class _Condition(Struct, frozen=True):
    """A condition on a row, with a place for its one value, if it has one."""

    sql: str
    value: object = None

    @property
    def has_value(self) -> bool:
        return "{}" in self.sql


class PeopleAsked(Struct, frozen=True, kw_only=True):
    """Which people, in which order, and from behind or ahead of whom on."""

    q: Annotated[str, Meta(description="Words that stand in the name, the address or another id.")] = ""
    active: bool | None = None
    role: tuple[str, ...] = ()
    deleted: bool | None = False
    edited: Annotated[bool | None, Meta(description="Only those with a value from a local edit, or without.")] = None
    refused: Annotated[bool | None, Meta(description="Only those about whom a write was refused lately.")] = None
    sort: Literal["name", "created", "changed"] = "name"
    order: Literal["asc", "desc"] = "asc"
    after: UUID | None = None
    before: UUID | None = None


class PersonListed(Struct, frozen=True, kw_only=True):
    """A person in the list."""

    id: UUID
    user_name: str
    display_name: str
    active: bool
    role: str
    is_deleted: bool
    is_edited: bool
    last_refused_at: datetime | None
    created_at: datetime
    modified_at: datetime


class PeoplePage(Struct, frozen=True, kw_only=True):
    """People in their order; whom to go on behind and ahead of, None at the ends; how many there are in all.

    More than `MOST_COUNTED` are not counted: `is_more` says that there are.
    """

    people: Sequence[PersonListed]
    next: UUID | None
    previous: UUID | None
    total: int
    is_more: bool


class People:
    """Queries of one tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(self, tenant_id: UUID, asked: PeopleAsked, limit: int = 50) -> PeoplePage:
        """A page of them, in three statements at most. Who was erased is not among them.

        What the follower `history` has yet to apply is not there.
        """
        conditions = list(_conditions(tenant_id, asked))
        is_backwards = asked.before is not None
        anchor = asked.before or asked.after
        total = await self._total(tenant_id, asked, conditions)
        # Who is many is met soon on the way along the order; who is few is found by the words, and then put in order.
        is_sorted = bool(asked.q.strip()) and total <= MOST_COUNTED
        key = _KEYS[asked.sort] + (_UNINDEXED[asked.sort] if is_sorted else "")
        rows = await self._rows(tenant_id, asked, conditions, key, limit + 1)
        people = [PersonListed(**dict(row)) for row in rows[:limit]]
        if is_backwards:
            people.reverse()
        has_more = len(rows) > limit
        return PeoplePage(
            people=people,
            next=people[-1].id if people and (has_more or is_backwards) else None,
            previous=people[0].id if people and (has_more if is_backwards else anchor is not None) else None,
            total=min(total, MOST_COUNTED) if _is_counted_here(asked) else total,
            is_more=_is_counted_here(asked) and total > MOST_COUNTED,
        )

    async def _rows(
        self, tenant_id: UUID, asked: PeopleAsked, conditions: list[_Condition], key: str, limit: int
    ) -> list[asyncpg.Record]:
        values: list[object] = [tenant_id, limit, *(each.value for each in conditions if each.has_value)]
        is_descending = (asked.order == "desc") != (asked.before is not None)
        where = _joined(conditions, 3)
        if anchor := asked.before or asked.after:
            values.append(anchor)
            sign, name = "<" if is_descending else ">", _KEYS[asked.sort]
            place = f"(SELECT {name}, id FROM rollbook.people WHERE tenant_id = $1 AND id = ${len(values)})"  # noqa: S608
            where += f" AND ({name}, id) {sign} {place}"
        direction = "DESC" if is_descending else "ASC"
        query = _PEOPLE.format(where=where, key=key, direction=direction)
        return list(await self._pool.fetch(query, *values))

    async def _total(self, tenant_id: UUID, asked: PeopleAsked, conditions: list[_Condition]) -> int:
        """By the seats, which are counted already, if nothing else is asked for."""
        if not _is_counted_here(asked):
            counted = await self._pool.fetchval(_SEATS, tenant_id, list(asked.role), asked.active)
            return int(counted)
        values = [tenant_id, MOST_COUNTED + 1, *(each.value for each in conditions if each.has_value)]
        return int(await self._pool.fetchval(_COUNT.format(where=_joined(conditions, 3)), *values))


def _is_counted_here(asked: PeopleAsked) -> bool:
    """Whether the seats do not say how many there are. They count the erased, too, as deleted."""
    return bool(asked.q.strip()) or asked.deleted is not False or asked.edited is not None or asked.refused is not None


def _conditions(tenant_id: UUID, asked: PeopleAsked) -> Iterator[_Condition]:
    """What is asked for. Literals where an index is of such rows alone, parameters elsewhere."""
    if asked.deleted is not None:
        yield _Condition("is_deleted" if asked.deleted else "NOT is_deleted")
    if asked.active is not None:
        yield _Condition("active" if asked.active else "NOT active")
    if asked.edited is not None:
        yield _Condition("is_edited" if asked.edited else "NOT is_edited")
    if len(asked.role) == 1:
        yield _Condition("role = {}::text", asked.role[0])
    elif asked.role:
        yield _Condition("role = ANY ({}::text[])", list(asked.role))
    if query := search_words.query_of(tenant_id, asked.q):
        yield _Condition("words @@ {}::tsquery", query)
    if asked.refused is not None:
        yield _Condition(f"id = ANY ({_REFUSED})" if asked.refused else f"id <> ALL ({_REFUSED})")


def _joined(conditions: list[_Condition], first_parameter: int) -> str:
    """All of them, with the numbers of their parameters."""
    found = ["tenant_id = $1"]
    for each in conditions:
        found.append(each.sql.format(f"${first_parameter}"))
        first_parameter += each.has_value
    return " AND ".join(found)


_KEYS = {"name": "sort_name", "created": "id", "changed": "modified_at"}
# What makes an order that no index has.
_UNINDEXED = {"name": " || ''", "created": "::text", "changed": " + interval '0'"}

# About whom a write was refused lately.
_REFUSED = f"""ARRAY(
    SELECT DISTINCT (data ->> 'user_id')::uuid
    FROM (
        SELECT data
        FROM rollbook.events
        WHERE tenant_id = $1 AND type = 'RequestRefused'
        ORDER BY seq DESC
        LIMIT {LATELY}
    ) AS latest
    WHERE data ->> 'user_id' IS NOT NULL
)"""  # noqa: S608  a constant

_PEOPLE = """
    SELECT
        page.id,
        page.user_name,
        page.name AS display_name,
        page.active,
        page.role,
        page.is_deleted,
        page.is_edited,
        (
            SELECT recorded_at
            FROM rollbook.events
            WHERE tenant_id = $1 AND type = 'RequestRefused' AND data ->> 'user_id' = page.id::text
            ORDER BY seq DESC
            LIMIT 1
        ) AS last_refused_at,
        page.created_at,
        page.modified_at
    FROM (
        SELECT *
        FROM rollbook.people
        WHERE {where}
        ORDER BY {key} {direction}, id {direction}
        LIMIT $2
    ) AS page
    ORDER BY {key} {direction}, id {direction}
"""

_COUNT = "SELECT count(*) FROM (SELECT FROM rollbook.people WHERE {where} LIMIT $2) AS found"

_SEATS = """
    SELECT coalesce(sum(
        CASE WHEN $3::boolean IS NOT false THEN active ELSE 0 END
        + CASE WHEN $3::boolean IS NOT true THEN inactive ELSE 0 END
    ), 0)
    FROM rollbook.seats
    WHERE tenant_id = $1 AND ($2::text[] = '{}' OR role = ANY ($2))
"""
