"""Tiles: a tree that is kept in pieces has the roots and proofs of a tree that is kept whole."""

import random

import pytest

from engine import merkle
from engine.merkle import HASH
from engine.tiles import MissingHashError, Tile, appended, edge, root_of, tiles_for

LARGEST = 34_000  # so that there are tiles on four levels
MANY = [merkle.leaf_hash(b"%d" % each) for each in range(LARGEST)]
WHOLE = appended(0, MANY, {})


def test_tiles_are_those_of_complete_nodes_on_every_fifth_level() -> None:
    level = MANY
    for height in range(4):
        for place in range(0, len(level), 32):
            expected = b"".join(level[place : place + 32])
            assert WHOLE[Tile(height, place // 32)] == expected
        level = [merkle.root(level[start : start + 32]) for start in range(0, len(level) - 31, 32)]
    assert len(WHOLE) == sum(-(-count // 32) for count in (34_000, 1_062, 33, 1))


def test_appends_in_batches_of_any_size_make_the_tiles_of_one_append() -> None:
    chosen = random.Random(1)
    for _ in range(30):
        size, total, tiles = 0, chosen.randrange(1, 3_000), dict[Tile, bytes]()
        while size < total:
            count = min(chosen.choice([1, 2, 31, 32, 33, 100, 1_000]), total - size)
            known = {tile: tiles[tile] for tile in edge(size, count)}
            tiles.update(appended(size, MANY[size : size + count], known))
            size += count

        assert tiles == appended(0, MANY[:total], {})


def test_one_append_reads_and_writes_a_tile_on_each_level_at_most() -> None:
    for size in range(1, LARGEST):
        wanted = edge(size, 1)
        assert len({tile.level for tile in wanted}) == len(wanted) <= 4
        if size % 100 == 31:
            found = appended(size, MANY[size : size + 1], {tile: WHOLE[tile] for tile in wanted})
            assert len(found) == 1 + sum((size + 1) % 32**level == 0 for level in (1, 2, 3))


def test_roots_and_proofs_from_tiles_are_those_of_the_whole_tree() -> None:
    chosen = random.Random(2)
    for size in [*range(1, 70), *(chosen.randrange(1, LARGEST) for _ in range(40)), 1_024, 32_768, LARGEST]:
        index, first = chosen.randrange(size), chosen.randint(1, size)
        root = merkle.root(MANY[:size])
        inclusion = [root_of(each, WHOLE) for each in merkle.inclusion_ranges(index, size)]
        consistency = [root_of(each, WHOLE) for each in merkle.consistency_ranges(first, size)]

        assert root_of(range(size), WHOLE) == root
        assert merkle.verify_inclusion(index, size, MANY[index], inclusion, root)
        assert merkle.verify_consistency(first, size, merkle.root(MANY[:first]), root, consistency)
    assert root_of(range(0), {}) == merkle.EMPTY


def test_a_proof_needs_two_tiles_on_each_level_at_most_and_those_alone() -> None:
    chosen = random.Random(3)
    for size in (10_000_000, 1 << 40, 12_345_678_901):
        levels = -(-size.bit_length() // 5)
        for _ in range(300):
            index, first = chosen.randrange(size), chosen.randint(1, size)
            for ranges in (
                merkle.inclusion_ranges(index, size),
                merkle.consistency_ranges(first, size),
                [range(size)],
            ):
                assert len(tiles_for(ranges)) <= 2 * levels
    for index in range(0, LARGEST, 501):
        ranges = merkle.inclusion_ranges(index, LARGEST)
        known = {tile: WHOLE[tile] for tile in tiles_for(ranges)}
        assert [root_of(each, known) for each in ranges] == [root_of(each, WHOLE) for each in ranges]


def test_a_tile_that_lacks_a_hash_is_no_tile() -> None:
    short = {Tile(0, 0): WHOLE[Tile(0, 0)][: 31 * HASH]}

    with pytest.raises(MissingHashError):
        root_of(range(32), short)
    with pytest.raises(MissingHashError):
        root_of(range(32), {})
    with pytest.raises(MissingHashError):
        appended(33, MANY[33:34], {})
