"""What may happen to one group: pure functions from a command, a state and facts about members to events.

The state holds no members. A decision gets those facts that it needs: about the members that the command names, so that
to add one member costs the same however many there are; about all of them, if it replaces them all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, assert_never
from uuid import UUID

import msgspec
from msgspec import Struct

from engine import extensions, patch
from engine.catalog import GROUPS, Catalog
from engine.events import (
    Change,
    Erased,
    GroupChanged,
    GroupDeleted,
    GroupEvent,
    GroupProvisioned,
    MemberAwaited,
    MemberJoined,
    MembersAdded,
    MembersRemoved,
)
from engine.filters import Compare, Filter, Or, holds
from engine.patch import ChangeElements, SetLeaves
from engine.refusals import Conflict, InvalidValue, NotFound, NotMutable, PreconditionFailed
from engine.resource import Values
from engine.streams import Recorded

MOST_IN_EVENT = 10_000  # members

Kind = Literal["User", "Group"]


class Group(Struct, frozen=True, kw_only=True):
    """A group as its events make it, without its members. `attributes` are values by leaf, as they were sent."""

    id: UUID
    version: int
    attributes: dict[str, Any]
    is_deleted: bool = False
    created_at: datetime | None = None
    modified_at: datetime | None = None
    deleted_at: datetime | None = None


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


class ProvisionGroup(Struct, frozen=True):
    """The directory creates a group."""

    values: Values


class ReplaceGroup(Struct, frozen=True):
    """The directory puts the whole resource, members included (RFC 7644 §3.5.1)."""

    values: Values


class PatchGroup(Struct, frozen=True):
    """Parts of the group change: attributes, or who is a member."""

    operations: tuple[patch.Operation, ...]


class DeleteGroup(Struct, frozen=True):
    """The directory deletes the group."""


GroupCommand = ProvisionGroup | ReplaceGroup | PatchGroup | DeleteGroup


class NewIds(Struct, frozen=True):
    """Ids for members that are yet to arrive, by their value: minted before, for to decide takes no random numbers."""

    by_value: Mapping[str, UUID] = {}


def names(command: GroupCommand) -> list[str]:
    """The values of members that the command names. Raises InvalidValue or NotMutable if it names them wrongly."""
    match command:
        case ProvisionGroup(values) | ReplaceGroup(values):
            found = list(_values(values.leaves.get("members")))
        case PatchGroup(operations):
            found = [value for each in _membership(operations) for value in _named(each)]
        case DeleteGroup():
            found = []
        case _:
            assert_never(command)
    return list(dict.fromkeys(found))


def concerns_all(command: GroupCommand) -> bool:
    """Whether all members must be known to decide it."""
    match command:
        case ProvisionGroup() | DeleteGroup():
            return False
        case ReplaceGroup():
            return True
        case PatchGroup(operations):
            return any(_concerns_all(each) for each in _membership(operations))
        case _:
            assert_never(command)


def _concerns_all(operation: ChangeElements) -> bool:
    if operation.op == "add":
        return False
    if operation.filter is not None:
        return _values_in(operation.filter) is None
    return operation.op == "replace" or operation.value is None


def _membership(operations: Iterable[patch.Operation]) -> Iterator[ChangeElements]:
    for each in operations:
        if isinstance(each, ChangeElements) and each.key == "members":
            if each.sub is not None or (each.filter is not None and each.op != "remove"):
                raise NotMutable("A member is not changed: add it, or remove it (RFC 7643 §4.2).")
            yield each


def _named(operation: ChangeElements) -> Iterator[str]:
    if operation.filter is not None:
        yield from _values_in(operation.filter) or ()
    elif operation.value is not None:
        yield from _values(operation.value)


def _values(elements: Iterable[Mapping[str, Any]] | None) -> Iterator[str]:
    for each in elements or ():
        if "value" not in each:
            raise InvalidValue("Each of the members needs its value, the id of a user or of a group.")
        yield each["value"]


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


def decide(  # noqa: PLR0913, PLR0917  all that it needs to know
    command: GroupCommand,
    group: Group | None,
    facts: Facts,
    group_id: UUID,
    new_ids: NewIds,
    versions: frozenset[int] | None = None,
    catalog: Catalog = GROUPS,
) -> list[GroupEvent]:
    """The events that the command brings about; none if it changes nothing.

    `versions` are those that If-Match names. Raises NotFound, Conflict, PreconditionFailed, InvalidValue, NotMutable or
    NoTarget if it is refused.
    """
    if isinstance(command, ProvisionGroup):
        after = _Membership(facts, group_id, new_ids)
        after.add(_values(command.values.leaves.get("members")))
        return [_provisioned(command.values, catalog), *after.events()]
    if group is None or group.is_deleted:
        raise NotFound("There is no such group here; ids are UUIDs that this service gave.")
    if versions is not None and group.version not in versions:
        raise PreconditionFailed
    after = _Membership(facts, group_id, new_ids)
    match command:
        case ReplaceGroup(values):
            after.replace(_values(values.leaves.get("members")))
            left_out = dict.fromkeys(extensions.left_out(catalog, group.attributes))
            return [*_changed(group, {**left_out, **values.leaves}, catalog), *after.events()]
        case PatchGroup(operations):
            for operation in _membership(operations):
                after.apply(operation)
            others = tuple(each for each in operations if isinstance(each, SetLeaves) or each.key != "members")
            return [*_changed(group, patch.apply(others, group.attributes).leaves, catalog), *after.events()]
        case DeleteGroup():
            return [GroupDeleted()]
        case _:
            assert_never(command)


def _provisioned(values: Values, catalog: Catalog) -> GroupProvisioned:
    attributes = {key: value for key, value in values.leaves.items() if value is not None and key != "members"}
    if not str(attributes.get("displayName", "")).strip():
        raise InvalidValue("displayName is required.")
    extensions.check(catalog, {}, attributes)
    return GroupProvisioned(attributes)


def _changed(group: Group, given: Mapping[str, Any], catalog: Catalog) -> list[GroupEvent]:
    if "displayName" in given and not str(given["displayName"] or "").strip():
        raise InvalidValue("displayName is required and cannot be taken away.")
    changes = {
        key: Change(group.attributes.get(key), value)
        for key, value in given.items()
        if key != "members" and value != group.attributes.get(key)
    }
    extensions.check(catalog, group.attributes, {key: each.to for key, each in changes.items()})
    return [GroupChanged(changes)] if changes else []


class _Membership:
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
                self.add(_values(operation.value))
            case "replace":
                self.replace(_values(operation.value))
            case "remove" if operation.filter is not None:
                self._remove_where(operation.filter)
            case "remove" if operation.value is not None:  # the classic dialect of Entra
                for value in _values(operation.value):
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


def evolve(group: Group | None, recorded: Recorded[GroupEvent]) -> Group:
    """The group after the event."""
    event = recorded.event
    if group is None:
        if not isinstance(event, GroupProvisioned):
            raise LookupError(f"group {recorded.stream_id} begins with {type(event).__name__}")
        at = recorded.recorded_at
        return Group(
            id=recorded.stream_id,
            version=recorded.version,
            attributes=event.attributes,
            created_at=at,
            modified_at=at,
        )
    after = msgspec.structs.replace(group, version=recorded.version, modified_at=recorded.recorded_at)
    return _evolved(after, event)


def _evolved(group: Group, event: GroupEvent | Erased) -> Group:
    match event:
        case GroupChanged(changes):
            left_out = {key: value for key, value in group.attributes.items() if key not in changes}
            given = {key: change.to for key, change in changes.items() if change.to is not None}
            return msgspec.structs.replace(group, attributes={**left_out, **given})
        case GroupDeleted():
            return msgspec.structs.replace(group, is_deleted=True, deleted_at=group.modified_at)
        case MembersAdded() | MembersRemoved() | MemberAwaited() | MemberJoined() | Erased():
            return group
        case GroupProvisioned():
            raise LookupError(f"group {group.id} was provisioned twice")
        case _:
            assert_never(event)
