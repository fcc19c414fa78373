"""What tests stand on: a real Postgres with one database a test, and the service as an ASGI application on top."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from api.app import create_app
from api.composition import open_services
from api.issuer import IssuerSettings
from api.services import Services
from engine.resource import Values
from engine.tenant import ChangeSettings, RegisterTenant, RevokeToken
from engine.user import ProvisionUser, Terms
from ops import administration
from ops.database import Database
from ops.postgres import EmbeddedPostgres, temporary_postgres
from projections.connections import connected
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.installation import create_store

TEMPLATE = "rollbook_template"
ALL_SCOPES = ("scim", "people:read", "people:write", "audit:read", "admin")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a server of its own. Not pytest's, which takes from others the right to pass through it at each start."""
    with tempfile.TemporaryDirectory(prefix="rollbook-") as folder:
        yield Path(folder)


@pytest.fixture
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """A database of its own with an empty store, made from a template."""
    name = f"test_{uuid4().hex}"
    async with connected(postgres.url()) as maintenance:
        if not await maintenance.fetchval("SELECT true FROM pg_database WHERE datname = $1", TEMPLATE):
            await maintenance.execute(f"CREATE DATABASE {TEMPLATE}")
            async with connected(postgres.url(database=TEMPLATE)) as template:
                await create_store(template)
        # Nothing here has to survive a crash, and so copying files is six times as fast as writing a log of them.
        await maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        yield Database(postgres.url(database=name), postgres.url("rollbook_service", name), postgres)
        await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may do anything, for looking at the tables and for breaking them."""
    async with connected(database.owner_url) as connection:
        yield connection


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with open_services(database.service_url) as services:
        yield services


@dataclass
class Directory:
    """A tenant with a token of every scope, and the service that answers it."""

    client: httpx.AsyncClient
    services: Services
    tenant_id: UUID
    token: str

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: str | bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.token}"}
        if json is not None or content is not None:
            sent["Content-Type"] = "application/scim+json"
        return await self.client.request(method, path, json=json, content=content, headers={**sent, **(headers or {})})

    async def create(self, user_name: str = "ann@contoso.example", **attributes: Any) -> str:
        """The id of a new user."""
        response = await self.request("POST", "/scim/v2/Users", json={"userName": user_name, **attributes})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def patch(self, user_id: str, *operations: dict[str, Any]) -> httpx.Response:
        return await self.request("PATCH", f"/scim/v2/Users/{user_id}", json={"Operations": list(operations)})

    async def set_settings(self, **settings: Any) -> None:
        command = ChangeSettings(settings)
        await self.services.engine.administer(command, administration.cause(self.tenant_id))
        self.services.gate.forget()

    async def name_token(self, name: str) -> UUID:
        """The id of a new token of this name."""
        expires_at = datetime.now(UTC) + timedelta(days=1)
        await administration.issue_token(self.services, self.tenant_id, name, ("scim",), expires_at)
        return (await self.services.tenants.tokens(self.tenant_id))[-1].id

    async def revoke(self, token_id: UUID) -> None:
        await self.services.engine.administer(RevokeToken(token_id), administration.cause(self.tenant_id))

    async def event_types(self, user_id: str) -> list[str]:
        rows = await self.services.pool.fetch(
            "SELECT type FROM rollbook.events WHERE tenant_id = $1 AND stream_id = $2 ORDER BY version",
            self.tenant_id,
            UUID(user_id),
        )
        return [row["type"] for row in rows]


async def register(services: Services, name: str) -> UUID:
    tenant_id = await administration.tenant_id_of(services, name)
    await services.engine.administer(RegisterTenant(name), administration.cause(tenant_id))
    return tenant_id


async def issue(services: Services, tenant_id: UUID, *scopes: str, life: timedelta = timedelta(days=1)) -> str:
    expires_at = datetime.now(UTC) + life
    return await administration.issue_token(services, tenant_id, "Test", scopes or ALL_SCOPES, expires_at)


@asynccontextmanager
async def directory_in(
    database: Database, issuer: IssuerSettings | None = None, public_url: str | None = None
) -> AsyncIterator[Directory]:
    app = create_app(lambda: open_services(database.service_url, public_url, issuer=issuer))
    async with app.router.lifespan_context(app):
        services = app.state.services
        tenant_id = await register(services, "contoso")
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://rollbook.test") as client:
            yield Directory(client, services, tenant_id, await issue(services, tenant_id))


@pytest.fixture
async def directory(database: Database) -> AsyncIterator[Directory]:
    async with directory_in(database) as found:
        yield found


@pytest.fixture
async def company(directory: Directory) -> Directory:
    """A tenant in which a bit of everything has happened, beside another one; followers are up to date."""
    await directory.set_settings(seat_limit=50)
    ann = await directory.create("ann", title="Engineer", microsoftId="1", emails=[{"type": "work", "value": "a@x"}])
    bob = await directory.create("bob", active=False, externalId="B")
    eve = await directory.create("eve", role="Admin")
    await directory.request("POST", "/scim/v2/Users", json={"userName": "ANN"})
    await directory.request("PATCH", f"/v1/users/{ann}", json={"title": "Manager", "role": "owner"})
    await directory.patch(ann, {"op": "replace", "path": "title", "value": "Director"})
    await directory.patch(
        bob, {"op": "replace", "value": {"active": "True", "urn:ietf:params:scim:schemas:core:2.0:User:role": "admin"}}
    )
    await directory.request("PUT", f"/scim/v2/Users/{bob}", json={"userName": "bob", "displayName": "Zoë ’—’"})
    await directory.request("DELETE", f"/scim/v2/Users/{eve}")
    await directory.create("eve")
    services, tenant_id = directory.services, directory.tenant_id
    await issue(services, tenant_id, "audit:read")
    token_id = (await services.tenants.tokens(tenant_id))[-1].id
    await services.engine.administer(RevokeToken(token_id), administration.cause(tenant_id))
    other = await register(services, "fabrikam")
    await issue(services, other)
    await services.engine.carry_out(
        ProvisionUser(Values({"userName": "ann"})), UUID(int=7), administration.cause(other), Terms()
    )
    await Following(services.pool, FOLLOWERS).catch_up()
    await services.request_writer.flush()
    return directory
