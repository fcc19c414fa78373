"""Whoever looks at the audit leaves one event of it: what was asked, how much was given, and nothing of what it was."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from api import accesses
from api.questions import QUESTIONS
from ops.database import Database
from projections.connections import connected
from projections.question import Question
from tests.conftest import Directory, issue
from tests.test_questions import REQUIRED, address_of
from tests.visitors import visitor

Json = dict[str, Any]


class Looks:
    """What is noted in a tenant's log from now on."""

    def __init__(self, directory: Directory, owner: asyncpg.Connection) -> None:
        self._directory = directory
        self._owner = owner
        self._seq = 0

    async def new(self) -> list[Json]:
        await self._directory.services.accesses.drain()
        rows = await self._owner.fetch(
            "SELECT seq, type, source, actor, token_id::text, request_id::text, data::text FROM rollbook.events "
            "WHERE tenant_id = $1 AND type IN ('AuditAccessed', 'EvidenceExported') AND seq > $2 ORDER BY seq",
            self._directory.tenant_id,
            self._seq,
        )
        self._seq = max([self._seq, *(row["seq"] for row in rows)])
        return [{**dict(row), **json.loads(row["data"])} for row in rows]


@pytest.fixture
def looks(company: Directory, owner: asyncpg.Connection) -> Looks:
    return Looks(company, owner)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.name)
async def test_each_page_and_each_file_leaves_one_event(
    company: Directory, looks: Looks, question: Question[Any, Any]
) -> None:
    path = await address_of(company, question)
    token_id = str((await company.services.tenants.tokens(company.tenant_id))[0].id)
    named = path.partition("?")[0].split("/")[3:]
    asked = {"id": named[0]} if "{id}" in question.address else REQUIRED.get(question.name, {})

    for query in ("limit=1", "", "format=csv"):
        answer = await company.request("GET", path + query)
        [look] = await looks.new()
        assert look["type"] == ("EvidenceExported" if "format" in query else "AuditAccessed")
        assert (look["question"], look.get("parameters", {})) == (question.name, asked)
        assert (look["source"], look["actor"], look["token_id"]) == ("local", token_id, token_id)
        assert look["request_id"] == answer.headers["x-request-id"]
        if "format" not in query:
            assert look["rows"] == len(answer.json()[question.rows_name])
            assert look["as_of_seq"] == answer.json()["as_of_seq"]
            assert look.keys() <= {*COLUMNS, "question", "parameters", "rows", "as_of_seq"}


COLUMNS = ("seq", "type", "source", "actor", "token_id", "request_id", "data")


async def test_parameters_are_noted_as_they_were_understood(company: Directory, looks: Looks) -> None:
    await company.request("GET", "/v1/roster?role=owner,%20admin&active=TRUE&as_of=2999-01-01")
    await company.request(
        "GET", "/v1/roster?role=owner,%20admin&active=true&inactive_since=2026-01-02T03:00:00%2B01:00"
    )

    [look] = await looks.new()
    assert look["parameters"] == {"role": "owner,admin", "active": "true", "inactive_since": "2026-01-02T02:00:00Z"}


async def test_who_was_refused_saw_nothing_and_leaves_nothing(company: Directory, looks: Looks) -> None:
    scim = await issue(company.services, company.tenant_id, "scim")
    for headers, path, status in (
        ({"Authorization": "Bearer x"}, "/v1/roster", 401),
        ({"Authorization": f"Bearer {scim}"}, "/v1/roster", 403),
        ({}, "/v1/roster?role=owner&colour=red", 400),
        ({}, "/v1/roster?after=x", 400),
        ({}, "/v1/roster?after=x&format=csv", 400),
    ):
        assert (await company.request("GET", path, headers=headers)).status_code == status

    assert await looks.new() == []


@pytest.mark.parametrize("path", ["/v1/users/{id}/history", "/v1/people/{id}", "/v1/people/{id}?format=csv",
                                  "/v1/users/{id}?as_of_seq=5"])  # fmt: skip
async def test_that_nobody_is_there_is_an_answer_too(company: Directory, looks: Looks, path: str) -> None:
    nobody = str(uuid4())

    assert (await company.request("GET", path.format(id=nobody))).status_code == 404
    [look] = await looks.new()
    assert (look["rows"], look["parameters"]["id"]) == (0, nobody)


