"""The request log: what is written of a request, in batches behind it, and never what a client chose."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest

from api import request_writer
from api.app import create_app
from api.composition import open_services
from api.request_writer import RequestWriter
from api.services import Services
from engine.tenant import RevokeToken
from ops import administration
from ops.database import Database
from projections.request_log import LoggedRequest, RequestLog, RequestSelection
from tests.conftest import Directory, issue, register
from tests.test_following import until

EVERYTHING = RequestSelection()
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"


async def logged(directory: Directory, tenant_id: UUID | None = None) -> list[LoggedRequest]:
    """All requests of a tenant, the first one first."""
    await directory.services.request_writer.flush()
    return await written(directory.services, tenant_id or directory.tenant_id)


async def written(services: Services, tenant_id: UUID) -> list[LoggedRequest]:
    found, _ = await RequestLog(services.pool).page(tenant_id, EVERYTHING, None, 10_000)
    return found[::-1]


def request(at: datetime, **given: Any) -> LoggedRequest:
    sample = LoggedRequest(
        tenant_id=UUID(int=1),
        at=at,
        request_id=uuid4(),
        token_id=UUID(int=2),
        method="GET",
        route="/scim/v2/Users",
        status=200,
        microseconds=5_000,
    )
    return msgspec.structs.replace(sample, **given)


async def test_each_request_of_a_directory_is_a_row_that_says_what_came_of_it(directory: Directory) -> None:
    began = datetime.now(UTC)
    ann = await directory.create("ann", schemas=[CORE], active="True")
    operations = [
        {"op": "Replace", "path": "title", "value": "Engineer"},
        {"op": "Add", "path": 'emails[type eq "work"].value', "value": "a@x"},
        {"op": "Replace", "path": "active", "value": "False"},
    ]
    for _ in range(2):
        await directory.request(
            "PATCH", f"/scim/v2/Users/{ann}", json={"schemas": [PATCH_OP], "Operations": operations}
        )
    await directory.request("GET", "/scim/v2//users?filter=externalId+eq+jyoung&aadOptscim062020")
    await directory.request("POST", "/scim/v2/Users", json={"schemas": [CORE], "userName": "ANN"})
    await directory.request("GET", f"/scim/v2/Users/{UUID(int=1)}")
    await directory.request("DELETE", f"/scim/v2/Users/{ann}")

    rows = await logged(directory)

    assert [(row.method, row.route, row.status, row.refusal, row.changes) for row in rows] == [
        ("POST", "/scim/v2/Users", 201, None, 1),
        ("PATCH", "/scim/v2/Users/{id}", 200, None, 2),
        ("PATCH", "/scim/v2/Users/{id}", 200, None, 0),
        ("GET", "/scim/v2/Users", 200, None, 0),
        ("POST", "/scim/v2/Users", 409, "uniqueness", 0),
        ("GET", "/scim/v2/Users/{id}", 404, "NotFound", 0),
        ("DELETE", "/scim/v2/Users/{id}", 204, None, 1),
    ]
    assert [row.user_id for row in rows] == [UUID(ann)] * 3 + [None, None, UUID(int=1), UUID(ann)]
    classic = ("op: not in lower case", "active: a string for a boolean")
    assert [row.quirks for row in rows[:4]] == [
        ("active: a string for a boolean",),
        (*classic, "emails: made, for the value path matched nothing"),
        classic,
        (
            "address: not in its usual spelling",
            "address: a parameter that SCIM does not know",
            "filter: a value without quotes",
        ),
    ]
    (token,) = await directory.services.tenants.tokens(directory.tenant_id)
    assert {row.token_id for row in rows} == {token.id}
    assert all(
        began <= row.at <= row.at + timedelta(microseconds=row.microseconds) <= datetime.now(UTC) for row in rows
    )
    assert sorted(row.at for row in rows) == [row.at for row in rows]


async def test_the_id_of_a_row_is_that_of_the_answer_and_of_the_events(directory: Directory) -> None:
    response = await directory.request("POST", "/scim/v2/Users", json={"userName": "ann"})
    (row,) = await logged(directory)

    assert str(row.request_id) == response.headers["x-request-id"]
    assert row.request_id == await directory.services.pool.fetchval(
        "SELECT request_id FROM rollbook.events WHERE tenant_id = $1 AND type = 'UserProvisioned'", directory.tenant_id
    )


async def test_a_token_that_is_revoked_expired_or_of_another_scope_leaves_rows_and_lets_nobody_in(
    directory: Directory,
) -> None:
    services, tenant_id = directory.services, directory.tenant_id
    expired = await issue(services, tenant_id, "scim", life=timedelta(milliseconds=1))
    other_scope = await issue(services, tenant_id, "people:read")
    revoked = await issue(services, tenant_id, "scim")
    issued = (directory.token, expired, other_scope, revoked)
    listed = await services.tenants.tokens(tenant_id)
    tokens = {token: each.id for token, each in zip(issued, listed, strict=True)}
    await services.engine.administer(RevokeToken(tokens[revoked]), administration.cause(tenant_id))
    for token in (expired, other_scope, revoked):
        await directory.client.get("/scim/v2/Users", headers={"Authorization": f"Bearer {token}"})
    somebody = f"/scim/v2/Users/{UUID(int=9)}"
    await directory.client.delete(somebody, headers={"Authorization": f"Bearer {revoked}"})

    rows = await logged(directory)

    assert [(row.token_id, row.status, row.refusal, row.user_id) for row in rows] == [
        (tokens[expired], 401, "NotAuthenticated", None),
        (tokens[other_scope], 403, "Forbidden", None),
        (tokens[revoked], 401, "NotAuthenticated", None),
        (tokens[revoked], 401, "NotAuthenticated", UUID(int=9)),
    ]
    used = {each.id: each.used_at for each in await services.tenants.tokens(tenant_id)}
    assert used[tokens[expired]] is used[tokens[revoked]] is None


async def test_whom_no_token_names_leaves_no_row_nor_do_other_interfaces(directory: Directory) -> None:
    for headers in ({}, {"Authorization": "Bearer rb_mistyped"}, {"Authorization": "Basic YTpi"}):
        await directory.client.get("/scim/v2/Users", headers=headers)
    await directory.request("GET", "/v1/users")
    await directory.client.get("/readyz")

    assert await logged(directory) == []


async def test_a_fault_and_a_database_that_is_away_are_rows_too(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("ann@contoso.example")

    async def refuse(*_: object) -> None:
        raise ConnectionRefusedError

    for broken in (fail, refuse):
        monkeypatch.setattr(type(directory.services.users), "get", broken)
        await directory.request("GET", f"/scim/v2/Users/{UUID(int=1)}")

    assert [(row.status, row.refusal) for row in await logged(directory)] == [(500, None), (503, "Busy")]


async def test_the_rows_of_two_tenants_go_in_one_batch_and_each_sees_its_own(directory: Directory) -> None:
    other = await register(directory.services, "fabrikam")
    token = await issue(directory.services, other)
    await directory.request("GET", "/scim/v2/Users")
    await directory.client.get("/scim/v2/Groups", headers={"Authorization": f"Bearer {token}"})

    assert [row.route for row in await logged(directory)] == ["/scim/v2/Users"]
    assert [row.route for row in await logged(directory, other)] == ["/scim/v2/Groups"]


# Nothing that a client chose.

MARK = "Xyzzy"


def hostile() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests that have the mark wherever a client can put something."""
    for body in _hostile_bodies():
        for method, name in (("POST", "Users"), ("PUT", "Users/{id}"), ("POST", "Groups"), ("PUT", MARK)):
            headers = {"X-Rollbook-Actor": MARK, "User-Agent": MARK, MARK: MARK}
            yield method, f"/scim/v2/{name}", {**body, "headers": headers}
    for operation in _hostile_operations():
        for headers in ({}, {"If-Match": MARK}):
            yield "PATCH", "/scim/v2/Users/{id}", {"json": {"Operations": [operation], MARK: MARK}, "headers": headers}
    for path in ("/scim/v2/Users", "/scim/v2/Groups"):
        for query in HOSTILE_QUERIES:
            yield "GET", f"{path}?{query}", {}
    for method in ("GET", "DELETE", MARK.upper()):
        for name in ("Users", "Schemas", MARK):
            yield method, f"/scim/v2/{name}/{MARK}", {"headers": {"If-None-Match": MARK}}
    yield "POST", "/scim/v2/Users", {"content": "{}", "headers": {"Content-Type": f"text/{MARK}"}}


