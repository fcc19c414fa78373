"""What tests of auditors have in common: logins of auditors, and a tenant that has a twin whom they must not see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg

from ops.auditors import Auditors
from ops.database import Database, role_url
from projections.connections import connected
from tests.conftest import Directory
from tests.replays import follow


@asynccontextmanager
async def auditor(database: Database, *tenants: str) -> AsyncIterator[asyncpg.Connection]:
    """The connection of a new auditor of these tenants, who no longer wants to be kept from writing."""
    name = f"auditor_{uuid4().hex}"
    async with connected(database.owner_url) as owner:
        auditors = Auditors(owner)
        await auditors.create(name, tenants)
        async with connected(role_url(database.owner_url, name)) as connection:
            await connection.execute("SET default_transaction_read_only = off")
            yield connection
        await auditors.drop(name)


async def name_of(connection: asyncpg.Connection) -> str:
    return str(await connection.fetchval("SELECT session_user::text"))


async def views(owner: asyncpg.Connection) -> list[str]:
    """All of the schema audit."""
    rows = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v'"
    )
    return sorted(row["relname"] for row in rows)


async def enrich(company: Directory, owner: asyncpg.Connection) -> None:
    """Let the tenant have a row in every view."""
    eve = await company.create("eve.to.be.erased")
    await follow(company.services)
    assert (await company.request("GET", "/v1/roster")).status_code == 200
    await company.request("POST", f"/v1/users/{eve}/erase", json={"basis": "b"})
    await follow(company.services)
    await company.services.request_writer.flush()
    for statement in _FEW.split(";"):
        await owner.execute(statement, company.tenant_id)
    await owner.execute("INSERT INTO rollbook.ledger_keys (number, vkey) VALUES (1, 'a key') ON CONFLICT DO NOTHING")


async def twin_of(owner: asyncpg.Connection, tenant_id: UUID) -> UUID:
    """Another tenant with the same rows in every table; nobody may read it."""
    twin = uuid4()
    for row in await owner.fetch(_TABLES):
        await owner.execute(
            f"INSERT INTO rollbook.{row['name']} SELECT (copy).* FROM (SELECT jsonb_populate_record("  # noqa: S608  constants
            f"each, jsonb_build_object('tenant_id', $2::uuid, 'name', 'twin of ' || (to_jsonb(each) ->> 'name'))) "
            f"AS copy FROM rollbook.{row['name']} AS each WHERE tenant_id = $1) AS copied",
            tenant_id,
            twin,
        )
    return twin


_FEW = """
    INSERT INTO rollbook.prunes VALUES ($1, '2026-01-01', now(), 7, 90, 'engine', 'retention');
    INSERT INTO rollbook.checkpoints VALUES ($1, 1, 1, 'root', now(), 'note', true);
    INSERT INTO rollbook.checkpoint_deliveries VALUES ($1, 'somewhere', 1, now());
    INSERT INTO rollbook.token_uses SELECT tenant_id, id, now() FROM rollbook.tokens WHERE tenant_id = $1
    ON CONFLICT DO NOTHING
"""

_TABLES = """
    SELECT relname AS name
    FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
    WHERE relnamespace = 'rollbook'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
        AND relname <> 'auditors'
"""
