"""The embedded PostgreSQL, with real servers in folders of their own. Runs as root and as anybody else."""

import asyncio
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from ops import postgres as module
from ops import system_user
from ops.postgres import EmbeddedPostgres, PostgresTrouble, server_version_trouble, temporary_postgres

PostgresIn = Callable[[Path], EmbeddedPostgres]

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")


@pytest.fixture
def postgres_in() -> Iterator[PostgresIn]:
    """Makes servers, and stops those that a failed test has left running."""
    made: list[EmbeddedPostgres] = []

    def make(data: Path) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(data, durable=False))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def ask(postgres: EmbeddedPostgres, statement: str) -> Any:
    async def answer() -> Any:
        connection = await asyncpg.connect(postgres.url())
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(answer())


def postmaster_pid(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def server_user(data: Path) -> int:
    return (data / "postgres").stat().st_uid


def test_a_fresh_folder_becomes_a_server_that_answers_and_leaves_with_its_last_user(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "deep" / "data") as postgres:
        assert ask(postgres, "SELECT 1") == 1
        assert postgres.is_alive()

    assert not postgres.is_alive()


def test_a_server_with_a_connection_that_hangs_is_stopped_all_the_same_and_keeps_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_AFTER", 1)
    with EmbeddedPostgres(tmp_path, durable=True) as postgres:
        asyncio.run(_leave_a_backend_that_hangs(postgres))

    assert not postgres.is_alive()
    with EmbeddedPostgres(tmp_path, durable=True) as again:
        assert ask(again, "SELECT count(*) FROM kept") == 1


async def _leave_a_backend_that_hangs(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.url())
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGSTOP)
    connection.terminate()


def test_the_data_survive_a_stop_and_a_start(tmp_path: Path, postgres_in: PostgresIn) -> None:
    postgres = postgres_in(tmp_path)
    postgres.start()
    ask(postgres, "CREATE TABLE kept AS SELECT 42 AS value")
    postgres.stop()

    postgres.start()

    assert ask(postgres, "SELECT value FROM kept") == 42


