"""`/v1`: people, seats and the log, for the app's developer and the first auditor."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar, cast
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api import scim_users, v1_types, wire
from api.call import Call, call_of
from api.services import Services, services_of
from engine import patch, schema
from engine.events import TYPES
from engine.log import LoggedEvent, Selection
from engine.refusals import BadRequest, InvalidValue, NotFound
from engine.streams import SOURCES, Source
from engine.user import PatchUser, Terms, User

DEFAULT_LIMIT = 100
HIGHEST_LIMIT = 1000

READ = ("people:read", "people:write", "admin")
WRITE = ("people:write", "admin")
AUDIT = ("audit:read", "admin")

T = TypeVar("T")

_ACTOR = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_HIGHEST_SEQ = 2**63 - 1


async def list_users(request: Request) -> Response:
    services, call = await _admitted(request, READ)
    limit = _limit(request)
    active = _choice(request, "active", {"true": True, "false": False})
    users = await services.users.all(call.admitted.tenant_id, _uuid(request, "after"), limit, active=active)
    last = str(users[-1].id) if len(users) == limit else None
    return wire.json({"users": [v1_types.person(user) for user in users], "next": _next(request, "after", last)})


async def read_user(request: Request) -> Response:
    services, call = await _admitted(request, READ)
    return _person(await _existing(services, call, request))


async def edit_user(request: Request) -> Response:
    """A local edit: JSON Merge Patch (RFC 7396) of the person; the directory may overwrite it."""
    services, call = await _admitted(request, WRITE)
    call.source, call.actor = "local", _actor(request)
    members = wire.as_object(await wire.read_json(request))
    _check_names(members)
    # Merging is what SCIM's replace without a path does: members that are not named stay, null takes away.
    operations = patch.read({"Operations": [{"op": "replace", "value": members}]}, call.quirks)
    if unknown := [quirk for quirk in call.quirks if "unknown" in quirk]:
        raise InvalidValue(f"Nothing was edited. {unknown[0]}.")
    terms = Terms(call.admitted.settings, "local", scim_users.if_match(request))
    user = await services.engine.carry_out(PatchUser(operations), _user_id(call), call.cause, terms)
    return _person(user)


async def read_seats(request: Request) -> Response:
    services, call = await _admitted(request, READ)
    return wire.json(await services.seats.counts(call.admitted.tenant_id))


async def list_events(request: Request) -> Response:
    services, call = await _admitted(request, AUDIT)
    selection = Selection(
        stream_id=_uuid(request, "user"),
        type=_choice(request, "type", {name: name for name in TYPES}),
        source=cast(Source | None, _choice(request, "source", {name: name for name in SOURCES})),
        since=_time(request, "since"),
        until=_time(request, "until"),
        after=_number(request, "after"),
        before=_number(request, "before"),
        order="asc" if _choice(request, "order", {"asc": True, "desc": False}) else "desc",
    )
    return await _events(request, services, call, selection)


async def read_history(request: Request) -> Response:
    """Everything that happened to one person, in order."""
    services, call = await _admitted(request, AUDIT)
    user = await _existing(services, call, request)
    selection = Selection(stream_id=user.id, after=_number(request, "after"), order="asc")
    return await _events(request, services, call, selection)


async def _events(request: Request, services: Services, call: Call, selection: Selection) -> Response:
    limit = _limit(request)
    tenant_id = call.admitted.tenant_id
    found: list[LoggedEvent] = await services.log.read(tenant_id, selection, limit)
    last = str(found[-1].seq) if len(found) == limit else None
    cursor = "after" if selection.order == "asc" else "before"
    return wire.json(
        {"events": [v1_types.shown(tenant_id, each) for each in found], "next": _next(request, cursor, last)}
    )


async def _admitted(request: Request, scopes: tuple[str, ...]) -> tuple[Services, Call]:
    services, call = services_of(request), call_of(request)
    call.source = "local"
    await services.gate.admit(request, *scopes)
    call.user_id = scim_users.user_id_in(request)
    return services, call


async def _existing(services: Services, call: Call, request: Request) -> User:
    user = await services.users.get(call.admitted.tenant_id, _user_id(call))
    if user is None:
        raise NotFound(f"There is no person with the id {request.path_params['id']}.")
    return user


def _user_id(call: Call) -> UUID:
    if call.user_id is None:
        raise NotFound("There is no such person; ids are UUIDs that this service gave.")
    return call.user_id


def _person(user: User) -> Response:
    return wire.json(v1_types.person(user), headers={"ETag": f'W/"{user.version}"'})


def _actor(request: Request) -> str | None:
    """The person who edits, by the app's id: ids only, for this is kept when personal data are erased."""
    actor = request.headers.get("x-rollbook-actor")
    if actor is not None and not _ACTOR.fullmatch(actor):
        raise BadRequest(
            "X-Rollbook-Actor takes the id of a person: up to 128 letters, digits and . : _ - (no address, no name)."
        )
    return actor


def _check_names(members: Mapping[str, object]) -> None:
    for name in members:
        target = schema.find(name)
        if target is None and not schema.schema_urn(name):
            raise InvalidValue(f"There is no attribute {name[:100]!r} of a person.")
        if target is not None and target.attribute.mutability == "readOnly":
            raise InvalidValue(f"{name} cannot be edited.")


# Parameters of queries, each refused with its name and what it takes.


def _limit(request: Request) -> int:
    limit = _number(request, "limit")
    if limit is not None and not 1 <= limit <= HIGHEST_LIMIT:
        raise BadRequest(f"limit takes a number from 1 to {HIGHEST_LIMIT}.")
    return limit or DEFAULT_LIMIT


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= _HIGHEST_SEQ):
        raise BadRequest(f"{name} takes a whole number.")
    return int(text[:20])


def _uuid(request: Request, name: str) -> UUID | None:
    text = request.query_params.get(name)
    try:
        return UUID(text) if text is not None else None
    except ValueError:
        raise BadRequest(f"{name} takes an id, a UUID.") from None


def _choice(request: Request, name: str, choices: dict[str, T]) -> T | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if text not in choices:
        raise BadRequest(f"{name} takes one of {', '.join(choices)}.")
    return choices[text]


def _time(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        moment = msgspec.convert(text.replace(" ", "+"), datetime)  # an unescaped + arrives as a space
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        pass
    raise BadRequest(f"{name} takes a time with its zone, such as 2026-11-23T09:00:00Z.")


def _next(request: Request, cursor: str, last: str | None) -> str | None:
    """The same address from behind the last one. Only ids, numbers and times stand in it."""
    if last is None:
        return None
    return f"{request.scope['path']}?{urlencode({**request.query_params, cursor: last})}"
