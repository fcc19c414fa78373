"""`rollbook audit`: each question on a terminal and into files, beside a running service and without one."""

import csv
import hashlib
import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.questions import QUESTIONS
from ops.database import Database
from projections.question import Question
from tests.conftest import Directory
from tests.test_cli import ROLLBOOK, Shell
from tests.test_questions import REQUIRED, address_of
from tests.test_serve import Service, command


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


async def noted(owner: asyncpg.Connection) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT actor, data::text FROM rollbook.events WHERE type = 'EvidenceExported' ORDER BY seq"
    )
    return [{"actor": row["actor"], **json.loads(row["data"])} for row in rows]


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.name)
async def test_each_question_gives_the_rows_that_the_service_gives(
    company: Directory, shell: Shell, owner: asyncpg.Connection, question: Question[Any, Any]
) -> None:
    named = (await address_of(company, question)).partition("?")[0].split("/")[3:]
    options = ["--id", named[0]] if "{id}" in question.address else []
    options += [text for name, value in REQUIRED.get(question.name, {}).items() for text in (f"--{name}", value)]
    taken = question.asked.__struct_fields__
    bound = "as-of-seq" if "as_of_seq" in taken else "to-seq" if "to_seq" in taken else None
    seq = str(await owner.fetchval("SELECT max(seq) FROM rollbook.events"))
    options += [f"--{bound}", seq] if bound else ["--before", "16"] if question.name == "events" else []
    given = dict(zip(options[::2], options[1::2], strict=True))
    query = "&".join(f"{name[2:].replace('-', '_')}={text}" for name, text in given.items() if name != "--id")

    lines = shell.output("audit", question.name, "--tenant", "contoso", *options).splitlines()

    address = question.address.replace("{id}", "".join(named[:1]))
    page = (await company.request("GET", f"{address}?{query}")).json()
    assert [json.loads(line) for line in lines] == page[question.rows_name]
    [look] = await noted(owner)
    assert (look["question"], look["actor"], look["rows"]) == (question.name, f"uid:{os.getuid()}", len(lines))


