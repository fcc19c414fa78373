"""`/Groups`: groups and their members (RFC 7643 §4.2, RFC 7644 §3.5.2), as directories change them."""

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from tests.conftest import Directory

GROUPS = "/scim/v2/Groups"
USERS = "/scim/v2/Users"
Json = dict[str, Any]


@pytest.fixture
async def with_groups(directory: Directory) -> Directory:
    await directory.set_settings(groups="on")
    return directory


async def people(directory: Directory, count: int, prefix: str = "u") -> list[str]:
    return [await directory.create(f"{prefix}{number}") for number in range(count)]


def values(ids: Iterable[str]) -> list[Json]:
    return [{"value": each} for each in ids]


async def group(directory: Directory, name: str, members: Iterable[str] = (), **given: Any) -> str:
    answer = await directory.request("POST", GROUPS, json={"displayName": name, "members": values(members), **given})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def patch(directory: Directory, group_id: str, *operations: Json) -> httpx.Response:
    return await directory.request("PATCH", f"{GROUPS}/{group_id}", json={"Operations": list(operations)})


async def done(directory: Directory, group_id: str, *operations: Json) -> bool:
    return (await patch(directory, group_id, *operations)).status_code in {200, 204}


async def members(directory: Directory, group_id: str) -> list[str]:
    found = (await directory.request("GET", f"{GROUPS}/{group_id}")).json()
    return sorted(each["value"] for each in found.get("members", []))


async def groups_of(directory: Directory, user_id: str) -> dict[str, str]:
    found = (await directory.request("GET", f"{USERS}/{user_id}")).json()
    return {each["display"]: each["type"] for each in found.get("groups", [])}


async def event_types(directory: Directory, group_id: str) -> list[str]:
    return await directory.event_types(group_id)


async def test_a_group_is_created_read_changed_and_deleted(with_groups: Directory) -> None:
    directory = with_groups
    ann, bob = await people(directory, 2)
    created = await directory.request(
        "POST", GROUPS, json={"displayName": "Sales", "externalId": "x-1", "members": values([ann])}
    )
    resource = created.json()
    assert created.status_code == 201
    assert created.headers["location"] == resource["meta"]["location"]
    assert resource["meta"]["resourceType"] == "Group"
    assert resource["members"] == [{"value": ann, "$ref": f"http://rollbook.test/scim/v2/Users/{ann}", "type": "User"}]
    id_ = resource["id"]

    assert (await patch(directory, id_, {"op": "Replace", "path": "displayName", "value": "Sales EU"})).status_code in {
        200,
        204,
    }
    put = await directory.request("PUT", f"{GROUPS}/{id_}", json={"displayName": "All", "members": values([bob])})
    assert (put.json()["displayName"], "externalId" in put.json()) == ("All", False)
    assert await members(directory, id_) == [bob]
    assert (await directory.request("DELETE", f"{GROUPS}/{id_}")).status_code in {200, 204}
    assert (await directory.request("GET", f"{GROUPS}/{id_}")).status_code == 404
    assert (await patch(directory, id_, {"op": "add", "path": "members", "value": values([ann])})).status_code == 404
    assert await groups_of(directory, bob) == {}
    assert await event_types(directory, id_) == [
        "GroupProvisioned", "MembersAdded", "GroupChanged", "GroupChanged", "MembersRemoved", "MembersAdded",
        "GroupDeleted",
    ]  # fmt: skip


