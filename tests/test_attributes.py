"""Changes of attributes, local edits with their fate, and names: as an independent fold of the raw events has them."""

import json
import random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.conftest import Directory
from tests.replays import differences

TITLES = ["Engineer", "Manager", "Director", None]
ROLES = ["owner", "admin", "member", "Admin"]


async def busy(directory: Directory, seed: int) -> None:
    """People who are changed by their directory and locally, in any order."""
    chance = random.Random(seed)
    people = [await directory.create(f"p{number}", title="Engineer", externalId=f"E{number}") for number in range(5)]
    for turn in range(120):
        user = chance.choice(people)
        title, role = chance.choice(TITLES), chance.choice(ROLES)
        match chance.randrange(9):
            case 0 | 1:
                await directory.request("PATCH", f"/v1/users/{user}", json={"title": title, "role": role})
            case 2:
                await directory.request("PATCH", f"/v1/users/{user}", json={"active": chance.random() < 0.5})
            case 3:
                await directory.patch(user, {"op": "replace", "value": {"title": title or "x", "role": role}})
            case 4:
                body = {"userName": f"P{turn % 7}", "active": chance.random() < 0.8, "externalId": f"E{turn}"}
                await directory.request("PUT", f"/scim/v2/Users/{user}", json=body)
            case 5:
                await directory.patch(user, {"op": "remove", "path": "title"})
            case 6:
                emails = [{"type": "work", "value": f"p{chance.randrange(3)}@x.example"}]
                await directory.patch(user, {"op": "replace", "path": "emails", "value": emails})
            case 7:
                await directory.patch(user, {"op": "replace", "path": "role", "value": role})
            case _:
                if turn % 10 == 0:
                    await directory.request("DELETE", f"/scim/v2/Users/{user}")
                    people[people.index(user)] = await directory.create(f"q{turn}", title="New")


@pytest.fixture(params=range(4))
async def store(request: pytest.FixtureRequest, directory: Directory) -> Directory:
    await busy(directory, request.param)
    following = Following(directory.services.pool, FOLLOWERS)
    await following.catch_up()
    return directory


async def raw(owner: asyncpg.Connection, tenant_id: UUID) -> list[dict[str, Any]]:
    rows = await owner.fetch("SELECT * FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq", tenant_id)
    return [{**dict(row), "data": json.loads(row["data"])} for row in rows if row["stream_id"] != tenant_id]