def test_a_committed_transaction_is_on_disk_unless_asked_otherwise(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as postgres:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert ask(postgres, f"SHOW {setting}") == "on"


def test_the_environment_changes_nothing(
    tmp_path: Path, postgres_in: PostgresIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "LC_ALL": "xx_XX",
        "PGPORT": "1",
        "PGHOST": "nowhere",
        "PGDATA": "/nowhere",
        "TZ": "Asia/Tokyo",
    }.items():
        monkeypatch.setenv(name, value)
    postgres = postgres_in(tmp_path)

    postgres.start()

    assert ask(postgres, "SHOW TimeZone") == "UTC"
    assert ask(postgres, "SHOW server_encoding") == "UTF8"
    assert ask(postgres, "SELECT lower('ÄÖ') || datlocale FROM pg_database LIMIT 1") == "äöC.UTF-8"


def test_only_the_servers_user_reaches_its_socket_and_nothing_listens_on_tcp(
    tmp_path: Path, postgres_in: PostgresIn
) -> None:
    postgres = postgres_in(tmp_path)

    postgres.start()

    found = (tmp_path / "socket").stat()
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == server_user(tmp_path)
    assert ask(postgres, "SHOW listen_addresses") == ""


def test_no_value_of_a_refused_statement_gets_into_the_log(tmp_path: Path, postgres_in: PostgresIn) -> None:
    postgres = postgres_in(tmp_path)
    postgres.start()
    ask(postgres, "CREATE TABLE people (address text PRIMARY KEY)")
    ask(postgres, "INSERT INTO people VALUES ('ann@example.com')")

    with pytest.raises(asyncpg.UniqueViolationError):
        ask(postgres, "INSERT INTO people VALUES ('ann@example.com')")

    assert "ann@example.com" not in (tmp_path / "postgres.log").read_text()


def test_two_users_share_one_server_and_only_the_last_stop_stops_it(tmp_path: Path, postgres_in: PostgresIn) -> None:
    first, second = postgres_in(tmp_path), postgres_in(tmp_path)
    first.start()
    pid = postmaster_pid(tmp_path)
    second.start()

    first.stop()

    assert second.is_alive()
    assert postmaster_pid(tmp_path) == pid
    second.stop()
    assert not second.is_alive()


def test_a_user_that_is_killed_leaves_a_server_that_the_next_one_adopts_and_stops(
    tmp_path: Path, postgres_in: PostgresIn
) -> None:
    program = """if True:
        import sys, time
        from pathlib import Path
        from ops.postgres import EmbeddedPostgres
        EmbeddedPostgres(Path(sys.argv[1]), durable=False).start()
        print("started", flush=True)
        time.sleep(60)
    """
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as user:  # noqa: S603  our own words
        assert user.stdout is not None
        assert user.stdout.readline() == b"started\n"
        user.kill()
    pid = postmaster_pid(tmp_path)
    assert psutil.pid_exists(pid)

    postgres = postgres_in(tmp_path)
    postgres.start()

    assert ask(postgres, "SELECT 1") == 1
    assert postmaster_pid(tmp_path) == pid
    postgres.stop()
    assert not postgres.is_alive()


def test_a_pid_file_that_names_somebody_elses_process_is_in_nobodys_way(
    tmp_path: Path, postgres_in: PostgresIn
) -> None:
    postgres = postgres_in(tmp_path)
    postgres.start()
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    said = pid_file.read_text().splitlines()
    postgres.stop()
    with subprocess.Popen(["/bin/sleep", "60"], user=server_user(tmp_path)) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *said[1:]]))

        assert not postgres.is_alive()
        postgres.start()

        assert ask(postgres, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_a_killed_server_is_started_again_for_who_still_uses_it(tmp_path: Path, postgres_in: PostgresIn) -> None:
    postgres = postgres_in(tmp_path)
    postgres.start()
    assert not postgres.restart_if_dead()
    url = postgres.url()
    os.kill(postmaster_pid(tmp_path), signal.SIGKILL)
    while postgres.is_alive():
        time.sleep(0.01)

    assert postgres.restart_if_dead()

    assert ask(postgres, "SELECT 1") == 1
    assert postgres.url() == url


def test_a_server_that_nobody_uses_is_not_started_again(tmp_path: Path, postgres_in: PostgresIn) -> None:
    postgres = postgres_in(tmp_path)

    assert not postgres.restart_if_dead()

    assert not postgres.is_alive()


def test_no_second_server_is_started_where_the_first_cannot_be_seen(
    tmp_path: Path, postgres_in: PostgresIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_WITHIN", 0)
    with (tmp_path / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(
            PostgresTrouble, match=r"^An earlier Postgres still works in .+, perhaps in another container: .+$"
        ):
            postgres_in(tmp_path).start()


def test_data_of_another_major_version_are_left_alone_and_the_way_out_is_told(
    tmp_path: Path, postgres_in: PostgresIn
) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")

    with pytest.raises(
        PostgresTrouble, match=r"^.+ made by PostgreSQL 17, .+ brings PostgreSQL 18: .+ pg_dump .+ --data.$"
    ):
        postgres_in(tmp_path).start()

    assert [each.name for each in (tmp_path / "postgres").iterdir()] == ["PG_VERSION"]


def test_a_path_too_long_for_a_socket_gets_one_in_the_temporary_folder(tmp_path: Path, postgres_in: PostgresIn) -> None:
    postgres = postgres_in(tmp_path / ("long, " * 20))
    postgres.start()

    folder = ask(postgres, "SHOW unix_socket_directories")

    assert not Path(folder).is_relative_to(tmp_path)
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    postgres.stop()
    assert not Path(folder).exists()


def test_a_socket_folder_that_others_may_enter_is_refused(tmp_path: Path, postgres_in: PostgresIn) -> None:
    (tmp_path / "socket").mkdir()
    (tmp_path / "socket").chmod(0o755)

    with pytest.raises(
        PostgresTrouble, match=r"^.+/socket, where the socket of Postgres goes, is not .+ remove it .+$"
    ):
        postgres_in(tmp_path).start()


@only_as_root
def test_as_root_a_private_folder_opens_for_the_servers_user_alone(tmp_path: Path, postgres_in: PostgresIn) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "data").mkdir(mode=0o700)
    before = system_user.read_acl(private)
    postgres = postgres_in(private / "data")

    postgres.start()

    assert ask(postgres, "SELECT 1") == 1
    server = server_user(private / "data")
    assert server != 0
    assert system_user.read_acl(private) == system_user.with_right(before, server, system_user.SEARCH)


@only_as_root
def test_as_root_binaries_installed_with_a_strict_umask_are_opened_for_the_servers_user(tmp_path: Path) -> None:
    user = system_user.SystemUser.that_owns(tmp_path)
    folder = tmp_path / "installed"
    folder.mkdir(mode=0o700)
    (folder / "bin").mkdir(mode=0o700)
    (folder / "bin" / "postgres").touch(mode=0o600)

    user.read_all(folder)

    command = ["/bin/cat", str(folder / "bin" / "postgres")]
    assert subprocess.run(command, check=False, **user.popen_options()).returncode == 0  # noqa: S603  our own words


def test_a_right_for_one_user_gives_nobody_else_what_the_mask_had_withheld() -> None:
    acl = {(1, 0): 7, (2, 1000): 7, (4, 0): 5, (16, system_user._NO_ID): 4, (32, 0): 0}

    grown = system_user.with_right(acl, 999, system_user.SEARCH)

    assert grown == {(1, 0): 7, (2, 999): 1, (2, 1000): 4, (4, 0): 4, (16, system_user._NO_ID): 5, (32, 0): 0}


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path, postgres_in: PostgresIn) -> None:
    (tmp_path / "data").touch()

    with pytest.raises(PostgresTrouble, match=r"^.+/data is a file, not a folder: .+$"):
        postgres_in(tmp_path / "data").start()
    with pytest.raises(PostgresTrouble, match=r"^.+ \(Not a directory: .+$"):
        postgres_in(tmp_path / "data" / "below").start()


def test_a_server_that_does_not_start_says_why_and_holds_nothing(tmp_path: Path, postgres_in: PostgresIn) -> None:
    postgres = postgres_in(tmp_path)
    postgres.start()
    postgres.stop()
    settings = tmp_path / "postgres" / "postgresql.auto.conf"
    settings.write_text("max_wal_senders = many\n")

    with pytest.raises(PostgresTrouble, match=r'^Postgres does not start: configuration file ".+" contains errors .+$'):
        postgres.start()

    settings.write_text("")
    postgres.start()


def test_what_an_interrupted_creation_left_is_removed(tmp_path: Path, postgres_in: PostgresIn) -> None:
    (tmp_path / "postgres.new-x").mkdir()
    (tmp_path / "postgres.new-x" / "PG_VERSION").touch()

    postgres_in(tmp_path).start()

    assert list(tmp_path.glob("postgres.new-*")) == []


def test_a_temporary_server_leaves_nothing_behind() -> None:
    with temporary_postgres() as postgres:
        folder = Path(ask(postgres, "SHOW data_directory")).parent
        assert ask(postgres, "SHOW fsync") == "off"

    assert not postgres.is_alive()
    assert not folder.exists()


def test_an_external_server_older_than_16_is_refused_and_a_newer_one_is_not() -> None:
    assert "PostgreSQL 15" in str(server_version_trouble(150_012))
    assert server_version_trouble(160_000) is None
    assert server_version_trouble(190_001) is None
