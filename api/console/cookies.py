"""The cookies that a browser keeps: of a session, and of a sign-in that an issuer has not answered yet.

That of a session is the tenant's id and 32 random bytes, in hexadecimal. The store has a digest of those bytes, and
forms carry another, the word by which they prove to be ours: neither leads back to the cookie, and a page of somebody
else's has neither. That of a sign-in is sealed.
"""

import hashlib
import hmac
import secrets
from typing import Literal
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

_SESSION, _SIGN_IN = "rollbook", "rollbook-sign-in"
_LOCAL = {"localhost", "127.0.0.1", "::1"}


class Key(Struct, frozen=True):
    """What the cookie holds."""

    tenant_id: UUID
    secret: bytes

    @property
    def digest(self) -> str:
        """By which the session is stored."""
        return hashlib.sha256(self.secret).hexdigest()

    @property
    def form_word(self) -> str:
        """What every form of the session carries (the synchronizer token of OWASP's cheat sheet on CSRF)."""
        return hmac.new(self.secret, b"form", hashlib.sha256).hexdigest()

    def is_form_word(self, text: str) -> bool:
        return hmac.compare_digest(self.form_word.encode(), text.encode())


def new_key(tenant_id: UUID) -> Key:
    return Key(tenant_id, secrets.token_bytes(32))


def key_in(request: Request) -> Key | None:
    """What the request's cookie holds; None if there is none, or one that is not ours."""
    text = request.cookies.get(_name(request, _SESSION), "")
    try:
        return Key(UUID(hex=text[:32]), bytes.fromhex(text[32:]))
    except ValueError:
        return None


def put_key(request: Request, response: Response, key: Key, seconds: int) -> None:
    _put(request, response, _SESSION, key.tenant_id.hex + key.secret.hex(), seconds, "strict")


def take_key(request: Request, response: Response) -> None:
    _put(request, response, _SESSION, "", 0, "strict")


def sign_in_of(request: Request) -> str:
    """The sealed sign-in that an issuer is asked for; empty if there is none."""
    return request.cookies.get(_name(request, _SIGN_IN), "")


def put_sign_in(request: Request, response: Response, sealed: str, seconds: int) -> None:
    """An issuer sends people back from its own pages, where browsers keep cookies that are strict to themselves."""
    _put(request, response, _SIGN_IN, sealed, seconds, "lax")


def take_sign_in(request: Request, response: Response) -> None:
    _put(request, response, _SIGN_IN, "", 0, "lax")


def _put(  # noqa: PLR0913, PLR0917  what a cookie is made of
    request: Request, response: Response, name: str, text: str, seconds: int, samesite: Literal["lax", "strict"]
) -> None:
    response.set_cookie(
        _name(request, name),
        text,
        max_age=seconds,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite=samesite,
    )


def _name(request: Request, name: str) -> str:
    """Browsers take the prefix for what is secure alone, and then keep other hosts from setting it (RFC 6265bis)."""
    return f"__Host-{name}" if is_secure(request) else name


def is_secure(request: Request) -> bool:
    """Everywhere but on this very machine, where there is no TLS."""
    return request.url.scheme == "https" or request.url.hostname not in _LOCAL
