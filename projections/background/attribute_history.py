"""Which event changed which attribute of whom, and who went by which name when."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from engine.events import (
    AttributesChanged,
    Deactivated,
    Reactivated,
    RoleAssigned,
    UserDeleted,
    UserProvisioned,
)
from projections.batch import Batch, Logged, is_erased
from projections.follower import Follower
from projections.names import NAMES, compared
from projections.table import Table


class Identity(Struct):
    """A name of a person, from an event on; `end` is the seq and the time of the one that took it away."""

    attribute: str
    value: str
    user_id: UUID
    spelling: str = ""
    begin: tuple[int, datetime] | None = None  # None: it began in an earlier batch
    end: tuple[int, datetime] | None = None


class AttributeHistory(Follower):
    """Rows of one person's events each."""

    name = "attribute_history"
    version = 1
    tables = (
        Table("attribute_changes", ("tenant_id", "attribute", "seq", "user_id"), stream="user_id"),
        Table("identities", ("tenant_id", "user_id", "attribute", "value", "from_seq"), stream="user_id"),
    )
    by_stream = True

    async def apply(self, batch: Batch) -> None:
        people = list(batch.people())
        for table in self.tables:
            await batch.forget(table.name, people)
        streams = [found for found in people if not is_erased(found)]
        await batch.connection.copy_records_to_table(
            "attribute_changes",
            records=[
                (batch.tenant_id, attribute, event.seq, event.stream_id)
                for found in streams
                for event in found
                for attribute in attributes_changed(event)
            ],
            columns=("tenant_id", "attribute", "seq", "user_id"),
        )
        deleted = [found[0].stream_id for found in streams if isinstance(found[-1].event, UserDeleted)]
        had = await _had(batch, deleted) if deleted else {}
        await _write(batch, [each for found in streams for each in identities_of(found, had)])


FOLLOWER = AttributeHistory()


def attributes_changed(event: Logged) -> Iterable[str]:
    match event.event:
        case AttributesChanged(changes=changes):
            return changes
        case RoleAssigned():
            return ["role"]
        case Deactivated() | Reactivated() | UserDeleted(active=True):
            return ["active"]
        case _:
            return []


def identities_of(events: Sequence[Logged], had: dict[UUID, list[tuple[str, str]]]) -> Iterator[Identity]:
    """The names that a stream's events give, and those of earlier batches that they take away."""
    user_id = events[0].stream_id
    open_: dict[tuple[str, str], Identity] = {}
    for event in events:
        at = event.seq, event.recorded_at
        for key in taken(event, [*had.get(user_id, []), *open_]):
            identity = open_.pop(key, None) or Identity(*key, user_id)
            identity.end = at
            yield identity
        for attribute, value, spelling in given(event):
            open_[attribute, value] = Identity(attribute, value, user_id, spelling, at)
    yield from open_.values()


def given(event: Logged) -> Iterator[tuple[str, str, str]]:
    """The names that the person has from the event on, and had not before, each with its spelling."""
    match event.event:
        case UserProvisioned(attributes=attributes):
            for name in NAMES:
                yield from ((name, *each) for each in values_of(name, attributes.get(name)).items())
        case AttributesChanged(changes=changes):
            for name in changes.keys() & set(NAMES):
                before, after = (values_of(name, value) for value in (changes[name].from_, changes[name].to))
                yield from ((name, *each) for each in after.items() if each[0] not in before)
        case _:
            return


def taken(event: Logged, had: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The names that the person no longer has from the event on."""
    match event.event:
        case AttributesChanged(changes=changes):
            for name in changes.keys() & set(NAMES):
                before, after = (values_of(name, value) for value in (changes[name].from_, changes[name].to))
                yield from ((name, value) for value in before if value not in after)
        case UserDeleted():
            yield from dict.fromkeys(had)
        case _:
            return


def values_of(name: str, value: Any) -> dict[str, str]:
    """A name by the form in which it is compared, with its spelling; of addresses, each one."""
    texts = [each.get("value") for each in value or () if isinstance(each, dict)] if name == "emails" else [value]
    spellings = [text for text in texts if isinstance(text, str) and text]
    return {compared(name, each): each for each in reversed(spellings)}  # of two, the first


async def _had(batch: Batch, user_ids: Sequence[UUID]) -> dict[UUID, list[tuple[str, str]]]:
    found: dict[UUID, list[tuple[str, str]]] = {}
    for row in await batch.connection.fetch(_OPEN, batch.tenant_id, user_ids):
        found.setdefault(row["user_id"], []).append((row["attribute"], row["value"]))
    return found


async def _write(batch: Batch, identities: Sequence[Identity]) -> None:
    await batch.connection.executemany(
        _END,
        [
            (batch.tenant_id, each.user_id, each.attribute, each.value, *each.end)
            for each in identities
            if each.begin is None and each.end is not None
        ],
    )
    await batch.connection.copy_records_to_table(
        "identities",
        records=[
            (
                batch.tenant_id,
                each.user_id,
                each.attribute,
                each.value,
                each.spelling,
                *each.begin,
                *(each.end or (None, None)),
            )
            for each in identities
            if each.begin is not None
        ],
        columns=_IDENTITY,
    )


_IDENTITY = (
    "tenant_id",
    "user_id",
    "attribute",
    "value",
    "spelling",
    "from_seq",
    "valid_from",
    "to_seq",
    "valid_to",
)

_OPEN = """
    SELECT user_id, attribute, value
    FROM identities
    WHERE tenant_id = $1 AND user_id = ANY ($2) AND to_seq IS NULL
"""

_END = """
    UPDATE identities
    SET to_seq = $5, valid_to = $6
    WHERE tenant_id = $1 AND user_id = $2 AND attribute = $3 AND value = $4 AND to_seq IS NULL
"""
