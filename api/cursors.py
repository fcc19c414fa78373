"""Cursors of lists (RFC 9865): where a page ended, sealed, so that clients can neither read nor make one.

The place holds the value by which the list is sorted, which may be personal: so it is encrypted. A cursor goes with the
tenant and the query for which it was made, and with no other.
"""

import hashlib
import time
from uuid import UUID

import msgspec

from api.seals import BrokenSealError, Seals
from engine.refusals import ExpiredCursor, InvalidCursor
from projections.order import Place

LIFE = 3_600  # seconds
LONGEST = 10_000  # characters


class Cursors:
    """Writes cursors and reads them."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals

    async def write(self, place: Place, tenant_id: UUID, query: str) -> str:
        content = msgspec.msgpack.encode((int(time.time()) + LIFE, place))
        return await self._seals.seal(content, _purpose(tenant_id, query))

    async def read(self, text: str, tenant_id: UUID, query: str) -> Place:
        """Raises InvalidCursor if it is none of ours, or of another query; ExpiredCursor (RFC 9865 §2.2)."""
        try:
            content = await self._seals.open(text[:LONGEST], _purpose(tenant_id, query))
        except BrokenSealError:
            raise InvalidCursor from None
        expires_at, place = msgspec.msgpack.decode(content, type=tuple[int, Place])
        if expires_at < time.time():
            raise ExpiredCursor
        return place


def _purpose(tenant_id: UUID, query: str) -> bytes:
    return hashlib.sha256(tenant_id.bytes + query.encode()).digest()
