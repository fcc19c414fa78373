"""Schemas of a tenant's own for its groups (`rollbook schema add FILE --for group`)."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from engine import extensions
from engine.settings import Extension
from engine.tenant import AddSchema, RemoveSchema
from ops import administration
from ops.database import Database
from tests.conftest import Directory
from tests.test_cli import Shell

GROUPS = "/scim/v2/Groups"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
URN = "urn:example:contoso:2.0:Group"
DOCUMENT: dict[str, Any] = {
    "id": URN,
    "name": "Contoso",
    "attributes": [
        {"name": "costCenter", "type": "integer", "required": True},
        {"name": "kind", "canonicalValues": ["team", "project"]},
        {"name": "code", "caseExact": True, "mutability": "immutable"},
        {"name": "note", "returned": "request"},
        {"name": "tags", "multiValued": True},
        {
            "name": "owner",
            "type": "complex",
            "subAttributes": [{"name": "value"}, {"name": "since", "type": "dateTime"}],
        },
    ],
}
VALUES = {"costCenter": 7, "kind": "team", "code": "Ab", "tags": ["x"], "owner": {"value": "ann"}}


@pytest.fixture(params=["entra", "strict"])
async def extended(directory: Directory, request: pytest.FixtureRequest) -> Directory:
    await directory.set_settings(groups="on", mode=request.param)
    new = Extension(extensions.read(DOCUMENT), "Group")
    await directory.services.engine.administer(AddSchema(new), administration.cause(directory.tenant_id))
    directory.services.gate.forget()
    return directory


def body(**values: Any) -> dict[str, Any]:
    return {"schemas": [GROUP, URN], "displayName": "Team", URN: {**VALUES, **values}}


async def team(directory: Directory, **values: Any) -> str:
    answer = await directory.request("POST", GROUPS, json=body(**values))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_group_has_the_values_of_the_schema_and_discovery_lists_it(extended: Directory) -> None:
    group_id = await team(extended, note="n")

    read = (await extended.request("GET", f"{GROUPS}/{group_id}")).json()
    asked = (await extended.request("GET", f"{GROUPS}/{group_id}?attributes={URN}:note")).json()
    whole = (await extended.request("GET", f"{GROUPS}/{group_id}?attributes={URN}")).json()
    without = (await extended.request("GET", f"{GROUPS}?excludedAttributes={URN}")).json()["Resources"]
    types = (await extended.request("GET", "/scim/v2/ResourceTypes")).json()["Resources"]
    schemas = (await extended.request("GET", "/scim/v2/Schemas")).json()["Resources"]

    assert (read["schemas"], read[URN]) == ([GROUP, URN], VALUES)
    assert asked[URN] == {"note": "n"}
    assert whole == {"schemas": [GROUP, URN], "id": group_id, URN: VALUES}
    assert URN not in without[0]
    listed = {each["id"]: [one["schema"] for one in each.get("schemaExtensions", [])] for each in types}
    assert URN in listed["Group"]
    assert URN not in listed["User"]
    assert [each["name"] for each in schemas if each["id"] == URN] == ["Contoso"]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        (f"{URN}:costCenter eq 7", True),
        (f"{URN}:costCenter gt 10", False),
        (f'{URN}:KIND eq "TEAM"', True),
        (f'{URN}:code eq "ab"', False),
        (f'{URN}:tags eq "X"', True),
        (f'{URN}:owner.value sw "a"', True),
        (f"{URN}:owner.since pr", False),
        (f'schemas eq "{URN}"', True),
        (f'displayName eq "team" and not ({URN}:costCenter ne 7)', True),
    ],
)
async def test_groups_are_found_by_it_here_and_at_the_root(extended: Directory, text: str, is_found: bool) -> None:
    group_id = await team(extended)
    for address in (GROUPS, "/scim/v2"):
        answer = await extended.request("GET", f"{address}?{urlencode({'filter': text})}")
        assert answer.status_code == 200, answer.text
        assert [each["id"] for each in answer.json()["Resources"]] == [group_id] * is_found


@pytest.mark.parametrize(
    ("given", "scim_type"),
    [
        ({"costCenter": "x"}, "invalidValue"),
        ({"costCenter": None}, "invalidValue"),
        ({"kind": "band"}, "invalidValue"),
        ({"tags": [{"a": 1}]}, "invalidValue"),
    ],
)
async def test_values_that_do_not_fit_are_refused(extended: Directory, given: dict[str, Any], scim_type: str) -> None:
    answer = await extended.request("POST", GROUPS, json=body(**given))
    assert (answer.status_code, answer.json()["scimType"]) == (400, scim_type)
    assert (await extended.request("GET", GROUPS)).json()["totalResults"] == 0


async def test_values_are_patched_and_replaced_beside_the_members(extended: Directory) -> None:
    group_id = await team(extended)
    address = f"{GROUPS}/{group_id}?attributes={URN},members"
    operations = [
        {"op": "replace", "path": f"{URN}:costCenter", "value": 8},
        {"op": "remove", "path": f"{URN}:kind"},
        {"op": "add", "path": f"{URN}:tags", "value": ["y"]},
        {"op": "add", "path": f"{URN}:owner.since", "value": "2026-11-23T10:00:00Z"},
        {"op": "add", "path": "members", "value": [{"value": "somebody"}]},
    ]

    changed = (await extended.request("PATCH", address, json={"schemas": [PATCH], "Operations": operations})).json()
    immutable = {"op": "replace", "path": f"{URN}:code", "value": "ab"}
    refused = await extended.request("PATCH", address, json={"schemas": [PATCH], "Operations": [immutable]})
    put = {"schemas": [GROUP, URN], "displayName": "Team", URN: {"costCenter": 9}}
    replaced = (await extended.request("PUT", address, json=put)).json()

    owner = {"value": "ann", "since": "2026-11-23T10:00:00Z"}
    assert changed[URN] == {"costCenter": 8, "code": "Ab", "tags": ["x", "y"], "owner": owner}
    assert changed["members"] == [{"value": "somebody"}]
    assert (refused.status_code, refused.json()["scimType"]) == (400, "mutability")
    assert replaced[URN] == {"costCenter": 9, "code": "Ab"}
    assert "members" not in replaced


async def test_it_is_none_of_the_users_and_hidden_once_it_is_removed(extended: Directory) -> None:
    group_id = await team(extended)
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", URN], "userName": "ann", URN: {"costCenter": 7}}
    made = await extended.request("POST", "/scim/v2/Users", json=user)
    assert made.status_code == 400 or URN not in made.json()

    cause = administration.cause(extended.tenant_id)
    await extended.services.engine.administer(RemoveSchema(URN), cause)
    extended.services.gate.forget()
    read = (await extended.request("GET", f"{GROUPS}/{group_id}")).json()
    assert URN not in read
    assert read["schemas"] == [GROUP]


def test_an_operator_adds_it_for_groups(database: Database, tmp_path: Path) -> None:
    shell, file = Shell(database.owner_url), tmp_path / "contoso.json"
    file.write_text(json.dumps(DOCUMENT))
    shell.output("tenant", "create", "contoso")

    shell.output("schema", "add", str(file), "--tenant", "contoso", "--for", "group")

    listed = shell.output("schema", "list", "--tenant", "contoso")
    assert URN in listed
    assert "Group" in listed
