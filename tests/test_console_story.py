"""The console as its three readers use it: a real browser, a real server, and a directory that calls it."""

import csv
import io
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest
from playwright.async_api import Browser, expect

from api.console.routes import PAGES
from engine.tenant import ChangeSettings
from ops import administration
from ops.database import Database
from ops.directory import Directory
from ops.entra import EntraJob
from ops.entra_contoso import contoso
from ops.entra_mapping import Options
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.browsers import Served, Window, chromium, serving, signed_in, window
from tests.conftest import issue, register

HOSTILE = (
    "<script>document.title='taken over'</script>",
    '"><img src=x onerror="document.title=\'taken over\'">',
    "{{7*7}}${7*7}",
    "\u202eright to left\u202c",
    "🧑‍🚀" * 20,
    "x" * 500,
    "'; DROP TABLE rollbook.users; --",
    "javascript:alert(1)",
)


@dataclass
class Company:
    """A served tenant with a directory behind it, and an admin's window."""

    served: Served
    tenant_id: UUID
    admin: Window

    async def follow(self) -> None:
        await Following(self.served.services.pool, FOLLOWERS).catch_up()
        await self.served.services.request_writer.flush()

    async def token(self, *scopes: str) -> str:
        return await issue(self.served.services, self.tenant_id, *scopes)

    async def settings(self, **values: object) -> None:
        await self.served.services.engine.administer(ChangeSettings(values), administration.cause(self.tenant_id))
        self.served.services.gate.forget()

    async def create(self, user_name: str, **attributes: object) -> str:
        headers = {"Authorization": f"Bearer {await self.token('scim')}"}
        async with httpx.AsyncClient(base_url=self.served.url) as client:
            created = await client.post("/scim/v2/Users", json={"userName": user_name, **attributes}, headers=headers)
        assert created.status_code == 201, created.text
        return str(created.json()["id"])


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.fixture
async def company(database: Database, browser: Browser) -> AsyncIterator[Company]:
    async with serving(database) as served, window(browser, served) as admin:
        tenant_id = await register(served.services, "contoso")
        await signed_in(admin, served, "admin")
        yield Company(served, tenant_id, admin)
        assert admin.complaints == []


def job(company: Company, token: str, directory: Directory) -> EntraJob:
    return EntraJob(f"{company.served.url}/scim/v2", token, directory, Options(), random.Random(3))


async def test_an_admin_sets_up_a_directory_and_sees_the_checklist_turn_green(company: Company) -> None:
    page = company.admin.page
    await expect(page).to_have_url(re.compile("/console/setup$"))
    steps = page.locator("[data-step].done")
    await expect(steps).to_have_count(0)
    await page.get_by_role("button", name="Issue token").click()
    token = (await page.locator("pre code").inner_text()).strip()
    assert re.fullmatch("rb_[a-z2-7]{84}", token)
    await page.get_by_role("link", name="Back to the set-up").click()

    directory = contoso(8, random.Random(3))
    async with job(company, token, directory) as entra:
        await entra.test_connection()
        await company.follow()
        await expect(page.locator("[data-step=connection].done")).to_have_count(1, timeout=12_000)
        await entra.initial_cycle()
    await company.follow()
    await expect(page.locator("[data-step=person].done")).to_have_count(1, timeout=12_000)
    await expect(page.locator("[data-step=roles].done")).to_have_count(1, timeout=12_000)
    await expect(page.locator("[data-mistake]")).to_have_count(0)


async def test_a_token_that_was_issued_opens_the_door_and_a_revoked_one_does_not(company: Company) -> None:
    page = company.admin.page
    await company.admin.open("/console/tokens")
    await page.get_by_label("Name").fill("For a script")
    await page.get_by_label("reading people and seats").check()
    await page.get_by_role("button", name="Issue token").click()
    token = (await page.locator("pre code").inner_text()).strip()
    async with httpx.AsyncClient(base_url=company.served.url, headers={"Authorization": f"Bearer {token}"}) as client:
        assert (await client.get("/v1/seats")).status_code == 200
        await page.get_by_role("link", name="All tokens").click()
        await page.get_by_role("link", name="Rotate For a script").click()
        await page.get_by_role("button", name="Issue the new one").click()
        assert (await page.locator("pre code").inner_text()).strip() != token
        await page.get_by_role("link", name="Then revoke the old one").click()
        await page.get_by_role("button", name="Revoke it").click()
        await expect(page.get_by_role("status")).to_contain_text("revoked")
        assert (await client.get("/v1/seats")).status_code == 401


