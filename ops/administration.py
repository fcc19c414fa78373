"""What the command line does to tenants and tokens: the engine's commands, asked by the operator."""

import os
import shlex
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from api import tokens
from api.services import Services
from engine.settings import Settings
from engine.store import Cause
from ops.trouble import Trouble


def cause(tenant_id: UUID) -> Cause:
    """The operator is known by the number of the account on this machine; a name would be personal data."""
    return Cause(tenant_id=tenant_id, source="operator", actor=f"uid:{os.getuid()}", request_id=uuid7())


async def tenant_id_of(services: Services, name: str) -> UUID:
    """The id that a tenant of this name has, or would have."""
    return await services.tenants.id_of(name)


async def existing_tenant_id(services: Services, name: str) -> UUID:
    tenant_id = await tenant_id_of(services, name)
    if await services.tenants.get(tenant_id) is None:
        names = ", ".join(each.name for each in await services.tenants.list()) or "none yet"
        raise Trouble(
            f"There is no tenant {name!r}. There are: {names}. Create it with: "
            f"rollbook tenant create {shlex.quote(name)}"
        )
    return tenant_id


async def settings_of(services: Services, tenant_id: UUID) -> Settings:
    """The tenant's settings as of now."""
    return next(each.settings for each in await services.tenants.list() if each.id == tenant_id)


async def issue_token(  # noqa: PLR0913, PLR0917  what a token is made of
    services: Services,
    tenant_id: UUID,
    name: str,
    scopes: tuple[str, ...],
    expires_at: datetime,
    user_id: UUID | None = None,
) -> str:
    """A new token's text, which is nowhere but in what this returns. With a user's id it is that person's own.

    Raises the Refusals of `tokens.issue`.
    """
    return (await tokens.issue(services, cause(tenant_id), name, scopes, expires_at, user_id)).text
