"""The command `rollbook`."""

import asyncio
import os
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, cast, get_args
from uuid import UUID

import msgspec
import typer

from api.services import Services
from engine.refusals import Refusal
from engine.settings import Role
from engine.tenant import ChangeSettings, RegisterTenant
from ops import (
    administration,
    auditor_cli,
    bench,
    bench_replay,
    demo,
    erase,
    follow,
    ledger_cli,
    logs,
    replay,
    retention,
    roster,
    token_cli,
)
from ops import serve as service
from ops.audit_cli import app as audit_app
from ops.database import open_database
from ops.entra_cli import app as entra_app
from ops.evidence_cli import verify_command
from ops.group_cli import app as group_app
from ops.options import Data, TenantName
from ops.schema_cli import app as schema_app
from ops.serve import DATA
from ops.store import with_services
from ops.tables import show_table
from ops.trouble import Trouble
from projections import target as rebuilt
from projections.certificate import Basis
from projections.follower import FOLLOWERS
from projections.followers import FollowerStatus

app = typer.Typer(
    help="Receives people from a company's directory over SCIM 2.0, keeps every change as an event, and counts seats.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tenant_app = typer.Typer(help="Customer organisations.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(tenant_app, name="tenant")
app.add_typer(token_cli.app, name="token")
app.add_typer(schema_app, name="schema")
app.add_typer(group_app, name="group")
app.add_typer(entra_app, name="entra")
app.add_typer(audit_app, name="audit")
app.command("verify")(verify_command)
app.add_typer(ledger_cli.app, name="ledger")
app.add_typer(auditor_cli.app, name="auditor")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many processes answer requests.")] = 1,
    data: Data = DATA,
) -> None:
    """Run the service, and its Postgres unless ROLLBOOK_DATABASE_URL names one."""
    service.serve(host, port, workers, data)


@tenant_app.command("create")
def create_tenant(name: Annotated[str, typer.Argument(help="A name for it, unique here.")], data: Data = DATA) -> None:
    """Register a customer organisation."""

    async def work(services: Services) -> str:
        tenant_id = await administration.tenant_id_of(services, name)
        return (await services.engine.administer(RegisterTenant(name), administration.cause(tenant_id))).name

    created = with_services(data, work, create=True)
    typer.echo(f"Created the tenant {created}. Next: rollbook token issue --tenant {shlex.quote(created)} --name NAME")


@tenant_app.command("list")
def list_tenants(data: Data = DATA) -> None:
    """List the tenants with their settings."""

    async def work(services: Services) -> list[list[str]]:
        return [
            [each.name, str(each.id), f"{each.created_at:%Y-%m-%d %H:%M}", _settings_text(each.settings)]
            for each in await services.tenants.list()
        ]

    show_table(["name", "id", "created (UTC)", "settings"], with_services(data, work))


def _settings_text(settings: object) -> str:
    values: dict[str, Any] = msgspec.to_builtins(settings)
    values["schemas"] = len(values["schemas"])
    values["role_groups"] = len(values["role_groups"])
    del values["former_schemas"]
    values["roles"] = ",".join(role["value"] for role in values["roles"])
    return " ".join(f"{name}={'none' if value is None else value}" for name, value in values.items())


# What SCIM lets a value be; the product asks for more.
OF_SCIM = {"email_case": "keep", "name_characters": "any"}


@tenant_app.command("set")
def set_tenant(  # noqa: PLR0913, PLR0917  one option for each setting
    name: Annotated[str, typer.Argument(help="The tenant's name.")],
    mode: Annotated[
        str | None,
        typer.Option(metavar="entra|strict", help="Are the dialects of directories understood, or strict SCIM alone?"),
    ] = None,
    email_case: Annotated[
        str | None, typer.Option(metavar="keep|lower", help="Must addresses be lower case, or are they kept as sent?")
    ] = None,
    name_characters: Annotated[
        str | None, typer.Option(metavar="any|plain", help="May names hold special characters?")
    ] = None,
    unknown_role: Annotated[
        str | None, typer.Option(metavar="refuse|ignore", help="What to do with a role that is none of the tenant's.")
    ] = None,
    seat_limit: Annotated[
        str | None, typer.Option(metavar="N|none", help="How many active users there may be at most.")
    ] = None,
    groups: Annotated[
        str | None, typer.Option(metavar="on|off", help="Are groups taken from the directory, or refused?")
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE[=DISPLAY NAME]",
            help="The tenant's own roles, most powerful first; the last is given where the directory names none.",
        ),
    ] = None,
    data: Data = DATA,
) -> None:
    """Change settings of a tenant; each change is an event."""
    given: dict[str, Any] = {
        "mode": mode,
        "email_case": email_case,
        "name_characters": name_characters,
        "unknown_role": unknown_role,
        "groups": groups,
    }
    values = {setting: value for setting, value in given.items() if value is not None}
    if mode == "strict":
        values = OF_SCIM | values
    if seat_limit is not None:
        values["seat_limit"] = _seat_limit(seat_limit)
    if role:
        values["roles"] = [_role(text) for text in role]
    if not values:
        raise Trouble("Nothing to set. See: rollbook tenant set --help")

    async def work(services: Services) -> str:
        tenant_id = await administration.existing_tenant_id(services, name)
        changed = await services.engine.administer(ChangeSettings(values), administration.cause(tenant_id))
        return _settings_text(changed.settings)

    typer.echo(with_services(data, work))


