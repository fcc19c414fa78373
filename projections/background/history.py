"""Who was what and when: a row for each state that a user was ever in; and a list of the last ones."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import msgspec
from msgspec import Struct

from engine import user
from engine.events import UserEvent
from engine.streams import Recorded
from engine.user import User
from projections import search_words, users
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

LONGEST_SORTED = 200  # characters, of what a list is sorted by

# By the person, the last state and the event that gave its role.
States = Mapping[UUID, tuple[User, int]]

_STILL: tuple[None, None] = (None, None)


class History(Follower):
    """Each event of a user ends the state before it and begins another one."""

    name = "history"
    version = 3
    tables = (
        Table("history", ("tenant_id", "user_id", "valid_from_seq"), stream="user_id"),
        Table("people", ("tenant_id", "id"), stream="id"),
    )
    by_stream = True

    async def apply(self, batch: Batch) -> None:
        people = list(batch.people())
        await batch.forget("history", people)
        await batch.forget("people", people, "id")
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
        lives = [list(_lived(states, found)) for found in streams]
        rows = [_row(batch.tenant_id, each) for life in lives for each in life]
        await batch.connection.copy_records_to_table("history", records=rows, columns=_COLUMNS)
        await batch.connection.executemany(_LIST, [listed(batch.tenant_id, life[-1].state) for life in lives])


FOLLOWER = History()


async def _states(batch: Batch, user_ids: Sequence[UUID]) -> States:
    rows = await batch.connection.fetch(_STATES, batch.tenant_id, user_ids)
    return {row["id"]: (users.user_of(row), row["granted_seq"]) for row in rows}


class Lived(Struct, frozen=True):
    """A state, the event that began it, the one that gave its role, and the seq and time of the one that ended it."""

    state: User
    event: Logged
    granted_seq: int
    ending: tuple[Any, Any]


def _lived(states: States, events: Sequence[Logged]) -> Iterator[Lived]:
    """The states that one stream's events begin, each with the event that ended it, the last one open."""
    before, granted_seq = states.get(events[0].stream_id, (None, 0))
    endings = [*((event.seq, event.recorded_at) for event in events[1:]), _STILL]
    for event, ending in zip(events, endings, strict=True):
        state = user.evolve(before, cast("Recorded[UserEvent]", event))
        if before is None or state.role != before.role:
            granted_seq = event.seq
        yield Lived(state, event, granted_seq, ending)
        before = state


def _row(tenant_id: UUID, lived: Lived) -> tuple[Any, ...]:
    state, event = lived.state, lived.event
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
        lived.granted_seq,
        *lived.ending,
    )


def listed(tenant_id: UUID, state: User) -> tuple[Any, ...]:
    """A row of the list of people."""
    name = name_of(state.attributes)
    return (
        tenant_id,
        state.id,
        str(state.attributes.get("userName") or ""),
        name,
        search_words.folded(name)[:LONGEST_SORTED],
        search_words.lexemes(tenant_id, state.attributes),
        state.active,
        state.role,
        state.is_deleted,
        any(origin.source == "local" for origin in state.origins.values()),
        state.created_at,
        state.modified_at,
    )


def name_of(attributes: Mapping[str, Any]) -> str:
    """What somebody is called: the name for showing, or else the parts of the name, or the userName."""
    parts = (attributes.get("name.givenName"), attributes.get("name.familyName"))
    found = attributes.get("displayName") or attributes.get("name.formatted") or " ".join(filter(None, parts))
    return str(found or attributes.get("userName") or "")


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

_LIST = """
    INSERT INTO people AS known (
        tenant_id, id, user_name, name, sort_name, words, active, role, is_deleted, is_edited, created_at, modified_at
    )
    VALUES ($1, $2, $3, $4, $5, array_to_tsvector($6), $7, $8, $9, $10, $11, $12)
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        user_name = excluded.user_name,
        name = excluded.name,
        sort_name = excluded.sort_name,
        words = excluded.words,
        active = excluded.active,
        role = excluded.role,
        is_deleted = excluded.is_deleted,
        is_edited = excluded.is_edited,
        modified_at = excluded.modified_at
"""
