"""`/scim/v2/Users` (RFC 7644 §3): each handler reads the request, has the command carried out, and answers."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, assert_never
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from uuid_utils.compat import uuid7

from api import accept, scim_resource, wire
from api.call import Call, call_of
from api.scim_resource import Choice
from api.services import Services, services_of
from engine import patch, resource, rules
from engine.catalog import Catalog, users_of
from engine.engine import Carried
from engine.events import UserEvent
from engine.group import Group
from engine.quirks import Quirk
from engine.refusals import InvalidPath, InvalidSyntax, InvalidValue, NotFound
from engine.schema import CORE
from engine.strictness import StrictQuirks
from engine.user import DeleteUser, PatchUser, ProvisionUser, ReplaceUser, Terms, User, UserCommand

SCOPE = "scim"
_NOBODY = UUID(int=0)

_TAG = re.compile(r'"([^"]*)"|([^\s,"]+)')
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_PARAMETERS = {"attributes", "excludedAttributes"}


async def create(request: Request) -> Response:
    choice = await _admitted_choice(request)
    return await _resource(request, await created(request), choice, status=201)


async def created(request: Request) -> User:
    services, call = await admitted(request)
    body = await wire.read_json(request)
    call.subject = subject_of(body)
    command = ProvisionUser(resource.read(body, catalog_of(call), call.quirks))
    note_body(call, body, CORE)
    _note_roles(call, command)
    user = await services.engine.carry_out(command, uuid7(), call.cause, _terms(request, call), _noting(call, command))
    _note_role(call, user, command)
    call.lacks_active = "active" not in command.values.leaves
    return user


async def read(request: Request) -> Response:
    services, call = await admitted(request)
    choice = _choice(request)
    user = await services.users.get(call.admitted.tenant_id, _user_id(request))
    if user is None or user.is_deleted:
        raise NotFound(f"There is no user {request.path_params['id']} here.")
    return known(request, user) or await _resource(request, user, choice)


async def replace(request: Request) -> Response:
    choice = await _admitted_choice(request)
    return await _resource(request, await replaced(request), choice)


async def replaced(request: Request) -> User:
    services, call = await admitted(request)
    body = await wire.read_json(request)
    call.subject = subject_of(body)
    command = ReplaceUser(resource.read(body, catalog_of(call), call.quirks))
    note_body(call, body, CORE)
    if not command.values.leaves.get("userName"):
        raise InvalidValue("userName is required.")
    return await _carried_out(request, services, call, command)


async def change(request: Request) -> Response:
    choice = await _admitted_choice(request)
    return await _resource(request, await changed(request), choice)


async def changed(request: Request) -> User:
    services, call = await admitted(request)
    body = await wire.read_json(request)
    call.expect_names_of(InvalidPath)
    command = PatchUser(patch.read(body, catalog_of(call), call.quirks))
    note_body(call, body, patch.PATCH_OP)
    return await _carried_out(request, services, call, command)


async def delete(request: Request) -> Response:
    await deleted(request)
    return Response(status_code=204)


async def deleted(request: Request) -> None:
    services, call = await admitted(request)
    command = DeleteUser()
    await services.engine.carry_out(
        command, _user_id(request), call.cause, _terms(request, call), _noting(call, command)
    )


async def admitted(request: Request) -> tuple[Services, Call]:
    call_of(request).user_id = user_id_in(request)
    return await let_in(request, SCOPE)


async def let_in(request: Request, *scopes: str) -> tuple[Services, Call]:
    """Lets in who has one of the scopes, on the terms of the tenant's mode.

    Raises NotAuthenticated or Forbidden; NotAcceptable where SCIM is taken strictly.
    """
    services, call = services_of(request), call_of(request)
    admission = await services.gate.admit(request, *scopes)
    if admission.settings.mode == "strict":
        call.be_strict()
        accept.check(request.headers.getlist("accept"))
    return services, call


def catalog_of(call: Call) -> Catalog:
    """The attributes of people in the tenant."""
    return users_of(call.admitted.settings)


async def _carried_out(request: Request, services: Services, call: Call, command: UserCommand) -> User:
    _note_roles(call, command)
    # What is no id is nobody's, and the body is checked before that is said.
    user = await services.engine.carry_out(
        command, call.user_id or _NOBODY, call.cause, _terms(request, call), _noting(call, command)
    )
    _note_role(call, user, command)
    return user


# What the request log is told.


def note_body(call: Call, body: object, urn: str) -> None:
    """The schemas that a body declares; the URN is that of what it must be, where SCIM is taken strictly."""
    members = body if isinstance(body, dict) else {}
    declared = next((value for name, value in members.items() if name.lower() == "schemas"), None)
    listed = {str(each).lower() for each in declared} if isinstance(declared, list) else set()
    if declared is None:
        call.quirks.append(Quirk.NO_SCHEMAS)
    elif urn.lower() not in listed and isinstance(call.quirks, StrictQuirks):
        raise InvalidSyntax(f"schemas must list {urn}.")


def _noting(call: Call, command: UserCommand) -> Carried:
    """Counts what a command changed, and names what it made."""

    def note(before: User | None, events: Sequence[UserEvent]) -> None:
        call.changes += len(events)
        if isinstance(command, PatchUser) and before and events:
            call.quirks += patch.made(command.operations, before.attributes)

    return note


def _note_roles(call: Call, command: UserCommand) -> None:
    call.quirks += [Quirk.ROLE_AS_JSON for sent in _roles_in(command) if sent.lstrip().startswith("{")]


def _note_role(call: Call, user: User, command: UserCommand) -> None:
    for sent in _roles_in(command):
        if not rules.means(sent, user.own, call.admitted.settings):
            call.quirks.append(Quirk.NO_SUCH_ROLE)


def _roles_in(command: UserCommand) -> Iterator[str]:
    match command:
        case ProvisionUser(values) | ReplaceUser(values):
            given = [values.leaves]
        case PatchUser(operations):
            given = [each.leaves for each in operations if isinstance(each, patch.SetLeaves)]
        case DeleteUser():
            given = []
        case _:
            assert_never(command)
    yield from (leaves["role"] for leaves in given if leaves.get("role"))


def _terms(request: Request, call: Call) -> Terms:
    return Terms(call.admitted.settings, "directory", if_match(request))


async def _admitted_choice(request: Request) -> Choice:
    """What is to be answered: looked at before anything is carried out."""
    await admitted(request)
    return _choice(request)


def _choice(request: Request) -> Choice:
    if not request.scope["query_string"]:
        return Choice(None, None, catalog_of(call_of(request)))
    if set(request.query_params) - _PARAMETERS:
        call_of(request).quirks.append(Quirk.PARAMETER)
    catalog = catalog_of(call_of(request))
    return Choice(request.query_params.get("attributes"), request.query_params.get("excludedAttributes"), catalog)


def user_id_in(request: Request) -> UUID | None:
    """The id in the address, if it could be one: ids are UUIDs that this service gave."""
    try:
        return UUID(request.path_params["id"])
    except (KeyError, ValueError):
        return None


def _user_id(request: Request) -> UUID:
    user_id = call_of(request).user_id
    if user_id is None:
        raise NotFound("There is no such user here; ids are UUIDs that this service gave.")
    return user_id


def tags(request: Request, header: str) -> set[str]:
    """The entity tags in all fields of that name (RFC 9110 §8.8.3). Weak or not is all the same to us."""
    fields = ", ".join(request.headers.getlist(header))
    found = _TAG.findall(fields)
    if any(bare not in {"", "*", "W/"} for _, bare in found):
        call_of(request).quirks.append(Quirk.TAG)
    return {quoted or bare for quoted, bare in found}


def known(request: Request, found: User | Group) -> Response | None:
    """304, if the client has this version already (RFC 7644 §3.14)."""
    if tags(request, "if-none-match") & {str(found.version), "*"}:
        return Response(status_code=304, headers={"ETag": scim_resource.etag(found)})
    return None


def if_match(request: Request) -> frozenset[int] | None:
    """The versions that the client would change (RFC 7644 §3.14); None if any will do.

    `If-None-Match: *` would change nothing that is there (RFC 9110 §13.1.2).
    """
    if "*" in tags(request, "if-none-match"):
        return frozenset()
    found = tags(request, "if-match")
    if found <= {"*"}:
        return None
    return frozenset(int(tag) for tag in found if _VERSION.fullmatch(tag))


def base_url(request: Request) -> str:
    if public := services_of(request).public_url:
        return public.rstrip("/") + "/scim/v2"
    return f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}/scim/v2"


async def answer_with(request: Request, user: User) -> Response:
    """One user, as far as the query asks for it."""
    return await _resource(request, user, _choice(request))


async def rendered(request: Request, users: Sequence[User], choice: Choice) -> list[dict[str, Any]]:
    """Each user as the answer has it. One statement more where groups are on, unless nobody asks for them."""
    services, admission = services_of(request), call_of(request).admitted
    base, settings = base_url(request), admission.settings
    found = [scim_resource.render(user, base, settings) for user in users]
    if settings.groups == "on" and users and choice.wants("groups"):
        groups = await services.groups.of_people(admission.tenant_id, [user.id for user in users])
        found = [each | scim_resource.groups(groups[user.id], base) for user, each in zip(users, found, strict=True)]
    return [choice.of(each) for each in found]


async def _resource(request: Request, user: User, choice: Choice, status: int = 200) -> Response:
    call_of(request).user_id = user.id
    headers = {"ETag": scim_resource.etag(user), "Location": scim_resource.location(user, base_url(request))}
    [found] = await rendered(request, [user], choice)
    return wire.scim(found, status, headers)


def subject_of(body: object) -> dict[str, str]:
    """Whom a body means, for the record of a refusal."""
    if not isinstance(body, dict):
        return {}
    nested = body.get(CORE)
    members = {**nested, **body} if isinstance(nested, dict) else body
    names = ("userName", "externalId", "microsoftId")
    return {name: members[name][:500] for name in names if isinstance(members.get(name), str)}
