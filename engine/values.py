"""Values as a directory writes them, made the type that their attribute has, or refused with the place."""

import base64
import binascii
from typing import Any

from engine import quirks as told
from engine.quirks import Quirk
from engine.refusals import InvalidValue
from engine.schema import Attribute

Quirks = list[str]
"""Each tolerance that was applied to one request, as engine/quirks.py tells it: "active: a string for a boolean"."""

LONGEST_TEXT = 4_000  # characters
LONGEST_CONTENT = 100_000  # characters; a certificate, or a picture within its address
MOST_ELEMENTS = 100  # of one multi-valued attribute
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
        case "binary":
            return _binary(_text(attribute, value, where), where)
        case _:
            return _text(attribute, value, where)


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


def _binary(value: str, where: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue(f"{where} takes bytes in base64.") from None
    return value


def _elements(attribute: Attribute, value: object, where: str, quirks: Quirks) -> list[dict[str, Any]] | None:
    if value == "":
        quirks.append(told.at(where, Quirk.EMPTY_STRING))
    if value is None or value == "":
        return None
    if not isinstance(value, list):
        quirks.append(told.at(where, Quirk.ONE_FOR_LIST))
        value = [value]
    if len(value) > (most := attribute.most or MOST_ELEMENTS):
        raise InvalidValue(f"{where} has {len(value)} values; {most} are allowed.")
    found = [_sub_attributes(attribute, each, f"{where}[{place}]", quirks) for place, each in enumerate(value)]
    for place, each in enumerate(found):
        if missing := [sub.name for sub in attribute.sub_attributes if sub.required and sub.name not in (each or {})]:
            raise InvalidValue(f"{where}[{place}] has no {missing[0]}.")
    elements = [element for element in found if element]
    if len(elements) < len(found):
        quirks.append(told.at(where, Quirk.EMPTY_ELEMENT))
    if sum(element.get("primary") is True for element in elements) > 1:
        raise InvalidValue(f"{where} has more than one primary value; at most one may be primary (RFC 7643 §2.4).")
    return elements or None


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
        if sub is None:
            quirks.append(told.at(where, Quirk.UNKNOWN_SUB))
        elif (taken := typed(sub, given, f"{where}.{sub.name}", quirks)) is not None:
            found[sub.name] = taken
    return found or None


def kind(value: object) -> str:
    return _NAMES.get(type(value), "null")
