"""Erasure beside everything else: followers that are behind, replays that are under way, writers, and sudden ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
import pytest

from ops.database import Database
from projections import following
from projections.as_of import people_as_of
from projections.batch import read_batch, read_streams
from projections.connections import connected
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.target import Target, targets
from tests.conftest import Directory
from tests.replays import differences, fill, follow, replay
from tests.test_erasure import SECRETS, erase, everything, provisioned

KEEPERS = sum(any(table.stream == "user_id" for table in each.tables) for each in FOLLOWERS)
ROLLBOOK = Path(sys.prefix) / "bin" / "rollbook"


async def secrets_in(owner: asyncpg.Connection) -> list[str]:
    text = await everything(owner)
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("follower", FOLLOWERS, ids=lambda each: str(each.name))
async def test_a_follower_that_had_read_the_events_before_leaves_nothing_behind(
    company: Directory, database: Database, owner: asyncpg.Connection, follower: Any
) -> None:
    zaphod = await provisioned(company)
    certificates: list[dict[str, Any]] = []

    async def read_and_then_erase(*values: Any, **options: Any) -> Any:
        batch = await read_batch(*values, **options)
        if not certificates:
            certificates.append(await erase(company, zaphod))
        return batch

    with patch.object(following, "read_batch", read_and_then_erase):
        await Following(company.services.pool, [follower]).catch_up()
    await follow(company.services)

    assert certificates[0]["checks"]["followers_behind"] == KEEPERS
    assert (await erase(company, zaphod))["checks"] == {
        "events_with_content": 0,
        "rows_about_the_person": 0,
        "notes_with_content": 0,
        "followers_behind": 0,
    }
    assert await secrets_in(owner) == []
    assert await differences(database) == []


@pytest.mark.parametrize("target", targets(), ids=lambda each: str(each.name))
@pytest.mark.parametrize("are_behind", [True, False], ids=["followers are behind", "followers are up to date"])
@pytest.mark.parametrize("how", ["replaced", "replaced for one tenant", "compared"])
async def test_a_replay_that_had_read_the_events_before_finds_no_difference_and_leaves_nothing_behind(  # noqa: PLR0913, PLR0917  fixtures and cases
    company: Directory, database: Database, owner: asyncpg.Connection, target: Target, are_behind: bool, how: str
) -> None:
    zaphod = await provisioned(company)
    await follow(company.services)
    await company.patch(zaphod, {"op": "replace", "path": "title", "value": "Zaphod the Third"})
    if not are_behind:
        await follow(company.services)

    async def erase_and_write_on() -> None:
        await erase(company, zaphod)
        await company.create("somebody else")
        if not are_behind:
            await follow(company.services)

    only = company.tenant_id if how == "replaced for one tenant" else None
    done = await replay(database, only, target=target, meanwhile=erase_and_write_on, swap=how != "compared")
    await follow(company.services)

    assert done.differences == []
    assert await secrets_in(owner) == []
    assert await differences(database) == []


@pytest.mark.parametrize("target", [each for each in targets() if each.by_stream], ids=lambda each: str(each.name))
async def test_a_replay_that_has_read_half_of_a_long_stream_leaves_nothing_of_it_behind(
    company: Directory, database: Database, owner: asyncpg.Connection, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    zaphod = await provisioned(company)
    await follow(company.services)
    monkeypatch.setattr("projections.build.PAGE", 2)
    erased = False

    async def read_and_then_erase(*values: Any) -> Any:
        nonlocal erased
        events = await read_streams(*values)
        if not erased and str(events[-1].stream_id) == zaphod:
            erased = True
            await erase(company, zaphod)
        return events

    with patch("projections.build.read_streams", read_and_then_erase):
        done = await replay(database, target=target, jobs=1)
    await follow(company.services)

    assert erased
    assert done.differences == []
    assert await secrets_in(owner) == []
    assert await differences(database) == []


async def test_a_roster_that_is_being_written_leaves_out_whoever_is_erased_meanwhile(
    company: Directory, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    zaphod = await provisioned(company)
    monkeypatch.setattr("projections.as_of.PAGE", 2)
    found = []
    last = await owner.fetchval("SELECT seq FROM rollbook.heads WHERE tenant_id = $1", company.tenant_id)

    async def read_and_then_erase(*values: Any) -> Any:
        events = await read_streams(*values)
        if events and str(events[-1].stream_id) == zaphod:
            await erase(company, zaphod)
        return events

    with patch("projections.as_of.read_streams", read_and_then_erase):
        found = [str(person.id) async for person in people_as_of(owner, company.tenant_id, last)]

    assert found
    assert zaphod not in found


async def test_somebody_who_gets_another_name_during_the_search_is_searched_for_again(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    await company.request("POST", "/scim/v2/Users", json={"userName": "deodat@galaxy.example", "displayName": "<3"})
    async with locked(database, "SELECT FROM rollbook.heads FOR UPDATE") as holder:
        erasing = asyncio.create_task(erase(company, zaphod))
        await waiting_for_a_lock(owner)
        # As the append would, which waits behind the same lock.
        await holder.execute(
            "SELECT rollbook.append($1, ARRAY[$2::uuid], '{NULL}', '{AttributesChanged}', '{directory}', '{a}', "
            "'{NULL}', ARRAY[$2::uuid], ARRAY[$3], '{x}', '{}')",
            company.tenant_id,
            UUID(zaphod),
            '{"type":"AttributesChanged","changes":{"nickName":{"from":null,"to":"deodat@galaxy.example"}}}',
        )

    certificate = await erasing

    assert "deodat" not in await everything(owner)
    assert len(certificate["notes"]) == 4


def locked(database: Database, statement: str) -> Any:
    """A transaction that holds a lock until the end of the block."""

    class Locked:
        async def __aenter__(self) -> asyncpg.Connection:
            self.connected = connected(database.owner_url)
            connection = await self.connected.__aenter__()
            self.transaction = connection.transaction()
            await self.transaction.start()
            await connection.execute(statement)
            return connection

        async def __aexit__(self, *_: object) -> None:
            await self.transaction.commit()
            await self.connected.__aexit__(None, None, None)

    return Locked()


async def until(condition: Callable[[], Awaitable[object]]) -> Any:
    async with asyncio.timeout(20):
        while not (found := await condition()):  # noqa: ASYNC110  another process, which tells nobody
            await asyncio.sleep(0.02)
        return found


async def waiting_for_a_lock(owner: asyncpg.Connection) -> int:
    """The process of the erasure, once it waits."""
    pid: int = await until(
        lambda: owner.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%rollbook.erase(%' "
            "AND datname = current_database()"
        )
    )
    return pid


# Its last lock but one: by then the events are empty, and the erasure is appended.
LAST_LOCK = "LOCK TABLE rollbook.history IN SHARE MODE"


async def test_an_erasure_that_is_cut_off_in_the_middle_has_erased_nothing(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    before = await everything(owner)
    async with locked(database, LAST_LOCK):
        erasing = asyncio.create_task(company.request("POST", f"/v1/users/{zaphod}/erase"))
        await owner.execute("SELECT pg_terminate_backend($1)", await waiting_for_a_lock(owner))
        assert (await erasing).status_code == 503

    assert await everything(owner) == before
    await erase(company, zaphod)
    assert await secrets_in(owner) == []
    assert await differences(database) == []


async def test_a_command_that_is_killed_in_the_middle_has_erased_all_or_nothing(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    environment = {**os.environ, "ROLLBOOK_DATABASE_URL": database.owner_url}
    command = [str(ROLLBOOK), "erase", "--tenant", "contoso", "--user", zaphod, "--yes"]
    async with locked(database, LAST_LOCK):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: ASYNC220, S603  our own
        await waiting_for_a_lock(owner)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    await until(
        lambda: owner.fetchval(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%rollbook.erase(%' AND state = 'active' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    )

    is_recorded = (await company.event_types(zaphod))[-1] == "PersonalDataErased"
    assert await secrets_in(owner) == ([] if is_recorded else list(SECRETS))
    await erase(company, zaphod)
    assert await secrets_in(owner) == []
    assert await differences(database) == []


async def test_two_who_ask_at_the_same_moment_get_the_same_certificate(company: Directory) -> None:
    zaphod = await provisioned(company)

    certificates = await asyncio.gather(*(erase(company, zaphod) for _ in range(4)))

    assert all(each == certificates[0] for each in certificates)
    assert (await company.event_types(zaphod)).count("PersonalDataErased") == 1


TUPLES_READ = """
    SELECT sum(idx_tup_read) + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relid = 'rollbook.events'::regclass)
    FROM pg_stat_user_indexes
    WHERE relid = 'rollbook.events'::regclass
"""


@pytest.mark.parametrize("are_many", ["notes", "events of people"])
async def test_the_search_reads_notes_alone_and_under_the_lock_those_alone_that_came_since(
    database: Database, owner: asyncpg.Connection, are_many: str
) -> None:
    tenant_id = await fill(owner, 10_000, 100)
    if are_many == "notes":
        await owner.execute(
            "UPDATE rollbook.events SET type = 'AuditAccessed', stream_id = tenant_id, version = seq WHERE seq > 1"
        )
    await owner.execute("VACUUM ANALYZE rollbook.events")

    async def read_by(after_seq: int) -> int:
        async with connected(database.owner_url) as connection:
            before = await owner.fetchval(TUPLES_READ)
            query = "SELECT count(*) FROM rollbook.notes_about($1, $1, ARRAY['zaphod'], $2)"
            assert await connection.fetchval(query, tenant_id, after_seq) == 0
            await connection.execute("SELECT pg_stat_force_next_flush()")
        read: int = await owner.fetchval(TUPLES_READ) - before
        return read

    assert await read_by(9_990) <= 20
    assert (await read_by(0) >= 9_000) == (are_many == "notes")
