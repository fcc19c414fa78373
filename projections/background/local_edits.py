"""Every local edit of a person, and what became of it: each has exactly one fate."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from engine.events import AnyEvent, AttributesChanged, Deactivated, Reactivated, RoleAssigned, UserDeleted
from projections.batch import Batch, Logged, is_erased
from projections.follower import Follower
from projections.table import Table

_COLUMNS = (
    "tenant_id",
    "user_id",
    "version",
    "attribute",
    "seq",
    "recorded_at",
    "before",
    "after",
    "fate",
    "ended_seq",
    "ended_at",
    "replaced_by",
)


class Edit(Struct):
    """A local edit of one attribute, and how it ended, if it did. Those that earlier batches brought have no values."""

    user_id: UUID
    version: int
    attribute: str
    event: Logged | None = None
    before: Any = None
    after: Any = None
    fate: str = "standing"
    ended_seq: int | None = None
    ended_at: datetime | None = None
    replaced_by: Any = None

    def end(self, fate: str, event: Logged, replaced_by: Any = None) -> None:
        self.fate, self.ended_seq, self.ended_at, self.replaced_by = fate, event.seq, event.recorded_at, replaced_by


class LocalEdits(Follower):
    """An edit begins with a local event, and ends with the event that names it, edits again, or deletes the person."""

    name = "local_edits"
    version = 1
    tables = (Table("local_edits", ("tenant_id", "user_id", "version", "attribute"), stream="user_id"),)
    by_stream = True

    async def apply(self, batch: Batch) -> None:
        people = [found for found in batch.streams() if found[0].stream_id != batch.tenant_id]
        await batch.forget("local_edits", people)
        streams = [found for found in people if not is_erased(found) and any(map(_matters, found))]
        if not streams:
            return
        standing = await _standing(batch, [found[0].stream_id for found in streams if found[0].version > 1])
        edits = [edit for found in streams for edit in edits_of(found, standing.get(found[0].stream_id, []))]
        await batch.connection.executemany(
            _END, [(batch.tenant_id, *_ended(edit)) for edit in edits if edit.event is None]
        )
        records = [(batch.tenant_id, *_row(edit, edit.event)) for edit in edits if edit.event is not None]
        await batch.connection.copy_records_to_table("local_edits", records=records, columns=_COLUMNS)


FOLLOWER = LocalEdits()


def edits_of(events: Sequence[Logged], standing: Sequence[Edit]) -> Iterator[Edit]:
    """The edits that a stream's events begin, and those of the standing ones that they end."""
    open_ = {edit.attribute: edit for edit in standing}
    for event in events:
        for attribute, fate, value in endings(event, list(open_)):
            if edit := open_.pop(attribute, None):
                edit.end(fate, event, value)
                yield edit
        if event.source == "local":
            for attribute, (before, after) in changed(event.event).items():
                open_[attribute] = Edit(event.stream_id, event.version, attribute, event, before, after)
    yield from (edit for edit in open_.values() if edit.event is not None)


def endings(event: Logged, open_: Sequence[str]) -> Iterator[tuple[str, str, Any]]:
    """The attributes whose standing edit an event ends, with the fate and the value that replaces it."""
    values = changed(event.event)
    if event.source == "local":
        yield from ((attribute, "edited again", after) for attribute, (_, after) in values.items())
        return
    for attribute in getattr(event.event, "overwrote", {}):
        yield attribute, "overwritten", values[attribute][1]
    for attribute in getattr(event.event, "confirmed", {}):
        yield attribute, "confirmed", None
    if isinstance(event.event, UserDeleted):
        yield from ((attribute, "person deleted", None) for attribute in open_)


def changed(event: AnyEvent) -> dict[str, tuple[Any, Any]]:
    """What an event changed: before and after. The spelling of a role is nobody's edit of the role in force."""
    match event:
        case AttributesChanged(changes=changes):
            return {key: (each.from_, each.to) for key, each in changes.items() if key != "role"}
        case RoleAssigned():
            return {"role": (event.from_, event.to)}
        case Deactivated():
            return {"active": (True, False)}
        case Reactivated():
            return {"active": (False, True)}
        case _:
            return {}


def _matters(event: Logged) -> bool:
    """Most events neither begin nor end an edit."""
    ends = getattr(event.event, "overwrote", None) or getattr(event.event, "confirmed", None)
    return event.source == "local" or bool(ends) or isinstance(event.event, UserDeleted)


async def _standing(batch: Batch, user_ids: Sequence[UUID]) -> dict[UUID, list[Edit]]:
    rows = await batch.connection.fetch(_STANDING, batch.tenant_id, user_ids) if user_ids else []
    found: dict[UUID, list[Edit]] = {}
    for row in rows:
        found.setdefault(row["user_id"], []).append(Edit(*row))
    return found


def _row(edit: Edit, event: Logged) -> tuple[Any, ...]:
    return (
        edit.user_id,
        edit.version,
        edit.attribute,
        event.seq,
        event.recorded_at,
        _json(edit.before),
        _json(edit.after),
        edit.fate,
        edit.ended_seq,
        edit.ended_at,
        _json(edit.replaced_by),
    )


def _ended(edit: Edit) -> tuple[Any, ...]:
    return (
        edit.user_id,
        edit.version,
        edit.attribute,
        edit.fate,
        edit.ended_seq,
        edit.ended_at,
        _json(edit.replaced_by),
    )


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


_STANDING = """
    SELECT user_id, version, attribute
    FROM local_edits
    WHERE tenant_id = $1 AND user_id = ANY ($2) AND fate = 'standing'
"""

_END = """
    UPDATE local_edits
    SET fate = $5, ended_seq = $6, ended_at = $7, replaced_by = $8
    WHERE tenant_id = $1 AND user_id = $2 AND version = $3 AND attribute = $4
"""
