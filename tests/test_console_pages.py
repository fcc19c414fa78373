"""Every page of the console in a real browser: nothing complained of, nobody kept out, nothing wider than a phone."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from ops.database import Database
from tests.browsers import Served, chromium, serving, signed_in, window
from tests.conftest import register

PAGES = (
    "setup",
    "people",
    "seats",
    "audit",
    "audit/local-edits",
    "audit/changes",
    "audit/questions",
    "audit/questions/roster",
    "audit/evidence",
    "sync",
    "tokens",
    "operations",
)


@pytest.fixture
async def served(database: Database) -> AsyncIterator[Served]:
    async with serving(database) as found:
        await register(found.services, "contoso")
        yield found


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


async def test_no_page_complains_or_keeps_anybody_out(served: Served, browser: Browser) -> None:
    for scheme in ("light", "dark"):
        async with window(browser, served, scheme=scheme) as opened:
            await opened.open("/console/sign-in")
            assert await opened.serious_violations() == []
            await signed_in(opened, served, "admin")
            for name in PAGES:
                await opened.open(f"/console/{name}")
                assert await opened.serious_violations() == [], name
            assert opened.complaints == []


async def test_no_page_is_wider_than_a_phone(served: Served, browser: Browser) -> None:
    async with window(browser, served, phone=True) as opened:
        await signed_in(opened, served, "admin")
        for name in PAGES:
            await opened.open(f"/console/{name}")
            assert not await opened.is_wider_than_the_screen(), name
