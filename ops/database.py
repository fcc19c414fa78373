"""The database of a command: the embedded one, or the PostgreSQL that ROLLBOOK_DATABASE_URL names.

Two roles matter. The owner's URL creates the store and replays. The service itself logs in as `rollbook_service`, which
may read and append and nothing else: it is a login of its own, not a setting of the session that could be taken back.
"""

import asyncio
import base64
import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import asyncpg
import typer

from ops.postgres import EmbeddedPostgres, server_version_trouble
from ops.trouble import Trouble
from projections import installation
from projections.audit_views import ViewsInUseError
from projections.build import CannotApplyError
from projections.claim import AlreadyRunningError
from projections.rebuild import TablesInUseError, TablesNeededError, rebuild
from projections.target import inline_target

OWNER_URL = "ROLLBOOK_DATABASE_URL"
SERVICE_URL = "ROLLBOOK_SERVICE_DATABASE_URL"
SERVICE_ROLE = "rollbook_service"

_UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
_MALFORMED = (ValueError, OverflowError, asyncpg.ClientConfigurationError)  # OverflowError: a port above 65535
_NO_ADDRESS = f"{OWNER_URL} is no address of a PostgreSQL: postgresql://user:password@host:5432/database"


@dataclass(frozen=True)
class Database:
    """Where the store is: for its owner, and for the service. `embedded` is the server if it is ours."""

    owner_url: str
    service_url: str
    embedded: EmbeddedPostgres | None = None


@contextmanager
def open_database(data: Path, *, create: bool = False) -> Iterator[Database]:
    """The database, reachable, with a store of this version in it.

    An embedded one is made only on request: a mistyped folder shall not become an empty store.
    Raises Trouble if it cannot be reached, is too old, or its store was made by a newer Rollbook.
    """
    if owner_url := os.environ.get(OWNER_URL):
        database = Database(owner_url, os.environ.get(SERVICE_URL) or service_url(owner_url))
        asyncio.run(prepare(database))
        yield database
        return
    if not create and not (data / "postgres").exists():
        raise Trouble(
            f"There is no store in {data}. Name the folder of yours with --data, or start one: rollbook serve"
        )
    with EmbeddedPostgres(data) as postgres:
        database = Database(postgres.url(), postgres.url(SERVICE_ROLE), postgres)
        asyncio.run(prepare(database))
        yield database


def service_url(owner_url: str) -> str:
    """The same address with the service's role. Its password is made from the owner's, so that each process that knows
    the one knows the other, and nobody has to be told a second secret. Raises Trouble if it is no address."""
    try:
        parts = urlsplit(owner_url)
    except ValueError:
        raise Trouble(_NO_ADDRESS) from None
    _, _, hosts = parts.netloc.rpartition("@")
    password = derived_password(owner_url)
    login = f"{SERVICE_ROLE}:{quote(password)}" if password else SERVICE_ROLE
    return urlunsplit(parts._replace(netloc=f"{login}@{hosts}", query=_without_login(parts.query)))


def role_url(owner_url: str, role: str) -> str:
    """The same address with another role, and without a password."""
    parts = urlsplit(owner_url)
    _, _, hosts = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{quote(role)}@{hosts}", query=_without_login(parts.query)))


def _without_login(query: str) -> str:
    return urlencode([each for each in parse_qsl(query) if each[0] not in {"user", "password"}])


def derived_password(owner_url: str) -> str | None:
    """None if the owner logs in without a password; the service's role then does, too."""
    parts = urlsplit(owner_url)
    named = unquote(parts.password or "") or dict(parse_qsl(parts.query)).get("password")
    owner = named or os.environ.get("PGPASSWORD", "")
    if not owner:
        return None
    return base64.urlsafe_b64encode(hmac.digest(owner.encode(), SERVICE_ROLE.encode(), hashlib.sha256)).decode()


async def prepare(database: Database) -> None:
    """Create the store unless it is there, and make sure that the service can log in."""
    connection = await _connect(database.owner_url)
    try:
        if trouble := server_version_trouble(int(await connection.fetchval("SHOW server_version_num"))):
            raise Trouble(trouble)
        await _create_store(connection)
        await _let_service_in(connection, database)
        while await installation.inline_is_outdated(connection):
            await _rebuild_inline(database.owner_url)
    except (installation.NewerStoreError, installation.SchemaTakenError) as error:
        raise Trouble(str(error)) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise Trouble(
            f"The role in {OWNER_URL} cannot create the store ({_first_line(error)}). Use one that may create roles "
            f"and schemas in this database, at least once."
        ) from None
    finally:
        await connection.close()


async def _create_store(connection: asyncpg.Connection) -> None:
    try:
        await installation.create_store(connection)
    except ViewsInUseError as error:
        typer.echo(
            f"The views of auditors stay as they were until the next start ({' '.join(str(error).split())}).", err=True
        )


async def _rebuild_inline(owner_url: str) -> None:
    """What every append writes has to be of this version before the first one; what an older program of the same store
    appends meanwhile is in it. Only after an upgrade that says so."""
    typer.echo("Rebuilding users, seats, tenants and tokens for this version; the service goes on meanwhile.", err=True)
    try:
        await rebuild(owner_url, inline_target(), resume=True)
    except AlreadyRunningError:  # another process of this version, most likely
        await asyncio.sleep(1)
    except (CannotApplyError, TablesInUseError, TablesNeededError) as error:
        raise Trouble(str(error)) from None


async def _connect(url: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(url, timeout=10)
    except _MALFORMED:
        raise Trouble(_NO_ADDRESS) from None
    except _UNREACHABLE as error:
        _unreachable(error)


def _unreachable(error: BaseException) -> NoReturn:
    raise Trouble(
        f"The PostgreSQL in {OWNER_URL} cannot be reached ({_first_line(error)}). Check that it runs, its address, the "
        f"role and the password; or unset {OWNER_URL} to use the embedded one."
    ) from None


async def _let_service_in(owner: asyncpg.Connection, database: Database) -> None:
    if await _can_log_in(database.service_url):
        return
    password = derived_password(database.owner_url)
    if password and SERVICE_URL not in os.environ:
        await owner.execute(f"ALTER ROLE {SERVICE_ROLE} PASSWORD '{password}'")  # base64: nothing to escape
        if await _can_log_in(database.service_url):
            return
    raise Trouble(
        f"The service cannot log in as {SERVICE_ROLE}. Give that role a password and name it in {SERVICE_URL}, and let "
        f"pg_hba.conf admit it."
    )


async def _can_log_in(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (*_UNREACHABLE, *_MALFORMED):
        return False
    await connection.close()
    return True


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