async def test_a_local_edit_is_seen_and_so_is_that_the_directory_overwrote_it(company: Company) -> None:
    page, directory = company.admin.page, contoso(30, random.Random(3))
    person = next(each for each in directory.people if each.job_title and (each.display_name or "").isascii())
    async with job(company, await company.token("scim"), directory) as entra:
        await entra.initial_cycle()
        person_id = entra.target_id(person)
        await company.admin.open(f"/console/people/{person_id}")
        await page.get_by_role("link", name="Edit").click()
        await page.get_by_label("title").fill("Chief Improviser")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved")
        await expect(page.get_by_role("row", name="title")).to_contain_text("local edit")
        directory.change(person.object_id, job_title="Principal Engineer")
        await entra.incremental_cycle()
    await company.follow()
    await company.admin.open(f"/console/people/{person_id}")
    await expect(page.locator(".timeline")).to_contain_text("Overwrote a local edit of title")
    await company.admin.open("/console/audit/local-edits")
    await expect(page.get_by_role("table")).to_contain_text("overwritten")


async def test_two_windows_do_not_overwrite_each_other(company: Company, browser: Browser) -> None:
    ann = await company.create("ann", title="First")
    page = company.admin.page
    await company.admin.open(f"/console/people/{ann}/edit")
    async with window(browser, company.served) as other:
        await signed_in(other, company.served, "admin")
        await other.open(f"/console/people/{ann}/edit")
        await other.page.get_by_label("title").fill("Second")
        await other.page.get_by_role("button", name="Save").click()
    await page.get_by_label("title").fill("Third")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("title")).to_have_value("Third")
    company.admin.complaints.clear()  # the browser complains of the status 412
    user = await company.served.services.users.get(company.tenant_id, UUID(ann))
    assert user
    assert user.attributes["title"] == "Second"


async def test_a_person_is_shown_as_of_an_earlier_time(company: Company) -> None:
    ann = await company.create("ann", title="Before")
    await company.served.services.pool.execute("SELECT pg_sleep(1.1)")
    moment = await company.served.services.pool.fetchval(
        "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')"
    )
    await company.served.services.pool.execute("SELECT pg_sleep(1.1)")
    page = company.admin.page
    await company.admin.open(f"/console/people/{ann}/edit")
    await page.get_by_label("title").fill("After")
    await page.get_by_role("button", name="Save").click()
    await company.follow()
    await company.admin.open(f"/console/people/{ann}?as_of={moment}")
    await expect(page.get_by_role("row", name="title").first).to_contain_text("Before")
    await page.get_by_role("link", name="Back to now").click()
    await expect(page.get_by_role("row", name="title").first).to_contain_text("After")


async def test_erasing_takes_the_name_and_shows_the_certificate(company: Company) -> None:
    ann = await company.create("ann@contoso.example", displayName="Ann Smith")
    page = company.admin.page
    await company.admin.open(f"/console/people/{ann}/erase")
    await page.get_by_label("Write the userName").fill("somebody else")
    await page.get_by_role("button", name="Erase for good").click()
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was erased")
    company.admin.complaints.clear()  # the browser complains of the status 400
    await page.get_by_label("Write the userName").fill("ann@contoso.example")
    await page.get_by_role("button", name="Erase for good").click()
    await expect(page.get_by_role("heading", name="The person is erased")).to_be_visible()
    await company.follow()
    await company.admin.open("/console/people?status=all")
    await expect(page.locator("main")).not_to_contain_text("Ann Smith")


async def test_the_plot_of_seats_agrees_with_its_table_and_files_with_the_api(company: Company) -> None:
    for number in range(5):
        await company.create(f"person{number}", active=number != 0)
    await company.follow()
    page = company.admin.page
    await company.admin.open("/console/seats?days=1")
    assert await page.locator("svg .line").get_attribute("d")
    await page.get_by_text("The numbers as a table").click()
    await expect(page.get_by_role("region", name="Seats over time").locator("tbody tr").last).to_contain_text("4")
    async with page.expect_download() as started:
        await page.get_by_role("link", name="All changes as CSV").click()
    rows = list(csv.DictReader(io.StringIO((await (await started.value).path()).read_text())))
    assert [row["active"] for row in rows] == ["1", "2", "3", "4"]


async def test_the_live_tail_shows_what_happens_and_adds_nothing_to_the_log_when_nothing_does(company: Company) -> None:
    page = company.admin.page
    await company.admin.open("/console/audit")
    await page.get_by_role("button", name="Live").click()
    await company.create("ann@contoso.example")
    await expect(page.locator("#tail")).to_contain_text("ann@contoso.example", timeout=10_000)
    await page.wait_for_timeout(5_000)
    await company.served.services.accesses.drain()
    count = "SELECT count(*) FROM rollbook.events"
    before = await company.served.services.pool.fetchval(count)
    await page.wait_for_timeout(6_500)
    await company.served.services.accesses.drain()
    assert await company.served.services.pool.fetchval(count) == before


async def test_searching_needs_no_button_and_the_filters_stand_in_the_address(company: Company) -> None:
    await company.create("ann@contoso.example", displayName="Ann Smith")
    await company.create("bob@contoso.example", displayName="Bob Jones")
    await company.follow()
    page = company.admin.page
    await company.admin.open("/console/people")
    await page.get_by_label("Search").press_sequentially("smi")
    await expect(page.get_by_role("link", name="Bob Jones")).to_have_count(0)
    await expect(page.get_by_role("link", name="Ann Smith")).to_be_visible()
    assert "q=smi" in page.url


