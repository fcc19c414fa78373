"""ID tokens (OpenID Connect Core 1.0 §2): what an issuer signed of whoever signed in, and whether to believe it."""

import contextlib
from typing import Any

import structlog
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from msgspec import Struct

from engine.refusals import NotAuthenticated

_log = structlog.get_logger("rollbook")

LEEWAY = 60  # seconds that the clocks of both sides may differ by

# Signatures with a key that is the issuer's alone. Neither "none" nor those by a secret that both sides know.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]

UNTRUSTED = (
    "What the issuer says of you cannot be trusted: it is not signed by it, not for this service, not for this "
    "sign-in, or not valid any more. Sign in again; if it happens again, tell the operator to look at the clock."
)


class Expected(Struct, frozen=True, kw_only=True):
    """What an ID token has to be about. `access_token` is what came with it."""

    issuer: str
    client_id: str
    nonce: str
    access_token: Any


def keys(published: dict[str, Any]) -> KeySet:
    """The keys of an issuer's JWK set, without those that are not understood (RFC 7517 §5)."""
    found, listed = [], published.get("keys")
    for each in listed if isinstance(listed, list) else []:
        with contextlib.suppress(JoseError, KeyError, ValueError, TypeError):
            found += KeySet.import_key_set({"keys": [each]}).keys
    return KeySet(found)


def verified(text: object, known: KeySet, expected: Expected) -> dict[str, Any]:
    """The claims of an ID token (§3.1.3.7).

    Raises NotAuthenticated, and InvalidKeyIdError if the key is not known.
    """
    if not isinstance(text, str):
        raise NotAuthenticated(UNTRUSTED)
    try:
        token = jwt.decode(text, known, registry=JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False))
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "value": expected.issuer},
                "aud": {"essential": True, "value": expected.client_id},
                "sub": {"essential": True},
            },
            {"nonce": expected.nonce, "client_id": expected.client_id, "access_token": expected.access_token},
        )
        claims.validate(leeway=LEEWAY)
        claims["sub"].encode()  # which JSON can write in a way that is no text
    except InvalidKeyIdError:
        raise
    except (JoseError, ValueError, TypeError) as error:
        _log.warning("an ID token was refused", error=type(error).__name__, claim=getattr(error, "claim", None))
        raise NotAuthenticated(UNTRUSTED) from None
    return dict(claims)
