"""The log in a real Postgres: what an append promises, and what nobody is allowed to do to it."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.composition import open_services
from api.services import Services
from engine import events
from engine.decision import Outcome
from engine.events import AttributesChanged, Change, RequestRefused, UserProvisioned
from engine.refusals import Conflict, NotFound, NotUnique
from engine.store import Appended, Cause, EventStore, LostRaceError, NewEvent
from engine.streams import Recorded
from engine.tenant import RegisterTenant
from engine.user import evolve
from ops import administration
from ops.database import Database, prepare
from ops.postgres import EmbeddedPostgres
from projections.connections import connected
from projections.installation import VERSION, NewerStoreError, create_store
from projections.rebuild import rebuild
from projections.seats import SeatsProjection
from projections.target import inline_target
from projections.users import UsersProjection
from tests.conftest import register


@pytest.fixture
def store(services: Services) -> EventStore:
    return EventStore(services.pool)


@pytest.fixture
async def tenant_id(services: Services) -> UUID:
    return await register(services, "contoso")


@pytest.fixture
async def service(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the rights of the service."""
    async with connected(database.service_url) as connection:
        yield connection


def cause(tenant_id: UUID) -> Cause:
    return Cause(tenant_id=tenant_id, source="directory", actor="a-token", request_id=uuid4())


def refusal(detail: str = "no") -> RequestRefused:
    return RequestRefused(method="POST", path="/scim/v2/Users", status=400, detail=detail)


def batch(tenant_id: UUID, *places: tuple[UUID, int | None]) -> list[NewEvent]:
    return [NewEvent(stream_id, version, refusal(), cause(tenant_id)) for stream_id, version in places]


def creation(tenant_id: UUID, user_name: str) -> tuple[list[NewEvent], dict[str, Sequence[Any]]]:
    """A new user as the engine appends one: the event with its rows."""
    event = UserProvisioned(attributes={"userName": user_name}, active=True, role="member")
    recorded = Recorded(uuid4(), 1, "directory", event)
    outcome: Outcome[Any] = Outcome((recorded,), evolve(None, recorded))
    rows = {"users": UsersProjection().rows(outcome), "seats": SeatsProjection().rows(outcome)}
    return [NewEvent(recorded.stream_id, 1, event, cause(tenant_id))], rows


async def log_of(owner: asyncpg.Connection, tenant_id: UUID) -> list[asyncpg.Record]:
    query = "SELECT *, data::text AS text FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq"
    return list(await owner.fetch(query, tenant_id))


async def assert_gap_free(owner: asyncpg.Connection, tenant_id: UUID) -> None:
    log = await log_of(owner, tenant_id)
    assert [row["seq"] for row in log] == list(range(1, len(log) + 1))
    assert await owner.fetchval("SELECT seq FROM rollbook.heads WHERE tenant_id = $1", tenant_id) == len(log)
    assert [row["recorded_at"] for row in log] == sorted(row["recorded_at"] for row in log)
    streams: dict[UUID, list[int]] = {}
    for row in log:
        streams.setdefault(row["stream_id"], []).append(row["version"])
    assert all(versions == list(range(1, len(versions) + 1)) for versions in streams.values())


# One append.


