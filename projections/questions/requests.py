"""Audit questions about the requests of directories: each of them, the cycles, the tokens, the refusals, the prunes.

Requests are no events: these answers are of a period, and not as of an event. What was asked in the last second may not
be there yet.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

import msgspec
from msgspec import Meta, Struct, field

from engine.refusals import BadRequest
from projections.question import Asked, Asking, Page, Question, Settled
from projections.request_log import Key, LoggedRequest, RequestLog, RequestSelection
from projections.sync_health import (
    INTERVAL,
    PAUSE,
    Cycle,
    RefusedRequests,
    SyncHealth,
    SyncState,
    TokenInUse,
)

DAYS = timedelta(days=7)  # if no beginning is named

_MINUTES = Annotated[int, Meta(ge=1, le=1_440)]


class RequestsPeriod(Asked, frozen=True, kw_only=True):
    """Parameters of a question about the requests of a period."""

    from_: Annotated[datetime | None, Meta(description="From this time on; seven days before the end by default.")] = (
        field(name="from", default=None)
    )
    to: Annotated[datetime | None, Meta(description="Before this time; up to now by default.")] = None

    def pinned(self, settled: Settled) -> Self:  # noqa: ARG002  a period of its own
        since, until = _period(self)
        return msgspec.structs.replace(self, from_=since, to=until)


def _period(asked: RequestsPeriod) -> tuple[datetime, datetime]:
    until = asked.to or datetime.now(UTC)
    since = asked.from_ if asked.from_ is not None else _days_before(until)
    if since >= until:
        raise BadRequest("from must be before to, and not in the future.")
    return since, until


def _days_before(until: datetime) -> datetime:
    try:
        return until - DAYS
    except OverflowError:
        raise BadRequest("to is before there were any requests.") from None


class RequestShown(Struct, frozen=True, kw_only=True):
    """One SCIM request. Nothing that the client wrote is in it."""

    at: Annotated[datetime, Meta(description="When it arrived.")]
    request_id: Annotated[UUID, Meta(description="Also that of its events, and of its answer's X-Request-Id.")]
    token_id: UUID
    method: str
    route: Annotated[str, Meta(description="The pattern of the address.")]
    status: int
    milliseconds: float
    user_id: Annotated[UUID | None, Meta(description="Whom the address names, or who was created.")]
    refusal: Annotated[str | None, Meta(description="Why it was refused: the scimType, or else the kind.")]
    quirks: Annotated[list[str], Meta(description="What was tolerated.")]
    changes: Annotated[int, Meta(description="How many events it appended, without the record of a refusal.")]


class RequestsAsked(Asked, frozen=True, kw_only=True):
    """Which requests; all that are kept, unless these say otherwise."""

    from_: Annotated[datetime | None, Meta(description="Only those from this time on.")] = field(
        name="from", default=None
    )
    to: Annotated[datetime | None, Meta(description="Only those before this time.")] = None
    status: Annotated[
        Annotated[int, Meta(ge=100, le=599)] | None, Meta(description="Only those answered with this status.")
    ] = None
    refusal: Annotated[str | None, Meta(description="Only those refused for this reason.")] = None
    quirk: Annotated[str | None, Meta(description="Only those that needed this tolerance, in its full words.")] = None
    token: Annotated[UUID | None, Meta(description="Only those that came with this token.")] = None
    user: Annotated[UUID | None, Meta(description="Only those about this person.")] = None


async def _requests(asking: Asking[RequestsAsked]) -> Page[RequestShown]:
    asked = asking.asked
    selection = RequestSelection(
        since=asked.from_,
        until=asked.to,
        status=asked.status,
        refusal=asked.refusal,
        quirk=asked.quirk,
        token_id=asked.token,
        user_id=asked.user,
    )
    cursor = None if asking.after is None else _key(asking.after)
    rows, following = await RequestLog(asking.pool).page(asking.tenant_id, selection, cursor, asking.limit)
    return Page([_shown(row) for row in rows], following and f"{following[0].isoformat()},{following[1]}")


def _shown(row: LoggedRequest) -> RequestShown:
    return RequestShown(
        at=row.at,
        request_id=row.request_id,
        token_id=row.token_id,
        method=row.method,
        route=row.route,
        status=row.status,
        milliseconds=row.microseconds / 1_000,
        user_id=row.user_id,
        refusal=row.refusal,
        quirks=list(row.quirks),
        changes=row.changes,
    )


def _key(text: str) -> Key:
    moment, _, request_id = text.partition(",")
    try:
        return _moment(moment), UUID(request_id)
    except ValueError:
        raise BadRequest("after takes the key that the page before named as its end: a time, a comma, an id.") from None


def _moment(text: str) -> datetime:
    """Raises ValueError."""
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + arrives as a space
    if moment.tzinfo is None:
        raise ValueError(text)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None


REQUESTS: Question[RequestsAsked, RequestShown] = Question(
    "requests", "Requests of directories, the latest first", RequestsAsked, RequestShown, _requests
)


class SyncAsked(RequestsPeriod, frozen=True, kw_only=True):
    """Which cycles: those that began in the period."""

    minutes: Annotated[
        _MINUTES | None, Meta(description="A pause of more than so many minutes ends a cycle; 5 by default.")
    ] = None


async def _cycles(asking: Asking[SyncAsked]) -> Page[Cycle]:
    since, until = _period(asking.asked)
    if asking.after is not None:
        until = min(until, _began_at(asking.after))
    if since >= until:
        return Page([])
    minutes = asking.asked.minutes
    pause = timedelta(minutes=minutes) if minutes else PAUSE
    cycles = await SyncHealth(asking.pool).cycles(asking.tenant_id, since, until, asking.limit + 1, pause)
    page = cycles[: asking.limit]
    return Page(page, page[-1].began_at.isoformat() if len(cycles) > len(page) else None)


def _began_at(text: str) -> datetime:
    try:
        return _moment(text)
    except ValueError:
        raise BadRequest("after takes the key that the page before named as its end: a time with its zone.") from None


SYNC: Question[SyncAsked, Cycle] = Question(
    "sync", "The cycles of the directory, and what came of each, the latest first", SyncAsked, Cycle, _cycles
)


class SyncStateAsked(Asked, frozen=True, kw_only=True):
    """When the next cycle is expected."""

    minutes: Annotated[
        _MINUTES | None, Meta(description="How long the directory pauses between two cycles at most; 40 by default.")
    ] = None


async def _state(asking: Asking[SyncStateAsked]) -> Page[SyncState]:
    minutes = asking.asked.minutes
    interval = timedelta(minutes=minutes) if minutes else INTERVAL
    return Page([await SyncHealth(asking.pool).state(asking.tenant_id, datetime.now(UTC), interval)])


SYNC_STATE: Question[SyncStateAsked, SyncState] = Question(
    "sync-state", "When the directory last called, and whether it is overdue", SyncStateAsked, SyncState, _state
)


async def _tokens(asking: Asking[RequestsPeriod]) -> Page[TokenInUse]:
    now = datetime.now(UTC)
    return Page(await SyncHealth(asking.pool).tokens(asking.tenant_id, *_period(asking.asked), now))


SYNC_TOKENS: Question[RequestsPeriod, TokenInUse] = Question(
    "sync-tokens",
    "The tokens with which directories called, expired and revoked ones included",
    RequestsPeriod,
    TokenInUse,
    _tokens,
)


async def _refusals(asking: Asking[RequestsPeriod]) -> Page[RefusedRequests]:
    return Page(await SyncHealth(asking.pool).refusals(asking.tenant_id, *_period(asking.asked)))


SYNC_REFUSALS: Question[RequestsPeriod, RefusedRequests] = Question(
    "sync-refusals",
    "What directories were refused, counted by reason, with the people concerned",
    RequestsPeriod,
    RefusedRequests,
    _refusals,
)


class PruneShown(Struct, frozen=True, kw_only=True):
    """A day of the request log that was deleted because of its age."""

    day: Annotated[date, Meta(description="Of UTC.")]
    pruned_at: datetime
    requests: int
    keep_days: Annotated[int, Meta(description="After how many days requests were deleted.")]
    source: Annotated[str, Meta(description="engine: by itself; operator: by rollbook prune.")]
    actor: str


class PrunesAsked(Asked, frozen=True, kw_only=True):
    """All of them."""


async def _prunes(asking: Asking[PrunesAsked]) -> Page[PruneShown]:
    after = (datetime.min.replace(tzinfo=UTC), date.min) if asking.after is None else _prune_key(asking.after)
    rows = await asking.pool.fetch(_PRUNES, asking.tenant_id, asking.limit, after[1], after[0])
    found = [PruneShown(**dict(row)) for row in rows]
    is_full = len(found) == asking.limit
    return Page(found, f"{found[-1].day},{found[-1].pruned_at.isoformat()}" if is_full else None)


def _prune_key(text: str) -> tuple[datetime, date]:
    day, _, moment = text.partition(",")
    try:
        return _moment(moment), date.fromisoformat(day)
    except ValueError:
        raise BadRequest("after takes the key that the page before named as its end: a day, a comma, a time.") from None


PRUNES: Question[PrunesAsked, PruneShown] = Question(
    "prunes", "Days of the request log that were deleted because of their age", PrunesAsked, PruneShown, _prunes
)

_PRUNES = """
    SELECT day, pruned_at, requests, keep_days, source, actor
    FROM rollbook.prunes
    WHERE tenant_id = $1 AND (day, pruned_at) > ($3::date, $4::timestamptz)
    ORDER BY day, pruned_at
    LIMIT $2
"""
