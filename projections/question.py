"""An audit question: what may be asked, and the rows that answer it, page by page.

A question is answered as of an event of the tenant's log, or for a part of it. Times are made into seqs before the
first page, and every page of one answer is of the same seqs: so it stays the same while writes go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct, field

from engine.refusals import BadRequest, Busy
from projections.follower import FOLLOWERS

HIGHEST_SEQ = 2**63 - 1
PATIENCE = 5.0  # seconds that a question waits for the followers which it reads
LOOK = 0.05  # seconds between two looks at how far they are

Seq = Annotated[int, Meta(ge=0, le=HIGHEST_SEQ)]


class Settled(Struct, frozen=True):
    """The part of the log that an answer is about: events behind `after_seq`, up to `to_seq`."""

    after_seq: int
    to_seq: int


class Asked(Struct, frozen=True, kw_only=True):
    """Parameters of a question."""

    def end(self, head: int) -> int:
        """The event up to which the answer is true, in a log that ends at `head`."""
        return head

    def pinned(self, settled: Settled) -> Self:  # noqa: ARG002  for those that are about a moment
        """The parameters with which another page of the same answer is asked for."""
        return self


class AsOf(Asked, frozen=True, kw_only=True):
    """Parameters of a question about one moment: now, unless one of these says otherwise."""

    as_of: Annotated[
        datetime | None, Meta(description="As it was then, what was recorded at that very time included.")
    ] = None
    as_of_seq: Annotated[Seq | None, Meta(description="As it was after this event, instead of a time.")] = None

    def pinned(self, settled: Settled) -> Self:
        return msgspec.structs.replace(self, as_of=None, as_of_seq=settled.to_seq)


class Period(Asked, frozen=True, kw_only=True):
    """Parameters of a question about a part of the log: all of it, unless these say otherwise."""

    from_: Annotated[datetime | None, Meta(description="What was recorded from this time on.")] = field(
        name="from", default=None
    )
    to: Annotated[datetime | None, Meta(description="What was recorded before this time.")] = None
    after_seq: Annotated[Seq | None, Meta(description="Only events behind this one.")] = None
    to_seq: Annotated[Seq | None, Meta(description="Only events up to this one.")] = None

    def pinned(self, settled: Settled) -> Self:
        return msgspec.structs.replace(self, to_seq=settled.to_seq)


A = TypeVar("A", bound=Asked)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Page(Struct, Generic[R_co], frozen=True):
    """Rows in the order of their key, and the key to go on behind; None at the end.

    A page may hold fewer rows than its limit, or none, and yet not be the last one: whoever looks for what is rare gets
    a part of the way at a time.
    """

    rows: Sequence[R_co]
    next: str | None = None


@dataclass(frozen=True)
class Asking(Generic[A]):
    """One page of a question of one tenant: behind `after`, the key that the page before named, at most `limit`."""

    pool: asyncpg.Pool
    tenant_id: UUID
    asked: A
    settled: Settled
    after: str | None
    limit: int


def _after(asked: Asked) -> str:  # noqa: ARG001  the same for nearly all
    return "after"


@dataclass(frozen=True)
class Question(Generic[A, R]):
    """A question by its name; its parameters are the fields of `asked`, its answer's columns those of `row`.

    `followers` are those whose tables are read: the answer waits until they are as far as it goes. `path` is the
    address under which the service answers it.
    """

    name: str
    summary: str
    asked: type[A]
    row: type[R]
    page: Callable[[Asking[A]], Awaitable[Page[R]]]
    followers: tuple[str, ...] = ()
    path: str = ""
    rows_name: str = "rows"
    cursor: Callable[[A], str] = _after

    @property
    def address(self) -> str:
        return self.path or f"/v1/{self.name}"


def page_of(rows: Sequence[R], limit: int, key: Callable[[R], object]) -> Page[R]:
    """A page of rows that were read with this limit."""
    return Page(rows, str(key(rows[-1])) if rows and len(rows) == limit else None)


def page_up_to(rows: Sequence[R], limit: int, key: Callable[[R], object], looked_to: int, to_seq: int) -> Page[R]:
    """A page of rows that were looked for up to a seq: it may end there, and hold fewer rows than the limit."""
    if len(rows) == limit or looked_to >= to_seq:
        return page_of(rows, limit, key)
    return Page(rows, str(looked_to))


def seq_after(asking: Asking[Any]) -> int:
    """Where a page begins that is in the order of the log; raises BadRequest if `after` is no seq."""
    if asking.after is None:
        return asking.settled.after_seq
    if not (asking.after.isascii() and asking.after.isdecimal() and len(asking.after) <= len(str(HIGHEST_SEQ))):
        raise BadRequest("after takes the key that the page before named as its end: a whole number.")
    return min(max(int(asking.after), asking.settled.after_seq), HIGHEST_SEQ)


def id_after(asking: Asking[Any]) -> UUID:
    """Where a page begins that is in the order of ids; raises BadRequest if `after` is no id."""
    try:
        return UUID(asking.after) if asking.after else UUID(int=0)
    except ValueError:
        raise BadRequest("after takes the key that the page before named as its end: an id, a UUID.") from None


async def settle(pool: asyncpg.Pool, tenant_id: UUID, asked: Asked) -> Settled:
    """The part of the log that the parameters name. One statement.

    Raises BadRequest for what cannot be: a time that is not yet, a seq behind the end, a period that ends before it
    begins.
    """
    from_, to = _times(asked)
    head, last_before, last = await pool.fetchrow(_SEQS, tenant_id, from_, to)
    if isinstance(asked, AsOf):
        _check(asked.as_of_seq, head)
        return Settled(0, last if asked.as_of_seq is None else asked.as_of_seq)
    if not isinstance(asked, Period):
        return Settled(0, asked.end(head))
    _check(asked.after_seq, head)
    _check(asked.to_seq, head)
    if asked.after_seq is not None and asked.to_seq is not None and asked.after_seq > asked.to_seq:
        raise BadRequest("after_seq must not be behind to_seq.")
    return Settled(max(last_before, asked.after_seq or 0), min(last, head if asked.to_seq is None else asked.to_seq))


def _check(seq: int | None, head: int) -> None:
    if seq is not None and seq > head:
        raise BadRequest(f"The log ends at seq {head}; there is no {seq} yet.")


def _times(asked: Asked) -> tuple[datetime | None, datetime | None]:
    """From when on, and before when. What was recorded at the very moment of `as_of` belongs to it."""
    now = datetime.now(UTC)
    if isinstance(asked, AsOf):
        if asked.as_of is not None and asked.as_of_seq is not None:
            raise BadRequest("as_of and as_of_seq say the same in two ways; give one of them.")
        if asked.as_of is not None and asked.as_of > now:
            raise BadRequest("as_of is not yet; the log knows what was.")
        return None, asked.as_of and asked.as_of + datetime.resolution
    if not isinstance(asked, Period):
        return None, None
    if asked.from_ is not None and asked.from_ > now:
        raise BadRequest("from is not yet; the log knows what was.")
    if asked.from_ is not None and asked.to is not None and asked.from_ >= asked.to:
        raise BadRequest("from must be before to.")
    return asked.from_, asked.to


async def wait_for(pool: asyncpg.Pool, tenant_id: UUID, followers: Sequence[str], seq: int) -> None:
    """Wait until these followers have applied everything up to the seq: one statement if they have, as nearly always.

    Raises Busy if they are not so far in time.
    """
    until = asyncio.get_running_loop().time() + PATIENCE
    while followers:
        behind = await pool.fetchrow(
            _FURTHEST_BEHIND, tenant_id, list(followers), seq, [_VERSIONS[each] for each in followers]
        )
        if behind is None:
            return
        if asyncio.get_running_loop().time() > until:
            if behind["is_outdated"]:
                raise Busy(f"What {behind['name']} keeps is being rebuilt for this version; try again later.")
            raise Busy(
                f"What {behind['name']} keeps is {behind['events']} events behind what is asked for; try again in a "
                f"moment. `rollbook followers` says why."
            )
        await asyncio.sleep(LOOK)


def parameters_of(asked: Asked) -> dict[str, str]:
    """The parameters that were given, as text."""
    given = {
        each.encode_name: getattr(asked, each.name)
        for each in msgspec.structs.fields(asked)
        if getattr(asked, each.name) != each.default
    }
    return {name: _text(value) for name, value in given.items()}


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    found = msgspec.to_builtins(value)
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


_VERSIONS = {each.name: each.version for each in FOLLOWERS}

_SEQS = """
    SELECT
        heads.seq,
        CASE WHEN $2::timestamptz IS NULL THEN 0 ELSE rollbook.last_seq_before($1, $2) END,
        CASE WHEN $3::timestamptz IS NULL THEN heads.seq ELSE rollbook.last_seq_before($1, $3) END
    FROM rollbook.heads
    WHERE tenant_id = $1
"""

# Only people's events matter; those of the tenant itself, notes of looks like this one above all, are not waited for.
_FURTHEST_BEHIND = """
    SELECT
        wanted.name,
        $3 - coalesce(places.seq, 0) AS events,
        projections.version IS DISTINCT FROM wanted.version AS is_outdated
    FROM unnest($2::text[], $4::int[]) AS wanted(name, version)
    LEFT JOIN rollbook.projections ON projections.name = wanted.name
    LEFT JOIN rollbook.places ON places.tenant_id = $1 AND places.follower = wanted.name
    WHERE projections.version IS DISTINCT FROM wanted.version
        OR EXISTS (
            SELECT
            FROM rollbook.events
            WHERE tenant_id = $1 AND seq > coalesce(places.seq, 0) AND seq <= $3 AND stream_id <> tenant_id
        )
    ORDER BY is_outdated DESC, events DESC
    LIMIT 1
"""
