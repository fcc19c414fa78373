"""Which attributes an answer has: `attributes` and `excludedAttributes` (RFC 7644 §3.9), wherever they are taken."""

from typing import Any
from urllib.parse import urlencode

import pytest

from engine import extensions
from engine.settings import Extension
from engine.tenant import AddSchema
from ops import administration
from tests.conftest import Directory

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
ROLLBOOK = "urn:ietf:params:scim:schemas:extension:rollbook:2.0:User"
OWN = "urn:example:contoso:2.0:User"
DOCUMENT = {
    "id": OWN,
    "attributes": [
        {"name": "badge"},
        {"name": "note", "returned": "request"},
        {"name": "rank", "returned": "always"},
        {"name": "secret", "returned": "never"},
    ],
}
ANN: dict[str, Any] = {
    "schemas": [CORE, ENTERPRISE, ROLLBOOK, OWN],
    "title": "Dr",
    "name": {"givenName": "Ann", "familyName": "Lee"},
    "emails": [{"value": "a@x", "type": "work"}, {"value": "b@x", "type": "home"}],
    ENTERPRISE: {"department": "R", "manager": {"value": "bob"}},
    ROLLBOOK: {"role": "admin"},
    OWN: {"badge": "7", "note": "n", "rank": "r", "secret": "s"},
}
ALWAYS = {"schemas", "id", OWN}  # for its rank


@pytest.fixture
async def ann(directory: Directory) -> str:
    new = Extension(extensions.read(DOCUMENT))
    await directory.services.engine.administer(AddSchema(new), administration.cause(directory.tenant_id))
    directory.services.gate.forget()
    return await directory.create("ann", **ANN)


async def chosen(directory: Directory, user_id: str, **parameters: str) -> dict[str, Any]:
    """The same from reading one, from a list, and from a change."""
    address, query = f"/scim/v2/Users/{user_id}", urlencode(parameters)
    read = (await directory.request("GET", f"{address}?{query}")).json()
    [listed] = (await directory.request("GET", f"/scim/v2/Users?{query}")).json()["Resources"]
    [searched] = (await directory.request("POST", "/scim/v2/Users/.search", json=parameters)).json()["Resources"]
    patch = {"Operations": [{"op": "add", "path": "title", "value": "Dr"}]}
    changed = (await directory.request("PATCH", f"{address}?{query}", json=patch)).json()
    assert read == listed == searched == changed
    found: dict[str, Any] = read
    return found


@pytest.mark.parametrize("spelled", [str, str.upper, str.lower])
async def test_the_urn_of_an_extension_names_all_of_it(directory: Directory, ann: str, spelled: Any) -> None:
    found = await chosen(directory, ann, attributes=spelled(ENTERPRISE))
    assert found.keys() == {*ALWAYS, ENTERPRISE}
    assert found[ENTERPRISE] == ANN[ENTERPRISE]

    left = await chosen(directory, ann, excludedAttributes=spelled(ENTERPRISE))
    assert ENTERPRISE not in left
    assert {"title", "name", "userName", OWN} <= left.keys()


async def test_of_a_schema_what_is_answered_on_request_alone_is_asked_for_by_its_own_name(
    directory: Directory, ann: str
) -> None:
    assert (await chosen(directory, ann, attributes=OWN))[OWN] == {"badge": "7", "rank": "r"}
    assert (await chosen(directory, ann, attributes=f"{OWN}:note"))[OWN] == {"note": "n", "rank": "r"}
    assert (await chosen(directory, ann, excludedAttributes=OWN))[OWN] == {"rank": "r"}


async def test_the_urn_of_the_core_schema_names_all_but_the_extensions(directory: Directory, ann: str) -> None:
    found = await chosen(directory, ann, attributes=CORE)
    assert {"userName", "title", "name", "emails", "active", "role"} <= found.keys()
    assert not {ENTERPRISE, "meta"} & found.keys()
    left = await chosen(directory, ann, excludedAttributes=CORE)
    assert ENTERPRISE in left
    assert not {"title", "emails", "displayName"} & left.keys()


async def test_the_urn_of_an_alias_names_its_attributes_at_both_places(directory: Directory, ann: str) -> None:
    found = await chosen(directory, ann, attributes=ROLLBOOK)
    assert found[ROLLBOOK]["role"] == found["role"] == "admin"
    assert "title" not in found


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("TITLE", {"title": "Dr"}),
        (f"{CORE}:title", {"title": "Dr"}),
        (" title , NAME.givenname ", {"title": "Dr", "name": {"givenName": "Ann"}}),
        ("emails.value", {"emails": [{"value": "a@x"}, {"value": "b@x"}]}),
        ("emails.type,emails.value", {"emails": ANN["emails"]}),
        (f"{ENTERPRISE}:manager.value", {ENTERPRISE: {"manager": {"value": "bob"}}}),
        (f"{ENTERPRISE.upper()}:DEPARTMENT", {ENTERPRISE: {"department": "R"}}),
        ("shoeSize,urn:example:nobody:2.0:User", {}),
    ],
)
async def test_names_are_taken_in_any_spelling(
    directory: Directory, ann: str, names: str, expected: dict[str, Any]
) -> None:
    found = await chosen(directory, ann, attributes=names)
    assert {name: value for name, value in found.items() if name not in ALWAYS} == expected


async def test_a_sub_attribute_alone_is_left_out(directory: Directory, ann: str) -> None:
    found = await chosen(directory, ann, excludedAttributes=f"name.familyName,emails.type,{ENTERPRISE}:manager")
    assert found["name"] == {"givenName": "Ann"}
    assert found["emails"] == [{"value": "a@x"}, {"value": "b@x"}]
    assert found[ENTERPRISE] == {"department": "R"}
