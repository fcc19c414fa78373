"""What cannot be asked is refused with a sentence, whatever was given for whichever parameter of whichever question."""

from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.parameters import Parameter, parameters
from api.questions import QUESTIONS
from projections.question import AsOf, Period, Question
from tests.conftest import Directory
from tests.test_questions import REQUIRED, address_of

HOSTILE = [
    "",
    " ",
    "0",
    "-1",
    "1.5",
    "1e3",
    "+1",
    "\uff11",
    "9223372036854775807",
    "9223372036854775808",
    "00000000000000000000999999999999999999999999",
    "9" * 400,
    "9" * 5_000,
    "x" * 30_000,
    "Infinity",
    "-infinity",
    "NaN",
    "null",
    "true",
    "TRUE",
    "yes",
    "\0",
    "a\0b",
    "'; DROP TABLE rollbook.events; --",
    "%",
    ",",
    "member,,owner",
    "[1,2]",
    '{"a": 1}',
    "\u202e=1+1",
    "2026-11-23",
    "2026-02-30",
    "2026-11-23T09:00:00",
    "2026-11-23T09:00:00Z",
    "2026-11-23T09:00:00 01:00",
    "2026-11-23T09:00:00+25:00",
    "2026-11-23T09:00:00Europe/Berlin",
    "2026-11-23T24:00:00Z",
    "2026-11-23T23:59:60Z",
    "0001-01-01",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.999999-14:00",
    "10000-01-01T00:00:00Z",
    "yesterday",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "ffffffff-ffff-7fff-bfff-ffffffffffff",
    "not-an-id",
]
ALWAYS_TAKEN = [Parameter(name, str, is_list=False, is_required=False, description="") for name in ("after", "limit")]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.name)
async def test_whatever_is_given_for_a_parameter_the_answer_is_one_or_says_what_was_wrong(
    company: Directory, owner: asyncpg.Connection, question: Question[Any, Any]
) -> None:
    theirs = await owner.fetchval(
        "SELECT stream_id FROM rollbook.events WHERE tenant_id <> $1 AND type = 'UserProvisioned'", company.tenant_id
    )
    values = [*HOSTILE, str(theirs), str(company.tenant_id), str(uuid4())]
    person = (await company.request("GET", "/v1/users?limit=1")).json()["users"][0]["id"]
    for each in [*parameters(question.asked), *ALWAYS_TAKEN]:
        for value in values:
            answer = await asked(company, question, {"id": person, **REQUIRED.get(question.name, {}), each.name: value})
            assert answer.status_code in {200, 400, 404}, (each.name, value[:80], answer.text)
            if answer.status_code != 200:
                detail = answer.json()["detail"]
                assert detail.endswith((".", '"')), (each.name, value[:80], detail)
                assert len(detail) < 600, (each.name, value[:80], detail)
            elif each.name == "id":
                assert answer.json()[question.rows_name] == []


async def asked(company: Directory, question: Question[Any, Any], given: dict[str, str]) -> Any:
    """In the address what stands there, everything else behind it."""
    in_path = {name: quote(text[:5_000], safe="") for name, text in given.items() if f"{{{name}}}" in question.address}
    path = question.address.replace("{id}", in_path.get("id", ""))
    query = {name: text for name, text in given.items() if name not in in_path and name != "id"}
    headers = {"Authorization": f"Bearer {company.token}"}
    return await company.client.get(path, params=query, headers=headers)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.name)
async def test_what_no_question_takes_is_refused(company: Directory, question: Question[Any, Any]) -> None:
    path = question.address.replace("{id}", str(uuid4()))
    for query, says in {
        "colour=red": "There is no parameter 'colour' here. There are",
        "limit=1&limit=2": "limit is given twice",
        "limit=0": "limit takes a number from 1 to 1000",
        "limit=1001": "limit takes a number from 1 to 1000",
        "format=xml": "format takes one of ndjson, csv, json",
        "format=csv&limit=1": "limit and after are for pages",
    }.items():
        answer = await company.request("GET", f"{path}?{query}")
        assert (answer.status_code, says in answer.json()["detail"]) == (400, True), (query, answer.text)


PERIODS = [each for each in QUESTIONS if issubclass(each.asked, Period)]
MOMENTS = [each for each in QUESTIONS if issubclass(each.asked, AsOf)]


