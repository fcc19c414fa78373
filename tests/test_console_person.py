"""What can be seen of one person in the console, and done: with wrong input, too."""

from uuid import UUID, uuid4

from engine.resource import Values
from engine.user import ProvisionUser, Terms
from ops import administration
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.conftest import Directory, register
from tests.visitors import visitor

EMAILS = [{"type": "work", "value": "ann@contoso.example", "primary": True}]


async def test_everything_known_of_a_person_says_where_it_comes_from(directory: Directory) -> None:
    ann = await directory.create("ann", title="Engineer", emails=EMAILS)
    admin = await visitor(directory, "admin")
    await admin.submit(f"/console/people/{ann}/edit", **{"value:title": "Edited", "version": "1"})
    page = (await admin.get(f"/console/people/{ann}")).text
    assert "ann@contoso.example (work, primary)" in page
    title = page[page.index('title="title">title</span>') :].partition("</tr>")[0]
    assert "Edited" in title
    assert "local edit" in title
    assert "/console/audit/events/" in title


async def test_a_persons_page_leads_to_evidence_of_that_person_alone(directory: Directory) -> None:
    ann = await directory.create("ann")
    auditor = await visitor(directory, "audit:read")
    link = f"/console/audit/evidence?user={ann}"
    assert link in (await auditor.get(f"/console/people/{ann}")).text
    assert f'name="user" type="text" value="{ann}"' in (await auditor.get(link)).text


async def test_what_is_not_different_is_not_edited(directory: Directory) -> None:
    ann = await directory.create("ann", title="Engineer", emails=EMAILS)
    admin = await visitor(directory, "admin")
    same = {"value:title": "Engineer", "value:emails": '[{"type":"work","value":"ann@contoso.example","primary":true}]'}
    saved = await admin.submit(f"/console/people/{ann}/edit", **same, **{"value:role": "member", "version": "1"})
    assert saved.headers["location"].endswith("?done=unchanged")
    assert await directory.event_types(ann) == ["UserProvisioned"]


async def test_a_value_is_taken_away_by_emptying_its_field_and_a_role_is_chosen(directory: Directory) -> None:
    ann = await directory.create("ann", title="Engineer", emails=EMAILS)
    admin = await visitor(directory, "admin")
    given = {"value:title": "", "value:role": "admin", "value:emails": '[{"type":"home","value":"a@x.example"}]'}
    await admin.submit(f"/console/people/{ann}/edit", **given)
    user = await directory.services.users.get(directory.tenant_id, UUID(ann))
    assert user
    assert (user.role, "title" in user.attributes, user.attributes["emails"][0]["type"]) == ("admin", False, "home")


async def test_what_is_wrong_in_the_form_is_told_and_what_was_typed_is_kept(directory: Directory) -> None:
    ann = await directory.create("ann", title="Engineer", emails=EMAILS)
    await directory.create("bob")
    admin = await visitor(directory, "admin")
    for given, status, word in (
        ({"value:emails": "[{"}, 400, "this is not JSON"),
        ({"value:displayName": "Ann <Smith>"}, 400, "characters that a name cannot have"),
        ({"value:userName": "bob"}, 409, "bob"),
        ({"value:title": "New", "version": "7"}, 412, "somebody else changed this person"),
        ({"value:title": "New", "version": "7"}, 412, 'value="New"'),
        ({"value:nonsense": "x"}, 400, "unknown"),
        ({"value:id": str(uuid4())}, 400, "id"),
    ):
        answer = await admin.submit(f"/console/people/{ann}/edit", **given)
        assert (answer.status_code, word in answer.text) == (status, True), (given, answer.text[-800:])
    assert await directory.event_types(ann) == ["UserProvisioned"]


