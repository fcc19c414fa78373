"""`rollbook erase`, as an operator types it, and as a script does."""

import json
import os
import pty
import subprocess
from uuid import uuid4

import asyncpg
import pytest

from ops.database import Database
from tests.conftest import Directory
from tests.replays import differences, follow
from tests.test_cli import ROLLBOOK, Shell
from tests.test_erasure import SECRETS, everything, provisioned


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


def at_a_terminal(database: Database, typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with a terminal as its input, at which somebody types."""
    keyboard, terminal = pty.openpty()
    environment = {**os.environ, "ROLLBOOK_DATABASE_URL": database.owner_url}
    try:
        os.write(keyboard, typed.encode())
        return subprocess.run(  # noqa: S603  our own command
            [ROLLBOOK, "erase", *arguments],
            stdin=terminal,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)


async def test_a_script_gets_the_certificate_that_the_service_gives_and_sees_nothing_personal(
    company: Directory, database: Database, owner: asyncpg.Connection, shell: Shell
) -> None:
    zaphod = await provisioned(company)
    await follow(company.services)

    done = shell.run("erase", "--tenant", "contoso", "--user", zaphod, "--basis", "d", "--yes")

    assert (done.returncode, done.stderr) == (0, "")
    certificate = json.loads(done.stdout)
    assert (certificate["asked_by"], certificate["token_id"], certificate["basis"]) == (f"uid:{os.getuid()}", None, "d")
    assert not any(certificate["checks"].values())
    assert (await company.request("POST", f"/v1/users/{zaphod}/erase")).json() == certificate
    assert json.loads(shell.output("erase", "--tenant", "contoso", "--user", zaphod, "--yes")) == certificate
    assert [secret for secret in SECRETS if secret in done.stdout.lower() or secret in await everything(owner)] == []
    await follow(company.services)
    assert await differences(database) == []


async def test_somebody_at_a_terminal_is_asked_and_may_say_no(company: Directory, database: Database) -> None:
    zaphod = await provisioned(company)
    arguments = ("--tenant", "contoso", "--user", zaphod)

    no = at_a_terminal(database, "n\n", *arguments)
    nothing = at_a_terminal(database, "\n", *arguments)
    assert (await company.request("GET", f"/v1/users/{zaphod}")).status_code == 200
    yes = at_a_terminal(database, "y\n", *arguments)

    for each in (no, nothing):
        assert (each.returncode, each.stdout) == (1, "")
        assert f"Erase everything that is known of {zaphod}" in each.stderr
    assert yes.returncode == 0
    assert json.loads(yes.stdout)["user_id"] == zaphod
    assert [secret for secret in SECRETS for each in (no, nothing, yes) if secret in each.stderr.lower()] == []


async def test_what_cannot_be_erased_is_told_in_one_line(company: Directory, shell: Shell) -> None:
    zaphod, nobody = await provisioned(company), str(uuid4())
    await company.name_token("For Zaphod Beeblebrox")

    told = {
        "--yes": shell.trouble("erase", "--tenant", "contoso", "--user", zaphod),
        "a to f": shell.trouble("erase", "--tenant", "contoso", "--user", zaphod, "--basis", "Zaphod asked", "--yes"),
        "no tenant": shell.trouble("erase", "--tenant", "galaxy", "--user", zaphod, "--yes"),
        "no person": shell.trouble("erase", "--tenant", "contoso", "--user", nobody, "--yes"),
        "of another": shell.trouble("erase", "--tenant", "fabrikam", "--user", zaphod, "--yes"),
        "valid token": shell.trouble("erase", "--tenant", "contoso", "--user", zaphod, "--yes"),
    }

    assert "--yes" in told["--yes"]
    assert "a to f" in told["a to f"]
    assert "no tenant 'galaxy'" in told["no tenant"]
    assert nobody in told["no person"]
    assert zaphod in told["of another"]
    assert "rollbook token revoke" in told["valid token"]
    assert (await company.request("GET", f"/v1/users/{zaphod}")).status_code == 200
