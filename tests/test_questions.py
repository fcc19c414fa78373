"""Every audit question: as a page, as a file, described, and noted in the log; what cannot be asked is refused."""

import csv
import io
import json
from typing import Any

import pytest

from api.questions import QUESTIONS
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.question import Question
from projections.questions.memberships import GROUP_MEMBERS
from tests.conftest import Directory
from tests.test_groups import group
from tests.test_openapi import assert_valid, document

AnyQuestion = Question[Any, Any]

REQUIRED = {"attribute-changes": {"attribute": "title"}, "identities": {"value": "ANN"}}


def name_of(question: AnyQuestion) -> str:
    return question.name


async def address_of(company: Directory, question: AnyQuestion) -> str:
    people = (await company.request("GET", "/v1/users")).json()["users"]
    subject = people[0]["id"]
    if question is GROUP_MEMBERS:
        await company.set_settings(groups="on")
        subject = await group(company, "Team", *(each["id"] for each in people if not each["is_deleted"]))
        await Following(company.services.pool, FOLLOWERS).catch_up()
    required = "".join(f"{name}={text}&" for name, text in REQUIRED.get(question.name, {}).items())
    return f"{question.address.replace('{id}', subject)}?{required}"


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
async def test_a_question_answers_as_it_is_described(company: Directory, question: AnyQuestion) -> None:
    described = await document(company)

    answer = await company.request("GET", await address_of(company, question))

    assert answer.status_code == 200, answer.text
    response = described["paths"][question.address]["get"]["responses"]["200"]
    assert_valid(described, response["content"]["application/json"]["schema"], answer.json())


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
async def test_page_by_page_there_are_the_rows_of_one_page(company: Directory, question: AnyQuestion) -> None:
    address = await address_of(company, question)
    as_of_seq = (await company.request("GET", f"{address}limit=1")).json()["as_of_seq"]
    address += {"asof": f"as_of_seq={as_of_seq}&", "period": f"to_seq={as_of_seq}&"}.get(_kind(question), "")
    if question.name == "events":
        address += f"before={as_of_seq + 1}&"
    whole = (await company.request("GET", address)).json()

    page = (await company.request("GET", f"{address}limit=1")).json()
    rows = list(page[question.rows_name])
    while page["next"]:
        page = (await company.request("GET", page["next"])).json()
        rows += page[question.rows_name]

    assert rows == whole[question.rows_name]


def _kind(question: AnyQuestion) -> str:
    fields = question.asked.__struct_fields__
    return "asof" if "as_of_seq" in fields else "period" if "to_seq" in fields else ""


@pytest.mark.parametrize("question", QUESTIONS, ids=name_of)
async def test_every_format_holds_the_rows_of_the_page(company: Directory, question: AnyQuestion) -> None:
    address = await address_of(company, question)
    as_of_seq = (await company.request("GET", f"{address}limit=1")).json()["as_of_seq"]
    address += {"asof": f"as_of_seq={as_of_seq}&", "period": f"to_seq={as_of_seq}&"}.get(_kind(question), "")
    files = {each: await company.request("GET", f"{address}format={each}") for each in ("ndjson", "csv", "json")}

    lines = [json.loads(line) for line in files["ndjson"].text.splitlines()]
    records = list(csv.reader(io.StringIO(files["csv"].text)))
    elements = json.loads(files["json"].text)

    assert all(answer.status_code == 200 for answer in files.values())
    assert len(records[0]) == len(question.row.__struct_fields__)
    if question.name != "events":  # which the looks themselves add to
        assert len(lines) == len(elements) == len(records) - 1
        assert lines == elements
