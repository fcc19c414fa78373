"""When each tenant's directory last called: what is written down of its tokens, and what the gate has noted since."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from api.gate import Gate


class LastCalls:
    """Knows of the tenants whose directories called most recently, at most so many. A tenant whose tokens are all
    revoked has no directory any more."""

    def __init__(self, pool: asyncpg.Pool, gate: Gate, most: int) -> None:
        self._pool = pool
        self._gate = gate
        self._most = most

    async def latest(self) -> Sequence[tuple[UUID, datetime]]:
        """Tenants with the time of their last call, the latest first. One statement, over the tokens of all tenants."""
        if self._most == 0:
            return []
        noted = list(zip(*self._gate.uses(), strict=True)) or [(), (), ()]
        return [(row["tenant_id"], row["at"]) for row in await self._pool.fetch(_LATEST, *noted, self._most)]


_LATEST = """
    SELECT tokens.tenant_id, max(uses.used_at) AS at
    FROM rollbook.tokens
    LEFT JOIN (
        SELECT tenant_id, token_id, used_at
        FROM rollbook.token_uses
        UNION ALL
        SELECT *
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
    ) AS uses ON uses.tenant_id = tokens.tenant_id AND uses.token_id = tokens.id
    WHERE 'scim' = ANY (tokens.scopes)
    GROUP BY tokens.tenant_id
    HAVING max(uses.used_at) IS NOT NULL AND bool_or(tokens.revoked_at IS NULL)
    ORDER BY at DESC, tenant_id
    LIMIT $4
"""
