"""Strict mode: what is no SCIM is refused as the RFC has it, before anything is done; what is, is taken."""

from typing import Any
from urllib.parse import urlencode

import pytest

from engine.quirks import Quirk
from engine.schema import CORE, ENTERPRISE, GROUP_URN
from engine.strictness import _REFUSALS, StrictQuirks
from tests.conftest import Directory

USERS = "/scim/v2/Users"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
Json = dict[str, Any]

# What SCIM allows, or what only a setting of the tenant brings about.
ALLOWED = {
    Quirk.ADDRESS, Quirk.NOT_KEPT, Quirk.PARAMETER, Quirk.TAG, Quirk.READ_ONLY, Quirk.SCHEMA_AS_PATH,
    Quirk.NO_SUCH_ROLE, Quirk.NO_ACTIVE,
}  # fmt: skip


@pytest.fixture
async def strict(directory: Directory) -> Directory:
    await directory.set_settings(mode="strict", groups="on")
    return directory


def user(**attributes: Any) -> Json:
    return {"schemas": [CORE], "userName": "bob", **attributes}


def patch(*operations: Json, **members: Any) -> Json:
    return {"schemas": [PATCH], "Operations": list(operations), **members}


def replace(path: str, value: Any) -> Json:
    return {"op": "replace", "path": path, "value": value}


async def ann(directory: Directory) -> str:
    return await directory.create("ann", schemas=[CORE], emails=[{"value": "a@x", "type": "work"}])


BODIES: list[tuple[Json, str]] = [
    ({"userName": "bob"}, "invalidSyntax"),
    ({"schemas": [ENTERPRISE], "userName": "bob"}, "invalidSyntax"),
    ({"schemas": [CORE, "urn:x:y"], "userName": "bob"}, "invalidSyntax"),
    (user(**{ENTERPRISE: {"department": "d"}}), "invalidSyntax"),
    (user(active="True"), "invalidValue"),
    (user(shoeSize=43), "invalidValue"),
    (user(**{"urn:x:y": {"a": 1}}), "invalidValue"),
    (user(name={"nick": "x"}), "invalidValue"),
    (user(title=""), "invalidValue"),
    (user(title=["x"]), "invalidValue"),
    (user(emails={"value": "a@x"}), "invalidValue"),
    (user(emails=[{}]), "invalidValue"),
    (user(role='{"value": "admin"}'), "invalidValue"),
    (user(manager={"value": "x"}), "invalidPath"),
    (user(**{"name.givenName": "x"}), "invalidSyntax"),
    (user(**{CORE: {"title": "x"}}), "invalidSyntax"),
]

PATCHES: list[tuple[Json, str]] = [
    ({"Operations": [replace("title", "x")]}, "invalidSyntax"),
    ({"schemas": [CORE], "Operations": [replace("title", "x")]}, "invalidSyntax"),
    (patch(), "invalidSyntax"),
    (patch({**replace("title", "x"), "op": "Replace"}), "invalidSyntax"),
    (patch({**replace("title", "x"), "note": 1}), "invalidSyntax"),
    (patch(replace("title", "x"), note=1), "invalidSyntax"),
    (patch({"op": "replace", "path": "", "value": {"title": "x"}}), "invalidPath"),
    (patch(replace("shoeSize", 43)), "invalidPath"),
    (patch(replace("active", "False")), "invalidValue"),
    (patch(replace('emails[type eq "home"].value', "x")), "noTarget"),
    (patch(replace('emails[type eq "home"]', {"value": "x"})), "noTarget"),
    (patch({"op": "remove", "path": 'emails[type eq "home"]'}), "noTarget"),
    (patch({"op": "remove", "path": "emails", "value": [{"value": "a@x"}]}), "invalidValue"),
    (patch(replace('emails[primary eq "True"].value', "x")), "invalidFilter"),
]


@pytest.mark.parametrize(("body", "scim_type"), BODIES)
async def test_a_body_that_is_no_scim_is_refused(strict: Directory, body: Json, scim_type: str) -> None:
    answer = await strict.request("POST", USERS, json=body)
    assert (answer.status_code, answer.json().get("scimType")) == (400, scim_type), answer.text
    assert (await strict.request("GET", USERS)).json()["totalResults"] == 0


@pytest.mark.parametrize(("body", "scim_type"), PATCHES)
async def test_a_patch_that_is_no_scim_is_refused(strict: Directory, body: Json, scim_type: str) -> None:
    id_ = await ann(strict)
    answer = await strict.request("PATCH", f"{USERS}/{id_}", json=body)
    assert (answer.status_code, answer.json().get("scimType")) == (400, scim_type), answer.text
    assert await strict.event_types(id_) == ["UserProvisioned"]


@pytest.mark.parametrize(
    "text",
    ["", "externalId eq bob", 'active eq "true"', 'shoeSize eq "43"', 'emails[type eq "work"].value eq "x"',
     'meta.created gt "2026-11-23T09:00:00"', 'manager.value eq "x"'],
)  # fmt: skip
async def test_a_filter_that_is_no_scim_is_refused(strict: Directory, text: str) -> None:
    answer = await strict.request("GET", f"{USERS}?{urlencode({'filter': text})}")
    assert answer.status_code == 400
    assert answer.json()["scimType"] in {"invalidFilter", "invalidPath"}


async def test_a_search_lists_the_attributes_that_it_wants(strict: Directory) -> None:
    message = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]}
    one = await strict.request("POST", f"{USERS}/.search", json={**message, "attributes": "userName"})
    assert (one.status_code, one.json()["scimType"]) == (400, "invalidValue")
    several = await strict.request("POST", f"{USERS}/.search", json={**message, "attributes": ["userName"]})
    assert several.status_code == 200


async def test_a_body_of_another_type_is_refused(strict: Directory) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    assert (await strict.request("POST", USERS, json=user(), headers=headers)).status_code == 415


async def test_what_is_scim_is_taken(strict: Directory) -> None:
    body = user(
        active=True,
        id="of the client",
        meta={"resourceType": "User"},
        emails=[{"value": "b@x", "type": "work", "primary": True}],
        schemas=[CORE, ENTERPRISE],
        **{ENTERPRISE: {"department": "d"}},
    )
    made = await strict.request("POST", f"{USERS}?extra=1", json=body)
    assert made.status_code == 201, made.text
    address = f"{USERS}/{made.json()['id']}"
    changed = await strict.request("PATCH", address, json=patch(
        replace('emails[type eq "work"].value', "c@x"),
        {"op": "add", "value": {"TITLE": "x", "name": {"givenName": "B"}}},
        {"op": "replace", "path": f"{ENTERPRISE}:department", "value": "e"},
    ))  # fmt: skip
    assert changed.status_code == 200, changed.text
    assert (await strict.request("PUT", address, json=changed.json())).status_code == 200
    group = {"schemas": [GROUP_URN], "displayName": "G", "members": [{"value": made.json()["id"]}]}
    assert (await strict.request("POST", "/scim/v2/Groups", json=group)).status_code == 201


def test_every_quirk_is_refused_or_allowed_with_a_reason() -> None:
    assert set(_REFUSALS) | ALLOWED == set(Quirk)
    assert not set(_REFUSALS) & ALLOWED
    quirks = StrictQuirks()
    quirks += [Quirk.PARAMETER, "id: read-only, left as it is"]
    assert len(quirks) == 2
