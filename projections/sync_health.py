"""How the synchronisation of one tenant's directory is going: queries on the request log.

A directory works in cycles: it calls, again and again without a pause, until it has told all that it has to tell, and
is silent until the next cycle. Entra begins one every 40 minutes at most, often every 20, and with a probe for somebody
who does not exist, also if nothing has changed. Nothing in a request says to which cycle it belongs; so requests
between which there was no long pause are taken for one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

PAUSE = timedelta(minutes=5)  # Entra pauses for seconds within a cycle, and for some 15 minutes or more between two
INTERVAL = timedelta(minutes=40)  # from the beginning of one cycle to that of the next
GRACE = timedelta(minutes=20)  # for a cycle that takes its time
MOST_PEOPLE = 100  # whose ids are given with a refusal


class RefusalCount(Struct, frozen=True):
    """How often something was refused for one reason: the scimType, or else the kind; `Fault` if it was our fault."""

    status: int
    reason: str
    requests: int
    people: Annotated[list[UUID], Meta(description=f"Those whom it concerned, the first {MOST_PEOPLE} by their ids.")]


class QuirkCount(Struct, frozen=True):
    """How many requests needed a tolerance."""

    quirk: str
    requests: int


class Cycle(Struct, frozen=True, kw_only=True):
    """Requests of a directory without a long pause between them."""

    began_at: datetime
    ended_at: datetime
    seconds: float
    may_go_on: Annotated[bool, Meta(description="Whether it is too early to say that it has ended.")]
    requests: int
    reads: int
    creations: Annotated[int, Meta(description="Requests to create somebody, whatever came of them; so the next two.")]
    changes: int
    deletions: int
    effective: Annotated[int, Meta(description="Requests that changed something.")]
    events: Annotated[int, Meta(description="Events that they appended.")]
    refused: int
    faults: int
    refusals: list[RefusalCount]
    quirks: list[QuirkCount]
    tokens: Annotated[list[UUID], Meta(description="The ids of the tokens that called.")]


class SyncState(Struct, frozen=True, kw_only=True):
    """When the directory last called, and whether it should have called again by now."""

    called_at: Annotated[datetime | None, Meta(description="When it last called; null if that is not known any more.")]
    admitted_at: Annotated[datetime | None, Meta(description="When it last called and was let in.")]
    turned_away: Annotated[int, Meta(description="Calls since then, all with a token that no longer opens anything.")]
    due_at: Annotated[datetime | None, Meta(description="By when the next cycle of an Entra begins at the latest.")]
    is_overdue: bool


TokenState = Literal["valid", "expired", "revoked", "unknown"]


class TokenInUse(Struct, frozen=True, kw_only=True):
    """A token with which a directory called."""

    token_id: UUID
    name: str | None
    state: Annotated[TokenState, Meta(description="What it is now.")]
    expires_at: datetime | None
    requests: int
    turned_away: Annotated[int, Meta(description="Those that the token did not open the door for.")]
    first_called_at: datetime
    last_called_at: datetime


class RefusedRequests(Struct, frozen=True, kw_only=True):
    """Requests of one kind that were refused for one reason."""

    status: int
    reason: str
    method: str
    route: str
    requests: int
    first_at: datetime
    last_at: datetime
    people: Annotated[int, Meta(description="How many people it concerned.")]
    people_ids: Annotated[list[UUID], Meta(description=f"The first {MOST_PEOPLE} of them.")]


class SyncHealth:
    """Queries of one tenant. Each reads the requests of the period that is asked for, and no others."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def cycles(
        self, tenant_id: UUID, since: datetime, until: datetime, limit: int, pause: timedelta = PAUSE
    ) -> Sequence[Cycle]:
        """Those that began from `since` on and before `until`, the latest first; what came later is not in them."""
        rows = await self._pool.fetch(_CYCLES, tenant_id, since, until, pause, limit)
        return [_cycle(row) for row in rows]

    async def start_of_latest(self, tenant_id: UUID, since: datetime, requests: int) -> datetime:
        """From when on there were at most so many requests; `since`, if there were not more of them."""
        at = await self._pool.fetchval(_LATEST, tenant_id, since, requests)
        return at or since

    async def state(self, tenant_id: UUID, now: datetime, interval: timedelta = INTERVAL) -> SyncState:
        """As far as requests are kept. A directory that never called owes nothing."""
        called_at, admitted_at, turned_away = await self._pool.fetchrow(_STATE, tenant_id)
        due_at = admitted_at and admitted_at + interval + GRACE
        return SyncState(
            called_at=called_at,
            admitted_at=admitted_at,
            turned_away=turned_away,
            due_at=due_at,
            is_overdue=called_at is not None and (due_at is None or now > due_at),
        )

    async def tokens(self, tenant_id: UUID, since: datetime, until: datetime, now: datetime) -> Sequence[TokenInUse]:
        """The tokens that called in the period, those that still call first."""
        rows = await self._pool.fetch(_TOKENS, tenant_id, since, until, now)
        return [TokenInUse(**dict(row)) for row in rows]

    async def refusals(self, tenant_id: UUID, since: datetime, until: datetime) -> Sequence[RefusedRequests]:
        """What was refused in the period, the most frequent first."""
        rows = await self._pool.fetch(_REFUSALS, tenant_id, since, until)
        return [RefusedRequests(**dict(row)) for row in rows]