def _hostile_bodies() -> list[dict[str, Any]]:
    urn, role = f"urn:{MARK}:1.0", f'{{"value": "{MARK}"}}'
    return [
        {"json": {"userName": MARK, "schemas": [MARK, urn], MARK: MARK, f"emails[{MARK}]": 1, f"name.{MARK}": MARK}},
        {"json": {"userName": f"{MARK}@x", "emails": [{MARK: MARK}], "name": {MARK: MARK, "givenName": [MARK]}}},
        {"json": {"userName": f"u-{MARK}", urn: {MARK: MARK}, CORE: {MARK: MARK, "role": MARK, f"{MARK}.a": MARK}}},
        {"json": {"userName": f"v-{MARK}", "role": role, "roles": [{MARK: MARK}, MARK], "manager": MARK}},
        {"json": {"userName": f"w-{MARK}", "active": MARK}},
        {"json": {"userName": f"a-{MARK}", CORE: MARK}},
        {"content": f'{{"{MARK}'},
        {"json": [MARK]},
    ]


def _hostile_operations() -> list[dict[str, Any]]:
    urn = f"urn:{MARK}:1.0"
    return [
        {"op": MARK},
        {"op": "add", "path": MARK, "value": MARK},
        {"op": "add", "path": f'emails[{MARK} eq "{MARK}"].{MARK}', "value": MARK},
        {"op": "add", "path": f'emails[type eq "{MARK}"].value', "value": MARK},
        {"op": "add", "path": f"emails[type eq {MARK}].value", "value": MARK},
        {"op": "add", "path": f"name.{MARK}", "value": {MARK: MARK}, MARK: MARK},
        {"op": "add", "path": "name", "value": {MARK: MARK}},
        {"op": "add", "path": f"{urn}:{MARK}", "value": MARK},
        {"op": "add", "path": "active", "value": MARK},
        {"op": "add", "path": "role", "value": MARK},
        {"op": "remove", "path": f'manager[{MARK} eq "{MARK}"]'},
        {"op": "remove", "path": f'manager[value eq "{MARK}"]'},
        {"op": "remove", "path": "roles", "value": [{"value": MARK, MARK: MARK}]},
        {"op": "Add", "value": {MARK: MARK, urn: {MARK: MARK}, f"name.{MARK}": MARK}},
        {"op": "Add", "value": {CORE: {MARK: MARK, f"{MARK}.a": 1, f"emails[{MARK}]": 2}}},
        {"op": "Add", "path": CORE, "value": {MARK: MARK, f"name.{MARK}": MARK, "name": {MARK: MARK}}},
    ]


