"""`/v1/groups`: the groups as they are now, and the roles that they give."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api import parameters, wire
from api.call import Call, call_of
from api.scim_users import user_id_in
from api.services import Services, services_of
from api.v1 import ADMIN, DEFAULT_LIMIT, HIGHEST_LIMIT, READ, asked_actor, next_address
from engine.refusals import BadRequest, NotFound
from engine.settings import Settings
from engine.tenant import MapGroup
from projections.groups import GroupListed


class GroupShown(
    Struct, frozen=True, kw_only=True, rename={"display_name": "displayName", "external_id": "externalId"}
):
    """A group, without its members."""

    id: UUID
    display_name: str
    external_id: str | None
    members: Annotated[int, Meta(description="How many it has directly: people, groups and those who are awaited.")]
    role: Annotated[str | None, Meta(description="The role that it gives to everybody in it; null if it gives none.")]
    created_at: datetime
    modified_at: datetime


class GroupPage(Struct, frozen=True):
    """A page of groups, in the order of their creation."""

    groups: list[GroupShown]
    next: Annotated[str | None, Meta(description="The address of the next page; null at the end.")]


class GroupsAsked(Struct, frozen=True, kw_only=True):
    """Which groups of all."""

    mapped: Annotated[bool | None, Meta(description="Only those that give a role, or that give none.")] = None
    after: Annotated[UUID | None, Meta(description="The last id of the page before.")] = None
    limit: Annotated[Annotated[int, Meta(ge=1, le=HIGHEST_LIMIT)], Meta(description="How many at most.")] = (
        DEFAULT_LIMIT
    )


class RoleAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """The role that a group is to give."""

    role: Annotated[str | None, Meta(description="The value of one of the tenant's roles; null for none.")]


async def list_groups(request: Request) -> Response:
    services, call = await _admitted(request, READ)
    asked = parameters.read(GroupsAsked, request.query_params)
    mapped = [each.group for each in call.admitted.settings.role_groups]
    chosen = None if asked.mapped is None else (mapped, asked.mapped)
    found = await services.groups.listed(call.admitted.tenant_id, asked.after, asked.limit, chosen)
    last = str(found[-1].id) if len(found) == asked.limit else None
    groups = [_shown(each, call.admitted.settings) for each in found]
    return wire.json(GroupPage(groups, next_address(request, "after", last)))


async def read_group(request: Request) -> Response:
    services, call = await _admitted(request, READ)
    return wire.json(_shown(await _existing(services, call, request), call.admitted.settings))


async def map_group(request: Request) -> Response:
    """Let a group give a role, or none. Everybody whom it concerns has it when this is answered."""
    services, call = await _admitted(request, ADMIN)
    call.actor = asked_actor(request)
    role = _asked(await wire.read_json(request)).role
    group = await _existing(services, call, request)
    tenant = await services.engine.map_group(MapGroup(group.id, role), call.cause)
    services.gate.forget()
    return wire.json(_shown(group, tenant.settings))


async def _admitted(request: Request, scopes: tuple[str, ...]) -> tuple[Services, Call]:
    services, call = services_of(request), call_of(request)
    call.source = "local"
    await services.gate.admit(request, *scopes)
    return services, call


def _asked(found: object) -> RoleAsked:
    try:
        return msgspec.convert(found, RoleAsked)
    except msgspec.ValidationError as error:
        raise BadRequest(
            f'The body is {{"role": "admin"}}, or {{"role": null}} for none; in this one: {error}.'
        ) from None


async def _existing(services: Services, call: Call, request: Request) -> GroupListed:
    group_id = user_id_in(request)
    found = await services.groups.listed_one(call.admitted.tenant_id, group_id) if group_id else None
    if found is None:
        raise NotFound("There is no such group; ids are UUIDs that this service gave.")
    return found


def _shown(group: GroupListed, settings: Settings) -> GroupShown:
    return GroupShown(
        id=group.id,
        display_name=group.display_name,
        external_id=group.external_id,
        members=group.members,
        role=next((each.role for each in settings.role_groups if each.group == group.id), None),
        created_at=group.created_at,
        modified_at=group.modified_at,
    )
