"""`rollbook erase`: erases a person's data for good, after asking."""

import asyncio
import sys
from pathlib import Path
from uuid import UUID

import msgspec
import typer

from api.composition import open_services
from ops import administration
from ops.database import open_database
from ops.trouble import Trouble
from projections.certificate import Basis, Certificate


def erase(tenant: str, user_id: UUID, basis: Basis | None, data: Path, *, is_certain: bool) -> None:
    """Print the certificate. Raises Trouble if nobody can be asked, and Abort if somebody says no."""
    if not is_certain:
        _ask(user_id)

    async def run(service_url: str) -> Certificate:
        async with open_services(service_url, connections=2) as services:
            tenant_id = await administration.existing_tenant_id(services, tenant)
            return await services.erasures.erase(user_id, administration.cause(tenant_id), basis)

    with open_database(data) as database:
        certificate = asyncio.run(run(database.service_url))
    typer.echo(msgspec.json.format(msgspec.json.encode(certificate)).decode())


def _ask(user_id: UUID) -> None:
    if not sys.stdin.isatty():
        raise Trouble("An erasure cannot be undone. Say that you mean it with --yes.")
    # On standard error, all of it: what the command prints is the certificate, and may go to a file.
    sys.stderr.write(
        f"Erase everything that is known of {user_id}, in every event and table? It cannot be undone. [y/N] "
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Abort
