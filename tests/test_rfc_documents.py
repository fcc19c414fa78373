"""The example documents of RFC 7643 §8 and the requests of RFC 7644 §3: what was sent comes back, in both modes."""

from typing import Any

import pytest

from engine.schema import CORE, ENTERPRISE, GROUP_URN
from tests.conftest import Directory

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

MINIMAL = {"schemas": [CORE], "userName": "bjensen@example.com"}  # RFC 7643 §8.1

FULL: dict[str, Any] = {  # RFC 7643 §8.2
    "schemas": [CORE],
    "externalId": "701984",
    "userName": "bjensen@example.com",
    "name": {
        "formatted": "Ms. Barbara J Jensen, III",
        "familyName": "Jensen",
        "givenName": "Barbara",
        "middleName": "Jane",
        "honorificPrefix": "Ms.",
        "honorificSuffix": "III",
    },
    "displayName": "Babs Jensen",
    "nickName": "Babs",
    "profileUrl": "https://login.example.com/bjensen",
    "emails": [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@jensen.org", "type": "home"},
    ],
    "addresses": [
        {
            "type": "work",
            "streetAddress": "100 Universal City Plaza",
            "locality": "Hollywood",
            "region": "CA",
            "postalCode": "91608",
            "country": "USA",
            "formatted": "100 Universal City Plaza\nHollywood, CA 91608 USA",
            "primary": True,
        },
        {
            "type": "home",
            "streetAddress": "456 Hollywood Blvd",
            "locality": "Hollywood",
            "region": "CA",
            "postalCode": "91608",
            "country": "USA",
            "formatted": "456 Hollywood Blvd\nHollywood, CA 91608 USA",
        },
    ],
    "phoneNumbers": [{"value": "555-555-5555", "type": "work"}, {"value": "555-555-4444", "type": "mobile"}],
    "ims": [{"value": "someaimhandle", "type": "aim"}],
    "photos": [
        {"value": "https://photos.example.com/profilephoto/72930000000Ccne/F", "type": "photo"},
        {"value": "https://photos.example.com/profilephoto/72930000000Ccne/T", "type": "thumbnail"},
    ],
    "userType": "Employee",
    "title": "Tour Guide",
    "preferredLanguage": "en-US",
    "locale": "en-US",
    "timezone": "America/Los_Angeles",
    "active": True,
    "x509Certificates": [{"value": "MIIDQzCCAqygAwIBAgICEAAwDQYJKoZIhvcNAQEFBQAwTjELMAkGA1UEBhMCVVMx"}],
}

ENTERPRISE_USER = {  # RFC 7643 §8.3
    **FULL,
    "schemas": [CORE, ENTERPRISE],
    ENTERPRISE: {
        "employeeNumber": "701984",
        "costCenter": "4130",
        "organization": "Universal Studios",
        "division": "Theme Park",
        "department": "Tour Operations",
    },
}


@pytest.fixture(params=["entra", "strict"])
async def mode(directory: Directory, request: pytest.FixtureRequest) -> str:
    # The examples have names that a tenant keeps out by default, and no tenant of SCIM's own would.
    await directory.set_settings(mode=request.param, name_characters="any", groups="on")
    return str(request.param)


@pytest.mark.parametrize("document", [MINIMAL, FULL, ENTERPRISE_USER], ids=["minimal", "full", "enterprise"])
async def test_an_example_user_comes_back_as_it_was_sent(
    directory: Directory, mode: str, document: dict[str, Any]
) -> None:
    created = await directory.request("POST", "/scim/v2/Users", json=document)
    assert created.status_code == 201, created.text
    read = (await directory.request("GET", f"/scim/v2/Users/{created.json()['id']}")).json()
    assert read == created.json()
    assert {name: value for name, value in read.items() if name in document and name != "schemas"} == {
        name: value for name, value in document.items() if name != "schemas"
    }
    assert set(document["schemas"]) <= set(read["schemas"])
    assert read["meta"]["resourceType"] == "User"
    assert read["meta"]["location"] == created.headers["location"]
    put = await directory.request("PUT", f"/scim/v2/Users/{read['id']}", json=read)
    assert put.status_code == 200, "what was read may be put as it is"
    assert {**put.json(), "meta": None} == {**read, "meta": None}


async def test_the_example_group_comes_back_with_its_members(directory: Directory, mode: str) -> None:
    members = [await directory.create(name, schemas=[CORE]) for name in ("babs", "mandy")]
    document = {
        "schemas": [GROUP_URN],
        "displayName": "Tour Guides",
        "members": [{"value": each, "type": "User"} for each in members],
    }
    created = await directory.request("POST", "/scim/v2/Groups", json=document)
    read = (await directory.request("GET", f"/scim/v2/Groups/{created.json()['id']}")).json()
    assert read["displayName"] == "Tour Guides"
    assert [(each["value"], each["type"]) for each in read["members"]] == [(each, "User") for each in members]
    assert all(each["$ref"].endswith(f"/Users/{each['value']}") for each in read["members"])


# RFC 7644 §3.5.2, its examples: what is there before, the operations, and what is there afterwards.

HOME = {"type": "home", "value": "babs@jensen.org"}
WORK = {"type": "work", "value": "bjensen@example.com", "primary": True}
ADDRESS = {
    "type": "work",
    "streetAddress": "911 Universal City Plaza",
    "locality": "Hollywood",
    "region": "CA",
    "postalCode": "91608",
    "country": "US",
    "formatted": "911 Universal City Plaza\nHollywood, CA 91608 US",
    "primary": True,
}


