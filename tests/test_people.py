"""The list of people: searched, filtered, sorted, and read page by page in both directions."""

from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.resource import Values
from engine.user import ProvisionUser, Terms
from ops import administration
from projections import search_words
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.people import People, PeopleAsked, PeoplePage
from projections.search_words import folded, query_of, words_of
from tests.conftest import Directory, register

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@pytest.fixture
async def people(directory: Directory) -> People:
    """Five people of whom much is known, and a stranger in another tenant."""
    await directory.set_settings(name_characters="any")
    zoe = await directory.create(
        "zoe@contoso.example", displayName="Zoë Müller", emails=[{"type": "work", "value": "z.mueller@contoso.example"}]
    )
    ann = await directory.create("ann@contoso.example", displayName="Ann Smith", role="admin", externalId="E-77")
    await directory.create("bob@contoso.example", name={"givenName": "Bob", "familyName": "Smithers"}, active=False)
    eve = await directory.create(
        "eve@contoso.example", displayName="eve O'Hara", **{ENTERPRISE: {"employeeNumber": "4711"}}
    )
    gone = await directory.create("gone@contoso.example", displayName="Gone Girl")
    await directory.request("PATCH", f"/v1/users/{ann}", json={"title": "Edited"})
    await directory.patch(eve, {"op": "replace", "path": "role", "value": "Onwer"})
    await directory.request("DELETE", f"/scim/v2/Users/{gone}")
    other = await register(directory.services, "fabrikam")
    await directory.services.engine.carry_out(
        ProvisionUser(Values({"userName": "ann@fabrikam.example"})), UUID(int=7), administration.cause(other), Terms()
    )
    assert zoe
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    return directory.services.people


def names(page: PeoplePage) -> list[str]:
    return [each.user_name.partition("@")[0] for each in page.people]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["ann", "bob", "eve", "zoe"]),
        ({"order": "desc"}, ["zoe", "eve", "bob", "ann"]),
        ({"sort": "created"}, ["zoe", "ann", "bob", "eve"]),
        ({"sort": "changed", "order": "desc"}, ["ann", "eve", "bob", "zoe"]),
        ({"active": True}, ["ann", "eve", "zoe"]),
        ({"active": False}, ["bob"]),
        ({"deleted": True}, ["gone"]),
        ({"deleted": None}, ["ann", "bob", "eve", "gone", "zoe"]),
        ({"role": ("admin",)}, ["ann"]),
        ({"role": ("admin", "member")}, ["ann", "bob", "eve", "zoe"]),
        ({"role": ("owner",)}, []),
        ({"edited": True}, ["ann"]),
        ({"edited": False}, ["bob", "eve", "zoe"]),
        ({"refused": True}, ["eve"]),
        ({"refused": False}, ["ann", "bob", "zoe"]),
        ({"q": "smi"}, ["ann", "bob"]),
        ({"q": "smith ann"}, ["ann"]),
        ({"q": "ANN@CONT"}, ["ann"]),
        ({"q": "zoe mul"}, ["zoe"]),
        ({"q": "ZOË"}, ["zoe"]),
        ({"q": "z.mueller@contoso.example"}, ["zoe"]),
        ({"q": "e-77"}, ["ann"]),
        ({"q": "4711"}, ["eve"]),
        ({"q": "o'hara"}, ["eve"]),
        ({"q": "hara", "active": True}, ["eve"]),
        ({"q": "contoso", "deleted": None}, ["ann", "bob", "eve", "gone", "zoe"]),
        ({"q": "mith"}, []),
        ({"q": "fabrikam"}, []),
    ],
)
async def test_those_who_are_asked_for_are_found_in_order(
    people: People, directory: Directory, asked: dict[str, Any], found: list[str]
) -> None:
    page = await people.page(directory.tenant_id, PeopleAsked(**asked))
    assert names(page) == found
    assert (page.total, page.is_more, page.next, page.previous) == (len(found), False, None, None)


async def test_a_row_says_what_is_known_of_the_person(people: People, directory: Directory) -> None:
    ann, bob, eve, _ = (await people.page(directory.tenant_id, PeopleAsked())).people
    assert (ann.display_name, ann.role, ann.is_edited, ann.last_refused_at) == ("Ann Smith", "admin", True, None)
    assert (bob.display_name, bob.active, bob.is_edited) == ("Bob Smithers", False, False)
    assert eve.last_refused_at is not None
    assert ann.created_at < ann.modified_at


@pytest.mark.parametrize("sort", ["name", "created", "changed"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_paging_forth_and_back_loses_and_doubles_nobody(directory: Directory, sort: Any, order: Any) -> None:
    for number in range(23):
        await directory.create(f"p{number}", displayName=f"Name {number % 4}")
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    people, whole = directory.services.people, PeopleAsked(sort=sort, order=order)
    everybody = [each.id for each in (await people.page(directory.tenant_id, whole, 100)).people]
    forth: list[list[UUID]] = []
    page = await people.page(directory.tenant_id, whole, 5)
    assert page.previous is None
    while True:
        forth.append([each.id for each in page.people])
        if page.next is None:
            break
        page = await people.page(directory.tenant_id, PeopleAsked(sort=sort, order=order, after=page.next), 5)
    assert [each for part in forth for each in part] == everybody
    assert len(set(everybody)) == 23
    for before, here in pairwise(forth):
        back = await people.page(directory.tenant_id, PeopleAsked(sort=sort, order=order, before=here[0]), 5)
        assert [each.id for each in back.people] == before
        assert back.next == before[-1]


async def test_who_is_erased_is_listed_nowhere(people: People, directory: Directory, owner: asyncpg.Connection) -> None:
    [zoe] = (await people.page(directory.tenant_id, PeopleAsked(q="zoe"))).people
    erased = await directory.request("POST", f"/v1/users/{zoe.id}/erase")
    assert erased.json()["checks"]["rows_about_the_person"] == 0
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    assert names(await people.page(directory.tenant_id, PeopleAsked(deleted=None))) == ["ann", "bob", "eve", "gone"]
    assert "zoe" not in str(await owner.fetch("SELECT * FROM rollbook.people")).lower()


@given(st.text(max_size=300))
def test_each_word_of_a_search_is_one_term_of_the_query(text: str) -> None:
    assert query_of(UUID(int=7), text).count("':*") == len(folded(text).split()[: search_words.MOST_ASKED])


@pytest.mark.parametrize(
    "text",
    [
        "'",
        "\\",
        "':*",
        "a & b | !c",
        "<->",
        "(",
        "%_",
        "''\\'",
        "\u202e",
        "😀",
        "x" * 500,
        "… — –",
        " ",
        "a" + "\\" * 40,
    ],
)
async def test_hostile_searches_find_nobody_and_are_no_errors(people: People, directory: Directory, text: str) -> None:
    page = await people.page(directory.tenant_id, PeopleAsked(q=text))
    assert len(page.people) == (4 if not text.strip() else 0)


def test_words_are_whole_and_in_parts_without_case_and_accents() -> None:
    attributes = {"userName": "Zoë.Müller@x.example", "emails": [{"value": "Z@x"}, {"type": "work"}], "displayName": ""}
    assert words_of(attributes) == ["zoe.muller@x.example", "zoe", "muller", "x", "example", "z@x", "z"]
