"""`/v1/openapi.json`: what `/v1` takes and answers, generated from the types that it answers with (OpenAPI 3.1)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api import wire
from api.export import FORMATS, MEDIA_TYPES
from api.manifest import Manifest
from api.parameters import Parameter, parameters
from api.questions import QUESTIONS
from api.v1 import ErasureAsked
from api.v1_audit import SCOPES
from api.v1_groups import GroupPage, GroupShown, RoleAsked
from api.v1_tokens import TokenAsked, TokenEnded, TokenSecret
from api.v1_types import (
    CheckpointShown,
    ConsistencyProof,
    InclusionProof,
    LedgerKeys,
    Person,
    PersonPage,
    Problem,
)
from engine.catalog import USERS
from projections.certificate import Certificate
from projections.question import Question
from projections.seats import SeatCounts

_REFERENCE = "#/components/schemas/{name}"


class Operation(Struct, frozen=True):
    """One method of one address."""

    path: str
    method: str
    summary: str
    scopes: tuple[str, ...]
    answer: type[Struct]
    parameters: Sequence[dict[str, Any]] = ()
    body: type[Struct] | None = None
    also_text: bool = False
    status: int = 200


def _parameter(name: str, description: str, schema: dict[str, Any], place: str = "query") -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema,
    }


_UUID = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "format": "date-time"}
_NUMBER = {"type": "integer", "minimum": 0}
_PLACE = {"type": "integer", "minimum": 1}
_ID = _parameter("id", "The person's id.", _UUID, "path")
_GROUP = _parameter("id", "The group's id.", _UUID, "path")
_ACTOR = _parameter("X-Rollbook-Actor", "The id of the person who asks.", {"type": "string"}, "header")
_EXPORT = _parameter("id", "The id of the request that asked for the file.", _UUID, "path")
_TEXT = {"type": "string"}
_FORMAT = _parameter(
    "format", "The whole answer as a file, instead of a page.", {"type": "string", "enum": list(FORMATS)}
)
_LIMIT = _parameter("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100})

OPERATIONS = (
    Operation(
        "/v1/users",
        "get",
        "Everybody, deleted people included, in the order of their creation",
        ("people:read",),
        PersonPage,
        (
            _parameter("active", "Only those who are, or who are not.", {"type": "boolean"}),
            _parameter("after", "The last id of the page before.", _UUID),
            _LIMIT,
        ),
    ),
    Operation(
        "/v1/users/{id}",
        "get",
        "One person, now, or with the scope audit:read as of a moment",
        ("people:read",),
        Person,
        (
            _ID,
            _parameter("as_of", "As it was then.", _TIME),
            _parameter("as_of_seq", "As it was after this event, instead of a time.", _NUMBER),
        ),
    ),
    Operation(
        "/v1/users/{id}",
        "patch",
        "Edit a person locally: JSON Merge Patch (RFC 7396). The directory may overwrite it.",
        ("people:write",),
        Person,
        (
            _ID,
            _parameter("X-Rollbook-Actor", "The id of the person who edits.", {"type": "string"}, "header"),
            _parameter("If-Match", "Edit only this version: its ETag.", {"type": "string"}, "header"),
        ),
        body=Person,
    ),
    Operation(
        "/v1/users/{id}/erase",
        "post",
        "Erase a person's data for good; the certificate",
        ("admin",),
        Certificate,
        (_ID, _ACTOR),
        body=ErasureAsked,
    ),
    Operation("/v1/exports/{id}", "get", "What was noted of an export", SCOPES, Manifest, (_EXPORT,)),
    Operation(
        "/v1/checkpoint",
        "get",
        "The ledger as it is now, signed: a note as text, or as JSON",
        ("audit:read",),
        CheckpointShown,
        (_parameter("format", "json, unless the note alone is wanted.", {"type": "string", "enum": ["note", "json"]}),),
        also_text=True,
    ),
    Operation(
        "/v1/proofs/inclusion",
        "get",
        "The proof that an event is in the ledger (RFC 9162)",
        ("audit:read",),
        InclusionProof,
        (
            _parameter("seq", "The event.", _PLACE),
            _parameter("size", "The size of the tree: that of a checkpoint.", _PLACE),
        ),
    ),
    Operation(
        "/v1/proofs/consistency",
        "get",
        "The proof that the ledger of one checkpoint continues that of another (RFC 9162)",
        ("audit:read",),
        ConsistencyProof,
        (
            _parameter("from", "The size of the older tree.", _NUMBER),
            _parameter("to", "The size of the newer tree.", _NUMBER),
        ),
    ),
    Operation("/v1/ledger-keys", "get", "The keys that sign checkpoints", ("audit:read",), LedgerKeys),
    Operation(
        "/v1/tokens",
        "post",
        "Issue a token; its text, this once",
        ("admin",),
        TokenSecret,
        (_ACTOR,),
        body=TokenAsked,
        status=201,
    ),
    Operation(
        "/v1/tokens/{id}",
        "delete",
        "Revoke a token, be it the one that asks",
        ("admin",),
        TokenEnded,
        (_parameter("id", "The token's id.", _UUID, "path"), _ACTOR),
    ),
    Operation(
        "/v1/groups",
        "get",
        "The groups, in the order of their creation",
        ("people:read",),
        GroupPage,
        (
            _parameter("mapped", "Only those that give a role, or that give none.", {"type": "boolean"}),
            _parameter("after", "The last id of the page before.", _UUID),
            _LIMIT,
        ),
    ),
    Operation("/v1/groups/{id}", "get", "One group", ("people:read",), GroupShown, (_GROUP,)),
    Operation(
        "/v1/groups/{id}/role",
        "put",
        "Let a group give a role to everybody in it, or none",
        ("admin",),
        GroupShown,
        (_GROUP, _ACTOR),
        body=RoleAsked,
    ),
    Operation("/v1/seats", "get", "How many seats are taken, now", ("people:read",), SeatCounts),
)


def _asked(question: Question[Any, Any]) -> dict[str, Any]:
    """A question's parameters, and those that every question understands."""
    found = [
        _parameter(
            each.name,
            f"{each.description} Takes {each.takes}.",
            _schema(each),
            "path" if f"{{{each.name}}}" in question.address else "query",
        )
        for each in parameters(question.asked)
    ]
    if "after" not in question.asked.__struct_fields__:
        found.append(_parameter("after", "Where the page begins: the key that the page before ended with.", _TEXT))
    described = _described(
        Operation(question.address, "get", question.summary, SCOPES, question.row, (*found, _LIMIT, _FORMAT))
    )
    described["responses"]["200"]["content"] = {
        **_content(wire.JSON, _answer_name(question)),
        **{MEDIA_TYPES[each]: {"schema": {"type": "string"}} for each in ("ndjson", "csv")},
    }
    return described


