"""Who is in which group: rows of the `members` table."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from msgspec import Struct

from engine.decision import Outcome, State
from engine.events import AnyEvent, GroupDeleted, MemberAwaited, MemberJoined, MembersAdded, MembersRemoved
from engine.group import Group
from engine.membership import Kind
from projections.table import Table


class Row(Struct, frozen=True, kw_only=True):
    """A row as `put_members` takes it. One that is gone and names no member stands for all of the group."""

    group_id: UUID
    member_id: UUID | None
    type: Kind | None = None
    value: str | None = None
    is_gone: bool = False


class MembersProjection:
    """One row for each member of each group."""

    name = "members"
    version = 1
    tables = (Table("members", ("tenant_id", "group_id", "member_id"), stream="group_id"),)

    def rows(self, outcome: Outcome[State]) -> Sequence[Row]:
        """One row for each member that the events are about, by the last of them."""
        if not isinstance(outcome.state, Group):
            return []
        found: dict[UUID | None, Row] = {}
        for each in outcome.recorded:
            for row in _rows(outcome.state.id, each.event):
                if row.member_id is None:
                    found.clear()
                found[row.member_id] = row
        return list(found.values())


def _rows(group_id: UUID, event: AnyEvent) -> Iterator[Row]:
    match event:
        case MembersAdded(users, groups):
            yield from (Row(group_id=group_id, member_id=each, type="User") for each in users)
            yield from (Row(group_id=group_id, member_id=each, type="Group") for each in groups)
        case MembersRemoved(users, groups, awaited):
            yield from (Row(group_id=group_id, member_id=each, is_gone=True) for each in (*users, *groups, *awaited))
        case MemberAwaited(member_id, value):
            yield Row(group_id=group_id, member_id=member_id, value=value)
        case MemberJoined(awaited, member_id, kind):
            yield Row(group_id=group_id, member_id=awaited, is_gone=True)
            yield Row(group_id=group_id, member_id=member_id, type=kind)
        case GroupDeleted():
            yield Row(group_id=group_id, member_id=None, is_gone=True)
        case _:  # no other event is about members
            pass
