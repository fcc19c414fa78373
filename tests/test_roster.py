"""People as they once were, written to a file from the log alone."""

import csv
import io
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from api import v1_types
from engine import events, user
from engine.streams import Recorded
from engine.user import User
from ops.database import Database
from ops.roster import COLUMNS, csv_row, json_line, moment_of, write_roster
from ops.trouble import Trouble
from projections import as_of
from tests.conftest import Directory
from tests.replays import fill


async def people(database: Database, moment: datetime | int, into: Path) -> list[dict[str, Any]]:
    """Those of contoso, read from a new file."""
    unfinished = into.with_stem(uuid4().hex)
    await write_roster(database.service_url, "contoso", moment, unfinished)
    return [json.loads(line) for line in content(unfinished).splitlines()]


def content(path: Path) -> str:
    return path.read_bytes().decode()


async def states(owner: asyncpg.Connection, tenant_id: UUID) -> AsyncIterator[tuple[int, datetime, list[User]]]:
    """After each event, everybody as folding one event after the other makes them."""
    known: dict[UUID, User] = {}
    rows = await owner.fetch("SELECT * FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq", tenant_id)
    for row in rows:
        if row["stream_id"] != tenant_id:
            event: Any = events.decode(row["data"])
            recorded = Recorded(row["stream_id"], row["version"], row["source"], event, row["recorded_at"])
            known[row["stream_id"]] = user.evolve(known.get(row["stream_id"]), recorded)
        yield row["seq"], row["recorded_at"], sorted(known.values(), key=lambda each: each.id)


async def happen(directory: Directory, chance: random.Random) -> None:
    """Something, to somebody."""
    known = [str(row["id"]) for row in await directory.services.pool.fetch("SELECT id FROM rollbook.users")]
    if not known or chance.random() < 0.25:
        await directory.create(str(uuid4()), active=chance.random() < 0.8, title=chance.choice(["A", "B"]))
        return
    user_id = chance.choice(known)
    path, value = chance.choice(
        [
            ("title", str(chance.random())),
            ("active", chance.random() < 0.5),
            ("role", chance.choice(["admin", "owner"])),
        ]
    )
    match chance.randrange(4):
        case 0:
            await directory.request("PATCH", f"/v1/users/{user_id}", json={path: value})
        case 1 if chance.random() < 0.3:
            await directory.request("DELETE", f"/scim/v2/Users/{user_id}")
        case _:
            await directory.patch(user_id, {"op": "replace", "path": path, "value": value})


