"""RFC 7644 §3.5.2 in plain words: what operations make of a document, slowly, sharing no code with the service."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from tests.scim_words import ATTRIBUTES, URN, VALUES, Json, Tree, in_element


class Refused(Exception):  # noqa: N818  an answer
    """The `scimType` of the refusal."""


class Told(Struct, frozen=True):
    """An operation. `value` is None for null; `is_right` says whether it is of the attribute's type."""

    op: str
    name: str
    chosen: Tree | None = None
    sub: str | None = None
    value: Any = None
    is_right: bool = True


def evaluate(document: Json, operations: list[Told], *, strict: bool) -> Json:
    """The document after all of them. Raises Refused, and then nothing is changed."""
    for each in operations:
        _read(each)
    after = deepcopy(document)
    for each in operations:
        if ATTRIBUTES[each.name]["multiValued"]:
            _change_list(after, each, strict=strict)
        else:
            _change_single(after, each)
    _check(document, after)
    return after


def _read(told: Told) -> None:
    """What is wrong with an operation whatever the document is."""
    attribute = ATTRIBUTES[told.name]
    meant = attribute["subs"][told.sub] if told.sub else attribute
    if attribute["mutability"] == "readOnly":
        raise Refused("mutability")
    if told.op == "remove":
        if meant["required"] and (told.sub or not attribute["multiValued"]):
            raise Refused("mutability")
    elif not told.is_right or (told.sub and meant["required"] and told.value is None):
        raise Refused("invalidValue")
    elif isinstance(told.value, list):
        primaries = [each for each in told.value if isinstance(each, dict) and each.get("primary") is True]
        if len(primaries) > 1:
            raise Refused("invalidValue")


def _change_single(after: Json, told: Told) -> None:
    if told.sub:
        parts = dict(after.get(told.name, {}))
        parts.pop(told.sub, None)
        if told.op != "remove" and told.value is not None:
            parts[told.sub] = told.value
    elif told.op == "remove" or told.value is None:
        parts = None
    elif ATTRIBUTES[told.name]["type"] == "complex":
        parts = {**after.get(told.name, {}), **told.value}
    else:
        parts = told.value
    after.pop(told.name, None)
    if parts not in (None, {}):
        after[told.name] = parts


def _change_list(after: Json, told: Told, *, strict: bool) -> None:  # noqa: PLR0912  a case after the other
    attribute, before = ATTRIBUTES[told.name], after.get(told.name, [])
    places = [
        place for place, each in enumerate(before) if told.chosen is None or in_element(told.chosen, each, attribute)
    ]
    takes_away = told.op == "remove" or told.value is None
    written: list[Any] = []
    if told.chosen is None and told.sub is None:
        if told.op == "remove" or (told.op == "replace" and told.value is None):
            left: list[Any] = []
        elif told.op == "replace":
            left, written = list(told.value), list(told.value)
        else:
            left = list(before)
            for each in told.value or []:
                if not any(_says(one, each) for one in left):
                    left.append(each)
                    written.append(each)
    elif takes_away:
        if strict and told.chosen and not places:
            raise Refused("noTarget")
        left = _taken_away(before, places, told)
    elif places:
        left = [_written(each, told) if place in places else each for place, each in enumerate(before)]
        written = [left[place] for place in places]
        for place in places:
            _keep_immutable(attribute, before[place], left[place], told)
    elif strict:
        raise Refused("noTarget")
    else:
        left = [*before, _made(told)]
        written = left[-1:]
    if attribute["required"] and before and not left:
        raise Refused("mutability")
    after.pop(told.name, None)
    if left:
        after[told.name] = _one_primary(left, written)


def _says(present: Any, given: Any) -> bool:
    """What is there already is not added again; it may say more than what is given."""
    if isinstance(given, dict):
        return all(name in present and present[name] == value for name, value in given.items())
    return bool(present == given)


def _taken_away(before: list[Any], places: list[int], told: Told) -> list[Any]:
    if told.sub is None:
        return [each for place, each in enumerate(before) if place not in places]
    if ATTRIBUTES[told.name]["subs"][told.sub]["mutability"] == "immutable" and any(
        told.sub in before[place] for place in places
    ):
        raise Refused("mutability")
    left = []
    for place, each in enumerate(before):
        if place in places and told.sub in each:
            rest = {name: value for name, value in each.items() if name != told.sub}
            if set(rest) - {"type", "primary"}:  # labels without anything that they could be on
                left.append(rest)
        else:
            left.append(each)
    return left


def _written(element: Any, told: Told) -> Any:
    if told.sub:
        return {**element, told.sub: told.value}
    if not isinstance(element, dict):
        return told.value
    return {**(element if told.op == "add" else _described(told.chosen)), **told.value}


def _keep_immutable(attribute: Json, before: Any, after: Any, told: Told) -> None:
    """An element may be replaced as a whole, but not change in what is set once."""
    if told.op == "replace" and told.sub is None:
        return
    for name, sub in attribute["subs"].items():
        if sub["mutability"] == "immutable" and name in before and before[name] != after.get(name):
            raise Refused("mutability")


def _described(tree: Tree | None) -> Json:
    """What a filter says that an element is."""
    match tree:
        case ("is", name, "eq", value) if value is not None:
            return {name: _in_utc(value)}
        case ("and", left, right):
            return {**_described(left), **_described(right)}
        case _:
            return {}


def _in_utc(value: Any) -> Any:
    """A filter is of moments, not of texts."""
    if value not in VALUES["dateTime"]:
        return value
    return datetime.fromisoformat(value).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _made(told: Told) -> Any:
    """An element of which the filter and the value say what it is, and which the filter then chooses."""
    attribute = ATTRIBUTES[told.name]
    described = _described(told.chosen)
    if told.chosen and not described:
        raise Refused("noTarget")
    made = _written(described, told) if attribute["subs"] else told.value
    if told.sub is None and attribute["subs"]:
        made = {**described, **told.value}
    if told.chosen and not in_element(told.chosen, made, attribute):
        raise Refused("noTarget")
    if any(sub["required"] and name not in made for name, sub in attribute["subs"].items()):
        raise Refused("invalidValue")
    return made


def _one_primary(elements: list[Any], written: list[Any]) -> list[Any]:
    """RFC 7644 §3.5.2: a value made primary makes the others not primary."""
    new = [each for each in written if isinstance(each, dict) and each.get("primary") is True]
    if len(new) > 1:
        raise Refused("invalidValue")
    if not new:
        return elements
    return [
        {**each, "primary": False} if each is not new[0] and each.get("primary") is True else each for each in elements
    ]


def _check(before: Json, after: Json) -> None:
    if "userName" not in after:
        raise Refused("invalidValue")
    for name, attribute in ATTRIBUTES.items():
        if attribute["mutability"] == "immutable" and name in before and before[name] != after.get(name):
            raise Refused("mutability")
    if any(name.startswith(f"{URN}:") for name in after) and f"{URN}:badge" not in after:
        raise Refused("invalidValue")
