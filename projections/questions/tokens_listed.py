"""The tokens of a tenant: issued when and by whom, used last, expired, revoked."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from projections.question import Asked, Asking, Page, Question, id_after, page_of


class TokenShown(Struct, frozen=True, kw_only=True):
    """A token, without its secret, which is nowhere."""

    id: UUID
    name: str
    scopes: list[str]
    user_id: Annotated[UUID | None, Meta(description="Whose own token it is, if it is somebody's.")]
    issued_at: datetime
    issued_by: Annotated[str | None, Meta(description="The actor that issued it.")]
    expires_at: datetime
    used_at: Annotated[datetime | None, Meta(description="When it was used last, to within half a minute.")]
    revoked_at: datetime | None
    revoked_by: Annotated[str | None, Meta(description="The actor that revoked it.")]


class TokensAsked(Asked, frozen=True, kw_only=True):
    """Which tokens."""

    valid: Annotated[bool | None, Meta(description="Only those that are neither expired nor revoked, or others.")] = (
        None
    )


async def _tokens(asking: Asking[TokensAsked]) -> Page[TokenShown]:
    rows = await asking.pool.fetch(_TOKENS, asking.tenant_id, id_after(asking), asking.limit, asking.asked.valid)
    return page_of([TokenShown(**dict(row)) for row in rows], asking.limit, lambda each: each.id)


TOKENS: Question[TokensAsked, TokenShown] = Question(
    "tokens", "The tokens: issued, used last, expired, revoked", TokensAsked, TokenShown, _tokens
)

# The event that did it to the token: the first one about it from the time on at which it was recorded.
_BY = """
    LEFT JOIN LATERAL (
        SELECT actor
        FROM rollbook.events
        WHERE tenant_id = $1
            AND {at} IS NOT NULL
            AND type = '{type}'
            AND seq > (SELECT rollbook.last_seq_before($1, {at}))
            AND data ->> 'token_id' = tokens.id::text
        ORDER BY seq
        LIMIT 1
    ) AS {name} ON true
"""

_TOKENS = f"""
    SELECT
        tokens.id, tokens.name, tokens.scopes, tokens.user_id,
        tokens.issued_at, issued.actor AS issued_by, tokens.expires_at,
        token_uses.used_at, tokens.revoked_at, revoked.actor AS revoked_by
    FROM rollbook.tokens
    LEFT JOIN rollbook.token_uses ON token_uses.tenant_id = $1 AND token_uses.token_id = tokens.id
    {_BY.format(type="TokenIssued", at="tokens.issued_at", name="issued")}
    {_BY.format(type="TokenRevoked", at="tokens.revoked_at", name="revoked")}
    WHERE tokens.tenant_id = $1
        AND tokens.id > $2
        AND ($4::boolean IS NULL OR (tokens.revoked_at IS NULL AND tokens.expires_at > now()) = $4)
    ORDER BY tokens.id
    LIMIT $3
"""  # noqa: S608  constants
