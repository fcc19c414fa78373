"""A real browser at a real server: Debian's chromium, driven by Playwright."""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import Browser, Page, async_playwright

from api.app import create_app
from api.composition import open_services
from api.issuer import IssuerSettings
from api.services import Services
from ops.database import Database
from tests.conftest import issue

CHROMIUM = shutil.which("chromium")
PHONE = {"width": 375, "height": 720}
DESK = {"width": 1280, "height": 900}

_SERIOUS = {"serious", "critical"}
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@dataclass
class Served:
    """The service on a port of this machine."""

    url: str
    services: Services


@contextlib.asynccontextmanager
async def serving(database: Database, issuer: IssuerSettings | None = None) -> AsyncIterator[Served]:
    """A server in this very process, until the block ends."""
    app = create_app(lambda: open_services(database.service_url, issuer=issuer))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            if running.done():
                await running
            await asyncio.sleep(0.01)
        try:
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.services)
        finally:
            server.should_exit = True
            await running


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless browser. Without one the test is skipped; where CI runs, that is a failure."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: apt-get install chromium")
        pytest.skip("no chromium on this machine: on Debian, apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Window:
    """One window of a browser, and everything that its pages complained of."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def sign_in(self, token: str) -> None:
        await self.open("/console/sign-in")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(lambda url: "/sign-in" not in url)

    async def serious_violations(self) -> list[str]:
        """What axe finds that keeps people out (WCAG 2.2 AA)."""
        # axe is ours, and the page's policy lets in no script by text: it is run in a world of its own.
        script = AXE_FILE_PATH.read_text()
        session = await self.page.context.new_cdp_session(self.page)
        tree = await session.send("Page.getFrameTree")
        world = await session.send("Page.createIsolatedWorld", {"frameId": tree["frameTree"]["frame"]["id"]})
        asked = {"contextId": world["executionContextId"], "returnByValue": True, "awaitPromise": True}
        await session.send("Runtime.evaluate", {"expression": script + "; undefined", **asked})
        run = f"axe.run(document, {{runOnly: {_RULES}}}).then(found => found.violations)"
        found = await session.send("Runtime.evaluate", {"expression": run, **asked})
        await session.detach()
        return [
            f"{each['id']}: {each['nodes'][0]['html'][:150]} ({each['nodes'][0].get('failureSummary', '')[:300]})"
            for each in found["result"]["value"]
            if each["impact"] in _SERIOUS
        ]

    async def is_wider_than_the_screen(self) -> bool:
        return bool(await self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@contextlib.asynccontextmanager
async def window(
    browser: Browser, served: Served, *, scheme: str = "light", phone: bool = False
) -> AsyncIterator[Window]:
    """A fresh window without cookies, with the colours and the size of a device."""
    context = await browser.new_context(
        viewport=PHONE if phone else DESK,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        timezone_id="Europe/Berlin",
        locale="en-GB",
    )
    page = await context.new_page()
    opened = Window(page, served.url)
    page.on("console", lambda said: opened.complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    try:
        yield opened
    finally:
        await context.close()


async def signed_in(opened: Window, served: Served, *scopes: str) -> None:
    """Sign in to the store's first tenant with a new token."""
    tenant_id = (await served.services.tenants.list())[0].id
    await opened.sign_in(await issue(served.services, tenant_id, *scopes))
