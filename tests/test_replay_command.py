"""`rollbook replay`, as operators and their scripts use it."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from ops import replay as command
from ops.database import Database
from ops.progress import progress
from projections.comparison import Difference
from projections.connections import connected
from projections.rebuild import Summary
from tests.conftest import Directory
from tests.replays import claimed, fill, live
from tests.test_cli import ROLLBOOK, Shell


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


def lines(output: str) -> list[str]:
    return output.splitlines()


async def test_a_check_exits_with_1_if_something_differs_and_a_replay_of_it_mends_it(
    company: Directory, owner: asyncpg.Connection, shell: Shell
) -> None:
    assert "no differences" in shell.output("replay", "--check")
    user_id = await owner.fetchval("UPDATE rollbook.users SET role = 'broken' WHERE microsoft_id = '1' RETURNING id")

    done = shell.run("replay", "--check", "users")

    assert done.returncode == 1
    difference, summary = lines(done.stdout)
    seq = await owner.fetchval("SELECT max(seq) FROM rollbook.events WHERE stream_id = $1", user_id)
    assert str(user_id) in difference
    assert f'(tenant contoso, last event: seq {seq}): role is "broken", by the log "owner"' in difference
    assert "1 difference" in summary
    assert shell.run("replay", "--check", "seats").returncode == 0
    assert "1 difference" in shell.output("replay", "users", "--tenant", "contoso", "--jobs", "1")
    assert "no differences" in shell.output("replay", "--check", "--jobs", "2")


async def test_a_tenant_whose_own_row_was_lost_can_still_be_named(
    company: Directory, owner: asyncpg.Connection, shell: Shell
) -> None:
    before = await live(owner)
    await owner.execute("DELETE FROM rollbook.tenants WHERE name = 'contoso'")

    assert "(tenant contoso, last event: seq" in shell.output("replay", "tenants", "--tenant", "Contoso")

    assert await live(owner) == before


def test_what_was_asked_for_wrongly_is_one_line_that_says_what_would_be_right(shell: Shell) -> None:
    shell.output("tenant", "create", "contoso")
    assert (
        "There are: tenants, tokens, users, seats, groups, members, attribute_history, history, ledger"
        in shell.trouble("replay", "people")
    )
    assert "There are: contoso" in shell.trouble("replay", "--tenant", "nobody")
    assert "nothing else" in shell.trouble("replay", "users", "--as-of", "2026-01-01", "--into", "x.csv")
    assert "nothing else" in shell.trouble(
        "replay", "--check", "--to-seq", "1", "--tenant", "contoso", "--into", "x.csv"
    )
    assert "give --into FILE and either" in shell.trouble("replay", "--as-of", "2026-01-01")
    assert "each tenant has a log of its own" in shell.trouble("replay", "--to-seq", "1", "--into", "x.csv")
    assert "not 'noon'" in shell.trouble("replay", "--as-of", "noon", "--into", "x.csv")


async def test_an_event_that_cannot_be_applied_ends_the_command_with_2_and_its_place(
    database: Database, owner: asyncpg.Connection, shell: Shell
) -> None:
    await fill(owner, 300, 100)
    await owner.execute("UPDATE rollbook.events SET data = '{}', digest = sha256(salt || '{}'::bytea) WHERE seq = 150")
    for jobs in ("1", "2"):
        assert "AttributesChanged at seq 150 of tenant big (version 2 of" in shell.trouble("replay", "--jobs", jobs)


async def test_a_second_replay_is_told_to_wait(database: Database, owner: asyncpg.Connection, shell: Shell) -> None:
    async with claimed(owner, "users", seconds=600):
        process = subprocess.Popen(  # noqa: ASYNC220, S603  our own command
            [ROLLBOOK, "replay", "users"], env=shell._environment, stderr=subprocess.PIPE, text=True
        )
        for _ in range(100):
            await owner.execute("UPDATE rollbook.replays SET leased_until = leased_until + interval '1 s'")
            if process.poll() is not None:
                break
            await owner.execute("SELECT pg_sleep(0.1)")
        _, error = process.communicate()

    assert process.returncode == 2
    assert error == "rollbook: Another replay of users is running; wait for its end.\n"


async def test_a_replay_that_loses_its_database_says_so_in_one_line(
    database: Database, owner: asyncpg.Connection, shell: Shell
) -> None:
    await fill(owner, 1_000, 100)
    async with connected(database.owner_url) as other, other.transaction():
        await other.execute("LOCK TABLE rollbook.events IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(  # noqa: ASYNC220, S603  our own command
            [ROLLBOOK, "replay", "users", "--jobs", "1"], env=shell._environment, stderr=subprocess.PIPE, text=True
        )
        while not await owner.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await owner.execute("SELECT pg_sleep(0.1)")
        _, error = process.communicate()

    assert process.returncode == 2
    assert error.startswith("rollbook: The replay lost the database (")
    assert "terminating connection" in error
    assert error.endswith("The live tables are whole; go on with --resume.\n")


# What it shows.


def summary(**values: object) -> Summary:
    known: dict[str, object] = {
        "names": ("seats", "users"),
        "events": 1_234_567,
        "differences": [],
        "more": 0,
        "is_compared": True,
        "is_resumed": False,
        "build_seconds": 10.0,
        "pause": None,
    }
    return Summary(**{**known, **values})  # type: ignore[arg-type]  # each as it is


def test_a_summary_says_how_many_events_how_fast_and_what_came_of_it() -> None:
    text = command.summary_text(summary())
    assert text == "seats, users: 1,234,567 events in 10.0 s (123,457/s); no differences."
    assert "writers waited for 12 ms" in command.summary_text(summary(pause=0.0123))
    assert "nothing to compare with" in command.summary_text(summary(is_compared=False))
    assert "after what an earlier replay had built" in command.summary_text(summary(is_resumed=True))
    assert "10,000 differences" in command.summary_text(summary(more=10_000))


def test_a_difference_is_one_line_that_says_where_and_how() -> None:
    def text(live_row: str | None, rebuilt: str | None, last_seq: int | None = 9) -> str:
        return command.text_of(Difference("users", "contoso", '{"id": "x"}', live_row, rebuilt, last_seq))

    assert text('{"a": 1, "b": 2, "c": 3}', '{"a": 1, "b": 2.0, "c": null}') == (
        "users id=x (tenant contoso, last event: seq 9): b is 2, by the log 2.0; c is 3, by the log null"
    )
    assert text(None, '{"a": 1}') == (
        'users id=x (tenant contoso, last event: seq 9): is missing; the log says {"a": 1}'
    )
    assert text('{"a": "Zoë"}', None, None) == (
        'users id=x (tenant contoso, no event): is there, but not by the log: {"a": "Zoë"}'
    )


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.progress._EVERY", 0.0)
    with progress("users", "events") as report:
        report(500, 4_000)
        report(1_000, 4_000)

    first, second = capfd.readouterr().err.splitlines()
    assert first == "users: 500 of 4,000 events"
    assert second.startswith("users: 1,000 of 4,000 events, ")
    assert second.endswith(" left")


def test_on_a_terminal_progress_is_a_bar_with_events_rate_and_time_left() -> None:
    shown, terminal = pty.openpty()
    script = "from ops.progress import progress\nwith progress('users', 'events') as report:\n"
    script += "    report(1000, 4000); import time; time.sleep(0.3); report(2000, 4000)\n"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run(  # noqa: S603  our own code
        [sys.executable, "-c", script], stderr=terminal, env=environment, check=True, cwd=Path(__file__).parents[1]
    )
    os.close(terminal)
    text = b""
    while chunk := read(shown):
        text += chunk

    assert "2,000 of 4,000 events" in text.decode()
    assert "/s" in text.decode()
    assert "left" in text.decode()


def read(file: int) -> bytes:
    try:
        return os.read(file, 10_000)
    except OSError:  # the other end was closed
        return b""
