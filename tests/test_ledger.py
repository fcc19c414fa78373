"""The ledger: what the follower writes and what is read from it is the tree of the log's own events."""

import random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.services import Services
from engine import merkle
from engine.leaf import Header, leaf_of
from engine.merkle import leaf_hash, verify_consistency, verify_inclusion
from engine.tiles import MissingHashError, Tile, appended
from ops.database import Database
from projections import following
from projections.background.ledger import FOLLOWER
from projections.batch import read_headers
from projections.following import Following
from projections.ledger import Ledger
from projections.rebuild import rebuild
from projections.target import follower_target
from tests.conftest import Directory, register
from tests.logs import fill

TILES = "SELECT tenant_id, level, place, hashes FROM rollbook.ledger_tiles ORDER BY 1, 2, 3"


async def leaves(owner: asyncpg.Connection, tenant_id: UUID) -> list[bytes]:
    return [leaf_hash(leaf_of(each)) for each in await read_headers(owner, tenant_id, 0, 1_000_000)]


async def follow(services: Services) -> None:
    await Following(services.pool, [FOLLOWER]).catch_up()


async def test_each_event_of_each_tenant_is_a_leaf_of_its_tree(company: Directory, owner: asyncpg.Connection) -> None:
    ledger = Ledger(company.services.pool)

    for row in await owner.fetch("SELECT tenant_id, seq FROM rollbook.heads"):
        expected = await leaves(owner, row["tenant_id"])
        assert await ledger.size(row["tenant_id"]) == row["seq"] == len(expected)
        assert await ledger.root(row["tenant_id"], row["seq"]) == merkle.root(expected)


async def test_a_leaf_says_what_stands_in_the_columns(company: Directory, owner: asyncpg.Connection) -> None:
    row = await owner.fetchrow("SELECT * FROM rollbook.events WHERE token_id IS NOT NULL LIMIT 1")
    [header] = await read_headers(owner, row["tenant_id"], row["seq"] - 1, 1)

    assert header == Header(**{name: row[name] for name in Header.__struct_fields__})


