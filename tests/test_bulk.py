"""`/Bulk` (RFC 7644 §3.7): many operations in one request, each for itself, and references between them."""

from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from api.scim_bulk import LARGEST_BODY
from engine.bulk import MOST_OPERATIONS, REQUEST, RESPONSE
from tests.conftest import Directory

BULK = "/scim/v2/Bulk"
USERS = "/scim/v2/Users"
Json = dict[str, Any]


MANAGER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def under(bulk_id: str, reference: str | None = None) -> Json:
    """Somebody's manager is whom another operation of the message makes."""
    return {MANAGER: {"manager": {"value": f"bulkId:{bulk_id}", **({"$ref": reference} if reference else {})}}}


def post(name: str, bulk_id: str | None = None, more: Json | None = None, **attributes: Any) -> Json:
    return {
        "method": "POST",
        "path": "/Users",
        "bulkId": bulk_id or name,
        "data": {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": name,
            **attributes,
            **(more or {}),
        },
    }


def patch(user_id: str, **attributes: Any) -> Json:
    operations = [{"op": "replace", "path": name, "value": value} for name, value in attributes.items()]
    return {"method": "PATCH", "path": f"/Users/{user_id}", "data": {"Operations": operations}}


async def bulk(directory: Directory, *operations: Json, **members: Any) -> list[Json]:
    answer = await directory.request(
        "POST", BULK, json={"schemas": [REQUEST], "Operations": list(operations), **members}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["schemas"] == [RESPONSE]
    results: list[Json] = answer.json()["Operations"]
    return results


def statuses(results: list[Json]) -> list[str]:
    return [each["status"] for each in results]


async def names(directory: Directory) -> dict[str, Json]:
    found = (await directory.request("GET", f"{USERS}?count=1000")).json()["Resources"]
    return {each["userName"]: each for each in found}


async def test_each_operation_has_its_answer_with_location_version_and_status(directory: Directory) -> None:
    ann = await directory.create("ann")
    bob = await directory.create("bob")

    results = await bulk(
        directory,
        post("cay"),
        patch(ann, title="Boss"),
        {"method": "PUT", "path": f"/Users/{ann}", "data": {"userName": "ann", "displayName": "Ann"}},
        {"method": "DELETE", "path": f"/Users/{bob}"},
    )

    assert statuses(results) == ["201", "200", "200", "204"]
    assert [each["method"] for each in results] == ["POST", "PATCH", "PUT", "DELETE"]
    assert results[0]["bulkId"] == "cay"
    found = await names(directory)
    assert results[0]["location"] == found["cay"]["meta"]["location"]
    assert results[2]["version"] == found["ann"]["meta"]["version"]
    assert results[3]["location"].endswith(f"/Users/{bob}")
    assert "response" not in results[0]
    assert found["ann"]["displayName"] == "Ann"
    assert "title" not in found["ann"]
    assert set(found) == {"ann", "cay"}


async def test_what_one_operation_does_wrong_is_its_own(directory: Directory, owner: asyncpg.Connection) -> None:
    nobody = "01a207dc-8416-75e2-94f2-4333f970c784"
    results = await bulk(
        directory,
        post("ann"),
        post("ANN", "again"),
        patch(nobody, title="x"),
        post("bob", active="perhaps"),
        {"method": "POST", "path": "/Users", "data": {"userName": "no id"}},
        {"method": "POST", "path": "/Users", "bulkId": "", "data": {"userName": "no id"}},
        {"method": "POST", "path": "/Rockets", "bulkId": "r", "data": {}},
        {"method": "DELETE", "path": "/Users"},
        {"method": "POST", "path": f"/Users/{nobody}", "bulkId": "n", "data": {}},
        post("cay"),
    )

    assert statuses(results) == ["201", "409", "404", "400", "400", "400", "404", "405", "405", "201"]
    assert results[1]["response"]["scimType"] == "uniqueness"
    assert results[1]["response"]["status"] == "409"
    assert "location" not in results[1]
    assert results[2]["location"].endswith(f"/Users/{nobody}")
    assert "bulkId" in results[4]["response"]["detail"]
    assert set(await names(directory)) == {"ann", "cay"}
    refused = await owner.fetch("SELECT data ->> 'path' AS path FROM rollbook.events WHERE type = 'RequestRefused'")
    assert sorted(row["path"] for row in refused) == [USERS] * 4


async def test_operations_refer_to_each_other_by_bulk_id_in_any_order(directory: Directory) -> None:
    results = await bulk(
        directory,
        post("worker", more=under("lead", "../Users/bulkId:lead")),
        patch("bulkId:worker", title="Of bulkId: nobody"),
        post("lead", more=under("boss")),
        post("boss"),
    )

    assert statuses(results) == ["201", "200", "201", "201"]
    found = await names(directory)
    assert found["worker"][MANAGER]["manager"]["value"] == found["lead"]["id"]
    assert found["worker"][MANAGER]["manager"]["$ref"] == f"../Users/{found['lead']['id']}"
    assert found["lead"][MANAGER]["manager"]["value"] == found["boss"]["id"]
    assert found["worker"]["title"] == "Of bulkId: nobody"


async def test_references_in_a_circle_to_what_failed_or_to_nothing_are_refused(directory: Directory) -> None:
    results = await bulk(
        directory,
        post("ann", more=under("bob")),
        post("bob", more=under("ann")),
        post("cay", more=under("bad")),
        post("bad", active="perhaps"),
        post("dan", more=under("none")),
        post("eve"),
    )

    assert statuses(results) == ["409", "409", "409", "400", "400", "201"]
    assert "none" in results[4]["response"]["detail"]
    assert set(await names(directory)) == {"eve"}


@pytest.mark.parametrize(("most", "carried_out"), [(1, 2), (2, 4), (3, 5), (None, 5)])
async def test_after_so_many_errors_nothing_more_is_carried_out(
    directory: Directory, most: int | None, carried_out: int
) -> None:
    operations = [post("ann"), post("ann", "2"), post("bob"), post("ann", "4"), post("cay")]
    given: Json = {} if most is None else {"failOnErrors": most}

    results = await bulk(directory, *operations, **given)

    assert statuses(results) == ["201", "409", "201", "409", "201"][:carried_out]
    assert len(await names(directory)) == {2: 1, 4: 2, 5: 3}[carried_out]


async def test_what_comes_of_it_is_what_one_after_the_other_would_have_made(directory: Directory) -> None:
    ann, bob = await directory.create("ann"), await directory.create("bob")
    results = await bulk(
        directory,
        patch(ann, userName="cay"),
        patch(bob, userName="ann"),
        {"method": "DELETE", "path": f"/Users/{ann}"},
        post("cay"),
        *(patch(bob, title=str(number)) for number in range(20)),
    )

    assert statuses(results) == ["200", "200", "204", "201", *["200"] * 20]
    found = await names(directory)
    assert found["ann"]["id"] == bob
    assert found["ann"]["title"] == "19"
    assert await directory.event_types(bob) == ["UserProvisioned", *["AttributesChanged"] * 21]


async def test_a_version_is_held_to(directory: Directory) -> None:
    ann = await directory.create("ann")
    results = await bulk(
        directory, patch(ann, title="x") | {"version": 'W/"7"'}, patch(ann, title="y") | {"version": 'W/"1"'}
    )

    assert statuses(results) == ["412", "200"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "Operations takes a list"),
        ([], 400, "object"),
        ({"Operations": [7]}, 400, "Operations[0] must be an object"),
        ({"Operations": [{"method": "GET", "path": "/Users"}]}, 400, "Operations[0].method"),
        ({"Operations": [{"path": "/Users", "data": {}}]}, 400, "Operations[0].method"),
        ({"Operations": [{"method": "POST", "path": 7, "data": {}}]}, 400, "Operations[0].path takes a string"),
        ({"Operations": [{"method": "POST", "bulkId": "a", "data": {}}]}, 400, "Operations[0].path is missing"),
        ({"Operations": [{"method": "PUT", "path": "/Users/x"}]}, 400, "Operations[0].data is missing"),
        ({"Operations": [post("a"), post("b", "a")]}, 400, "two operations"),
        ({"Operations": [post("a")], "failOnErrors": 0}, 400, "failOnErrors"),
        ({"Operations": [post("a")], "failOnErrors": True}, 400, "failOnErrors"),
        ({"Operations": [post("a")], "failOnErrors": "1"}, 400, "failOnErrors"),
        ({"Operations": [post("a")] * (MOST_OPERATIONS + 1)}, 413, str(MOST_OPERATIONS)),
        ({"Operations": [post("a", title="x" * LARGEST_BODY)]}, 413, str(LARGEST_BODY)),
    ],
)
async def test_a_message_that_is_none_is_refused_whole(
    directory: Directory, body: Json, status: int, says: str
) -> None:
    answer = await directory.request("POST", BULK, json=body)

    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert await names(directory) == {}


async def test_the_greatest_message_that_is_advertised_is_taken(directory: Directory) -> None:
    bulk_of: Mapping[str, Any] = (await directory.request("GET", "/scim/v2/ServiceProviderConfig")).json()["bulk"]
    assert bulk_of == {"supported": True, "maxOperations": MOST_OPERATIONS, "maxPayloadSize": LARGEST_BODY}

    results = await bulk(directory, *(post(f"u{number}") for number in range(bulk_of["maxOperations"])))

    assert set(statuses(results)) == {"201"}
    assert [each["bulkId"] for each in results] == [f"u{number}" for number in range(MOST_OPERATIONS)]
    assert len(await names(directory)) == MOST_OPERATIONS


async def test_all_events_of_one_message_share_its_request_id(directory: Directory, owner: asyncpg.Connection) -> None:
    await bulk(directory, post("ann"), post("bob"))

    ids = await owner.fetch("SELECT DISTINCT request_id FROM rollbook.events WHERE type = 'UserProvisioned'")
    assert len(ids) == 1


async def test_nobody_comes_in_by_bulk_who_may_not_write(directory: Directory) -> None:
    answer = await directory.client.post(BULK, json={"Operations": [post("ann")]})
    assert answer.status_code == 401
