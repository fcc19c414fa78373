"""Creates the store in a database: roles, the log, the projections; once, whoever comes first."""

import contextlib
from pathlib import Path

import asyncpg

from projections.audit_views import install_views
from projections.follower import FOLLOWERS
from projections.inline import INLINE

VERSION = 3

_TOP = Path(__file__).resolve().parents[1]
_LOG = _TOP / "events.sql"

# Creators of one store wait for each other here; any number that nothing else uses will do.
_LOCK = 7_655_312_021


class NewerStoreError(Exception):
    """The store was made by a newer Rollbook than this one."""


class SchemaTakenError(Exception):
    """The database has a schema `audit` of somebody else's."""


def ddl(projection: str) -> str:
    """The SQL that makes a projection's tables and functions in the schema that is first on the search path."""
    return (_TOP / "projections" / f"{projection}.sql").read_text()


async def create_store(connection: asyncpg.Connection) -> None:
    """Create the store unless it is there, or bring an older one up to date; safe if several start at once.

    Followers that are not installed yet get their tables; those that are installed in another version are left as they
    are, for whoever rebuilds them. The connection's role must be allowed to create roles and schemas. Raises
    NewerStoreError if the store was made by a newer version of Rollbook, SchemaTakenError; and, when all is done but
    for the views of auditors, ViewsInUseError.
    """
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        version = await store_version(connection)
        if version is not None and version > VERSION:
            raise NewerStoreError(
                f"This database was last used by a newer Rollbook (its store has version {version}, this program knows "
                f"{VERSION}). Run the newer version."
            )
        if version is None or version < VERSION:
            await connection.execute(_ROLES)
        if version is None:
            await connection.execute(_SCHEMA)
        await _create_audit_schema(connection)
        await connection.execute("SET LOCAL ROLE rollbook_owner; SET LOCAL search_path = rollbook")
        if version is None:
            await _create(connection)
        elif version < VERSION:
            await _upgrade(connection, version)
        await _install_followers(connection)
        await _check_inline(connection)
    await _prepare_request_log(connection)
    await _install_views(connection)


async def _install_views(connection: asyncpg.Connection) -> None:
    """The views of auditors. A replay that ends at this moment puts some of them, too; then once more."""
    for is_last in (False, False, True):
        try:
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK}); SET LOCAL ROLE rollbook_owner")
                await install_views(connection)
        except asyncpg.InternalServerError:  # "tuple concurrently updated", which has no code of its own
            if is_last:
                raise
        else:
            return


async def _create_audit_schema(connection: asyncpg.Connection) -> None:
    owner = await connection.fetchval("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'audit'")
    if owner is None:
        await connection.execute("CREATE SCHEMA audit AUTHORIZATION rollbook_owner")
    elif owner != "rollbook_owner":
        raise SchemaTakenError(
            f"This database has a schema audit already, which belongs to {owner}, and Rollbook needs one of that name. "
            f"Rename it, or give Rollbook a database of its own."
        )


async def _prepare_request_log(connection: asyncpg.Connection) -> None:
    """The days of a store that nobody served for a while. If others are in the way, whoever follows does it."""
    with contextlib.suppress(asyncpg.LockNotAvailableError):
        async with connection.transaction():
            await connection.execute("SET LOCAL ROLE rollbook_owner; SELECT rollbook.prepare_request_log()")


async def store_version(connection: asyncpg.Connection) -> int | None:
    """The version of the store, None if there is none."""
    if await connection.fetchval("SELECT to_regclass('rollbook.store')") is None:
        return None
    version: int = await connection.fetchval("SELECT version FROM rollbook.store")
    return version


async def inline_is_outdated(connection: asyncpg.Connection) -> bool:
    """Whether an older program made the inline projections' tables, and they have to be rebuilt."""
    rows = await connection.fetch("SELECT name, version FROM rollbook.projections WHERE NOT is_follower")
    return {row["name"]: row["version"] for row in rows} != {each.name: each.version for each in INLINE}


