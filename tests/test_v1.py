"""`/v1`: people, local edits, seats and the log, as the app and the first auditor use them."""

from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import Directory


async def pages(directory: Directory, path: str, name: str) -> list[dict[str, Any]]:
    """Everything from this address on, page by page."""
    found: list[dict[str, Any]] = []
    following: str | None = path
    while following:
        page = (await directory.request("GET", following)).json()
        found += page[name]
        following = page["next"]
    return found


async def edit(directory: Directory, user: str, values: dict[str, Any], **headers: str) -> Any:
    return await directory.request("PATCH", f"/v1/users/{user}", json=values, headers=headers)


async def test_a_local_edit_merges_and_stands_until_the_directory_overwrites_it(directory: Directory) -> None:
    user = await directory.create("ann", title="Dr", name={"givenName": "Ann", "familyName": "Lee"})
    values = {"title": "Queen", "name": {"givenName": "Anna"}, "nickName": "A"}
    edited = await edit(directory, user, values, **{"X-Rollbook-Actor": "person-7"})

    person = edited.json()
    assert (person["title"], person["name"]) == ("Queen", {"givenName": "Anna", "familyName": "Lee"})
    assert person["local_edits"] == ["name.givenName", "nickName", "title"]
    await directory.patch(user, {"op": "replace", "path": "title", "value": "Prof"})
    await directory.patch(user, {"op": "replace", "path": "nickName", "value": "A"})

    _, local, overwritten, confirmed = (await directory.request("GET", f"/v1/users/{user}/history")).json()["events"]
    assert (local["source"], local["actor"]) == ("local", "person-7")
    assert local["token_id"]
    assert local["before"] == {"title": "Dr", "name.givenName": "Ann", "nickName": None}
    assert (overwritten["source"], overwritten["overwrote"]) == ("directory", {"title": 2})
    assert (overwritten["before"], overwritten["after"]) == ({"title": "Queen"}, {"title": "Prof"})
    assert confirmed["confirmed"] == {"nickName": 2}
    assert (await directory.request("GET", f"/v1/users/{user}")).json()["local_edits"] == ["name.givenName"]


async def test_role_and_seat_are_edited_and_overwritten_like_any_value(directory: Directory) -> None:
    user = await directory.create("ann", role="member")
    await edit(directory, user, {"role": "owner", "active": False})
    await directory.patch(
        user,
        {"op": "replace", "path": "role", "value": "admin"},
        {"op": "replace", "path": "active", "value": "True"},
    )

    events = (await directory.request("GET", f"/v1/users/{user}/history")).json()["events"]
    assert [event["type"] for event in events[1:]] == ["RoleAssigned", "Deactivated", "RoleAssigned", "Reactivated"]
    assert [event["overwrote"] for event in events[3:]] == [{"role": 2}, {"active": 3}]
    seats = (await directory.request("GET", "/v1/seats")).json()
    assert (seats["active"], seats["by_role"]) == (1, {"admin": 1, "member": 0, "owner": 0})


@pytest.mark.parametrize(
    ("values", "headers", "says"),
    [
        ({"shoeSize": 42}, {}, "no attribute"),
        ({"name": {"nick": "A"}}, {}, "unknown"),
        ({"id": "x"}, {}, "cannot be edited"),
        ({"title": 7}, {}, "string"),
        ({"userName": None}, {}, "userName"),
        ({"role": "king"}, {}, "Allowed"),
        ({"title": "x"}, {"X-Rollbook-Actor": "ada@contoso.example"}, "X-Rollbook-Actor"),
        (["title"], {}, "object"),
    ],
)
async def test_an_edit_that_cannot_be_is_a_problem_that_says_why(
    directory: Directory, values: Any, headers: dict[str, str], says: str
) -> None:
    user = await directory.create("ann")
    answer = await edit(directory, user, values, **headers)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert await directory.event_types(user) == ["UserProvisioned"]


async def test_a_deleted_person_is_known_inactive_and_no_longer_edited(directory: Directory) -> None:
    user = await directory.create("ann")
    await directory.request("DELETE", f"/scim/v2/Users/{user}")

    person = (await directory.request("GET", f"/v1/users/{user}")).json()
    assert (person["active"], person["is_deleted"]) == (False, True)
    assert (await edit(directory, user, {"title": "x"})).status_code == 409
    seats = (await directory.request("GET", "/v1/seats")).json()
    assert (seats["active"], seats["inactive"], seats["deleted"]) == (0, 1, 1)
    assert [each["id"] for each in await pages(directory, "/v1/users?active=false", "users")] == [user]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_the_log_is_read_to_its_end_without_gaps_while_writes_go_on(directory: Directory, order: str) -> None:
    users = [await directory.create(f"u{number}") for number in range(7)]
    first = (await directory.request("GET", f"/v1/events?order={order}&limit=3")).json()
    await directory.create("late")
    rest = await pages(directory, first["next"], "events")

    seqs = [event["seq"] for event in first["events"] + rest]
    expected = list(range(1, 10))  # as the log was when the first page was asked for
    assert seqs == (expected if order == "asc" else expected[::-1])
    assert {event["user_id"] for event in rest + first["events"]} >= set(users)


async def test_the_log_is_chosen_from_by_user_type_source_and_time(directory: Directory) -> None:
    ann, bob = await directory.create("ann"), await directory.create("bob")
    await edit(directory, bob, {"title": "x"})
    everything = await pages(directory, "/v1/events?order=asc", "events")
    edited = everything[-1]

    async def types(query: str) -> list[str]:
        return [event["type"] for event in await pages(directory, f"/v1/events?{query}", "events")]

    assert await types(f"user={ann}") == ["UserProvisioned"]
    assert await types("source=local&before=7") == ["AttributesChanged"]
    assert await types("type=UserProvisioned&order=asc") == ["UserProvisioned", "UserProvisioned"]
    assert await types(f"since={edited['recorded_at']}&before=6") == ["AttributesChanged"]
    assert await types(f"until={everything[1]['recorded_at']}") == ["TenantRegistered"]
    assert await types(f"user={uuid4()}") == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "since=yesterday", "since=2026-01-01T00:00:00", "type=Nonsense", "source=me",
     "user=ann", "after=-1", "order=up"],
)  # fmt: skip
async def test_a_question_that_cannot_be_is_a_problem(directory: Directory, query: str) -> None:
    answer = await directory.request("GET", f"/v1/events?{query}")

    assert answer.status_code == 400
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]


async def test_everybody_is_listed_page_by_page(directory: Directory) -> None:
    users = [await directory.create(f"u{number}") for number in range(5)]

    assert [each["id"] for each in await pages(directory, "/v1/users?limit=2", "users")] == users
    assert (await directory.request("GET", f"/v1/users/{uuid4()}")).status_code == 404
    assert (await directory.request("GET", "/v1/users/ann")).status_code == 404
