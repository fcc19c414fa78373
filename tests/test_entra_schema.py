"""Our attribute mapping merged into a schema that was downloaded from Entra, and app roles for its manifest."""

import copy
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from engine import entra_schema
from engine.entra_schema import MAPPING, app_roles, merged
from engine.refusals import InvalidValue
from engine.schema import CORE
from engine.settings import Role, Settings

DOWNLOADED = Path(__file__).parent / "entra-schema.json"


@pytest.fixture
def schema() -> dict[str, Any]:
    return msgspec.json.decode(DOWNLOADED.read_bytes(), type=dict[str, Any])


def users_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["synchronizationRules"][0]["objectMappings"][1]
    return found


def row(document: dict[str, Any], target: str) -> dict[str, Any]:
    return next(each for each in users_of(document)["attributeMappings"] if each["targetAttributeName"] == target)


def test_every_row_of_our_mapping_is_in_the_merged_schema(schema: dict[str, Any]) -> None:
    found = merged(schema).document
    for each in MAPPING:
        present = row(found, each.target)
        assert (present["source"]["expression"], present["matchingPriority"]) == (each.expression, each.matching)
        assert present["flowType"] == "Always"


def test_what_entra_parsed_itself_is_used_as_it_parsed_it(schema: dict[str, Any]) -> None:
    found = merged(schema).document
    assert row(found, f"{CORE}:active")["source"] == row(schema, "active")["source"]


def test_everything_that_is_not_ours_is_kept(schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    found = merged(schema).document
    assert schema == before, "what was given is left alone"
    assert list(found) == list(before)
    assert {**found, "directories": 0, "synchronizationRules": 0} == {
        **before,
        "directories": 0,
        "synchronizationRules": 0,
    }
    assert found["directories"][0] == before["directories"][0]
    assert (
        found["directories"][1]["objects"][0]["attributes"][:3] == before["directories"][1]["objects"][0]["attributes"]
    )
    kept = {**users_of(found), "attributeMappings": 0}
    assert kept == {**users_of(before), "attributeMappings": 0}
    assert row(found, "externalId") == {**row(before, "externalId"), "matchingPriority": 0}


def test_our_attributes_are_added_to_the_list_of_the_apps_attributes(schema: dict[str, Any]) -> None:
    attributes = merged(schema).document["directories"][1]["objects"][0]["attributes"]
    assert [each["name"] for each in attributes][3:] == [f"{CORE}:microsoftId", f"{CORE}:active", f"{CORE}:role"]


def test_the_mapping_of_groups_is_off_unless_groups_are_wanted(schema: dict[str, Any]) -> None:
    assert merged(schema).document["synchronizationRules"][0]["objectMappings"][0]["enabled"] is False
    wanted = merged(schema, with_groups=True).document["synchronizationRules"][0]["objectMappings"][0]
    assert wanted == schema["synchronizationRules"][0]["objectMappings"][0]


def test_merging_again_changes_nothing(schema: dict[str, Any]) -> None:
    once = merged(schema)
    assert once.changes
    assert merged(once.document) == entra_schema.Merged(once.document, ())


def test_each_change_is_told(schema: dict[str, Any]) -> None:
    told = merged(schema).changes
    assert f"Added {CORE}:role from SingleAppRoleAssignment([appRoleAssignments])." in told
    assert "Set userName to userPrincipalName, with the matching precedence 2." in told
    assert "externalId matches nobody any more; it is still mapped." in told
    assert "Switched the mapping of groups off, for this tenant takes no groups." in told


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "no JSON object"),
        ("text", "no JSON object"),
        ({}, "no synchronizationRules"),
        ({"synchronizationRules": "many"}, "no synchronizationRules"),
        ({"synchronizationRules": []}, "has 0 mappings of users"),
        ({"synchronizationRules": [None, {"objectMappings": [1, {"sourceObjectName": "User"}]}]}, "has 0 mappings"),
        (
            {
                "synchronizationRules": [
                    {
                        "objectMappings": [
                            {"sourceObjectName": "User", "targetObjectName": "x:User", "attributeMappings": {}}
                        ]
                    }
                ]
            },
            "are no list",
        ),
    ],
)
def test_what_is_no_schema_of_a_job_is_refused_with_what_would_be(document: object, word: str) -> None:
    with pytest.raises(InvalidValue, match=word):
        merged(document)


def test_a_schema_with_two_mappings_of_users_is_refused(schema: dict[str, Any]) -> None:
    mappings = schema["synchronizationRules"][0]["objectMappings"]
    mappings.append(mappings[1])
    with pytest.raises(InvalidValue, match="has 2 mappings of users"):
        merged(schema)


def test_app_roles_are_those_of_the_tenant_and_keep_their_ids() -> None:
    tenant_id = UUID(int=7)
    found = app_roles(tenant_id, Settings().roles)
    assert [(each["displayName"], each["value"]) for each in found] == [
        ("Owner", "owner"),
        ("Admin", "admin"),
        ("Member", "member"),
    ]
    assert found[2] == app_roles(tenant_id, (Role("member", "Member"),))[0]
    assert len({each["id"] for each in (*found, *app_roles(UUID(int=8), Settings().roles))}) == 6
