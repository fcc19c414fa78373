"""An issuer of identities (OpenID Connect Core 1.0): where people are sent to sign in, and what it says of them."""

import ssl
import time
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
import structlog
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet
from msgspec import Struct

from api import id_token
from engine.refusals import Busy, Forbidden, NotAuthenticated
from projections.console_sessions import Role

PATIENCE = 5.0  # seconds for each answer of the issuer
REMEMBERED = 3_600.0  # seconds for which its description and its keys hold
_LOCAL = {"localhost", "127.0.0.1", "::1"}

# Codes that an issuer may give (RFC 6749 §4.1.2.1 and §5.2, OpenID Connect Core §3.1.2.6). Others are not shown or
# logged: anybody can write anything into the address of an answer.
_CODES = {
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
}

_log = structlog.get_logger("rollbook")
T = TypeVar("T")


class IssuerSettings(Struct, frozen=True, kw_only=True):
    """What an operator says of the issuer. `roles` are values of the claim with what they give, the highest first."""

    address: str
    client_id: str
    client_secret: str
    tenant: str
    roles: Sequence[tuple[str, Role]]
    claim: str = "roles"
    scope: str = "openid"

    @property
    def name(self) -> str:
        """What people know it by."""
        host = urlsplit(self.address).hostname or self.address
        return "Microsoft" if host == "login.microsoftonline.com" else host