async def test_after_every_event_the_people_are_those_whom_folding_the_log_makes(
    directory: Directory,
    database: Database,
    owner: asyncpg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(as_of, "PAGE", 7)  # pages end in the middle of streams
    chance = random.Random(2026)
    for _ in range(90):
        await happen(directory, chance)

    last: dict[datetime, list[Any]] = {}
    async for seq, recorded_at, expected in states(owner, directory.tenant_id):
        lines = [json.loads(json_line("contoso", each)) for each in expected]
        assert await people(database, seq, tmp_path / "by-seq.ndjson") == lines
        last[recorded_at] = lines
    assert len(last) > 40
    for recorded_at, lines in last.items():
        assert await people(database, recorded_at, tmp_path / "by-time.jsonl") == lines
    now = await owner.fetch("SELECT version FROM rollbook.users ORDER BY id")
    assert [each["version"] for each in lines] == [row["version"] for row in now]


async def test_a_moment_between_two_events_is_after_the_first_alone(
    company: Directory, database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    seqs: dict[datetime, int] = {}
    for row in await owner.fetch(
        "SELECT seq, recorded_at FROM rollbook.events WHERE tenant_id = $1", company.tenant_id
    ):
        seqs[row["recorded_at"]] = max(row["seq"], seqs.get(row["recorded_at"], 0))
    step = timedelta(microseconds=1)
    for recorded_at, seq in seqs.items():
        at = await people(database, recorded_at, tmp_path / "x.ndjson")
        before = await people(database, recorded_at - step, tmp_path / "x.ndjson")
        assert at == await people(database, seq, tmp_path / "x.ndjson")
        assert len(before) <= len(at)


async def test_the_file_is_of_the_log_alone_and_names_the_tenants_of_the_log(
    company: Directory, database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    await write_roster(database.service_url, None, datetime.now(UTC), tmp_path / "before.csv")
    await owner.execute("TRUNCATE rollbook.tenants, rollbook.users, rollbook.seats, rollbook.history")

    told = await write_roster(database.service_url, None, datetime.now(UTC), tmp_path / "after.csv")

    assert told == f"5 people in {tmp_path / 'after.csv'}."
    assert content(tmp_path / "after.csv") == content(tmp_path / "before.csv")
    rows = list(csv.DictReader(io.StringIO(content(tmp_path / "after.csv"), newline="")))
    assert [row["tenant"] for row in rows] == ["contoso"] * 4 + ["fabrikam"]


async def test_before_the_first_event_there_was_nobody_and_it_is_said_when_the_log_begins(
    company: Directory, database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    begun = await owner.fetchval("SELECT min(recorded_at) FROM rollbook.events")

    told = await write_roster(database.service_url, "contoso", moment_of("2001-01-01"), tmp_path / "none.csv")

    assert told.startswith("0 people")
    assert f"the log begins at {begun:%Y-%m-%dT%H:%M}" in told
    assert content(tmp_path / "none.csv") == ",".join(COLUMNS) + "\r\n"


async def test_a_file_that_cannot_be_written_is_trouble_and_nothing_is_left_of_it(
    company: Directory, database: Database, tmp_path: Path
) -> None:
    there, folder = in_the_way(tmp_path)
    places = {there: "exists already", folder: "exists already", tmp_path / "x.txt": "ends in"}
    places[tmp_path / "nowhere" / "x.csv"] = "Cannot write"
    for into, message in places.items():
        with pytest.raises(Trouble, match=message):
            await write_roster(database.service_url, "contoso", datetime.now(UTC), into)
    with pytest.raises(Trouble, match="ends at seq"):
        await write_roster(database.service_url, "contoso", 10**30, tmp_path / "x.csv")
    with pytest.raises(Trouble, match=r"no tenant 'nobody'\. There are: contoso, fabrikam"):
        await write_roster(database.service_url, "nobody", datetime.now(UTC), tmp_path / "x.csv")
    assert content(there) == "precious"
    assert names_in(tmp_path) == [folder.name, there.name]


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def in_the_way(folder: Path) -> tuple[Path, Path]:
    (folder / "there.csv").write_text("precious")
    (folder / "folder.csv").mkdir()
    return folder / "there.csv", folder / "folder.csv"


def test_a_time_without_a_zone_is_utc_and_a_date_is_its_beginning() -> None:
    assert moment_of("2026-01-02") == datetime(2026, 1, 2, tzinfo=UTC)
    assert moment_of(" 2026-01-02T03:04:05 ") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert moment_of("2026-01-02T03:04:05+02:00") == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert moment_of("2026-01-02T03:04:05Z") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "9999-12-31", "0001-01-01T00:00+14:00", "5", "10:00"])
def test_what_is_no_time_of_the_past_is_trouble(text: str) -> None:
    with pytest.raises(Trouble, match="--as-of"):
        moment_of(text)


AWKWARD = [
    '=HYPERLINK("http://x")',
    "+1",
    "-1",
    "@sum",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    " plain",
    'a "quoted", one',
    "two\r\nlines",
    "lone\rreturn",
    "'",
    "",
    "Zoë ’—’",
    "\u2028",
]


@pytest.mark.parametrize("value", AWKWARD)
def test_no_value_breaks_the_lines_or_is_a_formula_and_each_is_read_back(value: str) -> None:
    person = User(
        id=UUID(int=1),
        version=1,
        attributes={"userName": value or "x", "title": value, "displayName": value},
        active=True,
        role=value,
        origins={},
        created_at=datetime.now(UTC),
        modified_at=datetime.now(UTC),
    )

    line = csv_row(value, person)

    [row] = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
    read = dict(zip(COLUMNS, row, strict=True))
    assert line.endswith(b"\r\n")
    for name in ("tenant", "title", "displayName", "role"):
        assert read[name] in {value, f"'{value}"}
        assert not read[name].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))
    assert msgspec.json.decode(read["attributes"]) == person.attributes
    shown = json.loads(json_line(value, person))
    assert shown == {"tenant": value, **json.loads(msgspec.json.encode(v1_types.person(person)))}


async def test_a_person_with_a_long_history_is_one_line(
    database: Database, owner: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(as_of, "PAGE", 100)
    await fill(owner, 1_001, 1)

    await write_roster(database.service_url, None, datetime.now(UTC), tmp_path / "x.ndjson")

    [line] = content(tmp_path / "x.ndjson").splitlines()
    assert (json.loads(line)["version"], json.loads(line)["title"]) == (1_000, "Engineer 1001")
