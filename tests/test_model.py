"""Everything at once: random traffic against the service and against a plain model of it, which must agree."""

import asyncio
import hashlib
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from api.app import create_app
from api.composition import open_services
from engine.schema import CORE, ENTERPRISE
from ops.database import Database
from projections.connections import connected
from projections.rebuild import rebuild
from projections.target import inline_target
from tests.conftest import Directory, issue, register

Json = dict[str, Any]

UNIQUE = ("userName", "microsoftId")


@dataclass
class Person:
    """A user as the model knows it."""

    id: str
    attributes: Json
    active: bool
    role: str
    origins: dict[str, tuple[str, int]]
    version: int = 1
    prefixes: tuple[str, ...] = ()
    is_deleted: bool = False

    def value(self, key: str) -> Any:
        return {"active": self.active, "role": self.role}.get(key, self.attributes.get(key))

    def local_edits(self, keys: Any) -> dict[str, int]:
        found = {key: self.origins.get(key, ("", 0)) for key in keys}
        return {key: version for key, (source, version) in found.items() if source == "local"}


@dataclass
class Model:
    """What has happened: the people, and the events of each stream as they must stand in the log, by their data."""

    people: list[Person] = field(default_factory=list)
    log: list[tuple[str, Json]] = field(default_factory=list)
    seat_limit: int | None = None

    def seats(self) -> int:
        return sum(person.active for person in self.people)

    def is_taken(self, values: Json, by_others_than: Person | None = None) -> bool:
        others = [each for each in self.people if each is not by_others_than and not each.is_deleted]
        return any(
            str(values[name]).casefold() == str(other.attributes.get(name)).casefold()
            for name in UNIQUE
            if values.get(name) is not None
            for other in others
        )

    def create(self, values: Json) -> int:
        """The status of the answer."""
        active = values.get("active", True)
        if self.is_taken(values):
            return 409
        if active and self.seat_limit is not None and self.seats() >= self.seat_limit:
            return 403
        return 201

    def created(self, user_id: str, values: Json) -> None:
        attributes = {key: value for key, value in values.items() if key != "active"}
        active, role = values.get("active", True), values.get("role", "member")
        origins = dict.fromkeys([*attributes, "active", "role"], ("directory", 1))
        self.people.append(Person(user_id, dict(attributes), active, role, origins))
        event = {"type": "UserProvisioned", "attributes": attributes, "active": active, "role": role}
        self.log.append((user_id, event))

    def write(self, person: Person, values: Json, source: str, prefixes: tuple[str, ...] = ()) -> int:
        if person.is_deleted:
            return 404 if source == "directory" else 409
        if self.is_taken({key: value for key, value in values.items() if value != person.value(key)}, person):
            return 409
        is_seat_taken = values.get("active") is True and not person.active
        if is_seat_taken and self.seat_limit is not None and self.seats() >= self.seat_limit:
            return 403
        self._written(person, values, source, prefixes)
        return 200

    def _written(self, person: Person, values: Json, source: str, prefixes: tuple[str, ...]) -> None:
        values = {key: value for key, value in values.items() if key not in {"role", "active"} or value is not None}
        role, active = values.get("role", person.role), values.get("active", person.active)
        changes = {
            key: {"from": person.attributes.get(key), "to": value}
            for key, value in values.items()
            if key != "active" and value != person.attributes.get(key) and (key != "role" or role == person.role)
        }
        same = [key for key in values if values[key] == person.value(key)]
        changed = [key for key in changes if key != "role"]
        is_directory = source == "directory"
        event: Json = {
            "changes": changes,
            "overwrote": person.local_edits(changed) if is_directory else {},
            "confirmed": person.local_edits(same) if is_directory else {},
            "prefixes": [each for each in prefixes if each not in person.prefixes],
        }
        if any(event.values()):
            self._append(person, "AttributesChanged", event, [*changed, *event["confirmed"]], source)
            person.attributes |= {key: change["to"] for key, change in changes.items()}
            person.attributes = {key: value for key, value in person.attributes.items() if value is not None}
            person.prefixes += tuple(event["prefixes"])
        if role != person.role:
            overwrote = person.local_edits(["role"]) if is_directory else {}
            event = {"from": person.role, "to": role, "active": person.active, "overwrote": overwrote}
            self._append(person, "RoleAssigned", event, ["role"], source)
            person.role = person.attributes["role"] = role
        if active != person.active:
            overwrote = person.local_edits(["active"]) if is_directory else {}
            event = {"role": role, "overwrote": overwrote}
            self._append(person, "Reactivated" if active else "Deactivated", event, ["active"], source)
            person.active = active

    def _append(self, person: Person, kind: str, event: Json, keys: list[str], source: str) -> None:
        event = {name: value for name, value in event.items() if value not in ({}, [])}
        self.log.append((person.id, {"type": kind, **event}))
        person.version += 1
        person.origins |= dict.fromkeys(keys, (source, person.version))

    def delete(self, person: Person) -> int:
        if person.is_deleted:
            return 404
        self._append(person, "UserDeleted", {"active": person.active, "role": person.role}, [], "directory")
        person.active, person.is_deleted = False, True
        return 204


