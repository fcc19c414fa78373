"""An event as a leaf of its tenant's Merkle tree: its header, byte for byte.

`data` and `salt` are not in it, only their digest, so that an erasure changes no leaf.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct

LAYOUT = b"rollbook-event-v1"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Header(Struct, frozen=True, gc=False):
    """All of an event but what is said in it. `recorded_at` has a zone, `digest` 32 bytes."""

    tenant_id: UUID
    seq: int
    stream_id: UUID
    version: int
    type: str
    recorded_at: datetime
    source: str
    actor: str
    token_id: UUID | None
    request_id: UUID
    digest: bytes


def leaf_of(header: Header) -> bytes:
    """Twelve fields, each as its length in 4 bytes (big-endian) and then its bytes; numbers are big-endian, too."""
    token_id = header.token_id
    fields = (
        LAYOUT,
        header.tenant_id.bytes,
        header.seq.to_bytes(8, "big"),
        header.stream_id.bytes,
        header.version.to_bytes(8, "big"),
        header.type.encode(),
        ((header.recorded_at - _EPOCH) // _MICROSECOND).to_bytes(8, "big", signed=True),
        header.source.encode(),
        header.actor.encode(),
        token_id.bytes if token_id else b"",
        header.request_id.bytes,
        header.digest,
    )
    return b"".join([part for field in fields for part in (len(field).to_bytes(4, "big"), field)])
