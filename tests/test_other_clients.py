"""Sessions of other directories than Entra, in the forms that they document or that implementers report.

Each runs in a tenant as it is by default; and in one that takes strict SCIM only, as far as the client speaks that.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Directory

USERS = "/scim/v2/Users"
GROUPS = "/scim/v2/Groups"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
Json = dict[str, Any]

BOTH = pytest.mark.parametrize("mode", ["entra", "strict"])


class Client:
    """A directory that calls with its own headers."""

    def __init__(self, directory: Directory, headers: dict[str, str]) -> None:
        self._directory = directory
        self._headers = headers

    async def call(self, method: str, address: str, body: Json | None = None) -> httpx.Response:
        answer = await self._directory.request(method, address, json=body, headers=self._headers)
        if answer.content:
            assert answer.headers["content-type"] == "application/scim+json"
        return answer

    async def get(self, address: str, **parameters: object) -> Json:
        answer = await self.call("GET", f"{address}?{urlencode(parameters)}" if parameters else address)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def post(self, address: str, body: Json) -> Json:
        answer = await self.call("POST", address, body)
        assert answer.status_code == 201, answer.text
        found: Json = answer.json()
        assert answer.headers["location"] == found["meta"]["location"]
        return found

    async def put(self, address: str, body: Json) -> Json:
        answer = await self.call("PUT", address, body)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def patch(self, address: str, *operations: Json) -> Json:
        answer = await self.call("PATCH", address, {"schemas": [PATCH], "Operations": list(operations)})
        assert answer.status_code in {200, 204}, answer.text
        return await self.get(address)


async def client_in(directory: Directory, mode: str, **headers: str) -> Client:
    await directory.set_settings(mode=mode, groups="on")
    return Client(directory, {name.replace("_", "-"): value for name, value in headers.items()})


def members(group: Json) -> set[str]:
    return {each["value"] for each in group.get("members", [])}


def empty(page: Json) -> bool:
    assert page["schemas"] == [LIST]
    return (page["totalResults"], page["startIndex"], page["Resources"]) == (0, 1, [])


def is_within(sent: Json, found: Json, but: Sequence[str] = ()) -> bool:
    """Whether a resource is answered as it was sent, with what the service adds."""
    return all(found.get(name) == value for name, value in sent.items() if name not in but)


# Okta (its SCIM 2.0 protocol reference).

OKTA = {"User_Agent": "Okta SCIM Client 1.0.0", "Accept": "application/scim+json", "Accept_Charset": "utf-8"}


def okta_user(name: str) -> Json:
    return {
        "schemas": [USER],
        "userName": f"{name}@okta.local",
        "name": {"givenName": "Test", "familyName": "User"},
        "emails": [{"primary": True, "value": f"{name}@okta.local", "type": "work"}],
        "displayName": "Test User",
        "locale": "en-US",
        "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    }


@BOTH
async def test_okta_provisions_changes_and_deactivates_a_person(directory: Directory, mode: str) -> None:
    okta = await client_in(directory, mode, **OKTA)
    assert empty(await okta.get(USERS, startIndex=1, count=2))
    query = {"filter": 'userName eq "test.user@okta.local"', "startIndex": 1, "count": 100}
    assert empty(await okta.get(USERS, **query))

    made = await okta.post(USERS, okta_user("test.user"))
    assert is_within(okta_user("test.user"), made, but=["groups", "password"])
    assert "password" not in made
    assert (await okta.get(USERS, **query))["Resources"] == [made]
    again = await okta.call("POST", USERS, okta_user("TEST.USER" if mode == "strict" else "test.user"))
    assert again.status_code in {400, 409}
    assert again.json()["schemas"] == [ERROR]

    address = f"{USERS}/{made['id']}"
    read = await okta.get(address)
    changed = await okta.put(address, {**read, "name": {**read["name"], "middleName": "Excited"}, "groups": []})
    assert changed["name"] == {"givenName": "Test", "middleName": "Excited", "familyName": "User"}
    assert is_within(read, changed, but=["name", "meta"])

    for is_active in (False, True, False):
        operation = {"op": "replace", "value": {"active": is_active}}
        assert (await okta.patch(address, operation))["active"] is is_active
    synced = await okta.patch(address, {"op": "replace", "value": {"password": "another one"}})
    assert "password" not in synced
    assert await directory.event_types(made["id"]) == [
        "UserProvisioned", "AttributesChanged", "Deactivated", "Reactivated", "Deactivated",
    ]  # fmt: skip


@BOTH
async def test_okta_deactivates_by_put_in_apps_of_its_wizard(directory: Directory, mode: str) -> None:
    okta = await client_in(directory, mode, **OKTA)
    made = await okta.post(USERS, okta_user("test.user"))
    address = f"{USERS}/{made['id']}"
    for is_active in (False, True):
        body = {**(await okta.get(address)), "active": is_active, "groups": []}
        assert (await okta.put(address, body))["active"] is is_active


async def test_okta_sends_empty_texts_for_what_somebody_does_not_have(directory: Directory) -> None:
    okta = await client_in(directory, "entra", **OKTA)
    made = await okta.post(USERS, okta_user("test.user"))
    body = {**made, "name": {**made["name"], "middleName": ""}, "title": None, "groups": []}
    assert (await okta.put(f"{USERS}/{made['id']}", body))["name"] == made["name"]


@BOTH
async def test_okta_imports_everybody_page_by_page(directory: Directory, mode: str) -> None:
    okta = await client_in(directory, mode, **OKTA)
    made = [(await okta.post(USERS, okta_user(f"u{number}")))["id"] for number in range(5)]
    found: list[str] = []
    total = 1
    while len(found) < total:
        page = await okta.get(USERS, startIndex=len(found) + 1, count=2)
        total = page["totalResults"]
        assert all(type(page[name]) is int for name in ("totalResults", "startIndex", "itemsPerPage"))
        found += [each["id"] for each in page["Resources"]]
    assert found == made


@BOTH
async def test_okta_pushes_a_group_its_name_and_its_members(directory: Directory, mode: str) -> None:
    okta = await client_in(directory, mode, **OKTA)
    ann, bob = [(await okta.post(USERS, okta_user(name)))["id"] for name in ("ann", "bob")]
    assert empty(await okta.get(GROUPS, startIndex=1, count=100))
    group = await okta.post(GROUPS, {"schemas": [GROUP], "displayName": "Test SCIMv2", "members": []})
    address = f"{GROUPS}/{group['id']}"

    def shown(user_id: str) -> Json:
        return {"value": user_id, "display": "test.user@okta.local"}

    filled = await okta.patch(address, {"op": "add", "path": "members", "value": [shown(ann)]})
    assert members(filled) == {ann}
    renaming = {"op": "replace", "value": {"id": group["id"], "displayName": "Test SCIMv20"}}
    renamed = await okta.patch(address, renaming)
    assert (renamed["displayName"], members(renamed)) == ("Test SCIMv20", {ann})
    swapped = await okta.patch(
        address,
        {"op": "remove", "path": f'members[value eq "{ann}"]'},
        {"op": "add", "path": "members", "value": [shown(bob)]},
    )
    assert members(swapped) == {bob}
    pushed = await okta.patch(address, {"op": "replace", "path": "members", "value": [shown(ann), shown(bob)]})
    assert members(pushed) == {ann, bob}
    assert (await okta.get(f"{USERS}/{ann}"))["groups"][0]["display"] == "Test SCIMv20"
    body = {"schemas": [GROUP], "id": group["id"], "displayName": "By PUT", "members": [shown(ann)]}
    assert members(await okta.put(address, body)) == {ann}
    assert members(await okta.patch(address, {"op": "replace", "path": "members", "value": []})) == set()
    assert (await okta.call("DELETE", address)).status_code == 204
    assert empty(await okta.get(GROUPS, filter='displayName eq "By PUT"'))


@BOTH
async def test_what_okta_s_suite_asks_of_errors_holds(directory: Directory, mode: str) -> None:
    okta = await client_in(directory, mode, **OKTA)
    assert empty(await okta.get(USERS, filter=f'userName eq "{uuid4()}@example.com"'))
    for unknown in (uuid4(), "010101001010101011001010101011"):
        missing = await okta.call("GET", f"{USERS}/{unknown}")
        assert (missing.status_code, missing.json()["schemas"]) == (404, [ERROR])
        assert missing.json()["detail"]
    made = await okta.post(USERS, okta_user("ann"))
    taken = await okta.call("POST", USERS, okta_user("ann"))
    assert (taken.status_code, taken.json()["scimType"]) == (409, "uniqueness")
    assert (await okta.get(USERS, count=1, startIndex=1))["Resources"][0]["id"] == made["id"]
    bare = {"schemas": [USER], "name": {"givenName": "A", "familyName": "B"}, "emails": []}
    assert (await okta.call("POST", USERS, bare)).status_code == 400


# OneLogin (the default template of its connector "SCIM Provisioner with SAML (SCIM v2 Enterprise)").

ONELOGIN = {"User_Agent": ""}


def onelogin_user(name: str) -> Json:
    return {
        "schemas": [USER, ENTERPRISE],
        "userName": f"{name}@onelogin.example",
        "displayName": "Test User",
        "externalId": "123456789",
        "title": "Engineer",
        "name": {"givenName": "Test", "familyName": "User", "formatted": "Test User"},
        "emails": [{"value": f"{name}@onelogin.example", "type": "work", "primary": True}],
        "phoneNumbers": [{"value": "+49 30 1", "type": "work"}],
        ENTERPRISE: {"department": "R", "manager": {"value": "42", "displayName": "Boss"}},
        "active": True,
    }


@BOTH
async def test_onelogin_matches_makes_replaces_and_suspends_a_person(directory: Directory, mode: str) -> None:
    onelogin = await client_in(directory, mode, **ONELOGIN)
    query = {"filter": 'userName eq "ann@onelogin.example"'}
    assert empty(await onelogin.get(USERS, **query))
    made = await onelogin.post(USERS, onelogin_user("ann"))
    assert is_within(onelogin_user("ann"), made, but=[ENTERPRISE])
    assert made[ENTERPRISE]["department"] == "R"
    assert made[ENTERPRISE]["manager"]["value"] == "42"
    assert [each["id"] for each in (await onelogin.get(USERS, **query))["Resources"]] == [made["id"]]

    address = f"{USERS}/{made['id']}"
    changed = await onelogin.put(address, {**onelogin_user("ann"), "title": "Manager"})
    assert (changed["title"], changed["id"]) == ("Manager", made["id"])
    suspended = await onelogin.put(address, {**onelogin_user("ann"), "title": "Manager", "active": False})
    assert suspended["active"] is False
    back = await onelogin.patch(address, {"op": "replace", "path": "active", "value": True})
    assert back["active"] is True
    assert (await onelogin.call("DELETE", address)).status_code == 204
    assert empty(await onelogin.get(USERS, **query))


async def test_onelogin_s_single_address_in_an_object_is_understood(directory: Directory) -> None:
    onelogin = await client_in(directory, "entra", **ONELOGIN)
    body = {**onelogin_user("ann"), "emails": {"value": "ann@onelogin.example", "type": "work", "primary": True}}
    made = await onelogin.post(USERS, body)
    assert made["emails"] == [body["emails"]]
    changing = {"op": "replace", "path": "emails", "value": {"value": "ann.lee@onelogin.example", "type": "work"}}
    changed = await onelogin.patch(f"{USERS}/{made['id']}", changing)
    assert [each["value"] for each in changed["emails"]] == ["ann.lee@onelogin.example"]


@BOTH
async def test_onelogin_s_roles_become_groups_whose_members_come_and_go(directory: Directory, mode: str) -> None:
    onelogin = await client_in(directory, mode, **ONELOGIN)
    ann, bob = [(await onelogin.post(USERS, onelogin_user(name)))["id"] for name in ("ann", "bob")]
    assert empty(await onelogin.get(GROUPS, filter='displayName eq "Admins"'))
    group = await onelogin.post(GROUPS, {"schemas": [GROUP], "displayName": "Admins"})
    address = f"{GROUPS}/{group['id']}"
    for user_id in (ann, bob, ann):
        await onelogin.patch(address, {"op": "add", "path": "members", "value": [{"value": user_id}]})
    assert members(await onelogin.get(address)) == {ann, bob}
    left = await onelogin.patch(address, {"op": "remove", "path": f'members[value eq "{bob}"]'})
    assert members(left) == {ann}
    replaced = await onelogin.patch(address, {"op": "replace", "value": {"members": [{"value": bob}]}})
    assert members(replaced) == {bob}
    assert [each["id"] for each in (await onelogin.get(GROUPS))["Resources"]] == [group["id"]]


# Google Workspace (automated provisioning of an app): people alone, and bodies of the plain JSON type.

GOOGLE = {"User_Agent": "Google-Auto-Provisioning", "Content_Type": "application/json", "Accept": "*/*"}


def google_user(name: str) -> Json:
    return {
        "schemas": [USER],
        "userName": f"{name}@google.example",
        "name": {"givenName": "Test", "familyName": "User"},
        "displayName": "Test User",
        "emails": [{"value": f"{name}@google.example", "type": "work", "primary": True}],
        "active": True,
    }


@BOTH
async def test_google_makes_changes_suspends_and_deletes_a_person(directory: Directory, mode: str) -> None:
    google = await client_in(directory, mode, **GOOGLE)
    query = {"filter": 'userName eq "ann@google.example"'}
    assert empty(await google.get(USERS, **query))
    made = await google.post(USERS, google_user("ann"))
    assert is_within(google_user("ann"), made)
    assert (await google.get(USERS, **query))["Resources"] == [made]

    address = f"{USERS}/{made['id']}"
    changed = await google.patch(
        address,
        {"op": "replace", "path": "name.familyName", "value": "Lee"},
        {"op": "replace", "path": "userName", "value": "ann.lee@google.example"},
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "ann.lee@google.example"},
    )
    assert (changed["userName"], changed["name"]["familyName"]) == ("ann.lee@google.example", "Lee")
    assert changed["emails"][0] == {"value": "ann.lee@google.example", "type": "work", "primary": True}
    assert empty(await google.get(USERS, **query))
    suspended = await google.patch(address, {"op": "replace", "path": "active", "value": False})
    assert suspended["active"] is False
    assert (await google.put(address, google_user("ann")))["active"] is True
    assert (await google.call("DELETE", address)).status_code == 204
    assert (await google.call("DELETE", address)).status_code == 404
    assert (await google.post(USERS, google_user("ann")))["id"] != made["id"]
