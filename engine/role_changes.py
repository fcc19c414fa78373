"""Whose role changes because groups do: decided together with what changes them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from engine import roles, user
from engine.decision import Decision, GroupStates, Outcome, S, decision_of
from engine.refusals import TooLarge
from engine.roles import Given
from engine.settings import Settings
from engine.streams import Source
from engine.user import User

MOST = 10_000  # people whose roles change in one append, which takes some seconds then

Changes = Sequence[Any]
"""Rows of members, as the append takes them."""


class RoleChanges:
    """Decides what groups mean for the roles of people, in a tenant in which groups are mapped to roles."""

    def __init__(self, groups: GroupStates) -> None:
        self._groups = groups

    async def given(self, tenant_id: UUID, user_id: UUID, settings: Settings, changes: Changes = ()) -> Given | None:
        """What a person's groups give once the changes have been made."""
        return (await self._givens(tenant_id, [user_id], changes, settings)).get(user_id)

    async def _givens(
        self, tenant_id: UUID, people: Sequence[UUID], changes: Changes, settings: Settings
    ) -> Mapping[UUID, Given | None]:
        wanted = [each.group for each in settings.role_groups]
        found = await self._groups.after(tenant_id, people, wanted, changes) if wanted and people else {}
        return {user_id: roles.highest(groups, settings) for user_id, groups in found.items()}

    async def _giving(self, tenant_id: UUID, changes: Changes, settings: Settings) -> set[UUID]:
        """Those of the groups that change which give a role, or stand, before or after, in one that does."""
        wanted = [each.group for each in settings.role_groups]
        changed = {each.group_id for each in changes}
        found = changed.intersection(wanted)
        if others := list(changed - found):
            found.update(await self._groups.after(tenant_id, others, wanted, ()))
            found.update(await self._groups.after(tenant_id, others, wanted, changes))
        return found

    async def of_newcomer(
        self, decision: Decision[User], changes: Changes, tenant_id: UUID, source: Source, settings: Settings
    ) -> Decision[User]:
        """The same with the role of somebody whom groups had awaited."""
        person = decision.state
        if not changes or person.is_deleted:
            return decision
        given = await self.given(tenant_id, person.id, settings, changes)
        if given is None:
            return decision
        [first, *others] = decision.outcomes
        events = user.regrouped(person, given, given.group, settings)
        more = decision_of(person, events, user.evolve, person.id, source)
        recorded = (*first.recorded, *(each for outcome in more.outcomes for each in outcome.recorded))
        return Decision(more.state, (Outcome(recorded, more.state), *others), decision.ties)

    async def of_members(
        self, decision: Decision[S], changes: Changes, tenant_id: UUID, source: Source, settings: Settings
    ) -> Decision[S]:
        """The same with the roles of those for whom it changes what their groups give."""
        giving = await self._giving(tenant_id, changes, settings)
        among = [each.member_id or each.group_id for each in changes if each.group_id in giving]
        if not among:
            return decision
        by: UUID = decision.outcomes[0].state.id
        others: list[Outcome[User]] = await self.among(tenant_id, among, changes, by, source, settings)
        return Decision(decision.state, (*decision.outcomes, *others), decision.ties)

    async def among(  # noqa: PLR0913, PLR0917  all that it needs to know
        self, tenant_id: UUID, ids: Sequence[UUID], changes: Changes, by: UUID, source: Source, settings: Settings
    ) -> list[Outcome[User]]:
        """What happens to the people among the ids, and in the groups among them, so that each has the role that the
        groups give: after the changes, and after the group `by` changed, or what it gives.
        """
        people = await self._groups.people_among(tenant_id, ids, MOST + 1)
        if len(people) > MOST:
            raise TooLarge(
                f"This concerns the roles of more than {MOST} people, who are in a group that gives one. Let the "
                f"members come or go in parts, or have the group unmapped first: rollbook group unmap"
            )
        given = await self._givens(tenant_id, [each.id for each in people], changes, settings)
        found: list[Outcome[User]] = []
        for each in people:
            events = user.regrouped(each, given.get(each.id), by, settings)
            found += decision_of(each, events, user.evolve, each.id, source).outcomes
        return found
