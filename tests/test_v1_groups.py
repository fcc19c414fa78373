"""`/v1/groups`: the groups as they are, and the roles that they give."""

from uuid import UUID

import pytest

from tests.conftest import Directory, issue
from tests.test_groups import GROUPS, group, grouped
from tests.test_openapi import assert_valid, document

__all__ = ["grouped"]


async def test_groups_are_listed_page_by_page_with_how_many_are_in_them(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    team = await group(grouped, "Team", ann, "awaited", externalId="X")
    crew, gone = await group(grouped, "Crew"), await group(grouped, "Gone")
    await grouped.request("DELETE", f"{GROUPS}/{gone}")
    await grouped.request("PUT", f"/v1/groups/{crew}/role", json={"role": "admin"})

    first = (await grouped.request("GET", "/v1/groups?limit=1")).json()
    second = (await grouped.request("GET", first["next"])).json()
    mapped, others = [
        (await grouped.request("GET", f"/v1/groups?mapped={value}")).json()["groups"] for value in ("true", "false")
    ]

    [shown] = first["groups"]
    assert {key: shown[key] for key in ("id", "displayName", "externalId", "members", "role")} == {
        "id": team,
        "displayName": "Team",
        "externalId": "X",
        "members": 2,
        "role": None,
    }
    assert [(each["id"], each["role"]) for each in second["groups"]] == [(crew, "admin")]
    assert [[each["id"] for each in some] for some in (mapped, others)] == [[crew], [team]]
    described = await document(grouped)
    answer = described["paths"]["/v1/groups"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert_valid(described, answer, first)


async def test_a_group_gives_a_role_over_http_in_the_name_of_who_asks(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    team = await group(grouped, "Team", ann)
    address = f"/v1/groups/{team}/role"

    answer = await grouped.request("PUT", address, json={"role": "owner"}, headers={"X-Rollbook-Actor": "person-7"})
    within = (await grouped.request("GET", f"/v1/users/{ann}")).json()["role"]
    await grouped.request("PUT", address, json={"role": None})

    assert (answer.status_code, answer.json()["role"], within) == (200, "owner", "owner")
    assert (await grouped.request("GET", f"/v1/users/{ann}")).json()["role"] == "member"
    assert (await grouped.request("GET", f"/v1/groups/{team}")).json()["role"] is None
    changes = (await grouped.request("GET", "/v1/settings-changes?limit=1000")).json()["rows"]
    mapped = [each for each in changes if each["type"] == "SettingsChanged" and "role_groups" in each["after"]]
    assert [(each["after"]["role_groups"], each["actor"] == "person-7") for each in mapped] == [
        ([{"group": team, "role": "owner"}], True),
        ([], False),
    ]


@pytest.mark.parametrize(
    ("body", "status"), [({"role": "king"}, 400), ({}, 400), ({"role": 7}, 400), ([], 400), ({"role": "admin"}, 403)]
)
async def test_what_cannot_be_mapped_is_refused(grouped: Directory, body: object, status: int) -> None:
    team = await group(grouped, "Team")
    if status == 403:
        grouped.token = await issue(grouped.services, grouped.tenant_id, "people:write")

    assert (await grouped.request("PUT", f"/v1/groups/{team}/role", json=body)).status_code == status


@pytest.mark.parametrize("path", [f"/v1/groups/{UUID(int=7)}", "/v1/groups/team"])
async def test_a_group_that_is_not_there_is_not_found(grouped: Directory, path: str) -> None:
    assert (await grouped.request("GET", path)).status_code == 404
    assert (await grouped.request("PUT", f"{path}/role", json={"role": "admin"})).status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=a", "mapped=perhaps", "colour=red"])
async def test_a_list_that_cannot_be_is_refused(grouped: Directory, query: str) -> None:
    assert (await grouped.request("GET", f"/v1/groups?{query}")).status_code == 400
