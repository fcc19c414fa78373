"""Who may come in: bearer tokens (RFC 6750), looked up once in a while and remembered in between."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from starlette.requests import Request

from api.call import Call, call_of
from engine import tokens
from engine.refusals import BearerTwice, Forbidden, NotAuthenticated
from projections.tenants import Admission, Tenants

REMEMBERED = 3.0  # seconds; a token that was revoked elsewhere is refused after this time, and a setting holds
MOST_REMEMBERED = 10_000


def now() -> datetime:
    return datetime.now(UTC)


def _nobody_counts(was_remembered: bool) -> None:
    """Whether a token was remembered, or had to be looked up in the database."""


class Gate:
    """Admits requests. What it remembers of a token is dropped after a few seconds."""

    def __init__(
        self,
        tenants: Tenants,
        clock: Callable[[], datetime] = now,
        on_look_up: Callable[[bool], None] = _nobody_counts,
    ) -> None:
        self._tenants = tenants
        self._clock = clock
        self._on_look_up = on_look_up
        self._remembered: dict[bytes, tuple[float, Admission]] = {}
        self._uses: dict[tuple[UUID, UUID], datetime] = {}

    async def admit(self, request: Request, *scopes: str) -> Admission:
        """Let the request in if its token is valid and has one of the scopes.

        Raises NotAuthenticated (401) or Forbidden (403). No statement if the token was seen just now, one otherwise.
        """
        call = call_of(request)
        # An operation within a request is admitted with it.
        admission = call.admission or await self._admission(request, call)
        call.admission = admission
        if not admission.scopes.intersection(scopes):
            raise Forbidden(
                f"This token lacks the scope that is needed here: {' or '.join(scopes)}. Issue one with it: "
                f"rollbook token issue --tenant NAME --name TEXT --scope {scopes[0]}"
            )
        return admission

    async def _admission(self, request: Request, call: Call) -> Admission:
        text = _bearer(request.headers.getlist("authorization"))
        call.presented = await self._known(_after_bearer(text))
        if text != _after_bearer(text):
            raise BearerTwice('The word "Bearer" stands twice: paste the secret token alone, beginning with rb_.')
        return self.valid(call.presented)

    async def look_up(self, headers: list[str]) -> Admission:
        """What the token opens, or would open if it were still valid. Raises NotAuthenticated if it is not known."""
        return await self._known(_bearer(headers))

    async def _known(self, text: str) -> Admission:
        admission = await self._look_up(text)
        if admission is None:
            raise NotAuthenticated("This token is not known here. Was it issued by another installation?")
        return admission

    def valid(self, admission: Admission) -> Admission:
        """The same, and its use is noted. Raises NotAuthenticated if it was revoked or has expired."""
        at = self._clock()
        if admission.is_revoked:
            raise NotAuthenticated("This token was revoked. Issue a new one and paste it as the secret token.")
        if at >= admission.expires_at:
            raise NotAuthenticated(
                f"This token expired at {admission.expires_at:%Y-%m-%d %H:%M} UTC. Issue a new one and paste it as the "
                f"secret token."
            )
        self._uses[admission.tenant_id, admission.token_id] = at
        return admission

    async def _look_up(self, text: str) -> Admission | None:
        key = hashlib.sha256(text.encode()).digest()  # the token itself is not kept, not even in memory
        known = self._remembered.get(key)
        if known and time.monotonic() - known[0] < REMEMBERED:
            self._on_look_up(True)
            return known[1]
        tenant_id, digest = _credentials(text)
        self._on_look_up(False)
        asked = time.monotonic()
        admission = await self._tenants.admission(tenant_id, digest)
        if admission is None:
            return None
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = (asked, admission)
        return admission

    def forget(self) -> None:
        """Look every token up again: settings or tokens were changed in this very process."""
        self._remembered.clear()

    def uses(self) -> list[tuple[UUID, UUID, datetime]]:
        """The last uses that are not written down yet: (tenant, token, time) each."""
        return [(tenant_id, token_id, at) for (tenant_id, token_id), at in self._uses.items()]

    async def note_uses(self) -> None:
        """Write down when tokens were used last, all since the last time in one go."""
        uses, self._uses = self._uses, {}
        try:
            if uses:
                await self._tenants.note_uses([(tenant_id, token_id, at) for (tenant_id, token_id), at in uses.items()])
        except BaseException:
            self._uses = uses | self._uses
            raise

    async def keep_noting_uses(self, every: float = 30.0) -> None:
        while True:
            await asyncio.sleep(every)
            with contextlib.suppress(Exception):  # the database may be away; they are noted with the next ones
                await self.note_uses()


def _bearer(headers: list[str]) -> str:
    if not headers:
        raise NotAuthenticated("A bearer token is missing. Send the header Authorization: Bearer rb_…")
    scheme, _, text = headers[0].strip().partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated("The Authorization header must be of the form: Bearer rb_…")
    return text.strip()


def _after_bearer(text: str) -> str:
    """The token of an admin who pasted "Bearer rb_…": it is known whose mistake that is."""
    return text[len("bearer ") :].strip() if text.lower().startswith("bearer ") else text


def _credentials(text: str) -> tuple[UUID, str]:
    credentials = tokens.read(text)
    if credentials is None:
        raise NotAuthenticated(
            f"This is no Rollbook token, or one that was not copied whole: a token has {tokens.LENGTH} characters, "
            f"begins with rb_ and ends with its checksum. Copy it again, or issue a new one."
        )
    return credentials
