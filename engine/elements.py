"""The elements of a multi-valued attribute, and how one operation of a PATCH changes them (RFC 7644 §3.5.2)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from engine.filters import And, Compare, Filter, holds
from engine.refusals import InvalidValue, NoTarget, NotMutable
from engine.schema import Attribute
from engine.values import MOST_ELEMENTS, typed

Op = Literal["add", "replace", "remove"]
Element = Any  # a dict of sub-attributes; a single value where the attribute is not complex


class ChangeElements(Struct, frozen=True):
    """A multi-valued attribute changes: whole, the elements that `filter` chooses, or one sub-attribute of those.

    A removal without a filter takes away the elements that `value` names, or all if it is None.
    """

    op: Op
    key: str
    attribute: Attribute
    filter: Filter | None = None
    sub: Attribute | None = None
    value: Any = None


def misses(operation: ChangeElements, before: list[Element]) -> bool:
    """Whether the path names parts of elements and there is none; without a filter, none can be removed."""
    names_some = operation.filter or (operation.sub and operation.op != "remove")
    return bool(names_some) and not any(_chosen(operation, each) for each in before)


def changed(operation: ChangeElements, before: list[Element]) -> list[Element]:
    match operation:
        case ChangeElements(op="remove"):
            after = _removed(operation, before)
        case ChangeElements(filter=None, sub=None, op="replace"):
            after = list(operation.value)
        case ChangeElements(filter=None, sub=None):
            after = _added(before, operation.value or [])
        case _:
            after = _set_in_chosen(operation, before)
    if operation.attribute.required and before and not after:
        raise NotMutable(f"{operation.key} is required and cannot be removed (RFC 7644 §3.5.2.2).")
    if len(after) > MOST_ELEMENTS:
        raise InvalidValue(f"{operation.key} would have {len(after)} values; {MOST_ELEMENTS} are allowed.")
    return _one_primary(operation.key, before, after)


def _removed(operation: ChangeElements, before: list[Element]) -> list[Element]:
    if operation.sub is not None:
        name = operation.sub.name
        kept = [(each, _without(each, name) if _chosen(operation, each) else each) for each in before]
        for each, after in kept:
            _keep_immutable(operation, each, after)
        return [after for each, after in kept if after == each or after.keys() - {"type", "primary"}]
    if operation.filter is not None:
        return [each for each in before if not _chosen(operation, each)]
    if operation.value is not None:  # the classic dialect names what to remove by its value
        return [each for each in before if not any(_covers(given, each) for given in operation.value)]
    return []


def _added(before: list[Element], given: list[Element]) -> list[Element]:
    """What is there already is not added again (RFC 7644 §3.5.2.1)."""
    after = list(before)
    for element in given:
        if not any(_covers(element, each) for each in after):
            after.append(element)
    return after


def _covers(given: Element, present: Element) -> bool:
    """Whether the value that is there says all that the given one does."""
    if isinstance(given, dict):
        return bool(given.items() <= present.items())
    return type(given) is type(present) and bool(given == present)


def _set_in_chosen(operation: ChangeElements, before: list[Element]) -> list[Element]:
    chosen = [_chosen(operation, each) for each in before]
    if not any(chosen):
        return [*before, _made(operation)]
    if sum(chosen) > 1 and operation.attribute.sub("primary") and _set(operation, {}).get("primary") is True:
        raise InvalidValue(f"{operation.key} would have more than one primary value; at most one may be primary.")
    after = [_set(operation, each) if is_chosen else each for each, is_chosen in zip(before, chosen, strict=True)]
    if operation.sub or operation.op == "add":  # an element may be replaced whole
        for one, other in zip(before, after, strict=True):
            _keep_immutable(operation, one, other)
    return after


def _keep_immutable(operation: ChangeElements, before: Element, after: Element) -> None:
    for sub in operation.attribute.sub_attributes:
        if sub.mutability == "immutable" and before.get(sub.name) not in (None, after.get(sub.name)):
            raise NotMutable(f"{operation.key}.{sub.name} is immutable: it was set once, and stays (RFC 7643 §2.2).")


def _made(operation: ChangeElements) -> Element:
    """Entra sends filtered paths for elements that are not there yet, where RFC 7644 §3.5.2.3 would have noTarget:
    the element that the filter describes is made, if it then is one that the filter chooses."""
    described = dict(_described(operation.filter))
    made = _set(operation, described)
    if operation.filter and not (described and _chosen(operation, made)):
        raise NoTarget(f"No value of {operation.key} matches the filter of the path.")
    typed(operation.attribute, [made], operation.key, [])  # what came from the filter is no freer than a value
    return made


def _set(operation: ChangeElements, element: Element) -> Element:
    if operation.sub is not None:
        return {**element, operation.sub.name: operation.value}
    if operation.attribute.type != "complex":
        return operation.value
    described = dict(_described(operation.filter)) if operation.filter else {}
    kept = element if operation.op == "add" else described
    return {**kept, **operation.value}


def _described(filter_: Filter | None) -> Iterator[tuple[str, Any]]:
    match filter_:
        case Compare(target, "eq", datetime() as moment):
            yield target.leaf, moment.isoformat().replace("+00:00", "Z")
        case Compare(target, "eq", value) if value is not None:
            yield target.leaf, value
        case And(left, right):
            yield from _described(left)
            yield from _described(right)
        case _:
            pass


def _chosen(operation: ChangeElements, element: Element) -> bool:
    return operation.filter is None or holds(operation.filter, element)


def _without(element: Element, name: str) -> Element:
    return {key: value for key, value in element.items() if key != name}


def _one_primary(key: str, before: list[Element], after: list[Element]) -> list[Element]:
    """A value made primary takes that from the others (RFC 7644 §3.5.2)."""
    if not all(isinstance(each, dict) for each in after):
        return after
    untouched = {id(each) for each in before}  # one that was made anew may be like one that stays
    new = [each for each in after if each.get("primary") is True and id(each) not in untouched]
    if len(new) > 1:
        raise InvalidValue(f"{key} would have more than one primary value; at most one may be primary.")
    if not new:
        return after
    return [
        {**each, "primary": False} if each.get("primary") is True and each is not new[0] else each for each in after
    ]
