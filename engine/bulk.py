"""The bulk message of RFC 7644 §3.7: operations, their references to each other, and the order that these ask for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from engine.quirks import Quirk
from engine.refusals import InvalidSyntax, InvalidValue, TooLarge
from engine.values import Quirks, kind

MOST_OPERATIONS = 1_000
REQUEST = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"

_METHODS = ("POST", "PUT", "PATCH", "DELETE")
# At the beginning of a value, in a quoted value of a filter, or as the last part of an address (§3.7.2).
_REFERENCE = re.compile(r'(?:^|(?<=["/]))bulkId:([^"/]+)')
# What is unique in the tenant: who gives up such a value and who takes it must stay in their order.
_UNIQUE = re.compile(rb"userName|microsoftId|externalId", re.IGNORECASE)


class Operation(Struct, frozen=True, kw_only=True):
    """One operation, at its place in the list. `collection` and `id` are the parts of its path.

    `version` is the entity tag that it would change, `refers_to` the bulkIds in its path and its data. `keeps_names`
    says that no value that is unique in the tenant can change hands by it.
    """

    place: int
    method: str
    collection: str
    id: str | None
    bulk_id: str | None
    version: str | None
    data: Any
    refers_to: frozenset[str]
    keeps_names: bool

    @property
    def path(self) -> str:
        return f"/{self.collection}/{self.id}" if self.id else f"/{self.collection}"

    def goes_beside(self, other: "Operation") -> bool:
        """Whether both at the same time come to what one after the other would have come to."""
        alike = self.method == other.method and self.collection == other.collection
        return alike and self.keeps_names and other.keeps_names


class BulkRequest(Struct, frozen=True):
    """All operations in their order; after `fail_on_errors` errors no further one is carried out."""

    operations: tuple[Operation, ...]
    fail_on_errors: int | None


def read(body: object, quirks: Quirks) -> BulkRequest:
    """The message, or a refusal of the whole of it, before anything was carried out.

    Raises InvalidSyntax, or TooLarge if there are more operations than `MOST_OPERATIONS`.
    """
    if not isinstance(body, dict):
        raise InvalidSyntax(f"The body must be a JSON object, a BulkRequest; it is {kind(body)}.")
    members = {name.lower(): value for name, value in body.items()}
    if "schemas" not in members:
        quirks.append(Quirk.NO_SCHEMAS)
    operations, fail_on_errors = members.get("operations"), members.get("failonerrors")
    if not isinstance(operations, list):
        raise InvalidSyntax(f"Operations takes a list, not {kind(operations)}.")
    if len(operations) > MOST_OPERATIONS:
        raise TooLarge(f"There are {len(operations)} operations; {MOST_OPERATIONS} are allowed in one request.")
    if fail_on_errors is not None and (type(fail_on_errors) is not int or fail_on_errors < 1):
        raise InvalidSyntax("failOnErrors takes a whole number from 1 on.")
    found = tuple(_operation(place, given) for place, given in enumerate(operations))
    _check_names(found)
    return BulkRequest(found, fail_on_errors)


def _operation(place: int, given: object) -> Operation:
    where = f"Operations[{place}]"
    if not isinstance(given, dict):
        raise InvalidSyntax(f"{where} must be an object, not {kind(given)}.")
    members = {name.lower(): value for name, value in given.items()}
    method, path, data = _text(members, "method", where), _text(members, "path", where), members.get("data")
    if method is None or method.upper() not in _METHODS:
        raise InvalidSyntax(f"{where}.method must be one of {', '.join(_METHODS)}.")
    if path is None:
        raise InvalidSyntax(f"{where}.path is missing; it is like /Users, or /Users/ID.")
    if data is None and method.upper() != "DELETE":
        raise InvalidSyntax(f"{where}.data is missing; only DELETE has none.")
    collection, _, id_ = path.strip("/").partition("/")
    text, method = msgspec.json.encode(data), method.upper()
    return Operation(
        place=place,
        method=method,
        collection=collection,
        id=id_ or None,
        bulk_id=_text(members, "bulkId", where),
        version=_text(members, "version", where),
        data=data,
        refers_to=frozenset([*references(path), *(references(data) if b"bulkId:" in text else ())]),
        keeps_names=method in {"POST", "DELETE"} or not _UNIQUE.search(text),
    )


def _text(members: Mapping[str, object], name: str, where: str) -> str | None:
    value = members.get(name.lower())
    if value is not None and not isinstance(value, str):
        raise InvalidSyntax(f"{where}.{name} takes a string, not {kind(value)}.")
    return value or None


def _check_names(operations: Sequence[Operation]) -> None:
    seen: set[str] = set()
    for name in filter(None, (each.bulk_id for each in operations)):
        if name in seen:
            raise InvalidSyntax(f"The bulkId {name[:80]!r} stands at two operations; each has its own (RFC 7644 §3.7).")
        seen.add(name)


def references(value: object) -> Iterator[str]:
    """The bulkIds that a value, or anything within it, refers to."""
    match value:
        case str():
            yield from _REFERENCE.findall(value)
        case list():
            for each in value:
                yield from references(each)
        case dict():
            for each in value.values():
                yield from references(each)
        case _:
            pass


def resolved(value: Any, ids: Mapping[str, str]) -> Any:
    """The same value with ids in the place of the bulkIds."""
    match value:
        case str():
            return _REFERENCE.sub(lambda found: ids[found[1]], value)
        case list():
            return [resolved(each, ids) for each in value]
        case dict():
            return {name: resolved(each, ids) for name, each in value.items()}
        case _:
            return value


def check(operation: Operation, names: frozenset[str]) -> None:
    """Raises InvalidValue for an operation that no other one can help, whose names those are."""
    if operation.method == "POST" and operation.bulk_id is None:
        raise InvalidValue("A POST needs a bulkId, by which its answer is told from others (RFC 7644 §3.7).")
    if unknown := operation.refers_to - names:
        raise InvalidValue(f"There is no operation with the bulkId {min(unknown)[:80]!r} in this request.")


def next_wave(waiting: Sequence[Operation], known: frozenset[str], most: int) -> list[Operation]:
    """The next operations that can be carried out at the same time, in their order; none if all wait for others.

    An operation waits until those that it refers to are known, and for an earlier one on the same resource.
    """
    wave: list[Operation] = []
    taken: set[str] = set()
    passed: set[str] = set()
    for each in waiting:
        if not each.refers_to <= known or (each.id and each.path in passed):
            passed.add(each.path)
        elif not wave or (each.goes_beside(wave[0]) and each.path not in taken):
            wave.append(each)
            taken.update([each.path] if each.id else ())
        else:
            break
        if len(wave) == most:
            break
    return wave
