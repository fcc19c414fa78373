"""Who was there, and what they were: everybody, or one person, as of an event of the log."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from engine import resource
from engine.refusals import NotFound
from engine.schema import ENTERPRISE
from projections.histories import USER
from projections.question import Asking, AsOf, Page, Question, id_after
from projections.users import user_of

MOST_LOOKED_AT = 10_000  # people for one page


class By(Struct, frozen=True):
    """The event that brought something about."""

    seq: int
    recorded_at: datetime
    source: str
    actor: str
    token_id: UUID | None
    request_id: UUID


class PersonThen(Struct, frozen=True, kw_only=True, rename={"user_name": "userName"}):
    """A person as of an event. The role was granted by one event, and taken away by another one, perhaps later on."""

    id: UUID
    user_name: str
    active: bool
    role: str
    is_deleted: bool
    role_granted: Annotated[By, Meta(description="The event that gave the role.")]
    role_ended: Annotated[By | None, Meta(description="The event that took the role away; null if none has yet.")]
    version: int
    created_at: datetime
    modified_at: datetime
    deleted_at: datetime | None
    local_edits: Annotated[list[str], Meta(description="Attributes whose value was set by a local edit.")]
    attributes: Annotated[dict[str, Any], Meta(description="All others, by their SCIM names.")]


class RosterAsked(AsOf, frozen=True, kw_only=True):
    """As of when, and who of all."""

    role: Annotated[tuple[str, ...], Meta(description="Only people with one of these roles.")] = ()
    active: Annotated[bool | None, Meta(description="Only those who were, or who were not.")] = None
    deleted: Annotated[bool | None, Meta(description="Only those whom the directory had deleted, or the others.")] = (
        None
    )
    manager: Annotated[bool | None, Meta(description="Only people with a manager, or without one.")] = None
    inactive_since: Annotated[
        datetime | None, Meta(description="Only those who were active at no moment from this time on.")
    ] = None
    untouched_since: Annotated[
        datetime | None, Meta(description="Only those whom nothing happened to from this time on.")
    ] = None


class PersonAsked(AsOf, frozen=True, kw_only=True):
    """Who, and as of when."""

    id: Annotated[UUID, Meta(description="The person's id.")]


async def _roster(asking: Asking[RosterAsked]) -> Page[PersonThen]:
    """Looks at people until the page is full, and at so many at most: who is rare is not looked for without an end."""
    asked, seq, after = asking.asked, asking.settled.to_seq, id_after(asking)
    filters = list(asked.role), asked.active, asked.deleted, asked.manager, asked.inactive_since, asked.untouched_since
    found: list[PersonThen] = []
    looked, many = 0, asking.limit
    while looked < MOST_LOOKED_AT:
        people = await _candidates(asking, after, many)
        rows = await asking.pool.fetch(_ROSTER, asking.tenant_id, seq, people, asking.limit - len(found), *filters)
        found += [_person(row) for row in rows]
        if len(found) == asking.limit:
            return Page(found, str(found[-1].id))
        if len(people) < many:
            return Page(found)
        after, looked, many = people[-1], looked + many, min(many * 4, 2_500)
    return Page(found, str(after))


async def _candidates(asking: Asking[RosterAsked], after: UUID, many: int) -> list[UUID]:
    """The ids of the next people, of those who ever had one of the roles if any are asked for."""
    if not asking.asked.role:
        rows = await asking.pool.fetch(_PEOPLE, asking.tenant_id, after, many)
    else:
        rows = await asking.pool.fetch(_OF_ROLES, asking.tenant_id, after, many, list(asking.asked.role))
    return [row["id"] for row in rows]


async def _one(asking: Asking[PersonAsked]) -> Page[PersonThen]:
    rows = await asking.pool.fetch(_PERSON, asking.tenant_id, asking.settled.to_seq, asking.asked.id)
    if not rows:
        raise NotFound(
            f"Nobody with the id {asking.asked.id} was there as of seq {asking.settled.to_seq}. "
            f"/v1/users/{asking.asked.id}/history says since when."
        )
    return Page([_person(row) for row in rows])


ROSTER: Question[RosterAsked, PersonThen] = Question(
    "roster",
    "Everybody as of a moment, with their roles and who gave them",
    RosterAsked,
    PersonThen,
    _roster,
    followers=("history",),
)
PERSON: Question[PersonAsked, PersonThen] = Question(
    "person",
    "One person as of a moment",
    PersonAsked,
    PersonThen,
    _one,
    followers=("history",),
    path="/v1/people/{id}",
)


def _person(row: asyncpg.Record) -> PersonThen:
    user = user_of(row)
    return PersonThen(
        id=user.id,
        user_name=user.attributes["userName"],
        active=user.active,
        role=user.role,
        is_deleted=user.is_deleted,
        role_granted=_by(row["granted"]),
        role_ended=_by(row["ended"]) if row["ended"] else None,
        version=user.version,
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        deleted_at=user.deleted_at,
        local_edits=sorted(key for key, origin in user.origins.items() if origin.source == "local"),
        attributes=resource.nested({key: value for key, value in user.attributes.items() if key not in _SHOWN}),
    )


_SHOWN = {"userName", "role"}
MANAGER = f"{ENTERPRISE}:manager.value"


def _by(text: str) -> By:
    return msgspec.json.decode(text, type=By)


_BY = """
    json_build_object(
        'seq', by.seq, 'recorded_at', by.recorded_at, 'source', by.source, 'actor', by.actor,
        'token_id', by.token_id, 'request_id', by.request_id
    )