def values(event: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What an event changed, by attribute."""
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


async def all_rows(directory: Directory, address: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    following: str | None = f"{address}{'&' if '?' in address else '?'}limit=7"
    while following:
        answer = await directory.request("GET", following)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["rows"]
        following = answer.json()["next"]
    return rows


async def test_every_local_edit_has_exactly_one_fate(store: Directory, owner: asyncpg.Connection) -> None:
    """Told by what happened next to the same attribute, and not by what the events say that they overwrote."""
    expected = []
    events = await raw(owner, store.tenant_id)
    for place, event in enumerate(events):
        if event["source"] != "local":
            continue
        for attribute, (before, after) in values(event).items():
            if attribute == "role" and event["type"] == "AttributesChanged":
                continue  # its spelling
            fate: tuple[Any, ...] = ("standing", None, None)
            for later in events[place + 1 :]:
                if later["stream_id"] != event["stream_id"]:
                    continue
                changed = values(later)
                if later["type"] == "UserDeleted":
                    fate = ("person deleted", later["seq"], None)
                elif attribute in later["data"].get("confirmed", {}):
                    fate = ("confirmed", later["seq"], None)
                elif attribute in changed and not (attribute == "role" and later["type"] == "AttributesChanged"):
                    how = "edited again" if later["source"] == "local" else "overwritten"
                    fate = (how, later["seq"], changed[attribute][1])
                else:
                    continue
                break
            expected.append((event["seq"], attribute, before, after, *fate))

    found = await all_rows(store, "/v1/local-edits")

    names = ("seq", "attribute", "before", "after", "fate", "ended_seq", "replaced_by")
    assert [tuple(row[name] for name in names) for row in found] == sorted(expected, key=lambda each: each[:2])
    assert {row["fate"] for row in found} >= {"overwritten", "edited again"}
    standing = await all_rows(store, "/v1/local-edits?fate=standing")
    assert standing == [row for row in found if row["fate"] == "standing"]


async def test_what_stands_is_what_the_people_say_of_themselves(store: Directory) -> None:
    people = (await store.request("GET", "/v1/users?limit=1000")).json()["users"]
    expected = {(each["id"], name) for each in people if not each["is_deleted"] for name in each["local_edits"]}

    standing = await all_rows(store, "/v1/local-edits?fate=standing")

    assert {(row["user_id"], row["attribute"]) for row in standing} == expected
    assert len(standing) == len(expected)


@pytest.mark.parametrize("attribute", ["title", "role", "active", "userName", "emails", "externalId", "nickName"])
async def test_every_change_of_an_attribute_is_found(
    store: Directory, owner: asyncpg.Connection, attribute: str
) -> None:
    events = await raw(owner, store.tenant_id)
    expected = [
        (each["seq"], str(each["stream_id"]), *values(each)[attribute]) for each in events if attribute in values(each)
    ]

    found = await all_rows(store, f"/v1/attribute-changes?attribute={attribute}")

    assert [(row["seq"], row["user_id"], row["before"], row["after"]) for row in found] == expected
    one = str(events[0]["stream_id"])
    of_one = await all_rows(store, f"/v1/attribute-changes?attribute={attribute}&user={one}")
    begun = [row for row in of_one if row["type"] == "UserProvisioned"]
    assert [row for row in of_one if row not in begun] == [row for row in found if row["user_id"] == one]
    start = {"role": "member", "active": True, **events[0]["data"]["attributes"]}
    assert [row["after"] for row in begun] == ([start[attribute]] if attribute in start else [])


async def test_a_name_leads_to_whoever_had_it_at_that_time(store: Directory, owner: asyncpg.Connection) -> None:
    events = await raw(owner, store.tenant_id)
    last = events[-1]["seq"]
    for name in {*(f"P{number}" for number in range(7)), "q10", "nobody"}:
        for seq in range(1, last + 1, 9):
            expected = {user for user, names in names_at(events, seq).items() if names.get("userName") == name.lower()}
            found = await all_rows(store, f"/v1/identities?attribute=userName&value={name}&as_of_seq={seq}")
            assert {row["user_id"] for row in found} == expected, (name, seq)
    addresses = await all_rows(store, "/v1/identities?value=P1@x.example")
    assert {row["attribute"] for row in addresses} <= {"emails"}
    assert all(row["to_seq"] is None or row["from_seq"] < row["to_seq"] for row in addresses)


def names_at(events: list[dict[str, Any]], seq: int) -> dict[str, dict[str, str]]:
    people: dict[str, dict[str, str]] = {}
    for event in events:
        if event["seq"] > seq:
            break
        user = str(event["stream_id"])
        if event["type"] == "UserProvisioned":
            people[user] = {"userName": event["data"]["attributes"]["userName"].lower()}
        elif event["type"] == "UserDeleted":
            people[user] = {}
        elif "userName" in values(event):
            people[user] = {"userName": values(event)["userName"][1].lower()}
    return people


async def test_replay_makes_the_same_rows(store: Directory, database: Database) -> None:
    assert await differences(database) == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("attribute-changes", "attribute is missing"),
        ("identities", "value is missing"),
        ("identities?value=x&attribute=title", "userName or externalId"),
        ("local-edits?fate=lost", "standing or overwritten"),
        ("local-edits?after=5", "a seq, a dot, and an attribute"),
        ("local-edits?user=ann", "user takes an id"),
    ],
)
async def test_what_cannot_be_asked_is_refused(directory: Directory, query: str, told: str) -> None:
    answer = await directory.request("GET", f"/v1/{query}")

    assert answer.status_code == 400
    assert told in answer.json()["detail"]
