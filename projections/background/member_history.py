"""Who was in which group and when: a row for each time that somebody was a member."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from engine.events import GroupChanged, GroupDeleted, GroupProvisioned, MemberJoined, MembersAdded, MembersRemoved
from projections.batch import Batch, Logged, is_of_group
from projections.follower import Follower
from projections.table import Table


class Membership(Struct):
    """A row. It is ended in place if it ends in the batch in which it began."""

    group_id: UUID
    member_id: UUID
    from_seq: int
    valid_from: datetime
    type: str
    to_seq: int | None = None
    valid_to: datetime | None = None


class Ending(Struct, frozen=True):
    """The end of a membership of an earlier batch; of all that a group has left, if no member is named."""

    group_id: UUID
    member_id: UUID | None
    seq: int
    at: datetime


class MemberHistory(Follower):
    """Each event of a group begins some memberships and ends others."""

    name = "member_history"
    version = 1
    tables = (
        Table("member_history", ("tenant_id", "group_id", "member_id", "from_seq"), stream="group_id"),
        Table("group_names", ("tenant_id", "group_id", "from_seq"), stream="group_id"),
    )
    by_stream = True

    async def apply(self, batch: Batch) -> None:
        events = [each for stream in batch.streams() if is_of_group(stream[0].event) for each in stream]
        changes = _Changes(await _members_already(batch, events))
        for event in events:
            changes.add(event)
        await _end(batch, changes.endings)
        await batch.connection.copy_records_to_table(
            "member_history", records=[(batch.tenant_id, *_values(each)) for each in changes.begun], columns=_COLUMNS
        )
        names = [(batch.tenant_id, *each) for each in changes.names]
        await batch.connection.copy_records_to_table("group_names", records=names, columns=_NAME_COLUMNS)


FOLLOWER = MemberHistory()


class _Changes:
    """What the events of some groups bring about."""

    def __init__(self, already: set[tuple[UUID, UUID]]) -> None:
        self._already = already
        self.begun: list[Membership] = []
        self.endings: list[Ending] = []
        self.names: list[tuple[UUID, int, str]] = []
        self._open: dict[UUID, dict[UUID, Membership]] = {}

    def add(self, logged: Logged) -> None:
        match logged.event:
            case GroupProvisioned(attributes):
                self.names.append((logged.stream_id, logged.seq, attributes["displayName"]))
            case GroupChanged(changes) if "displayName" in changes:
                self.names.append((logged.stream_id, logged.seq, changes["displayName"].to))
            case MembersAdded(users, groups):
                self._begin(logged, users, "User")
                self._begin(logged, groups, "Group")
            case MemberJoined(_, member_id, kind):
                self._begin(logged, [member_id], kind)
            case MembersRemoved(users, groups):
                for member_id in (*users, *groups):
                    self._end(logged, member_id)
            case GroupDeleted():
                self._already = {each for each in self._already if each[0] != logged.stream_id}
                for member_id in list(self._open.get(logged.stream_id, ())):
                    self._end(logged, member_id)
                self.endings.append(Ending(logged.stream_id, None, logged.seq, logged.recorded_at))
            case _:  # who is awaited is no member
                pass

    def _begin(self, logged: Logged, members: Sequence[UUID], type_: str) -> None:
        open_ = self._open.setdefault(logged.stream_id, {})
        for member_id in members:
            if member_id not in open_ and (logged.stream_id, member_id) not in self._already:
                open_[member_id] = Membership(logged.stream_id, member_id, logged.seq, logged.recorded_at, type_)
                self.begun.append(open_[member_id])

    def _end(self, logged: Logged, member_id: UUID) -> None:
        membership = self._open.get(logged.stream_id, {}).pop(member_id, None)
        if membership:
            membership.to_seq, membership.valid_to = logged.seq, logged.recorded_at
        else:
            self._already.discard((logged.stream_id, member_id))
            self.endings.append(Ending(logged.stream_id, member_id, logged.seq, logged.recorded_at))


async def _members_already(batch: Batch, events: Sequence[Logged]) -> set[tuple[UUID, UUID]]:
    """Of those who join, the ones who are members by an earlier batch: who is awaited by another name is one twice."""
    joining = [(each.stream_id, each.event.id) for each in events if isinstance(each.event, MemberJoined)]
    if not joining:
        return set()
    rows = await batch.connection.fetch(_MEMBERS_ALREADY, batch.tenant_id, *map(list, zip(*joining, strict=True)))
    return {(row["group_id"], row["member_id"]) for row in rows}


async def _end(batch: Batch, endings: Sequence[Ending]) -> None:
    for query, wanted in (
        (_END, [each for each in endings if each.member_id]),
        (_END_ALL, [each for each in endings if not each.member_id]),
    ):
        if wanted:
            columns = zip(*((each.group_id, each.member_id, each.seq, each.at) for each in wanted), strict=True)
            await batch.connection.execute(query, batch.tenant_id, *map(list, columns))


def _values(each: Membership) -> tuple[object, ...]:
    return (each.group_id, each.member_id, each.from_seq, each.to_seq, each.valid_from, each.valid_to, each.type)


_COLUMNS = ("tenant_id", "group_id", "member_id", "from_seq", "to_seq", "valid_from", "valid_to", "type")
_NAME_COLUMNS = ("tenant_id", "group_id", "from_seq", "name")

_MEMBERS_ALREADY = """
    SELECT group_id, member_id
    FROM unnest($2::uuid[], $3::uuid[]) AS joining(group_id, member_id)
    JOIN member_history USING (group_id, member_id)
    WHERE tenant_id = $1 AND to_seq IS NULL
"""

_END = """
    UPDATE member_history
    SET to_seq = ending.seq, valid_to = ending.at
    FROM unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[]) AS ending(group_id, member_id, seq, at)
    WHERE tenant_id = $1
        AND member_history.group_id = ending.group_id
        AND member_history.member_id = ending.member_id
        AND to_seq IS NULL
"""

_END_ALL = """
    UPDATE member_history
    SET to_seq = ending.seq, valid_to = ending.at
    FROM unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::timestamptz[]) AS ending(group_id, member_id, seq, at)
    WHERE tenant_id = $1 AND member_history.group_id = ending.group_id AND to_seq IS NULL
"""
