"""PATCH (RFC 7644 §3.5.2) as a pure function: operations and leaves in, leaves out; both of Entra's dialects."""

from collections.abc import Iterator
from typing import Any, cast

from msgspec import Struct

from engine import paths, resource
from engine import quirks as told
from engine.catalog import Catalog
from engine.elements import ChangeElements, Element, Op, changed, misses
from engine.filter_parser import NAME
from engine.filters import Filter, holds
from engine.paths import Path
from engine.quirks import Quirk
from engine.refusals import InvalidPath, InvalidSyntax, InvalidValue, NoTarget, NotMutable
from engine.resource import Values
from engine.schema import COMMON, PASSWORD, Attribute, Target
from engine.values import Quirks, kind, typed, unknown

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MOST_OPERATIONS = 1_000  # a directory may remove as many members in one request, one each


class SetLeaves(Struct, frozen=True):
    """Single values get these values; None takes one away. Adding and replacing are the same here.

    With a `filter` on a complex attribute (`manager[value eq "…"]`) only if its present value fulfils it.
    """

    leaves: dict[str, Any]
    prefix: str | None = None
    filter: Filter | None = None


Operation = SetLeaves | ChangeElements


def read(body: object, catalog: Catalog, quirks: Quirks) -> tuple[Operation, ...]:
    """The operations of a PatchOp message, each value in its attribute's type.

    Names and ops are taken without regard to case, members that SCIM does not know are passed over, and unknown
    attributes too: refusing one optional attribute would block the whole person.

    Raises InvalidSyntax, InvalidPath, InvalidValue, NotMutable or NoTarget, naming the operation.
    """
    if not isinstance(body, dict):
        raise InvalidSyntax(f"The body must be a JSON object, a PatchOp; it is {kind(body)}.")
    operations = _member(body, "Operations")
    if not isinstance(operations, list):
        raise InvalidSyntax(f"Operations takes a list, not {kind(operations)}.")
    if len(operations) > MOST_OPERATIONS:
        raise InvalidSyntax(f"There are {len(operations)} operations; {MOST_OPERATIONS} are allowed in one request.")
    if not operations:
        quirks.append(Quirk.NO_OPERATIONS)
    if any(name.lower() not in {"schemas", "operations"} for name in body):
        quirks.append(Quirk.STRAY_MEMBER)
    reader = _Reader(catalog, quirks)
    found = [each for place, given in enumerate(operations) for each in reader.operation(place, given)]
    if len(found) > MOST_OPERATIONS:  # one without a path makes many
        raise InvalidSyntax(f"There are {len(found)} attributes to change; {MOST_OPERATIONS} are allowed.")
    return tuple(found)


