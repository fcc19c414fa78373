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
            raise Trouble(
                f"{given[0]} is set without ROLLBOOK_OIDC_ISSUER, the address of the issuer that it belongs to."
            )
        return None
    if not is_safe(address):
        raise Trouble(
            f"ROLLBOOK_OIDC_ISSUER takes the https:// address of an issuer, as it calls itself; it is {address!r}."
        )
    for name in (CLIENT_ID, TENANT):
        if name not in given:
            raise Trouble(f"ROLLBOOK_OIDC_ISSUER is set, and {name} is missing.")
    roles = [(value, role) for name, role in ROLES if (value := _given(name))]
    if not roles:
        names = ", ".join(name for name, _ in ROLES)
        raise Trouble(f"ROLLBOOK_OIDC_ISSUER is set, and nobody gets a role by it: give a value to some of {names}.")
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
    secret, file = _given(SECRET), _given(SECRET_FILE)
    if secret and file:
        raise Trouble(
            "ROLLBOOK_OIDC_CLIENT_SECRET and ROLLBOOK_OIDC_CLIENT_SECRET_FILE are both set; one of them is enough."
        )
    secret = _read(Path(file)) if file else secret
    if not secret:
        raise Trouble(
            "ROLLBOOK_OIDC_ISSUER is set, and ROLLBOOK_OIDC_CLIENT_SECRET is missing, or a file that holds it: "
            "ROLLBOOK_OIDC_CLIENT_SECRET_FILE."
        )
    return secret


def _read(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Trouble(f"{path}, which ROLLBOOK_OIDC_CLIENT_SECRET_FILE names, cannot be read ({reason}).") from None
    if not secret:
        raise Trouble(f"{path}, which ROLLBOOK_OIDC_CLIENT_SECRET_FILE names, is empty.")
    return secret