class Description(Struct, frozen=True):
    """What an issuer publishes of itself (OpenID Connect Discovery 1.0 §3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None

    @property
    def way_to_authenticate(self) -> str:
        methods = self.token_endpoint_auth_methods_supported
        is_basic = methods is None or "client_secret_basic" in methods  # which is the default
        return "client_secret_basic" if is_basic else "client_secret_post"

    @property
    def endpoints(self) -> list[str]:
        named = [self.authorization_endpoint, self.token_endpoint, self.jwks_uri, self.userinfo_endpoint]
        return [each for each in named if each is not None]


class Question(Struct, frozen=True):
    """What one sign-in asks the issuer, and knows its answer by.

    The answer repeats `state`, the ID token `nonce`, and the code is given for nothing but `verifier` (RFC 7636).
    """

    state: str
    nonce: str
    verifier: str


class Issuer:
    """Asks one issuer. What it says of itself is remembered for a while."""

    def __init__(self, settings: IssuerSettings) -> None:
        self.settings = settings
        self._trusted: ssl.SSLContext | None = None
        self._description: tuple[float, Description] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def address(self, question: Question, redirect_uri: str) -> str:
        """Where somebody signs in. Raises Busy if the issuer cannot be asked."""
        async with self._client(redirect_uri=redirect_uri) as client:
            description = await self._described(client)
            address, _ = client.create_authorization_url(
                description.authorization_endpoint,
                state=question.state,
                nonce=question.nonce,
                code_verifier=question.verifier,
            )
        return str(address)

    async def claims(self, question: Question, redirect_uri: str, code: str) -> dict[str, Any]:
        """What the issuer says of whoever signed in. Raises NotAuthenticated or Busy.

        A claim of the role that the ID token lacks is asked for at the UserInfo endpoint (§5.3), where some issuers
        have all that a scope opens.
        """
        async with self._client(redirect_uri=redirect_uri) as client:
            description = await self._described(client)
            given = await self._exchange(client, description, code, question.verifier)
            claims = await self._verified(client, description, given, question.nonce)
            if self.settings.claim not in claims and description.userinfo_endpoint:
                claims = await self._completed(client, description.userinfo_endpoint, given, claims)
        return claims

    def role(self, claims: dict[str, Any]) -> Role:
        """The highest role that the claims give. Raises Forbidden if they give none."""
        claim = claims.get(self.settings.claim)
        values = claim if isinstance(claim, list) else [claim]
        for value, role in self.settings.roles:
            if value in values:
                return role
        needed = " or ".join(f"“{value}”" for value, _ in self.settings.roles)
        raise Forbidden(
            f"{self.settings.name} knows you, but gives you no role here. Ask whoever administers it for one: the "
            f"claim “{self.settings.claim}” has to hold {needed}."
        )

    def refusal(self, code: str) -> NotAuthenticated | Busy:
        """Why the issuer let nobody in, by the code of its answer."""
        known = code if code in _CODES else "an unknown error"
        _log.warning("the issuer refused a sign-in", error=known)
        if known in {"access_denied", "login_required", "consent_required", "interaction_required"}:
            return NotAuthenticated(f"{self.settings.name} did not let you in ({known}). Sign in again, or ask there.")
        if known == "invalid_grant":
            return NotAuthenticated("This sign-in was used already, or took too long. Sign in again.")
        return Busy(
            f"{self.settings.name} could not sign you in ({known}). If it happens again, tell the operator: the issuer "
            f"does not accept this service as its client, or is out of order."
        )

    def _client(self, redirect_uri: str) -> Any:
        """A client for one sign-in; it remembers a token, which shall not get into another one."""
        self._trusted = self._trusted or httpx2.create_ssl_context()  # which takes long
        return AsyncOAuth2Client(
            self.settings.client_id,
            self.settings.client_secret,
            scope=self.settings.scope,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=PATIENCE,
            verify=self._trusted,
        )

    async def _described(self, client: Any) -> Description:
        if self._description and time.monotonic() - self._description[0] < REMEMBERED:
            return self._description[1]
        address = f"{self.settings.address.rstrip('/')}/.well-known/openid-configuration"
        found = await self._get(client, address, Description)
        if found.issuer.rstrip("/") != self.settings.address.rstrip("/"):  # §4.3; with or without a slash at its end
            raise self._unusable("it calls itself by another address")
        if not all(map(is_safe, found.endpoints)):
            raise self._unusable("it names an address without TLS")
        self._description = time.monotonic(), found
        return found

    async def _exchange(self, client: Any, description: Description, code: str, verifier: str) -> dict[str, Any]:
        client.token_endpoint_auth_method = description.way_to_authenticate
        try:
            given = await client.fetch_token(
                description.token_endpoint, grant_type="authorization_code", code=code, code_verifier=verifier
            )
        except OAuthError as error:
            raise self.refusal(str(error.error)) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, TypeError) as error:
            raise self._unusable(type(error).__name__) from None
        return dict(given)

    async def _verified(
        self, client: Any, description: Description, given: dict[str, Any], nonce: str
    ) -> dict[str, Any]:
        expected = id_token.Expected(
            issuer=description.issuer,
            client_id=self.settings.client_id,
            nonce=nonce,
            access_token=given.get("access_token"),
        )
        for _ in range(2):
            try:
                return id_token.verified(given.get("id_token"), await self._known_keys(client, description), expected)
            except InvalidKeyIdError:
                self._keys = None  # the issuer may have a new key
        raise NotAuthenticated(id_token.UNTRUSTED)

    async def _known_keys(self, client: Any, description: Description) -> KeySet:
        if self._keys and time.monotonic() - self._keys[0] < REMEMBERED:
            return self._keys[1]
        keys = id_token.keys(await self._get(client, description.jwks_uri, dict[str, Any]))
        self._keys = time.monotonic(), keys
        return keys

    async def _completed(
        self, client: Any, address: str, given: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {given.get('access_token')}"}
        more = await self._get(client, address, dict[str, Any], headers)
        if more.get("sub") != claims["sub"]:  # §5.3.2: it may be somebody else's
            raise NotAuthenticated(id_token.UNTRUSTED)
        return {**more, **claims}

    async def _get(self, client: Any, address: str, type_: type[T], headers: dict[str, str] | None = None) -> T:
        try:
            response = await client.request("GET", address, withhold_token=True, headers=headers)
            response.raise_for_status()
            return msgspec.json.decode(response.content, type=type_)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise self._unusable(type(error).__name__) from None

    def _unusable(self, why: str) -> Busy:
        _log.warning("the issuer cannot be used", why=why)
        return Busy(
            f"{self.settings.name} cannot be asked who you are: it does not answer, or not as an issuer does. Try "
            f"again in a moment; if it happens again, tell the operator. A token opens the console in the meantime."
        )


def is_safe(address: str) -> bool:
    """TLS, but on this very machine."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
        )
    except ValueError:
        return False
