"""Replay: the log alone makes the live tables again, beside them, while others write and read."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from api.services import Services
from engine.resource import Values
from engine.tenant import ChangeSettings, RevokeToken
from engine.user import ProvisionUser, Terms
from ops import administration
from ops.database import Database
from projections import rebuild as module
from projections.connections import connected
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.rebuild import TablesInUseError
from projections.target import targets
from tests.conftest import Directory, issue, register
from tests.replays import (
    TABLES,
    change,
    differences,
    live,
    replay,
    target_of,
    write_until,
)

# What it says, and what it mends.


async def test_what_the_log_makes_equals_what_is_live(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)

    for target in targets():
        summary = await replay(database, target=target)

        assert (summary.differences, summary.pause is not None, summary.more) == ([], True, 0)
        assert summary.events == await owner.fetchval("SELECT count(*) FROM rollbook.events")
    assert await live(owner) == before


async def test_tables_that_were_lost_come_back_as_they_were(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    await owner.execute(f"TRUNCATE {', '.join(f'rollbook.{table}' for table in TABLES)}")

    found = [each for target in targets() for each in (await replay(database, target=target)).differences]

    assert {each.table for each in found} == set(TABLES)
    assert await live(owner) == before


@pytest.fixture
async def company(company: Directory) -> Directory:
    """The same with a group."""
    people = (await company.request("GET", "/v1/users?limit=1")).json()["users"]
    await company.set_settings(groups="on")
    body = {"displayName": "Sales", "members": [{"value": people[0]["id"]}]}
    assert (await company.request("POST", "/scim/v2/Groups", json=body)).status_code == 201
    await Following(company.services.pool, FOLLOWERS).catch_up()
    return company


# In each table: a row, what is done to it, and which columns show it; another row that could stand beside it.
ROWS = {
    "users": "microsoft_id = '1'",
    "seats": "role = 'owner'",
    "tenants": "name = 'contoso'",
    "tokens": "revoked_at IS NOT NULL",
    "groups": "display_name = 'sales'",
    "members": "type = 'User'",
    "history": "valid_to_seq IS NULL AND role = 'owner'",
    "people": "role = 'owner'",
    "member_history": "type = 'User'",
    "group_names": "name = 'Sales'",
    "local_edits": "fate = 'overwritten'",
    "attribute_changes": "attribute = 'displayName'",
    "identities": "value = 'ann' AND tenant_id = (SELECT tenant_id FROM rollbook.tenants WHERE name = 'contoso')",
    "seat_changes": "seq = (SELECT min(seq) FROM rollbook.seat_changes WHERE active = 3)",
    "seat_days": "peak = 3",
    "ledger_tiles": "tenant_id = (SELECT tenant_id FROM rollbook.tenants WHERE name = 'contoso')",
}
# Of a row that is nothing but its key, nothing can be corrupted.
CORRUPTIONS = {
    "users": {"attributes": """attributes || '{"title": "Boss"}'""", "version": "9"},
    "seats": {"active": "active + 1", "deleted": "5"},
    "tenants": {"seat_limit": "1000000"},
    "tokens": {"scopes": "'{admin}'", "revoked_at": "NULL"},
    "groups": {"attributes": """attributes || '{"displayName": "Board"}'""", "version": "9"},
    "members": {"type": "'Group'"},
    "history": {"valid_from": "valid_from + interval '1 us'"},
    "people": {"name": "'Boss'", "is_edited": "NOT is_edited"},
    "member_history": {"type": "'Group'"},
    "group_names": {"name": "'Board'"},
    "local_edits": {"fate": "'confirmed'", "after": """'"Boss"'""", "ended_version": "9"},
    "identities": {"spelling": "'ANN'", "valid_from": "valid_from + interval '1 us'"},
    "seat_changes": {"by_role": """'{"member": 4.0}'""", "active": "5"},
    "seat_days": {"peak": "7"},
    "ledger_tiles": {"hashes": "set_byte(hashes, 0, 255 - get_byte(hashes, 0))"},
}
GHOSTS: dict[str, dict[str, Any]] = {
    "users": {"id": str(UUID(int=1)), "user_name": "ghost", "microsoft_id": None},
    "seats": {"role": "ghost"},
    "tenants": {"tenant_id": str(UUID(int=1))},
    "tokens": {"id": str(UUID(int=1)), "digest": "ghost"},
    "groups": {"id": str(UUID(int=1))},
    "members": {"member_id": str(UUID(int=1))},
    "history": {"user_id": str(UUID(int=1))},
    "people": {"id": str(UUID(int=1))},
    "member_history": {"member_id": str(UUID(int=1))},
    "group_names": {"from_seq": 999},
    "local_edits": {"version": 999, "seq": 999},
    "attribute_changes": {"seq": 999},
    "identities": {"from_seq": 999},
    "seat_changes": {"seq": 999},
    "seat_days": {"day": "2020-02-29"},
    "ledger_tiles": {"place": 999},
}


@pytest.mark.parametrize("is_whole", [True, False], ids=["all tenants", "one tenant"])
@pytest.mark.parametrize("table", CORRUPTIONS)
async def test_a_check_names_a_corrupted_row_by_table_key_and_columns_and_replay_mends_it(
    company: Directory, database: Database, owner: asyncpg.Connection, table: str, is_whole: bool
) -> None:
    tenant_id, target = None if is_whole else company.tenant_id, target_of(table)
    before = await live(owner)
    columns = CORRUPTIONS[table]
    assignments = ", ".join(f"{column} = {value}" for column, value in columns.items())
    row = await owner.fetchrow(f"UPDATE rollbook.{table} SET {assignments} WHERE {ROWS[table]} RETURNING *")  # noqa: S608  constants
    broken = await live(owner)

    [found] = (await replay(database, tenant_id, target=target, swap=False)).differences

    stream = row[next(each.stream for each in target.wanted_tables if each.name == table)]
    last = "SELECT max(seq) FROM rollbook.events WHERE stream_id = $1"
    assert (found.table, found.tenant) == (table, "contoso")
    assert {name: str(value) for name, value in found.key.items()} == {name: str(row[name]) for name in found.key}
    assert found.last_seq == await owner.fetchval(last, stream)
    assert sorted(found.columns()) == sorted(columns)
    assert await live(owner) == broken
    assert (await replay(database, tenant_id, target=target)).differences == [found]
    assert await live(owner) == before


@pytest.mark.parametrize("is_whole", [True, False], ids=["all tenants", "one tenant"])
@pytest.mark.parametrize("table", TABLES)
async def test_a_check_names_a_missing_row_and_one_too_many_and_replay_mends_both(
    company: Directory, database: Database, owner: asyncpg.Connection, table: str, is_whole: bool
) -> None:
    if table == "tenants" and not is_whole:
        pytest.skip("the one too many is another tenant's")
    tenant_id, target = None if is_whole else company.tenant_id, target_of(table)
    before = await live(owner)
    ghost = msgspec.json.encode(GHOSTS[table]).decode()
    await owner.execute(
        f"INSERT INTO rollbook.{table} SELECT (jsonb_populate_record(t, $1::jsonb)).* "  # noqa: S608  constants
        f"FROM rollbook.{table} AS t WHERE {ROWS[table]} LIMIT 1",
        ghost,
    )
    gone = await owner.fetchrow(
        f"DELETE FROM rollbook.{table} WHERE {ROWS[table]} AND NOT to_jsonb({table}) @> $1::jsonb "  # noqa: S608  constants
        "RETURNING *",
        ghost,
    )
    broken = await live(owner)

    found = (await replay(database, tenant_id, target=target, swap=False)).differences

    missing, extra = sorted(found, key=lambda each: each.live is not None)
    assert (missing.table, missing.live, extra.table, extra.rebuilt) == (table, None, table, None)
    assert {name: str(value) for name, value in missing.key.items()} == {name: str(gone[name]) for name in missing.key}
    assert extra.live is not None
    assert GHOSTS[table].items() <= extra.live.items()
    assert await live(owner) == broken
    await replay(database, tenant_id, target=target)
    assert await live(owner) == before


async def test_a_number_that_is_written_in_another_way_is_a_difference(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    await owner.execute("""UPDATE rollbook.seat_changes SET by_role = '{"member": 1.0}' WHERE active = 1""")

    found = await differences(database)

    assert {each.table for each in found} == {"seat_changes"}
    assert {tuple(each.columns()) for each in found} == {("by_role",)}


async def test_replay_of_one_tenant_leaves_the_others_as_they_are(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await live(owner)
    await owner.execute("UPDATE rollbook.users SET role = 'broken'; UPDATE rollbook.seats SET active = 99")
    others = "SELECT * FROM rollbook.users WHERE tenant_id <> $1"
    broken = await owner.fetch(others, company.tenant_id)

    found = (await replay(database, company.tenant_id)).differences

    assert {each.key["tenant_id"] for each in found} == {str(company.tenant_id)}
    assert await owner.fetch(others, company.tenant_id) == broken
    left = await differences(database)
    assert {each.key["tenant_id"] for each in left} == {str(broken[0]["tenant_id"])}
    await replay(database, broken[0]["tenant_id"])
    assert await live(owner) == before


CATALOGUES = (
    """
    SELECT relname, relowner, relacl, reloptions
    FROM pg_class
    WHERE relnamespace = 'rollbook'::regnamespace
    ORDER BY 1
    """,
    """
    SELECT conname, pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE connamespace = 'rollbook'::regnamespace
    ORDER BY 1, 2
    """,
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'rollbook' ORDER BY 1",
    "SELECT nspname FROM pg_namespace ORDER BY 1",
)


async def test_the_new_tables_have_the_same_rights_rules_and_indexes_as_the_old_ones(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    async def look() -> list[Any]:
        return [await owner.fetch(query) for query in CATALOGUES]

    before = await look()

    await replay(database)

    assert await look() == before


# While others write and read.


async def test_two_people_who_exchange_their_names_during_a_replay_are_told_apart(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    tenant_id = company.tenant_id
    ann, bob = [await company.create(name, microsoftId=name) for name in ("exchange-a", "exchange-b")]

    async def exchange(services: Services) -> None:
        await change(services, tenant_id, ann, userName="nobody", microsoftId="nobody")
        await change(services, tenant_id, bob, userName="exchange-a", microsoftId="exchange-a")
        await change(services, tenant_id, ann, userName="exchange-b", microsoftId="exchange-b")

    for only in (None, tenant_id):
        assert (await replay(database, only, meanwhile=lambda: exchange(company.services))).differences == []
        await exchange(company.services)
    assert await differences(database) == []


async def test_whatever_happens_during_a_replay_is_in_the_new_tables(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    tenant_id = company.tenant_id
    ann = await company.create("meanwhile")

    async def work(services: Services) -> None:
        await change(services, tenant_id, ann, title="Meanwhile", role="admin", active=False)
        await services.engine.administer(ChangeSettings({"seat_limit": 77}), administration.cause(tenant_id))
        await issue(services, tenant_id)
        token_id = (await services.tenants.tokens(tenant_id))[0].id
        await services.engine.administer(RevokeToken(token_id), administration.cause(tenant_id))
        new = await register(services, "new")
        create = ProvisionUser(Values({"userName": "new"}))
        await services.engine.carry_out(create, UUID(int=8), administration.cause(new), Terms())

    summary = await replay(database, meanwhile=lambda: work(company.services))

    assert summary.differences == []
    assert await differences(database) == []
    assert await owner.fetchval("SELECT count(*) FROM rollbook.tenants") == 3
    assert await owner.fetchval("SELECT seat_limit FROM rollbook.tenants WHERE tenant_id = $1", tenant_id) == 77


async def test_under_load_nobody_sees_an_error_and_nothing_that_was_acknowledged_is_lost(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    is_over = asyncio.Event()
    made: list[str] = []
    odd: list[Any] = []

    async def write(writer: int) -> None:
        turn = 0
        while not is_over.is_set():
            turn += 1
            answer = await company.request(
                "POST", "/scim/v2/Users", json={"userName": f"{writer}-{turn}", "active": False}
            )
            if answer.status_code != 201:
                odd.append(answer.text)
                continue
            user_id = answer.json()["id"]
            made.append(user_id)
            changed = await company.patch(user_id, {"op": "replace", "path": "title", "value": "Engineer"})
            read = await company.request("GET", f"/scim/v2/Users/{user_id}")
            if changed.status_code != 200 or read.json().get("title") != "Engineer":
                odd.append((changed.text, read.text))

    async def read(path: str) -> None:
        while not is_over.is_set():
            company.services.gate.forget()
            answer = await company.request("GET", path)
            if answer.status_code != 200 or answer.json().get("totalResults") == 0:
                odd.append(answer.text)

    async def replays() -> None:
        try:
            for turn in range(8):
                summary = await replay(database, company.tenant_id if turn % 4 == 3 else None)
                odd.extend(summary.differences)
        finally:
            is_over.set()

    paths = ["/scim/v2/Users?count=2", "/v1/seats", '/scim/v2/Users?filter=userName eq "ann"', "/v1/users?limit=2"]
    await asyncio.gather(replays(), *map(write, range(4)), *map(read, paths * 2))

    assert odd == []
    assert await differences(database) == []
    users = await owner.fetch("SELECT id FROM rollbook.users")
    assert set(made) <= {str(row["id"]) for row in users}


async def test_a_long_query_is_not_ended_and_holds_up_nobody_but_the_replay(
    company: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWAP_ATTEMPTS", 2)
    monkeypatch.setattr(module, "SWAP_PAUSE", 0.1)

    async with connected(database.owner_url) as reader, reader.transaction():
        await reader.fetch("SELECT * FROM rollbook.users")
        replaying = asyncio.create_task(replay(database))
        await write_until(replaying, company)
        with pytest.raises(TablesInUseError):
            await replaying
        await reader.fetch("SELECT * FROM rollbook.seats")

    assert await differences(database) == []


async def test_a_replay_that_had_to_wait_for_a_query_misses_nothing_of_what_happened_meanwhile(
    company: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWAP_PAUSE", 0.05)

    async with connected(database.owner_url) as reader:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM rollbook.users")
            replaying = asyncio.create_task(replay(database))
            writing = [asyncio.create_task(write_until(replaying, company)) for _ in range(6)]
            await asyncio.sleep(1)
            assert not replaying.done()
        assert (await replaying).pause is not None
        await asyncio.gather(*writing)

    assert await differences(database) == []
