"""The page of tokens: which there are, a new one, one to follow another, and their end."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from starlette.responses import Response

from api import tokens
from api.console import advice
from api.console.visit import Visit, done, for_role
from api.scim_users import base_url
from api.tokens import Issued
from engine.refusals import BadRequest, InvalidValue, NotFound
from engine.tenant import RevokeToken
from engine.tokens import OWN, SCOPES
from projections.tenants import TokenListed

DONE = {"revoked": "The token is revoked. It opens nothing any more."}
LIVES = (("365", "One year"), ("180", "Half a year"), ("90", "90 days"), ("30", "30 days"), ("1", "One day"))
MEANINGS = {
    "scim": "what the directory calls, for Entra",
    "people:read": "reading people and seats",
    "people:write": "local edits as well",
    "audit:read": "the audit, also in this console",
    "admin": "everything, also in this console",
}
_OFFERED = tuple(scope for scope in SCOPES if scope != OWN)


@for_role("admin")
async def show(visit: Visit) -> Response:
    return await _page(visit)


@for_role("admin")
async def issue(visit: Visit) -> Response:
    """Issue a token, and show it this once."""
    form = await visit.form_with_lists()
    try:
        expires_at = _expiry(form)
        issued = await tokens.issue(
            visit.services, visit.cause, form.get("name", [""])[0], tuple(form.get("scope", [])), expires_at
        )
    except (BadRequest, InvalidValue) as refusal:
        return await _page(visit, form, refusal.detail)
    return await _issued(visit, issued)


@for_role("admin")
async def ask_to_rotate(visit: Visit) -> Response:
    return visit.page("token-rotate.html", token=await _token(visit), lives=LIVES)


@for_role("admin")
async def rotate(visit: Visit) -> Response:
    """Issue one of the same name and scopes beside the old one, which works on until it is revoked."""
    form = await visit.form_with_lists()
    old = await _token(visit)
    issued = await tokens.issue_successor(visit.services, visit.cause, old.id, _expiry(form))
    return await _issued(visit, issued, old)


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


async def _page(visit: Visit, form: dict[str, list[str]] | None = None, wrong: str = "") -> Response:
    known, at = await visit.services.tenants.tokens(visit.tenant_id), datetime.now(UTC)
    given = form or {}
    return visit.page(
        "tokens.html",
        400 if wrong else 200,
        valid=[each for each in known if _is_valid(each, at)],
        ended=[each for each in reversed(known) if not _is_valid(each, at)],
        words=DONE,
        advice=advice,
        at=at,
        lives=LIVES,
        scopes=[(scope, MEANINGS[scope]) for scope in _OFFERED],
        name=given.get("name", [""])[0],
        chosen=given.get("scope", ["scim"]),
        days=given.get("days", ["365"])[0],
        wrong=wrong,
    )


async def _issued(visit: Visit, issued: Issued, old: TokenListed | None = None) -> Response:
    listed = await tokens.listed(visit.services, visit.tenant_id, issued.id)
    return visit.page("token-issued.html", token=listed, text=issued.text, old=old, tenant_url=base_url(visit.request))


def _expiry(form: dict[str, list[str]]) -> datetime:
    days = form.get("days", [""])[0]
    if days not in dict(LIVES):
        raise BadRequest(f"days takes one of {', '.join(dict(LIVES))}.")
    return datetime.now(UTC) + timedelta(days=int(days))


async def _token(visit: Visit) -> TokenListed:
    try:
        token_id = UUID(visit.request.path_params["id"])
    except ValueError:
        raise NotFound("There is no such token. The page of tokens lists those that there are.") from None
    return await tokens.listed(visit.services, visit.tenant_id, token_id)


def _is_valid(token: TokenListed, at: datetime) -> bool:
    return token.revoked_at is None and token.expires_at > at