async def test_deactivating_asks_first_and_reactivating_needs_a_seat(directory: Directory) -> None:
    await directory.set_settings(seat_limit=1)
    ann = await directory.create("ann")
    admin = await visitor(directory, "admin")
    assert "Deactivate ann?" in (await admin.get(f"/console/people/{ann}/active")).text
    await admin.submit(f"/console/people/{ann}/active", active="false")
    await directory.create("bob")
    refused = await admin.submit(f"/console/people/{ann}/active", active="true")
    assert refused.status_code == 403
    assert "seat" in refused.text
    assert await directory.event_types(ann) == ["UserProvisioned", "Deactivated"]


async def test_a_persons_groups_are_shown_where_groups_are_on(directory: Directory) -> None:
    await directory.set_settings(groups="on")
    ann = await directory.create("ann")
    await directory.request("POST", "/scim/v2/Groups", json={"displayName": "Sales & Co", "members": [{"value": ann}]})
    page = await (await visitor(directory, "audit:read")).get(f"/console/people/{ann}")
    assert "<li>Sales &amp; Co</li>" in page.text


async def test_who_is_deleted_or_erased_has_a_page_on_which_nothing_can_be_edited(directory: Directory) -> None:
    ann, bob = await directory.create("ann"), await directory.create("bob")
    await directory.request("DELETE", f"/scim/v2/Users/{ann}")
    admin = await visitor(directory, "admin")
    page = await admin.get(f"/console/people/{ann}")
    assert "deleted by the directory" in page.text
    assert "/edit" not in page.text
    erased = await admin.submit(f"/console/people/{bob}/erase", confirmation="BOB", basis="a")
    assert "The person is erased" in erased.text
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    gone = await admin.get(f"/console/people/{bob}")
    assert gone.status_code in {200, 404}
    assert "bob" not in gone.text
    assert (await admin.get("/console/people?status=all")).text.count("bob") == 0


async def test_times_that_are_none_and_people_that_are_nobody_are_told(directory: Directory) -> None:
    ann = await directory.create("ann")
    admin = await visitor(directory, "admin")
    assert (await admin.get(f"/console/people/{ann}?as_of=yesterday")).status_code == 400
    assert (await admin.get(f"/console/people/{ann}?as_of=2999-01-01")).status_code == 400
    too_early = await admin.get(f"/console/people/{ann}?as_of=0001-01-01")
    assert too_early.status_code == 404
    assert "was not here yet at that time" in too_early.text
    assert "What happened" in too_early.text
    assert (await admin.get(f"/console/people/{UUID(int=0)}?as_of=0001-01-01")).status_code == 404
    assert (await admin.get(f"/console/people/{uuid4()}")).status_code == 404
    assert (await admin.get(f"/console/people/{directory.tenant_id}")).status_code == 404


async def test_nobody_of_another_tenant_is_shown_or_changed(directory: Directory) -> None:
    other = await register(directory.services, "fabrikam")
    await directory.services.engine.carry_out(
        ProvisionUser(Values({"userName": "eve"})), UUID(int=7), administration.cause(other), Terms()
    )
    admin = await visitor(directory, "admin")
    for path in ("", "/edit", "/active", "/erase"):
        assert (await admin.get(f"/console/people/{UUID(int=7)}{path}")).status_code == 404
    for path in ("edit", "active", "erase"):
        answer = await admin.submit("/console/people", f"/console/people/{UUID(int=7)}/{path}", confirmation="eve")
        assert answer.status_code == 404


async def test_looking_at_a_person_is_noted_without_a_name(directory: Directory) -> None:
    ann = await directory.create("ann@contoso.example")
    await (await visitor(directory, "audit:read")).get(f"/console/people/{ann}")
    await directory.services.accesses.drain()
    noted = await directory.services.pool.fetch(
        "SELECT data FROM rollbook.events WHERE tenant_id = $1 AND type = 'AuditAccessed'", directory.tenant_id
    )
    assert any('"console:person"' in row["data"] and ann in row["data"] for row in noted)
    assert not any("contoso" in row["data"] for row in noted)