async def _check_inline(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT name, version FROM projections WHERE NOT is_follower")
    installed = {row["name"]: row["version"] for row in rows}
    for each in INLINE:
        if installed.get(each.name, 0) > each.version:
            raise NewerStoreError(
                f"This database was last used by a newer Rollbook (its {each.name} have version "
                f"{installed[each.name]}, this program knows {each.version}). Run the newer version."
            )


async def _create(connection: asyncpg.Connection) -> None:
    await connection.execute(_LOG.read_text())
    for name in (*(projection.name for projection in INLINE), "token_uses", "followers", *_SINCE_3):
        await connection.execute(ddl(name))
    await connection.execute("INSERT INTO store (version) VALUES ($1)", VERSION)
    await connection.executemany(_INSTALLED, [(each.name, each.version, False) for each in INLINE])


async def _upgrade(connection: asyncpg.Connection, version: int) -> None:
    if version < 2:  # which brought followers
        await connection.execute(ddl("followers"))
        await connection.executemany(_INSTALLED, [(each, 1, False) for each in _BEFORE_3])
    for name in _INLINE_SINCE_3:
        await connection.execute(ddl(name))
    await connection.executemany(
        _INSTALLED, [(each.name, each.version, False) for each in INLINE if each.name in _INLINE_SINCE_3]
    )
    await connection.execute(_append_ddl())
    await connection.execute(_TO_3)
    for name in _SINCE_3:
        await connection.execute(ddl(name))
    await connection.execute("UPDATE store SET version = $1", VERSION)


def _append_ddl() -> str:
    """The append alone, which replaces that of an older store."""
    log = _LOG.read_text()
    return log[log.index("CREATE OR REPLACE FUNCTION append(") :]


async def _install_followers(connection: asyncpg.Connection) -> None:
    installed = {row["name"] for row in await connection.fetch("SELECT name FROM projections")}
    for follower in FOLLOWERS:
        if follower.name not in installed:
            await connection.execute(follower.ddl)
            await connection.execute(_INSTALLED, follower.name, follower.version, True)


# The inline projections, by the version of the store that brought them.
_BEFORE_3 = ("tenants", "tokens", "users", "seats")
_INLINE_SINCE_3 = ("groups", "members")

# What version 3 brought beside the log, in the order of its creation.
_SINCE_3: tuple[str, ...] = (
    "membership",
    "role_groups",
    "request_log",
    "erasure",
    "checkpoints",
    "auditors",
    "console_sessions",
    "checks",
)

# What version 3 changed in events.sql.
_TO_3 = """
    -- Appends, which lock a head before anything else, end before this, or wait: both tables are altered.
    LOCK TABLE heads IN EXCLUSIVE MODE;
    ALTER TABLE store ADD COLUMN cursor_key bytea NOT NULL
        DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    CREATE INDEX events_by_actor ON events (tenant_id, actor, seq);
    CREATE INDEX events_by_token ON events (tenant_id, token_id, seq) WHERE actor <> token_id::text;
    CREATE INDEX events_refused_for_user ON events (tenant_id, (data ->> 'user_id'), seq)
        WHERE type = 'RequestRefused';
    CREATE INDEX events_refused_for_name ON events (tenant_id, lower(data -> 'subject' ->> 'userName'), seq)
        WHERE type = 'RequestRefused';
    DO $$
    BEGIN
        GRANT DELETE ON history TO rollbook_service;
    EXCEPTION WHEN undefined_table THEN
        NULL;  -- it is made later on, by this version
    END
    $$;
"""

_INSTALLED = "INSERT INTO projections (name, version, is_follower) VALUES ($1, $2, $3)"

# Roles belong to the whole server: another database's store may have made them, or be making them now. Auditors are
# members of the last one.
_ROLES = """
    DO $$
    BEGIN
        IF to_regrole('rollbook_owner') IS NULL THEN
            CREATE ROLE rollbook_owner NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END
    $$;
    DO $$
    BEGIN
        IF to_regrole('rollbook_service') IS NULL THEN
            CREATE ROLE rollbook_service LOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END
    $$;
    DO $$
    BEGIN
        IF to_regrole('rollbook_auditor') IS NULL THEN
            CREATE ROLE rollbook_auditor NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
    END
    $$;
    -- A superuser needs no membership; another creator of roles has the right to give it to itself.
    DO $$
    BEGIN
        IF NOT pg_has_role(current_user, 'rollbook_owner', 'SET') THEN
            EXECUTE format('GRANT rollbook_owner TO %I', current_user);
        END IF;
    END
    $$;
"""

_SCHEMA = """
    CREATE SCHEMA rollbook AUTHORIZATION rollbook_owner;
    GRANT USAGE ON SCHEMA rollbook TO rollbook_service;
"""
