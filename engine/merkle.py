"""The Merkle tree of RFC 9162 §2.1: roots, inclusion and consistency proofs, over the hashes of the leaves.

A path is made of ranges of leaves: the roots of the subtrees over them are the path's hashes, in the RFC's order. So
whoever keeps the tree in pieces can see which pieces a proof needs.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

HASH = 32  # bytes

EMPTY = sha256().digest()  # the root of a tree without leaves


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over these leaves; of an empty tree, SHA-256 of nothing (RFC 9162 §2.1.1)."""
    if not leaf_hashes:
        return EMPTY
    level = list(leaf_hashes)
    while len(level) > 1:
        level = parents(level) + level[len(level) // 2 * 2 :]  # the last of an odd number goes up as it is
    return level[0]


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """The nodes above these, two by two; the last of an odd number has none."""
    pairs = zip(hashes[::2], hashes[1::2], strict=False)
    return [sha256(b"\1" + left + right).digest() for left, right in pairs]


def inclusion_ranges(index: int, size: int) -> list[range]:
    """Those whose roots prove that the leaf is in the tree of this size, lowest first (RFC 9162 §2.1.3.1)."""
    found, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            found.append(range(middle, high))
            high = middle
        else:
            found.append(range(low, middle))
            low = middle
    return found[::-1]


def consistency_ranges(first: int, second: int) -> list[range]:
    """Those whose roots prove that the tree of the second size continues that of the first (RFC 9162 §2.1.4.1).

    None if either is empty, or both are the same: there is nothing to prove then.
    """
    if first == 0:
        return []
    found, low, high = [], 0, second
    while first < high:
        middle = low + _split(high - low)
        if first <= middle:
            found.append(range(middle, high))
            high = middle
        else:
            found.append(range(low, middle))
            low = middle
    if low > 0:  # otherwise it is the first tree itself, whose root the verifier has
        found.append(range(low, high))
    return found[::-1]


def _split(size: int) -> int:
    """The largest power of two that is smaller than a size above one."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_path(index: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """For a leaf's index from 0 to one less than the number of leaves."""
    return [root(leaf_hashes[each.start : each.stop]) for each in inclusion_ranges(index, len(leaf_hashes))]


def consistency_path(first_size: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """For a size from 0 to the number of leaves."""
    return [root(leaf_hashes[each.start : each.stop]) for each in consistency_ranges(first_size, len(leaf_hashes))]


def verify_inclusion(index: int, size: int, leaf_hash: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path proves that this is the leaf with this index, in the tree of this root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf_hash
    for each in path:
        if last == 0:
            return False
        if place % 2 or place == last:
            found = node_hash(each, found)
            place, last = _up_to_odd(place, last)
        else:
            found = node_hash(found, each)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path proves that the second tree continues the first (RFC 9162 §2.1.4.2).

    The path is empty if the first tree is, which every tree continues, or if both have the same size.
    """
    if not 0 <= first <= second:
        return False
    if first in {0, second}:
        return not path and first_root == (EMPTY if first == 0 else second_root)
    hashes = _from_first_root(first, first_root, path)
    place, last = _up_to_even(first - 1, second - 1)
    old = new = next(hashes, None)
    if old is None or new is None:
        return False
    for each in hashes:
        if last == 0:
            return False
        if place % 2 or place == last:
            old, new = node_hash(each, old), node_hash(each, new)
            place, last = _up_to_odd(place, last)
        else:
            new = node_hash(new, each)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _from_first_root(first: int, first_root: bytes, path: Sequence[bytes]) -> Iterator[bytes]:
    """A first tree that is complete stands in the second as it is, and is left out of the path."""
    if path and first & (first - 1) == 0:
        yield first_root
    yield from path


def _up_to_odd(place: int, last: int) -> tuple[int, int]:
    """Past the levels on which a last node goes up as it is."""
    while place % 2 == 0 and place:
        place, last = place >> 1, last >> 1
    return place, last


def _up_to_even(place: int, last: int) -> tuple[int, int]:
    while place % 2:
        place, last = place >> 1, last >> 1
    return place, last
