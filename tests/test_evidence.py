"""Evidence: what is exported verifies, by two verifiers, and whatever was changed in it is found and named."""

import asyncio
import base64
import hashlib
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ops import verify
from ops.database import Database
from tests.conftest import Directory
from tests.independent_verifier import holds
from tests.test_cli import Shell
from tests.test_erasure import erase

TOP = Path(__file__).resolve().parents[1]


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


class Files:
    """Evidence of a store, in a folder."""

    def __init__(self, folder: Path, shell: Shell) -> None:
        self.folder = folder
        self.shell = shell

    def export(self, *query: str, tenant: str = "contoso") -> Path:
        out = self.folder / f"{len(list(self.folder.iterdir()))}.evidence"
        self.shell.output(
            "audit", "evidence", "--tenant", tenant, *query, "--out", str(out), "--data", str(self.folder / "data")
        )
        return out

    def checkpoint(self, tenant: str = "contoso") -> str:
        return self.shell.output("ledger", "checkpoint", "--tenant", tenant, "--data", str(self.folder / "data"))


@pytest.fixture
async def files(company: Directory, shell: Shell, tmp_path: Path) -> Files:
    """Of a company in which enough happened for several blocks."""
    await company.set_settings(seat_limit=None)
    for number in range(60):
        await company.create(f"person{number}", title="Engineer")
    return Files(tmp_path, shell)


def verdict(path: Path, *notes: str, key: str | None = None) -> tuple[int, list[str]]:
    """Of both verifiers, which must agree."""
    found = []
    for place, note in enumerate(notes):
        found.append(path.with_name(f"{path.name}.{place}.note"))
        found[-1].write_text(note)
    code, lines = verify.verify(path, found, key)
    assert (code == 0) == holds(path.read_bytes(), notes), lines
    return code, lines


async def person(company: Directory, name: str = "ann") -> str:
    people = (await company.request("GET", "/v1/users?limit=1000")).json()["users"]
    return next(str(each["id"]) for each in people if each["userName"] == name)


async def test_everything_a_person_and_a_period_verify(company: Directory, files: Files) -> None:
    note = files.checkpoint()
    times = [event["recorded_at"] for event in (await company.request("GET", "/v1/events?limit=40")).json()["events"]]

    for query in (
        ["--all"],
        ["--user", await person(company)],
        ["--from", times[30], "--to", times[3]],
        ["--from", "2020-01-01", "--to", "2020-01-02"],
        ["--from", "2020-01-01", "--to", times[0]],
    ):
        code, lines = verdict(files.export(*query), note)
        assert code == 0, lines
        assert lines[-2:] == ["Everything holds.", "Erased: nothing."]


@pytest.mark.parametrize("more", [0, 1, 2, 30, 31, 32, 33])
async def test_logs_of_every_size_around_a_block_verify(
    company: Directory, shell: Shell, tmp_path: Path, more: int
) -> None:
    files = Files(tmp_path, shell)
    for number in range(more):
        await company.create(f"person{number}")
    note = files.checkpoint("fabrikam")

    for tenant in ("contoso", "fabrikam"):
        assert verdict(files.export("--all", tenant=tenant))[0] == 0
    assert verdict(files.export("--all", tenant="fabrikam"), note)[0] == 0
    assert verdict(files.export("--all"), note)[0] == 2  # of another log


async def test_an_erased_person_verifies_and_is_told(
    company: Directory, files: Files, owner: asyncpg.Connection
) -> None:
    ann = await person(company)
    note = files.checkpoint()
    await erase(company, ann)
    await erase(company, await person(company, "person3"))

    for query in (["--all"], ["--user", ann]):
        path = files.export(*query)
        code, lines = verdict(path, note)
        assert code == 0, lines
        assert "erasures:" in lines[-1]
    await owner.execute(
        "UPDATE rollbook.events SET data = NULL, salt = NULL WHERE seq = 20 AND tenant_id = $1", company.tenant_id
    )
    code, lines = verdict(files.export("--all"))
    assert code == 1
    assert "Contents: event 20: its content is missing, and no erasure accounts for it." in lines


async def test_a_period_shows_the_erasure_that_came_after_it(company: Directory, files: Files) -> None:
    ann = await person(company)
    events = (await company.request("GET", f"/v1/users/{ann}/history")).json()["events"]
    await erase(company, ann)

    path = files.export("--from", events[0]["recorded_at"], "--to", events[1]["recorded_at"])

    assert verdict(path)[0] == 0
    assert [json.loads(line).get("as") for line in path.read_text().splitlines()].count("erasure") == 1


