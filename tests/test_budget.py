"""What a request costs: the statements and the round trips that really go to Postgres, counted on the wire."""

import asyncio
import contextlib
import dataclasses
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from ops.database import Database
from tests.conftest import Directory

BEHIND = "INSERT INTO rollbook.request_log"

Notice = Callable[[bytes, bytes], bool]
"""Is told each message, by its kind and content; says whether to pass it on."""


class Proxy:
    """Stands in front of Postgres and reads what is said (chapter 54 of its documentation).

    `statements` are the texts of all that was executed for requests; `round_trips` counts their waits for an answer.
    `behind` are those that write the request log, now and then, while no request waits.
    """

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.behind: list[str] = []
        self.round_trips = 0
        self.doomed: str | None = None
        self._socket = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._server = await asyncio.start_unix_server(self._serve, f"{self._folder.name}/.s.PGSQL.5432")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        self._folder.cleanup()

    def in_front_of(self, url: str) -> str:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        return f"postgresql://{parts.netloc}{parts.path}?host={self._folder.name}&port=5432"

    def lose_answer_to(self, text: str) -> None:
        """Cut the connection, once, when the next statement with this text has been carried out."""
        self.doomed = text

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(self._socket)
        self._writers |= {to_client, to_server}
        conversation = Conversation(self)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await _forward(client, to_server, b"", lambda *_: True)  # the first message is the only one without a kind
            await asyncio.gather(
                _pump(client, to_server, conversation.say), _pump(server, to_client, conversation.hear)
            )


class Conversation:
    """One connection: which statements were prepared in it, and which is being executed."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._prepared: dict[bytes, str] = {}
        self._bound = ""
        self._is_doomed = False
        self._is_behind = False  # what is said now is said by nobody who answers a request

    def say(self, kind: bytes, content: bytes) -> bool:
        match kind:
            case b"P":  # Parse
                name, text = content.split(b"\0")[:2]
                self._prepared[name] = text.decode()
                self._is_behind |= BEHIND in self._prepared[name]
            case b"B":  # Bind
                _portal, name = content.split(b"\0")[:2]
                self._bound = self._prepared[name]
                self._is_behind |= BEHIND in self._bound
            case b"E":  # Execute
                self._execute(self._bound)
            case b"Q":  # Query
                self._execute(content.rstrip(b"\0").decode())
            case _:
                pass
        if kind in {b"S", b"Q"}:  # Sync and Query are what is answered
            self._proxy.round_trips += not self._is_behind
            self._is_behind = False
        return True

    def _execute(self, text: str) -> None:
        (self._proxy.behind if self._is_behind else self._proxy.statements).append(" ".join(text.split()))
        if self._proxy.doomed and self._proxy.doomed in text:
            self._is_doomed, self._proxy.doomed = True, None

    def hear(self, kind: bytes, _content: bytes) -> bool:
        if self._is_doomed and kind == b"Z":  # ReadyForQuery: by now it is committed
            raise ConnectionResetError
        return not self._is_doomed


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, notice: Notice) -> None:
    try:
        while True:
            await _forward(reader, writer, await reader.readexactly(1), notice)
    finally:
        writer.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: bytes, notice: Notice) -> None:
    length = await reader.readexactly(4)
    content = await reader.readexactly(int.from_bytes(length, "big") - 4)
    if notice(kind, content):
        writer.write(kind + length + content)
        await writer.drain()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with Proxy() as proxy:
        yield proxy


@pytest.fixture
def database(database: Database, proxy: Proxy) -> Database:
    """The service of these tests reaches Postgres through the proxy."""
    return dataclasses.replace(database, service_url=proxy.in_front_of(database.service_url))


@dataclasses.dataclass
class Request:
    """A request about a user; `{user}` is the user's id, `{place}` tells two users apart."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    status: int = 200

    async def send(self, directory: Directory, place: int, user_id: str) -> None:
        body = self.body
        if body and "userName" in body:
            body = {**body, "userName": body["userName"].format(place=place)}
        response = await directory.request(self.method, self.path.format(user=user_id, place=place), json=body)
        assert response.status_code == self.status, response.text


def patch(**values: Any) -> Request:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return Request("PATCH", "/scim/v2/Users/{user}", {"Operations": operations})


LOAD, APPEND = "FROM rollbook.users WHERE tenant_id = $1 AND id = $2", "FROM rollbook.append("
USERS, EVENTS = "FROM rollbook.users", "FROM rollbook.events"
SETTLE = "FROM rollbook.heads"  # the part of the log that an audit question is about

COSTS = {
    "creating a user": (Request("POST", "/scim/v2/Users", {"userName": "new-{place}"}, 201), [APPEND]),
    "a refused creation": (Request("POST", "/scim/v2/Users", {"userName": "user-{place}"}, 409), [APPEND, APPEND]),
    "changing a user": (patch(title="Manager"), [LOAD, APPEND]),
    "a change of three events": (patch(title="Manager", active="False", role="admin"), [LOAD, APPEND]),
    "a PUT": (Request("PUT", "/scim/v2/Users/{user}", {"userName": "put-{place}"}), [LOAD, APPEND]),
    "a PATCH that changes nothing": (patch(title="Engineer", active="True"), [LOAD]),
    "a PATCH of nobody": (Request("PATCH", f"/scim/v2/Users/{uuid4()}", {"Operations": []}, 404), [LOAD]),
    "deleting a user": (Request("DELETE", "/scim/v2/Users/{user}", status=204), [LOAD, "FROM rollbook.groups", APPEND]),
    "a local edit": (Request("PATCH", "/v1/users/{user}", {"title": "Manager"}), [LOAD, APPEND]),
    "reading a user": (Request("GET", "/scim/v2/Users/{user}"), [LOAD]),
    "matching by userName": (Request("GET", '/scim/v2/Users?filter=userName eq "user-{place}"'), [USERS]),
    "matching by address": (Request("GET", '/scim/v2/Users?filter=emails[type eq "work"].value eq "x"'), [USERS]),
    "a page of users": (Request("GET", "/scim/v2/Users"), [USERS]),
    "the seats": (Request("GET", "/v1/seats"), ["JOIN rollbook.seats"]),
    "the people": (Request("GET", "/v1/users"), [USERS]),
    "the events": (Request("GET", "/v1/events"), [SETTLE, EVENTS]),
    "the history of one person": (Request("GET", "/v1/users/{user}/history"), [SETTLE, EVENTS]),
    "a discovery document": (Request("GET", "/scim/v2/ServiceProviderConfig"), []),
}


