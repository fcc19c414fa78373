"""What may happen to one group: pure functions from a command, a state and facts about members to events.

The state holds no members; see `membership.py`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never
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
from engine.membership import Facts, Membership, NewIds, named_in, on_members, operation_concerns_all, values_of
from engine.patch import SetLeaves
from engine.refusals import InvalidValue, NotFound, PreconditionFailed
from engine.resource import Values
from engine.streams import Recorded


class Group(Struct, frozen=True, kw_only=True):
    """A group as its events make it, without its members. `attributes` are values by leaf, as they were sent."""

    id: UUID
    version: int
    attributes: dict[str, Any]
    is_deleted: bool = False
    created_at: datetime | None = None
    modified_at: datetime | None = None
    deleted_at: datetime | None = None


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


def names(command: GroupCommand) -> list[str]:
    """The values of members that the command names. Raises NotMutable if it would change one."""
    match command:
        case ProvisionGroup(values) | ReplaceGroup(values):
            found = list(values_of(values.leaves.get("members")))
        case PatchGroup(operations):
            found = [value for each in on_members(operations) for value in named_in(each)]
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
            return any(operation_concerns_all(each) for each in on_members(operations))
        case _:
            assert_never(command)


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
        after = Membership(facts, group_id, new_ids)
        after.add(values_of(command.values.leaves.get("members")))
        return [_provisioned(command.values, catalog), *after.events()]
    if group is None or group.is_deleted:
        raise NotFound("There is no such group here; ids are UUIDs that this service gave.")
    if versions is not None and group.version not in versions:
        raise PreconditionFailed
    after = Membership(facts, group_id, new_ids)
    match command:
        case ReplaceGroup(values):
            after.replace(values_of(values.leaves.get("members")))
            left_out = dict.fromkeys(extensions.left_out(catalog, group.attributes))
            return [*_changed(group, {**left_out, **values.leaves}, catalog), *after.events()]
        case PatchGroup(operations):
            for operation in on_members(operations):
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
