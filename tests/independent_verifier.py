"""A second verifier of evidence files, written from docs/evidence.md alone: nothing of ours, and another way.

It takes each proof from the root down, as RFC 9162 defines the path, and reads the file as a whole. It says yes or no:
exit code 0 if all holds, 1 otherwise.  python independent_verifier.py FILE [NOTE ...]
"""

import base64
import hashlib
import json
import struct
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Event = dict[str, Any]


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def root(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root of `size` leaves, of which one and its path are given."""
    if size == 1:
        assert not path
        return leaf
    half = 1
    while half * 2 < size:
        half *= 2
    if index < half:
        return sha(b"\x01", root(leaf, index, half, path[:-1]), path[-1])
    return sha(b"\x01", path[-1], root(leaf, index - half, size - half, path[:-1]))


def roots(first: int, size: int, path: list[bytes], first_root: bytes, is_whole: bool = True) -> tuple[bytes, bytes]:
    """The roots of the first leaves and of all, from a consistency proof (RFC 9162 §2.1.4.1)."""
    if first == size:
        found = first_root if is_whole else path[-1]
        assert is_whole or len(path) == 1
        return found, found
    half = 1
    while half * 2 < size:
        half *= 2
    if first <= half:
        old, new = roots(first, half, path[:-1], first_root, is_whole)
        return old, sha(b"\x01", new, path[-1])
    old, new = roots(first - half, size - half, path[:-1], first_root, False)
    return sha(b"\x01", path[-1], old), sha(b"\x01", path[-1], new)


def leaf_of(tenant_id: bytes, event: Event) -> bytes:
    seconds = datetime.strptime(event["recorded_at"], "%Y-%m-%dT%H:%M:%S.%f%z") - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (seconds.days * 86_400 + seconds.seconds) * 1_000_000 + seconds.microseconds
    token = uuid.UUID(event["token_id"]).bytes if event["token_id"] is not None else b""
    fields = [
        b"rollbook-event-v1", tenant_id, struct.pack(">Q", event["seq"]), uuid.UUID(event["stream_id"]).bytes,
        struct.pack(">Q", event["version"]), event["type"].encode(), struct.pack(">q", micros),
        event["source"].encode(), event["actor"].encode(), token, uuid.UUID(event["request_id"]).bytes,
        bytes.fromhex(event["digest"]),
    ]  # fmt: skip
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


def opened(note: str, vkeys: list[str], name: str) -> list[str]:
    """The text of a note that one of the keys signed under this name."""
    text, _, below = note.rpartition("\n\n")
    for line in below.rstrip("\n").split("\n"):
        _, signer, signature = line.split(" ")
        for vkey in vkeys:
            public = b64(vkey.split("+", 2)[2])[1:]
            key_id = sha(signer.encode(), b"\n\x01", public)[:4]
            if signer == name and b64(signature)[:4] == key_id:
                Ed25519PublicKey.from_public_bytes(public).verify(b64(signature)[4:], text.encode() + b"\n")
                return text.split("\n")
    raise AssertionError("nobody signed it")


def check(content: bytes, notes: Sequence[str]) -> None:  # noqa: PLR0912, PLR0915  one rule after another
    *lines, seal = [json.loads(line) for line in content.splitlines()]
    manifest, checkpoint, keys, *rest, end = lines
    vkeys = [each["vkey"] for each in keys["keys"]]
    origin, told_size, told_root = opened(checkpoint["checkpoint"], vkeys, manifest["origin"])[:3]
    size, top, tenant_id = int(told_size), b64(told_root), uuid.UUID(manifest["tenant_id"]).bytes
    assert origin.endswith(manifest["tenant_id"])
    assert size == manifest["size"]
    before_seal = content[: content.rstrip(b"\n").rfind(b"\n") + 1]
    assert opened(seal["seal"], vkeys, origin) == [origin, "evidence", hashlib.sha256(before_seal).hexdigest()]

    above: list[bytes] = []
    events: list[tuple[str, Event]] = []
    proven: dict[int, list[bytes]] = {}
    for line in rest:
        if "consistency" in line:
            proven[line["consistency"]["size"]] = [b64(each) for each in line["consistency"]["path"]]
        elif "block" in line:
            above = [b64(each) for each in line["above"]]
        else:
            event = line["event"]
            path = [b64(each) for each in line["proof"]] + above
            assert root(sha(b"\x00", leaf_of(tenant_id, event)), event["seq"] - 1, size, path) == top
            if line.get("as") != "boundary" and event["data"] is not None:
                assert sha(bytes.fromhex(event["salt"]), event["data"].encode()).hex() == event["digest"]
            events.append((line.get("as", "shown"), event))

    seqs = [event["seq"] for _, event in events]
    times = [event["recorded_at"] for _, event in events]
    assert seqs == sorted(set(seqs))
    assert times == sorted(times)
    shown = [event for kind, event in events if kind == "shown"]
    assert len(shown) == manifest["events"] == end["end"]["events"]
    if "user" in manifest["query"]:
        assert [event["version"] for event in shown] == list(range(1, len(shown) + 1))
        assert {event["stream_id"] for event in shown} == {manifest["query"]["user"]}
    else:
        first = manifest["first_seq"] or 1
        assert [event["seq"] for event in shown] == list(range(first, first + len(shown)))
    if "all" in manifest["query"]:
        assert len(shown) == size
    if "from" in manifest["query"]:
        start, stop = manifest["query"]["from"], manifest["query"]["to"]
        assert all(start <= event["recorded_at"] < stop for event in shown)
        around = sorted(event["seq"] for kind, event in events if kind != "erasure")
        assert around == list(range(around[0], around[-1] + 1)) if around else size == 0
        assert around[0] == 1 or next(e for _, e in events if e["seq"] == around[0])["recorded_at"] < start
        assert around[-1] == size or next(e for _, e in events if e["seq"] == around[-1])["recorded_at"] >= stop
    erasures = [event for _, event in events if event["type"] == "PersonalDataErased" and event.get("data")]
    for kind, event in events:
        if kind != "boundary" and (event["data"] is None or event["salt"] is None):
            assert event["data"] is event["salt"]
            assert any(
                (each["stream_id"] == event["stream_id"] and each["version"] > event["version"])
                or event["seq"] in json.loads(each["data"]).get("notes", [])
                for each in erasures
            )
    for note in notes:
        other, old_size, old_root = opened(note, vkeys, origin)[:3]
        assert other == origin
        if int(old_size) == size:
            assert b64(old_root) == top
        else:
            old, new = roots(int(old_size), size, proven[int(old_size)], b64(old_root))
            assert (old, new) == (b64(old_root), top)


def holds(content: bytes, notes: Sequence[str] = ()) -> bool:
    try:
        check(content, notes)
    except Exception:  # noqa: BLE001  whatever is wrong, it does not hold
        return False
    return True


if __name__ == "__main__":
    given = [Path(name).read_text(encoding="utf-8") for name in sys.argv[2:]]
    sys.exit(0 if holds(Path(sys.argv[1]).read_bytes(), given) else 1)
