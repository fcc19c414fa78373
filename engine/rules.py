"""The product's own rules for values, each switchable by a tenant: kept as sent, or refused with what to do."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.refusals import InvalidValue
from engine.settings import Settings

# What Entra sends where an app role is missing: the built-in role's display name, or the SAML portal's.
NO_ROLE = {"", "user", "default access", "msiam_access"}

_NAMES = ("displayName", "name.")
_PUNCTUATION = set("'’‘-.,()（）·・׳״/_")  # noqa: RUF001  as names have them
_PUNCTUATION |= {"\u200c", "\u200d"}  # these join letters in Indic scripts and Persian
_LETTERS = {"L", "M", "N"}  # letters, marks and digits of any script
_SEPARATORS = {"Zs", "Pd"}  # spaces and dashes
_USUAL = re.compile(r"[A-Za-z0-9 '.,-]*")  # most names are of these, and are not looked at one character after another


def check(key: str, value: Any, before: Any, settings: Settings) -> None:
    """Raises InvalidValue if a new value breaks one of the rules. A value that was there already is left alone."""
    if settings.email_case == "lower":
        for address in _addresses(key, value, before):
            _check_case(key, address)
    if settings.name_characters == "plain" and key.startswith(_NAMES) and isinstance(value, str):
        _check_characters(key, value)


def _addresses(key: str, value: Any, before: Any) -> Iterator[str]:
    if key == "userName" and isinstance(value, str):
        yield value
    if key == "emails":
        known = {each.get("value") for each in before or []}
        yield from (each["value"] for each in value or [] if "value" in each and each["value"] not in known)


def _check_case(key: str, address: str) -> None:
    if "@" in address and address != address.lower():
        where = "emails[].value" if key == "emails" else key
        raise InvalidValue(
            f'{where} "{address}" must be lower case. In Entra, map it with the expression '
            f"ToLower([{'mail' if key == 'emails' else 'userPrincipalName'}]), or let this tenant keep the case "
            f"(email_case = keep)."
        )


def _check_characters(key: str, name: str) -> None:
    if _USUAL.fullmatch(name):
        return
    odd = sorted({each for each in name if not _is_plain(each)})
    if odd:
        shown = " ".join(each if each.isprintable() else f"U+{ord(each):04X}" for each in odd[:10])
        raise InvalidValue(
            f"{key} has characters that a name cannot have: {shown} — letters, digits, spaces and ' - . , ( ) / are "
            f"fine. Correct the name in the directory, or let this tenant take any (name_characters = any)."
        )


def _is_plain(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in _LETTERS or category in _SEPARATORS or character in _PUNCTUATION


def role_of(sent: str | None, settings: Settings) -> str | None:
    """The role that a directory means, in the spelling of the product; None if it names no role.

    Entra sends the app role's display name or its value, and with some mappings both as JSON within a string.
    Raises InvalidValue if it is none of the tenant's roles and the tenant does not ignore such.
    """
    names = [name.strip().lower() for name in _spellings(sent or "")]
    for name in names:
        for role in settings.roles:
            if name in {role.value.lower(), role.display.lower()}:
                return role.value
    if all(name in NO_ROLE for name in names) or settings.unknown_role == "ignore":
        return None
    allowed = ", ".join(role.value for role in settings.roles)
    raise InvalidValue(
        f'role "{sent}" is none of this tenant\'s roles. Allowed: {allowed}. Correct the value or the display name of '
        f"the app role in Entra, or let this tenant ignore unknown roles (unknown_role = ignore)."
    )


def _spellings(sent: str) -> list[str]:
    if sent.lstrip().startswith("{"):
        try:
            members = msgspec.json.decode(sent, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            return [sent]
        return [str(members[name]) for name in ("value", "displayName", "display") if members.get(name)] or [""]
    return [sent]


def means(sent: str, role: str, settings: Settings) -> bool:
    """Whether a directory's spelling means that role, under the settings of today."""
    try:
        return role_of(sent, settings) == role
    except InvalidValue:
        return False
