"""What tests of replay have in common: replays with something going on meanwhile, and looks at all tables."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import asyncpg

from api.services import Services
from engine import patch as patches
from engine.catalog import USERS
from engine.user import PatchUser, Terms
from ops import administration
from ops.database import Database
from projections import rebuild as module
from projections.comparison import Difference
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.rebuild import Summary, rebuild
from projections.target import Target, inline_target, targets
from tests.conftest import Directory

INLINE_TABLES = ("users", "seats", "tenants", "tokens", "groups", "members")
FOLLOWERS_OF = {
    "seat_changes": "seat_history",
    "seat_days": "seat_history",
    "ledger_tiles": "ledger",
    "attribute_changes": "attribute_history",
    "identities": "attribute_history",
    "group_names": "member_history",
    "people": "history",
}
TABLES = (*INLINE_TABLES, "history", "local_edits", "member_history", *FOLLOWERS_OF)
SHADOWS = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rollbook\\_rep%'"

Meanwhile = Callable[[], Awaitable[object]]


def target_of(table: str) -> Target:
    """What has to be rebuilt to mend a table."""
    [target] = targets([FOLLOWERS_OF.get(table, table)])
    return target


async def replay(
    database: Database,
    tenant_id: UUID | None = None,
    *,
    target: Target | None = None,
    meanwhile: Meanwhile | None = None,
    **options: Any,
) -> Summary:
    """`meanwhile` is awaited when everything is built that was in the log at first."""
    with after("build", meanwhile) if meanwhile else nullcontext():
        return await rebuild(database.owner_url, target or inline_target(), tenant_id=tenant_id, **options)


@contextmanager
def after(step: str, meanwhile: Meanwhile) -> Iterator[None]:
    """Await something after a step of the rebuild, each time."""
    original = getattr(module._Rebuild, step)

    async def stepped(*values: Any, **options: Any) -> Any:
        result = await original(*values, **options)
        await meanwhile()
        return result

    with patch.object(module._Rebuild, step, stepped):
        yield


async def differences(database: Database, tenant_id: UUID | None = None) -> list[Difference]:
    """In all tables."""
    found = []
    for target in targets():
        found += (await rebuild(database.owner_url, target, tenant_id=tenant_id, swap=False)).differences
    return found


async def live(owner: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of every table."""
    return {
        table: [
            row["row"]
            for row in await owner.fetch(f"SELECT to_jsonb(t)::text AS row FROM rollbook.{table} AS t ORDER BY 1")  # noqa: S608  constants
        ]
        for table in TABLES
    }


async def follow(services: Services) -> None:
    await Following(services.pool, FOLLOWERS).catch_up()


async def change(services: Services, tenant_id: UUID, user_id: str, **values: Any) -> None:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    command = PatchUser(patches.read({"Operations": operations}, USERS, []))
    await services.engine.carry_out(command, UUID(user_id), administration.cause(tenant_id), Terms())


async def write_until(done: asyncio.Future[Any], directory: Directory) -> None:
    """Write and read without a pause; nothing may take long."""
    while not done.done():
        async with asyncio.timeout(5):
            await directory.create(str(uuid4()), active=False)
            await directory.request("GET", "/scim/v2/Users")


@asynccontextmanager
async def claimed(owner: asyncpg.Connection, *names: str, seconds: float) -> AsyncIterator[None]:
    """As if another run had been heard of just now."""
    await owner.execute(
        "INSERT INTO rollbook.replays SELECT name, gen_random_uuid(), now() + make_interval(secs => $2), 0, 0 "
        "FROM unnest($1::text[]) AS name",
        names,
        seconds,
    )
    yield
    await owner.execute("DELETE FROM rollbook.replays WHERE projection = ANY ($1)", names)


LOG = """
    INSERT INTO rollbook.events
    SELECT
        md5('big')::uuid, n, CASE n WHEN 1 THEN md5('big') ELSE md5(stream::text) END::uuid, version,
        data ->> 'type', timestamptz '2026-01-01' + n * interval '1 ms', 'directory', 'a', NULL, md5(n::text)::uuid,
        data, 'salt', sha256('salt' || convert_to(data::text, 'UTF8'))
    FROM (
        SELECT
            n,
            (n - 2) % $2 AS stream,
            CASE n WHEN 1 THEN 1 ELSE 1 + (n - 2) / $2 END AS version,
            CASE
                WHEN n = 1 THEN json_build_object('type', 'TenantRegistered', 'name', 'big', 'settings', '{}'::json)
                WHEN n < 2 + $2 THEN json_build_object(
                    'type', 'UserProvisioned', 'active', true, 'role', 'member', 'attributes', json_build_object(
                        'userName', 'user-' || n || '@contoso.example', 'title', 'Engineer', 'displayName', 'No. ' || n
                    )
                )
                ELSE json_build_object(
                    'type', 'AttributesChanged', 'changes', json_build_object(
                        'title', json_build_object('from', 'Engineer', 'to', 'Engineer ' || n)
                    )
                )
            END AS data
        FROM generate_series(1, $1::int) AS n
    ) AS numbered
"""


async def fill(owner: asyncpg.Connection, events: int, streams: int) -> UUID:
    """A tenant with so many events, of so many people."""
    await owner.execute(LOG, events, streams)
    tenant_id: UUID = await owner.fetchval(
        "INSERT INTO rollbook.heads SELECT md5('big')::uuid, $1::bigint, now() RETURNING tenant_id", events
    )
    return tenant_id