def _seat_limit(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Trouble(f"--seat-limit takes a whole number or none, not {text!r}.")
    return int(text)


def _role(text: str) -> dict[str, str]:
    value, _, display = text.partition("=")
    role = Role(value.strip(), display.strip() or value.strip().capitalize())
    return {"value": role.value, "display": role.display}


@app.command("replay")
def replay_command(  # noqa: PLR0913, PLR0917  what an operator can choose
    projection: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROJECTION",
            help="users, seats, groups, members, tenants, tokens, or a follower (rollbook followers lists them).",
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare only; exit 1 if anything differs.")] = False,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="How many processes build.")] = replay.JOBS,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted replay stopped.")] = False,
    to_seq: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Write the people as they were after this event.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="TIME", help="Write the people as they were then, as 2026-11-23T09:00:00Z.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write them: .ndjson or .csv, by its name.")
    ] = None,
    data: Data = DATA,
) -> None:
    """Rebuild projections from the events alone while the service runs, or write the people as they once were."""
    if to_seq is not None or as_of is not None or into is not None:
        if projection or check or resume:
            raise Trouble("--as-of and --to-seq write a file; they take --into and --tenant, and nothing else.")
        _write_roster(to_seq, as_of, into, tenant, data)
        return
    try:
        targets = rebuilt.targets(projection or ())
    except rebuilt.UnknownProjectionError as error:
        raise Trouble(str(error)) from None
    with open_database(data) as database:
        tenant_id = asyncio.run(replay.tenant_id_of(database.owner_url, tenant)) if tenant is not None else None
        raise typer.Exit(replay.run(database.owner_url, targets, tenant_id, check=check, resume=resume, jobs=jobs))


def _write_roster(to_seq: int | None, as_of: str | None, into: Path | None, tenant: str | None, data: Path) -> None:
    if into is None or (to_seq is None) == (as_of is None):
        raise Trouble("To write a file, give --into FILE and either --as-of TIME or --to-seq N.")
    if to_seq is not None and tenant is None:
        raise Trouble("--to-seq needs --tenant: each tenant has a log of its own.")
    moment = roster.moment_of(as_of) if as_of is not None else to_seq or 0
    with open_database(data) as database:
        typer.echo(asyncio.run(roster.write_roster(database.service_url, tenant, moment, into)))


@app.command("erase")
def erase_command(
    tenant: TenantName,
    user: Annotated[UUID, typer.Option(metavar="ID", help="The person's id.")],
    basis: Annotated[
        str | None, typer.Option(metavar="a|b|c|d|e|f", help="The letter of article 17(1) GDPR, for the record.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = DATA,
) -> None:
    """Erase a person's data for good (GDPR article 17), and print the certificate."""
    if basis is not None and basis not in get_args(Basis):
        raise Trouble(f"--basis takes a letter of article 17(1), a to f, not {basis!r}.")
    erase.erase(tenant, user, cast(Basis | None, basis), data, is_certain=yes)


@app.command("follow")
def follow_command(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"{', '.join(each.name for each in FOLLOWERS)}; or all.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="How many processes follow.")] = 1,
    data: Data = DATA,
) -> None:
    """Keep followers up to date until stopped, beside those that follow already. The service does this by itself."""
    followers = follow.followers_named(name or ())
    retention.request_log_days()
    logs.configure()
    with open_database(data) as database:
        follow.prepare_signing(database, data)
        typer.echo(f"Following: {', '.join(each.name for each in followers)}. Stop with Ctrl-C.", err=True)
        follow.until_stopped(database, followers, jobs, data)


@app.command("followers")
def followers_command(data: Data = DATA) -> None:
    """List the followers: how far they are behind, and what keeps them."""

    async def work(services: Services) -> Sequence[FollowerStatus]:
        return await services.followers.status()

    found = with_services(data, work)
    show_table(*follow.table_of(found))
    for line in follow.parked_lines(found):
        typer.echo(line)


@app.command("prune")
def prune_command(
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            min=1,
            max=retention.MOST_DAYS,
            help="How many days to keep besides today. Default: ROLLBOOK_REQUEST_LOG_DAYS, or 90.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
    data: Data = DATA,
) -> None:
    """Delete old days of the request log now. The service does this by itself every hour."""
    keep_days = keep or retention.request_log_days()
    with open_database(data) as database:
        pruned = retention.prune_now(database.owner_url, keep_days, dry_run=dry_run)
    if pruned:
        show_table(*retention.table_of(pruned))
    requests = sum(each.requests for each in pruned)
    typer.echo(f"{'Would delete' if dry_run else 'Deleted'} {len(pruned):,} days with {requests:,} requests.")


@app.command("demo")
def demo_command() -> None:
    """Watch a simulated directory provision 200 people into a throwaway store."""
    demo.run()


class Benchmark(StrEnum):
    """What can be measured."""

    REQUESTS = "requests"
    REPLAY = "replay"


@app.command("bench")
def bench_command(
    what: Annotated[Benchmark, typer.Argument(help="What to measure.")] = Benchmark.REQUESTS,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs, for trying the benchmark out.")] = False,
) -> None:
    """Measure requests against a bare Starlette server, or replay against COPY, in a throwaway store; as ratios."""
    (bench if what is Benchmark.REQUESTS else bench_replay).run(quick=quick)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed_version("rollbook"))


def main() -> None:
    """Run the command line; what an operator can mend is one line on standard error and exit code 2."""
    try:
        app()
    except (Trouble, Refusal) as error:
        typer.echo(f"rollbook: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
