"""`rollbook audit evidence` and `rollbook verify`."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from api.evidence import Query
from ops import verify
from ops.evidence import export
from ops.options import Data, TenantName
from ops.roster import moment_of
from ops.serve import DATA
from ops.trouble import Trouble

Notes = Annotated[
    list[Path] | None, typer.Option("--checkpoint", metavar="NOTE", help="Files with checkpoints that you hold.")
]


def evidence(  # noqa: PLR0913, PLR0917  what an auditor can choose
    tenant: TenantName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
    user: Annotated[UUID | None, typer.Option(metavar="ID", help="All events of this person.")] = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="TIME", help="All events from this time on.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Together with --from: before this time.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="The whole log.")] = False,
    checkpoint: Notes = None,
    data: Data = DATA,
) -> None:
    """Write events with their proofs into one file, which `rollbook verify` checks without any database."""
    if sum((user is not None, from_ is not None or to is not None, all_)) != 1 or (from_ is None) != (to is None):
        raise Trouble("Say which events: --user ID, or --from TIME and --to TIME, or --all.")
    query = Query(user)
    if from_ is not None and to is not None:
        query = Query(start=moment_of(from_, "--from"), end=moment_of(to, "--to"))
        if query.start and query.end and query.start >= query.end:
            raise Trouble("--from must be before --to.")
    typer.echo(export(tenant, query, out, checkpoint or [], data))


def verify_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The evidence.")],
    checkpoint: Notes = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The key that you trust: its text, or its SHA-256.")
    ] = None,
) -> None:
    """Check an evidence file, offline. Exits 0 if all holds, 1 if a content differs, 2 if a proof fails, 3 if a
    signature fails, 4 if something is missing."""
    try:
        code, lines = verify.verify(file, checkpoint or [], key)
    except OSError as error:
        typer.echo(f"rollbook: {error.filename} cannot be read ({error.strerror}).", err=True)
        raise typer.Exit(verify.NO_INPUT) from None
    for line in lines:
        typer.echo(line)
    raise typer.Exit(code)
