"""A checkpoint: which tree a tenant's log is, by its size and root, as the text of a signed note.

The form is that of c2sp.org/tlog-checkpoint. A tenant's tree has one name, which is the origin of its checkpoints and
the name of the key that signs them.
"""

import base64
import re
from uuid import UUID

from msgspec import Struct

from engine.merkle import HASH
from engine.note import MalformedNoteError, SigningKey, VerifierKey, from_base64, read_note

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Checkpoint(Struct, frozen=True):
    """The first `size` events of the tenant's log have this Merkle root, of 32 bytes."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def store_name(store_id: UUID) -> str:
    """The name of the store's key, where it signs for no tenant."""
    return f"rollbook/{store_id}"


def origin_of(store_id: UUID, tenant_id: UUID) -> str:
    return f"{store_name(store_id)}/{tenant_id}"


def sign_checkpoint(key: SigningKey, checkpoint: Checkpoint) -> str:
    """The signed note. The key takes the name of the tree."""
    return key.named(checkpoint.origin).sign(checkpoint.text)


def read_checkpoint(text: str) -> Checkpoint:
    """The text of a note as a checkpoint. Lines below the root are not ours, and are passed over.

    Raises MalformedNoteError.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise MalformedNoteError("A checkpoint has a line each for its origin, its size and its root.")
    if not _SIZE.fullmatch(lines[1]):
        raise MalformedNoteError("The second line of a checkpoint is a size, a whole number.")
    root = from_base64(lines[2])
    if len(root) != HASH:
        raise MalformedNoteError("The third line of a checkpoint is a root, 32 bytes in base64.")
    return Checkpoint(lines[0], int(lines[1]), root)


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """What a signed checkpoint says; the key may be that of any name, and verifies for the checkpoint's origin.

    Raises MalformedNoteError, or BadSignatureError if this key did not sign it.
    """
    signed = read_note(note)
    checkpoint = read_checkpoint(signed.text)
    signed.verify([key.named(checkpoint.origin)])
    return checkpoint
