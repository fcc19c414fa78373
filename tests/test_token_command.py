"""`rollbook token`: rotation, and warnings before a token expires."""

import shlex
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from engine.expiry import days_left
from ops.database import Database
from tests.conftest import Directory
from tests.test_cli import Shell

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


async def test_a_rotated_token_has_a_successor_of_its_name_and_scopes_beside_it_until_it_is_revoked(
    directory: Directory, shell: Shell
) -> None:
    await directory.services.gate.note_uses()
    old = await directory.name_token("Entra ID")

    done = shell.run("token", "rotate", str(old), "--tenant", "contoso", "--expires-in", "90d")

    _, before, after = await directory.services.tenants.tokens(directory.tenant_id)
    assert (before.id, before.revoked_at) == (old, None)
    assert (after.name, after.scopes) == ("Entra ID", ("scim",))
    assert timedelta(days=89) < after.expires_at - datetime.now(UTC) <= timedelta(days=90)
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert (await directory.request("GET", "/scim/v2/Users", headers=headers)).status_code == 200
    assert "Test Connection" in done.stderr
    assert str(after.id) in done.stderr

    told = shlex.split(done.stderr.splitlines()[-1])[1:]
    assert f"Revoked {old}" in shell.output(*told)


async def test_a_revoked_token_and_one_that_there_is_not_cannot_be_rotated(directory: Directory, shell: Shell) -> None:
    old = await directory.name_token("Entra ID")
    await directory.revoke(old)

    assert "was revoked" in shell.trouble("token", "rotate", str(old), "--tenant", "contoso")
    assert "no such token" in shell.trouble("token", "rotate", str(UUID(int=1)), "--tenant", "contoso")
    assert "There are: contoso" in shell.trouble("token", "rotate", str(old), "--tenant", "nobody")


async def test_the_list_warns_of_tokens_that_are_about_to_expire_and_says_how_to_rotate_them(
    directory: Directory, shell: Shell
) -> None:
    shell.output("token", "issue", "--tenant", "contoso", "--name", "Entra ID", "--expires-in", "20d")
    shell.output("token", "issue", "--tenant", "contoso", "--name", "App", "--expires-in", "365d")
    *_, soon, _ = await directory.services.tenants.tokens(directory.tenant_id)

    first, second = shell.run("token", "list", "--tenant", "contoso").stderr.splitlines()

    assert first.startswith("Test expires within 1 day (")
    assert second.startswith("Entra ID expires within 30 days (")
    assert second.endswith(f", never used. Put a new one beside it: rollbook token rotate --tenant contoso {soon.id}")
    await directory.revoke(soon.id)
    [only] = shell.run("token", "list", "--tenant", "contoso").stderr.splitlines()
    assert only.startswith("Test")


@pytest.mark.parametrize(
    ("hours", "days"), [(-1, 0), (0, 0), (1, 1), (24, 1), (25, 7), (168, 7), (169, 30), (720, 30), (721, None)]
)
def test_a_token_is_warned_of_30_7_and_1_days_before_it_expires(hours: int, days: int | None) -> None:
    assert days_left(NOW + timedelta(hours=hours), NOW) == days
