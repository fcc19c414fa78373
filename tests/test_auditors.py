"""`rollbook auditor`: logins that are made, changed and taken away, with what everybody else may do."""

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from api.composition import open_services
from ops.auditor_doors import close_doors, open_doors
from ops.auditors import CONNECTIONS, DEFAULTS, Auditors
from ops.database import Database, prepare, role_url
from ops.postgres import EmbeddedPostgres
from ops.trouble import Trouble
from projections.connections import connected
from projections.installation import VERSION
from tests.auditing import auditor, name_of
from tests.conftest import Directory, register
from tests.replays import replay
from tests.test_cli import Shell
from tests.test_upgrade import VERSION_1


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


async def tenants_seen(url: str) -> set[str]:
    async with connected(url) as connection:
        return {row["name"] for row in await connection.fetch("SELECT name FROM audit.tenants")}


async def test_an_auditor_is_made_given_another_tenant_and_taken_away_and_all_of_it_stays_on_record(
    shell: Shell, company: Directory, database: Database
) -> None:
    name = f"kpmg_{uuid4().hex}"

    address, password = shell.output("auditor", "create", name, "--tenant", "contoso").splitlines()
    assert address == role_url(database.owner_url, name)
    assert len(password.removeprefix("password: ")) == 32
    assert await tenants_seen(address) == {"contoso"}
    assert "role" in shell.trouble("auditor", "create", name, "--tenant", "contoso")

    assert f"{name} may read Fabrikam" in shell.output("auditor", "grant", name, "--tenant", "Fabrikam")
    assert "already" in shell.trouble("auditor", "grant", name, "--tenant", "fabrikam")
    assert await tenants_seen(address) == {"contoso", "fabrikam"}

    async with connected(address) as connection:
        assert "no longer" in shell.output("auditor", "revoke", name, "--tenant", "contoso")
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await connection.fetch("SELECT * FROM audit.tenants")
    assert "anyway" in shell.trouble("auditor", "revoke", name, "--tenant", "contoso")
    assert await tenants_seen(address) == {"fabrikam"}

    assert shell.output("auditor", "drop", name) == f"Dropped {name}.\n"
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await tenants_seen(address)
    listed = [line.split() for line in shell.output("auditor", "list").splitlines() if line.startswith(name)]
    assert [(row[1], row[-1]) for row in listed] == [("contoso", "no"), ("fabrikam", "no")]
    assert all("-" not in {row[2], row[5]} for row in listed)