@pytest.mark.parametrize("form", ["ndjson", "csv", "json"])
async def test_a_file_comes_with_its_manifest_and_is_never_written_over(
    company: Directory, shell: Shell, owner: asyncpg.Connection, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"roster.{form}"
    arguments = [
        "audit",
        "roster",
        "--tenant",
        "contoso",
        "--role",
        "owner,admin",
        "--active",
        "true",
        "--out",
        str(out),
    ]

    done = shell.run(*arguments)

    assert (done.returncode, done.stdout) == (0, "")
    assert f"{out.name}.manifest.json" in done.stderr
    manifest = json.loads((tmp_path / f"{out.name}.manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (manifest["rows"], manifest["is_whole"]) == (2, True)
    assert manifest["parameters"] == {"role": "owner,admin", "active": "true"}
    assert [each["sha256"] for each in await noted(owner)] == [manifest["sha256"]]
    before = out.read_bytes()
    assert "exists already" in shell.trouble(*arguments)
    assert out.read_bytes() == before
    assert names_in(tmp_path) == sorted([out.name, f"{out.name}.manifest.json"])


@pytest.mark.usefixtures("company")
def test_what_cannot_be_asked_is_one_line(shell: Shell, tmp_path: Path) -> None:
    ask = ("audit", "roster", "--tenant", "contoso")
    assert "There is no tenant 'nobody'" in shell.trouble("audit", "roster", "--tenant", "nobody")
    assert "as_of takes a time with its zone" in shell.trouble(*ask, "--as-of", "yesterday")
    assert "as_of is not yet" in shell.trouble(*ask, "--as-of", "2999-01-01")
    assert "The log ends at seq" in shell.trouble(*ask, "--as-of-seq", "999999")
    assert "role takes" in shell.trouble(*ask, "--role", "x" * 501)
    assert "--format takes one of" in shell.trouble(*ask, "--format", "xml")
    assert "--out takes a file whose name ends in" in shell.trouble(*ask, "--out", str(tmp_path / "roster.xlsx"))
    assert "--out chooses the format" in shell.trouble(*ask, "--out", "roster.csv", "--format", "csv")
    assert "Cannot write" in shell.trouble(*ask, "--out", str(tmp_path / "no" / "roster.csv"))
    nobody = "00000000-0000-0000-0000-000000000000"
    assert "Nobody with the id" in shell.trouble("audit", "person", "--tenant", "contoso", "--id", nobody)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.usefixtures("company")
def test_a_folder_that_is_not_ours_is_one_line(shell: Shell, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert "Cannot write" in shell.trouble("audit", "roster", "--tenant", "contoso", "--out", str(tmp_path / "x.csv"))


# Ends that were not meant: many rows, and a reader or an auditor who has seen enough.

_MANY = """
    WITH grown AS (
        INSERT INTO rollbook.events
        SELECT tenant_id, seq + n, stream_id, version + n, type, recorded_at, source, actor, token_id, request_id, data,
            salt, digest
        FROM rollbook.events
        CROSS JOIN generate_series(1, 200000) AS n
        WHERE tenant_id = $1 AND seq = (SELECT seq FROM rollbook.heads WHERE tenant_id = $1)
    )
    UPDATE rollbook.heads SET seq = seq + 200000 WHERE tenant_id = $1
"""


@pytest.fixture
async def much(company: Directory, owner: asyncpg.Connection) -> Directory:
    await owner.execute(_MANY, company.tenant_id)
    return company


@pytest.fixture
def started(database: Database) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Commands that are ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for each in processes:
        each.kill()
        each.wait()


@pytest.fixture
def listening() -> Iterator[None]:
    """As on a terminal: what a shell starts in the background, and all that this starts, is deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def in_a_shell(line: str, database: Database) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["/bin/bash", "-c", line], capture_output=True, env=environment(database), check=False)  # noqa: S603


def on_a_terminal(terminal: int, database: Database, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([ROLLBOOK, *arguments], stderr=terminal, env=environment(database))  # noqa: S603  our own


def rest_of(terminal: int) -> bytes:
    """What is written until nobody writes any more; who does not read it holds the writer up."""
    shown = b""
    with suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as reader:  # EIO is the end of a terminal
        while piece := reader.read(4096):
            shown += piece
    return shown


def environment(database: Database) -> dict[str, str]:
    return {**os.environ, "ROLLBOOK_DATABASE_URL": database.owner_url, "COLUMNS": "100"}


@pytest.mark.usefixtures("much")
async def test_a_reader_who_has_seen_enough_ends_it_and_the_log_says_so(
    database: Database, owner: asyncpg.Connection
) -> None:
    line = f"'{ROLLBOOK}' audit events --tenant contoso | head -1; exit ${{PIPESTATUS[0]}}"

    done = in_a_shell(line, database)

    assert (done.returncode, done.stderr) == (1, b"")
    assert len(done.stdout.splitlines()) == 1
    [look] = await noted(owner)
    assert look["is_whole"] is False


@pytest.mark.usefixtures("much", "listening")
async def test_ctrl_c_leaves_no_file_and_the_log_says_so(
    database: Database, owner: asyncpg.Connection, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """On a terminal, where a bar shows how far it is."""
    ours, theirs = pty.openpty()
    arguments = ["audit", "events", "--tenant", "contoso", "--out", str(tmp_path / "events.csv")]
    started.append(on_a_terminal(theirs, database, *arguments))
    os.close(theirs)
    shown = b""
    while b"00 rows" not in shown:
        shown += os.read(ours, 4096)

    started[0].send_signal(signal.SIGINT)

    shown += rest_of(ours)
    assert started[0].wait(20) == 130
    assert b"Traceback" not in shown
    assert names_in(tmp_path) == []
    [look] = await noted(owner)
    assert look["is_whole"] is False
    assert look["rows"] > 0


def test_it_answers_beside_a_running_service_and_without_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    service = Service(data)
    try:
        beside = command("audit", "settings-changes", "--tenant", "default", "--format", "csv", data=data)
    finally:
        service.close()
    without = command("audit", "settings-changes", "--tenant", "default", "--format", "csv", data=data)

    assert (beside.returncode, without.returncode) == (0, 0), beside.stderr + without.stderr
    assert beside.stdout == without.stdout
    assert [row[3] for row in csv.reader(beside.stdout.splitlines())] == [
        "type",
        "TenantRegistered",
        "TokenIssued",
        "TokenIssued",
    ]
    nothing = command("audit", "roster", "--tenant", "default", data=tmp_path / "nothing")
    assert (nothing.returncode, "There is no store" in nothing.stderr) == (2, True)
