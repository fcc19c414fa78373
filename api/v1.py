"""`/v1`: people and seats, for the app's developer."""

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api import parameters, scim_users, v1_types, wire
from api.call import Call, call_of
from api.inquiry import inquire
from api.services import Services, services_of
from engine import patch
from engine.catalog import Catalog
from engine.refusals import BadRequest, InvalidValue, NotFound
from engine.user import PatchUser, Terms, User
from projections.certificate import Basis
from projections.questions.rosters import PERSON, PersonAsked

DEFAULT_LIMIT = 100
HIGHEST_LIMIT = 1000

READ = ("people:read", "people:write", "admin")
WRITE = ("people:write", "admin")
AUDIT = ("audit:read", "admin")
ADMIN = ("admin",)

T = TypeVar("T")

# What is no name: a number, a UUID or a ULID, behind a word for what it is the number of.
_ACTOR = re.compile(
    r"((person|user|usr|member|employee|emp|account|acct|admin|uid|id|u|p)[._:-]?)?"
    r"([0-9]{1,20}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-7][0-9a-hjkmnp-tv-z]{25})",
    re.ASCII | re.IGNORECASE,
)
_HIGHEST_SEQ = 2**63 - 1


class ErasureAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """What the body of an erasure may say."""

    basis: Basis | None = None


async def list_users(request: Request) -> Response:
    services, call = await _admitted(request, READ)
    limit = _limit(request)
    active = _choice(request, "active", {"true": True, "false": False})
    users = await services.users.all(call.admitted.tenant_id, _uuid(request, "after"), limit, active=active)
    last = str(users[-1].id) if len(users) == limit else None
    return wire.json(
        {
            "users": [v1_types.person(user, scim_users.catalog_of(call)) for user in users],
            "next": next_address(request, "after", last),
        }
    )


async def read_user(request: Request) -> Response:
    if {"as_of", "as_of_seq"} & request.query_params.keys():
        return await _person_then(request)
    services, call = await _admitted(request, READ)
    return _person(await _existing(services, call, request), call)


async def _person_then(request: Request) -> Response:
    """The person as of a time or a seq, in the same form; a look at the history, and noted as one."""
    services, call = await _admitted(request, AUDIT)
    services.accesses.check()
    asked = parameters.read(PersonAsked, {**request.query_params, **request.path_params})
    inquiry = await inquire(services.pool, call.admitted.tenant_id, PERSON, asked)
    user = await services.histories.state_at_seq(inquiry.tenant_id, asked.id, inquiry.settled.to_seq)
    services.accesses.note(inquiry.accessed(0 if user is None else 1), call.cause)
    if user is None:
        raise NotFound(
            f"Nobody with the id {asked.id} was there as of seq {inquiry.settled.to_seq}; its history says since when."
        )
    return _person(user, call)


async def edit_user(request: Request) -> Response:
    """A local edit: JSON Merge Patch (RFC 7396) of the person; the directory may overwrite it."""
    services, call = await _admitted(request, WRITE)
    call.source, call.actor = "local", asked_actor(request)
    members = wire.as_object(await wire.read_json(request))
    catalog = scim_users.catalog_of(call)
    _check_names(members, catalog)
    # Merging is what SCIM's replace without a path does: members that are not named stay, null takes away.
    operations = patch.read({"Operations": [{"op": "replace", "value": members}]}, catalog, call.quirks)
    if unknown := [quirk for quirk in call.quirks if "unknown" in quirk]:
        raise InvalidValue(f"Nothing was edited. {unknown[0]}.")
    terms = Terms(call.admitted.settings, "local", scim_users.if_match(request))
    user = await services.engine.carry_out(PatchUser(operations), _user_id(call), call.cause, terms)
    return _person(user, call)


async def erase_user(request: Request) -> Response:
    """Erase a person's data for good (GDPR article 17); the certificate."""
    services, call = await _admitted(request, ADMIN)
    call.actor = asked_actor(request)
    await services.accesses.drain()  # looks that named the person, and are not noted yet
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    basis = _basis(await wire.read_json(request)) if has_body else None
    return wire.json(await services.erasures.erase(_user_id(call), call.cause, basis))


def _basis(found: object) -> Basis | None:
    try:
        return msgspec.convert(found, ErasureAsked).basis
    except msgspec.ValidationError:
        raise BadRequest(
            'The body is empty, or {"basis": "a"}: the letter of article 17(1) GDPR, a to f, and nothing else.'
        ) from None


async def read_seats(request: Request) -> Response:
    services, call = await _admitted(request, READ)
    return wire.json(await services.seats.counts(call.admitted.tenant_id))


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


def _person(user: User, call: Call) -> Response:
    return wire.json(v1_types.person(user, scim_users.catalog_of(call)), headers={"ETag": f'W/"{user.version}"'})


def asked_actor(request: Request) -> str | None:
    """The person who edits, by the app's id: what could be a name is refused, for it would outlive an erasure."""
    actor = request.headers.get("x-rollbook-actor")
    if actor is not None and not _ACTOR.fullmatch(actor):
        raise BadRequest(
            "X-Rollbook-Actor takes the id of a person: a whole number, a UUID or a ULID, also as person-4711 or "
            "user_4711. It stands in the log for ever, after an erasure too, so what could be a name is not taken."
        )
    return actor


def _check_names(members: Mapping[str, object], catalog: Catalog) -> None:
    for name in members:
        target = catalog.find(name)
        if target is None and not catalog.schema_urn(name):
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


def next_address(request: Request, cursor: str, last: str | None) -> str | None:
    """The same address from behind the last one. Only ids, numbers and times stand in it."""
    if last is None:
        return None
    return f"{request.scope['path']}?{urlencode({**request.query_params, cursor: last})}"
