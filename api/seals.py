"""Seals: what a client carries for us and can neither read nor make, in every worker and after a restart."""

import base64
import binascii
import os

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12  # bytes


class BrokenSealError(Exception):
    """The text is no seal of this store, or one that was made for something else."""


class Seals:
    """Seals and opens, with the key of the store (AES-GCM, NIST SP 800-38D)."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._cipher: AESGCM | None = None

    async def seal(self, content: bytes, purpose: bytes) -> str:
        """The content as text for an address or a cookie. It opens for the same purpose, and no other."""
        cipher, nonce = await self._keyed(), os.urandom(_NONCE)
        sealed = nonce + cipher.encrypt(nonce, content, purpose)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    async def open(self, text: str, purpose: bytes) -> bytes:
        """What was sealed. Raises BrokenSealError."""
        cipher = await self._keyed()
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose)
        except (InvalidTag, binascii.Error, ValueError):
            raise BrokenSealError from None

    async def _keyed(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = AESGCM(await self._pool.fetchval("SELECT cursor_key FROM rollbook.store"))
        return self._cipher
