"""Verifies an evidence file, offline: needs this file, Python 3.11 and the package `cryptography`, and nothing else.

    python verify.py FILE [--checkpoint NOTE ...] [--key KEY]

The format is described in docs/evidence.md. Everything is recomputed from the bytes of the file: the digest of each
content, the leaf of each event, each proof, each signature.

Exit codes: 0 all holds, 1 a content differs from its digest, 2 a proof fails, 3 a signature fails, 4 something is
missing; of several the first of 3, 2, 1, 4. 64: wrongly called, 66: a file cannot be read.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HOLDS, CONTENT, PROOF, SIGNATURE, INCOMPLETE = range(5)
ORDER = (SIGNATURE, PROOF, CONTENT, INCOMPLETE)
USAGE, NO_INPUT = 64, 66

LONGEST_LINE = 64 * 1024 * 1024  # bytes
MOST_TOLD = 50  # findings of a kind
DASH = "\N{EM DASH}"

HEADER = ("seq", "stream_id", "version", "type", "recorded_at", "source", "actor", "token_id", "request_id", "digest")
EVENT = (*HEADER, "salt", "data")
MANIFEST = (
    "rollbook-evidence", "tenant", "tenant_id", "origin", "query", "asked_by", "made_at", "software", "size",
    "first_seq", "last_seq", "seqs", "events", "erased",
)  # fmt: skip


class Malformed(Exception):  # noqa: N818  what is told is what is wrong with the file
    """Something is not of the form that it must have."""


# The forms.


def parse(line: bytes) -> dict[str, Any]:
    """A JSON object in which no name stands twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise Malformed("a name stands twice in it")
        return dict(pairs)

    try:
        found = json.loads(line.decode("utf-8"), object_pairs_hook=unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("it is no JSON") from None
    if not isinstance(found, dict):
        raise Malformed("it is no JSON object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is no JSON")


def text(value: object) -> str:
    if not isinstance(value, str):
        raise Malformed("what should be text is not")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("a text in it is no Unicode") from None
    return value


def number(value: object, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 2**63:
        raise Malformed("what should be a whole number is not")
    return value


def identifier(value: object) -> UUID:
    try:
        found = UUID(text(value))
    except ValueError:
        raise Malformed("what should be a UUID is not") from None
    if str(found) != value:
        raise Malformed("a UUID in it is not written as usual")
    return found


def hexadecimal(value: object, length: int) -> bytes:
    if not re.fullmatch(f"[0-9a-f]{{{2 * length}}}", text(value)):
        raise Malformed(f"what should be {length} bytes in hexadecimal is not")
    return bytes.fromhex(text(value))


def from_base64(value: object, length: int | None = None) -> bytes:
    try:
        found = base64.b64decode(text(value), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("what should be base64 is not") from None
    if base64.b64encode(found).decode() != value or (length is not None and len(found) != length):
        raise Malformed("what should be base64 is not")
    return found


def hashes(value: object) -> list[bytes]:
    if not isinstance(value, list) or len(value) > 64:
        raise Malformed("what should be a list of hashes is not")
    return [from_base64(each, 32) for each in value]


def moment(value: object) -> datetime:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text(value), re.ASCII):
        raise Malformed("what should be a time with microseconds in UTC is not")
    try:
        return datetime.fromisoformat(text(value))
    except ValueError:
        raise Malformed("what should be a time is none") from None


def members(found: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(found, dict) or set(found) != set(names):
        raise Malformed(f"it must have {', '.join(names)}, and nothing else")
    return found


# The tree (RFC 9162 §2.1) and its leaves.


def leaf_of(tenant_id: UUID, event: dict[str, Any]) -> bytes:
    """Twelve fields, each as its length in 4 bytes and then its bytes."""
    microseconds = (moment(event["recorded_at"]) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    fields = (
        b"rollbook-event-v1",
        tenant_id.bytes,
        number(event["seq"], 1).to_bytes(8, "big"),
        identifier(event["stream_id"]).bytes,
        number(event["version"], 1).to_bytes(8, "big"),
        text(event["type"]).encode(),
        microseconds.to_bytes(8, "big", signed=True),
        text(event["source"]).encode(),
        text(event["actor"]).encode(),
        b"" if event["token_id"] is None else identifier(event["token_id"]).bytes,
        identifier(event["request_id"]).bytes,
        hexadecimal(event["digest"], 32),
    )
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of_inclusion(index: int, size: int, leaf_hash: bytes, path: list[bytes]) -> bytes | None:
    """The root that the path leads to, None if it cannot be one (RFC 9162 §2.1.3.2)."""
    if index >= size:
        return None
    place, last, found = index, size - 1, leaf_hash
    for step in path:
        if last == 0:
            return None
        if place % 2 or place == last:
            found = node(step, found)
            while not place % 2 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node(found, step)
        place, last = place >> 1, last >> 1
    return found if last == 0 else None


def is_consistent(first: int, second: int, first_root: bytes, second_root: bytes, path: list[bytes]) -> bool:
    """Whether the tree of the first size is the beginning of that of the second (RFC 9162 §2.1.4.2)."""
    if first in {0, second}:
        return not path and (first == 0 or first_root == second_root)
    if not path or first > second:
        return False
    steps = [first_root, *path] if first & (first - 1) == 0 else path
    place, last = first - 1, second - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place % 2 or place == last:
            old, new = node(step, old), node(step, new)
            while not place % 2 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node(new, step)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


# Signed notes (c2sp.org/signed-note), Ed25519 (RFC 8032).


class Key:
    """A public key; it signs under the name of a store, or of a tenant's log."""

    def __init__(self, vkey: str) -> None:
        name, _, rest = text(vkey).partition("+")
        key_id, _, encoded = rest.partition("+")
        key = from_base64(encoded, 33)
        if not name or re.search(r"[\s+]", name) or key[:1] != b"\x01":
            raise Malformed("what should be a key of Ed25519 is not")
        self.name, self.public = name, key[1:]
        if self.id(name).hex() != key_id:
            raise Malformed("a key's id does not belong to it")

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.public).hexdigest()

    def id(self, name: str) -> bytes:
        return hashlib.sha256(name.encode() + b"\n\x01" + self.public).digest()[:4]

    def has_signed(self, note: str, name: str) -> bool:
        body, signatures = split_note(note)
        for signer, signature in signatures:
            if signer == name and signature[:4] == self.id(name):
                try:
                    Ed25519PublicKey.from_public_bytes(self.public).verify(signature[4:], body.encode())
                except (InvalidSignature, ValueError):
                    continue
                return True
        return False


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text that is signed, and who signed it how."""
    body, blank, below = text(note).rpartition("\n\n")
    if not body or not blank or not below.endswith("\n") or len(note) > 100_000:
        raise Malformed("what should be a signed note is not")
    signatures = []
    for line in below[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != DASH:
            raise Malformed("what should be a signature of a note is not")
        signatures.append((parts[1], from_base64(parts[2])))
    return body + "\n", signatures


def read_checkpoint(note: str) -> tuple[str, int, bytes]:
    """The origin, the size and the root (c2sp.org/tlog-checkpoint)."""
    lines = split_note(note)[0].split("\n")
    if len(lines) < 4 or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1], re.ASCII):
        raise Malformed("what should be a checkpoint is not")
    return lines[0], int(lines[1]), from_base64(lines[2], 32)


def notes_of(content: str) -> list[str]:
    """The notes of a file to which they were appended one after another."""
    found = re.findall(rf"(?:^(?!{DASH} ).*\n)+(?:^{DASH} .*\n)+", content, re.MULTILINE)
    return [note.lstrip("\n") for note in found]


# The file.


class Verifier:
    """Reads a file line by line, and finds what does not hold."""

    def __init__(self, notes: list[tuple[str, str]], trusted: str | None) -> None:
        self.findings: list[tuple[int, int | None, str]] = []
        self.notes = notes
        self.trusted = trusted
        self.manifest: dict[str, Any] = {}
        self.note = ""
        self.seqs: list[int] = []  # still to come, the next one last
        self.root: bytes | None = None
        self.size = 0
        self.origin = ""
        self.keys: list[tuple[Key, str | None]] = []
        self.consistency: dict[int, list[bytes]] = {}
        self.block: tuple[int, list[bytes]] = (0, [])
        self.shown = 0
        self.last: dict[str, Any] | None = None  # event of any kind
        self.first_shown: dict[str, Any] | None = None
        self.last_shown: dict[str, Any] | None = None
        self.boundaries: list[dict[str, Any]] = []
        self.erased: list[tuple[int, str, int]] = []
        self.erasures: list[tuple[int, str, int, frozenset[int]]] = []
        self.is_ended = False
        self.seal: str | None = None
        self.digest = hashlib.sha256()

    def find(self, kind: int, what: str, seq: int | None = None) -> None:
        self.findings.append((kind, seq, what))

    def run(self, lines: Iterator[bytes]) -> None:
        for place, line in enumerate(lines, 1):
            try:
                self.read(place, line)
            except Malformed as error:
                self.find(SIGNATURE if place <= 3 else INCOMPLETE, f"line {place} cannot be read: {error}")
            if self.seal is None:
                self.digest.update(line)
        self.conclude()

    def read(self, place: int, line: bytes) -> None:
        if self.seal is not None:
            raise Malformed("nothing may follow the seal")
        if len(line) >= LONGEST_LINE or not line.endswith(b"\n"):
            raise Malformed("it is too long, or cut off")
        found = parse(line)
        if place <= 3:
            (self.read_manifest, self.read_checkpoint, self.read_keys)[place - 1](found)
        elif "consistency" in found:
            self.read_consistency(members(found, ("consistency",)))
        elif "block" in found:
            members(found, ("block", "above"))
            self.block = number(found["block"], 1), hashes(found["above"])
        elif "event" in found:
            self.read_event(found)
        elif "end" in found:
            self.read_end(members(found, ("end",)))
        elif "seal" in found:
            self.seal = text(members(found, ("seal",))["seal"])
        else:
            raise Malformed("it is none of the lines that there are")

    def read_manifest(self, found: dict[str, Any]) -> None:
        members(found, MANIFEST)
        if found["rollbook-evidence"] != 1:
            raise Malformed("this is no evidence of Rollbook, or of a later version")
        for name in ("tenant", "asked_by", "software"):
            text(found[name])
        for name in ("size", "events", "erased"):
            number(found[name])
        for name in ("first_seq", "last_seq"):
            if found[name] is not None:
                number(found[name], 1)
        moment(found["made_at"])
        self.read_seqs(found["seqs"])
        query = found["query"]
        if not isinstance(query, dict) or set(query) not in ({"user"}, {"from", "to"}, {"all"}):
            raise Malformed("the query is none that there is")
        if "user" in query:
            identifier(query["user"])
        if "from" in query:
            moment(query["from"]), moment(query["to"])
        if "all" in query and query["all"] is not True:
            raise Malformed("the query is none that there is")
        if not text(found["origin"]).endswith(f"/{identifier(found['tenant_id'])}"):
            raise Malformed("the origin is not that of the tenant")
        self.manifest = found

    def read_seqs(self, found: object) -> None:
        """Of a person, the events that there are, so that a missing one can be named."""
        if found is not None and not isinstance(found, list):
            raise Malformed("what should be a list of seqs is not")
        self.seqs = [number(seq, 1) for seq in found or []][::-1]

    def read_checkpoint(self, found: dict[str, Any]) -> None:
        self.note = text(members(found, ("checkpoint",))["checkpoint"])
        self.origin, self.size, self.root = read_checkpoint(self.note)
        if self.manifest and (self.origin, self.size) != (self.manifest["origin"], self.manifest["size"]):
            self.find(PROOF, "the checkpoint is of another log or size than the file says")

    def read_keys(self, found: dict[str, Any]) -> None:
        given = members(found, ("keys",))["keys"]
        if not isinstance(given, list) or not 1 <= len(given) <= 10_000:
            raise Malformed("there are no keys")
        for each in given:
            members(each, ("vkey", "endorsement"))
            self.keys.append((Key(each["vkey"]), each["endorsement"] and text(each["endorsement"])))
        self.check_keys()

    def check_keys(self) -> None:
        """The checkpoint is signed by one of the keys, and that one is the trusted one, or comes from it."""
        signer = next((place for place, (key, _) in enumerate(self.keys) if self.signed(key, self.note)), None)
        if signer is None:
            self.find(SIGNATURE, "the checkpoint is signed by none of the keys")
            return
        self.signer = self.keys[signer][0]
        if self.trusted is None:
            return
        known = next((place for place, (key, _) in enumerate(self.keys) if self.trusted in self.texts(key)), None)
        if known is None or known > signer:
            self.find(SIGNATURE, "the checkpoint is not signed by the key that you trust, or by one that came after it")
            return
        for place in range(known + 1, signer + 1):
            before, (key, endorsement) = self.keys[place - 1][0], self.keys[place]
            if endorsement is None or not self.is_endorsed(before, key, endorsement):
                self.find(SIGNATURE, f"key {place + 1} is not endorsed by the one before it, back to the key you trust")

    def signed(self, key: Key, note: str) -> bool:
        return key.has_signed(note, self.origin)

    def texts(self, key: Key) -> set[str]:
        encoded = base64.b64encode(b"\x01" + key.public).decode()
        return {key.fingerprint, *(f"{name}+{key.id(name).hex()}+{encoded}" for name in (key.name, self.origin))}

    def is_endorsed(self, before: Key, key: Key, endorsement: str) -> bool:
        encoded = base64.b64encode(b"\x01" + key.public).decode()
        told = f"{before.name}\nnext key\n{key.name}+{key.id(key.name).hex()}+{encoded}\n"
        return split_note(endorsement)[0] == told and before.has_signed(endorsement, before.name)

    def read_consistency(self, found: dict[str, Any]) -> None:
        proof = members(found["consistency"], ("size", "path"))
        self.consistency[number(proof["size"])] = hashes(proof["path"])

    def read_event(self, found: dict[str, Any]) -> None:
        kind = found.get("as", "shown")
        members(found, ("event", "proof") if "as" not in found else ("event", "proof", "as"))
        if kind not in ("shown", "boundary", "erasure") or ("as" in found and kind == "shown"):
            raise Malformed("an event stands in it as something that there is not")
        event = members(found["event"], HEADER if kind == "boundary" else EVENT)
        seq = number(event["seq"], 1)
        if self.last and seq <= self.last["seq"]:
            self.find(INCOMPLETE, f"event {seq} does not stand behind the one before it", seq)
            return
        self.check_proof(event, hashes(found["proof"]))
        if self.last and moment(event["recorded_at"]) < moment(self.last["recorded_at"]):
            self.find(PROOF, f"event {seq} was recorded before the event ahead of it", seq)
        self.last = event
        if kind == "boundary":
            self.boundaries.append(event)
            return
        self.check_content(event)
        if kind == "shown":
            self.follow(event)

    def check_proof(self, event: dict[str, Any], path: list[bytes]) -> None:
        seq, (first, above) = event["seq"], self.block
        leaf_hash = hashlib.sha256(b"\x00" + leaf_of(UUID(self.manifest.get("tenant_id", NOBODY)), event)).digest()
        root = root_of_inclusion(seq - 1, self.size, leaf_hash, [*path, *above])
        if root is None or root != self.root or not first <= seq < first + 32:
            self.find(PROOF, f"event {seq} is not the one that was sealed: its proof does not lead to the root", seq)

    def check_content(self, event: dict[str, Any]) -> None:
        seq, salt, data = event["seq"], event["salt"], event["data"]
        if salt is None and data is None:
            self.erased.append((seq, event["stream_id"], event["version"]))
            return
        if salt is None or data is None:
            self.find(CONTENT, f"event {seq}: one half of its content is missing", seq)
            return
        content = text(data).encode()
        if hashlib.sha256(hexadecimal(salt, 32) + content).hexdigest() != event["digest"]:
            self.find(CONTENT, f"event {seq}: its content is not what its digest says", seq)
        elif event["type"] == "PersonalDataErased":
            notes = parse(content).get("notes", [])
            if not isinstance(notes, list):
                raise Malformed("what should be a list of seqs is not")
            seqs = frozenset(number(note, 1) for note in notes)
            self.erasures.append((seq, event["stream_id"], event["version"], seqs))

    def follow(self, event: dict[str, Any]) -> None:
        """Nothing is left out between the shown events."""
        seq, before = event["seq"], self.last_shown
        query = self.manifest.get("query", {})
        if "user" in query:
            expected = before["version"] + 1 if before else 1
            while self.seqs and self.seqs[-1] < seq:
                missing = self.seqs.pop()
                self.find(INCOMPLETE, f"event {missing} is missing", missing)
            if not self.seqs or self.seqs.pop() != seq:
                self.find(INCOMPLETE, f"event {seq} is none of those that the file says it holds", seq)
            if event["stream_id"] != query["user"]:
                self.find(PROOF, f"event {seq} is about somebody else", seq)
            elif event["version"] != expected:
                self.find(INCOMPLETE, f"version {expected} of the person is missing, ahead of event {seq}")
        else:
            expected = before["seq"] + 1 if before else (self.manifest.get("first_seq") or 1)
            if seq != expected:
                self.find(INCOMPLETE, f"event {expected} is missing", expected)
        self.shown += 1
        self.first_shown = self.first_shown or event
        self.last_shown = event

    def read_end(self, found: dict[str, Any]) -> None:
        if self.is_ended or number(members(found["end"], ("events",))["events"]) != self.shown:
            self.find(INCOMPLETE, "the number of events at the end is not the number of those in the file")
        self.is_ended = True

    # What can only be said at the end.

    def conclude(self) -> None:
        self.check_extent()
        self.check_erasures()
        self.check_notes()
        self.check_seal()

    def check_extent(self) -> None:
        """The file goes as far as it says."""
        if not self.manifest:
            return
        for seq in reversed(self.seqs):
            self.find(INCOMPLETE, f"event {seq} is missing", seq)
        said = tuple(self.manifest[name] for name in ("first_seq", "last_seq", "events", "erased"))
        first, last = self.first_shown, self.last_shown
        erased = sum(1 for seq, _, _ in self.erased if first and last and first["seq"] <= seq <= last["seq"])
        if said[:3] != (first and first["seq"], last and last["seq"], self.shown) or said[3] != erased:
            missing = (
                (last["seq"] + 1 if last else said[0]) if said[1] and (not last or last["seq"] < said[1]) else None
            )
            self.find(INCOMPLETE, "the events are not those from first to last that the file says it holds", missing)
        query = self.manifest["query"]
        if "all" in query and (last["seq"] if last else 0) != self.size:
            self.find(INCOMPLETE, f"the file ends before event {self.size}, the last of the log", self.shown + 1)
        if "from" in query:
            self.check_period(moment(query["from"]), moment(query["to"]))

    def check_period(self, start: datetime, end: datetime) -> None:
        """The events right before and right behind the period are there, and lie outside of it."""
        first, last = self.first_shown, self.last_shown
        before = max((each for each in self.boundaries if moment(each["recorded_at"]) < start), default=None, key=_seq)
        behind = min((each for each in self.boundaries if moment(each["recorded_at"]) >= end), default=None, key=_seq)
        low = before["seq"] if before else 0
        high = behind["seq"] if behind else self.size + 1
        if (first["seq"] if first else high) != low + 1 or (last["seq"] if last else low) != high - 1:
            self.find(INCOMPLETE, "the events right before and right behind the period do not show that it is whole")
        if first and last and not start <= moment(first["recorded_at"]) <= moment(last["recorded_at"]) < end:
            self.find(INCOMPLETE, "there are events outside of the period")

    def check_erasures(self) -> None:
        for seq, stream_id, version in self.erased:
            if not any(
                (stream_id == erased and version < erasing) or seq in notes
                for _, erased, erasing, notes in self.erasures
            ):
                self.find(CONTENT, f"event {seq}: its content is missing, and no erasure accounts for it", seq)

    def check_notes(self) -> None:
        for name, note in self.notes:
            try:
                self.check_note(name, note)
            except Malformed as error:
                self.find(SIGNATURE, f"a checkpoint of {name} cannot be read: {error}")

    def check_note(self, name: str, note: str) -> None:
        origin, size, root = read_checkpoint(note)
        if origin != self.origin:
            self.find(PROOF, f"a checkpoint of {name} is of another log: {origin}")
        elif not any(self.signed(key, note) for key, _ in self.keys):
            self.find(SIGNATURE, f"a checkpoint of {name}, of size {size}, is signed by none of the keys")
        elif size > self.size:
            self.find(
                INCOMPLETE,
                f"a checkpoint of {name} covers {size} events, and the file's only {self.size}: the file is older, or "
                f"the end of the log was cut off; ask for newer evidence",
            )
        elif size != self.size and size not in self.consistency and size != 0:
            self.find(
                INCOMPLETE,
                f"a checkpoint of {name}, of size {size}, cannot be connected: the file has no proof for it; ask for "
                f"evidence that was made with --checkpoint",
            )
        elif not is_consistent(size, self.size, root, self.root or b"", self.consistency.get(size, [])):
            self.find(PROOF, f"the log of the checkpoint of {name}, of size {size}, is not the beginning of this one")

    def check_seal(self) -> None:
        """The file as a whole is as it was written; what is told above is more precise."""
        if not self.is_ended or self.seal is None:
            self.find(INCOMPLETE, "the end of the file is missing")
            return
        told = f"{self.origin}\nevidence\n{self.digest.hexdigest()}\n"
        try:
            is_sealed = split_note(self.seal)[0] == told and any(self.signed(key, self.seal) for key, _ in self.keys)
        except Malformed:
            is_sealed = False
        if not is_sealed and not self.findings:
            self.find(SIGNATURE, "the file is not as it was written: its seal does not hold")


NOBODY = "00000000-0000-0000-0000-000000000000"


def _seq(event: dict[str, Any]) -> int:
    found: int = event["seq"]
    return found


# What is told.


def told(verifier: Verifier) -> Iterator[str]:
    manifest = verifier.manifest
    if manifest:
        query = " ".join(name if value is True else f"{name} {value}" for name, value in manifest["query"].items())
        yield f"Evidence of tenant {manifest['tenant']!r}, {query}."
        yield f"Made {manifest['made_at']} by {manifest['software']!r}, asked by {manifest['asked_by']!r}."
    if verifier.findings:
        yield from told_findings(verifier)
    else:
        yield from told_holds(verifier)
    if verifier.erased:
        seqs = ", ".join(str(seq) for seq, _, _ in verifier.erased[:MOST_TOLD])
        more = " and more" if len(verifier.erased) > MOST_TOLD else ""
        by = ", ".join(str(seq) for seq, _, _, _ in verifier.erasures) or "none"
        yield f"Erased: {len(verifier.erased):,} events ({seqs}{more}); erasures: {by}."
    else:
        yield "Erased: nothing."


def told_holds(verifier: Verifier) -> Iterator[str]:
    contents = verifier.shown - verifier.manifest["erased"]
    yield f"Contents: each of {contents:,} equals its digest."
    yield f"Proofs: each of {verifier.shown:,} events stands in the log of {verifier.size:,} that the checkpoint is of."
    if "user" in verifier.manifest["query"]:
        yield "Whole: no version of the person is missing, up to the last one shown; a later one only the log can show."
    else:
        yield "Whole: no event of the range is missing."
    yield f"Signature: the checkpoint and the file are signed by the key {verifier.signer.fingerprint} (SHA-256)."
    if verifier.trusted is None:
        yield "That key is the file's own word: compare it with the one that you were given, or name that with --key."
    if len(verifier.keys) > 1 and verifier.trusted is None:
        yield f"The store has had {len(verifier.keys)} keys; with --key, their endorsements are verified, too."
    for name, note in verifier.notes:
        yield f"Checkpoint of {name}: its {read_checkpoint(note)[1]:,} events are the beginning of this log."
    yield "Everything holds."


def told_findings(verifier: Verifier) -> Iterator[str]:
    for kind, title in ((SIGNATURE, "Signatures"), (PROOF, "Proofs"), (CONTENT, "Contents"), (INCOMPLETE, "Missing")):
        of_kind = [what for found, _, what in verifier.findings if found == kind]
        for what in of_kind[:MOST_TOLD]:
            yield f"{title}: {what}."
        if len(of_kind) > MOST_TOLD:
            yield f"{title}: and {len(of_kind) - MOST_TOLD:,} more."
    seqs = [seq for _, seq, _ in verifier.findings if seq is not None]
    if seqs:
        yield f"First bad seq: {min(seqs)}."
    yield "It does not hold."


def exit_code(verifier: Verifier) -> int:
    kinds = {kind for kind, _, _ in verifier.findings}
    return next((kind for kind in ORDER if kind in kinds), HOLDS)


def verify(file: Path, checkpoints: list[Path], key: str | None) -> tuple[int, list[str]]:
    """The exit code, and what there is to say. Raises OSError if a file cannot be read."""
    notes: list[tuple[str, str]] = []
    for path in checkpoints:
        found = notes_of(path.read_text(encoding="utf-8", errors="replace"))
        notes += [(path.name, note) for note in found or [""]]
    verifier = Verifier(notes, key)
    with file.open("rb") as lines:
        verifier.run(iter(lambda: lines.readline(LONGEST_LINE), b""))
    return exit_code(verifier), list(told(verifier))


class Parser(argparse.ArgumentParser):
    """Ends with a code that is no verdict if it is wrongly called."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"verify: {message}\n")


def main() -> None:
    parser = Parser(prog="verify", description="Verify an evidence file of Rollbook, offline.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--checkpoint", type=Path, action="append", default=[], metavar="NOTE")
    parser.add_argument("--key", metavar="KEY", help="the key that you trust: its text, or its SHA-256")
    given = parser.parse_args()
    try:
        code, lines = verify(given.file, given.checkpoint, given.key)
    except OSError as error:
        parser.exit(NO_INPUT, f"verify: {error.filename} cannot be read ({error.strerror}).\n")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