class _Reader:
    """Reads the operations of one message."""

    def __init__(self, catalog: Catalog, quirks: Quirks) -> None:
        self._catalog = catalog
        self._quirks = quirks

    def operation(self, place: int, given: object) -> Iterator[Operation]:
        where = f"Operations[{place}]"
        if not isinstance(given, dict):
            raise InvalidSyntax(f"{where} must be an object, not {kind(given)}.")
        op, path, value = (_member(given, name) for name in ("op", "path", "value"))
        if not isinstance(op, str) or op.lower() not in {"add", "replace", "remove"}:
            raise InvalidSyntax(f"{where}.op must be add, replace or remove.")
        if path is not None and not isinstance(path, str):
            raise InvalidPath(f"{where}.path takes a string, not {kind(path)}.")
        if op != op.lower():
            self._quirks.append(Quirk.CAPITALS)
        if any(name.lower() not in {"op", "path", "value"} for name in given):
            self._quirks.append(Quirk.STRAY_MEMBER)
        if path == "":
            self._quirks.append(Quirk.EMPTY_PATH)
        if op.lower() != "remove" and not any(name.lower() == "value" for name in given):
            raise InvalidValue(f"{where} has no value, which {op.lower()} takes (RFC 7644 §3.5.2); null takes away.")
        if path:
            named = self._path(path, where)
            if named.schema:
                self._quirks.append(Quirk.SCHEMA_AS_PATH)
            yield from self._at(cast(Op, op.lower()), named, value, where)
        elif op.lower() == "remove":
            raise NoTarget(f"{where} removes without a path; name the attribute to remove (RFC 7644 §3.5.2.2).")
        else:
            yield from self._without_path(cast(Op, op.lower()), value, where)

    def _path(self, text: str, where: str) -> Path:
        try:
            return paths.parse(text, self._catalog, self._quirks)
        except InvalidPath as refusal:
            raise InvalidPath(f"{where}.path is not understood. {refusal.detail}") from None

    def _without_path(self, op: Op, value: object, where: str, urn: str = "") -> Iterator[Operation]:
        """The flagged dialect puts all in one operation: plain, dotted and URN-prefixed names, and URN objects."""
        if not isinstance(value, dict):
            raise InvalidValue(
                f"{where}.value takes an object of attributes where there is no path, not {kind(value)}."
            )
        for name, each in value.items():
            if not urn and name.lower() in COMMON:
                if name.lower() != "schemas":
                    self._quirks.append(told.at(name.lower(), Quirk.READ_ONLY))
                continue
            full_name = f"{urn}:{name}" if urn else name
            path = self._path(full_name, where) if "[" in name or NAME.fullmatch(full_name) else Path(full_name)
            if path.target and any(mark in name for mark in ".:["):
                self._quirks.append(Quirk.PATH_AS_NAME)
            if path.schema == self._catalog.core.id:
                self._quirks.append(Quirk.CORE_OBJECT)
            yield from self._at(op, path, each, where)

    def _at(self, op: Op, path: Path, value: object, where: str) -> Iterator[Operation]:
        if path.schema and op != "remove":
            yield from self._without_path(op, value, where, path.schema)
        elif path.schema == self._catalog.core.id:
            raise NoTarget(f"{where} would remove the whole resource; name the attribute to remove, or use DELETE.")
        elif path.schema:
            for name in self._catalog.leaves_of(path.schema):
                yield SetLeaves({name: None})
        elif path.target is None:
            self._quirks.append(resource.unknown(path.text, self._catalog))
        elif path.target.attribute.mutability == "readOnly":
            raise NotMutable(f"{where}: {path.target.attribute.name} is read-only.")
        elif path.sub and path.sub.mutability == "readOnly":
            raise NotMutable(f"{where}: {path.target.attribute.name}.{path.sub.name} is read-only.")
        elif path.target.attribute == PASSWORD:
            typed(PASSWORD, None if op == "remove" else value, PASSWORD.name, self._quirks)  # never kept
        elif path.target.attribute.multi_valued:
            yield self._elements(op, path, path.target, value)
        else:
            yield from self._single(op, path, path.target, value)

    def _single(self, op: Op, path: Path, target: Target, value: object) -> Iterator[SetLeaves]:
        attribute = path.sub or target.attribute
        key = f"{target.key}.{path.sub.name}" if path.sub else target.key
        _allow_removal(attribute, op)
        if path.filter:
            self._quirks.append(told.at(key, Quirk.SINGLE_VALUE_PATH))
        if op == "remove":
            value = None
        elif attribute.type == "complex" and isinstance(value, dict) and not _clears(attribute, value):
            # Sub-attributes that are not named stay as they are (RFC 7644 §3.5.2.3).
            yield SetLeaves(dict(self._named(attribute, key, value)), target.prefix, path.filter)
            return
        leaves = resource.spread(key, attribute, typed(attribute, value, key, self._quirks))
        yield SetLeaves(leaves, target.prefix, path.filter)

    def _named(self, attribute: Attribute, key: str, value: dict[str, object]) -> Iterator[tuple[str, Any]]:
        for name, each in value.items():
            if sub := attribute.sub(name):
                yield f"{key}.{sub.name}", typed(sub, each, f"{key}.{sub.name}", self._quirks)
            else:
                self._quirks.append(unknown(told.at(key, Quirk.UNKNOWN_SUB), name))

    def _elements(self, op: Op, path: Path, target: Target, value: object) -> ChangeElements:
        attribute, where = target.attribute, target.key
        if path.sub:
            _allow_removal(path.sub, op)
            taken = None if op == "remove" else typed(path.sub, value, f"{where}.{path.sub.name}", self._quirks)
        elif path.filter and op != "remove":
            alone = value is not None and not (isinstance(value, list | str) and attribute.type == "complex")
            one: Any = [value] if alone else value
            taken = (typed(attribute, one, where, self._quirks) or [None])[0]
            if isinstance(value, list) and len(value) > 1:
                raise InvalidValue(f"{path.text} takes one value, not {len(value)}.")
            if isinstance(value, list):
                self._quirks.append(told.at(where, Quirk.LIST_OF_ONE))
        else:
            # One value may be added without a list around it (RFC 7644 §3.5.2.1).
            alone = isinstance(value, dict) or (attribute.type != "complex" and not isinstance(value, list))
            one = [value] if op == "add" and alone and value not in (None, "") else value
            taken = typed(attribute, one, where, self._quirks)
            if op == "remove" and value is not None:
                self._quirks.append(told.at(where, Quirk.REMOVED_BY_VALUE))
            if op == "remove" and taken is None and value not in (None, ""):
                taken = []  # what it names is nothing of ours; that is not to remove everything
        if taken is None and path.sub and path.sub.required and op != "remove":
            raise InvalidValue(f"{where}.{path.sub.name} is required.")
        if taken is None and op != "remove":
            op = "remove" if path.sub or path.filter or op == "replace" else op
        return ChangeElements(op, target.key, attribute, path.filter, path.sub, taken)