@pytest.mark.parametrize(("request_", "costs"), COSTS.values(), ids=COSTS)
async def test_a_request_costs_its_statements_with_one_round_trip_each(
    directory: Directory, proxy: Proxy, request_: Request, costs: list[str]
) -> None:
    """Counted the second time: by then its statements are prepared."""
    for place in range(2):
        user_id = await directory.create(f"user-{place}", title="Engineer")
        await directory.request("GET", "/v1/seats")  # the token is remembered now
        proxy.statements.clear()
        proxy.round_trips = 0
        await request_.send(directory, place, user_id)

    assert len(proxy.statements) == len(costs), proxy.statements
    assert proxy.round_trips == len(costs)
    assert all(part in statement for part, statement in zip(costs, proxy.statements, strict=True))


async def test_authentication_costs_one_statement_when_the_token_is_not_remembered(
    directory: Directory, proxy: Proxy
) -> None:
    for _ in range(2):
        directory.services.gate.forget()
        proxy.statements.clear()
        proxy.round_trips = 0
        await directory.request("GET", "/scim/v2/Users?count=0")
        await directory.request("GET", "/scim/v2/Users?count=0")

    assert len(proxy.statements) == proxy.round_trips == 3
    assert "FROM rollbook.tokens" in proxy.statements[0]


async def test_no_request_opens_a_transaction_of_its_own(directory: Directory, proxy: Proxy) -> None:
    for place, (request, _) in enumerate(COSTS.values()):
        await request.send(directory, place, await directory.create(f"user-{place}", title="Engineer"))

    words = {each.split()[0].upper() for each in proxy.statements}
    assert words.isdisjoint({"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "SET"})


async def test_the_request_log_costs_one_statement_for_a_batch_and_no_request_waits_for_it(
    directory: Directory, proxy: Proxy
) -> None:
    await directory.request("GET", "/scim/v2/ServiceProviderConfig")
    await directory.services.request_writer.flush()
    proxy.behind.clear()
    proxy.round_trips = 0
    for _ in range(100):
        await directory.request("GET", "/scim/v2/ServiceProviderConfig")
    await directory.services.request_writer.flush()

    assert proxy.round_trips <= 1  # for the token, if it was forgotten meanwhile
    assert 1 <= len(proxy.behind) <= 3  # by the second


MEMBERS = "FROM rollbook.members WHERE tenant_id = $1 AND group_id = ANY ($2)"
GROUPS_OF_USERS, NAMED, OF_GROUP = "JOIN within", "FROM unnest($3::text[], $4::uuid[])", "FROM rollbook.groups WHERE"


def members(op: str) -> Request:
    body = {"Operations": [{"op": op, "path": "members", "value": [{"value": "{user}"}, {"value": "somebody else"}]}]}
    return Request("PATCH", "/scim/v2/Groups/{group}", body)


GROUP_COSTS = {
    "adding members": (members("add"), [OF_GROUP, NAMED, APPEND, MEMBERS]),
    "removing members that are none": (members("remove"), [OF_GROUP, NAMED, MEMBERS]),
    "creating a group": (
        Request("POST", "/scim/v2/Groups?attributes=id", {"displayName": "T"}, 201),
        ["rollbook.awaiting(", APPEND],
    ),
    "matching a group": (
        Request("GET", '/scim/v2/Groups?excludedAttributes=members&filter=displayName eq "team"'),
        [OF_GROUP],
    ),
    "reading a user without groups": (Request("GET", "/scim/v2/Users/{user}?excludedAttributes=groups"), [LOAD]),
    "reading a user": (Request("GET", "/scim/v2/Users/{user}"), [LOAD, GROUPS_OF_USERS]),
}


@pytest.mark.parametrize(("request_", "costs"), GROUP_COSTS.values(), ids=GROUP_COSTS)
async def test_a_request_about_groups_costs_its_statements(
    directory: Directory, proxy: Proxy, request_: Request, costs: list[str]
) -> None:
    await directory.set_settings(groups="on")
    for place in range(2):
        user_id = await directory.create(f"user-{place}")
        response = await directory.request("POST", "/scim/v2/Groups", json={"displayName": "Team"})
        path = request_.path.format(user=user_id, group=response.json()["id"])
        body = json.loads(json.dumps(request_.body).replace("{user}", user_id))
        await directory.request("GET", "/v1/seats")
        proxy.statements.clear()
        answered = await directory.request(request_.method, path, json=body)
        assert answered.status_code == request_.status, answered.text

    assert len(proxy.statements) == len(costs), proxy.statements
    for statement, part in zip(proxy.statements, costs, strict=True):
        assert part in " ".join(statement.split())
