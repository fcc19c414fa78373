"""The twenty-one questions: each command, call and query of the document answers as the document shows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.auditing import auditor
from tests.conftest import Directory, issue
from tests.test_cli import Shell

ANSWERS = Path(__file__).resolve().parents[1] / "docs" / "auditor-answers.md"
SECTIONS = re.split(r"^## ", ANSWERS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
TITLES = [section.split("\n")[0] for section in SECTIONS]

# Of a store as young as that of a test, dates are those of its own life.
DAYS = {"2026-12-01": "now", "2026-11-01": "2020-01-01"}


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def store(company: Directory) -> dict[str, str]:
    """A bit of everything, and what the variables of the document stand for."""
    people = (await company.request("GET", "/v1/users")).json()["users"]
    ids = {each["userName"]: each["id"] for each in people}
    token_id = (await company.services.tenants.tokens(company.tenant_id))[0].id
    tim = await company.create("tim", manager={"value": ids["ann"]})
    company.token = await issue(company.services, company.tenant_id)
    await company.request("PATCH", f"/scim/v2/Users/{ids['bob']}", json={"Operations": [
        {"op": "replace", "path": "active", "value": False}]})  # fmt: skip
    await company.request("POST", f"/v1/users/{tim}/erase", json={"basis": "b"})
    following = Following(company.services.pool, FOLLOWERS)
    await following.catch_up()
    await company.request("GET", "/v1/roster")
    await company.services.accesses.drain()
    await following.catch_up()
    return {"$ANN": ids["ann"], "$TOKEN": str(token_id)}


def meant(text: str, store: dict[str, str], now: str) -> str:
    for name, value in {**store, **DAYS, "'now'": "'now'"}.items():
        text = text.replace(name, now if value == "now" else value)
    return text


@pytest.fixture
async def now(company: Directory, store: dict[str, str]) -> str:
    """The moment of the last event: any later one would not be yet."""
    events = (await company.request("GET", "/v1/events?limit=1")).json()["events"]
    return str(events[0]["recorded_at"])


@pytest.mark.parametrize("section", SECTIONS, ids=TITLES)
async def test_a_question_is_answered_as_it_stands_in_the_document(  # noqa: PLR0913, PLR0917  fixtures
    section: str, company: Directory, database: Database, store: dict[str, str], now: str, tmp_path: Path
) -> None:
    shown = [json.loads(each) for each in blocks(section, "json")]
    for command in blocks(section, "sh"):
        words = meant(command.strip(), store, now).split()
        output = Shell(database.owner_url).output(*words[1:], "--data", str(tmp_path))
        if shown:
            _alike(json.loads(output.splitlines()[0]), shown[0])
        assert output
    for call in re.findall(r"`GET ([^`]*)`", section):
        answer = await company.request("GET", meant(call, store, now).replace("+", "%2B"))
        assert answer.status_code == 200, answer.text
    async with auditor(database, "contoso") as connection:
        for query in blocks(section, "sql"):
            rows = await connection.fetch(meant(query, store, now))
            assert rows or "checkpoints" in query, query


def _alike(found: dict[str, Any], shown: dict[str, Any]) -> None:
    """The same members, of the same types where neither is null."""
    assert found.keys() == shown.keys()
    for name, value in shown.items():
        if value is not None and found[name] is not None:
            assert type(value) is type(found[name]), name


def test_there_are_as_many_as_auditors_ask() -> None:
    assert [int(title.partition(".")[0]) for title in TITLES] == list(range(1, 22))
