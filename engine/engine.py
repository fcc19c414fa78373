"""Carries out a command: load the one state, decide, append, and again if another writer came first."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct
from uuid_utils.compat import uuid7

from engine import group, roles, tenant, ties, user
from engine.catalog import groups_of
from engine.events import (
    AnyEvent,
    AuditAccessed,
    EvidenceExported,
    GroupEvent,
    RequestRefused,
    TenantEvent,
    UserEvent,
)
from engine.group import Facts, Group, GroupCommand, Member, NewIds, ProvisionGroup
from engine.group_commit import Appends
from engine.observer import NOBODY, Observer
from engine.refusals import Busy
from engine.settings import Settings
from engine.store import Cause, ErasedError, LostRaceError, NewEvent
from engine.streams import Recorded, Source
from engine.tenant import ChangeSettings, MapGroup, Tenant, TenantCommand
from engine.ties import Awaited, Tie
from engine.user import DeleteUser, ProvisionUser, Terms, User, UserCommand

ATTEMPTS = 5
AT_ONCE = 500  # people who get another role in one append, where a group is mapped
ATTEMPTS_WITH_GROUPS = 30  # many may add members to one group at the same time, in several processes

_USUAL = Settings()

State = User | Group | Tenant
S = TypeVar("S", User, Group, Tenant)
S_co = TypeVar("S_co", covariant=True)
E = TypeVar("E", UserEvent, GroupEvent, TenantEvent)


class Outcome(Struct, Generic[S_co], frozen=True):
    """Events of one stream, in order, and the state after them: all that an inline projection makes its rows of."""

    recorded: tuple[Recorded[AnyEvent], ...]
    state: S_co


class Decision(Struct, Generic[S_co], frozen=True):
    """What a command comes to: the state after it, what is appended for that, and what must still hold by then.

    The first outcome is that of the command's own stream; others are those of groups. There is none if nothing changes.
    """

    state: S_co
    outcomes: tuple[Outcome[Any], ...] = ()
    ties: tuple[Tie, ...] = ()

    @property
    def role_changes(self) -> list[UUID]:
        """Those whose role in force changes, or the role of their own."""
        return [
            outcome.state.id
            for outcome in self.outcomes
            if isinstance(outcome.state, User) and any(map(user.moves_role, (each.event for each in outcome.recorded)))
        ]

    @property
    def groups(self) -> frozenset[UUID]:
        return frozenset(each.state.id for each in self.outcomes if isinstance(each.state, Group))


class InlineProjection(Protocol):
    """A table that the append writes in its own transaction, by the function `put_<name>` beside the table."""

    @property
    def name(self) -> str: ...

    def rows(self, outcome: Outcome[State]) -> Sequence[Any]:
        """The rows that its function takes, of JSON's types or structs of them; the append fills in times of None."""


class UserStates(Protocol):
    """Reads the state from which a user's commands are decided."""

    async def get(self, tenant_id: UUID, user_id: UUID) -> User | None: ...


class TenantStates(Protocol):
    """Reads the state from which a tenant's commands are decided."""

    async def get(self, tenant_id: UUID) -> Tenant | None: ...


class GroupStates(Protocol):
    """Reads what commands about groups are decided from, and the groups that somebody's coming or going concerns."""

    async def get(self, tenant_id: UUID, group_id: UUID) -> Group | None: ...

    async def facts(self, tenant_id: UUID, group_id: UUID, values: Sequence[str], *, of_all: bool) -> Facts: ...

    async def awaiting(self, tenant_id: UUID, exact: Sequence[str], folded: Sequence[str]) -> Sequence[Awaited]: ...

    async def containing(self, tenant_id: UUID, member_id: UUID) -> Sequence[Group]: ...

    async def arrived(self, tenant_id: UUID, limit: int) -> Sequence[tuple[Awaited, Member]]: ...

    async def people_in(self, tenant_id: UUID, group_id: UUID) -> Sequence[UUID]: ...

    async def people_among(self, tenant_id: UUID, ids: Sequence[UUID]) -> Sequence[User]: ...

    async def after(
        self, tenant_id: UUID, people: Sequence[UUID], wanted: Sequence[UUID], changes: Sequence[Any]
    ) -> Mapping[UUID, Sequence[UUID]]: ...


Carried = Callable[[User | None, Sequence[UserEvent]], None]
"""Is told how a command was carried out: the state before it, and the events that were appended."""


CarriedOnGroup = Callable[[Sequence[GroupEvent]], None]


def _nobody_asks_of_group(events: Sequence[GroupEvent]) -> None:
    """Most callers only want the group."""


def _nobody_asks(before: User | None, events: Sequence[UserEvent]) -> None:
    """Most callers only want the user."""


class Decide(Protocol[S_co]):
    """Decides a command from what is there now; `is_again`: another writer came first."""

    async def __call__(self, *, is_again: bool) -> Decision[S_co]: ...


