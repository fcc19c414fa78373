"""What RFC 7643 and RFC 7644 say, read slowly: attributes as plain objects, filters as trees and whether they hold.

It shares no code with the service, so that the two can be held against each other.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from engine.schema import ENTERPRISE_USER, GROUP, USER

Json = dict[str, Any]
Tree = tuple[Any, ...]  # ("is", sub, operator, value), ("pr", sub), ("and", a, b), ("or", a, b) or ("not", a)

URN = "urn:example:contoso:2.0:User"
DOCUMENT: Json = {
    "id": URN,
    "attributes": [
        {"name": "badge", "type": "integer", "required": True},
        {"name": "rate", "type": "decimal"},
        {"name": "since", "type": "dateTime"},
        {"name": "remote", "type": "boolean"},
        {"name": "page", "type": "reference"},
        {"name": "seal", "type": "binary"},
        {"name": "word"},
        {"name": "site", "canonicalValues": ["Bonn", "Graz"]},
        {"name": "code", "caseExact": True, "mutability": "immutable"},
        {"name": "number", "type": "integer", "mutability": "readOnly"},
        {"name": "tags", "multiValued": True},
        {"name": "codes", "multiValued": True, "caseExact": True},
        {"name": "levels", "type": "integer", "multiValued": True},
        {"name": "days", "type": "dateTime", "multiValued": True},
        {"name": "seals", "type": "binary", "multiValued": True},
        {
            "name": "desk",
            "type": "complex",
            "subAttributes": [
                {"name": "floor", "type": "integer"},
                {"name": "until", "type": "dateTime"},
                {"name": "free", "type": "boolean"},
                {"name": "label", "caseExact": True},
            ],
        },
        {
            "name": "keys",
            "type": "complex",
            "multiValued": True,
            "subAttributes": [
                {"name": "value"},
                {"name": "serial", "mutability": "immutable"},
                {"name": "door", "type": "integer"},
                {"name": "weight", "type": "decimal"},
                {"name": "until", "type": "dateTime"},
                {"name": "spare", "type": "boolean"},
                {"name": "seal", "type": "binary"},
                {"name": "page", "type": "reference"},
                {"name": "primary", "type": "boolean"},
            ],
        },
        {
            "name": "cars",
            "type": "complex",
            "multiValued": True,
            "subAttributes": [{"name": "plate", "required": True}, {"name": "type"}],
        },
    ],
}

VALUES: dict[str, list[Any]] = {
    "string": ["a", "A", "b", "ab", "é", "É", "work", "home", "50%_", "\\"],
    "boolean": [True, False],
    "integer": [-1, 0, 1, 2, 2**60],
    "decimal": [0.5, 1, 1.0, 2.25, -3, 1e300],
    "dateTime": [
        "2026-01-01T00:00:00Z",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00.5Z",
        "2025-12-31T22:00:00-02:00",
        "2027-01-01T00:00:00+14:00",
        "2026-12-31T10:00:00Z",
    ],
    "reference": ["https://x.example/a", "https://x.example/A", "https://x.example/b"],
    "binary": ["QUJD", "qujd", "AAAA"],
}
WRONG: dict[str, Any] = {
    "string": 5,
    "boolean": "perhaps",
    "integer": 1.5,
    "decimal": "much",
    "dateTime": "yesterday",
    "reference": 7,
    "binary": "*",
    "complex": 5,
}


def _plain(attributes: list[Json], urn: str = "") -> dict[str, Json]:
    """Attributes by name, each in the words of RFC 7643 §7."""
    found = {}
    for each in attributes:
        kind = each.get("type", "string")
        found[urn + each["name"]] = {
            "name": urn + each["name"],
            "type": kind,
            "multiValued": each.get("multiValued", False),
            "required": each.get("required", False),
            "mutability": each.get("mutability", "readWrite"),
            # RFC 7643 §2.3.6 and §2.3.7: what is binary, or a reference, is case exact.
            "caseExact": each.get("caseExact", False) or kind in {"binary", "reference"},
            "canonicalValues": each.get("canonicalValues", []) if urn == f"{URN}:" or not urn else [],
            "subs": _plain(each.get("subAttributes", [])),
        }
    return found


def _ours(schema: Any) -> list[Json]:
    names = {"multi_valued": "multiValued", "case_exact": "caseExact", "sub_attributes": "subAttributes"}

    def renamed(found: Json) -> Json:
        each = {names.get(key, key): value for key, value in found.items() if key != "canonical_values"}
        return {**each, "subAttributes": [renamed(sub) for sub in each["subAttributes"]]}

    return [renamed(each) for each in msgspec.to_builtins(schema)["attributes"]]


_APART = {"active", "password", "role", "groups"}  # each has rules of its own, and tests of its own
ATTRIBUTES: dict[str, Json] = {
    **{name: each for name, each in _plain(_ours(USER)).items() if name not in _APART},
    **_plain(_ours(ENTERPRISE_USER), f"{ENTERPRISE_USER.id}:"),
    **_plain(DOCUMENT["attributes"], f"{URN}:"),
}
OF_GROUPS: dict[str, Json] = {**_plain(_ours(GROUP)), **_plain(DOCUMENT["attributes"], f"{URN}:")}
VALUE_ALONE = "value"  # how a filter names the value of an element that is not complex


def subs_of(attribute: Json) -> dict[str, Json]:
    """What a filter may name within an attribute."""
    return attribute["subs"] or {VALUE_ALONE: {**attribute, "name": VALUE_ALONE, "multiValued": False}}


# Values.


def simple(attribute: Json) -> st.SearchStrategy[Any]:
    if attribute["canonicalValues"]:
        return st.sampled_from([*attribute["canonicalValues"], attribute["canonicalValues"][0].upper()])
    return st.sampled_from(VALUES[attribute["type"]])


@st.composite
def parts(draw: st.DrawFn, attribute: Json) -> Json:
    """A complex value, of some of its sub-attributes."""
    chosen = draw(st.lists(st.sampled_from(sorted(attribute["subs"])), unique=True, min_size=1, max_size=3))
    wanted = [name for name, sub in attribute["subs"].items() if sub["required"]]
    return {name: draw(simple(attribute["subs"][name])) for name in dict.fromkeys([*wanted, *chosen])}


@st.composite
def values(draw: st.DrawFn, attribute: Json) -> Any:
    """A value that the attribute may have; of a list, with one primary element at most."""
    one = parts(attribute) if attribute["subs"] else simple(attribute)
    if not attribute["multiValued"]:
        return draw(one)
    found = draw(st.lists(one, min_size=1, max_size=3))
    primaries = [each for each in found if isinstance(each, dict) and each.get("primary") is True]
    for each in primaries[1:]:
        each["primary"] = False
    return found


@st.composite
def documents(draw: st.DrawFn) -> Json:
    """A person's attributes; complex ones as objects."""
    names = draw(st.lists(st.sampled_from(sorted(set(ATTRIBUTES) - {"userName"})), unique=True, max_size=8))
    found = {name: draw(values(ATTRIBUTES[name])) for name in names if ATTRIBUTES[name]["mutability"] != "readOnly"}
    if any(name.startswith(f"{URN}:") for name in found):
        found[f"{URN}:badge"] = draw(simple(ATTRIBUTES[f"{URN}:badge"]))
    return {"userName": "ann", **found}


