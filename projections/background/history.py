"""Who was what and when: a row for each state that a user was ever in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import msgspec

from engine import user
from engine.events import UserEvent
from engine.streams import Recorded
from engine.user import User
from projections import users
from projections.batch import Batch, Logged, is_erased
from projections.follower import Follower
from projections.histories import USER
from projections.table import Table

_COLUMNS = (
    "tenant_id",
    "user_id",
    "valid_from_seq",
    "valid_from",
    "version",
    "active",
    "role",
    "own_role",
    "attributes",
    "origins",
    "prefixes",
    "is_deleted",
    "created_at",
    "deleted_at",
    "granted_seq",
    "valid_to_seq",
    "valid_to",
)

# By the person, the last state and the event that gave its role.
States = Mapping[UUID, tuple[User, int]]

_STILL: tuple[None, None] = (None, None)


class History(Follower):
    """Each event of a user ends the state before it and begins another one."""

    name = "history"
    version = 3
    tables = (Table("history", ("tenant_id", "user_id", "valid_from_seq"), stream="user_id"),)
    by_stream = True

    async def apply(self, batch: Batch) -> None:
        people = list(batch.people())
        await batch.forget("history", people)
        streams = [found for found in people if not is_erased(found)]
        if not streams:
            return
        known = {found[0].stream_id: found for found in streams if found[0].version > 1}
        states = await _states(batch, list(known)) if known else {}
        if known:
            await batch.connection.execute(
                _END,
                batch.tenant_id,
                list(known),
                [found[0].seq for found in known.values()],
                [found[0].recorded_at for found in known.values()],
            )
        rows = [row for found in streams for row in _rows(batch.tenant_id, states, found)]
        await batch.connection.copy_records_to_table("history", records=rows, columns=_COLUMNS)


FOLLOWER = History()


async def _states(batch: Batch, user_ids: Sequence[UUID]) -> States:
    rows = await batch.connection.fetch(_STATES, batch.tenant_id, user_ids)
    return {row["id"]: (users.user_of(row), row["granted_seq"]) for row in rows}


def _rows(tenant_id: UUID, states: States, events: Sequence[Logged]) -> Iterator[tuple[Any, ...]]:
    """The states that one stream's events begin, each with the event that ended it, the last one open."""
    before, granted_seq = states.get(events[0].stream_id, (None, 0))
    endings = [*((event.seq, event.recorded_at) for event in events[1:]), _STILL]
    for event, ending in zip(events, endings, strict=True):
        state = user.evolve(before, cast("Recorded[UserEvent]", event))
        if before is None or state.role != before.role:
            granted_seq = event.seq
        yield _row(tenant_id, event, state, granted_seq, ending)
        before = state


def _row(tenant_id: UUID, event: Logged, state: User, granted_seq: int, ending: tuple[Any, Any]) -> tuple[Any, ...]:
    return (
        tenant_id,
        state.id,
        event.seq,
        event.recorded_at,
        state.version,
        state.active,
        state.role,
        state.own_role,
        msgspec.json.encode(state.attributes).decode(),
        msgspec.json.encode(state.origins).decode(),
        state.prefixes,
        state.is_deleted,
        state.created_at,
        state.deleted_at,
        granted_seq,
        *ending,
    )


# For each user the last row alone, however long the history is.
_STATES = f"""
    SELECT last.*
    FROM unnest($2::uuid[]) AS wanted(user_id)
    CROSS JOIN LATERAL (
        SELECT {USER}
        FROM history
        WHERE tenant_id = $1 AND user_id = wanted.user_id
        ORDER BY valid_from_seq DESC
        LIMIT 1
    ) AS last
"""  # noqa: S608  constants

_END = """
    UPDATE history
    SET valid_to_seq = ending.seq, valid_to = ending.at
    FROM unnest($2::uuid[], $3::bigint[], $4::timestamptz[]) AS ending(user_id, seq, at)
    CROSS JOIN LATERAL (
        SELECT valid_from_seq
        FROM history
        WHERE tenant_id = $1 AND user_id = ending.user_id
        ORDER BY valid_from_seq DESC
        LIMIT 1
    ) AS last
    WHERE history.tenant_id = $1
        AND history.user_id = ending.user_id
        AND history.valid_from_seq = last.valid_from_seq
"""