async def test_members_come_and_go_in_every_form_in_which_directories_say_so(with_groups: Directory) -> None:
    directory = with_groups
    ann, bob, cay, dan = await people(directory, 4)
    id_ = await group(directory, "Sales")
    steps: list[tuple[Json, list[str]]] = [
        ({"op": "Add", "path": "members", "value": [{"$ref": None, "value": ann}]}, [ann]),
        ({"op": "add", "path": "members", "value": values([ann, bob])}, [ann, bob]),  # one of them again
        ({"op": "add", "value": {"members": values([cay])}}, [ann, bob, cay]),
        ({"op": "Remove", "path": "members", "value": [{"$ref": None, "value": ann}]}, [bob, cay]),
        ({"op": "remove", "path": f'members[value eq "{bob}"]'}, [cay]),
        ({"op": "remove", "path": f'members[value eq "{bob}"]'}, [cay]),  # who is none
        ({"op": "remove", "path": "members", "value": values([dan])}, [cay]),
        ({"op": "replace", "path": "members", "value": values([dan, ann])}, [ann, dan]),
        ({"op": "remove", "path": f'members[value eq "{ann}" or value eq "{bob}"]'}, [dan]),
        ({"op": "add", "path": "members", "value": {"value": ann}}, [ann, dan]),
        ({"op": "remove", "path": 'members[type eq "User"]'}, []),
        ({"op": "add", "path": "members", "value": values([ann, bob])}, [ann, bob]),
        ({"op": "remove", "path": "members"}, []),
        ({"op": "add", "path": "members", "value": values([ann, bob])}, [ann, bob]),
        ({"op": "replace", "path": "members", "value": []}, []),
    ]
    for operation, expected in steps:
        answer = await patch(directory, id_, operation)
        assert answer.status_code in {200, 204}, (operation, answer.text)
        assert await members(directory, id_) == sorted(expected), operation


async def test_a_patch_is_all_or_nothing_and_one_that_cannot_be_is_an_error(with_groups: Directory) -> None:
    directory = with_groups
    [ann] = await people(directory, 1)
    id_ = await group(directory, "Sales")
    add = {"op": "add", "path": "members", "value": values([ann])}
    refused: list[tuple[Json, int, str | None]] = [
        ({"op": "add", "path": "members", "value": [{"display": "ann"}]}, 400, "invalidValue"),
        ({"op": "add", "path": "members", "value": [{"value": id_}]}, 409, None),
        ({"op": "remove", "path": "displayName"}, 400, "mutability"),
        ({"op": "replace", "path": f'members[value eq "{ann}"].type', "value": "Group"}, 400, "mutability"),
        ({"op": "replace", "path": "displayName", "value": ""}, 400, "invalidValue"),
        ({"op": "add", "path": "members[", "value": []}, 400, "invalidPath"),
    ]
    for bad, status, scim_type in refused:
        answer = await patch(directory, id_, add, bad)
        assert (answer.status_code, answer.json().get("scimType")) == (status, scim_type), bad
    assert await members(directory, id_) == []
    assert await event_types(directory, id_) == ["GroupProvisioned"]


async def test_a_group_in_a_group_and_never_within_itself(with_groups: Directory) -> None:
    directory = with_groups
    [ann] = await people(directory, 1)
    inner = await group(directory, "Inner", [ann])
    middle = await group(directory, "Middle", [inner])
    outer = await group(directory, "Outer", [middle])

    assert await groups_of(directory, ann) == {"Inner": "direct", "Middle": "indirect", "Outer": "indirect"}
    shown = (await directory.request("GET", f"{GROUPS}/{outer}")).json()["members"]
    assert shown == [{"value": middle, "$ref": f"http://rollbook.test/scim/v2/Groups/{middle}", "type": "Group"}]
    for circle in ((inner, outer), (inner, middle), (middle, outer)):
        answer = await patch(directory, circle[0], {"op": "add", "path": "members", "value": values([circle[1]])})
        assert answer.status_code == 409, circle
    await directory.request("DELETE", f"{GROUPS}/{middle}")
    assert await groups_of(directory, ann) == {"Inner": "direct"}
    assert await members(directory, outer) == []


async def test_who_is_named_before_being_there_joins_on_arrival(with_groups: Directory) -> None:
    directory = with_groups
    entra_id, external_id, group_name = str(uuid4()), str(uuid4()), str(uuid4())
    id_ = await group(directory, "Sales", [entra_id, external_id, group_name])
    waiting = (await directory.request("GET", f"{GROUPS}/{id_}")).json()["members"]
    assert sorted(waiting, key=str) == sorted(values([entra_id, external_id, group_name]), key=str)

    ann = await directory.create("ann", microsoftId=entra_id.upper())
    bob = await directory.create("bob")
    await directory.patch(bob, {"op": "add", "path": "externalId", "value": external_id})
    inner = await group(directory, "Inner", externalId=group_name)

    assert await members(directory, id_) == sorted([ann, bob, inner])
    assert await groups_of(directory, ann) == {"Sales": "direct"}
    assert await event_types(directory, id_) == [
        "GroupProvisioned",
        *["MemberAwaited"] * 3,
        *["MemberJoined"] * 3,
    ]
    # From now on the directory's own id means the same member.
    assert await done(directory, id_, {"op": "add", "path": "members", "value": values([entra_id])})
    assert await done(directory, id_, {"op": "remove", "path": "members", "value": values([entra_id])})
    assert await members(directory, id_) == sorted([bob, inner])