"""

# The person's last state at that seq, and the events that gave the role of it and took it away, if it is taken by now.
_THEN = f"""
    CROSS JOIN LATERAL (
        SELECT {USER}
        FROM rollbook.history
        WHERE tenant_id = $1 AND user_id = people.id AND valid_from_seq <= $2
        ORDER BY valid_from_seq DESC
        LIMIT 1
    ) AS person
    CROSS JOIN LATERAL (
        SELECT {_BY} AS granted
        FROM rollbook.events AS by
        WHERE tenant_id = $1 AND seq = person.granted_seq
    ) AS granted
    LEFT JOIN LATERAL (
        SELECT {_BY} AS ended
        FROM rollbook.events AS by
        WHERE tenant_id = $1
            AND seq = (
                SELECT valid_from_seq
                FROM rollbook.history
                WHERE tenant_id = $1
                    AND user_id = people.id
                    AND valid_from_seq > person.granted_seq
                    AND (granted_seq = valid_from_seq OR is_deleted)
                ORDER BY valid_from_seq
                LIMIT 1
            )
    ) AS ended ON true
"""  # noqa: S608  constants

_COLUMNS = "person.*, granted.granted, ended.ended"

_PEOPLE = "SELECT id FROM rollbook.users WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"

# From one person to the next by the index, past however many states of each.
_OF_ROLES = """
    WITH RECURSIVE people AS (
        SELECT $2::uuid AS id, 0 AS place
        UNION ALL
        SELECT (
            SELECT min(next.user_id::text)::uuid
            FROM unnest($4::text[]) AS wanted(role)
            CROSS JOIN LATERAL (
                SELECT user_id
                FROM rollbook.history
                WHERE tenant_id = $1
                    AND role = wanted.role
                    AND user_id > people.id
                    AND granted_seq = valid_from_seq
                ORDER BY user_id
                LIMIT 1
            ) AS next
        ), people.place + 1
        FROM people
        WHERE people.id IS NOT NULL AND people.place < $3
    )
    SELECT id
    FROM people
    WHERE id IS NOT NULL AND place > 0
    ORDER BY place
"""

_ROSTER = f"""
    SELECT {_COLUMNS}
    FROM unnest($3::uuid[]) AS people(id)
    {_THEN}
    WHERE (cardinality($5::text[]) = 0 OR person.role = ANY ($5))
        AND ($6::boolean IS NULL OR person.active = $6)
        AND ($7::boolean IS NULL OR person.is_deleted = $7)
        AND ($8::boolean IS NULL OR (person.attributes ->> '{MANAGER}' IS NOT NULL) = $8)
        AND ($9::timestamptz IS NULL OR NOT EXISTS (
            SELECT
            FROM rollbook.history
            WHERE tenant_id = $1
                AND user_id = people.id
                AND valid_from_seq <= $2
                AND active
                AND (valid_to_seq IS NULL OR valid_to_seq > $2 OR valid_to > $9)
        ))
        AND ($10::timestamptz IS NULL OR person.valid_from < $10)
    ORDER BY people.id
    LIMIT $4
"""  # noqa: S608  constants

_PERSON = f"""
    SELECT {_COLUMNS}
    FROM (SELECT $3::uuid AS id) AS people
    {_THEN}
"""  # noqa: S608  constants
