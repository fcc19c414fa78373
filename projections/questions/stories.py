"""Everything that happened to one person: the events of the person, and the refused writes that were about the person.

A refusal is about a person if it named the person's id, or, like a creation that collided, the person's userName.
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

# The history knows at which version a seq is, so that a page far behind is found as fast as the first one.
_STORY = """
    SELECT *
    FROM (
        (
            SELECT seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data
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
        )
        UNION ALL
        (
            SELECT seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data
            FROM rollbook.events
            WHERE tenant_id = $1
                AND type = 'RequestRefused'
                AND data ->> 'user_id' = $2::uuid::text
                AND seq > $3
                AND seq <= $4
            ORDER BY seq
            LIMIT $5
        )
        UNION ALL
        (
            SELECT seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, data
            FROM rollbook.events
            WHERE tenant_id = $1
                AND type = 'RequestRefused'
                AND data ->> 'user_id' IS DISTINCT FROM $2::uuid::text
                AND lower(data -> 'subject' ->> 'userName') = (
                    SELECT user_name FROM rollbook.users WHERE tenant_id = $1 AND id = $2
                )
                AND seq > $3
                AND seq <= $4
            ORDER BY seq
            LIMIT $5
        )
    ) AS story
    ORDER BY seq
    LIMIT $5
"""
