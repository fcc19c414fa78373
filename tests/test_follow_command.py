"""`rollbook follow` and `rollbook followers`, as an operator meets them; and what it takes to add a follower."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from api.services import Services
from ops.database import Database
from ops.follow import parked_lines, table_of
from projections.follower import FOLLOWERS
from projections.followers import SHOWN, FollowerStatus, Parked
from tests.conftest import register
from tests.test_cli import Shell
from tests.test_following import provision, until
from tests.test_following_faults import applied, follow

TOP = Path(__file__).resolve().parents[1]


NAMES = [each.name for each in FOLLOWERS]


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


async def test_followers_lists_each_with_what_is_left_to_do_and_what_keeps_it(
    services: Services, owner: asyncpg.Connection, shell: Shell
) -> None:
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 4)
    await owner.execute(
        """
        INSERT INTO rollbook.places (tenant_id, follower, seq, attempts, error, parked_at, retry_at)
        VALUES ($1, 'history', 3, 12, 'ValueError: no', now() - interval '254 s', now() + interval '1 hour')
        """,
        tenant_id,
    )
    await owner.execute("UPDATE rollbook.events SET recorded_at = recorded_at - interval '3 hours'")

    lines = shell.output("followers").splitlines()

    assert lines == [
        "follower           version  tenants behind  events behind  oldest lag  parked",
        "attribute_history  1        1               5              3 h         0",
        "history            3        1               2              3 h         1",
        "ledger             1        1               5              3 h         0",
        "local_edits        1        1               5              3 h         0",
        "member_history     1        1               5              3 h         0",
        "seat_history       2        1               5              3 h         0",
        "parked: history, tenant contoso, seq 4: ValueError: no (12 tries in 4 min)",
    ]


async def test_a_thousand_parked_tenants_fit_a_screen(owner: asyncpg.Connection, shell: Shell) -> None:
    await owner.execute(
        """
        INSERT INTO rollbook.places (tenant_id, follower, seq, attempts, error, parked_at, retry_at)
        SELECT md5(n::text)::uuid, 'history', 0, 1, 'ValueError: no', now(), now() + interval '1 hour'
        FROM generate_series(1, 1000) AS n
        """
    )

    lines = shell.output("followers").splitlines()

    assert lines[2].split()[-1] == "1,000"
    assert len(lines) == 1 + len(FOLLOWERS) + SHOWN + 1
    assert lines[-1] == f"parked: history, {1_000 - SHOWN} more tenants"


def status_of(name: str, version: int, lag: float = 0.04) -> FollowerStatus:
    return FollowerStatus(name, version, 0, 0, lag, 0, [])


@pytest.mark.parametrize(
    ("installed", "shown"),
    [
        (status_of("history", 3), "3"),
        (status_of("history", 1), "1 (being rebuilt for 3)"),
        (status_of("history", 4), "4 (this program knows 3)"),
        (status_of("deliveries", 3), "3 (unknown to this program)"),
    ],
)
def test_a_version_that_is_not_this_programs_is_told(installed: FollowerStatus, shown: str) -> None:
    _, [row] = table_of([installed])
    assert row[1] == shown


@pytest.mark.parametrize(
    ("lag", "shown"),
    [(0.04, "0.0 s"), (99.96, "100.0 s"), (150, "2 min"), (7_300, "2 h"), (500_000, "6 days")],
)
def test_a_lag_is_told_in_a_unit_that_can_be_read(lag: float, shown: str) -> None:
    _, [row] = table_of([status_of("history", 3, lag)])
    assert row[4] == shown


def test_a_parked_tenant_without_a_name_is_told_by_its_id() -> None:
    parked = Parked(tenant_id=(tenant := UUID(int=1)), tenant=None, seq=1, attempts=1, seconds=3, error="E")
    [line] = parked_lines([FollowerStatus("history", 1, 1, 1, 3.0, 1, [parked])])
    assert line == f"parked: history, tenant {tenant}, seq 1: E (1 try in 3.0 s)"


def test_a_follower_that_there_is_not_is_refused_with_those_that_there_are(shell: Shell) -> None:
    assert f"There is no follower nobody. There are: {', '.join(NAMES)}." in shell.trouble("follow", "nobody")
    assert f"{', '.join(NAMES)}; or all" in " ".join(shell.output("follow", "--help").split())


async def test_more_processes_share_the_work_and_end_with_a_signal(
    services: Services, database: Database, owner: asyncpg.Connection
) -> None:
    for number in range(30):
        await provision(services, await register(services, f"tenant {number}"), 2)

    async with follow(database, 2):
        await until(lambda: applied(owner))


# A follower is one file, and its tables.

_MODULE = '''
"""How many events each tenant has."""

from projections.batch import Batch
from projections.follower import Follower
from projections.table import Table


class EventCounts(Follower):
    name = "event_counts"
    version = 1
    tables = (Table("event_counts", ("tenant_id",)),)

    async def apply(self, batch: Batch) -> None:
        await batch.connection.execute(
            "INSERT INTO event_counts AS known VALUES ($1, $2) "
            "ON CONFLICT (tenant_id) DO UPDATE SET events = known.events + excluded.events",
            batch.tenant_id,
            len(batch.events),
        )


FOLLOWER = EventCounts()
'''

_DDL = """
    CREATE TABLE event_counts (tenant_id uuid PRIMARY KEY, events bigint NOT NULL);
    GRANT SELECT, INSERT, UPDATE ON event_counts TO rollbook_service;
"""


class Copy:
    """A copy of the program, with a follower of its own in it."""

    def __init__(self, folder: Path, database: Database) -> None:
        for name in ("engine", "projections", "api", "ops"):
            shutil.copytree(TOP / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(TOP / "events.sql", folder)
        (folder / "projections" / "background" / "event_counts.py").write_text(_MODULE)
        (folder / "projections" / "background" / "event_counts.sql").write_text(_DDL)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLBOOK_")}
        self._environment = {**kept, "ROLLBOOK_DATABASE_URL": database.owner_url, "PYTHONPATH": str(folder)}
        self._folder = folder

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, "-c", "from ops.cli import main; main()", *arguments],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def output(self, *arguments: str) -> str:
        text, _ = self.start(*arguments).communicate(timeout=30)
        return text


async def test_a_follower_that_is_added_in_one_file_is_installed_followed_listed_and_replayed(
    services: Services, database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    tenant_id = await register(services, "contoso")
    await provision(services, tenant_id, 6)
    copy = Copy(tmp_path, database)

    process = copy.start("follow", "event_counts")
    try:
        await until(lambda: counted(owner, 7))
        await provision(services, tenant_id, 3)
        await until(lambda: counted(owner, 10))
    finally:
        process.terminate()
        process.communicate(timeout=10)

    assert re.search(r"^event_counts +1 +0 +0 ", copy.output("followers"), re.MULTILINE)
    assert "event_counts: 10 events" in (checked := copy.output("replay", "--check", "event_counts"))
    assert "no differences" in checked


async def counted(owner: asyncpg.Connection, events: int) -> bool:
    if await owner.fetchval("SELECT to_regclass('rollbook.event_counts')") is None:
        return False
    return bool(await owner.fetchval("SELECT events FROM rollbook.event_counts") == events)
