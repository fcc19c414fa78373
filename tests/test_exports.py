"""Files of answers: every reader of CSV reads them, spreadsheets calculate nothing, and none is cut off unseen."""

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api import inquiry
from api.export import FORMATS, Writer, cell
from api.inquiry import Inquiry
from api.questions import QUESTIONS
from ops.database import Database
from projections.connections import connected
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.question import Page
from tests.conftest import Directory, issue, register
from tests.test_provisioning import Live
from tests.test_provisioning import live as _live

Json = dict[str, Any]

live = _live  # a fixture
NASTY = [
    "=1+1",
    "+1",
    "-1",
    "@A1",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    'a"b',
    "a,b",
    "a\r\nb",
    "a\nb",
    ";=1",
    " x ",
    "Zoë",
]


@asynccontextmanager
async def a_company(live: Live, people: int = 12) -> AsyncIterator[Directory]:
    tenant_id = await register(live.services, "contoso")
    token = await issue(live.services, tenant_id)
    async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
        directory = Directory(client, live.services, tenant_id, token)
        await directory.set_settings(name_characters="any", email_case="keep")
        for number in range(people):
            await directory.create(f"user-{number}", title=NASTY[number % len(NASTY)], nickName=NASTY[-1])
        await Following(live.services.pool, FOLLOWERS).catch_up()
        yield directory


async def manifest(directory: Directory, link: str) -> Json:
    """The file's manifest, once it is there."""
    path = link.partition(">")[0].removeprefix("<")
    for _ in range(500):
        answer = await directory.request("GET", path)
        if answer.status_code == 200:
            return dict(answer.json())
        await asyncio.sleep(0.01)
    raise AssertionError(answer.text)


# The form.


