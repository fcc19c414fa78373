"""A visit to a page of the console: who came, what they may do, and what is noted of their looking."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.call import call_of
from api.console import html
from api.console.cookies import Key, key_in
from api.services import Services, services_of
from engine.events import AuditAccessed
from engine.refusals import BadRequest, Forbidden, NotAuthenticated, TooLarge
from engine.store import Cause
from projections.console_sessions import Role, Session

LARGEST_FORM = 8_388_608  # bytes; a directory's schema is pasted whole, and escaped
SIGN_IN = "/console/sign-in"

# What each role may do beyond reading: an admin changes people and tokens, an owner sees how the service runs.
RANKS: dict[Role, int] = {"auditor": 0, "admin": 1, "owner": 2}

NAVIGATION: tuple[tuple[str, str, Role], ...] = (
    ("setup", "Set up", "admin"),
    ("people", "People", "auditor"),
    ("seats", "Seats", "auditor"),
    ("audit", "Audit", "auditor"),
    ("sync", "Sync", "auditor"),
    ("tokens", "Tokens", "admin"),
    ("operations", "Operations", "owner"),
)


class SignInNeeded(NotAuthenticated):
    """Nobody is signed in, or not any more."""


@dataclass(frozen=True)
class Visit:
    """A request of somebody who is signed in."""

    request: Request
    services: Services
    key: Key
    session: Session

    @property
    def tenant_id(self) -> UUID:
        return self.session.tenant_id

    @property
    def may_change(self) -> bool:
        return RANKS[self.session.role] >= RANKS["admin"]

    @property
    def navigation(self) -> list[tuple[str, str]]:
        """The pages that this visitor may open: the last part of the address, and the title."""
        return [(name, title) for name, title, role in NAVIGATION if RANKS[self.session.role] >= RANKS[role]]

    @property
    def form_word(self) -> str:
        return self.key.form_word

    @property
    def cause(self) -> Cause:
        """For the events of what this visitor does."""
        return call_of(self.request).cause

    @property
    def query(self) -> dict[str, str]:
        """The filters of the page: parameters that were given, without those that are empty."""
        return {name: value for name, value in self.request.query_params.items() if value.strip()}

    @property
    def path(self) -> str:
        path: str = self.request.scope["path"]
        return path

    def link(self, **changes: object) -> str:
        """This page with other filters: None takes one away."""
        query = {**self.query, **changes}
        given = {name: str(value) for name, value in query.items() if value not in {None, ""} and name != "done"}
        return f"{self.path}?{urlencode(given)}" if given else self.path

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        return html.page(template, status, visit=self, **context)

    def note(self, question: str, rows: int, parameters: dict[str, str] | None = None, seq: int | None = None) -> None:
        """Note that personal data or history was looked at: by the name of the page or of the audit's question."""
        event = AuditAccessed(question=question, parameters=parameters or {}, rows=rows, as_of_seq=seq)
        self.services.accesses.note(event, self.cause)

    async def form(self) -> dict[str, str]:
        """The form that was sent. Raises Forbidden if it is not one of ours, BadRequest or TooLarge."""
        return {name: texts[-1] for name, texts in (await self.form_with_lists()).items()}

    async def form_with_lists(self) -> dict[str, list[str]]:
        """The same, with every value of a field that may have several."""
        check_origin(self.request)
        form = await read_form(self.request)
        if not self.key.is_form_word(form.pop("form_word", [""])[-1]):
            raise Forbidden("This form was not made by the page that you see. Open the page again, and send it anew.")
        return form


Handler = Callable[[Request], Awaitable[Response]]
PageHandler = Callable[[Visit], Awaitable[Response]]


def for_role(role: Role) -> Callable[[PageHandler], Handler]:
    """A handler for whoever is signed in with at least this role; others are led to the sign-in, or refused."""

    def wrap(handler: PageHandler) -> Handler:
        @wraps(handler)
        async def answer(request: Request) -> Response:
            try:
                visit = await _enter(request, role)
            except SignInNeeded:
                return to_sign_in(request)
            return await handler(visit)

        return answer

    return wrap


async def _enter(request: Request, role: Role) -> Visit:
    services, key = services_of(request), key_in(request)
    session = await services.console_sessions.get(key.tenant_id, key.digest) if key else None
    if key is None or session is None:
        raise SignInNeeded
    call = call_of(request)
    call.visitor = Cause(
        tenant_id=session.tenant_id,
        source="local",
        actor=session.actor,
        token_id=session.token_id,
        request_id=call.request_id,
    )
    if RANKS[session.role] < RANKS[role]:
        raise Forbidden(f"You are signed in as {session.role}, and this is for {_at_least(role)}.")
    services.accesses.check()
    return Visit(request, services, key, session)


def _at_least(role: Role) -> str:
    return " and ".join(f"{each}s" for each, rank in RANKS.items() if rank >= RANKS[role])


def to_sign_in(request: Request) -> Response:
    """Back to this page afterwards, if it is one that is read."""
    path = request.scope["path"] if request.method in {"GET", "HEAD"} else ""
    query = request.url.query
    target = f"{path}?{query}" if query else path
    address = f"{SIGN_IN}?{urlencode({'next': target})}" if target and path != "/console" else SIGN_IN
    return html.guarded(RedirectResponse(address, 303))


def safe_next(text: str) -> str:
    """An address of the console, and no other: what stands in a link may be written by anybody."""
    is_ours = text.startswith("/console/") and "//" not in text and "\\" not in text and text.isprintable()
    return text if is_ours and not text.startswith(SIGN_IN) else "/console"


def check_origin(request: Request) -> None:
    """Raises Forbidden if a browser says that a form comes from elsewhere (Fetch Metadata; of older ones, RFC 6454).

    Of an origin only the host counts: a proxy that ends TLS leaves us without the scheme that the browser knows.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = {request.url.netloc, urlsplit(services_of(request).public_url or str(request.url)).netloc}
    if site not in {None, "same-origin"} or (site is None and origin and urlsplit(origin).netloc not in own):
        raise Forbidden("This form was sent from another page than ours. Open the console, and send it there.")


async def read_form(request: Request) -> dict[str, list[str]]:
    """The values of each field of a form (application/x-www-form-urlencoded). Raises BadRequest or TooLarge."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise BadRequest("A form is sent as application/x-www-form-urlencoded.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise TooLarge(f"A form may have {LARGEST_FORM:,} bytes.")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=1_000)
    except (UnicodeDecodeError, ValueError):
        raise BadRequest("The form is not understood: it is not UTF-8, or has too many fields.") from None
    if any("\0" in text for name, texts in fields.items() for text in (name, *texts)):
        raise BadRequest("The form holds a NUL character, which cannot be stored.")
    return fields


def done(path: str, what: str) -> Response:
    """To another page after something was done, which that page says: a reload then does nothing twice."""
    separator = "&" if "?" in path else "?"
    return html.guarded(RedirectResponse(f"{path}{separator}done={what}", 303))