HOSTILE_QUERIES = [
    f'filter={MARK} eq "{MARK}"',
    f"filter=userName eq {MARK}",
    f'filter=emails[type eq "{MARK}"].value eq "{MARK}"',
    f'filter=emails[{MARK} eq "{MARK}"].{MARK} eq "{MARK}"',
    f"filter={MARK}",
    f"filter=&{MARK}={MARK}",
    f"attributes={MARK}&sortBy={MARK}",
    f"startIndex={MARK}",
]


async def test_nothing_that_a_client_chose_is_in_any_column(directory: Directory, owner: asyncpg.Connection) -> None:
    await directory.set_settings(unknown_role="ignore", name_characters="any", email_case="keep")
    ann = await directory.create("ann", emails=[{"value": "a@x", "type": "home"}])
    answers = [
        await directory.request(method, path.replace("{id}", ann), **content) for method, path, content in hostile()
    ]

    rows = await logged(directory)

    known = [each.status_code for each in answers if each.status_code != 405]  # which does not ask for the token
    assert [row.status for row in rows[1:]] == known
    assert len({quirk for row in rows for quirk in row.quirks}) > 18
    assert {row.status for row in rows} >= {200, 201, 400, 404, 412, 415, 501}
    assert await owner.fetchval("SELECT count(*) FROM rollbook.request_log AS row WHERE row::text ~* $1", MARK) == 0
    assert await owner.fetchval("SELECT count(*) FROM rollbook.events WHERE data::text ~* $1", MARK) > 0


