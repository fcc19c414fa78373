"""The tenants and their tokens: rows of `tenants` and `tokens`, and the queries that read them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from engine.decision import Outcome, State
from engine.events import AnyEvent, TokenIssued, TokenRevoked
from engine.settings import Settings
from engine.streams import Recorded
from engine.tenant import Tenant, Token, tenant_id_of
from projections.table import Table


class TenantsProjection:
    """One row for each tenant, with its settings."""

    name = "tenants"
    version = 2
    tables = (Table("tenants", ("tenant_id",)),)

    def rows(self, outcome: Outcome[State]) -> Sequence[dict[str, Any]]:
        tenant = outcome.state
        if not isinstance(tenant, Tenant):
            return []
        return [
            {
                "name": tenant.name,
                "settings": tenant.settings,
                "seat_limit": tenant.settings.seat_limit,
                "created_at": tenant.created_at,
            }
        ]


class TokensProjection:
    """One row for each token."""

    name = "tokens"
    version = 2
    tables = (Table("tokens", ("tenant_id", "id")),)

    def rows(self, outcome: Outcome[State]) -> Sequence[dict[str, Any]]:
        if not isinstance(outcome.state, Tenant):
            return []
        return [row for each in outcome.recorded for row in _token_rows(each)]


def _token_rows(recorded: Recorded[AnyEvent]) -> Iterator[dict[str, Any]]:
    match recorded.event:
        case TokenIssued() as event:
            yield {
                "id": event.token_id,
                "name": event.name,
                "scopes": event.scopes,
                "digest": event.digest,
                "issued_at": recorded.recorded_at,
                "expires_at": event.expires_at,
                "user_id": event.user_id,
            }
        case TokenRevoked() as event:
            yield {"id": event.token_id, "revoked_at": recorded.recorded_at}
        case _:  # no other event is about a token
            pass


class TokenListed(Struct, frozen=True, kw_only=True):
    """A token as it is listed: everything but the secret, which nobody has."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None
    user_id: UUID | None


class TenantListed(Struct, frozen=True):
    """A tenant as it is listed."""

    id: UUID
    name: str
    settings: Settings
    created_at: datetime


class Admission(Struct, frozen=True, kw_only=True):
    """What a token opens: its tenant, with the settings there, its scopes, and until when; and whose own it is."""

    tenant_id: UUID
    token_id: UUID
    scopes: frozenset[str]
    expires_at: datetime
    is_revoked: bool
    settings: Settings
    user_id: UUID | None = None


class Tenants:
    """Queries on tenants and tokens."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, tenant_id: UUID) -> Tenant | None:
        """The state of a tenant as its events made it, with its stream's version."""
        row = await self._pool.fetchrow(_TENANT, tenant_id)
        if row is None:
            return None
        tokens = await self._pool.fetch(_TOKENS, tenant_id)
        return Tenant(
            id=tenant_id,
            name=row["name"],
            settings=_settings(row["settings"]),
            version=row["version"],
            tokens={each["id"]: _token(each) for each in tokens},
            created_at=row["created_at"],
        )

    async def id_of(self, name: str) -> UUID:
        """The id that a tenant of this name has, or would have."""
        return tenant_id_of(await self._pool.fetchval("SELECT id FROM rollbook.store"), name)

    async def list(self) -> list[TenantListed]:
        """All tenants of the store, for its operator."""
        rows = await self._pool.fetch(
            "SELECT tenant_id, name, settings, created_at FROM rollbook.tenants ORDER BY created_at, name"
        )
        return [
            TenantListed(row["tenant_id"], row["name"], _settings(row["settings"]), row["created_at"]) for row in rows
        ]

    async def tokens(self, tenant_id: UUID) -> Sequence[TokenListed]:
        """The tokens of a tenant, those that ended included."""
        rows = await self._pool.fetch(_TOKENS, tenant_id)
        return [
            TokenListed(
                id=row["id"],
                name=row["name"],
                scopes=tuple(row["scopes"]),
                issued_at=row["issued_at"],
                expires_at=row["expires_at"],
                revoked_at=row["revoked_at"],
                used_at=row["used_at"],
                user_id=row["user_id"],
            )
            for row in rows
        ]

    async def admission(self, tenant_id: UUID, digest: str) -> Admission | None:
        """What the token of this digest opens, also if it is expired or revoked; None if there never was one."""
        row = await self._pool.fetchrow(_ADMISSION, tenant_id, digest)
        if row is None:
            return None
        return Admission(
            tenant_id=tenant_id,
            token_id=row["id"],
            scopes=frozenset(row["scopes"]),
            expires_at=row["expires_at"],
            is_revoked=row["revoked_at"] is not None,
            settings=_settings(row["settings"]),
            user_id=row["user_id"],
        )

    async def note_uses(self, uses: Sequence[tuple[UUID, UUID, datetime]]) -> None:
        """Remember when tokens were used last: (tenant, token, time) each."""
        await self._pool.executemany(_NOTE_USE, uses)


def _settings(text: str) -> Settings:
    return msgspec.json.decode(text, type=Settings)


def _token(row: asyncpg.Record) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        scopes=tuple(row["scopes"]),
        digest=row["digest"],
        expires_at=row["expires_at"],
        is_revoked=row["revoked_at"] is not None,
    )


_TENANT = """
    SELECT
        name,
        settings,
        created_at,
        (SELECT max(version) FROM rollbook.events WHERE tenant_id = $1 AND stream_id = $1) AS version
    FROM rollbook.tenants
    WHERE tenant_id = $1
"""

_TOKENS = """
    SELECT tokens.*, token_uses.used_at
    FROM rollbook.tokens
    LEFT JOIN rollbook.token_uses ON token_uses.tenant_id = tokens.tenant_id AND token_uses.token_id = tokens.id
    WHERE tokens.tenant_id = $1
    ORDER BY issued_at, id
"""

_ADMISSION = """
    SELECT tokens.id, tokens.scopes, tokens.expires_at, tokens.revoked_at, tokens.user_id, tenants.settings
    FROM rollbook.tokens
    JOIN rollbook.tenants ON tenants.tenant_id = tokens.tenant_id
    WHERE tokens.tenant_id = $1 AND tokens.digest = $2
"""

_NOTE_USE = """
    INSERT INTO rollbook.token_uses AS known
    VALUES ($1, $2, $3)
    ON CONFLICT (tenant_id, token_id) DO UPDATE SET used_at = greatest(known.used_at, excluded.used_at)
"""
