"""What somebody's coming or going means to groups: decided together with it."""

from collections.abc import Sequence
from uuid import UUID

from engine import group, membership, ties
from engine.decision import Decision, GroupStates, S, decision_of
from engine.events import GroupEvent
from engine.group import Group
from engine.streams import Source
from engine.ties import Tie


class TiedGroups:
    """Finds the groups that await whoever arrives, or have a member that goes."""

    def __init__(self, groups: GroupStates) -> None:
        self._groups = groups

    async def with_groups(self, decision: Decision[S], tenant_id: UUID, source: Source) -> Decision[S]:
        """The same with what happens to those groups. Raises Conflict if a group awaited itself."""
        tie = ties.tie_of(decision.outcomes[0].recorded, decision.state) if decision.outcomes else None
        if tie is None:
            return decision
        others: list[Decision[Group]] = [
            decision_of(state, events, group.evolve, state.id, source)
            for state, events in await self._concerned(tie, tenant_id)
        ]
        outcomes = (*decision.outcomes, *(outcome for each in others for outcome in each.outcomes))
        return Decision(decision.state, outcomes, (tie,))

    async def _concerned(self, tie: Tie, tenant_id: UUID) -> Sequence[tuple[Group, list[GroupEvent]]]:
        """The groups that it concerns, each with what happens to it."""
        if tie.gone is not None:
            return [(each, membership.left(tie.member)) for each in await self._groups.containing(tenant_id, tie.gone)]
        return ties.joins(await self._groups.awaiting(tenant_id, tie.exact, tie.folded), tie.member)
