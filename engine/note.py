"""Text signed with Ed25519 (RFC 8032), in the form of signed notes (c2sp.org/signed-note), and the keys for it.

NoteError
├── MalformedNoteError    it is no signed note, or no key
└── BadSignatureError     it is signed by nobody whom the reader trusts, or not by whom it says
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

LONGEST = 100_000  # characters of a note
MOST_SIGNATURES = 16  # as many as every reader has to accept

_ED25519 = b"\x01"  # the type of signature
_DASH = "\N{EM DASH}"
_PRIVATE = "PRIVATE+KEY"
_KEY_ID, _KEY, _SIGNATURE = 4, 32, 64  # bytes
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")  # and what is no UTF-8
_BAD_NAME = re.compile(r"[\s+\x00-\x1f]")


class NoteError(Exception):
    """A note, or a key, that is not to be trusted."""


class MalformedNoteError(NoteError):
    """It is no signed note, or no key."""


class BadSignatureError(NoteError):
    """It is not signed by whom it should be."""


class VerifierKey(Struct, frozen=True):
    """A name and the public key, of 32 bytes, that verifies what the name signed."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of a name apart; it is the signature that proves."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID]

    @property
    def text(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.public)}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, in hexadecimal: the same under every name."""
        return hashlib.sha256(self.public).hexdigest()

    def named(self, name: str) -> "VerifierKey":
        return VerifierKey(_checked_name(name), self.public)


class SigningKey(Struct, frozen=True):
    """A name and the seed, of 32 bytes, of the private key that signs for it. Its text is a secret."""

    name: str
    seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, self._private.public_key().public_bytes_raw())

    @property
    def text(self) -> str:
        return f"{_PRIVATE}+{self.name}+{self.verifier.id.hex()}+{_base64(_ED25519 + self.seed)}"

    def named(self, name: str) -> "SigningKey":
        return SigningKey(_checked_name(name), self.seed)

    def sign(self, text: str) -> str:
        """The signed note of a text, which ends with a newline. Raises MalformedNoteError if it cannot be one."""
        if not text.endswith("\n") or _CONTROL.search(text):
            raise MalformedNoteError("The text of a note ends with a newline, and holds no other control characters.")
        signature = self._private.sign(text.encode())
        return f"{text}\n{_DASH} {self.name} {_base64(self.verifier.id + signature)}\n"

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


class Signature(Struct, frozen=True):
    """By a key of this name and id; whether it verifies is another question."""

    name: str
    key_id: bytes
    signature: bytes


class SignedNote(Struct, frozen=True):
    """A text, which ends with a newline, and the signatures below it."""

    text: str
    signatures: tuple[Signature, ...]

    def verify(self, keys: Sequence[VerifierKey]) -> VerifierKey:
        """The first of the keys that signed it. Raises BadSignatureError if none did, or if a signature is forged.

        Signatures of other keys are passed over.
        """
        known = {(key.name, key.id): key for key in keys}
        found = [(known.get((each.name, each.key_id)), each.signature) for each in self.signatures]
        signers = [key for key, signature in found if key and _verified(key, self.text, signature)]
        if not signers:
            raise BadSignatureError("The note is not signed by a key that is known here.")
        return signers[0]


def _verified(key: VerifierKey, text: str, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        raise BadSignatureError(f"The note is not what {key.name} signed.") from None
    return True


def read_note(note: str) -> SignedNote:
    """A note as it was written. Raises MalformedNoteError."""
    text, blank, below = note.rpartition("\n\n")
    if len(note) > LONGEST or not text or not blank or not below.endswith("\n") or _CONTROL.search(note):
        raise MalformedNoteError("This is no signed note: a text, an empty line, and lines that begin with a dash.")
    lines = below[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise MalformedNoteError(f"The note has more than {MOST_SIGNATURES} signatures.")
    return SignedNote(text + "\n", tuple(_signature(line) for line in lines))


def split_notes(text: str) -> list[str]:
    """The notes of a file to which they were appended one after another."""
    notes, lines = [], list[str]()
    for line in text.splitlines(keepends=True):
        if lines and lines[-1].startswith(_DASH) and not line.startswith(_DASH):
            notes.append("".join(lines))
            lines = []
        if lines or line.strip():
            lines.append(line)
    return [*notes, "".join(lines)] if lines else notes


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH:
        raise MalformedNoteError("A line of signature has a dash, a name and the signature, with a space between.")
    found = from_base64(parts[2])
    if len(found) <= _KEY_ID:
        raise MalformedNoteError("A signature of the note is too short.")
    return Signature(_checked_name(parts[1]), found[:_KEY_ID], found[_KEY_ID:])


def read_verifier_key(text: str) -> VerifierKey:
    """Raises MalformedNoteError if it is not a name, an id that is the key's, and a public key of Ed25519."""
    name, key_id, public = _key_parts(text.strip())
    key = VerifierKey(name, public)
    if key.id.hex() != key_id:
        raise MalformedNoteError("This is no key that was copied whole: its id does not belong to it.")
    return key


def read_signing_key(text: str) -> SigningKey:
    """Raises MalformedNoteError; what it says holds nothing of the key."""
    prefix, _, rest = text.strip().partition(f"{_PRIVATE}+")
    if prefix or not rest:
        raise MalformedNoteError(f"A signing key begins with {_PRIVATE}+.")
    name, key_id, seed = _key_parts(rest)
    key = SigningKey(name, seed)
    if key.verifier.id.hex() != key_id:
        raise MalformedNoteError("This is no key that was copied whole: its id does not belong to it.")
    return key


def _key_parts(text: str) -> tuple[str, str, bytes]:
    parts = text.split("+", 2)  # there may be more of them in the base64
    if len(parts) != 3:
        raise MalformedNoteError("A key has a name, an id and the key itself, with + between.")
    key = from_base64(parts[2])
    if key[:1] != _ED25519 or len(key) != 1 + _KEY:
        raise MalformedNoteError("This is no Ed25519 key, which has 32 bytes behind a byte 1.")
    return _checked_name(parts[0]), parts[1], key[1:]


def _checked_name(name: str) -> str:
    if not name or _BAD_NAME.search(name):
        raise MalformedNoteError("The name of a key is not empty, and holds neither spaces nor plus signs.")
    return name


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def from_base64(text: str) -> bytes:
    """Of standard base64, in the one form that it has. Raises MalformedNoteError."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found or _base64(found) != text:
        raise MalformedNoteError("What should be base64 is not.")
    return found
