"""The people of a tenant as they were after an event of its log, made of the log alone."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

import asyncpg

from engine import user
from engine.events import UserEvent
from engine.streams import Recorded
from engine.user import User
from projections.batch import Logged, is_erased, is_of_group, read_streams

PAGE = 10_000  # events in memory at a time

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)


async def tenants_of_log(connection: asyncpg.Connection, tenant_id: UUID | None = None) -> Sequence[tuple[str, UUID]]:
    """The names and ids of one tenant, or of all in the order of their registration."""
    only, values = ("true", []) if tenant_id is None else ("heads.tenant_id = $1", [tenant_id])
    return [(row["name"], row["tenant_id"]) for row in await connection.fetch(_TENANTS.format(only=only), *values)]


async def first_moment(connection: asyncpg.Connection, tenants: Sequence[tuple[str, UUID]]) -> datetime | None:
    """When the first event of these tenants was recorded; None if they have none."""
    moment: datetime | None = await connection.fetchval(_FIRST_MOMENT, [tenant_id for _, tenant_id in tenants])
    return moment


async def last_seq(connection: asyncpg.Connection, tenant_id: UUID) -> int:
    """The seq of the tenant's last event."""
    seq: int = await connection.fetchval("SELECT seq FROM rollbook.heads WHERE tenant_id = $1", tenant_id)
    return seq


async def seq_at(connection: asyncpg.Connection, tenant_id: UUID, moment: datetime) -> int:
    """The seq of the last event that was recorded at a moment or before it; 0 if none was."""
    seq: int = await connection.fetchval(
        "SELECT rollbook.last_seq_before($1, $2::timestamptz + interval '1 microsecond')", tenant_id, moment
    )
    return seq


async def people_as_of(connection: asyncpg.Connection, tenant_id: UUID, seq: int) -> AsyncIterator[User]:
    """Everybody who was there after the event, deleted people included, in the order of their ids."""
    person: User | None = None
    after = (_FIRST, 0)
    while events := await read_streams(connection, tenant_id, after, _LAST, seq, PAGE):
        for stream in _streams(events):
            if stream[0].stream_id == tenant_id or is_of_group(stream[0].event):
                continue
            if person and person.id != stream[0].stream_id:
                yield person
                person = None
            if is_erased(stream):
                person = None  # whose first events may have been read before the erasure
                continue
            person = user.evolve_all(person, cast(Sequence[Recorded[UserEvent]], stream))
        after = (events[-1].stream_id, events[-1].version)
    if person:
        yield person


def _streams(events: Sequence[Logged]) -> Sequence[Sequence[Logged]]:
    """The events in their order, each stream's together."""
    streams: list[list[Logged]] = []
    for event in events:
        if not streams or streams[-1][0].stream_id != event.stream_id:
            streams.append([])
        streams[-1].append(event)
    return streams


_TENANTS = """
    SELECT heads.tenant_id, coalesce(first.data ->> 'name', heads.tenant_id::text) AS name
    FROM rollbook.heads
    JOIN rollbook.events AS first ON first.tenant_id = heads.tenant_id AND first.seq = 1
    WHERE {only}
    ORDER BY first.recorded_at, name
"""

_FIRST_MOMENT = "SELECT min(recorded_at) FROM rollbook.events WHERE tenant_id = ANY ($1) AND seq = 1"