@pytest.mark.parametrize("question", PERIODS, ids=lambda each: each.name)
async def test_a_period_that_cannot_be_is_refused_and_an_empty_one_is_empty(
    company: Directory, question: Question[Any, Any]
) -> None:
    path = await address_of(company, question)
    for query, says in {
        "from=2026-01-02&to=2026-01-01": "from must be before to",
        "from=2999-01-01": "from is not yet",
        "after_seq=7&to_seq=6": "after_seq must not be behind to_seq",
        "to_seq=999999": "The log ends at seq",
        "after_seq=999999": "The log ends at seq",
    }.items():
        answer = await company.request("GET", f"{path}{query}")
        assert (answer.status_code, says in answer.json()["detail"]) == (400, True), (query, answer.text)
    for query in (
        "to=2000-01-01",
        "to=0001-01-01",
        "to_seq=0",
        "after_seq=7&to_seq=7",
        "from=1999-01-01&to=2000-01-01",
    ):
        answer = await company.request("GET", f"{path}{query}")
        assert (answer.status_code, answer.json()["next"]) == (200, None), query
        assert answer.json()[question.rows_name] == [] or question.name == "seat-peaks", query


@pytest.mark.parametrize("question", MOMENTS, ids=lambda each: each.name)
async def test_a_moment_that_cannot_be_is_refused_and_before_the_log_began_nobody_was_there(
    company: Directory, question: Question[Any, Any]
) -> None:
    path = await address_of(company, question)
    for query, says in {
        "as_of=2999-01-01": "as_of is not yet",
        "as_of_seq=999999": "The log ends at seq",
        "as_of_seq=1&as_of=2026-01-01": "in two ways",
    }.items():
        answer = await company.request("GET", f"{path}{query}")
        assert (answer.status_code, says in answer.json()["detail"]) == (400, True), (query, answer.text)
    for query in ("as_of=2000-01-01", "as_of=0001-01-01", "as_of_seq=0"):
        answer = await company.request("GET", f"{path}{query}")
        if question.name in {"person", "group-members", "person-groups"}:
            assert (answer.status_code, "as of seq 0" in answer.json()["detail"]) == (404, True), answer.text
        else:
            rows = answer.json()["rows"]
            assert rows == [] or [row["active"] for row in rows] == [0]


async def test_nobody_is_found_by_an_id_of_another_tenant(company: Directory, owner: asyncpg.Connection) -> None:
    theirs: UUID = await owner.fetchval(
        "SELECT stream_id FROM rollbook.events WHERE tenant_id <> $1 AND type = 'UserProvisioned'", company.tenant_id
    )

    assert (await company.request("GET", f"/v1/users/{theirs}/history")).status_code == 404
    assert (await company.request("GET", f"/v1/people/{theirs}")).status_code == 404
    assert (await company.request("GET", f"/v1/users/{theirs}?as_of_seq=5")).status_code == 404
    assert (await company.request("GET", f"/v1/changes?user={theirs}")).json()["rows"] == []
    assert (await company.request("GET", f"/v1/events?user={theirs}")).json()["events"] == []


async def test_a_person_as_of_a_moment_is_shown_as_the_person_of_now(company: Directory) -> None:
    now = (await company.request("GET", "/v1/users?limit=1")).json()["users"][0]
    last = (await company.request("GET", f"/v1/users/{now['id']}/history")).json()["events"][-1]

    for query in (f"as_of_seq={last['seq']}", f"as_of={last['recorded_at']}"):
        then = await company.request("GET", f"/v1/users/{now['id']}?{query}")
        assert then.json() == now
        assert then.headers["etag"] == f'W/"{now["version"]}"'
    first = (await company.request("GET", f"/v1/users/{now['id']}?as_of_seq=4")).json()
    assert (first["version"], first["title"], now["title"]) == (1, "Engineer", "Director")
    for query, says in {"as_of=2999-01-01": "not yet", "as_of_seq=1&colour=1": "colour", "as_of=soon": "as_of"}.items():
        answer = await company.request("GET", f"/v1/users/{now['id']}?{query}")
        assert (answer.status_code, says in answer.json()["detail"]) == (400, True)