async def test_who_is_deleted_or_erased_leaves_every_group(with_groups: Directory) -> None:
    directory = with_groups
    ann, bob = await people(directory, 2)
    ids = [await group(directory, name, [ann, bob]) for name in ("A", "B", "C")]

    assert (await directory.request("DELETE", f"{USERS}/{ann}")).status_code in {200, 204}
    assert (await directory.request("POST", f"/v1/users/{bob}/erase")).status_code == 200
    for id_ in ids:
        assert await members(directory, id_) == []
        assert (await event_types(directory, id_))[-2:] == ["MembersRemoved", "MembersRemoved"]


async def test_who_is_deleted_while_groups_are_off_leaves_too(with_groups: Directory) -> None:
    directory = with_groups
    [ann] = await people(directory, 1)
    id_ = await group(directory, "A", [ann])
    await directory.set_settings(groups="off")
    assert (await directory.request("DELETE", f"{USERS}/{ann}")).status_code in {200, 204}
    await directory.set_settings(groups="on")
    assert await members(directory, id_) == []


async def test_a_hundred_parallel_patches_end_in_the_set_that_they_imply(with_groups: Directory) -> None:
    directory = with_groups
    ids = await people(directory, 60)
    stay, go, come = ids[:20], ids[20:40], ids[40:]
    id_ = await group(directory, "Sales", stay + go)
    operations: list[Json] = [{"op": "remove", "path": f'members[value eq "{each}"]'} for each in go]
    operations += [{"op": "remove", "path": "members", "value": values([each])} for each in go]
    operations += [{"op": "add", "path": "members", "value": values([each])} for each in come * 3]

    answers = await asyncio.gather(*(patch(directory, id_, each) for each in operations))

    assert {answer.status_code for answer in answers} == {200}
    assert await members(directory, id_) == sorted(stay + come)


async def test_groups_are_found_by_what_directories_look_for(with_groups: Directory) -> None:
    directory = with_groups
    ann, bob = await people(directory, 2)
    sales = await group(directory, "Sales", [ann], externalId="e-1")
    all_ = await group(directory, "All", [bob, sales])
    for filter_, expected in [
        ('displayName eq "sales"', [sales]),
        ('externalId eq "e-1"', [sales]),
        ('externalId eq "E-1"', []),
        (f'id eq "{all_}"', [all_]),
        (f'members.value eq "{ann}"', [sales]),
        (f'members[value eq "{bob}"]', [all_]),
        (f'members eq "{bob}" and displayName sw "a"', [all_]),
        ('members.type eq "group"', [all_]),
        ("members pr", [sales, all_]),
        ('meta.resourceType eq "Group"', [sales, all_]),
        ('schemas eq "urn:ietf:params:scim:schemas:core:2.0:Group"', [sales, all_]),
        ('displayName eq "x"', []),
    ]:
        found = (await directory.request("GET", f"{GROUPS}?{urlencode({'filter': filter_})}")).json()
        assert [each["id"] for each in found["Resources"]] == expected, filter_
        assert found["totalResults"] == len(expected)
    for filter_, names in [
        (f'groups.value eq "{all_}"', ["u0", "u1"]),
        (f'groups.value eq "{sales}"', ["u0"]),
        ('groups.display eq "all"', ["u0", "u1"]),
        ('groups[type eq "direct" and display eq "All"]', ["u1"]),
    ]:
        found = (await directory.request("GET", f"{USERS}?{urlencode({'filter': filter_})}")).json()
        assert [each["userName"] for each in found["Resources"]] == names, filter_