@pytest.mark.parametrize("text", NASTY[:8])
def test_a_text_that_a_spreadsheet_would_calculate_gets_a_quotation_mark(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_numbers_times_and_what_is_nested_are_no_formulas_whatever_is_in_them() -> None:
    assert (cell(-1), cell(None), cell(True), cell({"title": "=1+1"})) == ("-1", "", "true", '{"title":"=1+1"}')
    assert cell(["=1+1"]) == '["=1+1"]'


@pytest.mark.parametrize("question", [each for each in QUESTIONS if each.name in {"roster", "events", "changes"}])
async def test_two_readers_of_csv_find_the_rows_that_ndjson_has(
    live: Live, owner: asyncpg.Connection, question: Any
) -> None:
    async with a_company(live, len(NASTY)) as directory:
        bound = {"roster": "as_of_seq=18", "events": "order=asc&before=19", "changes": "to_seq=18"}[question.name]
        text = (await directory.request("GET", f"{question.address}?format=csv&{bound}")).content
        lines = (await directory.request("GET", f"{question.address}?format=ndjson&{bound}")).text.splitlines()

    names, *rows = csv.reader(io.StringIO(text.decode(), newline=""), strict=True)
    expected = [[cell(value) for value in json.loads(line).values()] for line in lines]
    assert len(rows) >= len(NASTY)
    assert [[plain(each) for each in row] for row in rows] == [[plain(each) for each in row] for row in expected]
    columns = ", ".join(f"c{place} text" for place, _ in enumerate(names))
    await owner.execute(f"CREATE TEMP TABLE read ({columns})")
    await owner.copy_to_table("read", source=io.BytesIO(text), format="csv", header=True, null="no such text")
    assert [list(row.values()) for row in await owner.fetch("SELECT * FROM read")] == rows


def plain(text: str) -> Any:
    """What is nested, as it is, whatever the order of the names."""
    return json.loads(text) if text[:1] in {"{", "["} else text


async def test_lines_hold_the_very_bytes_of_events(live: Live, owner: asyncpg.Connection) -> None:
    async with a_company(live) as directory:
        lines = (await directory.request("GET", "/v1/events?format=ndjson&order=asc&before=16")).text.splitlines()
    datas = await owner.fetch("SELECT data::text FROM rollbook.events WHERE seq < 16 ORDER BY seq")

    assert len(lines) == len(datas) == 15
    for line, row in zip(lines, datas, strict=True):
        assert line.endswith(f',"data":{row["data"]}}}')


def test_the_pieces_of_a_file_are_those_of_one_whatever_their_size() -> None:
    rows = [Page([number]) for number in range(5)]
    for form in FORMATS:
        files = set()
        for size in (1, 2, 5):
            writer = Writer(form, Page)
            pieces = [writer.piece(rows[start : start + size]) for start in range(0, 5, size)]
            files.add(b"".join([writer.start(), *pieces, writer.end()]))
        assert len(files) == 1


# What is known of a file.


async def test_a_manifest_says_what_the_file_is_however_many_are_made_at_once(live: Live) -> None:
    async with a_company(live) as directory:
        paths = [f"/v1/{name}?format={form}" for name in ("roster", "joiners") for form in ("ndjson", "csv", "json")]
        files = await asyncio.gather(*(directory.request("GET", path) for path in paths))
        manifests = [await manifest(directory, each.headers["link"]) for each in files]

    for path, file, known in zip(paths, files, manifests, strict=True):
        assert known["sha256"] == hashlib.sha256(file.content).hexdigest()
        assert (known["rows"], known["is_whole"], known["tenant_id"]) == (12, True, str(directory.tenant_id))
        assert path.startswith(f"/v1/{known['question']}?format={known['format']}")
        assert known["request_id"] == file.headers["x-request-id"]


async def test_nobody_finds_a_file_of_another_tenant(company: Directory) -> None:
    file = await company.request("GET", "/v1/roster?format=csv")
    await manifest(company, file.headers["link"])
    other = await issue(company.services, await register(company.services, "adatum"))
    path = f"/v1/exports/{file.headers['x-request-id']}"

    assert (await company.request("GET", path)).status_code == 200
    assert (await company.request("GET", path, headers={"Authorization": f"Bearer {other}"})).status_code == 404
    assert (await company.request("GET", f"/v1/exports/{uuid4()}")).status_code == 404
    assert (await company.request("GET", "/v1/exports/ffffffff-ffff-7fff-bfff-ffffffffffff")).status_code == 404
    assert (await company.request("GET", "/v1/exports/x")).status_code == 400


# Ends that were not meant.


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], asyncio.Event]:
    """Lets an export stand still behind its second page, until the event."""
    page, going_on = Inquiry.page, asyncio.Event()
    monkeypatch.setattr(inquiry, "EXPORTED_AT_A_TIME", 2)
    pages = 0

    async def standing_still(self: Inquiry, after: str | None, limit: int) -> Page[Any]:
        nonlocal pages
        pages += 1
        if pages > 2:
            await going_on.wait()
        return await page(self, after, limit)

    monkeypatch.setattr(Inquiry, "page", standing_still)
    return lambda: going_on


async def test_of_a_file_that_nobody_takes_to_its_end_it_is_known_that_it_is_not_whole(
    live: Live, held: Callable[[], asyncio.Event]
) -> None:
    async with a_company(live) as directory:
        headers = {"Authorization": f"Bearer {directory.token}"}
        async with directory.client.stream("GET", "/v1/roster?format=csv", headers=headers) as answer:
            await anext(answer.aiter_bytes())
            link = answer.headers["link"]
        held().set()
        known = await manifest(directory, link)

    assert (known["is_whole"], known["rows"] in {2, 4}) == (False, True)


async def test_a_file_is_cut_off_for_all_to_see_if_the_database_goes_away(
    live: Live, database: Database, held: Callable[[], asyncio.Event]
) -> None:
    async with a_company(live) as directory:
        name = database.owner_url.partition("?")[0].rpartition("/")[2]
        headers = {"Authorization": f"Bearer {directory.token}"}
        async with (
            connected(database.embedded.url()) as maintenance,  # type: ignore[union-attr]  # there is one in tests
            directory.client.stream("GET", "/v1/roster?format=ndjson", headers=headers) as answer,
        ):
            await maintenance.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await maintenance.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            held().set()
            with pytest.raises(httpx.RemoteProtocolError):
                await answer.aread()
            await maintenance.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        known = await manifest(directory, answer.headers["link"])

    assert known["is_whole"] is False


async def test_what_cannot_be_answered_is_refused_before_the_first_byte(company: Directory) -> None:
    for form in ("csv", "ndjson", "json"):
        answer = await company.request("GET", f"/v1/people/{uuid4()}?format={form}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
