"""Carries out a command: load the one state, decide, append, and again if another writer came first."""

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from engine import group, tenant, ties, user
from engine.attempts import ATTEMPTS, ATTEMPTS_WITH_GROUPS, Attempts
from engine.catalog import groups_of
from engine.decision import (
    Decision,
    GroupStates,
    InlineProjection,
    Outcome,
    S,
    TenantStates,
    UserStates,
    decision_of,
)
from engine.events import (
    AuditAccessed,
    EvidenceExported,
    GroupEvent,
    RequestRefused,
    UserEvent,
)
from engine.group import Group, GroupCommand, ProvisionGroup
from engine.group_commit import Appends
from engine.membership import NewIds
from engine.observer import NOBODY, Observer
from engine.role_changes import RoleChanges
from engine.settings import Settings
from engine.store import Cause, ErasedError, NewEvent
from engine.tenant import ChangeSettings, MapGroup, Tenant, TenantCommand
from engine.tied_groups import TiedGroups
from engine.user import DeleteUser, ProvisionUser, Terms, User, UserCommand

AT_ONCE = 500  # people who get another role in one append, where a group is mapped

_USUAL = Settings()


Carried = Callable[[User | None, Sequence[UserEvent]], None]
"""Is told how a command was carried out: the state before it, and the events that were appended."""


CarriedOnGroup = Callable[[Sequence[GroupEvent]], None]


def _nobody_asks_of_group(events: Sequence[GroupEvent]) -> None:
    """Most callers only want the group."""


def _nobody_asks(before: User | None, events: Sequence[UserEvent]) -> None:
    """Most callers only want the user."""


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
        self._tied = TiedGroups(groups)
        self._roles = RoleChanges(groups)
        self._tenants = tenants
        self._attempts = Attempts(store, inline, observer)

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
                given = await self._roles.given(cause.tenant_id, user_id, settings)
                events = user.decide(command, state, msgspec.structs.replace(terms, settings=settings, given=given))
            decided.append((state, events))
            decision = decision_of(state, events, user.evolve, user_id, cause.source)
            decision = await self._tied.with_groups(decision, cause.tenant_id, cause.source) if is_tied else decision
            if not settings.role_groups:
                return decision
            changes = self._attempts.members_in(decision)
            return await self._roles.of_newcomer(decision, changes, cause.tenant_id, cause.source, settings)

        found = await self._attempts.carry_out(decide, cause, attempts=ATTEMPTS_WITH_GROUPS if is_tied else ATTEMPTS)
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
        changes or the group goes; and where groups are mapped to roles, up to four for whom it concerns, and then their
        events and rows. Raises the Refusals of `group.decide` and `EventStore.append`, TooLarge if it changes what
        groups give to too many people, and Busy.
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
            decision = decision_of(state, decided, group.evolve, group_id, cause.source)
            decision = await self._tied.with_groups(decision, cause.tenant_id, cause.source)
            fresh = await self._fresh(cause.tenant_id, settings, is_again=is_again)
            return await self._regrouped(decision, cause, fresh)

        found = await self._attempts.carry_out(decide, cause, frozenset({group_id}), ATTEMPTS_WITH_GROUPS)
        carried(decided)
        return found

    async def _fresh(self, tenant_id: UUID, settings: Settings, *, is_again: bool) -> Settings:
        """What a worker knows of the settings may be some seconds old, and then loses a race about roles."""
        known = await self._tenants.get(tenant_id) if is_again else None
        return known.settings if known else settings

    async def _regrouped(self, decision: Decision[S], cause: Cause, settings: Settings) -> Decision[S]:
        """The same with the roles of those for whom it changes what their groups give."""
        if not settings.role_groups:
            return decision
        changes = self._attempts.members_in(decision)
        return await self._roles.of_members(decision, changes, cause.tenant_id, cause.source, settings)

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
            decision = decision_of(before, events, tenant.evolve, cause.tenant_id, cause.source)
            more = await self._roles.among(
                cause.tenant_id, people[:AT_ONCE], (), command.group_id, cause.source, decision.state.settings
            )
            return Decision(decision.state, (*decision.outcomes, *more))

        found = await self._attempts.carry_out(decide, cause, attempts=ATTEMPTS_WITH_GROUPS)
        people = await self._groups.people_in(cause.tenant_id, command.group_id)  # those who have come since, too
        for start in range(0, len(people), AT_ONCE):
            await self._bring_up_to_date(people[start : start + AT_ONCE], command.group_id, cause)
        return found

    async def _bring_up_to_date(self, people: Sequence[UUID], by: UUID, cause: Cause) -> None:
        async def decide(*, is_again: bool) -> Decision[Tenant]:  # noqa: ARG001  as above
            state = await self._tenants.get(cause.tenant_id)
            assert state is not None  # noqa: S101  there are people in it
            found = await self._roles.among(cause.tenant_id, people, (), by, cause.source, state.settings)
            return Decision(state, tuple(found))

        await self._attempts.carry_out(decide, cause, attempts=ATTEMPTS_WITH_GROUPS)

    async def administer(self, command: TenantCommand, cause: Cause) -> Tenant:
        """The tenant after the command. Raises the Refusals of `tenant.decide` and Busy."""

        async def decide(*, is_again: bool) -> Decision[Tenant]:  # noqa: ARG001  always decided by what is there
            state = await self._tenants.get(cause.tenant_id)
            return decision_of(state, tenant.decide(command, state), tenant.evolve, cause.tenant_id, cause.source)

        found = await self._attempts.carry_out(decide, cause)
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
                for outcome in decision_of(group_, events, group.evolve, group_.id, cause.source).outcomes
            ]
            decision = Decision(state, tuple(found))
            return await self._regrouped(decision, cause, state.settings)

        await self._attempts.carry_out(decide, cause, attempts=ATTEMPTS_WITH_GROUPS)
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
