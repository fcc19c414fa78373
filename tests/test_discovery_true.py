"""What the discovery documents promise, tried on the server that gives them out: attribute by attribute."""

from typing import Any

import pytest

from engine.schema import CORE, ENTERPRISE
from tests.conftest import Directory

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
OWN = "urn:example:params:scim:schemas:extension:badge:2.0:User"
BADGE: dict[str, Any] = {
    "id": OWN,
    "name": "Badge",
    "description": "Of a company's own.",
    "attributes": [
        {"name": "level", "type": "integer"},
        {"name": "weight", "type": "decimal"},
        {"name": "since", "type": "dateTime"},
        {"name": "code", "type": "string", "caseExact": True},
        {"name": "pin", "type": "string", "returned": "never"},
        {"name": "note", "type": "string", "returned": "request"},
        {"name": "photo", "type": "binary"},
        {"name": "door", "type": "reference", "referenceTypes": ["uri"]},
        {"name": "valid", "type": "boolean"},
        {
            "name": "zones",
            "type": "complex",
            "multiValued": True,
            "subAttributes": [{"name": "value", "type": "string"}],
        },
    ],
}
RIGHT: dict[str, Any] = {
    "string": "some text",
    "boolean": True,
    "integer": 7,
    "decimal": 1.5,
    "dateTime": "2026-01-02T03:04:05Z",
    "reference": "https://contoso.example/some",
    "binary": "AAAA",
}
WRONG: dict[str, Any] = {
    "string": 7,
    "boolean": "perhaps",
    "integer": "seven",
    "decimal": "one and a half",
    "dateTime": "yesterday",
    "reference": 7,
    "binary": "?",
    "complex": 7,
}


@pytest.fixture(params=["entra", "strict"])
async def own(directory: Directory, request: pytest.FixtureRequest) -> Directory:
    """A tenant with a schema of its own, in both modes."""
    schema = {**BADGE, "attributes": [{**_defaults(each)} for each in BADGE["attributes"]]}
    from_file = {"schema": _as_kept(schema), "resource": "User"}
    await directory.set_settings(mode=request.param, schemas=[from_file], name_characters="any", email_case="keep")
    return directory


def _defaults(attribute: dict[str, Any]) -> dict[str, Any]:
    return {"description": "One of a company's own.", **attribute}


def _as_kept(schema: dict[str, Any]) -> dict[str, Any]:
    """As the settings hold a schema: in the names of our struct."""
    names = {"multiValued": "multi_valued", "caseExact": "case_exact", "referenceTypes": "reference_types"}

    def kept(attribute: dict[str, Any]) -> dict[str, Any]:
        found = {names.get(name, name): value for name, value in attribute.items() if name != "subAttributes"}
        subs = [kept(_defaults(each)) for each in attribute.get("subAttributes", [])]
        return {**found, **({"sub_attributes": subs} if subs else {})}

    return {**schema, "attributes": [kept(each) for each in schema["attributes"]]}


async def promised(directory: Directory) -> list[tuple[str, dict[str, Any]]]:
    """Every attribute of users: the URN of its schema, and what is said of it."""
    listed = (await directory.request("GET", "/scim/v2/Schemas")).json()["Resources"]
    assert {each["id"] for each in listed} >= {CORE, ENTERPRISE, OWN}
    for each in listed:
        assert (await directory.request("GET", f"/scim/v2/Schemas/{each['id']}")).json() == each
    return [
        (each["id"], attribute) for each in listed if each["id"].endswith(":User") for attribute in each["attributes"]
    ]


def value_of(attribute: dict[str, Any]) -> Any:
    """A right value for it: complex ones with all their parts that can be written."""
    if attribute["type"] == "complex":
        parts = [each for each in attribute["subAttributes"] if each["mutability"] != "readOnly"]
        one: Any = {each["name"]: value_of(each) for each in parts if each["name"] not in {"$ref", "display"}}
    else:
        one = (attribute.get("canonicalValues") or [RIGHT[attribute["type"]]])[0]
    return [one] if attribute["multiValued"] else one


