"""Auditors who try: to write, to become somebody else, and to see other tenants by ways that are not the front door.

Where a guard could be there for nothing, the test takes it away at the end, and sees the hole.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest

from ops.auditor_doors import close_doors, open_doors
from ops.database import Database, role_url
from projections.connections import connected
from tests.auditing import auditor, enrich, name_of, twin_of, views
from tests.conftest import Directory
from tests.replays import live
from tests.test_audit_views import FOR_EVERYBODY

DENIED = (asyncpg.InsufficientPrivilegeError, asyncpg.CantChangeRuntimeParamError)


@dataclass
class Attacker:
    """An auditor of one tenant, who knows that there is a twin of it, and how to reach the database."""

    connection: asyncpg.Connection
    name: str
    tenant_id: UUID
    twin: UUID

    async def is_denied(self, statement: str) -> None:
        try:
            await self.connection.execute(statement)
        except DENIED:
            return
        except asyncpg.PostgresError as error:
            pytest.fail(f"{statement}: {error!r}")
        pytest.fail(f"{statement} was done")

    async def heard(self, statement: str) -> str:
        """All notices of a statement."""
        notices: list[str] = []

        def listener(_: object, message: asyncpg.PostgresLogMessage) -> None:
            notices.append(str(message))

        self.connection.add_log_listener(listener)
        await self.connection.execute(statement)
        self.connection.remove_log_listener(listener)
        return "\n".join(notices)


@pytest.fixture
async def attacker(company: Directory, database: Database, owner: asyncpg.Connection) -> AsyncIterator[Attacker]:
    await enrich(company, owner)
    twin = await twin_of(owner, company.tenant_id)
    await owner.execute("ANALYZE")
    await close_doors(owner)
    async with auditor(database, "contoso") as connection:
        yield Attacker(connection, await name_of(connection), company.tenant_id, twin)


# Writing.

NOTHING = ", ".join(["'{}'"] * 10)  # the other parameters of an append

WRITES = (
    "INSERT INTO audit.people (role) VALUES ('owner')",
    "UPDATE audit.people SET role = 'owner'",
    "DELETE FROM audit.people",
    "DELETE FROM audit.events",
    "UPDATE audit.events SET data = NULL",
    "INSERT INTO audit.auditors (tenant_id, role, granted_by) VALUES ('{twin}', '{name}', 'me')",
    "INSERT INTO rollbook.auditors (tenant_id, role, granted_by) VALUES ('{twin}', '{name}', 'me')",
    "DELETE FROM rollbook.events",
    "TRUNCATE rollbook.events",
    "UPDATE rollbook.heads SET seq = 0",
    "MERGE INTO audit.people USING audit.tenants ON true WHEN MATCHED THEN DELETE",
    "SELECT * FROM audit.events FOR UPDATE",
    "SELECT * FROM audit.people FOR KEY SHARE",
    "DO $$ BEGIN LOCK TABLE audit.people IN SHARE MODE; END $$",
    "DO $$ BEGIN LOCK TABLE audit.heads IN ROW EXCLUSIVE MODE; END $$",
    "COPY audit.people FROM STDIN",
    "CREATE TABLE audit.mine (a int)",
    "CREATE TABLE public.mine (a int)",
    "CREATE TABLE rollbook.mine (a int)",
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE TEMPORARY VIEW mine AS SELECT 1",
    "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE VIEW audit.mine AS SELECT 1",
    "CREATE OR REPLACE FUNCTION audit.last_seq_before(uuid, timestamptz) RETURNS bigint RETURN 1",
    "CREATE SCHEMA mine",
    "CREATE EXTENSION hstore",
    "CREATE TABLE pg_catalog.mine (a int)",
    "ALTER VIEW audit.people RESET (security_barrier)",
    "ALTER VIEW audit.events RESET (security_invoker)",
    "ALTER TABLE rollbook.events DISABLE ROW LEVEL SECURITY",
    "DROP VIEW audit.people",
    "DROP POLICY auditors_read_their_tenants ON rollbook.events",
    "COMMENT ON VIEW audit.people IS 'mine'",
    "COMMENT ON SCHEMA audit IS 'mine'",
    "ALTER DEFAULT PRIVILEGES FOR ROLE rollbook_owner GRANT SELECT ON TABLES TO PUBLIC",
    "SELECT rollbook.append('{tenant}', {nothing})",
    "SELECT rollbook.erase('{tenant}', '{twin}', 'operator', 'a', NULL, '{twin}', NULL)",
    "SELECT rollbook.prepare_request_log()",
    "SELECT rollbook.put_seats('{tenant}', now(), '[]')",
    "SELECT rollbook.audited_tenants()",
    "SELECT lo_from_bytea(0, 'mine')",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_logical_emit_message(true, 'mine', 'text')",
    "SELECT pg_advisory_lock(7655312021)",
    "SELECT pg_try_advisory_xact_lock_shared(7655312021)",
    "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')",
    "SELECT pg_create_physical_replication_slot('mine')",
    "CREATE PUBLICATION mine FOR ALL TABLES",
    "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE DATABASE mine",
    "ALTER DATABASE {database} SET row_security = off",
    "ALTER SYSTEM SET fsync = off",
    "CHECKPOINT",
    "SELECT pg_switch_wal()",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "SELECT pg_stat_reset()",
)


async def test_an_auditor_can_write_nothing_anywhere(
    attacker: Attacker, database: Database, owner: asyncpg.Connection
) -> None:
    relations = (
        "SELECT oid, relname, relacl::text FROM pg_class WHERE NOT starts_with(relname, 'request_log') ORDER BY 1"
    )
    before = await live(owner), await owner.fetch(relations)
    known = {"tenant": attacker.tenant_id, "twin": attacker.twin, "name": attacker.name, "nothing": NOTHING}
    known["database"] = await owner.fetchval("SELECT current_database()")
    for statement in WRITES:
        await attacker.is_denied(statement.format(**known))
    await attacker.connection.execute("GRANT SELECT ON audit.people TO rollbook_service")  # a warning, and no grant

    assert (await live(owner), await owner.fetch(relations)) == before
    await owner.execute(f"GRANT TEMPORARY ON DATABASE {known['database']} TO PUBLIC")
    await owner.execute("GRANT EXECUTE ON FUNCTION lo_from_bytea, lo_create(oid) TO PUBLIC")
    await attacker.connection.execute("CREATE TEMPORARY TABLE mine (a int); SELECT lo_from_bytea(0, 'mine')")
    assert len(await open_doors(owner)) == 2
    await owner.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


FILES_AND_PROGRAMS = (
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "COPY audit.people FROM PROGRAM 'id'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_ls_logdir()",
    "SELECT pg_stat_file('postgresql.conf')",
    "SELECT pg_current_logfile()",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_largeobject",
    "SELECT * FROM pg_user_mapping",
    "LOAD 'dblink'",
    "CREATE EXTENSION dblink",
    "CREATE FOREIGN DATA WRAPPER mine",
)


async def test_an_auditor_reaches_no_files_and_no_programs(attacker: Attacker) -> None:
    for statement in FILES_AND_PROGRAMS:
        await attacker.is_denied(statement)


# The rights, all of them.


async def test_an_auditor_has_the_right_to_read_the_views_and_no_other_right_on_anything_of_the_database(
    attacker: Attacker, owner: asyncpg.Connection
) -> None:
    relations = await owner.fetch(_RIGHTS_ON_RELATIONS, attacker.name)
    assert {(row["name"], row["rights"]) for row in relations} == {
        *((f"audit.{name}", "SELECT") for name in await views(owner)),
        ("rollbook.events", "SELECT"),
        ("rollbook.heads", "SELECT"),
    }
    functions = await owner.fetch(_RIGHTS_ON_FUNCTIONS, attacker.name)
    assert {row["name"].partition(".")[0] for row in functions} == {"audit"}
    definers = await owner.fetch(_DEFINERS, attacker.name)
    assert [row["name"] for row in definers] == ["rollbook.audited_tenants"]
    for schema in await owner.fetch("SELECT nspname FROM pg_namespace"):
        assert not await owner.fetchval("SELECT has_schema_privilege($1, $2, 'CREATE')", attacker.name, schema[0])
    role = await owner.fetchrow(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = $1",
        attacker.name,
    )
    assert not any(role)
    belongs_to = await owner.fetch(_MEMBER_OF, attacker.name)
    assert [row["rolname"] for row in belongs_to] == ["rollbook_auditor"]


_RIGHTS_ON_RELATIONS = """
    SELECT oid::regclass::text AS name, string_agg(privilege, ' ' ORDER BY privilege) AS rights
    FROM pg_class
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
        AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
        AND (
            has_table_privilege($1, oid, privilege)
            OR (
                privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                AND has_any_column_privilege($1, oid, privilege)
            )
        )
    GROUP BY oid
