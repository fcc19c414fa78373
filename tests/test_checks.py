"""What the last checks found is remembered, by tenant."""

from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from ops.database import Database
from projections.checks import CheckResult, last_checks
from tests.conftest import Directory
from tests.replays import differences, follow
from tests.test_cli import Shell


@pytest.fixture
def shell(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)  # where the ledger's key would be, which nobody needs here
    return Shell(database.owner_url)


async def checks(directory: Directory, tenant_id: UUID | None = None) -> dict[str, CheckResult]:
    found = await last_checks(directory.services.pool, tenant_id or directory.tenant_id)
    return {f"{each.kind} {each.name}": each for each in found}


async def other_than(directory: Directory) -> UUID:
    [other] = [each.id for each in await directory.services.tenants.list() if each.id != directory.tenant_id]
    return other


async def test_a_replay_check_of_all_tenants_is_remembered_in_each_with_what_is_its_own(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    other = await other_than(company)
    assert await checks(company) == {}
    await follow(company.services)
    await owner.execute("UPDATE rollbook.users SET role = 'broken' WHERE tenant_id = $1", other)
    await owner.execute("UPDATE rollbook.seats SET inactive = inactive + 1 WHERE tenant_id = $1", company.tenant_id)

    assert len(await differences(database)) >= 2

    ours, theirs = await checks(company), await checks(company, other)
    assert ours.keys() == theirs.keys()
    assert {name.partition(" ")[2] for name in ours} == {
        "attribute_history", "groups", "history", "ledger", "local_edits", "member_history", "members", "seat_history",
        "seats", "tenants", "tokens", "users",
    }  # fmt: skip
    assert (ours["replay users"].outcome, ours["replay users"].differences) == ("holds", 0)
    assert (theirs["replay users"].outcome, theirs["replay users"].differences) == ("differs", 1)
    assert (ours["replay seats"].outcome, theirs["replay seats"].outcome) == ("differs", "holds")
    heads = dict(await owner.fetch("SELECT tenant_id, seq FROM rollbook.heads"))
    assert {each.events for each in ours.values()} == {heads[company.tenant_id]}
    assert {each.events for each in theirs.values()} == {heads[other]}
    now = await owner.fetchval("SELECT clock_timestamp()")
    for each in ours.values():
        assert each.is_of_all
        assert 0 < each.seconds <= (now - each.started_at).total_seconds()


async def test_a_check_takes_the_place_of_the_one_before_and_only_of_the_tenant_that_was_checked(
    company: Directory, owner: asyncpg.Connection, shell: Shell
) -> None:
    other = await other_than(company)
    await owner.execute("UPDATE rollbook.users SET role = 'broken'")
    assert shell.run("replay", "--check", "users").returncode == 1
    before, theirs = await checks(company), await checks(company, other)

    shell.output("replay", "users", "--tenant", "contoso")
    assert await checks(company) == before  # which mended it, and was no check
    shell.output("replay", "--check", "users", "--tenant", "contoso")

    [found] = (await checks(company)).values()
    assert (found.outcome, found.is_of_all) == ("holds", False)
    assert found.started_at > before["replay users"].started_at
    assert await checks(company, other) == theirs


async def test_a_check_that_meets_an_event_that_cannot_be_applied_is_remembered_as_failed(
    company: Directory, owner: asyncpg.Connection, shell: Shell
) -> None:
    other = await other_than(company)
    shell.output("replay", "--check", "users")
    before = await checks(company, other)
    await owner.execute(
        "UPDATE rollbook.events SET data = '{}', digest = sha256(salt || '{}'::bytea) "
        "WHERE tenant_id = $1 AND type = 'UserProvisioned'",
        company.tenant_id,
    )

    shell.trouble("replay", "--check", "users", "--tenant", "contoso")

    [found] = (await checks(company)).values()
    assert (found.name, found.outcome, found.events, found.is_of_all) == ("users", "failed", 0, False)
    assert found.started_at > before["replay users"].started_at
    assert await checks(company, other) == before
    shell.trouble("replay", "--check", "users", "seats")
    assert {each.outcome for each in (await checks(company, other)).values()} == {"failed"}
    assert len(await checks(company)) == 2


async def test_a_check_of_the_ledger_is_remembered_with_its_verdict(
    company: Directory, owner: asyncpg.Connection, shell: Shell
) -> None:
    shell.output("ledger", "check")
    found = (await checks(company))["ledger ledger"]
    last_seq = await owner.fetchval("SELECT seq FROM rollbook.heads WHERE tenant_id = $1", company.tenant_id)
    assert (found.outcome, found.differences, found.events, found.is_of_all) == ("holds", 0, last_seq, True)

    await owner.execute("UPDATE rollbook.events SET actor = 'x' WHERE seq = 3 AND tenant_id = $1", company.tenant_id)
    assert shell.run("ledger", "check", "--tenant", "contoso").returncode == 2

    found = (await checks(company))["ledger ledger"]
    assert (found.outcome, found.differences, found.is_of_all) == ("proof_fails", 1, False)
    assert (await checks(company, await other_than(company)))["ledger ledger"].outcome == "holds"


async def test_a_check_of_the_ledger_with_read_only_rights_holds_and_says_that_it_is_not_remembered(
    company: Directory, database: Database
) -> None:
    done = Shell(f"{database.owner_url}&default_transaction_read_only=on").run("ledger", "check")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Everything holds.")
    assert "not remembered" in done.stderr
    assert await checks(company) == {}
