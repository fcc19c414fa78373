"""Changes of attributes, local edits with their fate, and names: as an independent fold of the raw events has them."""

import random
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from tests import raw_folds
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


async def all_rows(directory: Directory, address: str, limit: int = 7) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    following: str | None = f"{address}{'&' if '?' in address else '?'}limit={limit}"
    while following:
        answer = await directory.request("GET", following)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["rows"]
        following = answer.json()["next"]
    return rows


async def test_every_local_edit_is_told_with_its_fate_and_who_brought_it_about(
    store: Directory, owner: asyncpg.Connection
) -> None:
    events = await raw_folds.people(owner, store.tenant_id)
    by_seq = {each["seq"]: each for each in events}

    found = await all_rows(store, "/v1/local-edits")

    names = (
        "user_id",
        "version",
        "attribute",
        "seq",
        "before",
        "after",
        "fate",
        "ended_seq",
        "ended_at",
        "ended_version",
    )
    told = [tuple(row[name] for name in (*names, "replaced_by")) for row in found]
    expected = raw_folds.local_edits(events)
    assert told == [(str(row[0]), *row[1:8], shown(row[8]), *row[9:]) for row in expected]
    assert {row["fate"] for row in found} >= {"overwritten", "edited again"}
    for row in found:
        began, ended = by_seq[row["seq"]], by_seq.get(row["ended_seq"], {})
        assert (row["actor"], row["recorded_at"]) == (began["actor"], shown(began["recorded_at"]))
        assert (row["token_id"], row["request_id"]) == (str(began["token_id"]), str(began["request_id"]))
        assert row["ended_by"] == ended.get("actor")
        assert row["ended_token_id"] == (str(ended["token_id"]) if ended else None)
        assert row["ended_request_id"] == (str(ended["request_id"]) if ended else None)