def placed(urn: str, name: str, value: Any) -> dict[str, Any]:
    """The body that holds it, where its schema has it."""
    return {name: value} if urn == CORE else {urn: {name: value}}


def found_in(resource: dict[str, Any], urn: str, name: str) -> Any:
    return (resource if urn == CORE else resource.get(urn, {})).get(name)


async def create(directory: Directory, urn: str, name: str, value: Any) -> Any:
    schemas = [CORE] if urn == CORE else [CORE, urn]
    body = {"schemas": schemas, "userName": f"somebody-{name}", **placed(urn, name, value)}
    return await directory.request("POST", "/scim/v2/Users", json=body)


SPECIAL = {
    "userName",  # is what everybody is created by
    "password",  # taken and forgotten
    "role",  # of the tenant's roles alone
    "roles",
    "manager",  # written as Entra does
    "schemas",
    "timezone",  # of a list of its own
    "locale",
    "preferredLanguage",
    "x509Certificates",
}


async def test_what_can_be_written_comes_back_and_what_is_never_returned_does_not(own: Directory) -> None:
    for urn, attribute in await promised(own):
        name = attribute["name"]
        if attribute["mutability"] == "readOnly" or name in SPECIAL or urn.endswith("rollbook:2.0:User"):
            continue
        value = value_of(attribute)
        created = await create(own, urn, name, value)
        assert created.status_code == 201, (name, created.text)
        address = f"/scim/v2/Users/{created.json()['id']}"
        read = found_in((await own.request("GET", address)).json(), urn, name)
        asked_for = f"{urn}:{name}" if urn != CORE else name
        asked = found_in((await own.request("GET", f"{address}?attributes={asked_for}")).json(), urn, name)
        match attribute["returned"]:
            case "never":
                assert (read, asked) == (None, None), name
            case "request":
                assert (read, asked) == (None, value), name
            case _:
                assert read == asked == value, name


async def test_a_value_of_another_type_is_refused(own: Directory) -> None:
    for urn, attribute in await promised(own):
        name = attribute["name"]
        if attribute["mutability"] == "readOnly" or name in SPECIAL or urn.endswith("rollbook:2.0:User"):
            continue
        wrong = [WRONG[attribute["type"]]] if attribute["multiValued"] else WRONG[attribute["type"]]
        refused = await create(own, urn, name, wrong)
        assert refused.status_code == 400, (name, wrong, refused.text)
        assert refused.json()["scimType"] in {"invalidValue", "invalidSyntax"}, name


async def test_what_is_read_only_is_passed_over_in_a_creation_and_refused_in_a_patch(own: Directory) -> None:
    user_id = await own.create("ann", schemas=[CORE])
    for urn, attribute in await promised(own):
        if attribute["mutability"] != "readOnly":
            continue
        name = attribute["name"]
        value = value_of(attribute) if attribute["type"] != "complex" else [{"value": "x"}]
        created = await create(own, urn, name, value)
        assert created.status_code == 201, (name, created.text)
        path = name if urn == CORE else f"{urn}:{name}"
        body = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "path": path, "value": value}]}
        patched = await own.request("PATCH", f"/scim/v2/Users/{user_id}", json=body)
        assert (patched.status_code, patched.json().get("scimType")) == (400, "mutability"), (name, patched.text)


async def test_case_matters_in_filters_where_the_schema_says_so(own: Directory) -> None:
    for urn, attribute in await promised(own):
        name = attribute["name"]
        is_plain = (
            attribute["type"] == "string" and not attribute["multiValued"] and not attribute.get("canonicalValues")
        )
        if not is_plain or attribute["mutability"] == "readOnly" or attribute["returned"] == "never" or name in SPECIAL:
            continue
        if urn.endswith("rollbook:2.0:User"):
            continue
        assert (await create(own, urn, name, "Some Text")).status_code == 201
        path = name if urn == CORE else f"{urn}:{name}"
        for text, is_found in (("Some Text", True), ("sOME tEXT", not attribute["caseExact"])):
            found = await own.request("GET", f'/scim/v2/Users?filter={path} eq "{text}"')
            assert found.status_code == 200, (name, found.text)
            assert bool(found.json()["totalResults"]) == is_found, (name, text)


