"""A service behind a proxy: every address that it tells is the one at which others reach it."""

from collections.abc import AsyncIterator

import pytest

from ops.database import Database
from tests.conftest import Directory, directory_in, issue
from tests.forger import ask, forging
from tests.visitors import visitor

PUBLIC = "https://id.contoso.example"


@pytest.fixture
async def behind(database: Database) -> AsyncIterator[Directory]:
    async with directory_in(database, public_url=f"{PUBLIC}/") as found:
        yield found


async def test_directories_are_told_the_public_address(behind: Directory) -> None:
    made = await behind.request("POST", "/scim/v2/Users", json={"userName": "ann"})
    config = await behind.request("GET", "/scim/v2/ServiceProviderConfig")

    assert made.headers["location"] == f"{PUBLIC}/scim/v2/Users/{made.json()['id']}"
    assert made.json()["meta"]["location"] == made.headers["location"]
    assert config.json()["meta"]["location"] == f"{PUBLIC}/scim/v2/ServiceProviderConfig"


async def test_the_console_gives_the_public_address_to_paste(behind: Directory) -> None:
    page = await (await visitor(behind, "admin")).get("/console/setup")

    assert f"{PUBLIC}/scim/v2" in page.text
    assert "rollbook.test/scim/v2" not in page.text


@pytest.mark.parametrize(
    ("origin", "status"), [(PUBLIC, 303), ("https://rollbook.test", 303), ("https://evil.example", 403)]
)
async def test_a_form_may_come_from_the_public_address(behind: Directory, origin: str, status: int) -> None:
    token = await issue(behind.services, behind.tenant_id, "admin")
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}

    answer = await behind.client.post("/console/sign-in", content=f"token={token}", headers=form)

    assert answer.status_code == status


async def test_an_issuer_sends_people_back_to_the_public_address(database: Database) -> None:
    async with forging() as forger, directory_in(database, forger.settings, f"{PUBLIC}/") as behind:
        asked = await ask(behind)

    assert asked.query["redirect_uri"] == f"{PUBLIC}/console/sign-in/callback"
