"""Tokens as they are issued: a random secret, its text, and the event that keeps its digest."""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct
from uuid_utils.compat import uuid7

from api.services import Services
from engine import tokens
from engine.refusals import InvalidValue, NotFound
from engine.store import Cause
from engine.tenant import IssueToken
from projections.tenants import TokenListed

USUAL_LIFE = timedelta(days=365)
LONGEST_LIFE = timedelta(days=3650)


class Issued(Struct, frozen=True):
    """A new token. Its text is nowhere but here, and cannot be had again."""

    id: UUID
    text: str


async def issue(  # noqa: PLR0913, PLR0917  what a token is made of
    services: Services,
    cause: Cause,
    name: str,
    scopes: tuple[str, ...],
    expires_at: datetime,
    user_id: UUID | None = None,
) -> Issued:
    """Issue a token of the tenant of the cause; with a user's id it is that person's own.

    Raises NotFound if there is no such user, and the Refusals of `tenant.decide`.
    """
    user = await services.users.get(cause.tenant_id, user_id) if user_id else None
    if user_id and (user is None or user.is_deleted):
        raise NotFound(f"There is no user with the id {user_id} in this tenant.")
    secret, token_id = secrets.token_bytes(32), uuid7()
    command = IssueToken(token_id, name, scopes, tokens.digest(secret), expires_at, user_id)
    await services.engine.administer(command, cause)
    return Issued(token_id, tokens.write(cause.tenant_id, secret))


async def issue_successor(services: Services, cause: Cause, token_id: UUID, expires_at: datetime) -> Issued:
    """Issue a token of the same name and scopes beside one that is not revoked; the old one stays as it is.

    Raises NotFound if there is no such token, InvalidValue if it was revoked.
    """
    old = await listed(services, cause.tenant_id, token_id)
    if old.revoked_at is not None:
        raise InvalidValue(f"{old.name} was revoked, so nothing uses it any more. Issue a new token instead.")
    return await issue(services, cause, old.name, old.scopes, expires_at, old.user_id)


async def listed(services: Services, tenant_id: UUID, token_id: UUID) -> TokenListed:
    """One token of a tenant, also if it ended. Raises NotFound if there is none of this id."""
    for each in await services.tenants.tokens(tenant_id):
        if each.id == token_id:
            return each
    raise NotFound("There is no such token. `rollbook token list` names those that there are.")


def checked_expiry(expires_at: datetime, now: datetime) -> datetime:
    """The same. Raises InvalidValue if a token cannot expire then."""
    if not now < expires_at <= now + LONGEST_LIFE:
        raise InvalidValue("A token expires at a time in the future, within ten years.")
    return expires_at
