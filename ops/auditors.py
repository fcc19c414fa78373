"""Auditors: roles that log in and read the schema `audit`, each for its tenants, and who was given what when."""

import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from ops import scram
from ops.roster import tenants_named
from ops.trouble import Trouble

_NAME = re.compile(r"(?!pg_|rollbook_|public$|none$)[a-z][a-z0-9_]{0,62}")

CONNECTIONS = 5
# What a session starts with, and may change: its rights are what keeps it from writing, and not the first of these.
DEFAULTS = {
    "default_transaction_read_only": "on",
    "search_path": "audit",
    "statement_timeout": "5min",
    # Replay waits for whoever reads what it replaces.
    "idle_in_transaction_session_timeout": "1min",
    "lock_timeout": "10s",
}
TEMPORARY_FILES = "4GB"  # of sorts and the like, on the disk that the service needs, too; only a superuser can set it


class Grant(Struct, frozen=True):
    """That an auditor may, or might, read a tenant. `can_log_in` says whether the role is still there."""

    role: str
    tenant: str
    granted_at: datetime
    granted_by: str
    revoked_at: datetime | None
    can_log_in: bool


class Auditors:
    """The auditors of a store, through a connection that may create roles and act as the store's owner."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def create(self, name: str, tenants: Sequence[str]) -> str:
        """A new login's password, which is nowhere but in what this returns.

        Raises Trouble if the name cannot be one or is taken, or there is no such tenant.
        """
        if not _NAME.fullmatch(name):
            raise Trouble(
                "An auditor's name has up to 63 lower-case letters, digits and underscores, begins with a letter, and "
                "not with pg_ or rollbook_."
            )
        tenant_ids = [await self._tenant_id(each) for each in tenants]
        password = secrets.token_urlsafe(24)
        async with self._connection.transaction():
            await self._create_role(name, password)
            # Of a role of this name that was dropped past us, or that a restored dump knows.
            await self._connection.execute(_REVOKE_ALL, name, _actor())
            for tenant_id in dict.fromkeys(tenant_ids):
                await self._connection.execute(_GRANT, tenant_id, name, _actor())
        return password

    async def _create_role(self, name: str, password: str) -> None:
        role = _quoted(name)
        try:
            await self._connection.execute(
                f"CREATE ROLE {role} LOGIN PASSWORD '{scram.verifier(password)}' CONNECTION LIMIT {CONNECTIONS} "
                f"IN ROLE rollbook_auditor"
            )
        except asyncpg.DuplicateObjectError:
            raise Trouble(
                f"This PostgreSQL has a role {name} already. Choose another name or, if it is an auditor: "
                f"rollbook auditor grant"
            ) from None
        for setting, value in DEFAULTS.items():
            await self._connection.execute(f"ALTER ROLE {role} SET {setting} = '{value}'")
        if await self._connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            await self._connection.execute(f"ALTER ROLE {role} SET temp_file_limit = '{TEMPORARY_FILES}'")

    async def grant(self, name: str, tenant: str) -> None:
        """Let an auditor read a tenant. Raises Trouble if there is no such auditor or tenant, or he may already."""
        if not await self._connection.fetchval(_IS_AUDITOR, name):
            raise _no_auditor(name)
        try:
            await self._connection.execute(_GRANT, await self._tenant_id(tenant), name, _actor())
        except asyncpg.UniqueViolationError:
            raise Trouble(f"{name} may read {tenant} already.") from None

    async def revoke(self, name: str, tenant: str) -> None:
        """Let an auditor no longer read a tenant. Raises Trouble if he may not anyway."""
        if not await self._connection.fetch(_REVOKE, name, await self._tenant_id(tenant), _actor()):
            raise Trouble(f"{name} may not read {tenant} anyway. See: rollbook auditor list")
        await self._end_sessions(name)

    async def drop(self, name: str) -> None:
        """Let an auditor read nothing any more, and take the login away. Raises Trouble if it is none, or stays."""
        if not await self._connection.fetchval(_IS_KNOWN, name):
            raise _no_auditor(name)
        await self._connection.execute(_REVOKE_ALL, name, _actor())
        await self._end_sessions(name)
        try:
            await self._connection.execute(f"DROP ROLE IF EXISTS {_quoted(name)}")
        except asyncpg.DependentObjectsStillExistError as error:
            raise Trouble(
                f"{name} may read no tenant any more, but the role cannot be dropped, because somebody gave it other "
                f"rights ({' '.join(str(error.detail).split())}). Revoke those, and drop it again."
            ) from None

    async def list(self) -> Sequence[Grant]:
        """Every grant ever given."""
        return [Grant(*row.values()) for row in await self._connection.fetch(_GRANTS)]

    async def _tenant_id(self, name: str) -> UUID:
        [(_, tenant_id)] = await tenants_named(self._connection, name)
        return tenant_id

    async def _end_sessions(self, name: str) -> None:
        """What they ask for from now on is answered with nothing; this ends what is under way, if we may."""
        with suppress(asyncpg.InsufficientPrivilegeError):
            await self._connection.execute(_END_SESSIONS, name)


def _actor() -> str:
    """As in events: a name would be personal data."""
    return f"uid:{os.getuid()}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _no_auditor(name: str) -> Trouble:
    return Trouble(f"There is no auditor {name}. Those that there are: rollbook auditor list")


_GRANT = "INSERT INTO rollbook.auditors (tenant_id, role, granted_by) VALUES ($1, $2, $3)"

_REVOKE = """
    UPDATE rollbook.auditors
    SET revoked_at = clock_timestamp(), revoked_by = $3
    WHERE role = $1 AND tenant_id = $2 AND revoked_at IS NULL
    RETURNING tenant_id
"""

_REVOKE_ALL = """
    UPDATE rollbook.auditors
    SET revoked_at = clock_timestamp(), revoked_by = $2
    WHERE role = $1 AND revoked_at IS NULL
"""

# Of this store or of another one on the same server; nobody who has other rights here.
_IS_AUDITOR = """
    SELECT EXISTS (
        SELECT
        FROM pg_roles
        WHERE rolname = $1
            AND rolcanlogin
            AND NOT rolsuper
            AND pg_has_role(oid, 'rollbook_auditor', 'USAGE')
            AND NOT pg_has_role(oid, 'rollbook_owner', 'MEMBER')
    )
"""

_IS_KNOWN = "SELECT EXISTS (SELECT FROM rollbook.auditors WHERE role = $1)"

_GRANTS = """
    SELECT
        auditors.role,
        coalesce(tenants.name, auditors.tenant_id::text),
        auditors.granted_at,
        auditors.granted_by,
        auditors.revoked_at,
        pg_roles.oid IS NOT NULL
    FROM rollbook.auditors
    LEFT JOIN rollbook.tenants ON tenants.tenant_id = auditors.tenant_id
    LEFT JOIN pg_roles ON pg_roles.rolname = auditors.role
    ORDER BY auditors.role, auditors.granted_at, 2
"""

_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()"
