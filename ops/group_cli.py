"""`rollbook group`: the groups of a tenant, and the roles that they give to their members."""

from typing import Annotated
from uuid import UUID

import typer

from api.services import Services
from engine.tenant import MapGroup
from ops import administration
from ops.options import Data, TenantName
from ops.serve import DATA
from ops.store import with_services
from ops.tables import show_table
from ops.trouble import Trouble

AT_ONCE = 1_000  # groups that are read together

app = typer.Typer(help="Groups of a tenant, and the roles that they give.", no_args_is_help=True, rich_markup_mode=None)

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="The group's id, or its displayName.")]


@app.command("list")
def list_groups(tenant: TenantName, data: Data = DATA) -> None:
    """List a tenant's groups: how many members each has directly, and the role that it gives."""

    async def work(services: Services) -> list[list[str]]:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        roles = {each.group: each.role for each in (await administration.settings_of(services, tenant_id)).role_groups}
        rows, after = [], None
        while found := await services.groups.listed(tenant_id, after, AT_ONCE):
            rows += [
                [str(each.id), each.display_name, each.external_id or "-", f"{each.members:,}", roles.pop(each.id, "-")]
                for each in found
            ]
            after = found[-1].id
        return [*rows, *([str(group_id), "(deleted)", "-", "0", role] for group_id, role in roles.items())]

    show_table(["id", "displayName", "externalId", "members", "role"], with_services(data, work))


@app.command("map")
def map_group(
    group: GroupName,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The value of one of the tenant's roles.")],
    tenant: TenantName,
    data: Data = DATA,
) -> None:
    """Give everybody in a group a role, at least; also to those who join later. The highest role wins."""
    typer.echo(f"Mapped {_carried_out(group, role, tenant, data)} to the role {role}.")


@app.command("unmap")
def unmap_group(group: GroupName, tenant: TenantName, data: Data = DATA) -> None:
    """Let a group give no role any more."""
    typer.echo(f"Unmapped {_carried_out(group, None, tenant, data)}.")


def _carried_out(group: str, role: str | None, tenant: str, data: Data) -> UUID:
    async def work(services: Services) -> UUID:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        group_id = await _group_id(services, tenant_id, group, tenant)
        await services.engine.map_group(MapGroup(group_id, role), administration.cause(tenant_id))
        return group_id

    return with_services(data, work)


async def _group_id(services: Services, tenant_id: UUID, name: str, tenant: str) -> UUID:
    """The group of that id or name; one that was deleted, too, if it is mapped. Raises Trouble."""
    found = await services.groups.named(tenant_id, name)
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(map(str, found))
        raise Trouble(f"{len(found)} groups have the name {name!r}; give the id of one of them: {ids}")
    mapped = (await administration.settings_of(services, tenant_id)).role_groups
    gone = next((each.group for each in mapped if str(each.group) == name.lower()), None)
    if gone is None:
        raise Trouble(f"There is no group {name!r} in this tenant. See: rollbook group list --tenant {tenant}")
    return gone
