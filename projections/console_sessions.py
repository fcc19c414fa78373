"""Who is signed in to the console: rows of `console_sessions`, and the queries on them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from engine.settings import Settings

Role = Literal["owner", "admin", "auditor"]


class NewSession(Struct, frozen=True, kw_only=True):
    """A session to begin. `actor` is an id, never a name; `token_id` that of the token that was shown, if one was."""

    tenant_id: UUID
    digest: str
    role: Role
    actor: str
    token_id: UUID | None
    ends_at: datetime


class Session(Struct, frozen=True, kw_only=True):
    """A session that holds, and its tenant."""

    tenant_id: UUID
    tenant_name: str
    settings: Settings
    role: Role
    actor: str
    token_id: UUID | None
    began_at: datetime
    ends_at: datetime


class ConsoleSessions:
    """Queries on sessions. Each is one statement and names one tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, new: NewSession) -> None:
        """Keep a session, and forget those of its tenant that are over."""
        await self._pool.execute(_BEGIN, new.tenant_id, new.digest, new.role, new.actor, new.token_id, new.ends_at)

    async def get(self, tenant_id: UUID, digest: str) -> Session | None:
        """The session of this digest; None if there is none, it is over, or its token has ended."""
        row = await self._pool.fetchrow(_SESSION, tenant_id, digest)
        if row is None:
            return None
        return Session(
            tenant_id=tenant_id,
            tenant_name=row["name"],
            settings=msgspec.json.decode(row["settings"], type=Settings),
            role=row["role"],
            actor=row["actor"],
            token_id=row["token_id"],
            began_at=row["began_at"],
            ends_at=row["ends_at"],
        )

    async def end(self, tenant_id: UUID, digest: str) -> None:
        """Forget the session, if it is there."""
        await self._pool.execute(
            "DELETE FROM rollbook.console_sessions WHERE tenant_id = $1 AND digest = $2", tenant_id, digest
        )


_BEGIN = """
    WITH forgotten AS (
        DELETE FROM rollbook.console_sessions WHERE tenant_id = $1 AND ends_at <= now()
    )
    INSERT INTO rollbook.console_sessions (tenant_id, digest, role, actor, token_id, ends_at)
    VALUES ($1, $2, $3, $4, $5, $6)
"""

_SESSION = """
    SELECT
        tenants.name,
        tenants.settings,
        sessions.role,
        sessions.actor,
        sessions.token_id,
        sessions.began_at,
        sessions.ends_at
    FROM rollbook.console_sessions AS sessions
    JOIN rollbook.tenants ON tenants.tenant_id = sessions.tenant_id
    LEFT JOIN rollbook.tokens ON tokens.tenant_id = sessions.tenant_id AND tokens.id = sessions.token_id
    WHERE sessions.tenant_id = $1
        AND sessions.digest = $2
        AND sessions.ends_at > now()
        AND (sessions.token_id IS NULL OR (tokens.revoked_at IS NULL AND tokens.expires_at > now()))
"""