# Following the log.


async def poll(company: Directory, after: int, query: str = "") -> list[Json]:
    answer = await company.request("GET", f"/v1/events?order=asc&after={after}{query}")
    return list(answer.json()["events"])


async def test_followers_of_the_log_do_not_keep_it_growing(company: Directory, looks: Looks) -> None:
    last = {"one": 0, "two": 0}
    for _ in range(5):
        for name, seq in last.items():
            events = await poll(company, seq)
            last[name] = events[-1]["seq"] if events else seq
            await company.services.accesses.drain()

    assert len(await looks.new()) == 2  # the first looks, at all there was
    await company.create("late")
    assert [event["type"] for event in await poll(company, last["one"])][-1] == "UserProvisioned"
    [look] = await looks.new()
    assert (look["question"], look["rows"]) == ("events", 1)


CHOICES = [
    "user={id}",
    "actor=nobody",
    "type=UserDeleted&since=2999-01-01",
    "source=engine",
    "token={id}",
    "request={id}",
]


@pytest.mark.parametrize("query", [*CHOICES, "until=2000-01-01"])
async def test_an_empty_answer_to_a_choice_is_noted(company: Directory, looks: Looks, query: str) -> None:
    assert await poll(company, 0, f"&{query.format(id=uuid4())}") == []
    assert len(await looks.new()) == 1


async def test_a_look_at_other_looks_than_those_of_followers_is_noted(company: Directory, looks: Looks) -> None:
    await company.request("GET", "/v1/roster")
    [look] = await looks.new()

    assert [event["seq"] for event in await poll(company, look["seq"] - 1)] == [look["seq"]]
    assert len(await looks.new()) == 1


# A database that does not take notes now.


@asynccontextmanager
async def no_appends(company: Directory, owner: asyncpg.Connection) -> AsyncIterator[None]:
    async with owner.transaction():
        await owner.execute("SELECT FROM rollbook.heads WHERE tenant_id = $1 FOR UPDATE", company.tenant_id)
        yield


async def test_nobody_waits_for_a_note_and_nothing_of_it_is_lost(
    company: Directory,
    database: Database,
    owner: asyncpg.Connection,
    looks: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accesses, "MOST_UNWRITTEN", 3)
    monkeypatch.setattr(accesses, "AGAIN", 0.01)
    async with no_appends(company, owner):
        for _ in range(3):
            assert (await company.request("GET", "/v1/seats-then")).status_code == 200
        for path in ("/v1/seats-then", "/v1/roster?format=csv", f"/v1/users/{uuid4()}?as_of_seq=5"):
            refused = await company.request("GET", path)
            assert (refused.status_code, "cannot be noted now" in refused.text) == (503, True)
        async with connected(database.owner_url) as other:
            while await other.fetchval(TERMINATE_WAITING) == 0:  # noqa: ASYNC110  the database has no event for it
                await asyncio.sleep(0.01)

    assert [look["question"] for look in await looks.new()] == ["seats-then"] * 3
    assert (await company.request("GET", "/v1/seats-then")).status_code == 200


async def test_no_page_of_the_console_is_shown_while_looking_cannot_be_noted(
    company: Directory, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await visitor(company, "audit:read")
    await company.services.accesses.drain()
    monkeypatch.setattr(accesses, "MOST_UNWRITTEN", 1)
    async with no_appends(company, owner):
        assert (await ann.get("/console/people")).status_code == 200
        refused = await ann.get("/console/people")

    assert (refused.status_code, "cannot be noted now" in refused.text) == (503, True)


TERMINATE_WAITING = """
    SELECT count(pg_terminate_backend(pid))
    FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_a_service_that_ends_writes_its_notes_first(company: Directory, owner: asyncpg.Connection) -> None:
    async with no_appends(company, owner):
        await company.request("GET", "/v1/roster")
        ending = asyncio.create_task(company.services.accesses.drain())
        await asyncio.sleep(0.05)
        assert not ending.done()
    await ending

    assert await owner.fetchval("SELECT count(*) FROM rollbook.events WHERE type = 'AuditAccessed'") == 1
