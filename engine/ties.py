"""What ties groups to those who come and go: names by which somebody may be awaited, and an id that is gone."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from engine import membership
from engine.events import (
    AnyEvent,
    AttributesChanged,
    GroupChanged,
    GroupDeleted,
    GroupEvent,
    GroupProvisioned,
    UserDeleted,
    UserProvisioned,
)
from engine.group import Group
from engine.membership import Member
from engine.refusals import Conflict
from engine.streams import Recorded
from engine.tenant import Tenant
from engine.user import User

_IDS = ("externalId", "microsoftId")


class Tie(Struct, frozen=True):
    """Whom it is about; the names, exact or in folded case, by which groups may await that member; or its id, if it is
    gone."""

    member: Member
    exact: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    gone: UUID | None = None

    def as_row(self) -> dict[str, Any]:
        """What the append looks at, under the lock: nobody may await these names, or have that member, by then."""
        return {"exact": self.exact, "folded": self.folded, "gone": self.gone}


class Awaited(Struct, frozen=True):
    """A group, and the id by which it knows whom it awaits."""

    group: Group
    member_id: UUID


def tie_of(recorded: Iterable[Recorded[AnyEvent]], state: User | Group | Tenant) -> Tie | None:
    """None if the events neither let somebody arrive under a new name, nor go."""
    if isinstance(state, Tenant):
        return None
    member = Member(state.id, "User" if isinstance(state, User) else "Group")
    events = [each.event for each in recorded]
    if any(isinstance(each, UserDeleted | GroupDeleted) for each in events):
        return Tie(member, gone=state.id)
    if not any(map(_gives_name, events)):
        return None
    external_id, microsoft_id = (state.attributes.get(name) for name in _IDS)
    folded = [str(state.id), *([microsoft_id.lower()] if isinstance(state, User) and microsoft_id else [])]
    return Tie(member, (external_id,) if external_id else (), tuple(folded))


def _gives_name(event: AnyEvent) -> bool:
    match event:
        case UserProvisioned() | GroupProvisioned():
            return True
        case AttributesChanged(changes) | GroupChanged(changes):
            return not changes.keys().isdisjoint(_IDS)
        case _:
            return False


def joins(awaited: Sequence[Awaited], member: Member) -> list[tuple[Group, list[GroupEvent]]]:
    """The groups that awaited the member, each with what happens to it. Raises Conflict if one awaited itself."""
    return all_joins([(each, member) for each in awaited])


def all_joins(arrived: Sequence[tuple[Awaited, Member]]) -> list[tuple[Group, list[GroupEvent]]]:
    """The same for several who arrived."""
    found: dict[UUID, tuple[Group, list[GroupEvent]]] = {}
    for each, member in arrived:
        if each.group.id == member.id:
            raise Conflict("A group cannot be a member of itself, and this one awaits a member of this externalId.")
        _, events = found.setdefault(each.group.id, (each.group, []))
        events += membership.joined(each.member_id, member)
    return list(found.values())
