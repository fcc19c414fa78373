"""SCIM over the wire: statuses, headers, versions, pages, and what is wrong with a request."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Directory

USERS = "/scim/v2/Users"


async def refusals(directory: Directory) -> list[dict[str, Any]]:
    rows = await directory.services.pool.fetch(
        "SELECT data FROM rollbook.events WHERE tenant_id = $1 AND type = 'RequestRefused' ORDER BY seq",
        directory.tenant_id,
    )
    return [json.loads(row["data"]) for row in rows]


async def test_each_answer_carries_the_version_and_the_address(directory: Directory) -> None:
    created = await directory.request("POST", USERS, json={"userName": "ann"})
    assert created.status_code == 201
    assert created.headers["etag"] == 'W/"1"' == created.json()["meta"]["version"]
    assert created.headers["location"] == created.json()["meta"]["location"]

    changed = await directory.patch(created.json()["id"], {"op": "replace", "path": "title", "value": "Dr"})
    assert changed.headers["etag"] == 'W/"2"' == changed.json()["meta"]["version"]
    assert changed.json()["meta"]["created"] == created.json()["meta"]["created"]
    assert (await directory.client.get(created.headers["location"])).status_code == 401


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("tags", "is_let_through"),
    [('W/"1"', True), ('"1"', True), ("*", True), ('W/"7", W/"1"', True), ('W/"2"', False), ("nonsense", False)],
)
async def test_a_write_is_for_the_versions_that_it_names(
    directory: Directory, method: str, tags: str, is_let_through: bool
) -> None:
    user = await directory.create("ann")
    bodies = {"PUT": {"userName": "ann", "title": "Dr"}, "PATCH": {"Operations": [{"op": "remove", "path": "title"}]}}
    answer = await directory.request(method, f"{USERS}/{user}", json=bodies.get(method), headers={"If-Match": tags})

    assert (answer.status_code < 300) == is_let_through
    if not is_let_through:
        assert answer.status_code == 412
        assert (await directory.request("GET", f"{USERS}/{user}")).headers["etag"] == 'W/"1"'
        assert [each["status"] for each in await refusals(directory)] == [412]


async def test_what_the_client_has_already_is_not_sent_again(directory: Directory) -> None:
    user = await directory.create("ann")

    fresh = await directory.request("GET", f"{USERS}/{user}", headers={"If-None-Match": 'W/"1"'})
    assert (fresh.status_code, fresh.content) == (304, b"")
    assert (await directory.request("GET", f"{USERS}/{user}", headers={"If-None-Match": 'W/"2"'})).status_code == 200


async def test_a_put_takes_away_what_it_leaves_out_but_nobody_s_seat_and_role(directory: Directory) -> None:
    user = await directory.create("ann", title="Dr", role="admin", active=False, emails=[{"value": "a@b.example"}])
    answer = await directory.request("PUT", f"{USERS}/{user}", json={"userName": "ann", "displayName": "Ann"})

    found = answer.json()
    assert (found["displayName"], found["role"], found["active"]) == ("Ann", "admin", False)
    assert not {"title", "emails"} & found.keys()
    assert await directory.event_types(user) == ["UserProvisioned", "AttributesChanged"]


async def test_an_answer_has_the_attributes_that_were_asked_for(directory: Directory) -> None:
    user = await directory.create("ann", title="Dr", name={"givenName": "Ann", "familyName": "Lee"})

    async def keys(query: str) -> set[str]:
        return set((await directory.request("GET", f"{USERS}/{user}?{query}")).json())

    assert await keys("attributes=title,name.givenName") == {"schemas", "id", "title", "name"}
    assert "name" not in await keys("excludedAttributes=name,id")
    both = await directory.request("GET", f"{USERS}?attributes=title&excludedAttributes=name")
    assert both.status_code == 400


@pytest.mark.parametrize(
    ("query", "total", "start", "found"),
    [
        ("", 5, 1, ["u0", "u1", "u2", "u3", "u4"]),
        ("startIndex=2&count=2", 5, 2, ["u1", "u2"]),
        ("startIndex=-3&count=-1", 5, 1, []),
        ("count=0", 5, 1, []),
        ("startIndex=99999999999999999999&count=1", 5, 99999999999999999999, []),
        ("filter=userName+sw+%22u%22&startIndex=4", 5, 4, ["u3", "u4"]),
        ("filter=active+eq+false", 0, 1, []),
    ],
)
async def test_a_list_is_paged_in_the_order_of_creation(
    directory: Directory, query: str, total: int, start: int, found: list[str]
) -> None:
    for number in range(5):
        await directory.create(f"u{number}")
    page = (await directory.request("GET", f"{USERS}?{query}")).json()

    assert (page["totalResults"], page["startIndex"]) == (total, start)
    assert [user["userName"] for user in page["Resources"]] == found
    assert page["itemsPerPage"] == len(found)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b'{"userName": ', 400, "not JSON"),
        (b'{"userName": "ann"} trailing', 400, "byte"),
        (b'["ann"]', 400, "object"),
        (b'{"userName": 7}', 400, "userName takes a string"),
        (b'{"userName": "ann", "emails": "x", "name": []}', 400, "name takes an object"),
        (b'{"userName": "ann", "active": "perhaps"}', 400, "active takes true or false"),
        (b'{"userName": "ann\\u0000"}', 400, "NUL"),
        (b'{"userName": "ann\\ud800"}', 400, "surrogate"),
        (b'{"userName": "ann\xff"}', 400, "UTF-8"),
        (b'{"userName": "ann", "title": 1e999}', 400, "range"),
        (b'{"title": ' + b"[" * 100_000, 400, "deep"),
        (b'{"schemas": 7, "userName": "ann"}', 400, "schemas"),
        (b"x" * 1_048_577, 413, "1048576"),
    ],
)
async def test_bad_input_is_refused_with_what_is_wrong(
    directory: Directory, body: bytes, status: int, says: str
) -> None:
    answer = await directory.request("POST", USERS, content=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/scim+json"
    assert says in answer.json()["detail"]
    assert (await directory.request("GET", USERS)).json()["totalResults"] == 0


async def test_a_refused_write_is_part_of_the_trail_and_a_refused_read_is_not(directory: Directory) -> None:
    user = await directory.create("ann")
    await directory.request("POST", USERS, json={"userName": "ANN", "externalId": "e-1"})
    await directory.patch(user, {"op": "replace", "path": "active", "value": "perhaps"})
    await directory.request("GET", f"{USERS}?filter=nonsense")
    await directory.request("GET", f"{USERS}/nobody")
    await directory.request("DELETE", f"{USERS}/nobody")

    recorded = await refusals(directory)
    assert [(each["method"], each["status"], each["scim_type"]) for each in recorded] == [
        ("POST", 409, "uniqueness"),
        ("PATCH", 400, "invalidValue"),
    ]
    assert recorded[0]["subject"] == {"userName": "ANN", "externalId": "e-1"}
    assert recorded[1]["user_id"] == user
    assert await directory.event_types(user) == ["UserProvisioned"]


async def test_a_seat_limit_refuses_with_the_limit_and_the_count(directory: Directory) -> None:
    user = await directory.create("ann")
    await directory.set_settings(seat_limit=1)
    answer = await directory.request("POST", USERS, json={"userName": "bob"})

    assert answer.status_code == 403
    assert "1 of 1" in answer.json()["detail"]
    assert (await directory.request("DELETE", f"{USERS}/{user}")).status_code == 204
    assert (await directory.request("POST", USERS, json={"userName": "bob"})).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PATCH", USERS, 405),
        ("POST", "/scim/v2/Schemas", 405),
        ("DELETE", "/scim/v2", 405),
        ("GET", "/scim", 404),
        ("GET", "/scim/v2/Users/%00", 404),
        ("GET", "/scim/v2/%2e%2e/v1/users", 404),
    ],
)
async def test_what_is_not_offered_says_so(directory: Directory, method: str, path: str, status: int) -> None:
    answer = await directory.request(method, path, json={} if method == "POST" else None)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/scim+json"
    assert answer.json()["detail"]
    if status == 405:
        assert "GET" in answer.headers["allow"]


async def test_a_body_of_another_type_is_refused_and_a_get_never_is(directory: Directory) -> None:
    answer = await directory.request("POST", USERS, content=b"a=b", headers={"Content-Type": "text/plain"})

    assert answer.status_code == 415
    assert (await directory.request("GET", USERS, headers={"Accept": "text/html"})).status_code == 200


NAMES = st.text(max_size=5) | st.sampled_from(
    [
        "userName",
        "active",
        "role",
        "emails",
        "value",
        "type",
        "primary",
        "name",
        "op",
        "path",
        "Operations",
        "urn:x",
        "manager",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
TEXTS = st.sampled_from(
    [
        "userName",
        "eq",
        '"a"',
        "(",
        ")",
        "[",
        "]",
        "and",
        "not",
        "pr",
        "emails",
        "active",
        "null",
        "meta.created",
        ".value",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON, words=st.lists(TEXTS, max_size=8))
async def test_no_request_is_answered_with_a_fault(directory: Directory, body: Any, words: list[str]) -> None:
    user = "00000000-0000-4000-8000-000000000000"
    answers = [
        await directory.request("POST", USERS, json={"userName": "x", "rest": body} if body is None else body),
        await directory.request("PATCH", f"{USERS}/{user}", json=body or {}),
        await directory.request("PATCH", f"{USERS}/{user}", json={"Operations": [{"op": "add", "value": body}]}),
        await directory.client.get(
            USERS, params={"filter": " ".join(words)}, headers={"Authorization": f"Bearer {directory.token}"}
        ),
    ]

    assert [answer.status_code for answer in answers if answer.status_code >= 500] == []
