"""`/v1/tokens`: issuing and revoking tokens."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api import tokens, wire
from api.call import Call, call_of
from api.services import Services, services_of
from api.v1 import ADMIN, asked_actor
from engine.refusals import BadRequest, NotFound
from engine.tenant import RevokeToken
from engine.tokens import OWN


class TokenAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token that is to be issued."""

    name: Annotated[str, Meta(description="What it is for; not the name of a person.")]
    scopes: Annotated[list[str], Meta(description=f"What it opens: one or more of the scopes, but not {OWN}.")]
    expires_at: Annotated[
        datetime | None, Meta(description="With its offset, as 2027-11-23T09:00:00Z; in a year if it is not given.")
    ] = None


class TokenSecret(Struct, frozen=True, kw_only=True):
    """A token that was issued. Its text is told this once."""

    id: UUID
    name: str
    scopes: list[str]
    expires_at: datetime
    token: Annotated[str, Meta(description="The secret token itself. It cannot be shown again.")]


class TokenEnded(Struct, frozen=True, kw_only=True):
    """A token that was revoked."""

    id: UUID
    is_own: Annotated[bool, Meta(description="Whether it is the very token that asked, which opens nothing any more.")]


async def issue(request: Request) -> Response:
    """A new token of any scopes but somebody's own, whose text nobody keeps."""
    services, call = await _admitted(request)
    asked, now = _asked(await wire.read_json(request)), datetime.now(UTC)
    expires_at = tokens.checked_expiry(asked.expires_at or now + tokens.USUAL_LIFE, now)
    issued = await tokens.issue(services, call.cause, asked.name, tuple(asked.scopes), expires_at)
    listed = await tokens.listed(services, call.cause.tenant_id, issued.id)
    shown = TokenSecret(
        id=issued.id, name=listed.name, scopes=list(listed.scopes), expires_at=listed.expires_at, token=issued.text
    )
    return wire.json(shown, 201, headers={"Cache-Control": "no-store"})


async def revoke(request: Request) -> Response:
    """End a token now, be it the one that asks; once more changes nothing."""
    services, call = await _admitted(request)
    token_id = _token_id(request)
    await services.engine.administer(RevokeToken(token_id), call.cause)
    services.gate.forget()
    return wire.json(TokenEnded(id=token_id, is_own=token_id == call.admitted.token_id))


async def _admitted(request: Request) -> tuple[Services, Call]:
    services, call = services_of(request), call_of(request)
    call.source = "local"
    await services.gate.admit(request, *ADMIN)
    call.actor = asked_actor(request)
    return services, call


def _asked(found: object) -> TokenAsked:
    try:
        asked = msgspec.convert(found, TokenAsked)
    except msgspec.ValidationError as error:
        raise BadRequest(
            f'The body is {{"name": "Our app", "scopes": ["people:read"], "expires_at": "2027-11-23T09:00:00Z"}}, the '
            f"last one as you like; in this one: {error}."
        ) from None
    if OWN in asked.scopes:
        raise BadRequest(
            f"The scope {OWN} is that of a person's own token, which is issued on the command line: "
            f"rollbook token issue --user ID"
        )
    if asked.expires_at is not None and asked.expires_at.tzinfo is None:
        raise BadRequest("expires_at takes a time with its offset, as 2027-11-23T09:00:00Z.")
    return asked


def _token_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise NotFound("There is no such token; GET /v1/tokens lists those that there are, with their ids.") from None