@pytest.mark.parametrize(
    "chosen",
    [
        {"fate": "standing"},
        {"fate": "overwritten,confirmed"},
        {"attribute": "title"},
        {"attribute": "role", "fate": "standing"},
    ],
)
async def test_local_edits_are_chosen_by_fate_attribute_person_and_period(
    store: Directory, chosen: dict[str, str]
) -> None:
    found = await all_rows(store, "/v1/local-edits")
    middle, user = found[len(found) // 2], found[0]["user_id"]
    expected = [row for row in found if all(row[name] in text.split(",") for name, text in chosen.items())]
    query = "&".join(f"{name}={text}" for name, text in chosen.items())

    assert await all_rows(store, f"/v1/local-edits?{query}") == expected
    assert await all_rows(store, f"/v1/local-edits?{query}&user={user}") == [
        row for row in expected if row["user_id"] == user
    ]
    seq = middle["seq"]
    assert await all_rows(store, f"/v1/local-edits?{query}&after_seq={seq}") == [
        row for row in expected if row["seq"] > seq
    ]
    ended = sorted((row for row in expected if row["ended_seq"]), key=lambda row: (row["ended_seq"], row["attribute"]))
    assert await all_rows(store, f"/v1/local-edits?{query}&by=end") == ended
    assert await all_rows(store, f"/v1/local-edits?{query}&by=end&after_seq={seq}&user={user}") == [
        row for row in ended if row["ended_seq"] > seq and row["user_id"] == user
    ]


def shown(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


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
    events = await raw_folds.people(owner, store.tenant_id)
    expected = [
        (each["seq"], str(each["stream_id"]), *raw_folds.values(each)[attribute])
        for each in events
        if attribute in raw_folds.values(each)
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
    events = await raw_folds.people(owner, store.tenant_id)
    held = raw_folds.identities(events)
    for name in {*(f"P{number}" for number in range(7)), "q10", "nobody"}:
        for seq in range(1, events[-1]["seq"] + 1, 9):
            found = await all_rows(store, f"/v1/identities?attribute=userName&value={name}&as_of_seq={seq}")
            assert {row["user_id"] for row in found} == {
                str(row[0])
                for row in held
                if row[1:3] == ("userName", name.lower()) and row[4] <= seq and (row[6] is None or row[6] > seq)
            }


@pytest.mark.parametrize("value", ["P1@x.example", "E0", "p3"])
async def test_whoever_ever_had_a_name_is_told_with_its_spelling_until_then(
    store: Directory, owner: asyncpg.Connection, value: str
) -> None:
    held = raw_folds.identities(await raw_folds.people(owner, store.tenant_id))
    form = {"externalId": value}
    expected = [row for row in held if row[2] == form.get(row[1], value.lower())]
    last = max(seq for row in held for seq in (row[4], row[6] or 0))

    found = await all_rows(store, f"/v1/identities?value={value}")

    def told(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["user_id"], row["attribute"], row["value"], row["from_seq"], row["to_seq"]

    assert found
    assert sorted(map(told, found)) == sorted((str(row[0]), row[1], row[3], row[4], row[6]) for row in expected)
    middle = last // 2
    until_then = await all_rows(store, f"/v1/identities?value={value}&as_of_seq={middle}&held=ever")
    assert sorted(map(told, until_then)) == sorted(
        (str(row[0]), row[1], row[3], row[4], row[6] if row[6] and row[6] <= middle else None)
        for row in expected
        if row[4] <= middle
    )


async def test_no_page_loses_one_of_the_names_that_an_event_gave(directory: Directory) -> None:
    """As Entra sends it: one text as userName, externalId and address; and then it is somebody else's."""
    await directory.set_settings(email_case="keep")
    text = "ann@contoso.example"
    names = {"externalId": text, "emails": [{"type": "work", "value": text}, {"type": "home", "value": text.upper()}]}
    for _ in range(3):
        user = await directory.create(text, **names)
        await directory.request("DELETE", f"/scim/v2/Users/{user}")
    await Following(directory.services.pool, FOLLOWERS).catch_up()

    whole = (await directory.request("GET", f"/v1/identities?value={text}")).json()["rows"]
    assert [row["attribute"] for row in whole] == ["emails", "externalId", "userName"] * 3
    for limit in (1, 2, 4):
        assert await all_rows(directory, f"/v1/identities?value={text}", limit) == whole


async def test_long_names_are_told_apart_to_the_last_character(directory: Directory) -> None:
    same = "x" * 490
    people = [await directory.create(f"p{end}", externalId=f"{same}{end}", microsoftId=f"ẞ{same}{end}") for end in "ab"]
    await Following(directory.services.pool, FOLLOWERS).catch_up()

    for user, end in zip(people, "ab", strict=True):
        for name, value in (("externalId", f"{same}{end}"), ("microsoftId", f"SS{same}{end}")):
            found = await all_rows(directory, f"/v1/identities?attribute={name}&value={value}")
            assert [row["user_id"] for row in found] == [user]


async def test_the_tenant_itself_is_no_person_of_whom_something_changed(directory: Directory) -> None:
    for attribute in ("role", "active", "name"):
        address = f"/v1/attribute-changes?attribute={attribute}&user={directory.tenant_id}"
        assert await all_rows(directory, address) == []


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
        ("local-edits?after=5.%00", "a seq, a dot, and an attribute"),
        ("local-edits?by=fate", "edit or end"),
        ("identities?value=x&after=99999999999999999999.emails", "a seq, a dot, and an attribute"),
        ("identities?value=x&held=once", "then or ever"),
        ("identities?value=%00", "no NUL"),
        ("local-edits?user=ann", "user takes an id"),
    ],
)
async def test_what_cannot_be_asked_is_refused(directory: Directory, query: str, told: str) -> None:
    answer = await directory.request("GET", f"/v1/{query}")

    assert answer.status_code == 400
    assert told in answer.json()["detail"]
