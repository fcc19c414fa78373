"""Leaves, notes and checkpoints: their bytes, by code that knows nothing of ours."""

import base64
import hashlib
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from engine.checkpoint import Checkpoint, open_checkpoint, origin_of, read_checkpoint, sign_checkpoint
from engine.leaf import Header, leaf_of
from engine.merkle import leaf_hash
from engine.note import (
    BadSignatureError,
    MalformedNoteError,
    SigningKey,
    VerifierKey,
    read_note,
    read_signing_key,
    read_verifier_key,
)

STORE, TENANT = UUID(int=1), UUID(int=2)
KEY = SigningKey("rollbook/store", bytes(range(32)))
ROOT = hashlib.sha256(b"root").digest()
CHECKPOINT = Checkpoint(origin_of(STORE, TENANT), 1_234, ROOT)
HEADER = Header(
    tenant_id=UUID(int=2),
    seq=3,
    stream_id=UUID(int=4),
    version=5,
    type="UserProvisioned",
    recorded_at=datetime(2026, 11, 23, 9, 0, 0, 123_456, UTC),
    source="directory",
    actor="person-ä",
    token_id=UUID(int=6),
    request_id=UUID(int=7),
    digest=ROOT,
)


def test_a_leaf_is_twelve_fields_each_behind_its_length() -> None:
    fields = [
        b"rollbook-event-v1",
        UUID(int=2).bytes,
        struct.pack(">Q", 3),
        UUID(int=4).bytes,
        struct.pack(">Q", 5),
        b"UserProvisioned",
        struct.pack(">q", 1_795_424_400_123_456),
        b"directory",
        "person-ä".encode(),
        UUID(int=6).bytes,
        UUID(int=7).bytes,
        ROOT,
    ]

    assert leaf_of(HEADER) == b"".join(struct.pack(">I", len(field)) + field for field in fields)


def test_a_leaf_written_today_is_the_same_for_ever() -> None:
    assert leaf_hash(leaf_of(HEADER)).hex() == "37ec7ee9ae90b459c8e13a7310918e45b1c51bc3d3b3840c94eb9d15889900e6"


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": UUID(int=9)},
        {"seq": 4},
        {"stream_id": UUID(int=9)},
        {"version": 6},
        {"type": "UserProvisione"},
        {"recorded_at": HEADER.recorded_at + timedelta(microseconds=1)},
        {"source": "local"},
        {"actor": "person-b"},
        {"token_id": None},
        {"request_id": UUID(int=9)},
        {"digest": bytes(32)},
        {"type": "UserProvisioneddirectory", "source": ""},
    ],
)
def test_whatever_changes_in_a_header_changes_the_leaf(change: dict[str, Any]) -> None:
    assert leaf_of(msgspec.structs.replace(HEADER, **change)) != leaf_of(HEADER)


def test_a_moment_is_the_same_leaf_in_every_zone_and_before_1970() -> None:
    moment = HEADER.recorded_at.astimezone(timezone(timedelta(hours=2)))
    assert leaf_of(msgspec.structs.replace(HEADER, recorded_at=moment)) == leaf_of(HEADER)

    early = msgspec.structs.replace(HEADER, recorded_at=datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC))
    assert struct.pack(">q", -1) in leaf_of(early)


def verified(note: str, vkey: str) -> tuple[str, int, bytes]:
    """What a checkpoint says, read by the text of c2sp.org/signed-note and c2sp.org/tlog-checkpoint alone."""
    name, key_id, encoded = vkey.split("+", 2)
    key = base64.b64decode(encoded)
    assert key[0] == 1
    assert hashlib.sha256(name.encode() + b"\x0a\x01" + key[1:]).digest()[:4].hex() == key_id
    text, _, signatures = note.rpartition("\n\n")
    dash, signer, signature = signatures.rstrip("\n").split(" ")
    assert (dash, signer) == ("\u2014", name)
    signed = base64.b64decode(signature)
    assert (signed[:4].hex(), len(signed)) == (key_id, 4 + 64)
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(signed[4:], f"{text}\n".encode())
    origin, size, root = text.split("\n")
    return origin, int(size), base64.b64decode(root)


def test_a_signed_checkpoint_verifies_by_the_text_of_the_standards() -> None:
    note = sign_checkpoint(KEY, CHECKPOINT)
    vkey = KEY.verifier.named(CHECKPOINT.origin).text

    assert verified(note, vkey) == (f"rollbook/{STORE}/{TENANT}", 1_234, ROOT)
    with pytest.raises(InvalidSignature):
        verified(note.replace("1234", "1235"), vkey)


def test_a_signed_checkpoint_opens_with_its_key() -> None:
    assert open_checkpoint(sign_checkpoint(KEY, CHECKPOINT), KEY.verifier) == CHECKPOINT


