"""Audit questions that events themselves answer."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from api.v1_types import EventShown, shown
from engine.events import TYPES, AuditAccessed, decode
from engine.log import EventLog, Selection
from engine.streams import Source
from projections.question import Asked, Asking, Page, Period, Question, Seq, Settled, page_of, parameters_of, seq_after
from projections.questions.moves import arrived_at
from projections.questions.stories import StoryAsked, story

if TYPE_CHECKING:
    EventType = str
else:
    EventType = Literal[TYPES]  # of which the type checker cannot know


CLOCKS_APART = timedelta(days=1)  # at most, those of the service and of the database


class EventsAsked(Asked, frozen=True, kw_only=True):
    """Which events of the log, in which order."""

    user: Annotated[UUID | None, Meta(description="Only events of this person.")] = None
    type: Annotated[tuple[EventType, ...], Meta(description="Only events of these types.")] = ()
    source: Annotated[Source | None, Meta(description="Only events of this source.")] = None
    actor: Annotated[str | None, Meta(description="Only what this actor did: a person's or a token's id.")] = None
    token: Annotated[UUID | None, Meta(description="Only what was asked with this token.")] = None
    request: Annotated[UUID | None, Meta(description="Only what came of this request.")] = None
    since: Annotated[datetime | None, Meta(description="Only events from this time on.")] = None
    until: Annotated[datetime | None, Meta(description="Only events before this time.")] = None
    after: Annotated[Seq | None, Meta(description="Only events behind this seq.")] = None
    before: Annotated[Seq | None, Meta(description="Only events ahead of this seq.")] = None
    order: Annotated[Literal["asc", "desc"], Meta(description="Newest first (desc) or in order.")] = "desc"

    def end(self, head: int) -> int:
        return head if self.before is None else max(min(head, self.before - 1), 0)

    def pinned(self, settled: Settled) -> Self:
        """Looking at the log adds to it; whoever follows it to its end would never get there."""
        return msgspec.structs.replace(self, before=settled.to_seq + 1)


def is_idle_poll(asked: Asked, rows: Sequence[EventShown]) -> bool:
    """Whether somebody who follows the whole log was given nothing new but looks of those who follow it.

    Noting that would be new, and so on for ever. Whoever chooses among the events is told something by an empty answer,
    too; that is always noted.
    """
    return isinstance(asked, EventsAsked) and _follows(parameters_of(asked)) and all(map(_is_look_of_follower, rows))


def _follows(given: Mapping[str, str]) -> bool:
    return given.get("order") == "asc" and "after" in given and given.keys() <= {"order", "after", "before"}


def _is_look_of_follower(row: EventShown) -> bool:
    event = decode(bytes(row.data)) if row.type == "AuditAccessed" and row.data is not None else None
    return isinstance(event, AuditAccessed) and event.question == EVENTS.name and _follows(event.parameters)


def _cursor(asked: EventsAsked) -> str:
    return "after" if asked.order == "asc" else "before"


def times_of(request_id: UUID) -> tuple[datetime | None, datetime | None]:
    """Between which times the events of a request were recorded: its id says when the service's clock let it in."""
    arrived = arrived_at(request_id)
    return (arrived - CLOCKS_APART, arrived + CLOCKS_APART) if arrived else (None, None)


async def _events(asking: Asking[EventsAsked]) -> Page[EventShown]:
    asked, end = asking.asked, asking.settled.to_seq + 1
    since, until = times_of(asked.request) if asked.request else (None, None)
    selection = Selection(
        stream_id=asked.user,
        types=asked.type,
        source=asked.source,
        actor=asked.actor,
        token_id=asked.token,
        request_id=asked.request,
        since=max(filter(None, (asked.since, since)), default=None),
        until=min(filter(None, (asked.until, until)), default=None),
        after=asked.after,
        before=end,
        order=asked.order,
    )
    if asking.after is not None:
        selection = msgspec.structs.replace(selection, **{_cursor(asked): int(asking.after)})
    return await _read(asking, selection)


EVENTS = Question(
    "events",
    "The log, newest first or in order",
    EventsAsked,
    EventShown,
    _events,
    rows_name="events",
    cursor=_cursor,
)


class OfTypesAsked(Period, frozen=True, kw_only=True):
    """Which of the events that the question is about."""

    actor: Annotated[str | None, Meta(description="Only what this actor did: a person's or a token's id.")] = None
    token: Annotated[UUID | None, Meta(description="Only what was asked with this token.")] = None


def _of_types(name: str, summary: str, *types: str) -> Question[OfTypesAsked, EventShown]:
    """A question about events of certain types, in the order of the log."""

    async def page(asking: Asking[OfTypesAsked]) -> Page[EventShown]:
        selection = Selection(
            types=types,
            actor=asking.asked.actor,
            token_id=asking.asked.token,
            after=seq_after(asking),
            before=asking.settled.to_seq + 1,
            order="asc",
        )
        return await _read(asking, selection)

    return Question(name, summary, OfTypesAsked, EventShown, page)


REFUSALS = _of_types("refusals", "Writes that were refused, and why", "RequestRefused")
SETTINGS_CHANGES = _of_types(
    "settings-changes",
    "Every change of settings and tokens",
    "TenantRegistered",
    "SettingsChanged",
    "TokenIssued",
    "TokenRevoked",
)
ACCESSES = _of_types("accesses", "Who looked at the audit, and took what away", "AuditAccessed", "EvidenceExported")


async def _story(asking: Asking[StoryAsked]) -> Page[EventShown]:
    page = await story(asking)
    return Page([shown(asking.tenant_id, each) for each in page.rows], page.next)


STORY = Question(
    "history",
    "Everything that happened to one person, in order, with the writes that were refused",
    StoryAsked,
    EventShown,
    _story,
    path="/v1/users/{id}/history",
    rows_name="events",
)


async def _read(asking: Asking[EventsAsked] | Asking[OfTypesAsked], selection: Selection) -> Page[EventShown]:
    found = await EventLog(asking.pool).read(asking.tenant_id, selection, asking.limit)
    return page_of([shown(asking.tenant_id, each) for each in found], asking.limit, lambda each: each.seq)
