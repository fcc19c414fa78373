"""The page of the sync: what was refused, to whom it happened, and what to do."""

import re

import pytest

from api.console import advice
from engine import refusals
from tests.conftest import Directory, register
from tests.visitors import visitor


async def page(directory: Directory) -> str:
    await directory.services.request_writer.flush()
    found = await (await visitor(directory, "audit:read")).get("/console/sync")
    assert found.status_code == 200
    return found.text


async def test_who_could_not_be_created_is_named_and_leads_to_the_refusal(directory: Directory) -> None:
    await directory.request("POST", "/scim/v2/Users", json={"userName": "ann", "role": "Onwer"})
    found = await page(directory)
    assert "A value is not accepted" in found
    link = re.search(r'href="(/console/audit/events/\d+)">ann</a>', found)
    assert link
    assert "Onwer" in (await (await visitor(directory, "audit:read")).get(link[1])).text


async def test_who_is_here_and_could_not_be_changed_is_named_and_leads_to_the_person(directory: Directory) -> None:
    ann = await directory.create("ann")
    await directory.patch(ann, {"op": "replace", "path": "displayName", "value": {"a": 1}})
    assert f'<a href="/console/people/{ann}">ann</a>' in await page(directory)


async def test_nobody_is_named_who_was_refused_in_another_tenant(directory: Directory) -> None:
    await directory.request("POST", "/scim/v2/Users", json={"userName": "ann", "role": "Onwer"})
    other = await register(directory.services, "fabrikam")
    found = await page(Directory(directory.client, directory.services, other, ""))
    assert "ann" not in re.findall(r">(\w+)</a>", found)
    assert "Nothing was refused" in found


def test_a_call_at_an_address_where_nothing_is_is_no_person_who_is_gone() -> None:
    assert advice.on_refusal("NotFound", "unknown").title == "An address where nothing is"
    assert advice.on_refusal("NotFound", "/scim/v2/Users/{id}").title == "Not here any more"


@pytest.mark.parametrize(
    "reason", sorted({each.scim_type for each in vars(refusals).values() if getattr(each, "scim_type", None)})
)
def test_what_is_refused_by_a_scim_type_has_words_of_its_own(reason: str) -> None:
    assert advice.on_refusal(reason, "/scim/v2/Users").title != reason