def _cycle(row: asyncpg.Record) -> Cycle:
    found = dict(row)
    return Cycle(
        **{
            **found,
            "seconds": (found["ended_at"] - found["began_at"]).total_seconds(),
            "refusals": msgspec.json.decode(found["refusals"], type=list[RefusalCount]),
            "quirks": msgspec.json.decode(found["quirks"], type=list[QuirkCount]),
        }
    )


_REASON = "coalesce(refusal, CASE status WHEN 499 THEN 'ClientWent' ELSE 'Fault' END)"

# Looks a pause further back, for a cycle that had begun before the period is none of it.
_CYCLES = f"""
    WITH seen AS (
        SELECT *, coalesce(at - lag(at) OVER (ORDER BY at, request_id) > $4::interval, true) AS begins
        FROM rollbook.request_log
        WHERE tenant_id = $1 AND at >= $2::timestamptz - $4::interval AND at < $3::timestamptz
    ), numbered AS (
        SELECT *, count(*) FILTER (WHERE begins) OVER (ORDER BY at, request_id) AS cycle
        FROM seen
    ), cycles AS (
        SELECT
            cycle,
            min(at) AS began_at,
            max(at + microseconds * interval '1 microsecond') AS ended_at,
            max(at) > least($3::timestamptz, now()) - $4::interval AS may_go_on,
            count(*) AS requests,
            count(*) FILTER (WHERE method IN ('GET', 'HEAD')) AS reads,
            count(*) FILTER (WHERE method = 'POST') AS creations,
            count(*) FILTER (WHERE method IN ('PUT', 'PATCH')) AS changes,
            count(*) FILTER (WHERE method = 'DELETE') AS deletions,
            count(*) FILTER (WHERE changes > 0) AS effective,
            sum(changes) AS events,
            count(*) FILTER (WHERE refusal IS NOT NULL) AS refused,
            count(*) FILTER (WHERE status = 500) AS faults,
            array_agg(DISTINCT token_id) AS tokens
        FROM numbered
        GROUP BY cycle
        HAVING min(at) >= $2::timestamptz
        ORDER BY cycle DESC
        LIMIT $5
    ), refusals AS (
        SELECT
            cycle, status, {_REASON} AS reason, count(*) AS requests,
            coalesce(array_agg(DISTINCT user_id) FILTER (WHERE user_id IS NOT NULL), '{{}}') AS people
        FROM numbered
        WHERE status >= 400
        GROUP BY cycle, status, reason
    ), quirks AS (
        SELECT cycle, quirk, count(*) AS requests
        FROM numbered
        CROSS JOIN unnest(numbered.quirks) AS quirk
        GROUP BY cycle, quirk
    )
    SELECT
        began_at, ended_at, may_go_on, requests, reads, creations, changes, deletions, effective, events, refused,
        faults, tokens, coalesce(of_refusals.found, '[]') AS refusals, coalesce(of_quirks.found, '[]') AS quirks
    FROM cycles
    LEFT JOIN (
        SELECT cycle, jsonb_agg(
            jsonb_build_object(
                'status', status, 'reason', reason, 'requests', requests, 'people', people[1:{MOST_PEOPLE}]
            ) ORDER BY requests DESC, status, reason
        ) AS found
        FROM refusals
        GROUP BY cycle
    ) AS of_refusals USING (cycle)
    LEFT JOIN (
        SELECT cycle, jsonb_agg(jsonb_build_object('quirk', quirk, 'requests', requests) ORDER BY requests DESC, quirk)
            AS found
        FROM quirks
        GROUP BY cycle
    ) AS of_quirks USING (cycle)
    ORDER BY cycle DESC
"""  # noqa: S608  constants

