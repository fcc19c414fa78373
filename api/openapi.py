"""`/v1/openapi.json`: what `/v1` takes and answers, generated from the types that it answers with (OpenAPI 3.1)."""

from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api import wire
from api.v1_types import (
    CheckpointShown,
    ConsistencyProof,
    EventPage,
    InclusionProof,
    LedgerKeys,
    Person,
    PersonPage,
    Problem,
)
from engine.events import TYPES
from engine.schema import LEAVES
from engine.streams import Source
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
    Operation("/v1/users/{id}", "get", "One person", ("people:read",), Person, (_ID,)),
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
        "/v1/users/{id}/history",
        "get",
        "Everything that happened to one person, in order",
        ("audit:read",),
        EventPage,
        (_ID, _parameter("after", "The last seq of the page before.", _NUMBER), _LIMIT),
    ),
    Operation("/v1/seats", "get", "How many seats are taken, now", ("people:read",), SeatCounts),
    Operation(
        "/v1/events",
        "get",
        "The log, newest first or in order",
        ("audit:read",),
        EventPage,
        (
            _parameter("user", "Only events of this user.", _UUID),
            _parameter("type", "Only events of this type.", {"type": "string", "enum": list(TYPES)}),
            _parameter("source", "Only events of this source.", {"type": "string", "enum": list(get_args(Source))}),
            _parameter("since", "Only events from this time on.", _TIME),
            _parameter("until", "Only events before this time.", _TIME),
            _parameter("order", "Newest first (desc) or in order.", {"type": "string", "enum": ["asc", "desc"]}),
            _parameter("after", "Only events behind this seq.", _NUMBER),
            _parameter("before", "Only events ahead of this seq.", _NUMBER),
            _LIMIT,
        ),
    ),
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
)


def describe() -> dict[str, Any]:
    """The document, the same for everybody."""
    _, components = msgspec.json.schema_components(
        [*(each.answer for each in OPERATIONS), Problem], ref_template=_REFERENCE
    )
    components["PersonEdit"] = _edit()
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
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
        "description": f"Needs a token with the scope {operation.scopes[0]} or admin.",
        "operationId": f"{operation.method}{operation.path.title().replace('{Id}', 'One').replace('/', '')}",
        "security": [{"token": []}],
        "parameters": list(operation.parameters),
        "responses": {
            "200": {"description": operation.summary, "content": _content(wire.JSON, operation.answer.__name__)},
            "default": {"description": "Refused.", "content": _content(wire.PROBLEM, Problem.__name__)},
        },
    }
    if operation.also_text:
        found["responses"]["200"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    if operation.body:
        found["requestBody"] = {"required": True, "content": _content("application/merge-patch+json", "PersonEdit")}
    return found


def _content(media_type: str, name: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REFERENCE.format(name=name)}}}


def _edit() -> dict[str, Any]:
    """Any of a person's attributes; null takes one away."""
    names = sorted({key.split(".")[0] for key in LEAVES if not key.startswith("urn:")})
    return {
        "title": "PersonEdit",
        "description": "Attributes by their SCIM names with their new values; null takes a value away.",
        "type": "object",
        "properties": {name: {} for name in names},
    }


async def document(request: Request) -> Response:  # noqa: ARG001  the same for every request
    return wire.json(_DOCUMENT)


_DOCUMENT = describe()
