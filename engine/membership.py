"""The members of one group, in a decision: what operations name them, and what becomes of them.

A decision gets those facts that it needs: about the members that the command names, so that to add one member costs the
same however many there are; about all of them, if it replaces them all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, assert_never
from uuid import UUID

from msgspec import Struct

from engine import patch
from engine.elements import ChangeElements
from engine.events import GroupEvent, MemberAwaited, MemberJoined, MembersAdded, MembersRemoved
from engine.filters import Compare, Filter, Or, holds
from engine.refusals import Conflict, NotMutable

MOST_IN_EVENT = 1_000  # members

Kind = Literal["User", "Group"]


class Member(Struct, frozen=True):
    """A user or a group; or, with a `value` and no kind, what has not arrived yet."""

    id: UUID
    kind: Kind | None
    value: str | None = None

    @property
    def shown_value(self) -> str:
        return self.value if self.value is not None else str(self.id)

    def as_element(self) -> dict[str, Any]:
        """What a filter is asked of."""
        found = {"value": self.shown_value, "type": self.kind}
        return {name: each for name, each in found.items() if each is not None}


class Facts(Struct, frozen=True):
    """What is known when a command is decided.

    `named` says whom each value means that the command names, if anybody; `members` are the group's own, by their id:
    those that are named, or all of them if the command concerns all.
    """

    named: Mapping[str, Member] = {}
    members: Mapping[UUID, Member] = {}


class NewIds(Struct, frozen=True):
    """Ids for members that are yet to arrive, by their value: minted before, for to decide takes no random numbers."""

    by_value: Mapping[str, UUID] = {}


def operation_concerns_all(operation: ChangeElements) -> bool:
    if operation.op == "add":
        return False
    if operation.filter is not None:
        return _values_in(operation.filter) is None
    return operation.op == "replace" or operation.value is None


def on_members(operations: Iterable[patch.Operation]) -> Iterator[ChangeElements]:
    for each in operations:
        if isinstance(each, ChangeElements) and each.key == "members":
            if each.sub is not None or (each.filter is not None and each.op != "remove"):
                raise NotMutable("A member is not changed: add it, or remove it (RFC 7643 §4.2).")
            yield each


def named_in(operation: ChangeElements) -> Iterator[str]:
    if operation.filter is not None:
        yield from _values_in(operation.filter) or ()
    elif operation.value is not None:
        yield from values_of(operation.value)


def values_of(elements: Iterable[Mapping[str, Any]] | None) -> Iterator[str]:
    """Each element has a value, or it would have been refused when it was read."""
    return (each["value"] for each in elements or ())


def _values_in(filter_: Filter) -> list[str] | None:
    """The values that a filter names, if it does nothing else: `value eq "…"`, or several of those with `or`."""
    match filter_:
        case Compare(target, "eq", str(value)) if target.leaf == "value":
            return [value]
        case Or(left, right):
            both = _values_in(left), _values_in(right)
            return None if both[0] is None or both[1] is None else [*both[0], *both[1]]
        case _:
            return None


class Membership:
    """The members that are known of, before and after."""

    def __init__(self, facts: Facts, group_id: UUID, new_ids: NewIds) -> None:
        self._facts = facts
        self._group_id = group_id
        self._new_ids = new_ids
        self._after = dict(facts.members)
        self._awaited = {each.value: each.id for each in facts.members.values() if each.value is not None}

    def apply(self, operation: ChangeElements) -> None:
        match operation.op:
            case "add":
                self.add(values_of(operation.value))
            case "replace":
                self.replace(values_of(operation.value))
            case "remove" if operation.filter is not None:
                self._remove_where(operation.filter)
            case "remove" if operation.value is not None:  # the classic dialect of Entra
                for value in values_of(operation.value):
                    self._remove(value)
            case "remove":
                self._after.clear()
            case _:
                assert_never(operation.op)

    def add(self, values: Iterable[str]) -> None:
        for value in values:
            member = self._member(value)
            if member.id == self._group_id:
                raise Conflict("A group cannot be a member of itself.")
            self._after.setdefault(member.id, member)

    def replace(self, values: Iterable[str]) -> None:
        self._after.clear()
        self.add(values)

    def _remove(self, value: str) -> None:
        for gone in (self._awaited.get(value), self._facts.named[value].id if value in self._facts.named else None):
            if gone is not None:
                self._after.pop(gone, None)

    def _remove_where(self, filter_: Filter) -> None:
        if (values := _values_in(filter_)) is not None:
            for value in values:
                self._remove(value)
            return
        self._after = {key: each for key, each in self._after.items() if not holds(filter_, each.as_element())}

    def _member(self, value: str) -> Member:
        if found := self._facts.named.get(value):
            return found
        if value not in self._awaited:
            self._awaited[value] = self._new_ids.by_value[value]
        return Member(self._awaited[value], None, value)

    def events(self) -> list[GroupEvent]:
        before = self._facts.members
        gone = [each for key, each in before.items() if key not in self._after]
        new = [each for key, each in self._after.items() if key not in before]
        return [
            *(MembersRemoved(*_ids(some, "User", "Group", None)) for some in _parts(gone)),
            *(MembersAdded(*_ids(some, "User", "Group")) for some in _parts([each for each in new if each.kind])),
            *(MemberAwaited(each.id, each.value) for each in new if each.value is not None),
        ]


def _parts(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    for start in range(0, len(members), MOST_IN_EVENT):
        yield members[start : start + MOST_IN_EVENT]


def _ids(members: Iterable[Member], *kinds: Kind | None) -> Iterator[tuple[UUID, ...]]:
    for kind in kinds:
        yield tuple(each.id for each in members if each.kind == kind)


def joined(awaited: UUID, member: Member) -> list[GroupEvent]:
    """What it means to a group that awaited somebody who is there now."""
    return [MemberJoined(awaited, member.id, member.kind or "User")]


def left(member: Member) -> list[GroupEvent]:
    """What it means to a group that a member of it was deleted."""
    return [MembersRemoved(*_ids([member], "User", "Group"))]