# A request without a free seat is 403, too, but was let in.
_TURNED_AWAY = "(refusal IN ('NotAuthenticated', 'BearerTwice', 'Forbidden'))"

_CALLED = "SELECT at FROM rollbook.request_log WHERE tenant_id = $1"
_ADMITTED = f"({_CALLED} AND {_TURNED_AWAY} IS NOT TRUE ORDER BY at DESC LIMIT 1)"

# What was turned away is found among what was refused; all else is at the end of an index.
_STATE = f"""
    SELECT
        ({_CALLED} ORDER BY at DESC LIMIT 1) AS called_at,
        admitted.at AS admitted_at,
        (
            SELECT count(*)
            FROM rollbook.request_log
            WHERE tenant_id = $1 AND status >= 400 AND at > coalesce(admitted.at, '-infinity')
        ) AS turned_away
    FROM (SELECT {_ADMITTED} AS at) AS admitted
"""  # noqa: S608  constants

_LATEST = """
    SELECT at
    FROM rollbook.request_log
    WHERE tenant_id = $1 AND at >= $2
    ORDER BY at DESC
    OFFSET $3
    LIMIT 1
"""

_TOKENS = f"""
    SELECT
        called.token_id,
        tokens.name,
        CASE
            WHEN tokens.id IS NULL THEN 'unknown'
            WHEN tokens.revoked_at IS NOT NULL THEN 'revoked'
            WHEN tokens.expires_at <= $4 THEN 'expired'
            ELSE 'valid'
        END AS state,
        tokens.expires_at,
        called.requests,
        called.turned_away,
        called.first_called_at,
        called.last_called_at
    FROM (
        SELECT
            token_id,
            count(*) AS requests,
            count(*) FILTER (WHERE {_TURNED_AWAY}) AS turned_away,
            min(at) AS first_called_at,
            max(at) AS last_called_at
        FROM rollbook.request_log
        WHERE tenant_id = $1 AND at >= $2 AND at < $3
        GROUP BY token_id
    ) AS called
    LEFT JOIN rollbook.tokens ON tokens.tenant_id = $1 AND tokens.id = called.token_id
    ORDER BY called.last_called_at DESC, called.token_id
"""  # noqa: S608  constants

_REFUSALS = f"""
    SELECT
        status,
        {_REASON} AS reason,
        method,
        route,
        count(*) AS requests,
        min(at) AS first_at,
        max(at) AS last_at,
        count(DISTINCT user_id) AS people,
        coalesce(
            (array_agg(DISTINCT user_id) FILTER (WHERE user_id IS NOT NULL))[1:{MOST_PEOPLE}], '{{}}'
        ) AS people_ids
    FROM rollbook.request_log
    WHERE tenant_id = $1 AND status >= 400 AND at >= $2 AND at < $3
    GROUP BY status, reason, method, route
    ORDER BY requests DESC, status, reason, method, route
"""  # noqa: S608  constants