async def test_the_key_that_is_trusted_may_have_been_followed_by_others(company: Directory, files: Files) -> None:
    data = ["--data", str(files.folder / "data")]
    note, old = files.checkpoint(), files.shell.output("ledger", "key", "--tenant", "contoso", *data).splitlines()[0]
    before = files.export("--all")
    files.shell.output("ledger", "rotate", *data)
    new = files.shell.output("ledger", "key", "--tenant", "contoso", *data).splitlines()[0]
    after = files.export("--all")
    files.shell.output("ledger", "rotate", "--lost", *data)
    lost = files.export("--all")

    assert verdict(after, note, key=old)[0] == 0
    assert verdict(after, note, key=new)[0] == 0
    assert verify.verify(before, [], new)[0] == 3
    assert verify.verify(lost, [], new)[0] == 3
    assert verify.verify(lost, [], None)[0] == 0
    fingerprint = hashlib.sha256(base64.b64decode(old.split("+", 2)[2])[1:]).hexdigest()
    assert verdict(after, key=fingerprint)[0] == 0


async def test_a_checkpoint_that_the_file_does_not_reach_or_connect_is_told(company: Directory, files: Files) -> None:
    old = files.export("--all")
    await company.create("later")
    newer = files.checkpoint()

    code, lines = verify.verify(old, [_written(files, newer)], None)

    assert code == 4
    assert any("the end of the log was cut off; ask for newer evidence" in line for line in lines)
    content = old.read_text().splitlines(keepends=True)
    kept = [line for line in content if '"consistency"' in line]
    assert kept == []  # nobody was given one before


def _written(files: Files, note: str) -> Path:
    path = files.folder / "note"
    path.write_text(note)
    return path


async def test_notes_that_were_given_to_others_are_connected_without_being_named(
    company: Directory, files: Files
) -> None:
    notes = []
    for number in range(5):
        notes.append(files.checkpoint())
        await company.create(f"later{number}")

    assert verdict(files.export("--user", await person(company)), *notes)[0] == 0


async def test_each_export_is_noted_in_the_log_with_the_digest_of_the_file(company: Directory, files: Files) -> None:
    path = files.export("--user", ann := await person(company))

    [noted] = (await company.request("GET", "/v1/events?type=EvidenceExported")).json()["events"]
    assert noted["data"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert noted["data"]["parameters"] == {"user": ann}
    assert noted["source"] == "operator"


# Mutations.

Line = dict[str, Any]


def mutated(  # noqa: C901, PLR0912, PLR0915  one case for each kind
    lines: list[Line], chance: random.Random
) -> tuple[list[Line], str, int | None]:
    """The lines with one change, what it is, and the first seq that it concerns, if it concerns an event."""
    lines = json.loads(json.dumps(lines))
    shown = [place for place, line in enumerate(lines) if "event" in line and "as" not in line]
    place = chance.choice(shown)
    other = chance.choice([each for each in shown if each != place])
    event = lines[place]["event"]
    seq = event["seq"]
    match chance.randrange(20):
        case 0:
            event["data"] = event["data"][:-1] + " }" if event["data"] else "{}"
            return lines, "data", seq
        case 1:
            event["type"] = "UserDeleted" if event["type"] != "UserDeleted" else "Deactivated"
            return lines, "type", seq
        case 2:
            event["actor"] = event["actor"] + "1"
            return lines, "actor", seq
        case 3:
            event["recorded_at"] = event["recorded_at"].replace("2026", chance.choice(["2025", "2027"]))
            return lines, "re-dated", seq
        case 4:
            event["salt"] = "00" * 32
            return lines, "salt", seq
        case 5:
            event["salt"], event["data"] = "11" * 32, '{"type":"UserDeleted","active":true,"role":"member"}'
            event["digest"] = hashlib.sha256(bytes.fromhex(event["salt"]) + event["data"].encode()).hexdigest()
            return lines, "re-salted with its digest", seq
        case 6:
            del lines[place]
            return lines, "deleted", seq
        case 7:
            lines.insert(place, lines[place])
            return lines, "doubled", seq
        case 8:
            lines[place]["event"], lines[other]["event"] = lines[other]["event"], lines[place]["event"]
            return lines, "swapped", min(seq, lines[place]["event"]["seq"])
        case 9:
            names = ("data", "salt", "digest")
            theirs = lines[other]["event"]
            for name in names:
                event[name], theirs[name] = theirs[name], event[name]
            return lines, "contents exchanged", min(seq, theirs["seq"])
        case 10:
            event["data"] = event["salt"] = None
            return lines, "emptied", seq
        case 11:
            event["seq"] = seq + chance.choice([-1, 1, 1000])
            return lines, "renumbered", min(seq, max(event["seq"], 1))
        case 12:
            event["version"] += 1
            return lines, "version", seq
        case 13:
            event["request_id"] = event["request_id"][:-1] + ("0" if event["request_id"][-1] != "0" else "1")
            return lines, "request", seq
        case 14:
            path = lines[place]["proof"]
            if path:
                path[chance.randrange(len(path))] = base64.b64encode(bytes(32)).decode()
            else:
                path.append(base64.b64encode(bytes(32)).decode())
            return lines, "proof", seq
        case 15:
            body, _, below = lines[1]["checkpoint"].partition("\n\n")
            parts = body.split("\n")
            parts[chance.choice([1, 2])] = chance.choice(["12", base64.b64encode(bytes(range(32))).decode()])
            lines[1]["checkpoint"] = "\n".join(parts) + "\n\n" + below
            return lines, "checkpoint", None
        case 16:
            return lines[: chance.randrange(3, len(lines) - 1)], "truncated", None
        case 17:
            lines[0][chance.choice(["asked_by", "tenant", "software"])] = "somebody"
            return lines, "manifest", None
        case 18:
            lines[0][chance.choice(["events", "erased", "last_seq", "size"])] = 5
            return lines, "manifest's numbers", None
        case _:
            key = lines[2]["keys"][0]["vkey"]
            lines[2]["keys"][0]["vkey"] = key[:-3] + ("A" if key[-3] != "A" else "B") + key[-2:]
            return lines, "key", None


EXPECTED = {
    "data": {1}, "salt": {1}, "type": {2}, "actor": {2}, "re-dated": {2}, "re-salted with its digest": {2},
    "version": {2}, "request": {2}, "proof": {2}, "contents exchanged": {2}, "emptied": {1}, "deleted": {4},
    "truncated": {4}, "manifest": {3}, "manifest's numbers": {2, 4}, "checkpoint": {3}, "key": {3},
    "doubled": {4}, "swapped": {2, 4}, "renumbered": {2, 4},
}  # fmt: skip


async def test_every_one_of_1500_mutations_is_detected_and_the_first_bad_seq_is_named(
    company: Directory, files: Files
) -> None:
    chance = random.Random(17)
    originals = [files.export("--all"), files.export("--user", await person(company))]
    sealed = [[json.loads(line) for line in path.read_text().splitlines()] for path in originals]
    found = Counter[str]()
    for turn in range(1_500):
        lines, what, seq = mutated(sealed[turn % 4 == 3], chance)
        path = files.folder / "mutated"
        path.write_text("".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines))
        code, told = verify.verify(path, [], None)
        found[what] += 1
        assert code in EXPECTED[what], (what, code, told)
        assert not holds(path.read_bytes()), what
        if seq is not None:
            assert f"First bad seq: {seq}." in told, (what, seq, told)
    assert set(found) == set(EXPECTED)


