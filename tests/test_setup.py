"""How far the set-up of a directory is, and its well-known mistakes, found in what the directory really sent."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from engine.settings import Settings
from engine.tenant import RevokeToken
from ops import administration
from projections.setup_mistakes import Code, Mistake, setup_mistakes
from projections.setup_progress import SetupProgress, setup_progress
from tests.conftest import Directory, issue, register

ROLE = "urn:ietf:params:scim:schemas:core:2.0:User:role"
MAPPED = {"role": "Member", "active": True}


async def progress(directory: Directory, later: timedelta = timedelta()) -> SetupProgress:
    await directory.services.request_writer.flush()
    return await setup_progress(directory.services.pool, directory.tenant_id, datetime.now(UTC) + later)


async def mistakes(directory: Directory) -> dict[Code, Mistake]:
    await directory.services.gate.note_uses()
    await directory.services.request_writer.flush()
    tenant = await directory.services.tenants.get(directory.tenant_id)
    assert tenant
    now = datetime.now(UTC)
    found = await setup_mistakes(directory.services.pool, directory.tenant_id, tenant.settings, now)
    return {each.code: each for each in found}


async def test_each_step_is_seen_when_the_directory_has_taken_it(directory: Directory) -> None:
    seen = await progress(directory)
    assert seen.token_issued.is_seen
    assert not seen.connection_tested.is_seen
    await directory.request("GET", "/scim/v2/Users?filter=userName+eq+%22nobody%22")
    seen = await progress(directory)
    assert (seen.connection_tested.is_seen, seen.first_person.is_seen) == (True, False)
    await directory.create("ann")
    seen = await progress(directory)
    assert (seen.first_person.is_seen, seen.first_cycle.is_seen, seen.roles_arriving.is_seen) == (True, False, False)
    assert (await progress(directory, timedelta(minutes=10))).first_cycle.is_seen
    await directory.create("bob", role="Member")
    seen = await progress(directory, timedelta(minutes=10))
    assert seen.roles_arriving.is_seen
    assert seen.is_complete


async def test_a_role_that_is_not_the_usual_one_has_arrived_however_long_ago(directory: Directory) -> None:
    await directory.create("ann", role="Admin")
    assert (await progress(directory)).roles_arriving.is_seen


async def test_a_directory_that_works_makes_no_mistakes(directory: Directory) -> None:
    await directory.create("ann", **MAPPED)
    await directory.request("GET", "/scim/v2/Groups?filter=displayName+eq+%22x%22")
    assert set(await mistakes(directory)) == {"token_ends_soon"}  # the tests' tokens are valid for a day


async def test_an_empty_tenant_has_made_none(directory: Directory) -> None:
    assert await mistakes(directory) == {}


async def test_what_is_not_mapped_is_found_in_the_people_who_came_last(directory: Directory) -> None:
    await directory.create("ann")
    found = await mistakes(directory)
    assert found["no_role_mapped"].count == found["active_not_mapped"].count == 1
    await directory.create("bob", **MAPPED)
    assert not {"no_role_mapped", "active_not_mapped"} & (await mistakes(directory)).keys()


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/scim/v2/Users", {"userName": "Ann@Contoso.example", **MAPPED}, "upper_case_address"),
        ("POST", "/scim/v2/Users", {"userName": "ann", "role": "Onwer"}, "role_unknown"),
        ("POST", "/scim/v2/Groups", {"displayName": "Sales"}, "groups_mapped"),
        ("GET", "/Users?filter=userName+eq+%22x%22", None, "address_without_scim"),
        ("POST", "/v2/Users", {"userName": "ann"}, "address_without_scim"),
        ("GET", "/scim/Users", None, "address_without_scim"),
    ],
)
async def test_each_mistake_is_known_by_what_was_sent(
    directory: Directory, method: str, path: str, body: object, code: Code
) -> None:
    response = await directory.request(method, path, json=body)
    assert 400 <= response.status_code < 502
    found = await mistakes(directory)
    assert found[code].count == 1
    assert found[code].last_at is not None
    assert "ann" not in found[code].example.lower()


async def test_a_creation_that_collides_again_and_again_was_not_matched(directory: Directory) -> None:
    await directory.create("ann", **MAPPED)
    await directory.request("POST", "/scim/v2/Users", json={"userName": "ann"})
    assert "wrong_matching_attribute" not in await mistakes(directory)
    await directory.request("POST", "/scim/v2/Users", json={"userName": "ann"})
    assert (await mistakes(directory))["wrong_matching_attribute"].count == 2


async def test_the_word_bearer_before_a_token_is_found_out(directory: Directory) -> None:
    twice = {"Authorization": f"Bearer Bearer {directory.token}"}
    assert (await directory.client.get("/scim/v2/Users", headers=twice)).status_code == 401
    assert (await mistakes(directory))["bearer_twice"].count == 1


async def test_a_token_that_ended_and_is_still_used_is_told_by_its_name(directory: Directory) -> None:
    await directory.create("ann", **MAPPED)
    [token] = await directory.services.tenants.tokens(directory.tenant_id)
    await directory.services.engine.administer(RevokeToken(token.id), administration.cause(directory.tenant_id))
    directory.services.gate.forget()
    await directory.request("GET", "/scim/v2/Users")
    found = await mistakes(directory)
    assert (found["token_ended"].count, found["token_ended"].example) == (1, "Test")
    assert "token_ends_soon" not in found


async def test_how_a_directory_called_wrongly_is_over_once_it_calls_rightly(directory: Directory) -> None:
    twice = {"Authorization": f"Bearer Bearer {directory.token}"}
    await directory.client.get("/scim/v2/Users", headers=twice)
    await directory.request("GET", "/Users")
    assert {"bearer_twice", "address_without_scim"} <= (await mistakes(directory)).keys()
    await directory.request("GET", "/scim/v2/Users")
    assert not {"bearer_twice", "address_without_scim"} & (await mistakes(directory)).keys()
    await directory.request("GET", "/Users")
    assert "address_without_scim" in await mistakes(directory)


async def test_a_token_that_ended_is_forgotten_when_nobody_calls_with_it_any_more(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    [token] = await directory.services.tenants.tokens(directory.tenant_id)
    await directory.revoke(token.id)
    directory.services.gate.forget()
    await directory.request("GET", "/scim/v2/Users")
    directory.token = await issue(directory.services, directory.tenant_id, "scim")
    await directory.request("GET", "/scim/v2/Users")
    assert "token_ended" in await mistakes(directory)
    await owner.execute("UPDATE rollbook.request_log SET at = at - interval '3 hours' WHERE status = 401")
    assert "token_ended" not in await mistakes(directory)


async def test_what_the_tenant_takes_by_now_is_no_mistake_any_more(directory: Directory) -> None:
    await directory.request("POST", "/scim/v2/Users", json={"userName": "Ann@Contoso.example"})
    await directory.request("POST", "/scim/v2/Users", json={"userName": "ann", "role": "Onwer"})
    await directory.request("POST", "/scim/v2/Groups", json={"displayName": "Sales"})
    codes = {"upper_case_address", "role_unknown", "groups_mapped"}
    assert codes <= (await mistakes(directory)).keys()
    await directory.set_settings(email_case="keep", unknown_role="ignore", groups="on")
    assert not codes & (await mistakes(directory)).keys()


async def test_a_token_in_use_is_warned_of_before_its_end(directory: Directory) -> None:
    token = await issue(directory.services, directory.tenant_id, "scim", life=timedelta(days=6))
    await directory.client.get("/scim/v2/Users", headers={"Authorization": f"Bearer {token}"})
    assert (await mistakes(directory))["token_ends_soon"].days == 7


async def test_nobody_sees_the_mistakes_of_another_tenant(directory: Directory) -> None:
    await directory.request("POST", "/scim/v2/Users", json={"userName": "Ann@Contoso.example"})
    await directory.services.request_writer.flush()
    other = await register(directory.services, "fabrikam")
    assert await setup_mistakes(directory.services.pool, other, Settings(), datetime.now(UTC)) == []
    assert not (await setup_progress(directory.services.pool, other, datetime.now(UTC))).connection_tested.is_seen


async def test_what_is_long_over_is_no_mistake_any_more(directory: Directory, owner: asyncpg.Connection) -> None:
    await directory.request("POST", "/scim/v2/Users", json={"userName": "Ann@Contoso.example"})
    assert "upper_case_address" in await mistakes(directory)
    await owner.execute("UPDATE rollbook.events SET recorded_at = recorded_at - interval '8 days'")
    assert "upper_case_address" not in await mistakes(directory)
