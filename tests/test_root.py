"""Queries at the root (RFC 7644 §3.4.2.1): users first, then groups, by number and by cursor."""

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import Directory

ROOT = "/scim/v2"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
Json = dict[str, Any]


@pytest.fixture
async def grouped(directory: Directory) -> Directory:
    await directory.set_settings(groups="on")
    return directory


async def filled(directory: Directory, users: int, groups: int) -> list[str]:
    """The ids of so many users and groups, in the order in which a list shows them."""
    ids = [await directory.create(f"u{number}", title="x", schemas=[CORE]) for number in range(users)]
    for number in range(groups):
        body = {"schemas": [GROUP], "displayName": f"g{number}", "externalId": f"e{number}"}
        ids.append((await directory.request("POST", f"{ROOT}/Groups", json=body)).json()["id"])
    return ids


async def get(directory: Directory, **parameters: object) -> Json:
    answer = await directory.request("GET", f"{ROOT}?{urlencode(parameters)}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def ids(page: Json) -> list[str]:
    return [each["id"] for each in page["Resources"]]


async def pages(directory: Directory, **parameters: object) -> list[list[str]]:
    page = await get(directory, cursor="", **parameters)
    found = [ids(page)]
    while "nextCursor" in page:
        page = await get(directory, cursor=page["nextCursor"], **parameters)
        found.append(ids(page))
    return found


@pytest.mark.parametrize(("users", "groups"), [(0, 0), (3, 0), (0, 3), (4, 3), (3, 4)])
async def test_cursors_lead_through_users_and_groups_once_each(grouped: Directory, users: int, groups: int) -> None:
    expected = await filled(grouped, users, groups)
    for count in range(1, 9):
        cut = [expected[start : start + count] for start in range(0, len(expected), count)] or [[]]
        assert await pages(grouped, count=count) == cut


async def test_each_page_says_how_many_there_are_in_all(grouped: Directory) -> None:
    await filled(grouped, 3, 2)
    first = await get(grouped, cursor="", count=3)
    second = await get(grouped, cursor=first["nextCursor"], count=3)
    assert [(each["totalResults"], each["itemsPerPage"]) for each in (first, second)] == [(5, 3), (5, 2)]
    assert "startIndex" not in first
    assert "nextCursor" not in second


async def test_cursors_keep_filter_and_order_of_both_types(grouped: Directory) -> None:
    expected = await filled(grouped, 3, 3)
    backwards = expected[2::-1] + expected[:2:-1]
    for name in ("id", "meta.created"):
        found = await pages(grouped, count=2, sortBy=name, sortOrder="descending")
        assert [each for page in found for each in page] == backwards
    assert await pages(grouped, count=1, filter='displayName eq "g1"') == [[expected[4]]]


async def test_who_comes_while_pages_are_read_doubles_nobody(grouped: Directory) -> None:
    expected = await filled(grouped, 2, 2)
    page = await get(grouped, cursor="", count=3)
    await grouped.create("late")
    assert ids(await get(grouped, cursor=page["nextCursor"], count=9)) == expected[3:]


async def test_a_cursor_of_another_address_is_none_here(grouped: Directory) -> None:
    await filled(grouped, 2, 2)
    for address in ("Users", "Groups"):
        page = (await grouped.request("GET", f"{ROOT}/{address}?cursor=&count=1")).json()
        answer = await grouped.request("GET", f"{ROOT}?{urlencode({'cursor': page['nextCursor'], 'count': 1})}")
        assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidCursor")
    page = await get(grouped, cursor="", count=1)
    answer = await grouped.request("GET", f"{ROOT}/Users?{urlencode({'cursor': page['nextCursor'], 'count': 1})}")
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidCursor")


async def test_a_search_by_post_has_cursors_too(grouped: Directory) -> None:
    expected = await filled(grouped, 2, 2)
    body: Json = {"schemas": [SEARCH], "cursor": "", "count": 3, "attributes": ["displayName"]}
    first = (await grouped.request("POST", f"{ROOT}/.search", json=body)).json()
    rest = (await grouped.request("POST", f"{ROOT}/.search", json={**body, "cursor": first["nextCursor"]})).json()
    assert ids(first) + ids(rest) == expected


@pytest.mark.parametrize("mode", ["entra", "strict"])
@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('userName eq "u1"', [1]),
        ("userName pr", [0, 1]),
        ("members pr", []),
        ('not (members.value eq "x")', [0, 1, 2, 3]),
        ('not (userName eq "u0")', [1, 2, 3]),
        ('title eq "x" or displayName eq "g0"', [0, 1, 2]),
        ('userName eq "u0" or members.value eq "nobody"', [0]),
        ("active eq true", [0, 1]),
        ("active ne true", []),
        ('externalId eq "e1"', [3]),
        ('emails[type eq "work"] or externalId eq "e0"', [2]),
        ('meta.resourceType eq "Group" and not (userName pr)', [2, 3]),
        (f'schemas eq "{GROUP}"', [2, 3]),
    ],
)
async def test_an_attribute_of_one_type_has_no_value_in_the_other_and_is_known_all_the_same(
    grouped: Directory, mode: str, text: str, places: list[int]
) -> None:
    await grouped.set_settings(mode=mode)
    everything = await filled(grouped, 2, 2)
    assert ids(await get(grouped, filter=text)) == [everything[place] for place in places]
    body = {"schemas": [SEARCH], "filter": text}
    searched = (await grouped.request("POST", f"{ROOT}/.search", json=body)).json()
    assert ids(searched) == [everything[place] for place in places]


async def test_a_name_that_neither_type_knows_is_refused_where_scim_is_strict(grouped: Directory) -> None:
    await grouped.set_settings(mode="strict")
    for query, scim_type in (("filter=shoeSize+eq+%22x%22", "invalidFilter"), ("sortBy=shoeSize", "invalidPath")):
        answer = await grouped.request("GET", f"{ROOT}?{query}")
        assert (answer.status_code, answer.json()["scimType"]) == (400, scim_type)


@pytest.mark.parametrize("name", ["userName", "members.value", "displayName"])
async def test_what_one_type_can_be_sorted_by_sorts_that_type(grouped: Directory, name: str) -> None:
    await grouped.set_settings(mode="strict")
    expected = await filled(grouped, 2, 2)
    assert sorted(ids(await get(grouped, sortBy=name))) == sorted(expected)
    assert ids(await get(grouped, sortBy=name))[:2] == expected[:2]
