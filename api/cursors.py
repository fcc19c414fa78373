"""Cursors of lists (RFC 9865): where a page ended, sealed, so that clients can neither read nor make one.

The place holds the value by which the list is sorted, which may be personal: so it is encrypted. A cursor goes with the
tenant and the query for which it was made, and with no other.
"""

import base64
import binascii
import hashlib
import os
import time
from uuid import UUID

import asyncpg
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.refusals import ExpiredCursor, InvalidCursor
from projections.order import Place

LIFE = 3_600  # seconds
LONGEST = 10_000  # characters
_NONCE = 12  # bytes


class Cursors:
    """Writes cursors and reads them, with the key of the store: in every worker, and after a restart."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._cipher: AESGCM | None = None

    async def write(self, place: Place, tenant_id: UUID, query: str) -> str:
        cipher, nonce = await self._opened(), os.urandom(_NONCE)
        content = msgspec.msgpack.encode((int(time.time()) + LIFE, place))
        sealed = nonce + cipher.encrypt(nonce, content, _bound_to(tenant_id, query))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    async def read(self, text: str, tenant_id: UUID, query: str) -> Place:
        """Raises InvalidCursor if it is none of ours, or of another query; ExpiredCursor (RFC 9865 §2.2)."""
        cipher = await self._opened()
        try:
            sealed = base64.urlsafe_b64decode(text[:LONGEST] + "=" * (-len(text) % 4))
            content = cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound_to(tenant_id, query))
        except (InvalidTag, binascii.Error, ValueError):
            raise InvalidCursor from None
        expires_at, place = msgspec.msgpack.decode(content, type=tuple[int, Place])
        if expires_at < time.time():
            raise ExpiredCursor
        return place

    async def _opened(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = AESGCM(await self._pool.fetchval("SELECT cursor_key FROM rollbook.store"))
        return self._cipher


def _bound_to(tenant_id: UUID, query: str) -> bytes:
    return hashlib.sha256(tenant_id.bytes + query.encode()).digest()