async def test_followed_in_batches_of_any_size_and_rebuilt_it_has_the_same_tiles(
    services: Services, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = [await register(services, name) for name in ("a", "b", "c")]
    chosen = random.Random(4)
    for _ in range(40):
        await fill(owner, chosen.choice(tenants), chosen.choice([1, 3, 31, 32, 40, 300]))
        monkeypatch.setattr(following, "BATCH", chosen.choice([1, 7, 32, 100, 1_000]))
        await follow(services)

    followed = [tuple(row) for row in await owner.fetch(TILES)]

    expected = {tenant_id: appended(0, await leaves(owner, tenant_id), {}) for tenant_id in tenants}
    assert {(row[0], Tile(row[1], row[2])): row[3] for row in followed} == {
        (tenant_id, tile): hashes for tenant_id, found in expected.items() for tile, hashes in found.items()
    }
    summary = await rebuild(database.owner_url, follower_target(FOLLOWER))
    assert (summary.differences, summary.more, summary.is_compared) == ([], 0, True)
    await owner.execute("TRUNCATE rollbook.ledger_tiles")
    await rebuild(database.owner_url, follower_target(FOLLOWER), jobs=2)
    assert [tuple(row) for row in await owner.fetch(TILES)] == followed


async def test_erased_events_are_no_trouble_and_change_no_leaf(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    before = await owner.fetch(TILES)
    await owner.execute("UPDATE rollbook.events SET data = NULL, salt = NULL WHERE stream_id <> tenant_id")

    summary = await rebuild(database.owner_url, follower_target(FOLLOWER))
    assert (summary.differences, summary.is_compared) == ([], True)
    await owner.execute("TRUNCATE rollbook.ledger_tiles")
    await owner.execute("DELETE FROM rollbook.places WHERE follower = 'ledger'")
    await follow(company.services)
    assert await owner.fetch(TILES) == before


@pytest.fixture
async def grown(services: Services, owner: asyncpg.Connection) -> UUID:
    """A tenant with 2,500 events, between two others."""
    await fill(owner, await register(services, "a"), 100)
    tenant_id = await register(services, "b")
    await fill(owner, tenant_id, 2_499)
    await fill(owner, await register(services, "c"), 100)
    await follow(services)
    return tenant_id


async def test_proofs_verify_at_every_size_that_the_tree_had(
    services: Services, owner: asyncpg.Connection, grown: UUID
) -> None:
    ledger, hashes, chosen = Ledger(services.pool), await leaves(owner, grown), random.Random(5)
    for size in [1, 2, 31, 32, 33, 1_023, 1_024, 1_025, 2_500, *(chosen.randint(1, 2_500) for _ in range(40))]:
        root = merkle.root(hashes[:size])
        seq, first = chosen.randint(1, size), chosen.randint(0, size)
        inclusion = await ledger.inclusion(grown, seq, size)
        consistency = await ledger.consistency(grown, first, size)

        assert await ledger.root(grown, size) == root
        assert verify_inclusion(seq - 1, size, hashes[seq - 1], inclusion, root)
        assert verify_consistency(first, size, merkle.root(hashes[:first]), root, consistency)


async def test_a_block_holds_the_paths_of_its_leaves(
    services: Services, owner: asyncpg.Connection, grown: UUID
) -> None:
    ledger, hashes = Ledger(services.pool), await leaves(owner, grown)
    for size in (1, 20, 32, 33, 64, 65, 1_000, 1_025, 2_500):
        firsts = list(range(0, size, 32))
        blocks = await ledger.blocks(grown, firsts, size)
        for first, block in zip(firsts, blocks, strict=True):
            assert list(block.leaf_hashes) == hashes[first : min(first + 32, size)]
            for index in {first, first + len(block.leaf_hashes) - 1}:
                path = [*merkle.inclusion_path(index - first, block.leaf_hashes), *block.path]
                assert path == merkle.inclusion_path(index, hashes[:size])
        assert await ledger.block(grown, firsts[-1], size) == blocks[-1]


async def test_a_tree_is_not_asked_about_what_it_does_not_reach(services: Services, grown: UUID) -> None:
    ledger, nobody = Ledger(services.pool), UUID(int=1)

    assert await ledger.size(nobody) == 0
    assert await ledger.root(nobody, 0) == merkle.EMPTY
    for size in (2_501, 2_560, 1 << 62):
        with pytest.raises(MissingHashError):
            await ledger.root(grown, size)
    with pytest.raises(MissingHashError):
        await ledger.inclusion(nobody, 1, 2)
    wrong: list[Any] = [
        ledger.inclusion(grown, 0, 5),
        ledger.inclusion(grown, 6, 5),
        ledger.consistency(grown, 6, 5),
        ledger.consistency(grown, -1, 5),
        ledger.block(grown, 1, 50),
        ledger.block(grown, 64, 64),
    ]
    for each in wrong:
        with pytest.raises(ValueError, match="no place"):
            await each


async def test_tiles_stay_in_their_rows_and_grow_in_place(services: Services, owner: asyncpg.Connection) -> None:
    tenant_id = await register(services, "contoso")
    await owner.execute("TRUNCATE rollbook.ledger_tiles; SELECT pg_stat_force_next_flush()")
    for _ in range(70):
        await fill(owner, tenant_id, 1)
        await follow(services)

    beside = "SELECT reltoastrelid FROM pg_class WHERE oid = 'rollbook.ledger_tiles'::regclass"
    assert await owner.fetchval(beside) == 0
    async with services.pool.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    updates = await owner.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'ledger_tiles'"
    )
    assert updates["n_tup_upd"] >= 60
    assert updates["n_tup_hot_upd"] == updates["n_tup_upd"]
