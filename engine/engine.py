"""Carries out a command: load the one state, decide, append, and again if another writer came first."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from engine import tenant, user
from engine.events import AnyEvent, AuditAccessed, EvidenceExported, RequestRefused, TenantEvent, UserEvent
from engine.group_commit import Appends
from engine.observer import NOBODY, Observer
from engine.refusals import Busy
from engine.store import Cause, ErasedError, LostRaceError, NewEvent
from engine.streams import Recorded, Source
from engine.tenant import Tenant, TenantCommand
from engine.user import ProvisionUser, Terms, User, UserCommand

ATTEMPTS = 5

S = TypeVar("S", User, Tenant)
S_co = TypeVar("S_co", covariant=True)
E = TypeVar("E", UserEvent, TenantEvent)


class Outcome(Struct, Generic[S_co], frozen=True):
    """Events of one stream, in order, and the state after them: all that an inline projection makes its rows of."""

    recorded: tuple[Recorded[AnyEvent], ...]
    state: S_co


class InlineProjection(Protocol):
    """A table that the append writes in its own transaction, by the function `put_<name>` beside the table."""

    @property
    def name(self) -> str: ...

    def rows(self, outcome: Outcome[User | Tenant]) -> Sequence[Any]:
        """The rows that its function takes, of JSON's types or structs of them; the append fills in times of None."""


class UserStates(Protocol):
    """Reads the state from which a user's commands are decided."""

    async def get(self, tenant_id: UUID, user_id: UUID) -> User | None: ...


class TenantStates(Protocol):
    """Reads the state from which a tenant's commands are decided."""

    async def get(self, tenant_id: UUID) -> Tenant | None: ...


Carried = Callable[[User | None, Sequence[UserEvent]], None]
"""Is told how a command was carried out: the state before it, and the events that were appended."""


def _nobody_asks(before: User | None, events: Sequence[UserEvent]) -> None:
    """Most callers only want the user."""


class Engine:
    """The one way to change anything."""

    def __init__(
        self,
        store: Appends,
        users: UserStates,
        tenants: TenantStates,
        inline: Sequence[InlineProjection],
        observer: Observer = NOBODY,
    ) -> None:
        self._store = store
        self._users = users
        self._tenants = tenants
        self._inline = inline
        self._observer = observer

    async def carry_out(
        self, command: UserCommand, user_id: UUID, cause: Cause, terms: Terms, carried: Carried = _nobody_asks
    ) -> User:
        """The user after the command. A command that changes nothing appends nothing.

        One statement for a creation, two for anything else. Raises the Refusals of `user.decide` and
        `EventStore.append`, and Busy if other writers came first each time.
        """

        async def load() -> User | None:
            if isinstance(command, ProvisionUser):
                return None
            return await self._users.get(cause.tenant_id, user_id)

        decided: list[tuple[User | None, list[UserEvent]]] = []

        def decide(state: User | None) -> list[UserEvent]:
            decided.append((state, user.decide(command, state, terms)))
            return decided[-1][1]

        found = await self._attempt(load, decide, user.evolve, user_id, cause)
        carried(*decided[-1])  # earlier ones lost their race
        return found

    async def administer(self, command: TenantCommand, cause: Cause) -> Tenant:
        """The tenant after the command. Raises the Refusals of `tenant.decide` and Busy."""

        async def load() -> Tenant | None:
            return await self._tenants.get(cause.tenant_id)

        return await self._attempt(
            load, lambda state: tenant.decide(command, state), tenant.evolve, cause.tenant_id, cause
        )

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
        load: Callable[[], Awaitable[S | None]],
        decide: Callable[[S | None], Sequence[E]],
        evolve: Callable[[S | None, Recorded[E]], S],
        stream_id: UUID,
        cause: Cause,
    ) -> S:
        for attempts_left in reversed(range(ATTEMPTS)):
            state = await load()
            events = decide(state)
            if not events:
                assert state is not None  # noqa: S101  a creation always has its event
                return state
            outcome = _evolved(state, events, evolve, stream_id, cause.source)
            batch = [NewEvent(stream_id, each.version, each.event, cause) for each in outcome.recorded]
            try:
                appended = await self._store.append(batch, self._rows(outcome))
            except LostRaceError:
                self._observer.lost_race(attempts_left)
                continue
            return _dated(outcome.state, appended.recorded_at)
        raise Busy("Others are changing the same resource at this moment; try again.")

    def _rows(self, outcome: Outcome[User | Tenant]) -> dict[str, Sequence[Any]]:
        rows = {projection.name: projection.rows(outcome) for projection in self._inline}
        return {name: found for name, found in rows.items() if found}


def _evolved(
    state: S | None,
    events: Sequence[E],
    evolve: Callable[[S | None, Recorded[E]], S],
    stream_id: UUID,
    source: Source,
) -> Outcome[S]:
    version = state.version if state else 0
    recorded = tuple(Recorded(stream_id, version + place, source, event) for place, event in enumerate(events, 1))
    for each in recorded:
        state = evolve(state, each)
    assert state is not None  # noqa: S101  there is at least one event
    return Outcome(recorded, state)


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