def test_the_example_of_the_standard_verifies() -> None:
    """The note and key of Go's documentation of signed notes, which the standard came from."""
    key = read_verifier_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n\n"
        "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE"
        "6RyyBwJnAM=\n"
    )

    assert read_note(note).verify([key]) == key


def test_keys_are_read_as_they_are_written() -> None:
    named = KEY.named("rollbook/x/y")

    assert read_signing_key(f" {named.text}\n") == named
    assert read_verifier_key(named.verifier.text) == named.verifier
    assert named.text.startswith(f"PRIVATE+KEY+rollbook/x/y+{named.verifier.id.hex()}+")
    assert named.verifier.id != KEY.verifier.id
    assert named.verifier.fingerprint == KEY.verifier.fingerprint


def test_a_key_shows_no_secret_where_it_is_printed() -> None:
    assert repr(KEY) == "SigningKey('rollbook/store')"


@pytest.mark.parametrize(
    "change",
    [
        ("1234", "1235"),
        ("rollbook/", "rollboot/"),
        ("\n\n", "\nextension\n\n"),
    ],
)
def test_a_checkpoint_that_was_changed_is_refused(change: tuple[str, str]) -> None:
    note = sign_checkpoint(KEY, CHECKPOINT).replace(*change, 1)

    with pytest.raises(BadSignatureError):
        open_checkpoint(note, KEY.verifier)


def test_a_checkpoint_of_another_key_is_refused() -> None:
    other = SigningKey(KEY.name, bytes(32))

    with pytest.raises(BadSignatureError):
        open_checkpoint(sign_checkpoint(other, CHECKPOINT), KEY.verifier)


def test_other_signatures_are_passed_over_but_a_forged_one_of_ours_is_not() -> None:
    note, other = sign_checkpoint(KEY, CHECKPOINT), SigningKey("witness.example", bytes(32))
    cosigned = note + other.sign(CHECKPOINT.text).rpartition("\n\n")[2]
    assert open_checkpoint(cosigned, KEY.verifier) == CHECKPOINT

    key_id = KEY.named(CHECKPOINT.origin).verifier.id
    forged = base64.b64encode(key_id + bytes(64)).decode()
    with pytest.raises(BadSignatureError):
        open_checkpoint(f"{note}\u2014 {CHECKPOINT.origin} {forged}\n", KEY.verifier)


GOOD = sign_checkpoint(KEY, CHECKPOINT)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        GOOD.rstrip("\n"),
        GOOD.replace("\u2014", "-"),
        GOOD.replace("\u2014 ", "\u2014"),
        GOOD.replace("\n\n", "\n"),
        GOOD.replace("\n\n", "\r\n\r\n"),
        GOOD.replace("1234", "1234\t"),
        GOOD.replace("1234", "01234"),
        GOOD.replace("1234", "-1"),
        GOOD.replace("1234", "12 34"),
        GOOD.replace("1234", "\u0661"),
        GOOD.replace("1234", "9" * 20),
        GOOD.replace("1234", "1234\n"),
        GOOD.replace("1234\n", ""),
        GOOD.replace("=\n\n", "\n\n"),
        GOOD.replace("=\n\n", "=\n\n\n"),
        GOOD.partition("\n\n")[0] + "\n\n",
        GOOD + GOOD.partition("\n\n")[2] * 16,
        GOOD + "x" * 100_000 + "\n",
        GOOD + "\u2014 name AAAA\n",
        GOOD + "\u2014 na+me AAAAAAAA\n",
        GOOD + "\u2014 name \u00e4\u00e4\u00e4\u00e4\n",
        GOOD + "\u2014 name AAAAAAB=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(MalformedNoteError):
        open_checkpoint(note, KEY.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        KEY.verifier.text[:-4],
        KEY.verifier.text.replace("+", " ", 1),
        KEY.verifier.text.replace("rollbook", "rollboot"),
        f"a b+{VerifierKey('a b', KEY.verifier.public).text.split('+', 1)[1]}",
        KEY.verifier.text.replace("+A", "+B"),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        read_verifier_key(text)
    with pytest.raises(MalformedNoteError):
        read_signing_key(f"PRIVATE+KEY+{text}")
    with pytest.raises(MalformedNoteError):
        read_signing_key(KEY.verifier.text)


def test_what_cannot_be_a_note_is_not_signed() -> None:
    for text in ("", "no end", "a tab\t\n", "a return\r\n"):
        with pytest.raises(MalformedNoteError):
            KEY.sign(text)
    with pytest.raises(MalformedNoteError):
        KEY.named("two words")


def test_lines_below_the_root_are_passed_over_unless_they_are_empty() -> None:
    assert read_checkpoint(f"{CHECKPOINT.text}more\n") == CHECKPOINT
    with pytest.raises(MalformedNoteError):
        read_checkpoint(f"{CHECKPOINT.text}\nmore\n")
