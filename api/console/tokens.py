"""The page of tokens: which there are, and their end."""

from datetime import UTC, datetime
from uuid import UUID

from starlette.responses import Response

from api.console.visit import Visit, done, for_role
from engine.refusals import NotFound
from engine.tenant import RevokeToken
from projections.tenants import TokenListed

DONE = {"revoked": "The token is revoked. It opens nothing any more."}


@for_role("admin")
async def show(visit: Visit) -> Response:
    tokens = await visit.services.tenants.tokens(visit.tenant_id)
    at = datetime.now(UTC)
    valid = [each for each in tokens if _is_valid(each, at)]
    ended = [each for each in tokens if not _is_valid(each, at)]
    return visit.page("tokens.html", valid=valid, ended=ended, words=DONE)


@for_role("admin")
async def ask_to_revoke(visit: Visit) -> Response:
    """What will happen, before it does."""
    return visit.page("token-revoke.html", token=await _token(visit))


@for_role("admin")
async def revoke(visit: Visit) -> Response:
    await visit.form()
    token = await _token(visit)
    await visit.services.engine.administer(RevokeToken(token.id), visit.cause)
    visit.services.gate.forget()
    return done("/console/tokens", "revoked")


async def _token(visit: Visit) -> TokenListed:
    text = visit.request.path_params["id"]
    for each in await visit.services.tenants.tokens(visit.tenant_id):
        if each.id == _id(text):
            return each
    raise NotFound("There is no such token. The page of tokens lists those that there are.")


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _is_valid(token: TokenListed, at: datetime) -> bool:
    return token.revoked_at is None and token.expires_at > at
