"""The cookie that a browser keeps of a session, and the word by which a form of ours proves to be ours.

The cookie is the tenant's id and 32 random bytes, in hexadecimal. The store has a digest of those bytes, and forms
carry another: neither leads back to the cookie, and a page of somebody else's has neither.
"""

import hashlib
import hmac
import secrets
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

_LENGTH = 32 + 64
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
    text = request.cookies.get(_name(request), "")
    if len(text) != _LENGTH or not text.isascii():
        return None
    try:
        return Key(UUID(hex=text[:32]), bytes.fromhex(text[32:]))
    except ValueError:
        return None


def put_key(request: Request, response: Response, key: Key, seconds: int) -> None:
    response.set_cookie(
        _name(request),
        key.tenant_id.hex + key.secret.hex(),
        max_age=seconds,
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="strict",
    )


def take_key(request: Request, response: Response) -> None:
    response.delete_cookie(_name(request), path="/", secure=_is_secure(request), httponly=True, samesite="strict")


def _name(request: Request) -> str:
    """Browsers take the prefix for what is secure alone, and then keep other hosts from setting it (RFC 6265bis)."""
    return "__Host-rollbook" if _is_secure(request) else "rollbook"


def _is_secure(request: Request) -> bool:
    """Everywhere but on this very machine, where there is no TLS."""
    return request.url.scheme == "https" or request.url.hostname not in _LOCAL
