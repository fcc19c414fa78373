"""A Merkle tree in tiles: its hashes on every fifth level, 32 of them together; all others are computed from them.

The tile (level, place) holds the hashes of the complete nodes at the tree's height 5 · level, from index 32 · place on:
as many as there are, one behind another. A complete node never changes, so tiles are only ever continued.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from engine.merkle import EMPTY, HASH, node_hash, root

HEIGHT = 5
WIDTH = 1 << HEIGHT


class Tile(NamedTuple):
    """Which tile."""

    level: int
    place: int


Tiles = Mapping[Tile, bytes]
"""Tiles with their hashes."""


class MissingHashError(Exception):
    """A tile is missing, or does not hold as many hashes as it must."""


def edge(size: int, count: int) -> list[Tile]:
    """The unfinished tiles of a tree of this size that so many more leaves continue."""
    found, level, before, after = [], 0, size, size + count
    while after > before:
        if before % WIDTH:
            found.append(Tile(level, before // WIDTH))
        level, before, after = level + 1, before // WIDTH, after // WIDTH
    return found


def appended(size: int, leaf_hashes: Sequence[bytes], tiles: Tiles) -> dict[Tile, bytes]:
    """The tiles, new or continued, when these leaves are added to a tree of this size whose edge is given.

    Raises MissingHashError.
    """
    found: dict[Tile, bytes] = {}
    level, before, nodes = 0, size, list(leaf_hashes)
    while nodes:
        first, kept = divmod(before, WIDTH)
        hashes = _hashes(tiles, Tile(level, first), 0, kept) + nodes if kept else nodes
        parts = [hashes[start : start + WIDTH] for start in range(0, len(hashes), WIDTH)]
        found.update({Tile(level, place): b"".join(part) for place, part in enumerate(parts, first)})
        level, before, nodes = level + 1, first, [root(part) for part in parts if len(part) == WIDTH]
    return found


def tiles_for(ranges: Iterable[range]) -> set[Tile]:
    """The tiles from which the roots of these subtrees can be computed: for one proof, two on each level at most."""
    return {_place(height, index)[0] for each in ranges for height, index in _complete(each)}


def root_of(leaves: range, tiles: Tiles) -> bytes:
    """The root of the subtree over these leaves, which is one that a proof is made of, or a whole tree.

    Raises MissingHashError.
    """
    if not leaves:
        return EMPTY
    nodes = [_node(tiles, height, index) for height, index in _complete(leaves)]
    return reduce(lambda right, left: node_hash(left, right), reversed(nodes))


def _complete(leaves: range) -> Iterator[tuple[int, int]]:
    """Height and index of the complete nodes that a subtree is made of, from left to right, each smaller than the one
    before (RFC 9162 §2.1.2)."""
    start = leaves.start
    while start < leaves.stop:
        height = (leaves.stop - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _place(height: int, index: int) -> tuple[Tile, int]:
    """The tile from which a node is computed, and where in it the hashes for that begin."""
    level, above = divmod(height, HEIGHT)
    place, start = divmod(index << above, WIDTH)
    return Tile(level, place), start


def _node(tiles: Tiles, height: int, index: int) -> bytes:
    tile, start = _place(height, index)
    return root(_hashes(tiles, tile, start, 1 << height % HEIGHT))


def _hashes(tiles: Tiles, tile: Tile, start: int, count: int) -> list[bytes]:
    found = tiles.get(tile, b"")
    if len(found) < (start + count) * HASH:
        raise MissingHashError(f"the tile at level {tile.level}, place {tile.place} does not hold what it must")
    return [found[each * HASH : (each + 1) * HASH] for each in range(start, start + count)]
