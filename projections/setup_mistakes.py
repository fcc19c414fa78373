"""The well-known mistakes of a set-up, found in what the directory really sent."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import asyncpg
from msgspec import Struct

from engine.expiry import days_left
from engine.quirks import Quirk
from engine.settings import Settings

LOOK_BACK = timedelta(days=7)
MOST_REFUSALS = 1_000  # that are looked at, the latest
LATEST = 1_000  # people that are looked at: those who came last
THREE_CYCLES = timedelta(hours=2)  # of Entra, which calls every 40 minutes
REQUESTS = 5_000  # that are looked at, the latest

Code = Literal[
    "no_role_mapped",
    "active_not_mapped",
    "upper_case_address",
    "role_unknown",
    "groups_mapped",
    "wrong_matching_attribute",
    "address_without_scim",
    "bearer_twice",
    "token_ended",
    "token_ends_soon",
]


class Mistake(Struct, frozen=True, kw_only=True):
    """A mistake that was seen: how often and when last, and an example: what was refused, or a token's name."""

    code: Code
    count: int
    last_at: datetime | None = None
    example: str = ""
    days: int | None = None


async def setup_mistakes(pool: asyncpg.Pool, tenant_id: UUID, settings: Settings, now: datetime) -> list[Mistake]:
    """Those of the last days, or of the people who came last, without what is over.

    Six statements, none of which grows with the log.
    """
    since = now - LOOK_BACK
    good_at = await pool.fetchval(_GOOD, tenant_id, since)
    found = [
        *_of_people(await pool.fetchrow(_PEOPLE, tenant_id, LATEST)),
        *_of_creations(await pool.fetchrow(_CREATIONS, tenant_id, since, REQUESTS, str(Quirk.NO_ACTIVE))),
        *(_mistake(row) for row in await pool.fetch(_REFUSED, tenant_id, since, MOST_REFUSALS)),
        *(_mistake(row) for row in await pool.fetch(_REQUESTS, tenant_id, since)),
        *_of_tokens(await pool.fetch(_TOKENS, tenant_id, since), now),
    ]
    return [each for each in found if not _is_allowed(each, settings) and not _is_over(each, good_at, now)]


def _is_allowed(mistake: Mistake, settings: Settings) -> bool:
    """Whether the tenant takes by now what was refused then."""
    match mistake.code:
        case "groups_mapped":
            return settings.groups == "on"
        case "upper_case_address":
            return settings.email_case == "keep"
        case "role_unknown":
            return settings.unknown_role == "ignore"
        case _:
            return False


def _is_over(mistake: Mistake, good_at: datetime | None, now: datetime) -> bool:
    """Whether the directory has found its way in since; with a token, some time later: it may be another one's."""
    if good_at is None or mistake.last_at is None:
        return False
    match mistake.code:
        case "address_without_scim" | "bearer_twice":
            return mistake.last_at < good_at
        case "token_ended":
            return mistake.last_at < min(good_at, now - THREE_CYCLES)
        case _:
            return False


def _of_people(row: asyncpg.Record) -> Iterator[Mistake]:
    if row["people"] and not row["with_role"]:
        yield Mistake(code="no_role_mapped", count=row["people"])


def _of_creations(row: asyncpg.Record) -> Iterator[Mistake]:
    if row["creations"] and row["creations"] == row["without_active"]:
        yield Mistake(code="active_not_mapped", count=row["creations"], last_at=row["last_at"])


def _mistake(row: asyncpg.Record) -> Mistake:
    """The example only where it can be nobody's name or address."""
    example = (row["example"] or "") if row["code"] == "role_unknown" else ""
    return Mistake(code=row["code"], count=row["count"], last_at=row["last_at"], example=example)


def _of_tokens(rows: list[asyncpg.Record], now: datetime) -> Iterator[Mistake]:
    """Of tokens that are in use: those that still call in vain, and those that are about to end."""
    for row in rows:
        if row["turned_away"]:
            yield Mistake(code="token_ended", count=row["turned_away"], last_at=row["last_at"], example=row["name"])
            continue
        days = days_left(row["expires_at"], now)
        if days is not None:
            yield Mistake(code="token_ends_soon", count=1, last_at=row["last_at"], example=row["name"], days=days)


