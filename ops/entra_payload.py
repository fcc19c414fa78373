"""What Entra writes and asks, byte by byte: the filter of a query, the body of a creation, the body of a PATCH."""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ops.entra_mapping import CORE, ENTERPRISE, Dialect, ManagerForm, Row, Source, Target

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

_KEPT = frozenset(string.ascii_letters + string.digits + "-_.!*()")

Wanted = list[tuple[Target, str]]


@dataclass(frozen=True)
class Change:
    """One attribute that differs: `Add` where the app has nothing, else `Replace`. Nothing is ever removed."""

    op: Literal["Add", "Replace"]
    target: Target
    value: str


def wanted(rows: Iterable[Row], source: Source) -> Wanted:
    """What the app should have. Null is left out: Entra cannot write it."""
    return [(row.target, value) for row in rows if (value := row.value(source))]


def form_encoded(text: str) -> str:
    """As .NET encodes a form: a space becomes a plus, hexadecimal digits are lower case."""
    return "".join(each if each in _KEPT else "+" if each == " " else _percent(each) for each in text)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode())


def filter_query(target: Target | str, value: str) -> str:
    """`filter=…`. A quote within the value is not escaped: Entra breaks its own queries there too."""
    name = target.name if isinstance(target, Target) else target
    return "filter=" + form_encoded(f'{name} eq "{value}"')


def create_body(values: Wanted, *, with_custom: bool = True) -> dict[str, Any]:
    """The body of a POST: booleans where the attribute is Boolean, URN names nested under their URN."""
    body: dict[str, Any] = {"schemas": [CORE, ENTERPRISE]}
    for target, value in values:
        if target.prefix is None:
            target.write(body, _typed(target, value))
    body["meta"] = {"resourceType": "User"}
    body.setdefault("roles", [])
    for target, value in values:
        if target.prefix and (with_custom or not target.is_custom):
            target.write(body, value)
    return body


def differences(resource: dict[str, Any], values: Wanted) -> list[Change]:
    """What to write so that the app has what is wanted; strings are compared byte for byte, booleans as their text."""
    changes = []
    for target, value in values:
        present = as_text(target.read(resource))
        if present != value:
            changes.append(Change("Replace" if present else "Add", target, value))
    return changes


def as_text(found: Any) -> str:
    """A value of the response for comparing: nothing is an empty text, a boolean "True" or "False"."""
    if isinstance(found, dict):  # only the manager may come as an object; the rest is checked on arrival
        found = found.get("value")
    return "" if found is None else str(found)


def patch_body(changes: Sequence[Change], dialect: Dialect) -> dict[str, Any]:
    """All changes as one request. The order is the mapping's."""
    operations = [_classic(change) for change in changes] if dialect == "classic" else _flagged(changes)
    return {"schemas": [PATCH_OP], "Operations": operations}


def manager_body(change: Change, dialect: Dialect, form: ManagerForm, location: str) -> dict[str, Any]:
    """A PATCH of the manager, which has three forms: the bare id, an object, and the array of a job of 2018."""
    body = patch_body([change], dialect)
    operation = body["Operations"][0]
    if form == "object":
        operation["value"] = {"value": change.value}
    elif form == "array":
        operation |= {"path": "manager", "value": [{"$ref": location, "value": change.value}]}
    return body


def _classic(change: Change) -> dict[str, Any]:
    return {"op": change.op, "path": change.target.name, "value": change.value}


def _flagged(changes: Sequence[Change]) -> list[dict[str, Any]]:
    filtered = [_verbose(change) for change in changes if change.target.is_filtered]
    plain = [change for change in changes if not change.target.is_filtered]
    ops = dict.fromkeys(change.op for change in plain)
    return filtered + [_collapsed([change for change in plain if change.op == op]) for op in ops]


def _collapsed(changes: Sequence[Change]) -> dict[str, Any]:
    """One attribute alone keeps its path; several go into one operation without a path."""
    if len(changes) == 1:
        return _verbose(changes[0])
    values = {change.target.name: _typed(change.target, change.value) for change in changes}
    return {"op": changes[0].op.lower(), "value": values}


def _verbose(change: Change) -> dict[str, Any]:
    value = _typed(change.target, change.value)
    return {"op": change.op.lower(), "path": change.target.name, "value": value}


def _typed(target: Target, value: str) -> str | bool:
    return value == "True" if target.is_boolean else value


def disables(changes: Iterable[Change]) -> bool:
    """Whether the log calls this a Disable rather than an Update."""
    return any(change.target.is_active and change.value == "False" for change in changes)
