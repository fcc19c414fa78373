"""Requests that nobody sends who means well: every address and method, with bodies that were right once."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from msgspec import Struct

from api.app import ROUTES

SCIM = "urn:ietf:params:scim:schemas"
MESSAGES = "urn:ietf:params:scim:api:messages:2.0"
# But for what needs the ledger's key, which is in a folder of the service.
PATHS = sorted({route.path for route in ROUTES if "{path:path}" not in route.path} - {"/v1/checkpoint"})
METHODS = ("GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FETCH")
TEXTS = (
    "", " ", "\0", "'", '"', "\\", "%00", "../..", "a" * 5_000, "🦊", "\u202e", "\ud800", "null", "true", "-1", "1e999",
    "; DROP TABLE users", "<script>", "urn:ietf:params:scim:schemas:core:2.0:User", "userName", "members", "bulkId:a",
    "2026-11-23T09:00:00Z", "9999-99-99", 'userName eq "a"', 'emails[type eq "work"].value', "(((((", "not", "*", "W/",
    'members[value eq "', "externalId", "meta.created", "rb_", str(UUID(int=0)), str(2**63), "\r\nX: y", "é", "ſ", "İ",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 1.5, -0.0, 1e308)
PARAMETERS = (
    "filter", "attributes", "excludedAttributes", "sortBy", "sortOrder", "startIndex", "count", "cursor", "as_of",
    "from", "to", "as_of_seq", "after_seq", "to_seq", "limit", "after", "order", "type", "user", "actor", "value",
    "seq", "size", "active", "role", "by", "format", "aadOptscim062020",
)  # fmt: skip
HEADERS = ("If-Match", "If-None-Match", "Content-Type", "Accept", "X-Rollbook-Actor", "Authorization", "Content-Length")


def user(name: str) -> Any:
    return {
        "schemas": [f"{SCIM}:core:2.0:User"],
        "userName": name,
        "externalId": name,
        "active": "True",
        "name": {"givenName": "A", "familyName": "B"},
        "emails": [{"type": "work", "value": f"{name}@x.example", "primary": True}],
        f"{SCIM}:extension:enterprise:2.0:User": {"department": "D", "manager": {"value": "1"}},
        f"{SCIM}:core:2.0:User": {"role": "Member", "microsoftId": name},
    }


def patch(*_: str) -> Any:
    return {
        "schemas": [f"{MESSAGES}:PatchOp"],
        "Operations": [
            {"op": "Replace", "path": "title", "value": "x"},
            {"op": "add", "path": 'emails[type eq "work"].value', "value": "y@x.example"},
            {"op": "remove", "path": 'members[value eq "1"]'},
            {"op": "add", "path": "members", "value": [{"value": "1"}]},
            {"op": "replace", "value": {"displayName": "z", "active": False}},
        ],
    }


def group(name: str) -> Any:
    return {"schemas": [f"{SCIM}:core:2.0:Group"], "displayName": name, "members": [{"value": name}]}


def bulk(name: str) -> Any:
    return {
        "schemas": [f"{MESSAGES}:BulkRequest"],
        "failOnErrors": 3,
        "Operations": [
            {"method": "POST", "path": "/Users", "bulkId": "a", "data": user(name)},
            {"method": "POST", "path": "/Groups", "bulkId": "b", "data": {"displayName": "b", "members": [
                {"value": "bulkId:a"}]}},
            {"method": "PATCH", "path": "/Users/bulkId:a", "data": patch()},
        ],
    }  # fmt: skip


def search(name: str) -> Any:
    return {"schemas": [f"{MESSAGES}:SearchRequest"], "filter": f'userName eq "{name}"', "count": 3, "sortBy": "title"}


def edit(_: str) -> Any:
    return {"title": "x"}


BODIES: tuple[Callable[[str], Any], ...] = (user, patch, group, bulk, search, edit)
# What is usual: half of the requests are one of these, but for what is changed in them.
USUAL: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("POST", "/scim/v2/Users", user),
    ("GET", "/scim/v2/Users", edit),
    ("PUT", "/scim/v2/Users/{id}", user),
    ("PATCH", "/scim/v2/Users/{id}", patch),
    ("DELETE", "/scim/v2/Users/{id}", edit),
    ("POST", "/scim/v2/Groups", group),
    ("GET", "/scim/v2/Groups", edit),
    ("PUT", "/scim/v2/Groups/{id}", group),
    ("PATCH", "/scim/v2/Groups/{id}", patch),
    ("DELETE", "/scim/v2/Groups/{id}", edit),
    ("POST", "/scim/v2/Bulk", bulk),
    ("POST", "/scim/v2/.search", search),
    ("PATCH", "/v1/users/{id}", edit),
)


class Hostile(Struct, frozen=True):
    """A request as it goes over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def requests(seed: int, token: str, ids: list[str]) -> Iterator[Hostile]:
    """Without end; `ids` are those of resources that there are, and may grow."""
    chance = random.Random(seed)
    while True:
        yield _request(chance, token, ids)


def _request(chance: random.Random, token: str, ids: list[str]) -> Hostile:
    method, template, body = chance.choice(METHODS), chance.choice(PATHS), chance.choice(BODIES)
    if chance.random() < 0.5:
        method, template, body = chance.choice(USUAL)
    path = template.replace("{id}", _id(chance, ids)) if "{id}" in template else template
    if chance.random() < 0.4:
        given = {chance.choice(PARAMETERS): _text(chance) for _ in range(chance.randint(1, 3))}
        path += "?" + urlencode(given, errors="replace")
    headers = {"authorization": f"Bearer {token}", "content-type": "application/scim+json"}
    if chance.random() < 0.15:
        headers[chance.choice(HEADERS).lower()] = _latin(_text(chance))
    return Hostile(method, path, headers, _body(chance, body))


def _id(chance: random.Random, ids: list[str]) -> str:
    if ids and chance.random() < 0.8:
        return chance.choice(ids[-50:])
    return quote(_text(chance), safe="", errors="replace") or "x"


def _text(chance: random.Random) -> str:
    text = chance.choice(TEXTS)
    return text + chance.choice(TEXTS) if chance.random() < 0.3 else text


def _latin(text: str) -> str:
    return "".join(each for each in text if " " <= each <= "~")[:2_000]


def _body(chance: random.Random, template: Callable[[str], Any]) -> bytes:
    body = template(f"u{chance.randint(0, 300)}")
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        body = _mutated(chance, body)
    if chance.random() < 0.02:
        return b"[" * 50_000
    written = json.dumps(body).encode("utf-8", "surrogatepass")
    if chance.random() < 0.05:
        place = chance.randrange(len(written) + 1)
        return written[:place] + bytes([chance.randrange(256)]) + written[place + chance.randint(0, 3) :]
    return written


def _mutated(chance: random.Random, value: Any) -> Any:
    """The same with one part of it changed, somewhere."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        if chance.random() < 0.15:
            return {**value, _text(chance): _anything(chance)}
        return {**value, name: _mutated(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [*value[:place], _mutated(chance, value[place]), *value[place:]]
    return _anything(chance)


def _anything(chance: random.Random) -> Any:
    return chance.choice(
        (None, True, False, [], {}, [[]], [None], {"value": None}, {"": ""}, chance.choice(NUMBERS), _text(chance))
    )
