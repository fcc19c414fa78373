"""Groups over SCIM: what a directory does with them, and what becomes of their members."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from ops.database import Database
from projections.groups import MEMBERS_AT_ONCE
from tests.conftest import Directory
from tests.replays import differences

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
GROUPS = "/scim/v2/Groups"


@pytest.fixture
async def grouped(directory: Directory) -> Directory:
    """A tenant with groups."""
    await directory.set_settings(groups="on")
    return directory


async def group(directory: Directory, name: str, *members: str, **attributes: Any) -> str:
    """The id of a new group."""
    elements = [{"value": each} for each in members]
    body = {"schemas": [GROUP], "displayName": name, "members": elements, **attributes}
    response = await directory.request("POST", GROUPS, json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def patch(directory: Directory, group_id: str, *operations: dict[str, Any]) -> httpx.Response:
    return await directory.request("PATCH", f"{GROUPS}/{group_id}", json={"Operations": list(operations)})


def adding(*members: str) -> dict[str, Any]:
    return {"op": "Add", "path": "members", "value": [{"value": each} for each in members]}


def removing(*members: str) -> dict[str, Any]:
    return {"op": "Remove", "path": "members", "value": [{"value": each} for each in members]}


def removing_by_filter(member: str) -> dict[str, Any]:
    return {"op": "remove", "path": f'members[value eq "{member}"]'}


async def read(directory: Directory, group_id: str) -> dict[str, Any]:
    response = await directory.request("GET", f"{GROUPS}/{group_id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def members(directory: Directory, group_id: str) -> list[str]:
    return [each["value"] for each in (await read(directory, group_id)).get("members", [])]


async def found(directory: Directory, filter_: str, path: str = GROUPS) -> list[str]:
    response = await directory.client.get(
        path, params={"filter": filter_}, headers={"Authorization": f"Bearer {directory.token}"}
    )
    assert response.status_code == 200, response.text
    return [each["id"] for each in response.json()["Resources"]]


async def test_a_group_shows_its_members_with_what_they_are(grouped: Directory) -> None:
    ann = await grouped.create("ann", displayName="Ann")
    inner = await group(grouped, "Inner")
    outer = await group(grouped, "Outer", ann, inner, externalId="X")

    shown = await read(grouped, outer)

    assert shown["displayName"] == "Outer"
    assert shown["externalId"] == "X"
    assert shown["meta"]["resourceType"] == "Group"
    assert shown["members"] == [
        {"value": ann, "$ref": f"http://rollbook.test/scim/v2/Users/{ann}", "type": "User"},
        {"value": inner, "$ref": f"http://rollbook.test{GROUPS}/{inner}", "type": "Group"},
    ]


@pytest.mark.parametrize("remove", [removing, removing_by_filter])
async def test_both_dialects_of_entra_remove_one_member_and_no_other(grouped: Directory, remove: Any) -> None:
    ann, bob = await grouped.create("ann"), await grouped.create("bob")
    team = await group(grouped, "Team")
    added = await patch(grouped, team, adding(ann, bob))

    response = await patch(grouped, team, remove(ann))

    assert (added.status_code, response.status_code) == (200, 200)
    assert await members(grouped, team) == [bob]
    assert await grouped.event_types(team) == ["GroupProvisioned", "MembersAdded", "MembersRemoved"]


async def test_adding_twice_and_removing_who_is_no_member_change_nothing(grouped: Directory) -> None:
    ann, bob = await grouped.create("ann"), await grouped.create("bob")
    team = await group(grouped, "Team", ann)

    responses = [await patch(grouped, team, each) for each in (adding(ann), removing(bob), removing_by_filter(bob))]

    assert [each.status_code for each in responses] == [200, 200, 200]
    assert await members(grouped, team) == [ann]
    assert await grouped.event_types(team) == ["GroupProvisioned", "MembersAdded"]


async def test_replacing_all_members_appends_the_difference(grouped: Directory) -> None:
    ann, bob, eve = [await grouped.create(each) for each in ("ann", "bob", "eve")]
    team = await group(grouped, "Team", ann, bob)

    await patch(grouped, team, {"op": "replace", "path": "members", "value": [{"value": bob}, {"value": eve}]})

    assert await members(grouped, team) == [bob, eve]
    assert await grouped.event_types(team) == ["GroupProvisioned", "MembersAdded", "MembersRemoved", "MembersAdded"]


async def test_removing_members_without_a_value_removes_them_all(grouped: Directory) -> None:
    team = await group(grouped, "Team", await grouped.create("ann"), "who-is-yet-to-come")

    response = await patch(grouped, team, {"op": "remove", "path": "members"})

    assert response.status_code == 200
    assert "members" not in await read(grouped, team)


async def test_put_replaces_the_whole_group(grouped: Directory) -> None:
    ann, bob = await grouped.create("ann"), await grouped.create("bob")
    team = await group(grouped, "Team", ann, externalId="X")

    body = {"schemas": [GROUP], "displayName": "Crew", "members": [{"value": bob}]}
    response = await grouped.request("PUT", f"{GROUPS}/{team}", json=body)

    assert response.status_code == 200
    shown = await read(grouped, team)
    assert shown == response.json()
    assert (shown["displayName"], "externalId" in shown) == ("Crew", False)
    assert [each["value"] for each in shown["members"]] == [bob]


async def test_a_member_that_is_yet_to_come_is_shown_and_joins_when_it_arrives(grouped: Directory) -> None:
    team = await group(grouped, "Team", "directory-id-of-ann")
    waiting = (await read(grouped, team))["members"]

    ann = await grouped.create("ann", externalId="directory-id-of-ann")

    assert waiting == [{"value": "directory-id-of-ann"}]
    assert await members(grouped, team) == [ann]
    assert await grouped.event_types(team) == ["GroupProvisioned", "MemberAwaited", "MemberJoined"]


async def test_a_member_joins_when_it_gets_the_name_by_which_it_is_awaited(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    team = await group(grouped, "Team", "66E4A8CC-1b7b-435e-95f8-f06cea133828")

    await grouped.patch(ann, {"op": "add", "path": "microsoftId", "value": "66e4a8cc-1b7b-435e-95f8-f06cea133828"})

    assert await members(grouped, team) == [ann]


async def test_a_group_that_is_awaited_joins_too(grouped: Directory) -> None:
    outer = await group(grouped, "Outer", "inner")

    inner = await group(grouped, "Inner", externalId="inner")

    assert (await read(grouped, outer))["members"][0]["type"] == "Group"
    assert await members(grouped, outer) == [inner]


async def test_who_is_added_by_another_id_is_the_same_member(grouped: Directory) -> None:
    ann = await grouped.create("ann", externalId="a", microsoftId="m")
    team = await group(grouped, "Team", ann, "a", "m")

    assert await members(grouped, team) == [ann]
    await patch(grouped, team, removing("a"))
    assert await members(grouped, team) == []


async def test_who_is_no_longer_awaited_does_not_join(grouped: Directory) -> None:
    team = await group(grouped, "Team", "a", "b")
    await patch(grouped, team, removing("a"))

    await grouped.create("ann", externalId="a")

    assert await members(grouped, team) == ["b"]


async def test_a_deleted_user_leaves_its_groups_in_the_same_append(grouped: Directory) -> None:
    ann, bob = await grouped.create("ann"), await grouped.create("bob")
    team = await group(grouped, "Team", ann, bob)

    await grouped.request("DELETE", f"/scim/v2/Users/{ann}")

    assert await members(grouped, team) == [bob]
    rows = await grouped.services.pool.fetch(
        "SELECT type, request_id FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 2", grouped.tenant_id
    )
    assert {row["type"] for row in rows} == {"UserDeleted", "MembersRemoved"}
    assert len({row["request_id"] for row in rows}) == 1


async def test_a_deleted_group_leaves_its_parents_and_its_members(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    inner = await group(grouped, "Inner", ann)
    outer = await group(grouped, "Outer", inner)

    response = await grouped.request("DELETE", f"{GROUPS}/{inner}")

    assert response.status_code == 204
    assert await members(grouped, outer) == []
    assert (await grouped.request("GET", f"{GROUPS}/{inner}")).status_code == 404
    assert (await grouped.request("DELETE", f"{GROUPS}/{inner}")).status_code == 404
    assert "groups" not in (await grouped.request("GET", f"/scim/v2/Users/{ann}")).json()


async def test_an_inactive_user_stays_a_member(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    team = await group(grouped, "Team", ann)

    await grouped.patch(ann, {"op": "replace", "path": "active", "value": False})

    assert await members(grouped, team) == [ann]


async def test_no_group_is_within_itself(grouped: Directory) -> None:
    one = await group(grouped, "One")
    two = await group(grouped, "Two", one)
    three = await group(grouped, "Three", two)

    responses = [await patch(grouped, one, adding(each)) for each in (one, two, three)]

    assert [each.status_code for each in responses] == [409, 409, 409]
    assert await members(grouped, one) == []


async def test_a_user_shows_its_groups_direct_and_indirect(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    inner = await group(grouped, "Inner", ann)
    outer = await group(grouped, "Outer", inner)
    both = await group(grouped, "Both", ann, outer)

    shown = (await grouped.request("GET", f"/scim/v2/Users/{ann}")).json()["groups"]

    assert [(each["value"], each["display"], each["type"]) for each in shown] == [
        (inner, "Inner", "direct"),
        (outer, "Outer", "indirect"),
        (both, "Both", "direct"),
    ]
    assert shown[0]["$ref"] == f"http://rollbook.test{GROUPS}/{inner}"


async def test_users_are_found_by_their_groups(grouped: Directory) -> None:
    ann, bob = await grouped.create("ann"), await grouped.create("bob")
    inner = await group(grouped, "Inner", ann)
    outer = await group(grouped, "Outer", inner, bob)
    users = "/scim/v2/Users"

    assert await found(grouped, f'groups.value eq "{outer}"', users) == [ann, bob]
    assert await found(grouped, f'groups eq "{inner}"', users) == [ann]
    assert await found(grouped, 'groups.display sw "inn"', users) == [ann]
    assert await found(grouped, f'groups[value eq "{outer}" and type eq "direct"]', users) == [bob]
    assert await found(grouped, "not (groups pr)", users) == []


@pytest.mark.parametrize(
    "filter_",
    [
        'displayName eq "team"',
        'externalId eq "X"',
        'members.value eq "ANN"',
        'members eq "ANN"',
        'members[value eq "ANN"]',
        'members[value eq "ANN" and type eq "user"]',
        'members.value eq "awaited"',
        'id eq "TEAM"',
        'id eq "TEAM" and members eq "ANN"',
        'meta.resourceType eq "Group" and members pr',
        f'schemas eq "{GROUP}" and members.type eq "User"',
        f'{GROUP}:displayName co "ea" and meta.created gt "2020-01-01T00:00:00Z"',
    ],
)
async def test_groups_are_found(grouped: Directory, filter_: str) -> None:
    ann = await grouped.create("ann")
    team = await group(grouped, "Team", ann, "awaited", externalId="X")
    await group(grouped, "Other")

    assert await found(grouped, filter_.replace("ANN", ann).replace("TEAM", team)) == [team]


async def test_a_list_leaves_out_members_that_nobody_wants(grouped: Directory) -> None:
    await group(grouped, "Team", await grouped.create("ann"))

    with_them, without, only = [
        (await grouped.request("GET", GROUPS + query)).json()
        for query in ("", "?excludedAttributes=members", "?attributes=displayName")
    ]

    assert len(with_them["Resources"][0]["members"]) == 1
    assert "members" not in without["Resources"][0]
    assert only["Resources"][0].keys() == {"schemas", "id", "displayName"}


async def test_groups_are_sorted_and_paged(grouped: Directory) -> None:
    for name in ("b", "C", "a"):
        await group(grouped, name)

    first = (await grouped.request("GET", f"{GROUPS}?sortBy=displayName&count=2&cursor=")).json()
    rest = (await grouped.request("GET", f"{GROUPS}?sortBy=displayName&count=2&cursor={first['nextCursor']}")).json()

    assert [each["displayName"] for each in first["Resources"] + rest["Resources"]] == ["a", "b", "C"]


async def test_if_match_keeps_an_older_version_from_being_changed(grouped: Directory) -> None:
    team = await group(grouped, "Team")
    changed = await patch(grouped, team, {"op": "replace", "path": "displayName", "value": "Crew"})

    refused = await grouped.request(
        "PATCH", f"{GROUPS}/{team}", json={"Operations": [adding("a")]}, headers={"If-Match": 'W/"1"'}
    )
    unchanged = await grouped.request("GET", f"{GROUPS}/{team}", headers={"If-None-Match": changed.headers["ETag"]})

    assert changed.headers["ETag"] == 'W/"2"'
    assert refused.status_code == 412
    assert unchanged.status_code == 304


@pytest.mark.parametrize(
    ("operation", "status", "scim_type"),
    [
        ({"op": "remove", "path": "displayName"}, 400, "mutability"),
        ({"op": "replace", "path": "displayName", "value": ""}, 400, "invalidValue"),
        ({"op": "add", "path": "members", "value": [{"display": "Ann"}]}, 400, "invalidValue"),
        ({"op": "replace", "path": 'members[value eq "a"].value', "value": "b"}, 400, "mutability"),
        ({"op": "replace", "path": "members.type", "value": "b"}, 400, "mutability"),
        ({"op": "remove"}, 400, "noTarget"),
        ({"op": "add", "path": "id", "value": "b"}, 400, "mutability"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(
    grouped: Directory, operation: dict[str, Any], status: int, scim_type: str
) -> None:
    team = await group(grouped, "Team", "a")

    response = await patch(grouped, team, operation)

    assert (response.status_code, response.json()["scimType"]) == (status, scim_type), response.text
    assert await members(grouped, team) == ["a"]


async def test_a_hundred_parallel_patches_of_one_group_end_in_what_they_say(grouped: Directory) -> None:
    people = [await grouped.create(f"person{number}") for number in range(60)]
    team = await group(grouped, "Team", *people[:40])

    responses = await asyncio.gather(
        *(patch(grouped, team, removing(each)) for each in people[:20]),
        *(patch(grouped, team, removing_by_filter(each)) for each in people[20:40]),
        *(patch(grouped, team, adding(each)) for each in people[40:]),
        *(patch(grouped, team, adding(each, f"awaited {each}")) for each in people[40:]),
        *(patch(grouped, team, adding(f"awaited {each}")) for each in people[40:]),
    )

    assert {each.status_code for each in responses} == {200}
    assert sorted(await members(grouped, team)) == sorted([*people[40:], *(f"awaited {each}" for each in people[40:])])


async def test_while_groups_are_off_there_are_none_and_writing_says_how_to_switch_them_on(directory: Directory) -> None:
    listed = (await directory.request("GET", GROUPS)).json()
    refused = await directory.request("POST", GROUPS, json={"displayName": "Team"})
    types = (await directory.request("GET", "/scim/v2/ResourceTypes")).json()

    assert (listed["totalResults"], listed["Resources"]) == (0, [])
    assert refused.status_code == 501
    assert "--groups on" in refused.json()["detail"]
    assert [each["id"] for each in types["Resources"]] == ["User"]


async def test_who_arrives_while_groups_are_off_joins_when_they_are_switched_on_again(grouped: Directory) -> None:
    team, crew = await group(grouped, "Team", "id of ann", "id of eve"), await group(grouped, "Crew", "id of ann")
    await grouped.set_settings(groups="off")
    ann, bob = await grouped.create("ann", externalId="id of ann"), await grouped.create("bob")

    await grouped.set_settings(groups="on")

    assert set(await members(grouped, team)) == {ann, "id of eve"}
    assert await members(grouped, crew) == [ann]
    assert await grouped.event_types(crew) == ["GroupProvisioned", "MemberAwaited", "MemberJoined"]
    assert "groups" not in (await grouped.request("GET", f"/scim/v2/Users/{bob}")).json()


async def test_a_query_at_the_root_finds_users_and_groups(grouped: Directory) -> None:
    ann = await grouped.create("ann", displayName="All")
    await grouped.create("bob")
    team = await group(grouped, "All", ann)
    root = "/scim/v2"

    assert await found(grouped, 'displayName eq "all"', root) == [ann, team]
    assert await found(grouped, 'meta.resourceType eq "Group"', root) == [team]
    searched = await grouped.request("POST", f"{root}/.search", json={"startIndex": 3, "attributes": ["displayName"]})
    assert searched.json()["totalResults"] == 3
    assert [each["id"] for each in searched.json()["Resources"]] == [team]


async def test_members_that_are_too_many_for_one_look_are_streamed_all_the_same(
    grouped: Directory, owner: asyncpg.Connection
) -> None:
    team, other = await group(grouped, "Team", "awaited"), await group(grouped, "Other", await grouped.create("ann"))
    await owner.execute(
        "INSERT INTO rollbook.members SELECT $1, $2, gen_random_uuid(), 'User' FROM generate_series(1, $3)",
        grouped.tenant_id,
        UUID(team),
        2 * MEMBERS_AT_ONCE,
    )

    shown = await read(grouped, team)
    listed = (await grouped.request("GET", f"{GROUPS}?attributes=members.value")).json()["Resources"]
    unwanted = "excludedAttributes=members.value,members.type,members.$ref"
    bare = (await grouped.request("GET", f"{GROUPS}?{unwanted}")).json()["Resources"]

    assert len({each["value"] for each in shown["members"]}) == 2 * MEMBERS_AT_ONCE + 1
    assert [(each["id"], len(each["members"])) for each in listed] == [(team, 2 * MEMBERS_AT_ONCE + 1), (other, 1)]
    assert listed[0]["members"][0].keys() == {"value"}
    assert [each.get("members") for each in bare] == [None, None]


async def test_a_thousand_members_come_and_go_in_one_request(grouped: Directory) -> None:
    team = await group(grouped, "Team")
    named = [f"person {number}" for number in range(1_000)]

    responses = [
        await patch(grouped, team, adding(*named)),
        await patch(grouped, team, *(removing_by_filter(each) for each in named[:999])),
    ]

    assert [each.status_code for each in responses] == [204, 200]  # without the many, and with nobody
    assert await members(grouped, team) == [named[999]]


async def test_bulk_makes_groups_and_their_members_together(grouped: Directory) -> None:
    user = {"method": "POST", "path": "/Users", "bulkId": "ann", "data": {"userName": "ann"}}
    members_of = [{"value": "bulkId:ann"}]
    team = {"method": "POST", "path": "/Groups", "bulkId": "team", "data": {"displayName": "T", "members": members_of}}

    response = (await grouped.request("POST", "/scim/v2/Bulk", json={"Operations": [team, user]})).json()

    assert [each["status"] for each in response["Operations"]] == ["201", "201"]
    ids = [each["location"].rpartition("/")[2] for each in response["Operations"]]
    assert await members(grouped, ids[0]) == [ids[1]]


async def test_a_group_of_the_directory_is_one_group_here(grouped: Directory) -> None:
    body = {"displayName": "Team", "externalId": "G-1"}
    first = await group(grouped, "Team", externalId="G-1")
    again = await grouped.request("POST", GROUPS, json=body)
    other = await group(grouped, "Team", externalId="g-1")
    taken = await patch(grouped, other, {"op": "replace", "path": "externalId", "value": "G-1"})
    for each in (again, taken):
        assert (each.status_code, each.json()["scimType"]) == (409, "uniqueness")

    await grouped.request("DELETE", f"{GROUPS}/{first}")
    assert (await grouped.request("POST", GROUPS, json=body)).status_code == 201


async def test_many_creations_of_one_group_at_the_same_time_make_one(grouped: Directory) -> None:
    body = {"displayName": "Team", "externalId": "G-1"}
    answers = await asyncio.gather(*(grouped.request("POST", GROUPS, json=body) for _ in range(20)))
    assert sorted(each.status_code for each in answers) == [201] + [409] * 19


async def test_groups_that_exchange_their_external_ids_are_rebuilt(grouped: Directory, database: Database) -> None:
    one, two = await group(grouped, "One", externalId="G-1"), await group(grouped, "Two", externalId="G-2")
    for each, value in ((one, "G-3"), (two, "G-1"), (one, "G-2")):
        answer = await patch(grouped, each, {"op": "replace", "path": "externalId", "value": value})
        assert answer.status_code == 200, answer.text
    assert await differences(database) == []
