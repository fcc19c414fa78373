"""What the followers of attributes should keep, told from raw events by whoever knows JSON only.

An event is its row in the log as a dictionary, `data` decoded. Nothing of the engine or of the projections is used.
"""

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg

Raw = dict[str, Any]
Row = tuple[Any, ...]


async def people(owner: asyncpg.Connection, tenant_id: UUID) -> list[Raw]:
    """The events of a tenant's people that were not erased, in order."""
    rows = await owner.fetch("SELECT * FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq", tenant_id)
    events = [{**dict(row), "data": row["data"] and json.loads(row["data"])} for row in rows]
    erased = {each["stream_id"] for each in events if each["type"] == "PersonalDataErased"}
    return [each for each in events if each["stream_id"] not in {tenant_id, *erased}]


def values(event: Raw) -> dict[str, tuple[Any, Any]]:
    """What an event changed of somebody who was there, by attribute: before and after."""
    data = event["data"]
    match event["type"]:
        case "AttributesChanged":
            return {key: (each["from"], each["to"]) for key, each in data.get("changes", {}).items()}
        case "RoleAssigned":
            return {"role": (data["from"], data["to"])}
        case "Deactivated":
            return {"active": (True, False)}
        case "Reactivated":
            return {"active": (False, True)}
        case "UserDeleted":
            return {"active": (True, False)} if data["active"] else {}
        case _:
            return {}


def streams(events: Iterable[Raw]) -> dict[UUID, list[Raw]]:
    found: dict[UUID, list[Raw]] = {}
    for event in events:
        found.setdefault(event["stream_id"], []).append(event)
    return found


def local_edits(events: Sequence[Raw]) -> list[Row]:
    """The rows in the order of seq and attribute. The fate is told by what happened next to the same attribute, and not
    by what the events say that they overwrote."""
    return sorted(
        (row for stream in streams(events).values() for row in _edits_of(stream)),
        key=lambda row: (row[3], row[2].encode()),
    )


def _edits_of(stream: Sequence[Raw]) -> Iterable[Row]:
    for place, event in enumerate(stream):
        if event["source"] == "local":
            for attribute, (before, after) in _set(event).items():
                end = _end(attribute, stream[place + 1 :])
                yield event["stream_id"], event["version"], attribute, event["seq"], before, after, *end


def _set(event: Raw) -> dict[str, tuple[Any, Any]]:
    """Of a role, what is in force; its spelling says nothing. A deletion sets nothing, it ends everything."""
    data = event["data"]
    if event["type"] == "UserDeleted":
        return {}
    if event["type"] == "UserProvisioned":
        begun = {**data["attributes"], "active": data["active"], "role": data["role"]}
        return {attribute: (None, value) for attribute, value in begun.items()}
    is_spelling = event["type"] == "AttributesChanged"
    return {key: each for key, each in values(event).items() if not (is_spelling and key == "role")}


def _end(attribute: str, later: Iterable[Raw]) -> Row:
    for event in later:
        at = event["seq"], event["recorded_at"], event["version"]
        if event["type"] == "UserDeleted":
            return "person deleted", *at, None
        if attribute in event["data"].get("confirmed", {}):
            return "confirmed", *at, None
        if attribute in (found := _set(event)):
            return "edited again" if event["source"] == "local" else "overwritten", *at, found[attribute][1]
    return "standing", None, None, None, None


def attribute_changes(events: Iterable[Raw]) -> list[Row]:
    return sorted((attribute, event["seq"], event["stream_id"]) for event in events for attribute in values(event))


NAMES = ("userName", "externalId", "microsoftId", "emails")


def identities(events: Sequence[Raw]) -> list[Row]:
    """The rows: whose, what, compared, as written, from and until when, by seq and time."""
    return sorted(
        (row for stream in streams(events).values() for row in _identities_of(stream)),
        key=lambda row: (row[4], *row[:3]),
    )


def _identities_of(stream: Sequence[Raw]) -> Iterable[Row]:
    """By the names that the person has after each event, one look after the other."""
    has: dict[tuple[str, str], tuple[str, Raw]] = {}
    state: dict[str, Any] = {}
    for event in stream:
        state = _state(state, event)
        now = {(name, key): text for name in NAMES for key, text in _texts(name, state.get(name)).items()}
        for gone in has.keys() - now.keys():
            text, begun = has.pop(gone)
            yield event["stream_id"], *gone, text, *_at(begun), *_at(event)
        has |= {key: (text, event) for key, text in now.items() if key not in has}
    for key, (text, begun) in has.items():
        yield begun["stream_id"], *key, text, *_at(begun), None, None


def _at(event: Raw) -> Row:
    return event["seq"], event["recorded_at"]


def _state(state: dict[str, Any], event: Raw) -> dict[str, Any]:
    if event["type"] == "UserProvisioned":
        return dict(event["data"]["attributes"])
    if event["type"] == "UserDeleted":
        return {}
    return state | {key: after for key, (_, after) in values(event).items()}


def _texts(name: str, value: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in [each.get("value") for each in value or []] if name == "emails" else [value]:
        if text:
            form = text if name == "externalId" else text.casefold()
            if len(form) > 200:
                form = form[:136] + sha256(form.encode()).hexdigest()
            found.setdefault(form, text)
    return found
