"""`/scim/v2/Groups` (RFC 7644 §3): each handler reads the request, has the command carried out, and answers.

While groups are off there is nothing to read, and a clear word to whoever writes. Answers with many members are
streamed, some members at a time.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from uuid_utils.compat import uuid7

from api import scim_resource, scim_users, wire
from api.call import Call, call_of
from api.scim_resource import Choice
from api.services import Services, services_of
from engine import patch, resource
from engine.catalog import Catalog, groups_of
from engine.events import GroupEvent
from engine.group import DeleteGroup, Group, GroupCommand, PatchGroup, ProvisionGroup, ReplaceGroup
from engine.membership import Member
from engine.quirks import Quirk
from engine.refusals import InvalidPath, NotFound, NotImplementedHere
from engine.schema import GROUP_URN
from projections.groups import MEMBERS_AT_ONCE

LARGEST_BODY = 32 * 1_048_576  # bytes; a hundred thousand members, with all that may stand beside their ids

FEW = 100  # members, with which the answer to a PATCH is no burden

_NOBODY = UUID(int=0)
_PARAMETERS = {"attributes", "excludedAttributes"}
_JSON = msgspec.json.Encoder()


async def create(request: Request) -> Response:
    choice = await _admitted_choice(request)
    return await _resource(request, await created(request), choice, status=201)


async def created(request: Request) -> Group:
    services, call = await _admitted_to_write(request)
    body = await wire.read_json(request, LARGEST_BODY)
    command = ProvisionGroup(resource.read(body, catalog_of(call), call.quirks))
    scim_users.note_body(call, body, GROUP_URN)
    return await services.engine.carry_out_on_group(
        command, uuid7(), call.cause, carried=_counting(call), settings=call.admitted.settings
    )


async def read(request: Request) -> Response:
    services, call = await admitted(request)
    choice = _choice(request)
    group = await services.groups.get(call.admitted.tenant_id, _group_id(request)) if is_on(call) else None
    if group is None or group.is_deleted:
        off = "" if is_on(call) else " Groups are off."
        raise NotFound(f"There is no such group here.{off}")
    return scim_users.known(request, group) or await _resource(request, group, choice)


async def replace(request: Request) -> Response:
    choice = await _admitted_choice(request)
    return await _resource(request, await replaced(request), choice)


async def replaced(request: Request) -> Group:
    _, call = await _admitted_to_write(request)
    body = await wire.read_json(request, LARGEST_BODY)
    command = ReplaceGroup(resource.read(body, catalog_of(call), call.quirks))
    scim_users.note_body(call, body, GROUP_URN)
    return await _carried_out(request, command)


async def change(request: Request) -> Response:
    """The group, if it has few members or the query says which attributes it wants; else 204 (RFC 7644 §3.5.2)."""
    choice = await _admitted_choice(request)
    group = await changed(request)
    if choice.is_any:
        return await _resource(request, group, choice)
    tenant_id = call_of(request).admitted.tenant_id
    members = (await services_of(request).groups.members_of_some(tenant_id, [group.id], FEW + 1))[group.id]
    if len(members) > FEW:
        return Response(None, 204, _headers(request, group))
    return wire.scim(_whole(request, group, members), 200, _headers(request, group))


async def changed(request: Request) -> Group:
    _, call = await _admitted_to_write(request)
    body = await wire.read_json(request, LARGEST_BODY)
    call.expect_names_of(InvalidPath)
    command = PatchGroup(patch.read(body, catalog_of(call), call.quirks))
    scim_users.note_body(call, body, patch.PATCH_OP)
    return await _carried_out(request, command)


async def delete(request: Request) -> Response:
    await deleted(request)
    return Response(status_code=204)


async def deleted(request: Request) -> None:
    await _admitted_to_write(request)
    await _carried_out(request, DeleteGroup())


async def admitted(request: Request) -> tuple[Services, Call]:
    return await scim_users.let_in(request, scim_users.SCOPE)


async def _admitted_to_write(request: Request) -> tuple[Services, Call]:
    services, call = await admitted(request)
    if not is_on(call):
        raise NotImplementedHere(
            "Groups are off: this service takes users only. In Entra, switch the mapping of groups off (Provisioning, "
            "Mappings, Provision Microsoft Entra ID Groups, Enabled: No). Or have groups switched on here: "
            "rollbook tenant set NAME --groups on"
        )
    return services, call


def is_on(call: Call) -> bool:
    return call.admitted.settings.groups == "on"


def catalog_of(call: Call) -> Catalog:
    """The attributes of groups in the tenant."""
    return groups_of(call.admitted.settings)


async def _carried_out(request: Request, command: GroupCommand) -> Group:
    call = call_of(request)
    # What is no id is no group's, and the body is checked before that is said.
    group_id = scim_users.user_id_in(request) or _NOBODY
    versions = scim_users.if_match(request)
    return await services_of(request).engine.carry_out_on_group(
        command, group_id, call.cause, versions, _counting(call), call.admitted.settings
    )


def _counting(call: Call) -> Any:
    def note(events: Sequence[GroupEvent]) -> None:
        call.changes += len(events)

    return note


async def _admitted_choice(request: Request) -> Choice:
    """What is to be answered: looked at before anything is carried out."""
    await _admitted_to_write(request)
    return _choice(request)


def _choice(request: Request) -> Choice:
    if set(request.query_params) - _PARAMETERS:
        call_of(request).quirks.append(Quirk.PARAMETER)
    catalog = catalog_of(call_of(request))
    return Choice(request.query_params.get("attributes"), request.query_params.get("excludedAttributes"), catalog)


def _group_id(request: Request) -> UUID:
    group_id = scim_users.user_id_in(request)
    if group_id is None:
        raise NotFound("There is no such group here; ids are UUIDs that this service gave.")
    return group_id


# Answers.


def _headers(request: Request, group: Group) -> dict[str, str]:
    return {
        "ETag": scim_resource.etag(group),
        "Location": scim_resource.location(group, scim_users.base_url(request)),
    }


def _whole(request: Request, group: Group, members: Sequence[Member]) -> dict[str, Any]:
    base = scim_users.base_url(request)
    found = scim_resource.render_group(group, base, call_of(request).admitted.settings)
    return {**found, "members": [scim_resource.member(each, base) for each in members]} if members else found


async def _resource(request: Request, group: Group, choice: Choice, status: int = 200) -> Response:
    parts = await _parts_of_each(request, [group], choice)
    headers = _headers(request, group)
    if isinstance(parts, list):
        return Response(parts[0], status, headers, wire.SCIM)
    return StreamingResponse(parts, status, headers, wire.SCIM)


async def listed(
    request: Request, head: dict[str, Any], groups: Sequence[Group], choice: Choice, others: Sequence[Any] = ()
) -> Response:
    """A ListResponse: its head, and behind it other resources, and the groups."""
    parts = await _parts_of_each(request, groups, choice)
    begun = _JSON.encode(head)[:-1] + b',"Resources":[' + b",".join(map(_JSON.encode, others))
    begun += b"," if others and groups else b""
    if isinstance(parts, list):
        return Response(begun + b",".join(parts) + b"]}", media_type=wire.SCIM)

    async def whole() -> AsyncIterator[bytes]:
        yield begun
        async for each in parts:
            yield each
        yield b"]}"

    return StreamingResponse(whole(), media_type=wire.SCIM)


async def _parts_of_each(
    request: Request, groups: Sequence[Group], choice: Choice
) -> list[bytes] | AsyncIterator[bytes]:
    """The JSON of each group; or, if the members are too many to hold, the JSON of all in parts, with commas.

    One statement, if they are not too many; none, if nobody wants the members.
    """
    base, admission = scim_users.base_url(request), call_of(request).admitted
    tenant_id = admission.tenant_id
    found = {each.id: scim_resource.render_group(each, base, admission.settings) for each in groups}
    if not groups or not choice.wants("members"):
        return [_JSON.encode(choice.of(each)) for each in found.values()]
    members = await services_of(request).groups.members_of_some(tenant_id, list(found), MEMBERS_AT_ONCE + 1)
    if sum(map(len, members.values())) > MEMBERS_AT_ONCE:
        return _streamed(request, found, choice)
    for group_id, some in members.items():
        if some:
            found[group_id]["members"] = [scim_resource.member(each, base) for each in some]
    return [_JSON.encode(choice.of(each)) for each in found.values()]


async def _streamed(request: Request, found: dict[UUID, dict[str, Any]], choice: Choice) -> AsyncIterator[bytes]:
    base, tenant_id = scim_users.base_url(request), call_of(request).admitted.tenant_id
    for place, (group_id, rendered) in enumerate(found.items()):
        yield (b"," if place else b"") + _JSON.encode(choice.of(rendered))[:-1]
        begin = b',"members":['
        async for some in services_of(request).groups.pages_of_members(tenant_id, group_id):
            elements = [scim_resource.member(each, base) for each in some]
            if chosen := choice.of({"schemas": [], "id": "", "members": elements}).get("members"):
                yield begin + _JSON.encode(chosen)[1:-1]
                begin = b","
        yield b"}" if begin != b"," else b"]}"
