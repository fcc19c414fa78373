"""Random pasts in which people are erased at random moments: whatever happened, nothing of them is left, and everything
else is as if nobody had touched it."""

import asyncio
import hashlib
import random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ops.database import Database
from tests.conftest import Directory
from tests.replays import differences, follow, live, replay
from tests.test_erasure import erase, everything

PEOPLE = 8
STEPS = 14  # of each writer
WRITERS = 4
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def mark(number: int) -> str:
    """What all values of a person hold, and nobody else's."""
    return f"qx{number:03}"


def some_values(chance: random.Random, number: int) -> dict[str, Any]:
    own = f"{mark(number)} {chance.choice(['Åsa', 'Bo', 'Zoë'])}"
    values = {
        "title": chance.choice([None, own, f"{own} II"]),
        "displayName": chance.choice([None, own]),
        "nickName": chance.choice([None, mark(number)]),
        "role": chance.choice(["owner", "Admin", "member", mark(number)]),
        "active": chance.choice([True, False]),
        "externalId": chance.choice([None, f"{mark(number)}-x"]),
        "emails": chance.choice([None, [{"type": "work", "value": f"{mark(number)}@x.example"}]]),
        f"{ENTERPRISE}:department": chance.choice([None, own]),
    }
    return {key: values[key] for key in chance.sample(sorted(values), chance.randint(1, 4))}


class Past:
    """A tenant's random past; a person has a number, and an id for each time that the directory created it."""

    def __init__(self, directory: Directory, seed: int) -> None:
        self.directory = directory
        self.chance = random.Random(seed)
        self.ids: dict[int, list[str]] = {number: [] for number in range(PEOPLE)}
        self.erased: set[str] = set()
        self.erased_at: dict[int, int] = {}
        self.statuses: set[int] = set()

    async def go_on(self) -> None:
        for _ in range(STEPS):
            await self.step(self.chance.randrange(PEOPLE))

    async def step(self, number: int) -> None:
        if not self.ids[number] or self.chance.random() < 0.1:
            await self.create(number)
            return
        person = self.ids[number][-1]
        values = some_values(self.chance, number)
        kind = self.chance.random()
        if kind < 0.4:
            operations = [{"op": "replace", "path": key, "value": value} for key, value in values.items()]
            await self.send("PATCH", f"/scim/v2/Users/{person}", {"Operations": operations})
        elif kind < 0.6:
            edited = {key: value for key, value in values.items() if ":" not in key}
            await self.send("PATCH", f"/v1/users/{person}", edited)
        elif kind < 0.7:
            await self.send("PUT", f"/scim/v2/Users/{person}", {"userName": f"{mark(number)}@x.example", **values})
        elif kind < 0.75:
            await self.send("DELETE", f"/scim/v2/Users/{person}")
        elif kind < 0.8:
            await self.send("GET", f"/v1/events?actor={mark(number)}@x.example")
        elif kind < 0.9:
            await follow(self.directory.services)
        else:
            await self.erase(person)

    async def create(self, number: int) -> None:
        values = {key: value for key, value in some_values(self.chance, number).items() if value is not None}
        body = {"userName": f"{mark(number)}@x.example", **values}
        answer = await self.send("POST", "/scim/v2/Users", body)
        if answer.status_code == 201:
            self.ids[number].append(answer.json()["id"])

    async def erase(self, person: str) -> None:
        certificate = await erase(self.directory, person, basis=self.chance.choice("abcdef"))
        assert (certificate["checks"]["events_with_content"], certificate["checks"]["notes_with_content"]) == (0, 0)
        self.erased.add(person)
        number = next(number for number, ids in self.ids.items() if person in ids)
        self.erased_at[number] = max(self.erased_at.get(number, 0), certificate["seq"])

    async def send(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.directory.request(method, path, json=body)
        self.statuses.add(answer.status_code)
        assert answer.status_code < 500, answer.text
        return answer

    def ids_of_others(self) -> list[str]:
        return [each for found in self.ids.values() for each in found if each not in self.erased]


async def check_log(owner: asyncpg.Connection, past: Past) -> None:
    """Each digest is that of what is there, and only what had to be emptied is empty."""
    rows = await owner.fetch("SELECT *, data::text AS text FROM rollbook.events ORDER BY tenant_id, seq")
    for row in rows:
        if row["data"] is not None:
            assert row["digest"] == hashlib.sha256(row["salt"] + row["text"].encode()).digest()
        elif row["stream_id"] != row["tenant_id"]:
            assert str(row["stream_id"]) in past.erased
        else:
            assert row["type"] in {"RequestRefused", "AuditAccessed"}
    of_erased = [row for row in rows if str(row["stream_id"]) in past.erased and row["data"] is not None]
    assert {row["type"] for row in of_erased} <= {"PersonalDataErased"}
    assert len(of_erased) == len(past.erased)


async def left_of(owner: asyncpg.Connection, past: Past) -> list[str]:
    """What any table still holds of the people. Of refused creations and of looks for a name, nobody can know after an
    erasure that they were about that person: those since then are let pass."""
    notes = await owner.fetch(
        "SELECT seq, e::text AS row FROM rollbook.events AS e WHERE type = 'AuditAccessed' "
        "OR (type = 'RequestRefused' AND data ->> 'method' = 'POST')"
    )
    since = {
        note["row"].lower()
        for note in notes
        if all(note["seq"] > at for number, at in past.erased_at.items() if mark(number) in note["row"])
    }
    found = (await everything(owner)).splitlines()
    return [line for line in found if line not in since and any(mark(number) in line for number in past.ids)]


async def rows_of(owner: asyncpg.Connection, people: list[str]) -> dict[str, list[str]]:
    ids = [UUID(each) for each in people]
    return {
        table: [
            row["row"]
            for row in await owner.fetch(
                f"SELECT t::text AS row FROM rollbook.{table} AS t WHERE {column} = ANY ($1) ORDER BY 1",  # noqa: S608  constants
                ids,
            )
        ]
        for table, column in (("users", "id"), ("history", "user_id"), ("events", "stream_id"))
    }


@pytest.mark.parametrize("seed", range(6))
async def test_of_people_erased_at_random_moments_of_random_pasts_nothing_is_left_and_all_else_is_as_it_was(
    directory: Directory, database: Database, owner: asyncpg.Connection, seed: int
) -> None:
    past = Past(directory, seed)
    await asyncio.gather(*(past.go_on() for _ in range(WRITERS)))
    await directory.services.accesses.drain()
    if seed % 2:  # otherwise they may be behind by everything
        await follow(directory.services)
    one, *others = past.ids_of_others()
    before, seats = await rows_of(owner, others), (await live(owner))["seat_changes"]

    await past.erase(one)  # with nothing else going on
    after = await rows_of(owner, others)
    await follow(directory.services)

    assert after == before
    assert [row for row in (await live(owner))["seat_changes"] if row in seats] == seats
    assert await differences(database) == []
    await check_log(owner, past)
    for person in others:
        await past.erase(person)
    assert await left_of(owner, past) == []
    await follow(directory.services)
    assert await left_of(owner, past) == []
    assert await differences(database) == []
    assert (await replay(database)).differences == []
    counts = (await directory.request("GET", "/v1/seats")).json()
    assert (counts["active"], counts["inactive"], counts["deleted"]) == (0, 0, 0)
    assert {200, 201} <= past.statuses