async def test_every_changed_byte_is_detected(company: Directory, files: Files) -> None:
    chance = random.Random(5)
    content = files.export("--user", await person(company)).read_bytes()
    path = files.folder / "changed"
    for _ in range(600):
        place, byte = chance.randrange(len(content)), chance.randrange(256)
        changed = content[:place] + bytes([byte]) + content[place + 1 :]
        cut = content[: chance.randrange(len(content))]
        for each in (changed, cut):
            path.write_bytes(each)
            code, lines = verify.verify(path, [], None)
            assert (code == 0) == (each == content), (place, lines)
            assert code in range(5)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"{}\n", b"[]\n" * 4, b"null\n", b"\xff\xfe\n", b'{"a":1,"a":2}\n', b"[" * 100_000 + b"\n",
        b'{"rollbook-evidence":2}\n', b'{"checkpoint":"x"}\n' * 3, b'{"seal":""}\n{"seal":""}\n', b"1" * 10_000 + b"\n",
        b'{"block":NaN,"above":[]}\n' * 5, b"\0" * 1_000, b'{"event":{},"proof":[]}\n' * 9,
    ],
)  # fmt: skip
def test_whatever_is_no_evidence_is_told_without_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    code, lines = verify.verify(path, [], None)

    assert code in {3, 4}
    assert lines[-2] == "It does not hold."


async def test_the_verifier_runs_alone(company: Directory, files: Files) -> None:
    path = files.export("--all")
    alone = files.folder / "verify.py"
    alone.write_text((TOP / "ops" / "verify.py").read_text())

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(alone), *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    code, out, _ = await run(str(path))
    assert (code, out.splitlines()[-2]) == (0, "Everything holds.")
    assert (await run(str(path) + "x"))[0] == 66
    assert (await run())[0] == 64
    path.write_bytes(path.read_bytes().replace(b"Engineer", b"engineer", 1))
    code, out, err = await run(str(path))
    assert (code, err) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Say which events"),
        (["--all", "--user", "00000000-0000-0000-0000-000000000000"], "Say which events"),
        (["--from", "2026-01-01"], "Say which events"),
        (["--from", "2026-02-01", "--to", "2026-01-01"], "--from must be before --to"),
        (["--from", "yesterday", "--to", "2026-01-01"], "--from takes a date or a time"),
        (["--user", "00000000-0000-0000-0000-000000000000"], "There is no person"),
        (["--all", "--checkpoint", "/nowhere"], "Cannot read /nowhere"),
    ],
)
async def test_what_cannot_be_exported_is_told_in_a_line(
    company: Directory, shell: Shell, tmp_path: Path, arguments: list[str], told: str
) -> None:
    out = tmp_path / "x.evidence"
    said = shell.trouble(
        "audit", "evidence", "--tenant", "contoso", "--out", str(out), "--data", str(tmp_path), *arguments
    )

    assert told in said
    assert not out.exists()
