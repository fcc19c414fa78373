"""The command line, as scripts use it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from ops.database import Database

ROLLBOOK = Path(sys.prefix) / "bin" / "rollbook"


class Shell:
    """Runs `rollbook` against one database."""

    def __init__(self, database_url: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLBOOK_")}
        self._environment = {**kept, "ROLLBOOK_DATABASE_URL": database_url, "COLUMNS": "200"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  our own command
            [ROLLBOOK, *arguments], capture_output=True, text=True, env=self._environment, check=False
        )

    def output(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def trouble(self, *arguments: str) -> str:
        """The one line of a command that ends with exit code 2."""
        done = self.run(*arguments)
        assert done.returncode == 2, done.stdout
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


def test_a_tenant_is_created_listed_and_set(shell: Shell) -> None:
    assert "Contoso" in shell.output("tenant", "create", "Contoso")
    assert "exists already" in shell.trouble("tenant", "create", "contoso")
    assert "seat_limit=none" in shell.output("tenant", "list")
    options = ["--email-case", "keep", "--name-characters", "any", "--unknown-role", "ignore", "--seat-limit", "5"]
    assert "email_case=keep" in shell.output("tenant", "set", "contoso", *options)
    assert "seat_limit=5" in shell.output("tenant", "list")
    assert "seat_limit=none" in shell.output("tenant", "set", "contoso", "--seat-limit", "none")
    roles = ["--role", "editor=Content Editor", "--role", "reader"]
    assert "roles=editor,reader" in shell.output("tenant", "set", "contoso", *roles)


def test_strict_scim_takes_what_scim_allows_unless_the_same_command_says_otherwise(shell: Shell) -> None:
    shell.output("tenant", "create", "contoso")
    assert "email_case=lower name_characters=plain" in shell.output("tenant", "list")
    strict = shell.output("tenant", "set", "contoso", "--mode", "strict", "--email-case", "lower")
    assert "mode=strict email_case=lower name_characters=any" in strict
    assert "mode=strict email_case=keep" in shell.output("tenant", "set", "contoso", "--mode", "strict")


def test_a_wrong_setting_is_one_line_that_says_what_would_be_right(shell: Shell) -> None:
    shell.output("tenant", "create", "contoso")

    assert "whole number" in shell.trouble("tenant", "set", "contoso", "--seat-limit", "many")
    assert "lower" in shell.trouble("tenant", "set", "contoso", "--email-case", "upper")
    assert "rollbook tenant create" in shell.trouble("tenant", "set", "fabrikam", "--seat-limit", "1")
    assert "--help" in shell.trouble("tenant", "set", "contoso")


def test_a_token_is_issued_alone_on_standard_output_listed_and_revoked(shell: Shell) -> None:
    shell.output("tenant", "create", "contoso")
    token = shell.output("token", "issue", "--tenant", "contoso", "--name", "Entra", "--expires-in", "30d")
    assert re.fullmatch(r"rb_[a-z2-7]{84}\n", token)
    shell.output("token", "issue", "--tenant", "contoso", "--name", "App", "--scope", "people:read", "--scope", "admin")

    listed = shell.output("token", "list", "--tenant", "contoso").splitlines()
    assert [line.split()[1:3] for line in listed[1:]] == [["Entra", "scim"], ["App", "people:read,admin"]]
    token_id = listed[1].split()[0]
    assert token_id in shell.output("token", "revoke", token_id, "--tenant", "contoso")
    assert shell.output("token", "list", "--tenant", "contoso").splitlines()[1].split()[-1] != "-"


@pytest.mark.parametrize(
    "options",
    [
        ["--expires-in", "never"],
        ["--expires-in", "0d"],
        ["--expires-in", "99999d"],
        ["--scope", "everything"],
        ["--name", ""],
    ],
)
def test_a_token_that_cannot_be_is_refused_in_one_line(shell: Shell, options: list[str]) -> None:
    shell.output("tenant", "create", "contoso")
    shell.trouble("token", "issue", "--tenant", "contoso", "--name", "x", *options)


async def test_replay_compares_and_mends_and_says_so_by_its_exit_code(shell: Shell, owner: asyncpg.Connection) -> None:
    shell.output("tenant", "create", "contoso")
    assert "no differences" in shell.output("replay", "--check")
    await owner.execute("UPDATE rollbook.tenants SET seat_limit = 7")

    broken = shell.run("replay", "--check")
    assert broken.returncode == 1
    assert "seat_limit is 7" in broken.stdout
    assert shell.run("replay", "--check", "--tenant", "contoso").returncode == 1
    assert "in use" in shell.output("replay", "--tenant", "contoso")
    assert "no differences" in shell.output("replay", "--check")


async def test_a_store_of_a_newer_version_is_refused(shell: Shell, owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE rollbook.store SET version = version + 1")

    assert "newer Rollbook" in shell.trouble("tenant", "list")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "no address"),
        ("postgresql://postgres@127.0.0.1:1/nowhere", "cannot be reached"),
    ],
)
def test_a_database_that_is_not_there_is_one_line(url: str, says: str) -> None:
    assert says in Shell(url).trouble("tenant", "list")


def test_the_version_is_printed(shell: Shell) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", shell.output("version"))


@pytest.mark.parametrize(
    ("command", "mentions"),
    [
        ([], ["serve", "tenant", "token", "replay", "demo", "bench", "version"]),
        (["serve"], ["--host", "--port", "--workers", "--data"]),
        (["tenant", "set"], ["--email-case", "--name-characters", "--unknown-role", "--seat-limit", "--role"]),
        (["token", "issue"], ["--tenant", "--name", "--scope", "--expires-in", "365d"]),
        (["replay"], ["--check", "--tenant", "exit 1"]),
    ],
)
def test_help_names_what_there_is(shell: Shell, command: list[str], mentions: list[str]) -> None:
    text = shell.output(*command, "--help")

    assert [each for each in mentions if each not in text] == []