"""

_RIGHTS_ON_FUNCTIONS = """
    SELECT oid::regproc::text AS name
    FROM pg_proc
    WHERE pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
        AND has_function_privilege($1, oid, 'EXECUTE')
        AND has_schema_privilege($1, pronamespace, 'USAGE')
"""

_DEFINERS = """
    SELECT oid::regproc::text AS name
    FROM pg_proc
    WHERE prosecdef AND has_function_privilege($1, oid, 'EXECUTE')
"""

_MEMBER_OF = "SELECT rolname FROM pg_roles WHERE pg_has_role($1, oid, 'MEMBER') AND rolname <> $1"


async def test_the_schema_of_the_store_cannot_even_be_named(attacker: Attacker, owner: asyncpg.Connection) -> None:
    tables = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'rollbook'::regnamespace AND relkind IN ('r', 'p')"
    )
    assert len(tables) > 20  # the partitions among them
    for row in tables:
        await attacker.is_denied(f"SELECT * FROM rollbook.{row['relname']}")  # noqa: S608  constants


async def test_row_level_security_holds_on_the_log_itself(attacker: Attacker, owner: asyncpg.Connection) -> None:
    await owner.execute("GRANT USAGE ON SCHEMA rollbook TO rollbook_auditor")
    await attacker.connection.execute("SET search_path = rollbook")
    tenants = "SELECT DISTINCT tenant_id FROM rollbook.{}"
    for table in ("events", "heads"):
        assert await attacker.connection.fetchval(tenants.format(table)) == attacker.tenant_id
    for statement in (
        "SELECT rollbook.append('{0}', " + NOTHING + ")",
        "SELECT * FROM rollbook.auditors",
        "SELECT * FROM rollbook.users",
        "SELECT rollbook.put_seats('{0}', now(), '[{}]')",
    ):
        await attacker.is_denied(statement.replace("{0}", str(attacker.tenant_id)))

    for table in ("events", "heads"):
        await owner.execute(f"ALTER TABLE rollbook.{table} DISABLE ROW LEVEL SECURITY")
        assert len(await attacker.connection.fetch(tenants.format(table))) == 3


# Being somebody else.


async def test_an_auditor_becomes_nobody_else(attacker: Attacker, database: Database) -> None:
    async with auditor(database, "fabrikam") as other:
        others_name = await name_of(other)
        for role in ("rollbook_owner", "rollbook_service", "postgres", "pg_read_all_data", others_name):
            await attacker.is_denied(f"SET ROLE {role}")
            await attacker.is_denied(f"SET SESSION AUTHORIZATION {role}")
            await attacker.is_denied(f"SELECT set_config('role', '{role}', false)")
            await attacker.is_denied(f"SELECT set_config('session_authorization', '{role}', false)")
            await attacker.is_denied(f"GRANT {role} TO {attacker.name}")
        for change in ("SUPERUSER", "BYPASSRLS", "CREATEROLE", "REPLICATION", "CONNECTION LIMIT -1"):
            await attacker.is_denied(f"ALTER ROLE {attacker.name} {change}")
        await attacker.is_denied(f"ALTER ROLE {others_name} PASSWORD 'mine'")
        await attacker.is_denied(f"GRANT {attacker.name} TO {others_name}")
        await attacker.is_denied("CREATE ROLE mine LOGIN IN ROLE rollbook_service")


async def test_what_an_auditor_sees_depends_on_who_logged_in_and_on_nothing_that_the_session_can_set(
    attacker: Attacker, owner: asyncpg.Connection, database: Database
) -> None:
    async def seen(connection: asyncpg.Connection) -> set[UUID]:
        return {
            row["tenant_id"]
            for name in ("events", "people", "tokens")
            for row in await connection.fetch(f"SELECT tenant_id FROM audit.{name}")  # noqa: S608  constants
        }

    own = {attacker.tenant_id}
    async with auditor(database, "fabrikam") as other:
        other_tenants, others_name = await seen(other), await name_of(other)
        assert len(other_tenants - own) == 1
        # Even if somebody made the one a member of the other.
        await owner.execute(f"GRANT {others_name} TO {attacker.name}")
        for setting in (
            "SET ROLE rollbook_auditor",
            f"SET ROLE {others_name}",
            "RESET ROLE",
            f"SET SESSION AUTHORIZATION {attacker.name}",
            f"SET audit.tenant = '{attacker.twin}'",
            "SET search_path = pg_temp, rollbook, audit",
        ):
            await attacker.connection.execute(setting)
            assert await seen(attacker.connection) == own, setting
        # As a pooler does that logs in once for all, and whose clients could switch as well.
        await owner.execute(f"SET ROLE {attacker.name}")
        assert await seen(owner) == set()
        await owner.execute("RESET ROLE")
        await owner.execute(f"REVOKE {others_name} FROM {attacker.name}")


async def test_row_level_security_cannot_be_switched_off(attacker: Attacker) -> None:
    await attacker.connection.execute("SET row_security = off")

    for name in ("events", "heads", "refusals", "attribute_changes"):
        await attacker.is_denied(f"SELECT * FROM audit.{name}")  # noqa: S608  constants
    tenants = await attacker.connection.fetch("SELECT DISTINCT tenant_id FROM audit.people")
    assert [row["tenant_id"] for row in tenants] == [attacker.tenant_id]


async def test_what_is_slipped_under_a_function_of_the_owner_has_no_effect(
    attacker: Attacker, owner: asyncpg.Connection
) -> None:
    """With the right to make temporary things, which auditors do not have where the doors are closed."""
    await owner.execute(f"GRANT TEMPORARY ON DATABASE {await owner.fetchval('SELECT current_database()')} TO PUBLIC")
    connection = attacker.connection
    await connection.execute(f"""
        CREATE TEMPORARY TABLE auditors AS
        SELECT '{attacker.twin}'::uuid AS tenant_id, session_user::text AS role, NULL::timestamptz AS revoked_at;
        CREATE FUNCTION pg_temp.same(text, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = name, FUNCTION = pg_temp.same);
        CREATE FUNCTION pg_temp.unnest(uuid[]) RETURNS SETOF uuid LANGUAGE sql AS 'SELECT ''{attacker.twin}''::uuid';
        SET search_path = pg_temp, pg_catalog, rollbook, audit;
    """)

    for name in ("events", "people", "history", "requests"):
        tenants = await connection.fetch(f"SELECT DISTINCT tenant_id FROM audit.{name}")  # noqa: S608  constants
        assert [row["tenant_id"] for row in tenants] == [attacker.tenant_id], name

    # And this is what the settings of the function are for.
    body = "SELECT coalesce(array_agg(tenant_id), '{}') FROM auditors WHERE role = session_user AND revoked_at IS NULL"
    await owner.execute(f"""
        SET check_function_bodies = off;
        CREATE OR REPLACE FUNCTION rollbook.audited_tenants() RETURNS uuid[]
        LANGUAGE sql STABLE SECURITY DEFINER AS $$ {body} $$
    """)
    await connection.execute("GRANT SELECT ON pg_temp.auditors TO PUBLIC")
    tenants = await connection.fetch("SELECT DISTINCT tenant_id FROM audit.people")
    assert [row["tenant_id"] for row in tenants] == [attacker.twin]


# Seeing without being shown.


async def test_a_condition_that_tells_what_it_sees_sees_nothing_of_others(
    attacker: Attacker, owner: asyncpg.Connection
) -> None:
    await owner.execute("""
        CREATE FUNCTION public.tell(content text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
        BEGIN
            RAISE NOTICE '%', content;
            RETURN true;
        END
        $$;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
    """)
    telling = "SELECT count(*) FROM audit.{} AS seen WHERE public.tell(seen::text)"
    for name in set(await views(owner)) - FOR_EVERYBODY:
        heard = await attacker.heard(telling.format(name))
        assert str(attacker.tenant_id) in heard, name
        assert str(attacker.twin) not in heard, name

    await owner.execute("ALTER VIEW audit.people RESET (security_barrier)")
    assert str(attacker.twin) in await attacker.heard(telling.format("people"))


async def test_errors_of_built_in_operators_tell_nothing_of_others(
    attacker: Attacker, owner: asyncpg.Connection
) -> None:
    """Each of these fails on the first row of another tenant that it is shown."""
    conditions = (
        f"1 / (tenant_id = '{attacker.tenant_id}')::int = 1",
        f"CASE WHEN tenant_id = '{attacker.tenant_id}' THEN '1' ELSE 'told: ' || tenant_id END::int = 1",
        f"(tenant_id::text || CASE WHEN tenant_id = '{attacker.tenant_id}' THEN '' ELSE 'told' END)::uuid IS NOT NULL",
    )
    for settings in ("SET enable_indexscan = on", "SET enable_indexscan = off; SET enable_bitmapscan = off"):
        await attacker.connection.execute(settings)
        for name in set(await views(owner)) - FOR_EVERYBODY:
            for condition in conditions:
                query = f"SELECT count(*) FROM audit.{name} WHERE {condition}"  # noqa: S608  constants
                assert await attacker.connection.fetchval(query) > 0, (name, condition)

    await owner.execute("ALTER TABLE rollbook.events DISABLE ROW LEVEL SECURITY")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await attacker.connection.fetch(f"SELECT count(*) FROM audit.events WHERE {conditions[0]}")  # noqa: S608  constants


async def test_statistics_hold_nothing_that_an_auditor_can_read(attacker: Attacker, owner: asyncpg.Connection) -> None:
    """They hold the most common values of each column, across all tenants."""
    hidden = "SELECT tablename FROM {} WHERE schemaname IN ('rollbook', 'audit')"
    assert await owner.fetch(hidden.format("pg_stats"))
    for name in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
        assert await attacker.connection.fetch(hidden.format(name)) == []

    await owner.execute("GRANT USAGE ON SCHEMA rollbook TO rollbook_auditor")
    assert await attacker.connection.fetch(hidden.format("pg_stats")) == []
    await owner.execute("GRANT SELECT ON rollbook.users TO rollbook_auditor")
    assert await attacker.connection.fetch(hidden.format("pg_stats"))


NAMES = {
    "people": "user_name",
    "history": "user_name",
    "identities": "value",
    "tenants": "name",
    "tokens": "name",
}


async def test_estimates_of_the_planner_do_not_spell_out_names_of_others(
    attacker: Attacker, owner: asyncpg.Connection
) -> None:
    """Statistics are about all tenants, and operators of text are leakproof: so they would be used."""
    await owner.execute(
        "INSERT INTO rollbook.identities (tenant_id, user_id, attribute, value, spelling, from_seq, valid_from) "
        "SELECT $1, gen_random_uuid(), 'userName', 'name-' || n, '', 1, now() FROM generate_series(1, 1000) AS n",
        attacker.twin,
    )
    await owner.execute(
        "INSERT INTO rollbook.tenants SELECT gen_random_uuid(), 'name-' || n, '{}', NULL, now() "
        "FROM generate_series(1, 1000) AS n"
    )
    await owner.execute(
        "INSERT INTO rollbook.tokens SELECT $1, gen_random_uuid(), 'name-' || n, '{}', n::text, now(), now(), NULL "
        "FROM generate_series(1, 1000) AS n",
        attacker.twin,
    )
    await owner.execute("ANALYZE")

    async def estimates(view: str, column: str) -> set[int]:
        found = set()
        for end in ("a", "name-3", "name-7", "z"):
            query = f"EXPLAIN (FORMAT JSON) SELECT * FROM audit.{view} WHERE {column} < '{end}'"  # noqa: S608  constants
            found.add(json.loads(await attacker.connection.fetchval(query))[0]["Plan"]["Plan Rows"])
        return found

    for view, column in NAMES.items():
        assert len(await estimates(view, column)) == 1, view
    await owner.execute("""
        CREATE OR REPLACE VIEW audit.tenants WITH (security_barrier = true) AS
        SELECT tenant_id, name, settings, seat_limit, created_at
        FROM rollbook.tenants
        WHERE tenant_id = ANY ((SELECT rollbook.audited_tenants())::uuid[])
    """)
    assert len(await estimates("tenants", "name")) > 1


async def test_what_others_ask_at_the_moment_is_hidden(attacker: Attacker, database: Database) -> None:
    looking = "SELECT query FROM pg_stat_activity WHERE usename = $1 AND query NOT LIKE '%usename%'"
    async with connected(database.service_url) as service:
        await service.execute("SELECT 'a secret'")
        found = await attacker.connection.fetch(looking, "rollbook_service")
        assert {row["query"] for row in found} == {"<insufficient privilege>"}
        await attacker.is_denied(f"SELECT pg_terminate_backend({service.get_server_pid()})")
        await attacker.is_denied(f"SELECT pg_cancel_backend({service.get_server_pid()})")
        async with connected(role_url(database.owner_url, attacker.name)) as own:
            await own.execute("SELECT 'no secret'")
            assert await attacker.connection.fetchval(looking, attacker.name) == "SELECT 'no secret'"


async def test_copies_cursors_and_functions_show_what_the_views_show(attacker: Attacker) -> None:
    connection = attacker.connection
    copied = bytearray()

    async def keep(data: bytes) -> None:
        copied.extend(data)

    await connection.copy_from_query("SELECT * FROM audit.events", output=keep)
    assert str(attacker.tenant_id).encode() in copied
    assert str(attacker.twin).encode() not in copied
    for query in (
        "SELECT string_agg(t::text, '') FROM audit.people_as_of('infinity') AS t",
        "SELECT string_agg(t::text, '') FROM audit.changes('-infinity', 'infinity') AS t",
        "SELECT string_agg(t::text, '') FROM audit.seats_as_of('infinity') AS t",
        "SELECT string_agg(t::text, '') FROM audit.events_between('-infinity', 'infinity') AS t",
    ):
        found = await connection.fetchval(query)
        assert str(attacker.tenant_id) in found, query
        assert str(attacker.twin) not in found, query
    assert await connection.fetchval("SELECT audit.last_seq_before($1, 'infinity')", attacker.twin) == 0
    assert await connection.fetchval("SELECT audit.last_seq_before($1, 'infinity')", attacker.tenant_id) > 0