def _allow_removal(attribute: Attribute, op: Op) -> None:
    if attribute.required and op == "remove":
        raise NotMutable(f"{attribute.name} is required and cannot be removed (RFC 7644 §3.5.2.2).")


def _member(members: dict[str, object], name: str) -> object:
    return next((value for key, value in members.items() if key.lower() == name.lower()), None)


def _clears(attribute: Attribute, value: dict[str, object]) -> bool:
    """`{"value": ""}`, with which a directory takes the manager away."""
    return bool(attribute.sub("value")) and any(
        name.lower() == "value" and each in ("", None) for name, each in value.items()
    )


def apply(operations: tuple[Operation, ...], leaves: dict[str, Any], *, strict: bool = False) -> Values:
    """The leaves as they are after all operations, those that were touched only, in the order of the operations.

    Raises NoTarget if a filter chooses nothing and does not say what to create, or if it is `strict` chooses nothing at
    all; InvalidValue for two primaries; NotMutable where what is set once or required would change or go.
    Filters of single values look at all leaves, as they are by then.
    """
    touched: dict[str, Any] = {}
    prefixes: set[str] = set()
    for operation in operations:
        if isinstance(operation, SetLeaves):
            if _applies(operation, leaves, touched):
                touched.update(operation.leaves)
            prefixes.update({operation.prefix} if operation.prefix else ())
        else:
            before = touched.get(operation.key, leaves.get(operation.key)) or []
            if strict and misses(operation, before):
                raise NoTarget(f"No value of {operation.key} matches the path (RFC 7644 §3.5.2).")
            touched[operation.key] = changed(operation, before) or None
    return Values(touched, tuple(sorted(prefixes)))


def made(operations: tuple[Operation, ...], leaves: dict[str, Any]) -> Iterator[str]:
    """Quirks of elements that the operations make, of those leaves, because nothing was there to be changed.

    The operations are ones that `apply` applies to the leaves without a refusal.
    """
    by_path = [each for each in operations if isinstance(each, ChangeElements) and each.op != "remove"]
    if not any(each.filter or each.sub for each in by_path):
        return
    elements: dict[str, list[Element]] = {}
    for each in operations:
        if isinstance(each, ChangeElements):
            before = elements.get(each.key, leaves.get(each.key)) or []
            if each in by_path and misses(each, before):
                yield told.at(each.key, Quirk.MADE)
            elements[each.key] = changed(each, before)


def _applies(operation: SetLeaves, leaves: dict[str, Any], touched: dict[str, Any]) -> bool:
    if operation.filter is None or holds(operation.filter, {**leaves, **touched}):
        return True
    if any(value is not None for value in operation.leaves.values()):
        raise NoTarget(f"The value of {min(operation.leaves)} does not match the filter of the path.")
    return False  # it is not there any more