_PEOPLE = """
    SELECT
        count(*) AS people,
        count(*) FILTER (WHERE attributes ? 'role') AS with_role
    FROM (
        SELECT attributes
        FROM rollbook.users
        WHERE tenant_id = $1 AND NOT is_deleted
        ORDER BY id DESC
        LIMIT $2
    ) AS latest
"""

_CREATIONS = """
    SELECT
        count(*) AS creations,
        count(*) FILTER (WHERE $4 = ANY (quirks)) AS without_active,
        max(at) AS last_at
    FROM (
        SELECT at, method, route, status, quirks
        FROM rollbook.request_log
        WHERE tenant_id = $1 AND at >= $2
        ORDER BY at DESC
        LIMIT $3
    ) AS latest
    WHERE method = 'POST' AND route = '/scim/v2/Users' AND status = 201
"""

# By the words of our own refusals. A creation that collides again and again was not found before it was sent.
_REFUSED = """
    SELECT code, count(*) AS count, max(recorded_at) AS last_at, (array_agg(detail ORDER BY seq DESC))[1] AS example
    FROM (
        SELECT
            seq,
            recorded_at,
            data ->> 'detail' AS detail,
            CASE
                WHEN data ->> 'path' ILIKE '/scim/v2/Groups%' AND (data ->> 'status')::int = 501 THEN 'groups_mapped'
                WHEN data ->> 'detail' LIKE '%must be lower case%' THEN 'upper_case_address'
                WHEN data ->> 'detail' LIKE 'role "%is none of this tenant%' THEN 'role_unknown'
                WHEN data ->> 'method' = 'POST'
                    AND data ->> 'path' ILIKE '/scim/v2/Users%'
                    AND data ->> 'scim_type' = 'uniqueness'
                    AND count(*) OVER (PARTITION BY data ->> 'scim_type', data -> 'subject' ->> 'userName') > 1
                    THEN 'wrong_matching_attribute'
            END AS code
        FROM (
            SELECT seq, recorded_at, data::jsonb AS data
            FROM rollbook.events
            WHERE tenant_id = $1 AND type = 'RequestRefused' AND data IS NOT NULL
            ORDER BY seq DESC
            LIMIT $3
        ) AS latest
        WHERE recorded_at >= $2
    ) AS refused
    WHERE code IS NOT NULL
    GROUP BY code
    ORDER BY count DESC, code
"""

_REQUESTS = """
    SELECT
        CASE refusal WHEN 'BearerTwice' THEN 'bearer_twice' ELSE 'address_without_scim' END AS code,
        count(*) AS count,
        max(at) AS last_at,
        NULL AS example
    FROM rollbook.request_log
    WHERE tenant_id = $1
        AND at >= $2
        AND status >= 400
        AND (refusal = 'BearerTwice' OR (status = 404 AND route = 'unknown'))
    GROUP BY 1
    ORDER BY 1
"""

_GOOD = """
    SELECT at FROM rollbook.request_log WHERE tenant_id = $1 AND at >= $2 AND status < 400 ORDER BY at DESC LIMIT 1
"""

_TOKENS = """
    SELECT
        tokens.name,
        tokens.expires_at,
        coalesce(refused.last_at, token_uses.used_at) AS last_at,
        CASE WHEN tokens.expires_at <= now() OR tokens.revoked_at IS NOT NULL THEN refused.count ELSE 0 END
            AS turned_away
    FROM rollbook.tokens
    LEFT JOIN rollbook.token_uses ON token_uses.tenant_id = $1 AND token_uses.token_id = tokens.id
    CROSS JOIN LATERAL (
        SELECT count(*) AS count, max(at) AS last_at
        FROM rollbook.request_log
        WHERE tenant_id = $1 AND at >= $2 AND status = 401 AND token_id = tokens.id
    ) AS refused
    WHERE tokens.tenant_id = $1
        AND 'scim' = ANY (tokens.scopes)
        AND (
            (tokens.revoked_at IS NULL AND tokens.expires_at > now() AND token_uses.used_at >= $2)
            OR refused.count > 0
        )
    ORDER BY tokens.expires_at
"""