async def test_everything_can_be_done_by_keyboard(company: Company, browser: Browser) -> None:
    ann = await company.create("ann@contoso.example", displayName="Ann Smith", title="Before")
    await company.follow()
    token = await company.token("admin")
    async with window(browser, company.served) as opened:
        page = opened.page
        await opened.open("/console/sign-in")
        await expect(page.get_by_label("Token")).to_be_focused()  # by itself, once it is drawn
        await page.keyboard.type(token)
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("/console/people"))
        for name in ("Seats", "People"):
            await _tab_to(opened, name)
            await page.keyboard.press("Enter")
            await page.wait_for_url(re.compile(f"/console/{name.lower()}$"))
        await _tab_to(opened, "Ann Smith")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile(ann))
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await page.keyboard.press("Enter")
        await _tab_to(opened, "Edit")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("/edit$"))
        await page.get_by_label("title").focus()
        await page.keyboard.press("Control+A")
        await page.keyboard.type("By keyboard")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Saved")
        await _tab_to(opened, "Sign out")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("/console/sign-in"))


async def _tab_to(opened: Window, text: str) -> None:
    """Press Tab until what has this text has the focus, which shows."""
    for _ in range(60):
        await opened.page.keyboard.press("Tab")
        found = await opened.page.evaluate(
            "[document.activeElement.textContent.trim(), getComputedStyle(document.activeElement).outlineStyle]"
        )
        if found[0].startswith(text):
            assert found[1] != "none", f"the focus on {text} does not show"
            return
    pytest.fail(f"Tab never leads to {text}")


async def test_nothing_needs_a_script(company: Company, browser: Browser) -> None:
    ann = await company.create("ann@contoso.example", displayName="Ann Smith", title="Before")
    await company.follow()
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{company.served.url}/console/people?q=ann")
    await page.get_by_label("Token").fill(await company.token("admin"))
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("link", name="Ann Smith")).to_be_visible()
    await page.goto(f"{company.served.url}/console/people/{ann}/edit")
    await page.get_by_label("title").fill("Without a script")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_contain_text("Saved")
    await expect(page.locator("time").first).to_contain_text("UTC")
    await context.close()


async def test_hostile_texts_are_shown_and_never_run(company: Company) -> None:
    await company.settings(name_characters="any", email_case="keep")
    people = [
        await company.create(f"hostile{number}{text[:60]}", displayName=text, title=text, nickName=text)
        for number, text in enumerate(HOSTILE)
    ]
    for text in HOSTILE:
        await issue_named(company, text)
    await company.follow()
    page = company.admin.page
    places = [f"people/{each}" for each in people] + [
        f"people/{people[0]}/{each}" for each in ("edit", "erase", "active")
    ]
    for place in ("people", "audit", "audit/changes?from=2026-01-01", "tokens", "seats", "sync", "setup", *places):
        await company.admin.open(f"/console/{place}")
        assert await page.title() != "taken over", place
        assert not await page.locator("main img").count(), place
        assert not await company.admin.is_wider_than_the_screen(), place


async def issue_named(company: Company, name: str) -> None:
    page = company.admin.page
    await company.admin.open("/console/tokens")
    await page.get_by_label("Name").evaluate("(field, text) => { field.value = text; }", name)
    await page.get_by_role("button", name="Issue token").click()
    company.admin.complaints.clear()  # names that are no names are refused with 400, of which the browser complains


# Those that wait for the ledger, which nobody follows here, have no parameters of their own.
@pytest.mark.parametrize("path", [each for each, on in PAGES.items() if "GET" in on and "/evidence/" not in each])
async def test_no_parameter_of_any_page_is_a_fault(database: Database, path: str) -> None:
    async with serving(database) as served:
        tenant_id = await register(served.services, "contoso")
        async with httpx.AsyncClient(base_url=served.url, follow_redirects=True) as client:
            token = await issue(served.services, tenant_id, "admin")
            await client.post("/console/sign-in", data={"token": token})
            for text in HOSTILE:
                for name in ("q", "after", "before", "days", "type", "from", "as_of", "order", "format", "status", "x"):
                    answer = await client.get(path.replace("{id}", "x"), params={name: text})
                    assert answer.status_code in {200, 400, 404, 503}, (path, name, text, answer.text)
                    assert "<script>document" not in answer.text


async def test_an_auditor_can_send_no_form_anywhere(database: Database) -> None:
    async with serving(database) as served:
        tenant_id = await register(served.services, "contoso")
        async with httpx.AsyncClient(base_url=served.url) as client:
            token = await issue(served.services, tenant_id, "audit:read")
            await client.post("/console/sign-in", data={"token": token})
            word = re.search('name="form_word" value="(.*?)"', (await client.get("/console/people")).text)
            assert word
            forms = [path for path, handlers in PAGES.items() if "POST" in handlers and "/sign-" not in path]
            assert len(forms) >= 6
            for path in forms:
                answer = await client.post(path.replace("{id}", str(tenant_id)), data={"form_word": word[1]})
                assert answer.status_code == 403, path
