"""Signing in to the console with an issuer of identities, which says who somebody is, and gives the role."""

import hmac
import secrets
import time
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec
import structlog
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.call import call_of
from api.console import html
from api.console.cookies import is_secure, put_sign_in, sign_in_of, take_sign_in
from api.console.sign_in import LONGEST, form_page
from api.console.sign_in import begin as begin_session
from api.console.visit import SIGN_IN, safe_next
from api.issuer import Issuer, Question
from api.seals import BrokenSealError
from api.services import services_of
from engine.refusals import BadRequest, NotAuthenticated, NotFound, Refusal
from projections.console_sessions import NewSession

BEGIN = f"{SIGN_IN}/issuer"
CALLBACK = f"{SIGN_IN}/callback"
PATIENCE = 600  # seconds that somebody may take at the issuer
_PURPOSE = b"a sign-in to the console"

_log = structlog.get_logger("rollbook")


class SignIn(Struct, frozen=True, kw_only=True):
    """A sign-in that is under way: what was asked, where it leads, and when it is too late (seconds since 1970)."""

    question: Question
    target: str
    ends_at: int


async def begin(request: Request) -> Response:
    """To the issuer."""
    issuer, target = _issuer(request), safe_next(request.query_params.get("next", ""))
    question = Question(*(secrets.token_urlsafe(48) for _ in Question.__struct_fields__))
    try:
        address = await issuer.address(question, _redirect_uri(request))
    except Refusal as refusal:
        return form_page(request, target, refusal.status, refusal.detail)
    sign_in = SignIn(question=question, target=target, ends_at=int(time.time()) + PATIENCE)
    sealed = await services_of(request).seals.seal(msgspec.msgpack.encode(sign_in), _PURPOSE)
    response = html.guarded(RedirectResponse(address, 303))
    put_sign_in(request, response, sealed, PATIENCE)
    return response


async def end(request: Request) -> Response:
    """Back from the issuer, with its answer in the address (OpenID Connect Core §3.1.2.5).

    The way here leads over the issuer's pages, so a browser would not send the session's cookie, which is strict, with
    a redirection that followed. It does with the page's own next step.
    """
    issuer, sign_in = _issuer(request), await _under_way(request)
    target = sign_in.target if sign_in else "/console"
    try:
        session = await _session(request, issuer, await _claims(request, issuer, sign_in))
    except Refusal as refusal:
        _log.info("nobody was signed in", request_id=str(call_of(request).request_id), why=type(refusal).__name__)
        response = form_page(request, target, refusal.status, refusal.detail)
    else:
        page = html.page("signed-in.html", visit=None, target=target)
        response = await begin_session(request, session, page)
    take_sign_in(request, response)
    return response


def _issuer(request: Request) -> Issuer:
    issuer = services_of(request).issuer
    if issuer is None:
        raise NotFound("Here one signs in with a token. The operator can set up an issuer of identities besides.")
    return issuer


def _redirect_uri(request: Request) -> str:
    """Where the issuer sends people back to, as it is registered there."""
    own = f"{'https' if is_secure(request) else 'http'}://{request.url.netloc}"
    return f"{(services_of(request).public_url or own).rstrip('/')}{CALLBACK}"


async def _under_way(request: Request) -> SignIn | None:
    """The sign-in that this browser began; None if it began none, or took too long."""
    try:
        content = await services_of(request).seals.open(sign_in_of(request), _PURPOSE)
        sign_in = msgspec.msgpack.decode(content, type=SignIn)
    except (BrokenSealError, msgspec.MsgspecError):
        return None
    return sign_in if time.time() < sign_in.ends_at else None


async def _claims(request: Request, issuer: Issuer, sign_in: SignIn | None) -> dict[str, Any]:
    given = request.query_params
    if sign_in is None:
        raise BadRequest(
            "No sign-in is under way in this browser: it was finished, took longer than ten minutes, or began under "
            "another address. Sign in again."
        )
    if not hmac.compare_digest(given.get("state", "").encode(), sign_in.question.state.encode()):
        raise BadRequest("This answer belongs to another sign-in than the last one that you began. Sign in again.")
    if "error" in given:
        raise issuer.refusal(given["error"])
    if not given.get("code"):
        raise BadRequest("The issuer's answer holds no code. Sign in again.")
    return await issuer.claims(sign_in.question, _redirect_uri(request), given["code"])


async def _session(request: Request, issuer: Issuer, claims: dict[str, Any]) -> NewSession:
    tenants, role = services_of(request).tenants, issuer.role(claims)
    tenant_id = await tenants.id_of(issuer.settings.tenant)
    if await tenants.get(tenant_id) is None:
        raise NotAuthenticated(
            "The tenant that this sign-in opens is not there. Tell the operator, who lists the tenants with: "
            "rollbook tenant list"
        )
    return NewSession(
        tenant_id=tenant_id,
        digest="",
        role=role,
        # The person, by an id that the issuer alone can lead back to somebody: no name gets into the log.
        actor=str(uuid5(uuid5(NAMESPACE_URL, claims["iss"]), claims["sub"])),
        token_id=None,
        ends_at=datetime.now(UTC) + LONGEST,
    )
