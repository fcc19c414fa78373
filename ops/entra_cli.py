"""`rollbook entra`: what an admin sets up in Entra."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.services import Services
from engine import entra_schema
from ops import administration
from ops.files import new_file
from ops.options import Data, TenantName
from ops.serve import DATA
from ops.store import with_services
from ops.trouble import Trouble

app = typer.Typer(help="What is set up in Entra.", no_args_is_help=True, rich_markup_mode=None)


@app.command("merge-mapping")
def merge_mapping(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The schema that was downloaded from Entra.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write it, instead of printing.")] = None,
    groups: Annotated[bool, typer.Option("--groups", help="Leave the mapping of groups as it is.")] = False,
) -> None:
    """Merge our attribute mapping into a schema downloaded from Entra, keeping everything else."""
    try:
        document = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise Trouble(f"Cannot read {file} ({error.strerror}).") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Trouble(f"{file} is not JSON. Download the schema anew, and leave it as it is.") from None
    found = entra_schema.merged(document, with_groups=groups)
    text = msgspec.json.format(msgspec.json.encode(found.document), indent=2)
    if output is None:
        typer.echo(text.decode())
    else:
        with new_file(output) as writing:
            writing.write(text + b"\n")
    for each in found.changes or ("Nothing to change: our mapping is all there.",):
        typer.echo(each, err=True)


@app.command("app-roles")
def app_roles(tenant: TenantName, data: Data = DATA) -> None:
    """Print the app roles of a tenant's roles, for the manifest of the app registration."""

    async def work(services: Services) -> list[entra_schema.Json]:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        found = await services.tenants.get(tenant_id)
        return entra_schema.app_roles(tenant_id, found.settings.roles) if found else []

    typer.echo(msgspec.json.format(msgspec.json.encode(with_services(data, work)), indent=2).decode())
