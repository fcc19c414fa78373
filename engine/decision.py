"""What a command comes to before it is appended, and what it is decided from."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from engine import user
from engine.events import AnyEvent, GroupEvent, TenantEvent, UserEvent
from engine.group import Group
from engine.membership import Facts, Member
from engine.store import Cause, NewEvent
from engine.streams import Recorded, Source
from engine.tenant import Tenant
from engine.ties import Awaited, Tie
from engine.user import User

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

    async def people_among(self, tenant_id: UUID, ids: Sequence[UUID], limit: int) -> Sequence[User]: ...

    async def after(
        self, tenant_id: UUID, people: Sequence[UUID], wanted: Sequence[UUID], changes: Sequence[Any]
    ) -> Mapping[UUID, Sequence[UUID]]: ...


class Decide(Protocol[S_co]):
    """Decides a command from what is there now; `is_again`: another writer came first."""

    async def __call__(self, *, is_again: bool) -> Decision[S_co]: ...


def batch_of(decision: Decision[State], cause: Cause) -> list[NewEvent]:
    return [
        NewEvent(each.stream_id, each.version, each.event, cause)
        for outcome in decision.outcomes
        for each in outcome.recorded
    ]


def decision_of(
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


def dated(state: S, at: datetime) -> S:
    """Fills in the times that only the append knows."""
    if isinstance(state, Tenant):
        return msgspec.structs.replace(state, created_at=state.created_at or at)
    return msgspec.structs.replace(
        state,
        created_at=state.created_at or at,
        modified_at=at,
        deleted_at=(state.deleted_at or at) if state.is_deleted else None,
    )
