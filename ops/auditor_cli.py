"""`rollbook auditor`: logins for auditors who bring their own SQL."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, TypeVar

import asyncpg
import typer

from ops.auditor_doors import close_doors, open_doors
from ops.auditors import Auditors
from ops.database import OWNER_URL, Database, open_database, role_url
from ops.options import Data, TenantName
from ops.serve import DATA
from ops.tables import show_table
from ops.trouble import Trouble
from projections.connections import connected

app = typer.Typer(help="Logins for auditors who bring their own SQL.", no_args_is_help=True, rich_markup_mode=None)

T = TypeVar("T")

AuditorName = Annotated[str, typer.Argument(metavar="NAME", help="The role that the auditor logs in as.")]
TenantNames = Annotated[
    list[str], typer.Option("--tenant", metavar="NAME", help="A tenant that the auditor may read; repeatable.")
]


@app.command("create")
def create_auditor(name: AuditorName, tenant: TenantNames, data: Data = DATA) -> None:
    """Make a login that may read the schema audit, and print its address, and its password this once."""
    with open_database(data) as database:
        password = _with_auditors(database, lambda auditors: auditors.create(name, tenant))
        asyncio.run(_tell_doors(database))
        if database.embedded:
            typer.echo(database.embedded.url(name))
            typer.echo("The embedded PostgreSQL asks for no password: let nobody into its folder.", err=True)
        else:
            typer.echo(role_url(database.owner_url, name))
            typer.echo(f"password: {password}")


async def _tell_doors(database: Database) -> None:
    """What everybody may do is taken away in a PostgreSQL of our own; in another one, that is not ours to decide."""
    async with connected(database.owner_url) as connection:
        if database.embedded:
            await close_doors(connection)
        elif statements := await open_doors(connection):
            typer.echo(
                "Everybody who logs in here may do more than read, and so may auditors. Unless other programs in this "
                "database need that, take it away:",
                err=True,
            )
            for statement in statements:
                typer.echo(f"{statement};", err=True)


@app.command("list")
def list_auditors(data: Data = DATA) -> None:
    """List what auditors may read, or might read once."""
    with open_database(data) as database:
        grants = _with_auditors(database, lambda auditors: auditors.list())
    show_table(
        ["name", "tenant", "granted (UTC)", "by", "revoked", "login"],
        [
            [
                each.role,
                each.tenant,
                _moment(each.granted_at),
                each.granted_by,
                _moment(each.revoked_at),
                "yes" if each.can_log_in else "no",
            ]
            for each in grants
        ],
    )


@app.command("grant")
def grant_tenant(name: AuditorName, tenant: TenantName, data: Data = DATA) -> None:
    """Let an auditor read another tenant."""
    with open_database(data) as database:
        _with_auditors(database, lambda auditors: auditors.grant(name, tenant))
    typer.echo(f"{name} may read {tenant}.")


@app.command("revoke")
def revoke_tenant(name: AuditorName, tenant: TenantName, data: Data = DATA) -> None:
    """Let an auditor no longer read a tenant, from the next statement on."""
    with open_database(data) as database:
        _with_auditors(database, lambda auditors: auditors.revoke(name, tenant))
    typer.echo(f"{name} may no longer read {tenant}.")


@app.command("drop")
def drop_auditor(name: AuditorName, data: Data = DATA) -> None:
    """Take an auditor's login away; what it was granted stays on record."""
    with open_database(data) as database:
        _with_auditors(database, lambda auditors: auditors.drop(name))
    typer.echo(f"Dropped {name}.")


def _with_auditors(database: Database, work: Callable[[Auditors], Awaitable[T]]) -> T:
    async def run() -> T:
        async with connected(database.owner_url) as connection:
            return await work(Auditors(connection))

    try:
        return asyncio.run(run())
    except asyncpg.InsufficientPrivilegeError as error:
        raise Trouble(
            f"The role in {OWNER_URL} cannot manage auditors ({str(error).splitlines()[0]}). It needs CREATEROLE, and "
            f"the ADMIN option on rollbook_auditor and on the auditor's own role."
        ) from None


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"