# Few values, so that there are collisions, and writes that change nothing.
NAMES = st.sampled_from(["ann", "ANN", "bob", "eve", "zoë", "kim", "lee", "max"])
WORDS = st.sampled_from([None, "a", "b"])
IDS = st.sampled_from([None, "id-1", "ID-1", "id-2", "id-3", "id-4", "id-5"])
ROLES = st.sampled_from(["owner", "admin", "member"])
OPTIONAL = {
    "title": WORDS,
    "name.familyName": WORDS,
    "externalId": WORDS,
    f"{ENTERPRISE}:department": WORDS,
    "microsoftId": IDS,
    "role": ROLES,
    "active": st.booleans(),
}
VALUES = st.fixed_dictionaries({}, optional={"userName": NAMES, **OPTIONAL})
RESOURCES = st.fixed_dictionaries({"userName": NAMES}, optional=OPTIONAL)


def without_nulls(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}


class Traffic(RuleBasedStateMachine):
    """One tenant, from its registration on."""

    runner: asyncio.Runner
    database: Database
    services: Any
    client: httpx.AsyncClient

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.refused = 0
        self.directory = self.run(self._directory())
        self.create({"userName": "first", "title": "a"})
        self.create({"userName": "second", "role": "admin", "active": False})

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def _directory(self) -> Directory:
        tenant_id = await register(self.services, uuid4().hex)
        return Directory(self.client, self.services, tenant_id, await issue(self.services, tenant_id))

    def request(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        response: httpx.Response = self.run(self.directory.request(method, path, json=body))
        self.refused += response.status_code in {400, 403, 409}
        return response

    def someone(self, data: st.DataObject) -> Person:
        """Seldom somebody who was deleted."""
        people = [each for each in self.model.people if not each.is_deleted] * 5 + self.model.people
        return data.draw(st.sampled_from(people))

    def check(self, person: Person, response: httpx.Response, expected: int) -> None:
        assert response.status_code == expected, response.text
        if expected == 200:
            assert response.headers["etag"] == f'W/"{person.version}"'

    @rule(values=RESOURCES)
    def create(self, values: Json) -> None:
        values = without_nulls(values)
        response = self.request("POST", "/scim/v2/Users", values)
        assert response.status_code == self.model.create(values), response.text
        if response.status_code == 201:
            self.model.created(response.json()["id"], values)

    @rule(data=st.data(), values=VALUES)
    def patch_in_the_classic_dialect(self, data: st.DataObject, values: Json) -> None:
        self.patch(self.someone(data), values)

    def patch(self, person: Person, values: Json) -> None:
        operations = [
            {"op": "Remove", "path": key}
            if value is None
            else {"op": "Replace", "path": key, "value": str(value) if isinstance(value, bool) else value}
            for key, value in values.items()
        ]
        response = self.request("PATCH", f"/scim/v2/Users/{person.id}", {"Operations": operations})
        self.check(person, response, self.model.write(person, values, "directory"))

    @rule(data=st.data(), values=VALUES)
    def patch_in_the_flagged_dialect(self, data: st.DataObject, values: Json) -> None:
        person = self.someone(data)
        named = {f"{CORE}:{key}" if key in {"active", "role", "microsoftId"} else key: values[key] for key in values}
        prefixes = (CORE,) if any(key.startswith(CORE) for key in named) else ()
        response = self.request("PATCH", f"/scim/v2/Users/{person.id}", {"Operations": [{"op": "add", "value": named}]})
        self.check(person, response, self.model.write(person, values, "directory", prefixes))

    @rule(data=st.data(), values=RESOURCES)
    def put(self, data: st.DataObject, values: Json) -> None:
        person = self.someone(data)
        response = self.request("PUT", f"/scim/v2/Users/{person.id}", values)
        left_out = dict.fromkeys({*person.attributes, *person.origins} - {"active", "role"})
        self.check(person, response, self.model.write(person, {**left_out, **values}, "directory"))

    @rule(data=st.data(), values=VALUES)
    def edit_locally(self, data: st.DataObject, values: Json) -> None:
        self.edit(self.someone(data), values)

    def edit(self, person: Person, values: Json) -> None:
        response = self.request("PATCH", f"/v1/users/{person.id}", values)
        self.check(person, response, self.model.write(person, values, "local"))

    @rule(data=st.data(), values=VALUES, answer=VALUES)
    def edit_locally_what_the_directory_then_confirms_or_overwrites(
        self, data: st.DataObject, values: Json, answer: Json
    ) -> None:
        person = self.someone(data)
        self.edit(person, values)
        self.patch(person, {key: answer.get(key, value) for key, value in values.items()})

    @rule(data=st.data(), is_active=st.booleans())
    def let_in_or_out(self, data: st.DataObject, is_active: bool) -> None:
        person = self.someone(data)
        operation = {"op": "replace", "path": "active", "value": is_active}
        response = self.request("PATCH", f"/scim/v2/Users/{person.id}", {"Operations": [operation]})
        self.check(person, response, self.model.write(person, {"active": is_active}, "directory"))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        person = self.someone(data)
        response = self.request("DELETE", f"/scim/v2/Users/{person.id}")
        self.check(person, response, self.model.delete(person))

    @rule(seats=st.none() | st.integers(0, 3))
    def limit_the_seats(self, seats: int | None) -> None:
        self.run(self.directory.set_settings(seat_limit=seats))
        self.model.seat_limit = seats

    @rule(is_whole=st.booleans())
    def replay(self, is_whole: bool) -> None:
        self.rebuild(None if is_whole else self.directory.tenant_id, swap=True)

    def rebuild(self, tenant_id: UUID | None, *, swap: bool) -> None:
        summary = self.run(rebuild(self.database.owner_url, inline_target(), tenant_id=tenant_id, swap=swap))
        assert summary.differences == []

    def teardown(self) -> None:
        self.rebuild(self.directory.tenant_id, swap=False)
        self.run(self._check_log())
        self._check_people()
        self._check_seats()

    async def _check_log(self) -> None:
        tenant_id = self.directory.tenant_id
        async with connected(self.database.owner_url) as owner:
            rows: list[asyncpg.Record] = await owner.fetch(
                "SELECT *, data::text AS text FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq", tenant_id
            )
        versions: dict[UUID, int] = {}
        for seq, row in enumerate(rows, 1):
            versions[row["stream_id"]] = versions.get(row["stream_id"], 0) + 1
            assert (row["seq"], row["version"]) == (seq, versions[row["stream_id"]])
            assert row["digest"] == hashlib.sha256(row["salt"] + row["text"].encode()).digest()
            assert json.loads(row["text"])["type"] == row["type"]
        assert [row["recorded_at"] for row in rows] == sorted(row["recorded_at"] for row in rows)
        assert sum(row["type"] == "RequestRefused" for row in rows) == self.refused
        of_people = [row for row in rows if row["stream_id"] != tenant_id]
        assert [(str(row["stream_id"]), json.loads(row["text"])) for row in of_people] == self.model.log

    def _check_people(self) -> None:
        people = self.request("GET", "/v1/users?limit=1000").json()["users"]
        assert len(people) == len(self.model.people)
        for person in self.model.people:
            response = self.request("GET", f"/scim/v2/Users/{person.id}")
            assert response.status_code == (404 if person.is_deleted else 200)
            if response.status_code == 200:
                found = response.json()
                assert (found["active"], found["role"]) == (person.active, person.role)
                assert found["userName"] == person.attributes["userName"]
                assert found.get("title") == person.attributes.get("title")
                assert found.get("name", {}).get("familyName") == person.attributes.get("name.familyName")

    def _check_seats(self) -> None:
        seats = self.request("GET", "/v1/seats").json()
        by_role = dict.fromkeys(seats["by_role"], 0)
        for person in self.model.people:
            by_role[person.role] += person.active
        assert seats["by_role"] == by_role
        assert seats["active"] == self.model.seats()
        assert seats["active"] + seats["inactive"] == len(self.model.people)
        assert seats["deleted"] == sum(person.is_deleted for person in self.model.people)


def test_random_traffic_leaves_the_service_and_a_plain_model_in_agreement(database: Database) -> None:
    app = create_app(lambda: open_services(database.service_url))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def open_() -> httpx.AsyncClient:
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))

        class Here(Traffic):
            pass

        Here.runner, Here.database, Here.client = runner, database, runner.run(open_())
        Here.services = app.state.services
        try:
            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=25, stateful_step_count=30, deadline=None, database=None, derandomize=True
                ),
            )
        finally:
            runner.run(stack.aclose())