class Engine:
    """The one way to change anything."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts
        self,
        store: Appends,
        users: UserStates,
        groups: GroupStates,
        tenants: TenantStates,
        inline: Sequence[InlineProjection],
        observer: Observer = NOBODY,
    ) -> None:
        self._store = store
        self._users = users
        self._groups = groups
        self._tenants = tenants
        self._inline = inline
        self._observer = observer
        # One writer for each group at a time in this process; a lock lives as long as somebody holds it or waits.
        self._locks = WeakValueDictionary[UUID, asyncio.Lock]()

    async def carry_out(
        self, command: UserCommand, user_id: UUID, cause: Cause, terms: Terms, carried: Carried = _nobody_asks
    ) -> User:
        """The user after the command. A command that changes nothing appends nothing.

        One statement for a creation, three for a deletion, two for anything else; one more where groups are on, for a
        creation or a change of the ids in the directory. Raises the Refusals of `user.decide` and `EventStore.append`,
        and Busy if other writers came first each time.
        """
        # Who is deleted while groups are off may have been in one before.
        is_tied = terms.settings.groups == "on" or isinstance(command, DeleteUser)
        decided: list[tuple[User | None, list[UserEvent]]] = []

        async def decide(*, is_again: bool) -> Decision[User]:
            is_new = isinstance(command, ProvisionUser)
            settings = await self._fresh(cause.tenant_id, terms.settings, is_again=is_again)
            state = None if is_new else await self._users.get(cause.tenant_id, user_id)
            events = user.decide(command, state, msgspec.structs.replace(terms, settings=settings))
            if state and settings.role_groups and any(map(user.moves_role, events)):
                given = await self._given(cause.tenant_id, user_id, (), settings)
                events = user.decide(command, state, msgspec.structs.replace(terms, settings=settings, given=given))
            decided.append((state, events))
            decision = _decision(state, events, user.evolve, user_id, cause.source)
            decision = await self._tied(decision, cause) if is_tied else decision
            return await self._joined(decision, cause, settings) if settings.role_groups else decision

        found = await self._attempt(decide, cause, attempts=ATTEMPTS_WITH_GROUPS if is_tied else ATTEMPTS)
        carried(*decided[-1])  # earlier ones lost their race
        return found

    async def carry_out_on_group(  # noqa: PLR0913, PLR0917  all that it needs to know
        self,
        command: GroupCommand,
        group_id: UUID,
        cause: Cause,
        versions: frozenset[int] | None = None,
        carried: CarriedOnGroup = _nobody_asks_of_group,
        settings: Settings = _USUAL,
    ) -> Group:
        """The group after the command. `versions` are those that If-Match names.

        Three statements, or two for a creation, however many members the group has; one more if the id in the directory
        changes or the group goes; and where groups are mapped to roles, two for whom it concerns, and then their events
        and rows. Raises the Refusals of `group.decide` and `EventStore.append`, and Busy.
        """
        values, of_all = group.names(command), group.concerns_all(command)
        decided: list[GroupEvent] = []
        catalog = groups_of(settings)

        async def decide(*, is_again: bool) -> Decision[Group]:
            is_new = isinstance(command, ProvisionGroup)
            state = None if is_new else await self._groups.get(cause.tenant_id, group_id)
            facts = await self._groups.facts(cause.tenant_id, group_id, values, of_all=of_all)
            new_ids = NewIds({value: uuid7() for value in values if value not in facts.named})
            decided[:] = group.decide(command, state, facts, group_id, new_ids, versions, catalog)
            decision = _decision(state, decided, group.evolve, group_id, cause.source)
            decision = await self._tied(decision, cause)
            fresh = await self._fresh(cause.tenant_id, settings, is_again=is_again)
            return await self._regrouped(decision, cause, fresh) if fresh.role_groups else decision

        found = await self._attempt(decide, cause, frozenset({group_id}), ATTEMPTS_WITH_GROUPS)
        carried(decided)
        return found

    async def _tied(self, decision: Decision[S], cause: Cause) -> Decision[S]:
        """The same with what it means to groups that await whoever arrives, or have a member that goes."""
        tie = ties.tie_of(decision.outcomes[0].recorded, decision.state) if decision.outcomes else None
        if tie is None:
            return decision
        found = await self._tied_groups(tie, cause)
        others: list[Decision[Group]] = [
            _decision(state, events, group.evolve, state.id, cause.source) for state, events in found
        ]
        outcomes = (*decision.outcomes, *(outcome for each in others for outcome in each.outcomes))
        return Decision(decision.state, outcomes, (tie,))

    async def _tied_groups(self, tie: Tie, cause: Cause) -> Sequence[tuple[Group, list[GroupEvent]]]:
        """The groups that it concerns, each with what happens to it."""
        if tie.gone is not None:
            return [(each, group.left(tie.member)) for each in await self._groups.containing(cause.tenant_id, tie.gone)]
        return ties.joins(await self._groups.awaiting(cause.tenant_id, tie.exact, tie.folded), tie.member)

    async def _fresh(self, tenant_id: UUID, settings: Settings, *, is_again: bool) -> Settings:
        """What a worker knows of the settings may be some seconds old, and then loses a race about roles."""
        known = await self._tenants.get(tenant_id) if is_again else None
        return known.settings if known else settings

    async def _given(
        self, tenant_id: UUID, user_id: UUID, changes: Sequence[Any], settings: Settings
    ) -> roles.Given | None:
        """What a person's groups give once the changes have been made."""
        return (await self._givens(tenant_id, [user_id], changes, settings)).get(user_id)

    async def _givens(
        self, tenant_id: UUID, people: Sequence[UUID], changes: Sequence[Any], settings: Settings
    ) -> Mapping[UUID, roles.Given | None]:
        wanted = [each.group for each in settings.role_groups]
        found = await self._groups.after(tenant_id, people, wanted, changes) if wanted and people else {}
        return {user_id: roles.highest(groups, settings) for user_id, groups in found.items()}

    async def _joined(self, decision: Decision[User], cause: Cause, settings: Settings) -> Decision[User]:
        """The same with the role of somebody whom groups had awaited."""
        person, changes = decision.state, self._rows(decision).get("members")
        if not changes or person.is_deleted:
            return decision
        given = await self._given(cause.tenant_id, person.id, changes, settings)
        if given is None:
            return decision
        [first, *others] = decision.outcomes
        more = _decision(
            person, user.regrouped(person, given, given.group, settings), user.evolve, person.id, cause.source
        )
        recorded = (*first.recorded, *(each for outcome in more.outcomes for each in outcome.recorded))
        return Decision(more.state, (Outcome(recorded, more.state), *others), decision.ties)

    async def _regrouped(self, decision: Decision[S], cause: Cause, settings: Settings) -> Decision[S]:
        """The same with the roles of those for whom it changes what their groups give."""
        changes = self._rows(decision).get("members")
        if not changes:
            return decision
        among = [each.member_id or each.group_id for each in changes]
        people = await self._groups.people_among(cause.tenant_id, among)
        by: UUID = decision.outcomes[0].state.id
        standing: list[Outcome[User]] = await self._standing(people, changes, by, cause, settings)
        return Decision(decision.state, (*decision.outcomes, *standing), decision.ties)

    async def _standing(
        self, people: Sequence[User], changes: Sequence[Any], by: UUID, cause: Cause, settings: Settings
    ) -> list[Outcome[User]]:
        """What happens to these people, so that each has the role that its groups give."""
        given = await self._givens(cause.tenant_id, [each.id for each in people], changes, settings)
        found: list[Outcome[User]] = []
        for each in people:
            events = user.regrouped(each, given.get(each.id), by, settings)
            found += _decision(each, events, user.evolve, each.id, cause.source).outcomes
        return found

    async def map_group(self, command: MapGroup, cause: Cause) -> Tenant:
        """The tenant after the command. Those whom it concerns get their role: in the same append as many as go into
        one, and the others in further ones.

        If it is broken off between them, the same command again does the rest. Raises the Refusals of `tenant.decide`,
        and Busy.
        """
        people = await self._groups.people_in(cause.tenant_id, command.group_id)

        async def decide(*, is_again: bool) -> Decision[Tenant]:  # noqa: ARG001  always decided by what is there
            before = await self._tenants.get(cause.tenant_id)
            events = tenant.decide(command, before)
            decision = _decision(before, events, tenant.evolve, cause.tenant_id, cause.source)
            found = await self._groups.people_among(cause.tenant_id, people[:AT_ONCE])
            more = await self._standing(found, (), command.group_id, cause, decision.state.settings)
            return Decision(decision.state, (*decision.outcomes, *more))

        found = await self._attempt(decide, cause, attempts=ATTEMPTS_WITH_GROUPS)
        people = await self._groups.people_in(cause.tenant_id, command.group_id)  # those who have come since, too
        for start in range(0, len(people), AT_ONCE):
            await self._bring_up_to_date(people[start : start + AT_ONCE], command.group_id, cause)
        return found

    async def _bring_up_to_date(self, people: Sequence[UUID], by: UUID, cause: Cause) -> None:
        async def decide(*, is_again: bool) -> Decision[Tenant]:  # noqa: ARG001  as above
            state = await self._tenants.get(cause.tenant_id)
            assert state is not None  # noqa: S101  there are people in it
            found = await self._groups.people_among(cause.tenant_id, people)
            return Decision(state, tuple(await self._standing(found, (), by, cause, state.settings)))

        await self._attempt(decide, cause, attempts=ATTEMPTS_WITH_GROUPS)

    async def administer(self, command: TenantCommand, cause: Cause) -> Tenant:
        """The tenant after the command. Raises the Refusals of `tenant.decide` and Busy."""

        async def decide(*, is_again: bool) -> Decision[Tenant]:  # noqa: ARG001  always decided by what is there
            state = await self._tenants.get(cause.tenant_id)
            return _decision(state, tenant.decide(command, state), tenant.evolve, cause.tenant_id, cause.source)

        found = await self._attempt(decide, cause)
        if isinstance(command, ChangeSettings) and command.values.get("groups") == "on":
            while await self._join_some(found, cause):
                pass
        return found

    async def _join_some(self, state: Tenant, cause: Cause) -> bool:
        """Some of those whom groups await, and who arrived while groups were off; whether there were any."""
        found: list[Outcome[Group]] = []

        async def decide(*, is_again: bool) -> Decision[Tenant]:  # noqa: ARG001  always decided by what is there
            arrived = await self._groups.arrived(cause.tenant_id, AT_ONCE)
            found[:] = [
                outcome
                for group_, events in ties.all_joins(arrived)
                for outcome in _decision(group_, events, group.evolve, group_.id, cause.source).outcomes
            ]
            decision = Decision(state, tuple(found))
            return await self._regrouped(decision, cause, state.settings) if state.settings.role_groups else decision

        await self._attempt(decide, cause, attempts=ATTEMPTS_WITH_GROUPS)
        return bool(found)

    async def note(self, event: RequestRefused | AuditAccessed | EvidenceExported, cause: Cause) -> None:
        """Append to the tenant's stream what changes nothing of the tenant; the order among notes does not matter.

        Of a refusal that named an erased person, only that it was is noted.
        """
        try:
            await self._store.append([NewEvent(cause.tenant_id, None, event, cause)], {})
        except ErasedError:
            bare = msgspec.structs.replace(event, detail="", subject={})
            await self._store.append([NewEvent(cause.tenant_id, None, bare, cause)], {})

    async def _attempt(
        self,
        decide: "Decide[S]",
        cause: Cause,
        groups: frozenset[UUID] = frozenset(),
        attempts: int = ATTEMPTS,
    ) -> S:
        """`groups` are those whose streams are written, as far as that is known before the decision."""
        has_lost = False
        for attempts_left in reversed(range(attempts)):
            async with self._alone_with(groups):
                decision = await decide(is_again=has_lost)
                if not decision.outcomes:
                    return decision.state
                if not decision.groups <= groups:
                    groups |= decision.groups
                    continue  # with their locks, in their order
                try:
                    appended = await self._store.append(_batch(decision, cause), self._rows(decision))
                except LostRaceError:
                    self._observer.lost_race(attempts_left)
                    has_lost = True
                    continue
                return _dated(decision.state, appended.recorded_at)
        raise Busy("Others are changing the same resource at this moment; try again.")

    @asynccontextmanager
    async def _alone_with(self, groups: Iterable[UUID]) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            for each in sorted(groups):
                await held.enter_async_context(self._locks.setdefault(each, asyncio.Lock()))
            yield

    def _rows(self, decision: Decision[State]) -> dict[str, Sequence[Any]]:
        rows: dict[str, list[Any]] = {projection.name: [] for projection in self._inline}
        for projection in self._inline:
            for outcome in decision.outcomes:
                rows[projection.name] += projection.rows(outcome)
        rows["ties"] = [each.as_row() for each in decision.ties]
        rows["roles"] = [{"user_id": each} for each in decision.role_changes]
        return {name: found for name, found in rows.items() if found}


def _batch(decision: Decision[State], cause: Cause) -> list[NewEvent]:
    return [
        NewEvent(each.stream_id, each.version, each.event, cause)
        for outcome in decision.outcomes
        for each in outcome.recorded
    ]


def _decision(
    state: S | None,
    events: Sequence[E],
    evolve: Callable[[S | None, Recorded[E]], S],
    stream_id: UUID,
    source: Source,
) -> Decision[S]:
    version = state.version if state else 0
    recorded = tuple(Recorded(stream_id, version + place, source, event) for place, event in enumerate(events, 1))
    for each in recorded:
        state = evolve(state, each)
    assert state is not None  # noqa: S101  a creation always has its event
    return Decision(state, (Outcome(recorded, state),) if recorded else ())


def _dated(state: S, at: datetime) -> S:
    """Fills in the times that only the append knows."""
    if isinstance(state, Tenant):
        return msgspec.structs.replace(state, created_at=state.created_at or at)
    return msgspec.structs.replace(
        state,
        created_at=state.created_at or at,
        modified_at=at,
        deleted_at=(state.deleted_at or at) if state.is_deleted else None,
    )