def _answer_name(question: Question[Any, Any]) -> str:
    return f"{question.name.title().replace('-', '')}Answer"


def _page(question: Question[Any, Any]) -> dict[str, Any]:
    """What the question's address answers without `format`."""
    row = {"$ref": _REFERENCE.format(name=question.row.__name__)}
    return {
        "title": _answer_name(question),
        "description": f"A page: {question.summary[0].lower()}{question.summary[1:]}.",
        "type": "object",
        "properties": {
            question.rows_name: {"type": "array", "items": row},
            "next": {"type": ["string", "null"], "description": "The address of the next page; null at the end."},
            "as_of_seq": {"type": "integer", "description": "The event as of which, or up to which, this is so."},
        },
        "required": [question.rows_name, "next", "as_of_seq"],
    }


def _schema(parameter: Parameter) -> dict[str, Any]:
    if parameter.is_list:
        return {"type": "array", "items": msgspec.json.schema(parameter.kind)}
    schema = msgspec.json.schema(parameter.kind)
    return {"anyOf": [schema, {"type": "string", "format": "date"}]} if parameter.kind is datetime else schema


def describe() -> dict[str, Any]:
    """The document, the same for everybody."""
    _, components = msgspec.json.schema_components(
        [
            *{each.answer: None for each in OPERATIONS},
            Problem,
            ErasureAsked,
            TokenAsked,
            RoleAsked,
            *{each.row: None for each in QUESTIONS},
        ],
        ref_template=_REFERENCE,
    )
    components["PersonEdit"] = _edit()
    components |= {_answer_name(each): _page(each) for each in QUESTIONS}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    for question in QUESTIONS:
        paths.setdefault(question.address, {})["get"] = _asked(question)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rollbook", "version": "1", "description": "People, seats and the log of one tenant."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "rb_…"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": operation.summary,
        "description": f"Needs a token with the scope {' or '.join(dict.fromkeys((operation.scopes[0], 'admin')))}.",
        "operationId": f"{operation.method}{operation.path.title().replace('{Id}', 'One').replace('/', '')}",
        "security": [{"token": []}],
        "parameters": list(operation.parameters),
        "responses": {
            str(operation.status): {
                "description": operation.summary,
                "content": _content(wire.JSON, operation.answer.__name__),
            },
            "default": {"description": "Refused.", "content": _content(wire.PROBLEM, Problem.__name__)},
        },
    }
    if operation.also_text:
        found["responses"]["200"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    if operation.body:
        found["requestBody"] = _body(operation.body)
    return found


def _body(body: type[Struct]) -> dict[str, Any]:
    if body is Person:
        return {"required": True, "content": _content("application/merge-patch+json", "PersonEdit")}
    return {"required": body in {TokenAsked, RoleAsked}, "content": _content(wire.JSON, body.__name__)}


def _content(media_type: str, name: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REFERENCE.format(name=name)}}}


def _edit() -> dict[str, Any]:
    """Any of a person's attributes; null takes one away."""
    names = sorted({key.split(".")[0] for key in USERS.leaves if not key.startswith("urn:")})
    return {
        "title": "PersonEdit",
        "description": "Attributes by their SCIM names with their new values; null takes a value away.",
        "type": "object",
        "properties": {name: {} for name in names},
    }


async def document(request: Request) -> Response:  # noqa: ARG001  the same for every request
    return wire.json(_DOCUMENT)


_DOCUMENT = describe()
