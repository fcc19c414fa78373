"""`rollbook schema`: a tenant's own schemas, which extend its users or its groups."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.services import Services
from engine import extensions
from engine.settings import Extension
from engine.tenant import AddSchema, RemoveSchema
from ops import administration
from ops.options import Data, TenantName
from ops.serve import DATA
from ops.store import with_services
from ops.tables import show_table
from ops.trouble import Trouble

LARGEST = 1_048_576  # bytes

app = typer.Typer(help="A tenant's own schemas.", no_args_is_help=True, rich_markup_mode=None)


class Resource(StrEnum):
    """What a schema extends."""

    USER = "user"
    GROUP = "group"


@app.command("add")
def add_schema(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The schema as JSON, in the form of RFC 7643 section 7.")
    ],
    tenant: TenantName,
    resource: Annotated[Resource, typer.Option("--for", help="What it extends.")] = Resource.USER,
    data: Data = DATA,
) -> None:
    """Add a schema to a tenant; each worker knows it within 5 seconds."""
    schema = extensions.read(_document(file))
    new = Extension(schema, "Group" if resource is Resource.GROUP else "User")

    async def work(services: Services) -> None:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        await services.engine.administer(AddSchema(new), administration.cause(tenant_id))

    with_services(data, work)
    typer.echo(f"Added {schema.id} with {len(schema.attributes)} attributes.")


def _document(file: Path) -> object:
    try:
        if file.stat().st_size > LARGEST:
            raise Trouble(f"{file} is larger than {LARGEST} bytes, which no schema is.")
        return msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise Trouble(f"{file} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Trouble(f"{file} is not JSON: {error}.") from None


@app.command("list")
def list_schemas(tenant: TenantName, data: Data = DATA) -> None:
    """List a tenant's own schemas."""

    async def work(services: Services) -> list[list[str]]:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        return [
            [each.schema.id, each.resource, ",".join(one.name for one in each.schema.attributes)]
            for each in (await administration.settings_of(services, tenant_id)).schemas
        ]

    show_table(["URN", "for", "attributes"], with_services(data, work))


@app.command("remove")
def remove_schema(
    urn: Annotated[str, typer.Argument(metavar="URN", help="The schema's URN, from: rollbook schema list")],
    tenant: TenantName,
    data: Data = DATA,
) -> None:
    """Remove a schema from a tenant. Stored values are hidden, and shown again if it is added again."""

    async def work(services: Services) -> None:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        await services.engine.administer(RemoveSchema(urn), administration.cause(tenant_id))

    with_services(data, work)
    typer.echo(f"Removed {urn}.")
