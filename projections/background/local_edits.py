"""Every local edit of a person, and what became of it: each has exactly one fate."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from engine.events import (
    AnyEvent,
    AttributesChanged,
    Deactivated,
    Reactivated,
    RoleAssigned,
    UserDeleted,
    UserProvisioned,
)
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
    "ended_version",
    "replaced_by",
)


class Edit(Struct):
    """A local edit of one attribute, and the event that ended it, if any. Those of earlier batches have no values."""

    user_id: UUID
    version: int
    attribute: str
    event: Logged | None = None
    before: Any = None
    after: Any = None
    fate: str = "standing"
    ended: Logged | None = None
    replaced_by: Any = None

    def end(self, fate: str, event: Logged, replaced_by: Any) -> None:
        self.fate, self.ended, self.replaced_by = fate, event, replaced_by


class LocalEdits(Follower):
    """An edit begins with a local event, and ends with the next one that sets or confirms the attribute, or deletes the
    person."""

    name = "local_edits"
    version = 1
    tables = (Table("local_edits", ("tenant_id", "user_id", "version", "attribute"), stream="user_id"),)
    by_stream = True

    async def apply(self, batch: Batch) -> None:
        people = list(batch.people())
        await batch.forget("local_edits", people)
        streams = [found for found in people if not is_erased(found) and any(map(_matters, found))]
        if not streams:
            return
        standing = await _standing(batch, [found[0].stream_id for found in streams if found[0].version > 1])
        edits = [edit for found in streams for edit in edits_of(found, standing.get(found[0].stream_id, []))]
        await batch.connection.executemany(
            _END,
            [
                (batch.tenant_id, edit.user_id, edit.version, edit.attribute, *_end(edit))
                for edit in edits
                if not edit.event
            ],
        )
        records = [(batch.tenant_id, *_row(edit, edit.event)) for edit in edits if edit.event is not None]
        await batch.connection.copy_records_to_table("local_edits", records=records, columns=_COLUMNS)


FOLLOWER = LocalEdits()


def edits_of(events: Sequence[Logged], standing: Sequence[Edit]) -> Iterator[Edit]:
    """The edits that a stream's events begin, and those of the standing ones that they end."""
    open_ = {edit.attribute: edit for edit in standing}
    for event in events:
        for attribute, fate, value in endings(event, open_):
            if edit := open_.pop(attribute, None):
                edit.end(fate, event, value)
                yield edit
        if event.source == "local":
            for attribute, (before, after) in changed(event.event).items():
                open_[attribute] = Edit(event.stream_id, event.version, attribute, event, before, after)
    yield from (edit for edit in open_.values() if edit.event is not None)


def endings(event: Logged, standing: Iterable[str]) -> Iterator[tuple[str, str, Any]]:
    """The attributes whose standing edit an event ends, if there is one, with the fate and the value in its place.

    What the directory writes names the edits that it ends; whoever else sets a value ends the edit that was there.
    """
    if isinstance(event.event, UserDeleted):
        yield from [(attribute, "person deleted", None) for attribute in standing]
        return
    values = changed(event.event)
    ended = getattr(event.event, "overwrote", ()) if event.source == "directory" else values
    fate = "edited again" if event.source == "local" else "overwritten"
    yield from ((attribute, fate, values[attribute][1]) for attribute in ended)
    yield from ((attribute, "confirmed", None) for attribute in getattr(event.event, "confirmed", ()))


def changed(event: AnyEvent) -> dict[str, tuple[Any, Any]]:
    """What an event set: before and after. The spelling of a role is nobody's edit of the role in force.

    A local creation, should there ever be one, sets everything, as it is the origin of everything.
    """
    match event:
        case AttributesChanged(changes=changes, own_role=own_role):
            edited = {key: each for key, each in changes.items() if key != "role"}
            return {
                key: (each.from_, each.to) for key, each in (edited | ({"role": own_role} if own_role else {})).items()
            }
        case RoleAssigned() if event.is_direct:
            return {"role": (event.from_, event.own or event.to)}
        case Deactivated():
            return {"active": (True, False)}
        case Reactivated():
            return {"active": (False, True)}
        case UserProvisioned():
            values = {**event.attributes, "active": event.active, "role": event.role}
            return {key: (None, value) for key, value in values.items()}
        case _:
            return {}


def _matters(event: Logged) -> bool:
    """Most events neither begin nor end an edit."""
    ends = getattr(event.event, "overwrote", None) or getattr(event.event, "confirmed", None)
    return event.source != "directory" or bool(ends) or isinstance(event.event, UserDeleted)


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
        *_end(edit),
    )


def _end(edit: Edit) -> tuple[Any, ...]:
    at = (edit.ended.seq, edit.ended.recorded_at, edit.ended.version) if edit.ended else (None, None, None)
    return edit.fate, *at, _json(edit.replaced_by)


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


_STANDING = """
    SELECT user_id, version, attribute
    FROM local_edits
    WHERE tenant_id = $1 AND user_id = ANY ($2) AND fate = 'standing'
"""

_END = """
    UPDATE local_edits
    SET fate = $5, ended_seq = $6, ended_at = $7, ended_version = $8, replaced_by = $9
    WHERE tenant_id = $1 AND user_id = $2 AND version = $3 AND attribute = $4
"""
