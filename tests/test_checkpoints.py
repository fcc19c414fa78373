"""Checkpoints: signed as the ledger goes on, kept where they were given away, and never signed over a changed past."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from api.composition import open_services
from api.services import Services
from engine import merkle
from engine.checkpoint import open_checkpoint
from ops.database import Database
from ops.ledger_key import KeyPlace, prepare_key, rotate
from projections import signing
from projections.background.ledger import FOLLOWER
from projections.following import Following
from projections.ledger import Ledger
from projections.signer import BehindError, ForkError, NoKeyError, Signer
from projections.signing import Signing
from tests.conftest import register
from tests.logs import fill
from tests.test_checkpoint import verified
from tests.test_ledger import leaves

CHECKPOINTS = "SELECT size, key, is_kept FROM rollbook.checkpoints WHERE tenant_id = $1 ORDER BY size, key"


@pytest.fixture
async def signers(database: Database, tmp_path: Path) -> AsyncIterator[Services]:
    """The services with a key."""
    place = KeyPlace(tmp_path)
    await prepare_key(database.owner_url, place)
    async with open_services(database.service_url, find_key=place.find) as services:
        yield services


@pytest.fixture
async def tenant_id(signers: Services, owner: asyncpg.Connection) -> UUID:
    """A tenant whose ledger holds 100 events, unsigned."""
    tenant_id = await register(signers, "contoso")
    await go_on(signers, owner, tenant_id, 99)
    return tenant_id


async def go_on(services: Services, owner: asyncpg.Connection, tenant_id: UUID, count: int = 1) -> None:
    if count:
        await fill(owner, tenant_id, count)
    await Following(services.pool, [FOLLOWER]).catch_up()


async def stored(owner: asyncpg.Connection, tenant_id: UUID) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await owner.fetch(CHECKPOINTS, tenant_id)]


def signing_of(services: Services) -> Signing:
    return Signing(services.pool, services.signer)


async def test_a_checkpoint_says_what_the_events_make_and_verifies_without_our_code(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    signed = await signers.signer.sign(tenant_id, keep=True)

    store_id = await owner.fetchval("SELECT id FROM rollbook.store")
    root = merkle.root(await leaves(owner, tenant_id))
    assert verified(signed.note, signed.key.text) == (f"rollbook/{store_id}/{tenant_id}", 100, root)
    assert await stored(owner, tenant_id) == [(100, 1, True)]
    assert (await signers.signer.sign(tenant_id, keep=False)) == signed
    assert await stored(owner, tenant_id) == [(100, 1, True)]


async def test_the_last_checkpoint_of_an_hour_replaces_those_before_unless_they_were_given_away(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    await signers.signer.sign(tenant_id, keep=False)
    for keep in (False, True, False, False):
        await go_on(signers, owner, tenant_id)
        await signers.signer.sign(tenant_id, keep=keep)
    assert await stored(owner, tenant_id) == [(102, 1, True), (104, 1, False)]

    await owner.execute("UPDATE rollbook.checkpoints SET made_at = made_at - interval '1 hour'")
    await go_on(signers, owner, tenant_id)
    await signers.signer.sign(tenant_id, keep=False)
    assert await stored(owner, tenant_id) == [(102, 1, True), (104, 1, False), (105, 1, False)]


async def test_one_that_is_given_away_later_is_kept_from_then_on(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    await signers.signer.sign(tenant_id, keep=False)
    await signers.signer.sign(tenant_id, keep=True)
    await signers.signer.sign(tenant_id, keep=False)

    assert await stored(owner, tenant_id) == [(100, 1, True)]


async def test_those_who_sign_at_once_double_nothing_and_contradict_each_other_in_nothing(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    for _ in range(10):
        await go_on(signers, owner, tenant_id)
        notes = {
            each.note for each in await asyncio.gather(*(signers.signer.sign(tenant_id, keep=True) for _ in "12345"))
        }
        assert len(notes) == 1

    assert await stored(owner, tenant_id) == [(size, 1, True) for size in range(101, 111)]


async def test_signing_signs_each_ledger_that_went_on_once(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    others = [await register(signers, name) for name in "abc"]
    await go_on(signers, owner, tenant_id, 0)
    task = signing_of(signers)

    await task.sign_some()
    assert [await stored(owner, each) for each in (tenant_id, *others)] == [[(100, 1, False)], *[[(1, 1, False)]] * 3]
    await go_on(signers, owner, others[1], 5)
    statements = await counted(signers, task.sign_some)
    assert [await stored(owner, each) for each in others] == [[(1, 1, False)], [(6, 1, False)], [(1, 1, False)]]
    assert statements <= 5


async def test_an_idle_store_costs_one_statement_a_look_however_many_tenants_it_has(
    signers: Services, owner: asyncpg.Connection
) -> None:
    for name in "abcdefgh":
        await register(signers, name)
    await Following(signers.pool, [FOLLOWER]).catch_up()
    task = signing_of(signers)
    await task.sign_some()

    assert await counted(signers, task.sign_some) == 1


async def counted(services: Services, work: Any) -> int:
    """How many statements of ours a piece of work sends."""
    count = 0

    def note(query: Any) -> None:
        nonlocal count
        count += "rollbook." in query.query  # the driver has questions of its own

    connections = [holder._con for holder in services.pool._holders if holder._con is not None]
    with contextlib.ExitStack() as stack:
        for connection in connections:
            stack.enter_context(connection.query_logger(note))
        await work()
    return count


async def test_signing_waits_for_a_ledger_that_is_behind(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    task = signing_of(signers)
    await task.sign_some()
    await fill(owner, tenant_id, 10)
    await task.sign_some()
    assert await stored(owner, tenant_id) == [(100, 1, False)]

    await go_on(signers, owner, tenant_id, 0)
    await task.sign_some()
    assert await stored(owner, tenant_id) == [(110, 1, False)]


async def test_what_was_appended_long_ago_is_found_by_the_look_at_all_tenants(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.execute("UPDATE rollbook.heads SET recorded_at = recorded_at - interval '1 day'")
    await signing_of(signers).sign_some()

    assert await stored(owner, tenant_id) == [(100, 1, False)]


async def test_of_many_those_are_signed_first_where_something_happens(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [await register(signers, f"tenant {number}") for number in range(10)]
    await go_on(signers, owner, tenant_id, 0)
    await owner.execute(
        "UPDATE rollbook.heads SET recorded_at = now() - interval '1 day' WHERE tenant_id <> $1", tenant_id
    )
    monkeypatch.setattr(signing, "ROUND", 4)
    task = signing_of(signers)

    await task.sign_some()
    assert len(await stored(owner, tenant_id)) == 1
    for _ in range(2):
        await task.sign_some()
    assert all([await stored(owner, each) for each in others])


async def test_signing_goes_on_by_itself(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "EVERY", 0.01)
    running = asyncio.create_task(signing_of(signers).run())
    for size in (100, 101, 102):
        async with asyncio.timeout(10):
            while (await stored(owner, tenant_id))[-1:] != [(size, 1, False)]:  # noqa: ASYNC110  in the database
                await asyncio.sleep(0.01)
        await go_on(signers, owner, tenant_id)
    running.cancel()


# What a dishonest hand may do between two checkpoints.
CHANGE = "UPDATE rollbook.ledger_tiles SET hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40))"
FORGERIES = {
    "a leaf": f"{CHANGE} WHERE level = 0 AND place = 3",
    "a node": f"{CHANGE} WHERE level = 1",
    "the end": "DELETE FROM rollbook.ledger_tiles WHERE place = 3; UPDATE rollbook.heads SET seq = 90",
    "everything": "TRUNCATE rollbook.ledger_tiles; UPDATE rollbook.heads SET seq = 0",
    "the stored root": "UPDATE rollbook.checkpoints SET root = sha256(root)",
    "the stored size": "UPDATE rollbook.checkpoints SET size = 99",
    "the stored note": "UPDATE rollbook.checkpoints SET note = replace(note, '100', '101')",
    "the key that signed": """
        UPDATE rollbook.ledger_keys SET number = 2;
        INSERT INTO rollbook.ledger_keys VALUES (1, 'x+0+x')
    """,
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_ledger_that_does_not_continue_the_last_checkpoint_is_not_signed(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID, forgery: str
) -> None:
    await signers.signer.sign(tenant_id, keep=True)
    await owner.execute(FORGERIES[forgery])

    with pytest.raises(ForkError, match="rollbook ledger check"):
        await signers.signer.sign(tenant_id, keep=True)
    if forgery not in {"the end", "everything"}:
        await go_on(signers, owner, tenant_id)
        with pytest.raises(ForkError):
            await signers.signer.sign(tenant_id, keep=True)
    assert len(await stored(owner, tenant_id)) == 1


async def test_signing_tells_of_a_fork_once_and_goes_on_with_others(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    other, task = await register(signers, "fabrikam"), signing_of(signers)
    await go_on(signers, owner, tenant_id)
    await task.sign_some()
    await owner.execute(FORGERIES["a leaf"])

    with capture_logs() as logs:
        for _ in range(3):
            await fill(owner, other, 1)
            await go_on(signers, owner, tenant_id)
            await task.sign_some()

    assert [(each["event"], each["tenant_id"]) for each in logs] == [("a ledger is not signed", str(tenant_id))]
    assert [await stored(owner, each) for each in (tenant_id, other)] == [[(101, 1, False)], [(4, 1, False)]]


async def test_a_ledger_that_the_database_lost_the_last_moments_of_is_no_fork(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    before = await owner.fetch("SELECT * FROM rollbook.ledger_tiles")
    await go_on(signers, owner, tenant_id, 50)
    await signers.signer.sign(tenant_id, keep=False)
    await owner.execute(
        "TRUNCATE rollbook.ledger_tiles; UPDATE rollbook.places SET seq = 100 WHERE follower = 'ledger'"
    )
    await owner.copy_records_to_table("ledger_tiles", schema_name="rollbook", records=[tuple(row) for row in before])

    with pytest.raises(BehindError):
        await signers.signer.sign(tenant_id, keep=False)
    await go_on(signers, owner, tenant_id)
    assert (await signers.signer.sign(tenant_id, keep=False)).checkpoint.size == 151


async def test_a_rotation_is_taken_up_and_older_checkpoints_still_verify(
    signers: Services, owner: asyncpg.Connection, database: Database, tmp_path: Path, tenant_id: UUID
) -> None:
    old = await signers.signer.sign(tenant_id, keep=True)
    key = await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)

    same, again = await signers.signer.sign(tenant_id, keep=True), await signers.signer.sign(tenant_id, keep=True)
    await go_on(signers, owner, tenant_id)
    new = await signers.signer.sign(tenant_id, keep=True)

    assert same == again
    assert same.checkpoint == old.checkpoint
    assert open_checkpoint(same.note, key.verifier).size == 100
    assert open_checkpoint(new.note, key.verifier).size == 101
    assert open_checkpoint(old.note, old.key) == old.checkpoint
    assert await stored(owner, tenant_id) == [(100, 1, True), (100, 2, True), (101, 2, True)]


async def test_nothing_is_signed_with_a_key_that_is_not_the_stores(
    signers: Services, services: Services, owner: asyncpg.Connection, tenant_id: UUID, tmp_path: Path
) -> None:
    with pytest.raises(NoKeyError, match="not here"):
        await services.signer.sign(tenant_id, keep=True)
    elsewhere = Signer(services.pool, Ledger(services.pool), KeyPlace(tmp_path / "elsewhere").find)
    with capture_logs() as logs:
        task = Signing(services.pool, elsewhere)
        for _ in range(3):
            await task.sign_some()
        await signing_of(signers).sign_some()

    assert [each["event"] for each in logs] == ["checkpoints are not signed"]
    assert "rotate --lost" in logs[0]["reason"]
    assert await stored(owner, tenant_id) == [(100, 1, False)]
    await owner.execute("TRUNCATE rollbook.ledger_keys, rollbook.checkpoints")
    with pytest.raises(NoKeyError, match="no key yet"):
        await signers.signer.sign(tenant_id, keep=True)


async def test_a_rotation_between_two_steps_of_signing_stores_nothing_of_the_old_key(
    signers: Services, owner: asyncpg.Connection, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked_root = signers.signer._checked_root

    async def rotated_meanwhile(*values: Any) -> bytes:
        await owner.execute("INSERT INTO rollbook.ledger_keys (number, vkey) VALUES (2, 'new')")
        return await checked_root(*values)

    monkeypatch.setattr(signers.signer, "_checked_root", rotated_meanwhile)
    with pytest.raises(NoKeyError, match="rotated"):
        await signers.signer.sign(tenant_id, keep=True)
    assert await stored(owner, tenant_id) == []


async def test_the_service_can_make_no_keys(signers: Services, tenant_id: UUID) -> None:
    for statement in (
        "INSERT INTO rollbook.ledger_keys (number, vkey) VALUES (2, 'x')",
        "UPDATE rollbook.ledger_keys SET vkey = 'x'",
        "DELETE FROM rollbook.ledger_keys",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await signers.pool.execute(statement)