async def test_a_new_auditor_of_an_old_name_does_not_inherit(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    """The role was dropped past us, or a dump of another server was restored."""
    name = f"kpmg_{uuid4().hex}"
    await Auditors(owner).create(name, ["fabrikam"])
    await owner.execute(f"DROP ROLE {name}")

    await Auditors(owner).create(name, ["contoso", "Contoso"])

    assert await tenants_seen(role_url(database.owner_url, name)) == {"contoso"}
    await Auditors(owner).drop(name)


@pytest.mark.parametrize(
    "name", ["", "Kpmg", "kpmg-1", "1kpmg", "pg_kpmg", "rollbook_service", "public", "a" * 64, 'a"b', "a; DROP ROLE b"]
)
async def test_a_name_that_could_be_mistaken_is_refused(owner: asyncpg.Connection, name: str) -> None:
    with pytest.raises(Trouble, match="lower-case"):
        await Auditors(owner).create(name, ["contoso"])


async def test_roles_that_are_no_auditors_are_left_alone(
    shell: Shell, company: Directory, owner: asyncpg.Connection
) -> None:
    for role in ("postgres", "rollbook_service", "rollbook_owner", "rollbook_auditor", "nobody"):
        assert "There is no auditor" in shell.trouble("auditor", "drop", role)
        assert "There is no auditor" in shell.trouble("auditor", "grant", role, "--tenant", "contoso")
    assert "There is no tenant" in shell.trouble("auditor", "create", "kpmg", "--tenant", "nobody")
    assert "There is no tenant" in shell.trouble("auditor", "revoke", "kpmg", "--tenant", "nobody")


async def test_a_role_that_was_given_other_rights_sees_nothing_more_but_stays(
    company: Directory, owner: asyncpg.Connection
) -> None:
    name = f"kpmg_{uuid4().hex}"
    await Auditors(owner).create(name, ["contoso"])
    await owner.execute(f"CREATE TABLE public.theirs (a int); GRANT SELECT ON public.theirs TO {name}")

    with pytest.raises(Trouble, match="table theirs"):
        await Auditors(owner).drop(name)

    assert not await owner.fetchval("SELECT count(*) FROM rollbook.auditors WHERE revoked_at IS NULL")
    await owner.execute("DROP TABLE public.theirs")
    await Auditors(owner).drop(name)


async def test_a_session_of_an_auditor_begins_with_limits(company: Directory, database: Database) -> None:
    async with (
        auditor(database, "contoso") as connection,
        connected(role_url(database.owner_url, await name_of(connection))) as fresh,
    ):
        for setting, value in DEFAULTS.items():
            assert await fresh.fetchval("SELECT current_setting($1)", setting) == value
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fresh.execute("SET temp_file_limit = -1")
        limit = await fresh.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user")
        assert limit == CONNECTIONS
        assert await fresh.fetchval("SELECT count(*) FROM events") > 0  # by the search path


async def test_what_everybody_may_do_is_told_and_can_be_taken_away(
    shell: Shell, company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    name = f"kpmg_{uuid4().hex}"
    await owner.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")

    done = shell.run("auditor", "create", name, "--tenant", "contoso")

    told = [line.removesuffix(";") for line in done.stderr.splitlines() if line.startswith("REVOKE")]
    assert told == list(await open_doors(owner))
    assert [line.split(" ON ")[0] for line in told] == ["REVOKE TEMPORARY", "REVOKE CREATE", "REVOKE EXECUTE"]
    for statement in told:
        await owner.execute(statement)
    assert not await open_doors(owner)
    assert not shell.run("auditor", "create", f"{name}_2", "--tenant", "contoso").stderr
    for each in (name, f"{name}_2"):
        await Auditors(owner).drop(each)


async def test_everything_works_with_the_doors_closed(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    await close_doors(owner)

    await prepare(database)
    await company.create("afterwards")
    assert (await replay(database)).differences == []


async def test_in_the_embedded_postgres_the_doors_are_closed_by_the_command(folder: Path) -> None:
    shell = Shell("")
    data = ("--data", str(folder))
    shell.output("tenant", "create", "contoso", *data)
    with EmbeddedPostgres(folder) as server:
        done = shell.run("auditor", "create", "kpmg", "--tenant", "contoso", *data)
        assert done.stdout == f"{server.url('kpmg')}\n"
        assert "asks for no password" in done.stderr
        assert await tenants_seen(done.stdout.strip()) == {"contoso"}
        async with connected(server.url("kpmg")) as connection:
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute("SET default_transaction_read_only = off; CREATE TEMPORARY TABLE mine (a int)")
        async with connected(server.url()) as owner:
            assert not await open_doors(owner)


async def test_the_password_opens_a_server_that_asks_for_it_and_is_in_none_of_its_logs(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        database = Database(server.url(), server.url("rollbook_service"), server)
        await prepare(database)
        async with open_services(database.service_url) as services:
            await register(services, "contoso")
        async with connected(server.url()) as owner:
            ask_for_passwords(await owner.fetchval("SHOW hba_file"))
            await owner.execute("ALTER ROLE postgres SET log_statement = 'all'; SELECT pg_reload_conf()")
        async with connected(server.url()) as owner:
            password = await Auditors(owner).create("kpmg", ["contoso"])

        with_password = urlunsplit(urlsplit(server.url("kpmg"))._replace(netloc=f"kpmg:{quote(password)}@"))
        assert await tenants_seen(with_password) == {"contoso"}
        for wrong in (server.url("kpmg"), with_password.replace(quote(password), "wrong")):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await tenants_seen(wrong)
        assert "CREATE ROLE" in text_of(folder / "postgres.log")
        assert password not in text_of(folder / "postgres.log")


def ask_for_passwords(hba: str) -> None:
    Path(hba).write_text(f"local all +rollbook_auditor scram-sha-256\n{Path(hba).read_text()}")


def text_of(path: Path) -> str:
    return path.read_text()


async def test_a_role_that_is_no_superuser_can_upgrade_a_store_and_manage_its_auditors(folder: Path) -> None:
    """As on a managed PostgreSQL. On a server of its own, for roles belong to the whole server."""
    with EmbeddedPostgres(folder, durable=False) as server:
        async with connected(server.url()) as superuser:
            await superuser.execute("CREATE ROLE admin LOGIN CREATEROLE")
            await superuser.execute("CREATE DATABASE app OWNER admin")
        database = Database(server.url("admin", "app"), server.url("rollbook_service", "app"), server)
        await prepare(database)
        async with connected(database.owner_url) as owner:
            await owner.execute(VERSION_1)
            await owner.execute("DROP ROLE rollbook_auditor")
        await prepare(database)
        async with open_services(database.service_url) as services:
            await register(services, "contoso")
            await register(services, "fabrikam")
        async with connected(database.owner_url) as owner:
            assert await owner.fetchval("SELECT version FROM rollbook.store") == VERSION
            auditors = Auditors(owner)
            await auditors.create("kpmg", ["contoso"])
            address = role_url(database.owner_url, "kpmg")
            assert await tenants_seen(address) == {"contoso"}
            await auditors.grant("kpmg", "fabrikam")
            async with connected(address) as open_session:
                await auditors.revoke("kpmg", "contoso")  # whoever may not end sessions lets them find nothing
                names = await open_session.fetch("SELECT name FROM audit.tenants")
                assert [row["name"] for row in names] == ["fabrikam"]
            assert (await replay(database)).differences == []
            assert await tenants_seen(address) == {"fabrikam"}
            await auditors.drop("kpmg")


async def test_a_role_that_may_not_create_roles_is_told_what_it_lacks(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        async with connected(server.url()) as superuser:
            await superuser.execute("CREATE ROLE admin LOGIN CREATEROLE")
            await superuser.execute("CREATE DATABASE app OWNER admin")
        database = Database(server.url("admin", "app"), server.url("rollbook_service", "app"), server)
        await prepare(database)
        async with open_services(database.service_url) as services:
            await register(services, "contoso")
        async with connected(server.url()) as superuser:
            await superuser.execute("ALTER ROLE admin NOCREATEROLE")

        shell = Shell(database.owner_url)

        assert "cannot manage auditors" in shell.trouble("auditor", "create", "kpmg", "--tenant", "contoso")
