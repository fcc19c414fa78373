"""The schema `audit`: views and functions for auditors, as this program has them, through installation and replay."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from projections.target import targets

PATIENCE = "2s"  # everybody who reads a view waits behind us while we wait for those who do

_FOLDER = Path(__file__).parent
_VIEWS = (_FOLDER / "audit.sql").read_text()
_FUNCTIONS = (_FOLDER / "audit_functions.sql").read_text()


class ViewsInUseError(Exception):
    """The views could not be brought up to date: somebody reads them, or has made views of them that do not fit."""


@dataclass(frozen=True)
class View:
    """One of audit.sql: its name, and what follows it there."""

    name: str
    body: str

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(re.findall(r"\brollbook\.(\w+)", self.body))


@dataclass(frozen=True)
class Function:
    """One of audit_functions.sql: its name, and what follows it there."""

    name: str
    body: str


VIEWS = tuple(
    View(*found) for found in re.findall(r"^CREATE VIEW audit\.(\w+) (.*?);$", _VIEWS, re.MULTILINE | re.DOTALL)
)
FUNCTIONS = tuple(
    Function(*found)
    for found in re.findall(r"^CREATE FUNCTION audit\.(\w+)(\(.*?^\$\$);$", _FUNCTIONS, re.MULTILINE | re.DOTALL)
)
_FINGERPRINT = hashlib.sha256((_VIEWS + _FUNCTIONS).encode()).hexdigest()


async def install_views(connection: asyncpg.Connection) -> None:
    """Make the views and functions what they are in this program, in the caller's transaction, as the store's owner.

    Those of tables that have yet to be rebuilt for this program are left to the swap. Raises ViewsInUseError.
    """
    if await connection.fetchval(_IS_CURRENT, _FINGERPRINT, [each.name for each in VIEWS]):
        return
    outdated = await _outdated_tables(connection)
    try:
        await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        await _put([each for each in VIEWS if not each.reads & outdated], connection)
    except (asyncpg.LockNotAvailableError, asyncpg.DependentObjectsStillExistError) as error:
        raise ViewsInUseError(error.detail or str(error)) from None
    await connection.execute("GRANT USAGE ON SCHEMA audit TO rollbook_auditor")
    if not outdated:
        await connection.execute(f"COMMENT ON SCHEMA audit IS '{_FINGERPRINT}'")


async def views_of(connection: asyncpg.Connection, tables: Sequence[str]) -> Sequence[str]:
    """The names of the store's own views that read these of its tables."""
    return [row["relname"] for row in await connection.fetch(_VIEWS_OF, tables)]


async def definitions_of(connection: asyncpg.Connection, views: Sequence[str]) -> Sequence[str]:
    """The statements that make these views what they are, with the tables that have these names by then."""
    return [row["statement"] for row in await connection.fetch(_DEFINITIONS, views)]


async def put_views_of(connection: asyncpg.Connection, tables: Sequence[str]) -> None:
    """Make the views of these tables what they are in this program."""
    await _put([each for each in VIEWS if each.reads & frozenset(tables)], connection)


async def _put(views: Sequence[View], connection: asyncpg.Connection) -> None:
    for view in views:
        await _put_view(connection, view)
        await connection.execute(f"GRANT SELECT ON audit.{view.name} TO rollbook_auditor")
    # Views that they read may have to wait for their tables.
    await connection.execute("SET LOCAL check_function_bodies = off")
    for function in FUNCTIONS:
        await _put_function(connection, function)


async def _put_view(connection: asyncpg.Connection, view: View) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"CREATE OR REPLACE VIEW audit.{view.name} {view.body}")
    except asyncpg.InvalidTableDefinitionError:  # columns went away, or got other types
        for each in FUNCTIONS:  # which return rows of it
            await connection.execute(f"DROP FUNCTION IF EXISTS audit.{each.name}")
        await connection.execute(f"DROP VIEW audit.{view.name}; CREATE VIEW audit.{view.name} {view.body}")


async def _put_function(connection: asyncpg.Connection, function: Function) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"CREATE OR REPLACE FUNCTION audit.{function.name}{function.body}")
    except asyncpg.InvalidFunctionDefinitionError:  # it gives other columns, or takes other names
        await connection.execute(
            f"DROP FUNCTION audit.{function.name}; CREATE FUNCTION audit.{function.name}{function.body}"
        )


async def _outdated_tables(connection: asyncpg.Connection) -> frozenset[str]:
    rows = await connection.fetch("SELECT name, version FROM rollbook.projections")
    installed = {row["name"]: row["version"] for row in rows}
    return frozenset(
        table.name
        for target in targets()
        for name, tables in target.tables.items()
        if installed.get(name) != target.versions[name]
        for table in tables
    )


_IS_CURRENT = """
    SELECT obj_description('audit'::regnamespace, 'pg_namespace') IS NOT DISTINCT FROM $1
        AND NOT EXISTS (SELECT FROM unnest($2::text[]) AS name WHERE to_regclass('audit.' || name) IS NULL)
"""

_VIEWS_OF = """
    SELECT DISTINCT view.relname
    FROM pg_depend
    JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND pg_rewrite.oid = objid
    JOIN pg_class AS view ON view.oid = ev_class
    WHERE refclassid = 'pg_class'::regclass
        AND refobjid IN (SELECT to_regclass('rollbook.' || name) FROM unnest($1::text[]) AS name)
        AND view.relnamespace = to_regnamespace('audit')
        AND view.relowner = 'rollbook_owner'::regrole
    ORDER BY view.relname
"""

# Names of tables are whole in it, for rollbook is not on the search path.
_DEFINITIONS = """
    SELECT format(
        'CREATE OR REPLACE VIEW audit.%I%s AS %s',
        relname,
        ' WITH (' || array_to_string(reloptions, ', ') || ')',
        pg_get_viewdef(oid)
    ) AS statement
    FROM pg_class
    WHERE relnamespace = to_regnamespace('audit') AND relname = ANY ($1)
    ORDER BY relname
"""