async def test_lists_of_groups_are_sorted_paged_and_trimmed(with_groups: Directory) -> None:
    directory = with_groups
    [ann] = await people(directory, 1)
    for name in ("b", "a", "c"):
        await group(directory, name, [ann])
    page = (await directory.request("GET", f"{GROUPS}?sortBy=displayName&count=2&cursor")).json()
    rest = await directory.request("GET", f"{GROUPS}?sortBy=displayName&count=2&cursor={page['nextCursor']}")
    assert [each["displayName"] for each in page["Resources"] + rest.json()["Resources"]] == ["a", "b", "c"]
    assert [each["members"][0]["value"] for each in page["Resources"]] == [ann, ann]
    without = (await directory.request("GET", f"{GROUPS}?excludedAttributes=members")).json()
    assert all("members" not in each and "displayName" in each for each in without["Resources"])
    few = (await directory.request("GET", f"{GROUPS}?attributes=members.value")).json()
    assert few["Resources"][0].keys() == {"schemas", "id", "members"}
    assert few["Resources"][0]["members"] == [{"value": ann}]
    found = await directory.request("POST", f"{GROUPS}/.search", json={"filter": 'displayName eq "c"'})
    assert [each["displayName"] for each in found.json()["Resources"]] == ["c"]


async def test_while_groups_are_off_there_is_nothing_to_read_and_writing_is_refused(directory: Directory) -> None:
    listed = await directory.request("GET", f"{GROUPS}?filter=displayName+eq+%22x%22")
    assert (listed.status_code, listed.json()["totalResults"], listed.json()["Resources"]) == (200, 0, [])
    for method, path in (("POST", GROUPS), ("PATCH", f"{GROUPS}/{uuid4()}"), ("DELETE", f"{GROUPS}/{uuid4()}")):
        refused = await directory.request(method, path, json={})
        assert refused.status_code == 501
        assert "--groups on" in refused.json()["detail"]
    types = (await directory.request("GET", "/scim/v2/ResourceTypes")).json()["Resources"]
    assert [each["id"] for each in types] == ["User"]


async def test_discovery_lists_groups_while_they_are_on(with_groups: Directory) -> None:
    types = (await with_groups.request("GET", "/scim/v2/ResourceTypes")).json()["Resources"]
    assert [each["id"] for each in types] == ["User", "Group"]
    schema = await with_groups.request("GET", "/scim/v2/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group")
    assert [each["name"] for each in schema.json()["attributes"]] == ["displayName", "members", "externalId"]


async def test_one_member_more_costs_the_same_however_many_there_are(
    with_groups: Directory, owner: asyncpg.Connection
) -> None:
    directory = with_groups
    [ann] = await people(directory, 1)
    large = await group(directory, "Large", [str(UUID(int=number)) for number in range(1, 20_001)])
    assert await done(directory, large, {"op": "add", "path": "members", "value": values([ann])})
    sizes = "SELECT length(data::text) FROM rollbook.events WHERE stream_id = $1 ORDER BY version DESC LIMIT 1"
    assert await owner.fetchval(sizes, UUID(large)) < 200
    assert len(await members(directory, large)) == 20_001


async def test_bulk_makes_groups_of_people_whom_it_makes(with_groups: Directory) -> None:
    directory = with_groups
    answer = await directory.request("POST", "/scim/v2/Bulk", json={"Operations": [
        {"method": "POST", "path": "/Groups", "bulkId": "g", "data": {
            "displayName": "G", "members": [{"value": "bulkId:ann"}, {"value": "bulkId:h"}]}},
        {"method": "POST", "path": "/Groups", "bulkId": "h", "data": {"displayName": "H"}},
        {"method": "POST", "path": "/Users", "bulkId": "ann", "data": {"userName": "ann"}},
        {"method": "POST", "path": "/Groups", "bulkId": "i", "data": {
            "displayName": "I", "members": [{"value": "bulkId:j"}]}},
        {"method": "POST", "path": "/Groups", "bulkId": "j", "data": {
            "displayName": "J", "members": [{"value": "bulkId:i"}]}},
    ]})  # fmt: skip
    results = answer.json()["Operations"]
    assert [each["status"] for each in results] == ["201", "201", "201", "409", "409"]
    made = results[0]["location"].rpartition("/")[2]
    assert len(await members(directory, made)) == 2
