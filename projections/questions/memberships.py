"""Who was in which group, directly or through groups within it, as of an event of the log."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from engine.refusals import NotFound
from projections.question import Asking, AsOf, Page, Question, id_after, page_of


class MembersAsked(AsOf, frozen=True, kw_only=True):
    """Of which group, and as of when."""

    id: Annotated[UUID, Meta(description="The group's id.")]
    direct: Annotated[bool | None, Meta(description="Only those who are in it directly, or only the others.")] = None


class MemberThen(Struct, frozen=True, kw_only=True):
    """A member as of an event."""

    id: UUID
    type: Literal["User", "Group"]
    name: Annotated[
        str | None, Meta(description="The userName, or the group's displayName, as of then; null if it was erased.")
    ]
    is_direct: bool
    since: Annotated[datetime | None, Meta(description="When the direct membership began; null if there is none.")]
    through: Annotated[list[UUID], Meta(description="Groups within the group, of which it was a member directly.")]


class GroupsAsked(AsOf, frozen=True, kw_only=True):
    """Of whom, and as of when."""

    id: Annotated[UUID, Meta(description="The person's id, or that of a group within others.")]


class GroupThen(Struct, frozen=True, kw_only=True):
    """A group that somebody was in as of an event."""

    id: UUID
    name: Annotated[str, Meta(description="The displayName as of then.")]
    is_direct: bool
    since: Annotated[datetime | None, Meta(description="When the direct membership began; null if there is none.")]


async def _members(asking: Asking[MembersAsked]) -> Page[MemberThen]:
    group_id, seq = asking.asked.id, asking.settled.to_seq
    rows = await asking.pool.fetch(
        _MEMBERS, asking.tenant_id, seq, group_id, id_after(asking), asking.limit, asking.asked.direct
    )
    if not rows and not await asking.pool.fetchval(_GROUP, asking.tenant_id, seq, group_id):
        raise NotFound(f"There was no group with the id {group_id} as of seq {seq}.")
    members = [msgspec.convert(dict(row), MemberThen) for row in rows]
    return page_of(members, asking.limit, lambda each: each.id)


async def _groups(asking: Asking[GroupsAsked]) -> Page[GroupThen]:
    member_id, seq = asking.asked.id, asking.settled.to_seq
    rows = await asking.pool.fetch(_GROUPS, asking.tenant_id, seq, member_id, id_after(asking), asking.limit)
    if not rows and not await asking.pool.fetchval(_KNOWN, asking.tenant_id, seq, member_id):
        raise NotFound(f"Nobody with the id {member_id} was there as of seq {seq}.")
    return page_of([GroupThen(**dict(row)) for row in rows], asking.limit, lambda each: each.id)


GROUP_MEMBERS: Question[MembersAsked, MemberThen] = Question(
    "group-members",
    "Who was in a group as of a moment, directly or through groups within it",
    MembersAsked,
    MemberThen,
    _members,
    followers=("member_history", "history"),
    path="/v1/groups/{id}/members",
)
PERSON_GROUPS: Question[GroupsAsked, GroupThen] = Question(
    "person-groups",
    "Which groups a person was in as of a moment",
    GroupsAsked,
    GroupThen,
    _groups,
    followers=("member_history",),
    path="/v1/users/{id}/groups",
)

_THEN = "tenant_id = $1 AND from_seq <= $2 AND (to_seq IS NULL OR to_seq > $2)"
_LATEST_NAME = "tenant_id = $1 AND from_seq <= $2 ORDER BY from_seq DESC LIMIT 1"

# As many of each group as the page may hold, in the order of their ids: the page is among them.
_MEMBERS = f"""
    WITH RECURSIVE inside AS (
        SELECT $3::uuid AS id
        UNION
        SELECT member_history.member_id
        FROM inside
        JOIN rollbook.member_history ON group_id = inside.id AND type = 'Group' AND {_THEN}
    ),
    found AS (
        SELECT
            each.member_id AS id,
            each.type,
            bool_or(inside.id = $3) AS is_direct,
            max(each.valid_from) FILTER (WHERE inside.id = $3) AS since,
            coalesce(array_agg(inside.id ORDER BY inside.id) FILTER (WHERE inside.id <> $3), '{{}}') AS through
        FROM inside
        CROSS JOIN LATERAL (
            SELECT member_id, type, valid_from
            FROM rollbook.member_history
            WHERE group_id = inside.id
                AND member_id > $4
                AND {_THEN}
                AND ($6::boolean IS DISTINCT FROM true OR inside.id = $3)
                AND ($6::boolean IS DISTINCT FROM false OR NOT EXISTS (
                    SELECT
                    FROM rollbook.member_history AS direct
                    WHERE direct.tenant_id = $1
                        AND direct.group_id = $3
                        AND direct.member_id = member_history.member_id
                        AND direct.from_seq <= $2
                        AND (direct.to_seq IS NULL OR direct.to_seq > $2)
                ))
            ORDER BY member_id
            LIMIT $5
        ) AS each
        GROUP BY each.member_id, each.type
        ORDER BY each.member_id
        LIMIT $5
    )
    SELECT
        found.id,
        found.type,
        CASE found.type
            WHEN 'Group' THEN (SELECT name FROM rollbook.group_names WHERE group_id = found.id AND {_LATEST_NAME})
            ELSE (
                SELECT attributes ->> 'userName'
                FROM rollbook.history
                WHERE tenant_id = $1 AND user_id = found.id AND valid_from_seq <= $2
                ORDER BY valid_from_seq DESC
                LIMIT 1
            )
        END AS name,
        found.is_direct,
        found.since,
        found.through
    FROM found
    ORDER BY found.id
"""  # noqa: S608  constants

_GROUP = f"SELECT true FROM rollbook.group_names WHERE group_id = $3 AND {_LATEST_NAME}"  # noqa: S608  constants

_GROUPS = f"""
    WITH RECURSIVE around AS (
        SELECT group_id, true AS is_direct, valid_from
        FROM rollbook.member_history
        WHERE member_id = $3 AND {_THEN}
        UNION
        SELECT member_history.group_id, false, NULL
        FROM around
        JOIN rollbook.member_history ON member_id = around.group_id AND {_THEN}
    )
    SELECT
        around.group_id AS id,
        (SELECT name FROM rollbook.group_names WHERE group_id = around.group_id AND {_LATEST_NAME}) AS name,
        bool_or(is_direct) AS is_direct,
        max(valid_from) AS since
    FROM around
    WHERE around.group_id > $4
    GROUP BY around.group_id
    ORDER BY around.group_id
    LIMIT $5
"""  # noqa: S608  constants

_KNOWN = """
    SELECT true
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq <= $2 AND stream_id = $3 AND stream_id <> tenant_id
    ORDER BY version
    LIMIT 1
"""