def leaves(document: Json) -> Json:
    """As the service keeps it: the parts of a single complex value apart."""
    found: Json = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= {f"{name}.{sub}": each for sub, each in value.items()}
        else:
            found[name] = value
    return found


# Filters.


def operators_for(attribute: Json) -> list[str]:
    """RFC 7644 §3.4.2.2: no order of booleans and binaries; and numbers and times are no text."""
    match attribute["type"]:
        case "boolean":
            return ["eq", "ne"]
        case "binary":
            return ["eq", "ne", "co", "sw", "ew"]
        case "integer" | "decimal" | "dateTime":
            return ["eq", "ne", "gt", "ge", "lt", "le"]
        case _:
            return ["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]


@st.composite
def filters_within(draw: st.DrawFn, subs: dict[str, Json], words: dict[str, list[Any]] | None = None) -> Tree:
    """`words` are values for names that have some of their own."""
    name = draw(st.sampled_from(sorted(subs)))
    how = draw(st.sampled_from(["is", "is", "is", "is", "pr", "null"]))
    if how == "pr":
        return ("pr", name)
    if how == "null":
        return ("is", name, draw(st.sampled_from(["eq", "ne"])), None)
    value = st.sampled_from(words[name]) if words and name in words else simple(subs[name])
    return ("is", name, draw(st.sampled_from(operators_for(subs[name]))), draw(value))


def trees(leaf: st.SearchStrategy[Tree], most: int) -> st.SearchStrategy[Tree]:
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner),
            st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        ),
        max_leaves=most,
    )


def text_of(tree: Tree) -> str:
    match tree:
        case ("is", name, operator, value):
            return f"{name} {operator} {json.dumps(value)}"
        case ("pr", name):
            return f"{name} pr"
        case ("not", inner):
            return f"not ({text_of(inner)})"
        case ("some", name, inner):
            return f"{name}[{text_of(inner)}]"
        case (word, left, right):
            return f"({text_of(left)} {word} {text_of(right)})"
        case _:
            raise AssertionError(tree)


def holds(tree: Tree, fulfils: Callable[[Tree], bool]) -> bool:
    match tree:
        case ("and", left, right):
            return holds(left, fulfils) and holds(right, fulfils)
        case ("or", left, right):
            return holds(left, fulfils) or holds(right, fulfils)
        case ("not", inner):
            return not holds(inner, fulfils)
        case _:
            return fulfils(tree)


def in_element(tree: Tree, element: Any, attribute: Json) -> bool:
    """Whether an element of a list fulfils the filter of a value path."""
    subs = subs_of(attribute)
    found = element if isinstance(element, dict) else {VALUE_ALONE: element}

    def fulfils(test: Tree) -> bool:
        if test[0] == "pr":
            return test[1] in found
        _, name, operator, value = test
        left = found.get(name)
        if subs[name]["type"] == "boolean" and left is None and value is not None:
            left = False  # RFC 7643 §2.4 of `primary`
        return compare(subs[name], left, operator, value)

    return holds(tree, fulfils)


def compare(attribute: Json, left: Any, operator: str, right: Any) -> bool:
    if right is None or left is None:
        return (left == right) == (operator == "eq") if operator in {"eq", "ne"} else False
    if attribute["type"] == "dateTime":
        left, right = datetime.fromisoformat(left), datetime.fromisoformat(right)
    elif isinstance(left, str) and not attribute["caseExact"]:
        left, right = left.lower(), right.lower()
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "eq": lambda one, other: one == other,
        "ne": lambda one, other: one != other,
        "co": lambda one, other: other in one,
        "sw": lambda one, other: one.startswith(other),
        "ew": lambda one, other: one.endswith(other),
        "gt": lambda one, other: one > other,
        "ge": lambda one, other: one >= other,
        "lt": lambda one, other: one < other,
        "le": lambda one, other: one <= other,
    }
    return tests[operator](left, right)
