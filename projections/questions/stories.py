"""Everything that happened to one person: the events of the person, and the refused writes that were about the person.

A refusal is about a person if it named the person's id, or no id and the userName that the person had at that time. A
creation that was refused before the person was there is about the person who was created with that userName later on,
unless it collided with somebody else.
"""

from typing import Annotated
from uuid import UUID

import asyncpg
from msgspec import Meta

from engine.log import LoggedEvent
from engine.refusals import NotFound
from projections.question import Asking, Page, Period, page_of, seq_after


class StoryAsked(Period, frozen=True, kw_only=True):
    """Which person, and which part of the story."""

    id: Annotated[UUID, Meta(description="The person's id.")]


async def story(asking: Asking[StoryAsked]) -> Page[LoggedEvent]:
    """A page of it, in order; its cost is that of its events, wherever in the story it begins.

    Raises NotFound if there never was such a person.
    """
    rows = await asking.pool.fetch(
        _STORY, asking.tenant_id, asking.asked.id, seq_after(asking), asking.settled.to_seq, asking.limit
    )
    if not rows and not await _is_known(asking.pool, asking.tenant_id, asking.asked.id):
        raise NotFound(f"There is no person with the id {asking.asked.id}.")
    return page_of([LoggedEvent(**dict(row)) for row in rows], asking.limit, lambda each: each.seq)


async def _is_known(pool: asyncpg.Pool, tenant_id: UUID, user_id: UUID) -> bool:
    return bool(await pool.fetchval(_KNOWN, tenant_id, user_id)) and user_id != tenant_id


_KNOWN = "SELECT true FROM rollbook.events WHERE tenant_id = $1 AND stream_id = $2 LIMIT 1"

_EVENT = "seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data"

# The history knows at which version a seq is, so that a page far behind is found as fast as the first one, and which
# userNames the person had in the part of the log from which the page is made. What the history has yet to apply, which
# is nothing as a rule, is read from the events, so that nobody has to wait for it.
_STORY = f"""
    WITH own AS MATERIALIZED (
        SELECT {_EVENT}
        FROM rollbook.events
        WHERE tenant_id = $1
            AND stream_id = $2
            AND stream_id <> tenant_id
            AND version >= coalesce((
                SELECT version
                FROM rollbook.history
                WHERE tenant_id = $1 AND user_id = $2 AND valid_from_seq <= $3
                ORDER BY valid_from_seq DESC
                LIMIT 1
            ), 0)
            AND seq > $3
            AND seq <= $4
        ORDER BY version
        LIMIT $5
    ),
    part AS MATERIALIZED (
        SELECT CASE WHEN count(*) = $5 THEN max(seq) ELSE $4 END AS to_seq
        FROM own
    ),
    late AS MATERIALIZED (
        SELECT
            seq,
            CASE type
                WHEN 'UserDeleted' THEN ''
                ELSE lower(coalesce(data -> 'attributes' ->> 'userName', data -> 'changes' -> 'userName' ->> 'to'))
            END AS name
        FROM rollbook.events
        WHERE tenant_id = $1
            AND stream_id = $2
            AND stream_id <> tenant_id
            AND version > coalesce((
                SELECT version
                FROM rollbook.history
                WHERE tenant_id = $1 AND user_id = $2
                ORDER BY valid_from_seq DESC
                LIMIT 1
            ), 0)
    ),
    names AS MATERIALIZED (
        SELECT lower(attributes ->> 'userName') AS name
        FROM rollbook.history
        WHERE tenant_id = $1
            AND user_id = $2
            AND valid_from_seq >= coalesce(
                (
                    SELECT max(valid_from_seq)
                    FROM rollbook.history
                    WHERE tenant_id = $1 AND user_id = $2 AND valid_from_seq <= $3
                ),
                0
            )
            AND valid_from_seq <= greatest(
                (SELECT to_seq FROM part),
                (SELECT min(valid_from_seq) FROM rollbook.history WHERE tenant_id = $1 AND user_id = $2)
            )
        UNION
        SELECT name
        FROM late
        WHERE name <> ''
    )
    SELECT *
    FROM (
        (
            SELECT *
            FROM own
        )
        UNION ALL
        (
            SELECT {_EVENT}
            FROM rollbook.events
            WHERE tenant_id = $1
                AND type = 'RequestRefused'
                AND data ->> 'user_id' = $2::uuid::text
                AND seq > $3
                AND seq <= (SELECT to_seq FROM part)
            ORDER BY seq
            LIMIT $5
        )
        UNION ALL
        (
            SELECT refused.*
            FROM names
            CROSS JOIN LATERAL (
                SELECT {_EVENT}
                FROM rollbook.events
                WHERE tenant_id = $1
                    AND type = 'RequestRefused'
                    AND lower(data -> 'subject' ->> 'userName') = names.name
                    AND seq > $3
                    AND seq <= (SELECT to_seq FROM part)
                    AND data ->> 'user_id' IS NULL
                    AND coalesce(
                        (
                            SELECT late.name = names.name
                            FROM late
                            WHERE late.seq <= events.seq AND late.name IS NOT NULL
                            ORDER BY late.seq DESC
                            LIMIT 1
                        ),
                        (
                            SELECT NOT is_deleted AND lower(attributes ->> 'userName') = names.name
                            FROM rollbook.history
                            WHERE tenant_id = $1 AND user_id = $2 AND valid_from_seq <= events.seq
                            ORDER BY valid_from_seq DESC
                            LIMIT 1
                        ),
                        data ->> 'scim_type' IS DISTINCT FROM 'uniqueness' AND names.name = coalesce(
                            (
                                SELECT lower(attributes ->> 'userName')
                                FROM rollbook.history
                                WHERE tenant_id = $1 AND user_id = $2
                                ORDER BY valid_from_seq
                                LIMIT 1
                            ),
                            (SELECT name FROM late ORDER BY seq LIMIT 1)
                        )
                    )
                ORDER BY seq
                LIMIT $5
            ) AS refused
        )
    ) AS story
    ORDER BY seq
    LIMIT $5
"""  # noqa: S608  constants