# Batches.


async def test_a_batch_that_was_written_already_is_not_doubled(services: Services) -> None:
    log = RequestLog(services.pool)
    row = request(datetime.now(UTC), quirks=("a", "b, c"), user_id=UUID(int=5), refusal="uniqueness", changes=3)
    await log.write([row])
    await log.write([row, msgspec.structs.replace(row, request_id=UUID(int=7))])

    found = await written(services, row.tenant_id)
    assert len(found) == 2
    assert row in found


@pytest.fixture
async def counted(services: Services) -> "Counted":
    return Counted(services)


class Counted:
    """A writer with room for ten rows, and what it counted."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.written = self.dropped = 0
        self.writer = RequestWriter(RequestLog(services.pool), self._write, self._drop, most=10)

    def _write(self, rows: int) -> None:
        self.written += rows

    def _drop(self, rows: int) -> None:
        self.dropped += rows


async def test_while_the_database_is_away_the_latest_rows_are_kept_and_written_when_it_is_back(
    counted: Counted, database: Database, owner: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    rows = [request(now + timedelta(milliseconds=place)) for place in range(25)]
    await owner.execute("ALTER TABLE rollbook.request_log RENAME TO away")
    for row in rows[:12]:
        counted.writer.note(row)
    with pytest.raises(asyncpg.UndefinedTableError):
        await counted.writer.flush()
    for row in rows[12:]:
        counted.writer.note(row)
    assert (counted.written, counted.dropped) == (0, 15)

    await owner.execute("ALTER TABLE rollbook.away RENAME TO request_log")
    await counted.writer.flush()

    assert (counted.written, counted.dropped) == (10, 15)
    assert await written(counted.services, UUID(int=1)) == rows[15:]


async def test_a_batch_that_fails_while_others_come_keeps_its_place_as_far_as_there_is_room(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    rows = [request(now + timedelta(milliseconds=place)) for place in range(14)]
    write = RequestLog.write

    async def break_off(_log: RequestLog, _rows: Sequence[LoggedRequest]) -> None:
        for row in rows[8:]:
            counted.writer.note(row)
        raise ConnectionResetError

    monkeypatch.setattr(RequestLog, "write", break_off)
    for row in rows[:8]:
        counted.writer.note(row)
    with pytest.raises(ConnectionResetError):
        await counted.writer.flush()
    monkeypatch.setattr(RequestLog, "write", write)
    await counted.writer.flush()

    assert counted.dropped == 4
    assert await written(counted.services, UUID(int=1)) == rows[4:]


async def test_a_row_that_can_never_be_written_holds_up_no_other(counted: Counted) -> None:
    counted.writer.note(request(datetime.now(UTC), status=2**40))
    await counted.writer.flush()
    counted.writer.note(request(datetime.now(UTC)))
    await counted.writer.flush()

    assert (counted.written, counted.dropped) == (1, 1)


async def test_rows_are_written_within_about_a_second_and_a_full_batch_at_once(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = services.request_writer
    writing = asyncio.create_task(writer.keep_writing())
    writer.note(request(datetime.now(UTC)))
    await until(lambda: _has_rows(services.pool, 1))
    monkeypatch.setattr(request_writer, "PAUSE", 3_600)
    await asyncio.sleep(1.2)  # by then it waits for that hour, unless a batch is full
    for _ in range(request_writer.BATCH):
        writer.note(request(datetime.now(UTC)))
    await until(lambda: _has_rows(services.pool, 1 + request_writer.BATCH))
    writing.cancel()


async def _has_rows(connection: asyncpg.Connection | asyncpg.Pool, count: int) -> bool:
    return int(await connection.fetchval("SELECT count(*) FROM rollbook.request_log")) == count


async def test_a_service_goes_on_writing_after_its_database_was_away(
    directory: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_writer, "UNREACHABLE", 0.1)
    await owner.execute("REVOKE INSERT ON rollbook.request_log FROM rollbook_service")
    await directory.request("GET", "/scim/v2/Users")
    await asyncio.sleep(request_writer.PAUSE + 0.5)
    await owner.execute(
        """
        SELECT pg_terminate_backend(pid)
        FROM pg_stat_activity
        WHERE usename = 'rollbook_service' AND datname = current_database()
        """
    )
    await owner.execute("GRANT INSERT ON rollbook.request_log TO rollbook_service")

    await until(lambda: _has_rows(owner, 1))


async def test_the_end_of_the_service_writes_what_is_left(database: Database, owner: asyncpg.Connection) -> None:
    app = create_app(lambda: open_services(database.service_url))
    async with app.router.lifespan_context(app):
        tenant_id = await register(app.state.services, "contoso")
        headers = {"Authorization": f"Bearer {await issue(app.state.services, tenant_id)}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://rollbook.test") as client:
            for _ in range(3):
                await client.get("/scim/v2/Users", headers=headers)

    assert await owner.fetchval("SELECT count(*) FROM rollbook.request_log WHERE tenant_id = $1", tenant_id) == 3


async def test_the_end_of_the_service_does_not_wait_long_for_a_database_that_hangs(
    counted: Counted, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_writer, "LAST_WAIT", 0.2)
    counted.writer.note(request(datetime.now(UTC)))
    async with owner.transaction():
        await owner.execute("LOCK TABLE rollbook.request_log IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(10):
            await counted.writer.end()

    assert counted.written == 0


# Pages.


async def test_pages_have_each_request_once_whatever_is_chosen(services: Services) -> None:
    log, now = RequestLog(services.pool), datetime.now(UTC)
    person, token = UUID(int=70), UUID(int=80)
    rows = [
        request(
            now - timedelta(minutes=place // 3),  # some arrive at the same moment
            request_id=UUID(int=1_000 + place),
            status=409 if place % 7 == 0 else 200,
            refusal="uniqueness" if place % 7 == 0 else None,
            quirks=("odd", "odder") if place % 5 == 0 else (),
            user_id=person if place % 3 == 0 else None,
            token_id=token if place % 2 else UUID(int=2),
        )
        for place in range(100)
    ]
    await log.write([*rows, *(msgspec.structs.replace(row, tenant_id=UUID(int=99)) for row in rows)])
    for selection, expected in (
        (RequestSelection(), rows),
        (RequestSelection(status=409), rows[::7]),
        (RequestSelection(refusal="uniqueness"), rows[::7]),
        (RequestSelection(quirk="odder"), rows[::5]),
        (RequestSelection(user_id=person), rows[::3]),
        (RequestSelection(token_id=token, status=409), rows[7::14]),
        (RequestSelection(since=rows[60].at, until=rows[30].at), rows[33:63]),
        (RequestSelection(status=418), []),
    ):
        found, cursor = await log.page(UUID(int=1), selection, None, 7)
        while cursor:
            more, cursor = await log.page(UUID(int=1), selection, cursor, 7)
            found += more
        assert found == sorted(expected, key=_key, reverse=True), selection


def _key(row: LoggedRequest) -> tuple[datetime, UUID]:
    return row.at, row.request_id