async def test_a_batch_over_several_streams_stands_in_the_log_in_its_order(
    store: EventStore, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    ann, bob = uuid4(), uuid4()

    appended = await store.append(batch(tenant_id, (ann, 1), (bob, 1), (ann, 2)), {})

    log = (await log_of(owner, tenant_id))[1:]
    assert appended == Appended(2, log[0]["recorded_at"])
    assert [(row["seq"], row["stream_id"], row["version"]) for row in log] == [(2, ann, 1), (3, bob, 1), (4, ann, 2)]
    assert len({row["recorded_at"] for row in log}) == 1


@pytest.mark.parametrize("version", [1, 3, 0, -1], ids=["taken", "too far", "zero", "negative"])
async def test_a_batch_with_one_unexpected_version_leaves_nothing(
    store: EventStore, owner: asyncpg.Connection, tenant_id: UUID, version: int
) -> None:
    ann, bob = uuid4(), uuid4()
    await store.append(batch(tenant_id, (ann, 1)), {})

    with pytest.raises(LostRaceError):
        await store.append(batch(tenant_id, (bob, 1), (ann, version)), {})

    assert len(await log_of(owner, tenant_id)) == 2
    await assert_gap_free(owner, tenant_id)


async def test_a_batch_whose_row_breaks_a_rule_leaves_neither_event_nor_row(
    store: EventStore, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    await store.append(*creation(tenant_id, "ann@contoso.example"))
    first, first_rows = creation(tenant_id, "bob@contoso.example")
    second, second_rows = creation(tenant_id, "ann@contoso.example")
    both = {name: [*first_rows[name], *second_rows[name]] for name in first_rows}

    with pytest.raises(NotUnique):
        await store.append([*first, *second], both)

    assert len(await log_of(owner, tenant_id)) == 2
    assert await owner.fetchval("SELECT count(*) FROM rollbook.users") == 1
    assert await owner.fetchval("SELECT sum(active) FROM rollbook.seats") == 1


async def test_an_event_without_an_expected_version_gets_the_next_one(
    store: EventStore, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    ann = uuid4()

    await store.append(batch(tenant_id, (ann, None), (ann, 2), (ann, None)), {})
    await store.append(batch(tenant_id, (ann, None)), {})

    log = await log_of(owner, tenant_id)
    assert [row["version"] for row in log if row["stream_id"] == ann] == [1, 2, 3, 4]


async def test_the_digest_is_that_of_the_salt_and_the_stored_bytes(
    store: EventStore, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    changes = {"title": Change(None, 'Zoë "the" 日本 \\ 🙂 \x7f \'; --'), "nickName": Change("a\tb\n", None)}
    event = AttributesChanged(changes=changes)
    await store.append([NewEvent(uuid4(), 1, event, cause(tenant_id)) for _ in range(2)], {})

    log = await log_of(owner, tenant_id)

    assert all(row["digest"] == hashlib.sha256(row["salt"] + row["text"].encode()).digest() for row in log)
    assert all(len(row["salt"]) == 32 for row in log)
    assert len({row["salt"] for row in log}) == len({row["digest"] for row in log}) == 3
    assert log[1]["text"] == events.encode(event)
    assert events.decode(log[1]["text"]) == event


async def test_data_is_kept_byte_for_byte(
    service: asyncpg.Connection, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    data = ' {"b" : 1.0, "a":2,\t"a": 1e3,\n "text": "\\u00e9 é \\/ 0", "big": 12345678901234567890.10 } '
    salt = b"\0" * 32

    await service.execute(
        "SELECT rollbook.append($1, $2, $3, '{X}', '{engine}', '{a}', '{NULL}', $2, $4, $5, '{}')",
        tenant_id,
        [uuid4()],
        [1],
        [data],
        [salt],
    )

    row = (await log_of(owner, tenant_id))[-1]
    assert row["text"] == data
    assert row["digest"] == hashlib.sha256(salt + data.encode()).digest()


async def test_the_time_never_runs_backwards_when_the_clock_does(
    store: EventStore, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    ahead = await owner.fetchval(
        "UPDATE rollbook.heads SET recorded_at = recorded_at + $2 WHERE tenant_id = $1 RETURNING recorded_at",
        tenant_id,
        timedelta(hours=1),
    )

    appended = await store.append(batch(tenant_id, (uuid4(), 1)), {})

    assert appended.recorded_at == ahead


async def test_an_unknown_tenant_is_refused(store: EventStore, owner: asyncpg.Connection) -> None:
    with pytest.raises(NotFound):
        await store.append(batch(uuid4(), (uuid4(), 1)), {})

    assert await owner.fetchval("SELECT count(*) FROM rollbook.heads") == 0


async def test_of_two_that_register_one_tenant_at_once_one_wins(services: Services, owner: asyncpg.Connection) -> None:
    tenant_id = await administration.tenant_id_of(services, "contoso")
    commands = [
        services.engine.administer(RegisterTenant(name), administration.cause(tenant_id))
        for name in ("contoso", "Contoso", " CONTOSO ")
    ]

    outcomes = await asyncio.gather(*commands, return_exceptions=True)

    assert sorted(isinstance(each, Conflict) for each in outcomes) == [False, True, True]
    assert len(await log_of(owner, tenant_id)) == 1


# Many at once.


async def test_seq_has_no_gap_and_follows_the_commits_whoever_fails_in_between(
    services: Services, store: EventStore, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    shared, taken = uuid4(), creation(tenant_id, "taken@contoso.example")
    await store.append(*taken)
    acknowledged: list[int] = []
    is_over = asyncio.Event()

    async def write(writer: int) -> None:
        for turn in range(12):
            with pytest.raises(NotUnique):
                await store.append(*creation(tenant_id, "taken@contoso.example"))
            with pytest.raises(LostRaceError):
                await store.append(batch(tenant_id, (shared, None), (uuid4(), 2)), {})
            places = [(uuid4(), 1), (shared, None), (uuid4(), 1)][: 1 + turn % 3]
            appended = await store.append(batch(tenant_id, *places), {})
            acknowledged.extend(range(appended.first_seq, appended.first_seq + len(places)))
            await store.append(*creation(tenant_id, f"{writer}-{turn}@contoso.example"))

    async def follow() -> int:
        """A follower that remembers only how far it has read: it must not miss anything."""
        seen = 0
        while True:
            last = is_over.is_set()
            rows = await owner.fetch(
                "SELECT seq FROM rollbook.events WHERE tenant_id = $1 AND seq > $2", tenant_id, seen
            )
            assert sorted(row["seq"] for row in rows) == list(range(seen + 1, seen + 1 + len(rows)))
            seen += len(rows)
            if last:
                return seen
            await asyncio.sleep(0)

    follower = asyncio.create_task(follow())
    await asyncio.gather(*(write(writer) for writer in range(16)))
    is_over.set()

    assert await follower == 2 + 16 * 12 * 3
    assert len(set(acknowledged)) == len(acknowledged) == 16 * 12 * 2
    await assert_gap_free(owner, tenant_id)


async def test_writers_of_different_tenants_do_not_wait_for_each_other(services: Services, database: Database) -> None:
    contoso, fabrikam = await register(services, "contoso"), await register(services, "fabrikam")
    store = EventStore(services.pool)

    async with connected(database.owner_url) as other, other.transaction():
        await other.execute("SELECT FROM rollbook.heads WHERE tenant_id = $1 FOR UPDATE", contoso)
        waiting = asyncio.create_task(store.append(batch(contoso, (uuid4(), 1)), {}))
        await asyncio.wait_for(store.append(batch(fabrikam, (uuid4(), 1)), {}), 5)
        assert not waiting.done()

    await waiting


async def test_writers_whose_connections_are_killed_lose_nothing_that_was_acknowledged(
    services: Services, database: Database, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    acknowledged, failed = await _write_while(services, tenant_id, _terminate_backends(owner, times=15))

    assert failed
    await _assert_whole(database, owner, tenant_id, acknowledged)


async def test_a_backend_that_dies_by_kill_9_takes_nothing_with_it_that_was_acknowledged(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=True) as server:
        database = Database(server.url(), server.url("rollbook_service"), server)
        await prepare(database)
        async with open_services(database.service_url) as services:
            tenant_id = await register(services, "contoso")
            acknowledged, failed = await _write_while(services, tenant_id, _kill_9(database))

            assert failed
            async with connected(database.owner_url) as owner:
                await _assert_whole(database, owner, tenant_id, acknowledged)


async def _write_while(services: Services, tenant_id: UUID, trouble: Any) -> tuple[list[UUID], int]:
    """The users whose creation was acknowledged while the trouble lasted, and how many creations failed."""
    store, acknowledged, failed = EventStore(services.pool), [], 0
    is_over = asyncio.Event()

    async def write(writer: int) -> None:
        nonlocal failed
        turn = 0
        while not is_over.is_set():
            turn += 1
            events, rows = creation(tenant_id, f"{writer}-{turn}@contoso.example")
            try:
                await store.append(events, rows)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                failed += 1
                await asyncio.sleep(0.01)
            else:
                acknowledged.append(events[0].stream_id)

    async def make_trouble() -> None:
        try:
            await trouble
        finally:
            is_over.set()

    await asyncio.gather(make_trouble(), *(write(writer) for writer in range(8)))
    return acknowledged, failed


async def _terminate_backends(owner: asyncpg.Connection, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0.02)
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = 'rollbook_service' AND datname = current_database()"
        )


async def _kill_9(database: Database) -> None:
    """Kills one backend outright; Postgres then ends all others, recovers from its log and starts anew."""
    async with connected(database.owner_url) as owner:
        await asyncio.sleep(0.2)
        busy = "SELECT pid FROM pg_stat_activity WHERE usename = 'rollbook_service' AND state = 'active' LIMIT 1"
        while (pid := await owner.fetchval(busy)) is None:
            pass
    os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        await asyncio.sleep(0.05)
        try:
            async with connected(database.owner_url):
                break
        except (asyncpg.PostgresError, OSError):
            continue
    await asyncio.sleep(0.2)


async def _assert_whole(
    database: Database, owner: asyncpg.Connection, tenant_id: UUID, acknowledged: list[UUID]
) -> None:
    await assert_gap_free(owner, tenant_id)
    assert set(acknowledged) <= {row["stream_id"] for row in await log_of(owner, tenant_id)}
    summary = await rebuild(database.owner_url, inline_target(), swap=False)
    assert summary.differences == []


# What nobody may do.

TABLES = ("events", "heads", "users", "seats", "tenants", "tokens", "store")

ON_A_TABLE = (
    "UPDATE {table} SET {column} = {column}",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "INSERT INTO {table} SELECT * FROM {table}",
    "SELECT FROM {table} FOR UPDATE",
    "BEGIN; LOCK TABLE {table} IN ROW SHARE MODE",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} DISABLE RULE x",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} ADD COLUMN more int",
    "ALTER TABLE {table} OWNER TO rollbook_service",
    "CREATE TRIGGER more BEFORE INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE more AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "CREATE INDEX ON {table} ({column})",
    "DROP TABLE {table}",
    "VACUUM {table}",
)

ELSEWHERE = (
    "ALTER TABLE rollbook.events DROP CONSTRAINT digest_is_of_data",
    "DROP INDEX rollbook.user_name_is_free",
    "DELETE FROM rollbook.token_uses",
    "TRUNCATE rollbook.token_uses",
    "SET ROLE rollbook_owner",
    "SET SESSION AUTHORIZATION rollbook_owner",
    "SET session_replication_role = replica",
    "GRANT rollbook_owner TO rollbook_service",
    "ALTER ROLE rollbook_service SUPERUSER",
    "CREATE ROLE more",
    "CREATE TABLE rollbook.more (id int)",
    "CREATE FUNCTION rollbook.more() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE TABLE public.more (id int)",
    "CREATE SCHEMA more",
    "DROP SCHEMA rollbook CASCADE",
    "DROP FUNCTION rollbook.append",
    "ALTER FUNCTION rollbook.append SECURITY INVOKER",
    "SET search_path = rollbook; SELECT put_users(gen_random_uuid(), now(), '[{}]')",
    'SET search_path = rollbook; SELECT put_seats(gen_random_uuid(), now(), \'[{"role": "member"}]\')',
    "SET search_path = rollbook; SELECT put_tenants(gen_random_uuid(), now(), '[{}]')",
    'SET search_path = rollbook; SELECT put_tokens(gen_random_uuid(), now(), \'[{"digest": ""}]\')',
    "COPY rollbook.events TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
)


@pytest.mark.parametrize("table", TABLES)
async def test_the_service_has_no_right_to_touch_the_table(
    service: asyncpg.Connection, owner: asyncpg.Connection, table: str
) -> None:
    column = await owner.fetchval(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum = 2", f"rollbook.{table}"
    )
    statements = [each.format(table=f"rollbook.{table}", column=column) for each in ON_A_TABLE]

    assert [each for each in statements if not await _is_forbidden(service, each)] == []


async def test_the_service_has_no_right_to_go_around_the_append(service: asyncpg.Connection) -> None:
    assert [each for each in ELSEWHERE if not await _is_forbidden(service, each)] == []


async def _is_forbidden(service: asyncpg.Connection, statement: str) -> bool:
    """VACUUM and GRANT do not fail, they do nothing and warn."""
    warnings: list[str] = []

    def listen(_: object, message: Any) -> None:
        warnings.append(message.message)

    service.add_log_listener(listen)
    try:
        await service.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    finally:
        service.remove_log_listener(listen)
        await service.execute("ROLLBACK; RESET ALL")
    return any("permission denied" in each for each in warnings)


async def test_the_service_has_the_right_to_read_every_table_and_no_other_right_on_those_of_the_log(
    owner: asyncpg.Connection,
) -> None:
    rights = await owner.fetch(
        "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type) AS rights "
        "FROM information_schema.table_privileges "
        "WHERE table_schema = 'rollbook' AND grantee IN ('rollbook_service', 'PUBLIC') GROUP BY table_name"
    )

    assert {row["table_name"]: row["rights"] for row in rights} == {
        **dict.fromkeys((*TABLES, "groups", "members", "projections", "replays"), "SELECT"),
        **dict.fromkeys(
            (
                "checkpoint_deliveries",
                "group_names",
                "ledger_tiles",
                "member_history",
                "places",
                "seat_changes",
                "seat_days",
                "token_uses",
            ),
            "INSERT SELECT UPDATE",
        ),
        **dict.fromkeys(("group_names", "member_history"), "INSERT SELECT UPDATE"),
        **dict.fromkeys(
            ("attribute_changes", "history", "identities", "local_edits", "people"), "DELETE INSERT SELECT UPDATE"
        ),
        "request_log": "INSERT SELECT",
        "auditors": "SELECT",
        "checks": "SELECT",
        "console_sessions": "DELETE INSERT SELECT",
        "prunes": "SELECT",
        "ledger_keys": "SELECT",
        "checkpoints": "DELETE INSERT SELECT UPDATE",
    }


async def test_the_service_may_read_everything(service: asyncpg.Connection) -> None:
    for table in (*TABLES, "token_uses"):
        await service.execute(f"SELECT * FROM rollbook.{table}")  # noqa: S608  constants


async def test_the_tables_and_the_append_belong_to_a_role_that_nobody_can_log_in_as(owner: asyncpg.Connection) -> None:
    owners = await owner.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'rollbook'")

    assert [row["tableowner"] for row in owners] == ["rollbook_owner"]
    assert not await owner.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'rollbook_owner'")
    definers = await owner.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'rollbook'::regnamespace AND prosecdef"
    )
    assert {row["proname"] for row in definers} == {"append", "audited_tenants", "erase", "prepare_request_log"}


async def test_tables_of_the_caller_cannot_be_slipped_under_the_append(
    service: asyncpg.Connection, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    for table in ("heads", "events", "users", "seats"):
        await service.execute(f"CREATE TEMP TABLE {table} AS TABLE rollbook.{table}")
    await service.execute("SET search_path = pg_temp, rollbook")

    await service.execute(
        "SELECT rollbook.append($1, $2, '{1}', '{X}', '{engine}', '{a}', '{NULL}', $2, '{\"{}\"}', '{x}', '{}')",
        tenant_id,
        [uuid4()],
    )

    assert len(await log_of(owner, tenant_id)) == 2


FORGERIES = {
    "UPDATE rollbook.events SET digest = sha256('forged')": "digest_is_of_data",
    "UPDATE rollbook.events SET data = '{}'": "digest_is_of_data",
    "UPDATE rollbook.events SET data = (data::text || ' ')::json": "digest_is_of_data",
    "UPDATE rollbook.events SET salt = salt || 'x'": "digest_is_of_data",
    "UPDATE rollbook.events SET data = NULL": "erasure_is_whole",
    "UPDATE rollbook.events SET salt = NULL": "erasure_is_whole",
    "UPDATE rollbook.events SET source = 'nobody'": "source_is_known",
    "INSERT INTO rollbook.events SELECT * FROM rollbook.events": "seq_is_gap_free",
}


async def test_even_the_owner_cannot_bring_a_forgery_past_the_constraints(
    owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    for statement, constraint in FORGERIES.items():
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await owner.execute(statement)
        assert refused.value.constraint_name == constraint


async def test_data_and_salt_may_go_together_and_the_digest_stays(owner: asyncpg.Connection, tenant_id: UUID) -> None:
    before = (await log_of(owner, tenant_id))[0]

    await owner.execute("UPDATE rollbook.events SET data = NULL, salt = NULL")

    after = (await log_of(owner, tenant_id))[0]
    assert after["digest"] == hashlib.sha256(before["salt"] + before["text"].encode()).digest()


# The creation of the store.


@pytest.fixture
async def empty(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a database without a store."""
    name = f"empty_{uuid4().hex}"
    async with connected(postgres.url()) as maintenance:
        await maintenance.execute(f"CREATE DATABASE {name}")
        yield postgres.url(database=name)
        await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def create_in(url: str) -> UUID:
    async with connected(url) as connection:
        await create_store(connection)
        store_id: UUID = await connection.fetchval("SELECT id FROM rollbook.store")
        return store_id


async def test_of_many_that_create_the_store_at_once_one_does_and_all_go_on(empty: str) -> None:
    assert len(set(await asyncio.gather(*(create_in(empty) for _ in range(6))))) == 1


async def test_creating_the_store_again_changes_nothing(
    database: Database, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    before = await owner.fetch("SELECT * FROM rollbook.store"), await log_of(owner, tenant_id)

    await create_store(owner)

    assert (await owner.fetch("SELECT * FROM rollbook.store"), await log_of(owner, tenant_id)) == before


async def test_a_store_of_a_newer_version_is_refused_and_left_alone(owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE rollbook.store SET version = version + 1")

    with pytest.raises(NewerStoreError, match="newer Rollbook"):
        await create_store(owner)

    assert await owner.fetchval("SELECT version FROM rollbook.store") == VERSION + 1


async def test_a_creation_that_fails_at_its_last_table_leaves_nothing_behind(empty: str) -> None:
    async with connected(empty) as connection:
        await connection.execute("""
            CREATE FUNCTION fail() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF to_regclass('rollbook.token_uses') IS NOT NULL THEN
                    RAISE EXCEPTION 'the disk is full';
                END IF;
            END
            $$;
            CREATE EVENT TRIGGER failure ON ddl_command_end EXECUTE FUNCTION fail();
        """)
        with pytest.raises(asyncpg.RaiseError):
            await create_store(connection)
        assert await connection.fetchval("SELECT to_regnamespace('rollbook')") is None

        await connection.execute("DROP EVENT TRIGGER failure")
        await create_store(connection)


async def test_a_role_that_is_no_superuser_can_create_the_store_serve_and_replay(folder: Path) -> None:
    """As on a managed PostgreSQL. On a server of its own, for roles belong to the whole server."""
    with EmbeddedPostgres(folder, durable=False) as server:
        async with connected(server.url()) as superuser:
            await superuser.execute("CREATE ROLE admin LOGIN CREATEROLE")
            await superuser.execute("CREATE DATABASE app OWNER admin")
        database = Database(server.url("admin", "app"), server.url("rollbook_service", "app"), server)
        await prepare(database)
        await prepare(database)
        async with open_services(database.service_url) as services:
            tenant_id = await register(services, "contoso")
            await EventStore(services.pool).append(*creation(tenant_id, "ann@contoso.example"))
            for only in (None, tenant_id):
                summary = await rebuild(database.owner_url, inline_target(), tenant_id=only, swap=True)
                assert summary.differences == []
            await EventStore(services.pool).append(*creation(tenant_id, "bob@contoso.example"))