async def test_what_is_required_or_unique_is_held(own: Directory) -> None:
    for urn, attribute in await promised(own):
        name = attribute["name"]
        if attribute["required"] and urn == CORE and attribute["mutability"] != "readOnly":
            missing = await own.request("POST", "/scim/v2/Users", json={"schemas": [CORE], "displayName": "Ann"})
            assert (missing.status_code, name in missing.text) == (400, True), name
        if attribute["uniqueness"] == "server" and attribute["mutability"] != "readOnly" and urn == CORE:
            first = {"schemas": [CORE], "userName": f"first-{name}", name: f"the-same-{name}"}
            second = {**first, "userName": f"second-{name}", name: f"the-same-{name}"}
            assert (await own.request("POST", "/scim/v2/Users", json=first)).status_code == 201
            taken = await own.request("POST", "/scim/v2/Users", json=second)
            assert (taken.status_code, taken.json()["scimType"]) == (409, "uniqueness"), name


async def test_the_configuration_promises_what_there_is(own: Directory) -> None:
    config = (await own.request("GET", "/scim/v2/ServiceProviderConfig")).json()
    for number in range(4):
        await own.create(f"user{number}", schemas=[CORE])
    assert config["patch"]["supported"]
    assert config["sort"]["supported"]
    ordered = (await own.request("GET", "/scim/v2/Users?sortBy=userName&sortOrder=descending")).json()["Resources"]
    assert [each["userName"] for each in ordered] == ["user3", "user2", "user1", "user0"]
    assert config["etag"]["supported"]
    one = await own.request("GET", f"/scim/v2/Users/{ordered[0]['id']}")
    known = {"If-None-Match": one.headers["etag"]}
    assert (await own.request("GET", f"/scim/v2/Users/{ordered[0]['id']}", headers=known)).status_code == 304
    assert config["filter"]["maxResults"] >= 100
    most = (await own.request("GET", f"/scim/v2/Users?count={config['filter']['maxResults'] + 1}")).json()
    assert most["itemsPerPage"] <= config["filter"]["maxResults"]
    assert not config["changePassword"]["supported"]
    bulk = config["bulk"]
    message = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"]}
    operation = {"method": "DELETE", "path": "/Users/00000000-0000-0000-0000-000000000000"}
    for count, status in ((bulk["maxOperations"] + 1, 413), (1, 200)):
        answered = await own.request("POST", "/scim/v2/Bulk", json={**message, "Operations": [operation] * count})
        assert answered.status_code == status, count
    large = await own.request("POST", "/scim/v2/Bulk", content=b" " * (bulk["maxPayloadSize"] + 1))
    assert large.status_code == 413
    paging = config["pagination"]
    assert paging["cursor"]
    assert paging["index"]
    first = (await own.request("GET", "/scim/v2/Users?cursor&count=3")).json()
    rest = (await own.request("GET", f"/scim/v2/Users?cursor={first['nextCursor']}&count=3")).json()
    assert len(first["Resources"]) + len(rest["Resources"]) == 4
    assert [each["type"] for each in config["authenticationSchemes"]] == ["oauthbearertoken"]


async def test_every_resource_type_leads_where_it_says(own: Directory) -> None:
    for groups in ("off", "on"):
        await own.set_settings(groups=groups)
        types = (await own.request("GET", "/scim/v2/ResourceTypes")).json()["Resources"]
        assert [each["id"] for each in types] == (["User"] if groups == "off" else ["User", "Group"])
        schemas = {each["id"] for each in (await own.request("GET", "/scim/v2/Schemas")).json()["Resources"]}
        for each in types:
            assert (await own.request("GET", f"/scim/v2/ResourceTypes/{each['id']}")).json() == each
            assert (await own.request("GET", f"/scim/v2{each['endpoint']}")).status_code == 200
            named = {each["schema"], *(extension["schema"] for extension in each.get("schemaExtensions", []))}
            assert named <= schemas
