"""Every page of the console in a real browser: nothing complained of, nobody kept out, nothing wider than a phone."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page

from ops.database import Database
from tests.browsers import DESK, PHONE, Served, Window, chromium, serving, signed_in, window
from tests.conftest import issue, register
from tests.showcase import PAGES, Showcase, fill
from tests.test_entra_schema import DOWNLOADED

PEOPLE = 40
REFUSED = {"nothing", "wrong"}  # of whose status the browser itself complains
WITHOUT_DATA = [name for name, path in PAGES.items() if "{" not in path and name not in REFUSED]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.fixture
async def empty(database: Database) -> AsyncIterator[Served]:
    async with serving(database) as found:
        await register(found.services, "contoso")
        yield found


@pytest.fixture
async def showcase(database: Database) -> AsyncIterator[tuple[Served, Showcase]]:
    async with serving(database) as served:
        yield served, await fill(database, served, PEOPLE)


async def test_on_paper_a_page_has_all_its_width_and_cuts_nothing_off(empty: Served, browser: Browser) -> None:
    async with window(browser, empty) as opened:
        await signed_in(opened, empty, "admin")
        await opened.open("/console/audit")
        await opened.page.emulate_media(media="print")
        main = "document.querySelector('main').getBoundingClientRect().width / window.innerWidth"
        assert await opened.page.evaluate(main) > 0.9
        table = "(each => each.scrollWidth <= each.clientWidth)(document.querySelector('.wide'))"
        assert await opened.page.evaluate(table)
        zone = "getComputedStyle(document.querySelector('td time'), '::after').content"
        assert "UTC" in await opened.page.evaluate(zone)


async def test_no_page_of_an_empty_tenant_complains_or_keeps_anybody_out(empty: Served, browser: Browser) -> None:
    async with window(browser, empty) as opened:
        await opened.open("/console/sign-in")
        await check(opened, "sign-in")
        await signed_in(opened, empty, "admin")
        for name in WITHOUT_DATA:
            await opened.open(f"/console/{PAGES[name]}")
            await check(opened, name)
        assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_complains_or_keeps_anybody_out(
    showcase: tuple[Served, Showcase], browser: Browser, scheme: str
) -> None:
    served, filled = showcase
    async with window(browser, served, scheme=scheme) as opened:
        await opened.sign_in(filled.token)
        for name in PAGES:
            await opened.open(filled.address(name))
            await check(opened, name)
            if name in REFUSED:
                opened.complaints.clear()
        assert opened.complaints == []


async def test_what_a_form_answers_keeps_nobody_out(showcase: tuple[Served, Showcase], browser: Browser) -> None:
    served, filled = showcase
    async with window(browser, served) as opened:
        page = opened.page
        await opened.open("/console/sign-in")
        await page.get_by_label("Token").fill("nonsense")
        await press(page, "Sign in")
        await check(opened, "sign-in refused")
        await opened.sign_in(filled.token)
        await opened.open("/console/setup")
        await page.get_by_text("Or have it merged").click()
        await page.get_by_label("The schema").fill(DOWNLOADED.read_text())
        await press(page, "Merge")
        await check(opened, "merged")
        await opened.open("/console/setup")
        await page.get_by_text("Or have it merged").click()
        await page.get_by_label("The schema").fill("{")
        await press(page, "Merge")
        await check(opened, "not merged")
        await opened.open("/console/tokens")
        await page.get_by_label("Name").fill("For a script")
        await page.get_by_label("reading people and seats").check()
        await press(page, "Issue token")
        await check(opened, "issued")
        await opened.open(f"{filled.address('person')}/edit")
        await page.get_by_label("displayName").fill("☂")
        await press(page, "Save")
        await check(opened, "not saved")
        await opened.open(filled.address("person-erase"))
        await page.get_by_label("Write the userName").fill("somebody else")
        await press(page, "Erase for good")
        await check(opened, "not erased")
        await page.get_by_label("Write the userName").fill(await page.locator("main p code").inner_text())
        await press(page, "Erase for good")
        await check(opened, "erased")


async def test_an_auditor_is_told_what_is_not_for_auditors(showcase: tuple[Served, Showcase], browser: Browser) -> None:
    served, filled = showcase
    tenant_id = (await served.services.tenants.list())[0].id
    async with window(browser, served) as opened:
        await opened.sign_in(await issue(served.services, tenant_id, "audit:read"))
        for name in ("tokens", "person-edit", "operations"):
            await opened.open(filled.address(name))
            assert await opened.page.get_by_role("alert").count() == 1, name
            await check(opened, name)


async def press(page: Page, button: str) -> None:
    async with page.expect_navigation():
        await page.get_by_role("button", name=button).click()


async def check(opened: Window, name: str) -> None:
    """Nobody is kept out of the page that is open, and a phone shows it whole."""
    assert await opened.serious_violations() == [], name
    await opened.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert not await opened.is_wider_than_the_screen(), name
    await opened.page.set_viewport_size(DESK)  # type: ignore[arg-type]
