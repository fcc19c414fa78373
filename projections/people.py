"""The list of people as a person reads it: searched, filtered and sorted, page by page in both directions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from engine.refusals import BadRequest
from projections.where import folded

MOST_COUNTED = 10_000
LONGEST_SEARCH = 500  # characters
MOST_WORDS = 8


class PeopleAsked(Struct, frozen=True, kw_only=True):
    """Which people, in which order, and from behind or ahead of whom on."""

    q: Annotated[str, Meta(description="Words that stand in the name, the address or another id.")] = ""
    active: bool | None = None
    role: tuple[str, ...] = ()
    deleted: bool | None = False
    edited: Annotated[bool | None, Meta(description="Only those with a value from a local edit, or without.")] = None
    refused: Annotated[bool | None, Meta(description="Only those about whom a write was refused lately.")] = None
    sort: Literal["userName", "created"] = "userName"
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
        """A page of them. Raises BadRequest if the search is too long."""
        words = folded(asked.q).split()
        if len(asked.q) > LONGEST_SEARCH or len(words) > MOST_WORDS:
            raise BadRequest(f"A search has at most {MOST_WORDS} words and {LONGEST_SEARCH} characters.")
        values: list[object] = [
            tenant_id,
            asked.active,
            list(asked.role),
            asked.deleted,
            asked.edited,
            asked.refused,
            [f"%{_escaped(word)}%" for word in words],
        ]
        is_backwards = asked.before is not None
        anchor = asked.before or asked.after
        key = "id" if asked.sort == "created" else "user_name"
        is_descending = (asked.order == "desc") != is_backwards
        place = "true"
        if anchor is not None:
            sign = "<" if is_descending else ">"
            place = f"({key}, id) {sign} (SELECT {key}, id FROM rollbook.users WHERE tenant_id = $1 AND id = $9)"  # noqa: S608
            values = [*values, limit + 1, anchor]
        else:
            values = [*values, limit + 1]
        direction = "DESC" if is_descending else "ASC"
        query = _PEOPLE.format(place=place, key=key, direction=direction)
        rows = await self._pool.fetch(query, *values)
        counted = await self._pool.fetchval(_COUNT, *values[:7], MOST_COUNTED + 1)
        people = [PersonListed(**dict(row)) for row in rows[:limit]]
        has_more = len(rows) > limit
        if is_backwards:
            people.reverse()
        return PeoplePage(
            people=people,
            next=people[-1].id if people and (has_more or is_backwards) else None,
            previous=people[0].id if people and (has_more if is_backwards else anchor is not None) else None,
            total=min(counted, MOST_COUNTED),
            is_more=counted > MOST_COUNTED,
        )


def _escaped(word: str) -> str:
    """For LIKE."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_DISPLAYED = """coalesce(
    attributes ->> 'displayName',
    attributes ->> 'name.formatted',
    nullif(concat_ws(' ', attributes ->> 'name.givenName', attributes ->> 'name.familyName'), ''),
    attributes ->> 'userName',
    ''
)"""

_REFUSED = """(
    SELECT max(recorded_at)
    FROM rollbook.events
    WHERE events.tenant_id = $1 AND type = 'RequestRefused' AND data ->> 'user_id' = users.id::text
)"""

_FULFILLED = f"""
    tenant_id = $1
    AND ($2::boolean IS NULL OR active = $2)
    AND ($3::text[] = '{{{{}}}}' OR role = ANY ($3))
    AND ($4::boolean IS NULL OR is_deleted = $4)
    AND ($5::boolean IS NULL OR jsonb_path_exists(origins, '$.*.source ? (@ == "local")') = $5)
    AND ($6::boolean IS NULL OR ({_REFUSED} IS NOT NULL) = $6)
    AND (
        $7::text[] = '{{{{}}}}'
        OR lower(concat_ws(
            ' ', user_name, work_email, external_id, microsoft_id, employee_number, {_DISPLAYED}
        )) LIKE ALL ($7)
    )
"""

_PEOPLE = f"""
    SELECT
        id,
        coalesce(attributes ->> 'userName', '') AS user_name,
        {_DISPLAYED} AS display_name,
        active,
        role,
        is_deleted,
        jsonb_path_exists(origins, '$.*.source ? (@ == "local")') AS is_edited,
        {_REFUSED} AS last_refused_at,
        created_at,
        modified_at
    FROM rollbook.users
    WHERE {_FULFILLED} AND {{place}}
    ORDER BY users.{{key}} {{direction}}, users.id {{direction}}
    LIMIT $8
"""  # noqa: S608  constants

_COUNT = f"SELECT count(*) FROM (SELECT FROM rollbook.users WHERE {_FULFILLED.format()} LIMIT $8) AS found"  # noqa: S608
