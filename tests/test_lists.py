"""Lists (RFC 7644 §3.4.2): their order, their pages by number and by cursor (RFC 9865), searches by POST."""

import base64
import json
import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from api import cursors
from api.seals import Seals
from engine.refusals import ExpiredCursor
from projections.order import Place
from tests.conftest import Directory, issue, register

USERS = "/scim/v2/Users"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
Json = dict[str, Any]
Key = Callable[[Json], Any]


async def get(directory: Directory, **parameters: object) -> Json:
    answer = await directory.request("GET", f"{USERS}?{urlencode(parameters)}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def pages(directory: Directory, **parameters: object) -> list[Json]:
    """All resources, by cursors."""
    page = await get(directory, cursor="", **parameters)
    found: list[Json] = page["Resources"]
    while "nextCursor" in page:
        assert "startIndex" not in page
        assert page["itemsPerPage"] == parameters.get("count", 100)
        page = await get(directory, cursor=page["nextCursor"], **parameters)
        found += page["Resources"]
    return found


def names(resources: list[Json]) -> list[str]:
    return [each["userName"] for each in resources]


async def people(directory: Directory) -> list[Json]:
    """Twenty people, with gaps and repetitions in their values, in the order of their creation."""
    chance = random.Random(7)
    for number in chance.sample(range(20), 20):
        given: Json = {}
        if number % 3:
            given["title"] = chance.choice(["boss", "Clerk", "Ärztin", "aide", "Boss"])
        if number % 4:
            given["emails"] = [{"value": f"{chance.choice('xyz')}@x", "type": "home"}]
        if number % 5 == 0:
            given["emails"] = [{"value": "z@x", "type": "home"}, {"value": "a@x", "type": "work", "primary": True}]
        if number % 2:
            given[ENTERPRISE] = {"department": chance.choice(["B", "a", "c"])}
            given["name"] = {"familyName": chance.choice(["Z", "y"])}
            given["profileUrl"] = chance.choice(["https://B", "https://a"])
        await directory.create(f"{'pP'[number % 2]}{number}", active=number % 7 > 1, **given)
    found: list[Json] = (await get(directory))["Resources"]
    return found


def of_emails(name: str) -> Key:
    def key(each: Json) -> Any:
        found = sorted(each.get("emails", []), key=lambda one: not one.get("primary"))
        return found[0].get(name, "").lower() or None if found else None

    return key


SORTS: dict[str, Key] = {
    "userName": lambda each: each["userName"].lower(),
    "title": lambda each: each.get("title", "").lower() or None,
    "profileUrl": lambda each: each.get("profileUrl"),
    "name.familyName": lambda each: each.get("name", {}).get("familyName", "").lower() or None,
    f"{ENTERPRISE}:department": lambda each: each.get(ENTERPRISE, {}).get("department", "").lower() or None,
    "active": lambda each: each["active"],
    "role": lambda each: each["role"],
    "emails": of_emails("value"),
    "emails.type": of_emails("type"),
    "meta.created": lambda each: each["meta"]["created"],
    "meta.lastModified": lambda each: each["meta"]["lastModified"],
    "id": lambda each: UUID(each["id"]).int,
    "externalId": lambda _: None,
}


def in_order(resources: list[Json], key: Key, *, is_descending: bool) -> list[str]:
    """Without a value last, or first if it is descending; the same values by age, in the same direction."""
    known = [each for each in resources if key(each) is not None]
    unknown = [each for each in resources if key(each) is None]
    ascending = sorted(known, key=lambda each: (key(each), UUID(each["id"]).int)) + unknown
    return names(ascending[::-1] if is_descending else ascending)


async def test_a_list_is_sorted_by_any_attribute_and_cut_into_pages_anywhere(directory: Directory) -> None:
    everybody = await people(directory)
    for name, key in SORTS.items():
        for direction in ("ascending", "descending"):
            expected = in_order(everybody, key, is_descending=direction == "descending")
            given: Json = {"sortBy": name, "sortOrder": direction}

            assert names((await get(directory, **given))["Resources"]) == expected, given
            for count in (1, 3, 7, 20):
                assert names(await pages(directory, count=count, **given)) == expected, (given, count)
            part = await get(directory, startIndex=6, count=5, **given)
            assert (names(part["Resources"]), part["startIndex"], part["totalResults"]) == (expected[5:10], 6, 20)


async def test_a_filtered_list_goes_by_cursors_too(directory: Directory) -> None:
    everybody = await people(directory)
    expected = in_order([each for each in everybody if each["active"]], SORTS["title"], is_descending=False)

    assert names(await pages(directory, count=4, sortBy="title", filter="active eq true")) == expected
    assert names(await pages(directory, count=4, filter="title pr")) == [
        each["userName"] for each in everybody if "title" in each
    ]


async def test_while_others_write_nobody_who_stays_is_lost_or_doubled(directory: Directory) -> None:
    everybody = await people(directory)
    gone, moved, stay = everybody[2]["id"], everybody[15]["id"], [each["id"] for each in everybody[3:15]]
    for sort in ("userName", "id", "title"):
        page = await get(directory, cursor="", count=6, sortBy=sort)
        seen = [each["id"] for each in page["Resources"]]
        number = 0
        while "nextCursor" in page:
            number += 1
            await directory.create(f"new-{sort}-{number}", title=f"{number}")
            await directory.request("DELETE", f"{USERS}/{gone}")
            await directory.patch(seen[-1], {"op": "replace", "path": "nickName", "value": sort})
            await directory.patch(moved, {"op": "replace", "path": "title", "value": f"{sort}{number}"})
            page = await get(directory, cursor=page["nextCursor"], count=6, sortBy=sort)
            seen += [each["id"] for each in page["Resources"]]
        assert [seen.count(each) for each in stay] == [1] * len(stay)


async def test_a_cursor_is_good_for_its_own_query_alone(directory: Directory) -> None:
    await people(directory)
    cursor = (await get(directory, cursor="", count=5, sortBy="title"))["nextCursor"]
    stranger = await register(directory.services, "fabrikam")
    other = {"Authorization": f"Bearer {await issue(directory.services, stranger)}"}

    right = f"{USERS}?{urlencode({'cursor': cursor, 'sortBy': 'title'})}"
    assert (await directory.request("GET", right)).status_code == 200
    assert (await directory.request("GET", f"{right}&count=7")).status_code == 200
    for address, headers in (
        (right, other),
        (f"{USERS}?{urlencode({'cursor': cursor})}", {}),
        (f"{right}&sortOrder=descending", {}),
        (f"{right}&{urlencode({'filter': 'active eq true'})}", {}),
        (f"{USERS}?{urlencode({'cursor': cursor[:-4] + 'AAAA', 'sortBy': 'title'})}", {}),
        (f"{USERS}?{urlencode({'cursor': 'é' * 5_000})}", {}),
        (f"{USERS}?cursor=x", {}),
    ):
        answer = await directory.request("GET", address, headers=headers)
        assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidCursor"), address


async def test_a_cursor_shows_nobodys_data_and_expires(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    found = directory.services.cursors
    place = Place("Ann Secret", UUID(int=1))
    text = await found.write(place, directory.tenant_id, "q")
    assert text != await found.write(place, directory.tenant_id, "q")
    assert b"Ann" not in base64.urlsafe_b64decode(text + "===")
    assert await cursors.Cursors(Seals(directory.services.pool)).read(text, directory.tenant_id, "q") == place

    later = time.time() + cursors.LIFE + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(ExpiredCursor):
        await found.read(text, directory.tenant_id, "q")


@pytest.mark.parametrize(
    ("query", "status", "scim_type"),
    [
        ("cursor&count=0", 400, "invalidCount"),
        ("cursor&count=1001", 400, "invalidCount"),
        ("cursor&startIndex=2", 400, "invalidValue"),
        ("sortBy=name", 400, "invalidValue"),
        ("sortBy=title&sortOrder=up", 400, "invalidValue"),
        ("sortBy=shoeSize", 200, None),
        ("count=x", 400, "invalidValue"),
        ("attributes=title&excludedAttributes=active", 400, "invalidValue"),
    ],
)
async def test_what_cannot_be_listed_is_said(directory: Directory, query: str, status: int, scim_type: str) -> None:
    answer = await directory.request("GET", f"{USERS}?{query}")
    assert (answer.status_code, answer.json().get("scimType")) == (status, scim_type)


SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"


@pytest.mark.parametrize("address", [f"{USERS}/.search", "/scim/v2/.search", "/scim/v2/users/.SEARCH"])
async def test_a_search_by_post_finds_what_the_same_query_finds(directory: Directory, address: str) -> None:
    await people(directory)
    body = {
        "schemas": [SEARCH],
        "filter": "active eq true",
        "attributes": ["title", "userName"],
        "sortBy": "title",
        "sortOrder": "descending",
        "startIndex": 5,
        "count": 4,
    }
    found = await directory.request("POST", address, json=body)

    query = {name: ",".join(value) if isinstance(value, list) else value for name, value in body.items()}
    del query["schemas"]
    assert found.json() == await get(directory, **query)
    shown = {name for each in found.json()["Resources"] for name in each}
    assert shown == {"schemas", "id", "title", "userName"}
    by_cursor = await directory.request("POST", address, json={"schemas": [SEARCH], "cursor": "", "count": 15})
    rest = {"schemas": [SEARCH], "cursor": by_cursor.json()["nextCursor"], "count": 15}
    assert len((await directory.request("POST", address, json=rest)).json()["Resources"]) == 5


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "object"),
        ({"filter": 7}, "filter takes a string"),
        ({"count": "ten"}, "count"),
        ({"count": True}, "count takes a string"),
        ({"attributes": [7]}, "attributes"),
        ({"attributes": {"a": 1}}, "attributes"),
    ],
)
async def test_a_search_that_is_none_is_refused(directory: Directory, body: Any, says: str) -> None:
    answer = await directory.request("POST", f"{USERS}/.search", content=json.dumps(body))
    assert answer.status_code == 400
    assert says in answer.json()["detail"]


