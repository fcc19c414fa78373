"""Events as projections get them: a part of one tenant's log, and the tables that it is to be applied to."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from engine.events import GROUP_TYPES, NOTE_TYPES, AnyEvent, Erased, GroupEvent, PersonalDataErased
from engine.leaf import Header
from engine.streams import Recorded


class Logged(Recorded[AnyEvent], frozen=True, kw_only=True, array_like=True, gc=False):
    """An event with its place in its tenant's log."""

    recorded_at: datetime
    seq: int


@dataclass(frozen=True)
class Batch:
    """Events of one tenant that are to take effect together.

    Each stream's events are in order and without a gap. The connection is in a transaction, and its search path leads
    to the projection's own tables: the live ones, or those of a rebuild. Statements name them without a schema.
    A follower that reads headers gets those, and no events.
    """

    connection: asyncpg.Connection
    tenant_id: UUID
    events: Sequence[Logged] = ()
    headers: Sequence[Header] = ()

    @property
    def found(self) -> Sequence[Logged] | Sequence[Header]:
        """Whichever of the two it holds: each is at its place in the log and in its stream."""
        return self.events or self.headers

    def streams(self) -> Iterable[Sequence[Logged]]:
        """The events of each stream together."""
        found: defaultdict[int, list[Logged]] = defaultdict(list)
        for event in self.events:
            found[event.stream_id.int].append(event)  # a UUID's own hash is ten times as slow
        return found.values()

    def people(self) -> Iterable[Sequence[Logged]]:
        """The events of each user together: streams that are neither the tenant's own nor a group's."""
        return [
            found
            for found in self.streams()
            if found[0].stream_id != self.tenant_id and not is_of_group(found[0].event)
        ]

    async def forget(self, table: str, streams: Iterable[Sequence[Logged]], person: str = "user_id") -> None:
        """Delete the rows of those whose personal data were erased, from a table with this column for the person."""
        erased = [found[0].stream_id for found in streams if isinstance(found[-1].event, PersonalDataErased)]
        if erased:
            delete = f"DELETE FROM {table} WHERE tenant_id = $1 AND {person} = ANY ($2)"  # noqa: S608  our own table
            await self.connection.execute(delete, self.tenant_id, erased)


def is_of_group(event: AnyEvent) -> bool:
    return isinstance(event, GroupEvent) or (isinstance(event, Erased) and event.of in GROUP_TYPES)


def is_erased(stream: Sequence[Logged]) -> bool:
    """Whether these events of a user are of no state any more. One snapshot shows all of them erased, or none."""
    return isinstance(stream[0].event, Erased | PersonalDataErased)


class LogIsBrokenError(Exception):
    """Events are missing in the log, or stand there twice."""


async def read_batch(
    connection: asyncpg.Connection, tenant_id: UUID, after: int, limit: int, *, reads_headers: bool
) -> Batch:
    """What stands behind a seq, at most `limit`, as the follower reads it. Raises LogIsBrokenError."""
    if reads_headers:
        return Batch(connection, tenant_id, headers=await read_headers(connection, tenant_id, after, limit))
    return Batch(connection, tenant_id, await read_log(connection, tenant_id, after, limit))


async def read_log(connection: asyncpg.Connection, tenant_id: UUID, after: int, limit: int) -> Sequence[Logged]:
    """The events behind a seq in order, at most `limit`. Raises LogIsBrokenError if they are not gap-free."""
    events = _decoded(await connection.fetchval(_LOG, tenant_id, after, after + limit))
    _check_seqs((each.seq for each in events), after)
    return events


async def read_headers(connection: asyncpg.Connection, tenant_id: UUID, after: int, limit: int) -> Sequence[Header]:
    """The same events without what is said in them, which may have been erased. Raises LogIsBrokenError."""
    headers = [Header(*row) for row in await connection.fetch(_HEADERS, tenant_id, after, after + limit)]
    _check_seqs((each.seq for each in headers), after)
    return headers


def _check_seqs(found: Iterable[int], after: int) -> None:
    for expected, seq in enumerate(found, after + 1):
        if seq != expected:
            raise LogIsBrokenError(f"the event after seq {expected - 1} has seq {seq}")


async def read_streams(  # noqa: PLR0913, PLR0917  a range has many ends
    connection: asyncpg.Connection, tenant_id: UUID, after: tuple[UUID, int], last: UUID, to_seq: int, limit: int
) -> Sequence[Logged]:
    """The events of a range of streams, stream by stream, at most `limit`; `after` is a stream and a version there.

    Those behind `to_seq` are left out, and so are notes, of which no state is made.
    """
    return _decoded(await connection.fetchval(_STREAMS, tenant_id, *after, last, to_seq, limit))


async def read_stream(
    connection: asyncpg.Connection, tenant_id: UUID, stream_id: UUID, before_version: int
) -> Sequence[Logged]:
    """The events of one stream before a version, but for notes."""
    return _decoded(await connection.fetchval(_STREAM, tenant_id, stream_id, before_version))


def _decoded(events: str | None) -> Sequence[Logged]:
    return _EVENTS.decode(events) if events else ()


_EVENTS = msgspec.json.Decoder(list[Logged])

# What is passed over where states are made: it may be the greater part of a tenant's own stream.
NO_NOTE = f"type <> ALL ('{{{','.join(NOTE_TYPES)}}}')"

# Where events are about people.
NO_GROUP = f"type <> ALL ('{{{','.join(GROUP_TYPES)}}}')"

# One value holds them all: making rows of Python objects would cost more than everything that is done with them.
_JSON = """
    '[' || string_agg(
        concat(
            '["', stream_id, '",', version, ',"', source, '",',
            coalesce(data::text, concat('{"type":"Erased","of":"', type, '"}')), ',',
            to_json(recorded_at), ',', seq, ']'
        ),
        ',' ORDER BY ORDER_OF_EVENTS
    ) || ']'
"""

_LOG = f"""
    SELECT {_JSON.replace("ORDER_OF_EVENTS", "seq")}
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq > $2 AND seq <= $3
"""  # noqa: S608  constants

# In the order of the fields of a Header.
_HEADERS = """
    SELECT tenant_id, seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, digest
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq > $2 AND seq <= $3
    ORDER BY seq
"""

_STREAMS = f"""
    SELECT {_JSON.replace("ORDER_OF_EVENTS", "stream_id, version")}
    FROM (
        SELECT *
        FROM rollbook.events
        WHERE tenant_id = $1
            AND (stream_id, version) > ($2, $3)
            AND stream_id <= $4
            AND seq <= $5
            AND {NO_NOTE}
        ORDER BY stream_id, version
        LIMIT $6
    ) AS page
"""  # noqa: S608  constants

_STREAM = f"""
    SELECT {_JSON.replace("ORDER_OF_EVENTS", "version")}
    FROM rollbook.events
    WHERE tenant_id = $1 AND stream_id = $2 AND version < $3 AND {NO_NOTE}
"""  # noqa: S608  constants
