"""What the benchmark of groups works on: a group of a hundred thousand members, and some of ten."""

import asyncio
import itertools
from collections.abc import Iterator
from uuid import UUID

import msgspec
from msgspec import Struct
from uuid_utils.compat import uuid7

from api.gate import REMEMBERED
from api.services import Services
from engine.group import ProvisionGroup
from engine.resource import Values
from engine.tenant import ChangeSettings
from ops import administration
from ops.load import prepared

FEW = 10  # members of a small group
SMALL_GROUPS = 200  # so many that each stays small while members are added

GROUPS = "/scim/v2/Groups"


class PreparedGroups(Struct, frozen=True):
    """Groups of a tenant, and people of it who are in none of them."""

    tenant_id: UUID
    token: str
    large_id: UUID
    small_ids: list[UUID]
    newcomers: list[UUID]


async def prepare_groups(
    services: Services, tenant_id: UUID, token: str, members: list[UUID], newcomers: list[UUID]
) -> PreparedGroups:
    large_id = await _group(services, tenant_id, members)
    small_ids = [await _group(services, tenant_id, members[:FEW]) for _ in range(SMALL_GROUPS)]
    return PreparedGroups(tenant_id, token, large_id, small_ids, newcomers)


async def switch_on(services: Services, groups: PreparedGroups) -> None:
    """Let requests write groups. Only now, for it makes requests about people cost more."""
    await services.engine.administer(ChangeSettings({"groups": "on"}), administration.cause(groups.tenant_id))
    await asyncio.sleep(2 * REMEMBERED)


async def _group(services: Services, tenant_id: UUID, members: list[UUID]) -> UUID:
    values = Values({"displayName": "Everybody", "members": [{"value": str(each)} for each in members]})
    cause = administration.cause(tenant_id)
    return (await services.engine.carry_out_on_group(ProvisionGroup(values), uuid7(), cause)).id


def additions(groups: PreparedGroups, group_ids: list[UUID]) -> Iterator[bytes]:
    """PATCHes that add one member each; every person to every group once, so that none of them is without effect."""
    for newcomer, group_id in itertools.product(groups.newcomers, group_ids):
        operation = {"op": "Add", "path": "members", "value": [{"value": str(newcomer)}]}
        body = msgspec.json.encode({"Operations": [operation]})
        # An answer with few attributes, the same for both: else the small group's would hold its members.
        yield prepared("PATCH", f"{GROUPS}/{group_id}?attributes=displayName", groups.token, body)
