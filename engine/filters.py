"""A filter of RFC 7644 §3.4.2.2 as a tree, whose attributes and values are typed; and whether a value fulfils it."""

import operator as operators
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, cast

from msgspec import Struct

from engine.schema import Target

Operator = Literal["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
Value = str | bool | int | float | datetime | None


class Compare(Struct, frozen=True, tag=True):
    """An attribute's value against a given one. A null on the right means "has no value"."""

    target: Target
    operator: Operator
    value: Value


class Present(Struct, frozen=True, tag=True):
    """The attribute has a value."""

    target: Target


class Some(Struct, frozen=True, tag=True):
    """At least one element of the multi-valued attribute fulfils `inner`, whose targets are its sub-attributes."""

    target: Target
    inner: "Filter"


class And(Struct, frozen=True, tag=True):
    """Both sides hold."""

    left: "Filter"
    right: "Filter"


class Or(Struct, frozen=True, tag=True):
    """At least one side holds."""

    left: "Filter"
    right: "Filter"


class Not(Struct, frozen=True, tag=True):
    """The inner filter does not hold."""

    inner: "Filter"


class Nothing(Struct, frozen=True, tag=True):
    """The attribute is none of ours, so nobody has a value there."""

    name: str


Filter = Compare | Present | Some | And | Or | Not | Nothing

_TESTS: dict[Operator, Callable[[str, str], bool]] = {
    "eq": operators.eq,
    "ne": operators.ne,
    "co": operators.contains,
    "sw": str.startswith,
    "ew": str.endswith,
    "gt": operators.gt,
    "ge": operators.ge,
    "lt": operators.lt,
    "le": operators.le,
}


def unknown_names(filter_: Filter) -> Iterator[str]:
    match filter_:
        case Nothing(name):
            yield name
        case And(left, right) | Or(left, right):
            yield from unknown_names(left)
            yield from unknown_names(right)
        case Not(inner) | Some(_, inner):
            yield from unknown_names(inner)
        case Compare() | Present():
            pass


def holds(filter_: Filter, element: Any) -> bool:
    """Whether one element of a multi-valued attribute fulfils the filter of a value path (RFC 7644 §3.5.2)."""
    if not isinstance(element, dict):  # of an attribute that is not complex
        element = {"": element}
    match filter_:
        case Compare(target, operator, value):
            return _compare(target, operator, element.get(target.leaf), value)
        case And(left, right):
            return holds(left, element) and holds(right, element)
        case Or(left, right):
            return holds(left, element) or holds(right, element)
        case Not(inner):
            return not holds(inner, element)
        case Present(target):
            return element.get(target.leaf) not in (None, "", [])
        case Some() | Nothing():
            return False


def _compare(target: Target, operator: Operator, found: object, value: Value) -> bool:
    attribute = target.sub or target.attribute
    if found is None and value is False:
        found = False  # nobody writes "primary": false beside every other element
    if value is None or found is None:
        return (found == value) == (operator == "eq") and operator in {"eq", "ne"}
    if isinstance(value, datetime):
        return _ordered(operator, datetime.fromisoformat(str(found)).astimezone(UTC), value)
    if attribute.type in {"integer", "decimal"}:
        return _ordered(operator, found, value)
    left, right = str(found), str(value)
    if not attribute.case_exact:
        left, right = left.lower(), right.lower()
    return _TESTS[operator](left, right)


def _ordered(operator: Operator, found: Any, value: Any) -> bool:
    tests: dict[str, Callable[[Any, Any], bool]] = cast(Any, _TESTS)
    return tests[operator](found, value)
