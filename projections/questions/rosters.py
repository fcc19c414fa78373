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
from projections.question import Asking, AsOf, Page, Question, id_after, page_of
from projections.users import user_of


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
    asked = asking.asked
    rows = await asking.pool.fetch(
        _ROSTER,
        asking.tenant_id,
        asking.settled.to_seq,
        id_after(asking),
        asking.limit,
        list(asked.role),
        asked.active,
        asked.deleted,
        asked.manager,
        asked.inactive_since,
        asked.untouched_since,
    )
    return page_of([_person(row) for row in rows], asking.limit, lambda each: each.id)


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
MANAGER = f"{ENTERPRISE}:manager"


def _by(text: str) -> By:
    return msgspec.json.decode(text, type=By)


_BY = """
    json_build_object(
        'seq', by.seq, 'recorded_at', by.recorded_at, 'source', by.source, 'actor', by.actor,
        'token_id', by.token_id, 'request_id', by.request_id
    )
"""

# The person's last state at that seq, and the events around it that gave the role and took it.
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
        WHERE tenant_id = $1
            AND stream_id = people.id
            AND version <= person.version
            AND type IN ('UserProvisioned', 'RoleAssigned')
        ORDER BY version DESC
        LIMIT 1
    ) AS granted
    LEFT JOIN LATERAL (
        SELECT {_BY} AS ended
        FROM rollbook.events AS by
        WHERE tenant_id = $1
            AND stream_id = people.id
            AND version > person.version
            AND type IN ('RoleAssigned', 'UserDeleted')
        ORDER BY version
        LIMIT 1
    ) AS ended ON true
"""  # noqa: S608  constants

_COLUMNS = "person.*, granted.granted, ended.ended"

_ROSTER = f"""
    SELECT {_COLUMNS}
    FROM rollbook.users AS people
    {_THEN}
    WHERE people.tenant_id = $1
        AND people.id > $3
        AND (cardinality($5::text[]) = 0 OR person.role = ANY ($5))
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
                AND (valid_to IS NULL OR valid_to > $9)
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
