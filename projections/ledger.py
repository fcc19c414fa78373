"""Queries on the ledger: roots and proofs of a tenant's Merkle tree, at any size that it ever had.

A tree of a size is that of the tenant's first events, up to the one with this seq. Each answer takes one statement, and
a number of tiles that grows with the logarithm of the size.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

import asyncpg
from msgspec import Struct

from engine.merkle import HASH, consistency_ranges, inclusion_ranges
from engine.tiles import WIDTH, Tile, Tiles, root_of, tiles_for


class Block(Struct, frozen=True):
    """Up to 32 leaves that stand together, and the path of the node above them.

    A leaf's path within the block, and then the path of the block, is the leaf's inclusion path (RFC 9162 §2.1.3.1).
    """

    leaf_hashes: Sequence[bytes]
    path: Sequence[bytes]


class Reach(Struct, frozen=True):
    """How many events are in the ledger, and how many are in the log."""

    size: int
    last_seq: int


class Ledger:
    """Everything raises MissingHashError if the ledger does not reach so far (yet), and ValueError if a place is none
    of the tree."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def size(self, tenant_id: UUID) -> int:
        """How many of the tenant's events are in the ledger by now."""
        return int(await self._pool.fetchval(_SIZE, tenant_id) or 0)

    async def reach(self, tenant_id: UUID) -> Reach:
        row = await self._pool.fetchrow(_REACH, tenant_id)
        return Reach(row["size"] or 0, row["last_seq"] or 0)

    async def root(self, tenant_id: UUID, size: int) -> bytes:
        return (await self.roots(tenant_id, [size]))[0]

    async def roots(self, tenant_id: UUID, sizes: Sequence[int]) -> list[bytes]:
        """The roots of several sizes, which belong together: they are from one moment."""
        return await self._roots(tenant_id, [range(size) for size in sizes])

    async def inclusion(self, tenant_id: UUID, seq: int, size: int) -> list[bytes]:
        """The path that proves that the event is in the tree of this size."""
        _check(1 <= seq <= size)
        return await self._roots(tenant_id, inclusion_ranges(seq - 1, size))

    async def consistency(self, tenant_id: UUID, first: int, second: int) -> list[bytes]:
        """The path that proves that the tree of the second size continues that of the first."""
        _check(0 <= first <= second)
        return await self._roots(tenant_id, consistency_ranges(first, second))

    async def block(self, tenant_id: UUID, first_index: int, size: int) -> Block:
        """The leaves from an index on, a multiple of 32: 32 of them, or those up to the end of the tree."""
        return (await self.blocks(tenant_id, [first_index], size))[0]

    async def blocks(self, tenant_id: UUID, first_indexes: Sequence[int], size: int) -> list[Block]:
        """Several blocks; what they have in common is read once."""
        _check(all(0 <= first < size and first % WIDTH == 0 for first in first_indexes))
        paths = {first: _above(first, size) for first in first_indexes}
        wanted = tiles_for(each for path in paths.values() for each in path)
        tiles = await self._tiles(tenant_id, wanted | {Tile(0, first // WIDTH) for first in first_indexes})
        return [
            Block(_leaves(tiles, first, size), [root_of(each, tiles) for each in path]) for first, path in paths.items()
        ]

    async def _roots(self, tenant_id: UUID, ranges: Sequence[range]) -> list[bytes]:
        tiles = await self._tiles(tenant_id, tiles_for(ranges))
        return [root_of(each, tiles) for each in ranges]

    async def _tiles(self, tenant_id: UUID, wanted: Iterable[Tile]) -> Tiles:
        tiles = sorted(wanted)
        if not tiles:
            return {}
        rows = await self._pool.fetch(_TILES, tenant_id, [tile.level for tile in tiles], [tile.place for tile in tiles])
        return {Tile(row["level"], row["place"]): row["hashes"] for row in rows}


def _check(is_right: bool) -> None:
    if not is_right:
        raise ValueError("this is no place in a tree of that size")


def _above(first: int, size: int) -> list[range]:
    """The path of a block's node: what stands within the block comes before it."""
    block = range(first, min(first + WIDTH, size))
    return [each for each in inclusion_ranges(first, size) if each.start not in block]


def _leaves(tiles: Tiles, first: int, size: int) -> list[bytes]:
    return [root_of(range(index, index + 1), tiles) for index in range(first, min(first + WIDTH, size))]


# By the last tile of leaves, which is written together with the follower's place.
_SIZE = f"""
    SELECT place * {WIDTH} + octet_length(hashes) / {HASH}
    FROM rollbook.ledger_tiles
    WHERE tenant_id = $1 AND level = 0
    ORDER BY place DESC
    LIMIT 1
"""  # noqa: S608  constants

_REACH = f"""
    SELECT ({_SIZE}) AS size, (SELECT seq FROM rollbook.heads WHERE tenant_id = $1) AS last_seq
"""  # noqa: S608  constants

# One by one by the key, whatever the planner thinks of it.
_TILES = """
    SELECT wanted.level, wanted.place, tile.hashes
    FROM unnest($2::smallint[], $3::bigint[]) AS wanted(level, place)
    CROSS JOIN LATERAL (
        SELECT hashes
        FROM rollbook.ledger_tiles
        WHERE tenant_id = $1 AND level = wanted.level AND place = wanted.place
        LIMIT 1
    ) AS tile
"""
