"""Signing in to the console with a token, and out of it."""

from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.call import call_of
from api.console import html
from api.console.cookies import key_in, new_key, put_key, take_key
from api.console.visit import SIGN_IN, Visit, check_origin, for_role, read_form, safe_next
from api.services import Services, services_of
from engine.events import AuditAccessed
from engine.refusals import Forbidden, NotAuthenticated
from engine.store import Cause
from projections.console_sessions import NewSession, Role
from projections.tenants import Admission

LONGEST = timedelta(hours=8)  # of a session; one that was forgotten somewhere ends by itself

# The most that a token's scopes give.
_ROLES: tuple[tuple[str, Role], ...] = (("admin", "owner"), ("audit:read", "auditor"))


async def show(request: Request) -> Response:
    """The form."""
    return form_page(request, safe_next(request.query_params.get("next", "")))


async def sign_in(request: Request) -> Response:
    """Begin a session with the token that was given."""
    # Nobody is signed in yet, so no form could be told from another one: the browser says where it comes from.
    check_origin(request)
    form = {name: texts[-1] for name, texts in (await read_form(request)).items()}
    target = safe_next(form.get("next", ""))
    try:
        admission, role = await _admitted(services_of(request), form.get("token", ""))
    except (NotAuthenticated, Forbidden) as refusal:
        return form_page(request, target, refusal.status, refusal.detail, is_token_wrong=True)
    ends_at = min(datetime.now(UTC) + LONGEST, admission.expires_at)
    session = NewSession(
        tenant_id=admission.tenant_id,
        digest="",
        role=role,
        actor=str(admission.token_id),
        token_id=admission.token_id,
        ends_at=ends_at,
    )
    return await begin(request, session, html.guarded(RedirectResponse(target, 303)))


async def begin(request: Request, new: NewSession, response: Response) -> Response:
    """Begin the session under a new key, whatever the browser had, and note that somebody signed in.

    The response carries the cookie.
    """
    services, key = services_of(request), new_key(new.tenant_id)
    await end(request)
    await services.console_sessions.begin(
        NewSession(
            tenant_id=new.tenant_id,
            digest=key.digest,
            role=new.role,
            actor=new.actor,
            token_id=new.token_id,
            ends_at=new.ends_at,
        )
    )
    cause = Cause(
        tenant_id=new.tenant_id,
        source="local",
        actor=new.actor,
        token_id=new.token_id,
        request_id=call_of(request).request_id,
    )
    services.accesses.note(AuditAccessed(question="console:sign-in", parameters={"role": new.role}, rows=0), cause)
    put_key(request, response, key, int((new.ends_at - datetime.now(UTC)).total_seconds()))
    return response


async def _admitted(services: Services, token: str) -> tuple[Admission, Role]:
    text = token.strip()
    scheme = "" if text.lower().startswith("bearer ") else "Bearer "
    admission = services.gate.valid(await services.gate.look_up([scheme + text]))
    for scope, role in _ROLES:
        if scope in admission.scopes:
            return admission, role
    raise Forbidden(
        "This token does not open the console. It takes one with the scope admin (everything) or audit:read "
        "(reading). The operator issues one: rollbook token issue --tenant NAME --name Console --scope admin"
    )


async def end(request: Request) -> None:
    """End the session that the browser has, if it has one."""
    if key := key_in(request):
        await services_of(request).console_sessions.end(key.tenant_id, key.digest)


@for_role("auditor")
async def sign_out(visit: Visit) -> Response:
    await visit.form()
    await end(visit.request)
    response = html.guarded(RedirectResponse(f"{SIGN_IN}?done=signed-out", 303))
    take_key(visit.request, response)
    return response


def form_page(
    request: Request, target: str, status: int = 200, wrong: str = "", *, is_token_wrong: bool = False
) -> Response:
    """The form, with what was wrong the last time; and the way to the issuer, if there is one."""
    issuer = services_of(request).issuer
    return html.page(
        "sign-in.html",
        status,
        visit=None,
        target=target,
        wrong=wrong,
        is_token_wrong=is_token_wrong,
        issuer=issuer.settings.name if issuer else None,
        is_out=request.query_params.get("done") == "signed-out",
    )
