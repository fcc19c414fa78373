"""Values as a directory writes them, made the type that their attribute has, or refused with the place."""

import base64
import binascii
import math
import re
from datetime import datetime
from typing import Any

from msgspec import structs

from engine import quirks as told
from engine.quirks import Quirk
from engine.refusals import InvalidValue
from engine.schema import Attribute

Quirks = list[str]
"""Each tolerance that was applied to one request, as engine/quirks.py tells it: "active: a string for a boolean"."""

_USUAL = {"type", "primary", "display", "value", "$ref"}  # of any element, if nothing else is said (RFC 7643 §2.4)


class Unknown(str):
    """A quirk that knows which name was unknown: for a refusal alone, never for what is kept of a request."""

    __slots__ = ("name",)
    name: str


def unknown(told_: str, name: str) -> Unknown:
    found = Unknown(told_)
    found.name = name
    return found


LONGEST_TEXT = 4_000  # characters
LONGEST_CONTENT = 100_000  # characters; a certificate, or a picture within its address
MOST_ELEMENTS = 100  # of one multi-valued attribute
_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_MOMENT = re.compile(
    r"(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
)
_NAMES = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


def typed(attribute: Attribute, value: object, where: str, quirks: Quirks) -> Any:
    """The value in its attribute's type: str, bool, list of elements, or dict of sub-attributes by their names.

    Returns None for "no value": null, an empty list (RFC 7643 §2.5), and the empty string, with which Entra clears.
    Raises InvalidValue, naming the place, if the value is of another type.
    """
    if attribute.multi_valued:
        return _elements(attribute, value, where, quirks)
    if isinstance(value, list) and len(value) == 1:
        quirks.append(told.at(where, Quirk.LIST_OF_ONE))  # the dialect of 2018
        value = value[0]
        if isinstance(value, dict) and attribute.type != "complex":
            value = value.get("value")
    if value == "":
        quirks.append(told.at(where, Quirk.EMPTY_STRING))
    if value is None or value == "":
        return None
    match attribute.type:
        case "complex":
            return _sub_attributes(attribute, value, where, quirks)
        case "boolean":
            return _boolean(value, where, quirks)
        case "integer" | "decimal":
            return _number(attribute, value, where, quirks)
        case "binary":
            return _binary(_text(attribute, value, where), where)
        case "dateTime":
            return _moment(_text(attribute, value, where), where)
        case _:
            return _canonical(attribute, _text(attribute, value, where), where)


def _text(attribute: Attribute, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidValue(f"{where} takes a string, not {kind(value)}.")
    longest = attribute.longest or (LONGEST_CONTENT if attribute.type in {"binary", "reference"} else LONGEST_TEXT)
    if len(value) > longest:
        raise InvalidValue(f"{where} is {len(value)} characters long; {longest} are allowed.")
    return value


def _boolean(value: object, where: str, quirks: Quirks) -> bool:
    """Entra writes `"True"` and `"False"`, and expects JSON booleans back."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        quirks.append(told.at(where, Quirk.STRING_FOR_BOOLEAN))
        return value.lower() == "true"
    raise InvalidValue(f"{where} takes true or false, not {kind(value)}.")


def _number(attribute: Attribute, value: object, where: str, quirks: Quirks) -> int | float:
    """RFC 7643 §2.3.3 and §2.3.4; an integer has 64 bits."""
    found = value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        quirks.append(told.at(where, Quirk.STRING_FOR_NUMBER))
        found = float(value) if set(value) & set(".eE") else int(value)
    if isinstance(found, float) and math.isfinite(found) and attribute.type == "decimal":
        return found
    if type(found) is int and -(2**63) <= found < 2**63:
        return found
    wanted = "a whole number of 64 bits" if attribute.type == "integer" else "a number"
    raise InvalidValue(f"{where} takes {wanted}, not {'another one' if kind(found) == 'a number' else kind(found)}.")


def _moment(value: str, where: str) -> str:
    """RFC 7643 §2.3.5; kept as it was sent."""
    try:
        if _MOMENT.fullmatch(value) and datetime.fromisoformat(value).utctimetuple():
            return value
    except (ValueError, OverflowError):
        pass
    raise InvalidValue(f'{where} takes a time with its zone, such as "2026-11-23T09:00:00Z".')


def _canonical(attribute: Attribute, value: str, where: str) -> str:
    if not attribute.is_closed:
        return value
    if value in attribute.canonical_values:
        return value
    if not attribute.case_exact and value.lower() in {each.lower() for each in attribute.canonical_values}:
        return value
    raise InvalidValue(f"{where} takes one of: {', '.join(attribute.canonical_values)}.")


def _binary(value: str, where: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue(f"{where} takes bytes in base64.") from None
    return value


def _elements(attribute: Attribute, value: object, where: str, quirks: Quirks) -> list[Any] | None:
    if value == "":
        quirks.append(told.at(where, Quirk.EMPTY_STRING))
    if value is None or value == "":
        return None
    if not isinstance(value, list):
        quirks.append(told.at(where, Quirk.ONE_FOR_LIST))
        value = [value]
    if len(value) > (most := attribute.most or MOST_ELEMENTS):
        raise InvalidValue(f"{where} has {len(value)} values; {most} are allowed.")
    if attribute.type != "complex":
        return _simple_elements(attribute, value, where, quirks)
    found = [_sub_attributes(attribute, each, f"{where}[{place}]", quirks) for place, each in enumerate(value)]
    required = [sub.name for sub in attribute.sub_attributes if sub.required]
    for place, each in enumerate(found):
        if missing := [name for name in required if name not in (each or {})]:
            raise InvalidValue(f"{where}[{place}] has no {missing[0]}.")
    elements = [element for element in found if element]
    if len(elements) < len(found):
        quirks.append(told.at(where, Quirk.EMPTY_ELEMENT))
    if sum(element.get("primary") is True for element in elements) > 1:
        raise InvalidValue(f"{where} has more than one primary value; at most one may be primary (RFC 7643 §2.4).")
    return elements or None


def one_of(attribute: Attribute) -> Attribute:
    """What one element of a multi-valued attribute is."""
    return structs.replace(attribute, multi_valued=False)


def _simple_elements(attribute: Attribute, value: list[Any], where: str, quirks: Quirks) -> list[Any] | None:
    one = one_of(attribute)
    found = [typed(one, each, f"{where}[{place}]", quirks) for place, each in enumerate(value)]
    if None in found:
        quirks.append(told.at(where, Quirk.EMPTY_ELEMENT))
    return [each for each in found if each is not None] or None


def _sub_attributes(attribute: Attribute, value: object, where: str, quirks: Quirks) -> dict[str, Any] | None:
    if isinstance(value, str) and attribute.sub("value"):
        quirks.append(told.at(where, Quirk.STRING_FOR_OBJECT))  # how Entra sends the manager
        value = {"value": value}
    if not isinstance(value, dict):
        if value is None:
            return None
        raise InvalidValue(f"{where} takes an object, not {kind(value)}.")
    found = {}
    for name, given in value.items():
        sub = attribute.sub(name)
        if sub is None and attribute.multi_valued and name.lower() in _USUAL:
            quirks.append(told.at(where, Quirk.NOT_KEPT))
        elif sub is None:
            quirks.append(unknown(told.at(where, Quirk.UNKNOWN_SUB), name))
        elif sub.mutability != "readOnly" and (taken := typed(sub, given, f"{where}.{sub.name}", quirks)) is not None:
            found[sub.name] = taken
    return found or None


def kind(value: object) -> str:
    return _NAMES.get(type(value), "null")
