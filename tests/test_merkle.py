"""The Merkle tree: the vectors of Certificate Transparency, and the definitions of RFC 9162 §2.1 written down."""

import random
from hashlib import sha256

import pytest

from engine import merkle

# The leaves with which implementations of Certificate Transparency are tested, and the roots of the first n of them.
LEAVES = [bytes.fromhex(each) for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
LEAVES += [bytes.fromhex("606162636465666768696a6b6c6d6e6f")]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

# (leaf, size, path) and (first size, second size, path) of the same tests, leaves counted from 0.
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
HASHES = [merkle.leaf_hash(each) for each in LEAVES]
LARGEST = 1_100
MANY = [merkle.leaf_hash(b"%d" % each) for each in range(LARGEST)]


# RFC 9162 §2.1.1, §2.1.3.1 and §2.1.4.1 as they are written, with MTH remembered for each range.

_known: dict[tuple[int, int], bytes] = {}


def k_of(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(start: int, end: int) -> bytes:
    if (start, end) not in _known:
        n = end - start
        if n == 0:
            _known[start, end] = sha256(b"").digest()
        elif n == 1:
            _known[start, end] = MANY[start]
        else:
            k = k_of(n)
            _known[start, end] = sha256(b"\x01" + mth(start, start + k) + mth(start + k, end)).digest()
    return _known[start, end]


def path(m: int, start: int, end: int) -> list[bytes]:
    n = end - start
    if n == 1:
        return []
    k = k_of(n)
    if m < k:
        return [*path(m, start, start + k), mth(start + k, end)]
    return [*path(m - k, start + k, end), mth(start, start + k)]


def subproof(m: int, start: int, end: int, *, b: bool) -> list[bytes]:
    n = end - start
    if m == n:
        return [] if b else [mth(start, end)]
    k = k_of(n)
    if m <= k:
        return [*subproof(m, start, start + k, b=b), mth(start + k, end)]
    return [*subproof(m - k, start + k, end, b=False), mth(start, start + k)]


def test_the_leaves_of_certificate_transparency_have_its_roots() -> None:
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [merkle.root(HASHES[:size]).hex() for size in range(1, 9)] == ROOTS


@pytest.mark.parametrize(("index", "size", "expected"), INCLUSION)
def test_the_leaves_of_certificate_transparency_have_its_inclusion_proofs(
    index: int, size: int, expected: list[str]
) -> None:
    found = merkle.inclusion_path(index, HASHES[:size])

    assert [each.hex() for each in found] == expected
    assert merkle.verify_inclusion(index, size, HASHES[index], found, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second", "expected"), CONSISTENCY)
def test_the_leaves_of_certificate_transparency_have_its_consistency_proofs(
    first: int, second: int, expected: list[str]
) -> None:
    found = merkle.consistency_path(first, HASHES[:second])

    assert [each.hex() for each in found] == expected
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (first, second)]
    assert merkle.verify_consistency(first, second, roots[0], roots[1], found)


def test_trees_of_every_size_have_the_roots_of_the_rfc() -> None:
    for size in range(LARGEST + 1):
        assert merkle.root(MANY[:size]) == mth(0, size)


def test_proofs_in_trees_of_every_size_are_those_of_the_rfc_and_verify() -> None:
    chosen = random.Random(9162)
    for size in range(1, LARGEST + 1):
        for index in {0, size - 1, *(chosen.randrange(size) for _ in range(2))}:
            found = merkle.inclusion_path(index, MANY[:size])
            assert found == path(index, 0, size)
            assert merkle.verify_inclusion(index, size, MANY[index], found, mth(0, size))
        for first in {1, size, *(chosen.randint(1, size) for _ in range(2))}:
            found = merkle.consistency_path(first, MANY[:size])
            assert found == subproof(first, 0, size, b=True)
            assert merkle.verify_consistency(first, size, mth(0, first), mth(0, size), found)


def test_all_proofs_in_small_trees_are_those_of_the_rfc_and_verify() -> None:
    for size in range(1, 41):
        for index in range(size):
            assert merkle.inclusion_path(index, MANY[:size]) == path(index, 0, size)
            assert merkle.verify_inclusion(index, size, MANY[index], path(index, 0, size), mth(0, size))
        for first in range(1, size + 1):
            proof = subproof(first, 0, size, b=True)
            assert merkle.consistency_path(first, MANY[:size]) == proof
            assert merkle.verify_consistency(first, size, mth(0, first), mth(0, size), proof)


def test_a_proof_proves_no_other_leaf_place_size_or_root() -> None:
    for size in range(1, 41):
        for index in range(size):
            found, root = path(index, 0, size), mth(0, size)
            assert not merkle.verify_inclusion(index, size, MANY[index + 1], found, root)
            assert not merkle.verify_inclusion(index, size, MANY[index], found, mth(0, size + 1))
            assert not merkle.verify_inclusion(index, size, MANY[index], [*found, root], root)
            assert not merkle.verify_inclusion(-1, size, MANY[index], found, root)
            assert not merkle.verify_inclusion(size, size, MANY[index], found, root)
            assert not found or not merkle.verify_inclusion(index, size, MANY[index], found[:-1], root)
            others = (other for other in range(size) if other != index)
            assert not any(merkle.verify_inclusion(other, size, MANY[index], found, root) for other in others)


def test_a_changed_past_is_consistent_with_nothing() -> None:
    for second in range(2, 41):
        for first in range(1, second):
            proof, old, new = subproof(first, 0, second, b=True), mth(0, first), mth(0, second)
            forged = merkle.leaf_hash(b"forged")
            assert not merkle.verify_consistency(first, second, forged, new, proof)
            assert not merkle.verify_consistency(first, second, old, forged, proof)
            assert not merkle.verify_consistency(first, second, old, new, [*proof, forged])
            assert not merkle.verify_consistency(first, second, old, new, proof[:-1])
            assert not merkle.verify_consistency(second, first, new, old, proof)
            for place in range(len(proof)):
                assert not merkle.verify_consistency(
                    first, second, old, new, [*proof[:place], forged, *proof[place + 1 :]]
                )


def test_every_tree_continues_the_empty_one_and_itself_without_a_proof() -> None:
    assert merkle.consistency_path(0, MANY[:5]) == merkle.consistency_path(5, MANY[:5]) == []
    assert merkle.verify_consistency(0, 5, mth(0, 0), mth(0, 5), [])
    assert merkle.verify_consistency(5, 5, mth(0, 5), mth(0, 5), [])
    assert merkle.verify_consistency(0, 0, mth(0, 0), mth(0, 0), [])
    assert not merkle.verify_consistency(0, 5, mth(0, 1), mth(0, 5), [])
    assert not merkle.verify_consistency(5, 5, mth(0, 4), mth(0, 5), [])
    assert not merkle.verify_consistency(0, 5, mth(0, 0), mth(0, 5), [MANY[0]])
