"""Folds the log into the rows of the inline projections, for a rebuild; a request's own events are the engine's."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import msgspec

from engine import events, group, tenant, user
from engine.decision import InlineProjection, Outcome, State
from engine.events import GroupEvent, TenantEvent, UserEvent
from engine.group import Group
from engine.streams import Recorded
from engine.tenant import Tenant
from engine.user import User
from projections import groups, users
from projections.batch import Batch, Logged, is_erased, is_of_group, read_stream
from projections.members import Row as MemberRow
from projections.seats import Difference, held

MOST_ROWS = 1_000  # in one call of a projection's function


class Fold:
    """Applies events to the tables of inline projections as the append would have, with the times of the past."""

    def __init__(self, projections: Sequence[InlineProjection]) -> None:
        self._projections = projections

    async def apply(self, batch: Batch) -> None:
        streams = batch.streams()
        begun = {found[0].stream_id: found[0].version for found in streams if found[0].version > 1}
        states = await self._states(batch, begun) if begun else {}
        rows = Rows(self._projections)
        await self._forget(batch, [found for found in streams if _is_erased_person(batch, found)], states, rows)
        for found in streams:
            if _is_erased_person(batch, found):
                continue
            if outcome := _outcome(states.get(found[0].stream_id) if states else None, found, batch.tenant_id):
                rows.add(outcome)
        await self._write(batch, rows, is_fresh=not states)

    async def _forget(
        self, batch: Batch, streams: Sequence[Sequence[Logged]], states: Mapping[UUID, State], rows: "Rows"
    ) -> None:
        """People whose personal data were erased count for nothing; only that a role was somebody's remains."""
        for found in streams:
            user_id, event = found[0].stream_id, found[-1].event
            if isinstance(event, events.PersonalDataErased):
                rows.forget(states.get(user_id), {role for seats in event.seats.values() for role in seats})
                await batch.connection.execute(
                    "DELETE FROM users WHERE tenant_id = $1 AND id = $2", batch.tenant_id, user_id
                )

    async def _states(self, batch: Batch, begun: Mapping[UUID, int]) -> dict[UUID, State]:
        """The states of streams that began before the batch; given are the versions with which they go on in it."""
        states: dict[UUID, State] = {}
        for row in await batch.connection.fetch(_USERS, batch.tenant_id, list(begun)):
            states[row["id"]] = users.user_of(row)
        for row in await batch.connection.fetch(_GROUPS, batch.tenant_id, list(begun)):
            states[row["id"]] = groups.group_of(row)
        if before := begun.get(batch.tenant_id):
            past = await read_stream(batch.connection, batch.tenant_id, batch.tenant_id, before)
            if outcome := _outcome(None, past, batch.tenant_id):
                states[batch.tenant_id] = outcome.state
        return states

    async def _write(self, batch: Batch, rows: "Rows", *, is_fresh: bool) -> None:
        for name, found in rows.take_all():
            if name == "users" and is_fresh:
                await _copy_users(batch, found)
            else:
                await _put(batch, name, found)


def _is_erased_person(batch: Batch, found: Sequence[Logged]) -> bool:
    return found[0].stream_id != batch.tenant_id and is_erased(found) and not is_of_group(found[0].event)


def _outcome(state: State | None, found: Sequence[Logged], tenant_id: UUID) -> Outcome[State] | None:
    if is_of_group(found[0].event):
        return _outcome_of_group(cast("Group | None", state), found)
    if found[0].stream_id != tenant_id:
        people = cast("Sequence[Recorded[UserEvent]]", found)
        return Outcome(tuple(found), user.evolve_all(cast("User | None", state), people))
    effective = tuple(event for event in found if not isinstance(event.event, (*events.NOTES, events.Erased)))
    for event in effective:
        state = tenant.evolve(cast("Tenant | None", state), cast("Recorded[TenantEvent]", event))
    return Outcome(effective, state) if effective and state else None


def _outcome_of_group(state: Group | None, found: Sequence[Logged]) -> Outcome[State]:
    for event in found:
        state = group.evolve(state, cast("Recorded[GroupEvent]", event))
    return Outcome(tuple(found), cast(Group, state))


_GROUPS = f"SELECT {groups.COLUMNS} FROM groups WHERE tenant_id = $1 AND id = ANY ($2)"  # noqa: S608  constants
_USERS = f"SELECT {users.COLUMNS} FROM users WHERE tenant_id = $1 AND id = ANY ($2)"  # noqa: S608  constants


async def _put(batch: Batch, name: str, rows: Sequence[Any]) -> None:
    if name in {"users", "groups"}:
        # Two may have exchanged a unique value: their rows cannot be written one after the other.
        touched = [row.id for row in rows]
        delete = f"DELETE FROM {name} WHERE tenant_id = $1 AND id = ANY ($2)"  # noqa: S608  constants
        await batch.connection.execute(delete, batch.tenant_id, touched)
    for start in range(0, len(rows), MOST_ROWS):
        content = msgspec.json.encode(rows[start : start + MOST_ROWS]).decode()
        await batch.connection.execute(f"SELECT put_{name}($1, now(), $2)", batch.tenant_id, content)


async def _copy_users(batch: Batch, rows: Sequence[users.Row]) -> None:
    """What `put_users` does to people whom there were none of, many at a time."""
    json = msgspec.json.Encoder().encode
    records = []
    for row in rows:
        values = msgspec.structs.astuple(row)
        attributes, origins = json(row.attributes).decode(), json(row.origins).decode()
        records.append((batch.tenant_id, *values[:_JSON], attributes, origins, *values[_JSON + 2 :]))
    await batch.connection.copy_records_to_table("users", records=records, columns=("tenant_id", *_COLUMNS))


_COLUMNS = users.Row.__struct_fields__
_JSON = _COLUMNS.index("attributes")  # followed by origins


class Rows:
    """Rows of one tenant, waiting to be written together."""

    def __init__(self, projections: Sequence[InlineProjection]) -> None:
        self._projections = projections
        self._rows: dict[str, list[Any]] = defaultdict(list)
        self._members: dict[tuple[UUID, UUID | None], MemberRow] = {}
        self._seats: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, outcome: Outcome[State]) -> None:
        for projection in self._projections:
            for row in projection.rows(outcome):
                if isinstance(row, Difference):
                    self._count(row)
                elif isinstance(row, MemberRow):
                    self._members[row.group_id, row.member_id] = row  # the last word about this member
                else:
                    self._rows[projection.name].append(row)

    def forget(self, state: State | None, roles: Iterable[str]) -> None:
        """Take away what the person counted for, if anything."""
        if "seats" not in {each.name for each in self._projections}:
            return
        for role in roles:
            self._count(Difference(role))
        if isinstance(state, User):
            counted = held(state)
            self._count(
                Difference(counted.role, active=-counted.active, inactive=-counted.inactive, deleted=-counted.deleted)
            )

    def _count(self, row: Difference) -> None:
        """Differences add up: one row a role is enough, however many events there were."""
        counts = self._seats[row.role]
        for place, number in enumerate((row.active, row.inactive, row.deleted)):
            counts[place] += number

    def take_all(self) -> Iterator[tuple[str, Sequence[Any]]]:
        """Each projection's name with its rows; seats last, for others may wait for these rows until the commit."""
        yield from self._rows.items()
        if self._members:
            yield "members", list(self._members.values())
        if self._seats:
            yield "seats", [Difference(role, *counts) for role, counts in sorted(self._seats.items())]
