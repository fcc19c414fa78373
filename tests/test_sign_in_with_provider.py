"""Signing in with a real provider of identities, in a real browser, from one site to the other and back."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from playwright.async_api import Browser
from pytest_iam import Server

from api.issuer import IssuerSettings
from ops.database import Database
from tests.browsers import Served, Window, chromium, serving, window
from tests.conftest import register
from tests.forger import CALLBACK

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.fixture
async def served(database: Database, iam_server: Server) -> AsyncIterator[Served]:
    """Ours is 127.0.0.1, the provider's localhost: for a browser these are two sites."""
    client = iam_server.models.Client(
        client_id=f"rollbook-{uuid4()}",
        client_secret="the secret of the client",
        client_name="Rollbook",
        client_uri="https://rollbook.example",
        redirect_uris=["http://127.0.0.1/not-yet-known"],
        grant_types=["authorization_code"],
        response_types=["code"],
        token_endpoint_auth_method="client_secret_basic",
        scope=["openid", "groups"],
    )
    iam_server.backend.save(client)
    issuer = IssuerSettings(
        address=iam_server.url,
        client_id=client.client_id,
        client_secret=client.client_secret,
        tenant="contoso",
        roles=[("Readers of people", "auditor")],
        claim="groups",
        scope="openid groups",
    )
    async with serving(database, issuer) as found:
        iam_server.backend.update(client, redirect_uris=[found.url + CALLBACK], audience=[client])
        iam_server.backend.save(client)
        await register(found.services, "contoso")
        yield found


def somebody(iam_server: Server, group: str) -> str:
    """The login of a new user of the provider, who is in this group."""
    login = f"user-{uuid4().hex[:8]}"
    user = iam_server.random_user(user_name=login)
    iam_server.backend.set_user_password(user, PASSWORD)
    iam_server.random_group(display_name=group, members=[user])
    return login


async def sign_in(opened: Window, login: str) -> None:
    await opened.page.get_by_role("link", name="Sign in with localhost").click()
    await opened.page.locator("input[name=login]").fill(login)
    await opened.page.keyboard.press("Enter")
    await opened.page.locator("input[name=password]").fill(PASSWORD)
    await opened.page.keyboard.press("Enter")


async def test_somebody_whom_the_provider_knows_gets_to_the_page_that_they_asked_for(
    served: Served, browser: Browser, iam_server: Server
) -> None:
    login = somebody(iam_server, "Readers of people")
    async with window(browser, served) as opened:
        await opened.open("/console/people?role=owner")
        assert await opened.serious_violations() == []
        await sign_in(opened, login)
        await opened.page.get_by_role("button", name="Accept").click()
        await opened.page.wait_for_url("**/console/people?role=owner")
        assert "contoso" in await opened.page.locator(".tenant").inner_text()
        assert "auditor" in await opened.page.locator(".tenant").inner_text()
        await opened.open("/console/audit")
        assert await opened.page.get_by_role("heading", name="Audit").is_visible()
        await opened.page.get_by_role("button", name="Sign out").click()
        await opened.open("/console/people")
        assert "/console/sign-in" in opened.page.url


async def test_somebody_whom_the_provider_gives_no_role_is_told_what_to_do(
    served: Served, browser: Browser, iam_server: Server
) -> None:
    login = somebody(iam_server, "Readers of newspapers")
    async with window(browser, served, scheme="dark", phone=True) as opened:
        await opened.open("/console")
        await sign_in(opened, login)
        await opened.page.get_by_role("button", name="Accept").click()
        alert = opened.page.get_by_role("alert")
        assert "gives you no role here" in await alert.inner_text()
        assert "“groups” has to hold “Readers of people”" in await alert.inner_text()
        assert await opened.serious_violations() == []
        assert not await opened.is_wider_than_the_screen()


async def test_somebody_who_refuses_their_consent_at_the_provider_is_not_signed_in(
    served: Served, browser: Browser, iam_server: Server
) -> None:
    login = somebody(iam_server, "Readers of people")
    async with window(browser, served) as opened:
        await opened.open("/console")
        await sign_in(opened, login)
        await opened.page.get_by_role("button", name="Deny").click()
        assert "did not let you in (access_denied)" in await opened.page.get_by_role("alert").inner_text()