async def test_the_root_lists_every_resource(directory: Directory) -> None:
    ann = await directory.create("ann")
    query = urlencode({"filter": 'meta.resourceType eq "User"'})
    assert [each["id"] for each in (await directory.request("GET", f"/scim/v2?{query}")).json()["Resources"]] == [ann]
    query = urlencode({"filter": 'meta.resourceType eq "Group"'})
    assert (await directory.request("GET", f"/scim/v2/?{query}")).json()["totalResults"] == 0


@pytest.mark.parametrize("path", ["ServiceProviderConfig", "Schemas", "ResourceTypes", "Schemas/x"])
async def test_what_is_offered_cannot_be_filtered(directory: Directory, path: str) -> None:
    answer = await directory.request("GET", f"/scim/v2/{path}?filter=name+eq+%22x%22")
    assert answer.status_code == 403


async def test_every_address_says_what_it_takes(directory: Directory) -> None:
    answer = await directory.request("OPTIONS", USERS)
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    refused = await directory.request("PUT", USERS, json={})
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    head = await directory.request("HEAD", f"{USERS}?count=1")
    assert (head.status_code, head.headers["content-type"]) == (200, "application/scim+json")


async def test_resources_are_found_by_their_addresses(directory: Directory) -> None:
    await directory.set_settings(groups="on")
    ann, bob = await directory.create("ann"), await directory.create("bob")
    made = {"displayName": "All", "members": [{"value": ann}, {"value": "nobody yet"}]}
    all_ = (await directory.request("POST", "/scim/v2/Groups", json=made)).json()["id"]
    address = (await directory.request("GET", f"/scim/v2/Users/{ann}")).json()["meta"]["location"]

    async def found(path: str, text: str) -> list[str]:
        answer = await directory.request("GET", f"{path}?{urlencode({'filter': text, 'sortBy': 'meta.location'})}")
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["Resources"]]

    assert await found("/scim/v2/Users", f'meta.location eq "{address}"') == [ann]
    assert await found("/scim/v2/Users", f'meta.location ne "{address}"') == [bob]
    assert await found("/scim/v2/Users", "meta.location pr") == sorted([ann, bob])
    assert await found("/scim/v2/Users", 'meta[location ew "x"]') == []
    assert await found("/scim/v2/Users", f'groups.$ref ew "/scim/v2/Groups/{all_}"') == [ann]
    assert await found("/scim/v2/Groups", f'members[$ref eq "{address}" and type eq "User"]') == [all_]
    assert await found("/scim/v2/Groups", 'meta.location co "/Groups/"') == [all_]
    assert await found("/scim/v2/", f'meta.location eq "{address}"') == [ann]
