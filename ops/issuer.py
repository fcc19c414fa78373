"""The issuer of identities for the console, as the environment describes it."""

import os
from pathlib import Path

from api.issuer import IssuerSettings, is_safe
from ops.trouble import Trouble
from projections.console_sessions import Role

ISSUER = "ROLLBOOK_OIDC_ISSUER"
CLIENT_ID = "ROLLBOOK_OIDC_CLIENT_ID"
SECRET = "ROLLBOOK_OIDC_CLIENT_SECRET"  # noqa: S105  its name
SECRET_FILE = "ROLLBOOK_OIDC_CLIENT_SECRET_FILE"  # noqa: S105  its name
TENANT = "ROLLBOOK_OIDC_TENANT"
SCOPE = "ROLLBOOK_OIDC_SCOPE"
CLAIM = "ROLLBOOK_OIDC_CLAIM"
ROLES: tuple[tuple[str, Role], ...] = (
    ("ROLLBOOK_OIDC_OWNER", "owner"),
    ("ROLLBOOK_OIDC_ADMIN", "admin"),
    ("ROLLBOOK_OIDC_AUDITOR", "auditor"),
)


def issuer_settings() -> IssuerSettings | None:
    """None if there is no issuer. Raises Trouble if what is said of it does not do."""
    address = _given(ISSUER)
    given = [name for name in (CLIENT_ID, SECRET, SECRET_FILE, TENANT, *(name for name, _ in ROLES)) if _given(name)]
    if not address:
        if given:
            raise Trouble(f"{given[0]} is set without {ISSUER}, the address of the issuer that it belongs to.")
        return None
    if not is_safe(address):
        raise Trouble(f"{ISSUER} takes the https:// address of an issuer, as it calls itself; it is {address!r}.")
    for name in (CLIENT_ID, TENANT):
        if name not in given:
            raise Trouble(f"{ISSUER} is set, and {name} is missing.")
    roles = [(value, role) for name, role in ROLES if (value := _given(name))]
    if not roles:
        raise Trouble(
            f"{ISSUER} is set, and nobody gets a role by it: set {', '.join(name for name, _ in ROLES)}, or some of "
            f"them, to values of the claim."
        )
    return IssuerSettings(
        address=address,
        client_id=_given(CLIENT_ID),
        client_secret=_secret(),
        tenant=_given(TENANT),
        roles=roles,
        claim=_given(CLAIM) or "roles",
        scope=_given(SCOPE) or "openid",
    )


def _given(name: str) -> str:
    return os.environ.get(name, "").strip()


def _secret() -> str:
    if _given(SECRET) and _given(SECRET_FILE):
        raise Trouble(f"{SECRET} and {SECRET_FILE} are both set; one of them is enough.")
    if not _given(SECRET_FILE):
        if not _given(SECRET):
            raise Trouble(f"{ISSUER} is set, and {SECRET} is missing, or {SECRET_FILE} with a file that holds it.")
        return _given(SECRET)
    try:
        secret = Path(_given(SECRET_FILE)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"{_given(SECRET_FILE)}, which {SECRET_FILE} names, cannot be read ({error}).") from None
    if not secret:
        raise Trouble(f"{_given(SECRET_FILE)}, which {SECRET_FILE} names, is empty.")
    return secret
