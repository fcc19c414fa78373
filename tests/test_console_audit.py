"""The audit in the console: pages of an answer, names for ids, what of the looking is noted, files that verify."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ops import verify
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.conftest import Directory, register
from tests.independent_verifier import holds
from tests.test_groups import group, grouped
from tests.test_v1_ledger import ledger
from tests.visitors import Visitor, visitor

__all__ = ["grouped", "ledger"]


async def looks(directory: Directory) -> list[tuple[str, dict[str, Any]]]:
    """What of the looking is in the log, in order: the question and its parameters."""
    await directory.services.accesses.drain()
    rows = await directory.services.pool.fetch(
        "SELECT data FROM rollbook.events WHERE tenant_id = $1 AND type IN ('AuditAccessed', 'EvidenceExported')"
        " ORDER BY seq",
        directory.tenant_id,
    )
    told = [json.loads(row["data"]) for row in rows]
    return [(each["question"], each.get("parameters", {})) for each in told if each["question"] != "console:sign-in"]


def links(text: str, rel: str) -> str | None:
    """The address of the link to the page before or behind."""
    before, found, _ = text.partition(f'" rel="{rel}"')
    return before.rpartition('href="')[2].replace("&amp;", "&") if found else None


async def seqs(auditor: Visitor, path: str) -> tuple[list[int], str | None]:
    page = await auditor.get(path)
    assert page.status_code == 200, page.text
    rows = [int(each.partition('"')[0]) for each in page.text.split('<tr data-seq="')[1:]]
    return rows, links(page.text, "next")


async def test_the_pages_of_the_log_follow_each_other_without_gaps_whatever_is_written_meanwhile(
    directory: Directory,
) -> None:
    for number in range(70):
        await directory.create(f"person{number}")
    auditor = await visitor(directory, "audit:read")
    first, behind = await seqs(auditor, "/console/audit")
    assert behind
    await directory.create("late")
    second, end = await seqs(auditor, behind)
    assert first + second == list(range(first[0], 0, -1))
    assert (len(first), end) == (50, None)
    assert 'href="/console/audit"' in (await auditor.get(behind)).text


async def test_the_filters_of_an_address_are_those_of_the_question(directory: Directory) -> None:
    await directory.create("ann")
    auditor = await visitor(directory, "audit:read")
    page = await auditor.get("/console/audit?type=UserProvisioned&source=&user=")
    assert page.text.count('<tr data-seq="') == 1
    assert '<option value="UserProvisioned" selected>' in page.text
    assert await looks(directory) == [("events", {"type": "UserProvisioned"})]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/console/audit?type=Nonsense", "Nonsense"),
        ("/console/audit?since=yesterday", "since"),
        ("/console/audit?nonsense=1", "nonsense"),
        ("/console/audit/local-edits?user=ann", "user"),
        ("/console/audit/changes?from=2026-02-30", "from"),
        ("/console/audit/questions/roster?as_of=never", "as_of"),
    ],
)
async def test_what_cannot_be_asked_is_told_on_the_page_with_its_form(
    directory: Directory, path: str, told: str
) -> None:
    auditor = await visitor(directory, "audit:read")
    page = await auditor.get(path)
    assert page.status_code == 400
    assert 'role="alert"' in page.text
    assert told in page.text
    assert '<form class="filters"' in page.text
    assert await looks(directory) == []


async def test_who_gives_no_id_is_told_where_ids_are(directory: Directory) -> None:
    auditor = await visitor(directory, "audit:read")
    for path in ("/console/audit", "/console/audit/local-edits", "/console/audit/changes"):
        page = (await auditor.get(f"{path}?user=ann")).text
        assert '<a href="/console/people">people</a>' in page
        assert "Take the whole answer" not in page


async def test_people_are_called_by_their_names_and_tokens_by_theirs(directory: Directory) -> None:
    ann = await directory.create("ann@contoso.example")
    auditor = await visitor(directory, "audit:read")
    page = await auditor.get("/console/audit")
    assert f'<a href="/console/people/{ann}">ann@contoso.example</a>' in page.text
    assert "token “Test”" in page.text


async def test_a_group_and_its_members_are_called_by_their_names_and_lead_to_its_events(grouped: Directory) -> None:
    ann = await grouped.create("ann@contoso.example")
    team = await group(grouped, "Team", ann)
    auditor = await visitor(grouped, "audit:read")
    page = await auditor.get("/console/audit?type=MembersAdded")
    assert f'<a href="/console/audit?user={team}">Team</a>' in page.text
    assert "ann@contoso.example</ins>" in page.text
    assert f"/console/people/{team}" not in page.text
    assert len((await seqs(auditor, f"/console/audit?user={team}"))[0]) == 2


async def test_one_event_has_its_neighbours_and_its_data(directory: Directory) -> None:
    ann = await directory.create("ann", title="Engineer")
    await directory.patch(ann, {"op": "replace", "path": "title", "value": "Manager"})
    auditor = await visitor(directory, "audit:read")
    page = await auditor.get("/console/audit/events/4")
    assert "Engineer</del>" in page.text
    assert "Manager</ins>" in page.text
    assert 'href="/console/audit/events/3"' in page.text
    assert "AttributesChanged" in page.text


@pytest.mark.parametrize("seq", ["0", "-1", "x", "999999", "9" * 40, "1.0", "²"])
async def test_an_event_that_is_not_there_is_a_page_that_says_so(directory: Directory, seq: str) -> None:
    auditor = await visitor(directory, "audit:read")
    page = await auditor.get(f"/console/audit/events/{seq}")
    assert page.status_code == 404
    assert "There is nothing here" in page.text


async def test_following_the_log_leaves_no_trace_if_nothing_happened(directory: Directory) -> None:
    auditor = await visitor(directory, "audit:read")
    await auditor.get("/console/audit/tail?after=0")
    last = await directory.services.pool.fetchval("SELECT max(seq) FROM rollbook.events")
    before = await looks(directory)
    for _ in range(3):
        page = await auditor.get(f"/console/audit/tail?after={last + 1}")
        assert page.status_code == 200
    assert await looks(directory) == before


async def test_each_page_and_each_file_is_noted_by_its_name(directory: Directory) -> None:
    ann = await directory.create("ann")
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    auditor = await visitor(directory, "audit:read")
    for path, name, parameters in (
        ("/console/people", "console:people", {}),
        (f"/console/people/{ann}", "console:person", {"id": ann}),
        ("/console/sync", "console:sync", {"days": "7"}),
        ("/console/audit/local-edits", "local-edits", {}),
        ("/console/audit/questions/roster", "roster", {}),
        ("/console/audit/files/events?format=csv&type=UserProvisioned", "events", {"type": "UserProvisioned"}),
    ):
        assert (await auditor.get(path)).status_code == 200, path
        assert (await looks(directory))[-1] == (name, parameters)


@pytest.mark.parametrize("path", ["/console/audit/files/events?format=exe", "/console/audit/files/events"])
async def test_a_file_of_another_form_is_refused_with_those_that_there_are(directory: Directory, path: str) -> None:
    auditor = await visitor(directory, "audit:read")
    page = await auditor.get(path)
    assert page.status_code == 400
    assert "ndjson, csv, json" in page.text


async def test_a_question_that_is_not_there_is_a_page_that_says_so(directory: Directory) -> None:
    auditor = await visitor(directory, "audit:read")
    for path in ("/console/audit/questions/nonsense", "/console/audit/files/nonsense?format=csv"):
        assert (await auditor.get(path)).status_code == 404


# The ledger.


@pytest.mark.parametrize("query", ["", "user={user}", "from=2020-01-01&to=2100-01-01"])
async def test_an_evidence_file_of_the_console_verifies_and_is_noted(
    ledger: Directory, tmp_path: Path, query: str
) -> None:
    user = await ledger.services.pool.fetchval(
        "SELECT stream_id FROM rollbook.events WHERE tenant_id = $1 AND stream_id <> $1 LIMIT 1", ledger.tenant_id
    )
    auditor = await visitor(ledger, "audit:read")
    note = await auditor.get("/console/audit/evidence/checkpoint")
    taken = await auditor.get(f"/console/audit/evidence/file?{query.format(user=user)}")
    assert taken.status_code == 200, taken.text
    assert taken.headers["content-disposition"].startswith('attachment; filename="evidence-')
    assert taken.headers["cache-control"] == "no-store"
    path, kept = tmp_path / "taken.ndjson", tmp_path / "note"
    path.write_bytes(taken.content)
    kept.write_text(note.text)
    code, lines = verify.verify(path, [kept], None)
    assert code == 0, lines
    assert holds(taken.content, [note.text])
    assert [name for name, _ in await looks(ledger)] == ["evidence"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=2026-01-01", 400),
        ("to=2026-01-01", 400),
        ("from=2026-02-01&to=2026-01-01", 400),
        ("user=00000000-0000-0000-0000-000000000001&from=2026-01-01&to=2026-02-01", 400),
        ("user=ann", 400),
        ("user=00000000-0000-0000-0000-000000000002", 404),
    ],
)
async def test_evidence_that_cannot_be_had_is_a_page_and_no_file(ledger: Directory, query: str, status: int) -> None:
    auditor = await visitor(ledger, "audit:read")
    page = await auditor.get(f"/console/audit/evidence/file?{query}")
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "content-disposition" not in page.headers


async def test_no_evidence_of_another_tenant_is_given_out(ledger: Directory) -> None:
    other = await register(ledger.services, "fabrikam")
    auditor = await visitor(ledger, "audit:read")
    assert (await auditor.get(f"/console/audit/evidence/file?user={other}")).status_code == 404
    whole = await auditor.get("/console/audit/evidence/file")
    assert str(other) not in whole.text
    assert "fabrikam" not in whole.text


async def test_the_page_of_evidence_shows_the_checkpoint_that_it_gives_out(ledger: Directory) -> None:
    auditor = await visitor(ledger, "audit:read")
    async with asyncio.timeout(20):
        note = await auditor.get("/console/audit/evidence/checkpoint")
    page = await auditor.get("/console/audit/evidence")
    assert note.text.splitlines()[0] in page.text
    assert "was never read against the ledger" in page.text


# The address without a path.


async def test_a_browser_without_a_path_is_led_to_the_console_and_a_program_is_told_where_to_go(
    directory: Directory,
) -> None:
    led = await directory.client.get("/", headers={"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
    assert (led.status_code, led.headers["location"]) == (303, "/console")
    for headers in ({}, {"Accept": "application/scim+json"}, {"Accept": "*/*"}):
        told = await directory.client.get("/", headers=headers)
        assert told.status_code == 404
        assert "/scim/v2" in told.text
    with_token = await directory.request("GET", "/", headers={"Accept": "text/html"})
    assert with_token.status_code == 404
    assert (await directory.client.post("/", headers={"Accept": "text/html"})).status_code == 405