@pytest.mark.parametrize(
    ("before", "operations", "after"),
    [
        pytest.param(
            {},
            [{"op": "add", "value": {"emails": [HOME], "nickname": "Babs"}}],
            {"emails": [HOME], "nickName": "Babs"},
            id="3.5.2.1 add without a path",
        ),
        pytest.param(
            {"emails": [WORK, HOME]},
            [{"op": "remove", "path": 'emails[type eq "work" and value ew "example.com"]'}],
            {"emails": [HOME]},
            id="3.5.2.2 remove by a complex filter",
        ),
        pytest.param(
            {"emails": [WORK]}, [{"op": "remove", "path": "emails"}], {"emails": None}, id="3.5.2.2 remove all values"
        ),
        pytest.param(
            {"addresses": [{"type": "work", "locality": "Los Angeles"}, {"type": "home", "locality": "Here"}]},
            [{"op": "replace", "path": 'addresses[type eq "work"]', "value": ADDRESS}],
            {"addresses": [ADDRESS, {"type": "home", "locality": "Here"}]},
            id="3.5.2.3 replace an element",
        ),
        pytest.param(
            {"addresses": [{"type": "work", "streetAddress": "Old"}]},
            [{"op": "replace", "path": 'addresses[type eq "work"].streetAddress', "value": "1010 Broadway Ave"}],
            {"addresses": [{"type": "work", "streetAddress": "1010 Broadway Ave"}]},
            id="3.5.2.3 replace a sub-attribute of an element",
        ),
        pytest.param(
            {"emails": [WORK]},
            [{"op": "replace", "value": {"emails": [WORK, HOME], "nickname": "Babs"}}],
            {"emails": [WORK, HOME], "nickName": "Babs"},
            id="3.5.2.3 replace without a path",
        ),
    ],
)
async def test_an_example_patch_does_what_it_says(
    directory: Directory, mode: str, before: dict[str, Any], operations: list[dict[str, Any]], after: dict[str, Any]
) -> None:
    user_id = await directory.create("bjensen@example.com", schemas=[CORE], **before)
    body = {"schemas": [PATCH_OP], "Operations": operations}
    patched = await directory.request("PATCH", f"/scim/v2/Users/{user_id}", json=body)
    assert patched.status_code == 200, patched.text
    assert {name: patched.json().get(name) for name in after} == after


async def test_the_example_of_members_removes_one_and_then_replaces_all(directory: Directory, mode: str) -> None:
    ann, bob, eve = [await directory.create(name, schemas=[CORE]) for name in ("ann", "bob", "eve")]
    members = [{"value": each} for each in (ann, bob)]
    document = {"schemas": [GROUP_URN], "displayName": "Tour Guides", "members": members}
    group_id = (await directory.request("POST", "/scim/v2/Groups", json=document)).json()["id"]

    async def patched(*operations: dict[str, Any]) -> list[str]:
        body = {"schemas": [PATCH_OP], "Operations": operations}
        answer = await directory.request("PATCH", f"/scim/v2/Groups/{group_id}", json=body)
        assert answer.status_code in {200, 204}, answer.text
        read = (await directory.request("GET", f"/scim/v2/Groups/{group_id}")).json()
        return sorted(each["value"] for each in read.get("members", []))

    assert await patched({"op": "remove", "path": f'members[value eq "{ann}"]'}) == [bob]
    assert await patched({"op": "add", "path": "members", "value": [{"value": eve}]}) == sorted([bob, eve])
    assert await patched(
        {"op": "remove", "path": "members"}, {"op": "add", "path": "members", "value": [{"value": ann}]}
    ) == [ann]
    assert await patched({"op": "replace", "path": "members", "value": [{"value": bob}]}) == [bob]


async def test_the_example_search_finds_by_post(directory: Directory, mode: str) -> None:
    await directory.create("bjensen@example.com", schemas=[CORE], displayName="Babs Jensen")
    await directory.create("smith@example.com", schemas=[CORE], displayName="Smith Berry")
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "attributes": ["displayName", "userName"],
        "filter": 'displayName sw "smith"',
        "startIndex": 1,
        "count": 10,
    }
    found = (await directory.request("POST", "/scim/v2/.search", json=body)).json()
    assert (found["totalResults"], found["startIndex"], found["itemsPerPage"]) == (1, 1, 1)
    [smith] = found["Resources"]
    assert smith["displayName"] == "Smith Berry"
    assert smith.keys() <= {"schemas", "id", "userName", "displayName", "meta"}


async def test_the_example_bulk_makes_a_user_and_a_group_that_names_it(directory: Directory, mode: str) -> None:
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [
            {
                "method": "POST",
                "path": "/Users",
                "bulkId": "qwerty",
                "data": {"schemas": [CORE], "userName": "alice"},
            },
            {
                "method": "POST",
                "path": "/Groups",
                "bulkId": "ytrewq",
                "data": {
                    "schemas": [GROUP_URN],
                    "displayName": "Tour Guides",
                    "members": [{"type": "User", "value": "bulkId:qwerty"}],
                },
            },
        ],
    }
    answered = await directory.request("POST", "/scim/v2/Bulk", json=body)
    assert answered.status_code == 200, answered.text
    user, group = answered.json()["Operations"]
    assert [user["status"], group["status"]] == ["201", "201"]
    read = (await directory.request("GET", group["location"].partition("/scim/v2")[2].join(["/scim/v2", ""]))).json()
    assert [each["value"] for each in read["members"]] == [user["location"].rpartition("/")[2]]
