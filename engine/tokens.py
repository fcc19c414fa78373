"""A token's text: recognisable, checkable without a look-up, and naming its tenant.

`rb_` and 84 characters of base32 in lower case: the tenant's id (16 bytes), the secret (32 bytes), and a CRC-32 of
both (4 bytes). Secret scanners find it by its prefix and form; a typo fails the checksum and is told apart from a
token that was revoked. 87 characters, for Entra refuses long ones.
"""

import base64
import binascii
import hashlib
import zlib
from uuid import UUID

PREFIX = "rb_"
LENGTH = len(PREFIX) + 84
OWN = "me"  # the scope of somebody's own token, which opens nothing but that person's resource
SCOPES = ("scim", "people:read", "people:write", "audit:read", "admin", OWN)


def write(tenant_id: UUID, secret: bytes) -> str:
    """The text of a token, of 32 random bytes."""
    content = tenant_id.bytes + secret
    return _written(content + zlib.crc32(content).to_bytes(4, "big"))


def _written(whole: bytes) -> str:
    return PREFIX + base64.b32encode(whole).decode().rstrip("=").lower()


def read(text: str) -> tuple[UUID, str] | None:
    """The tenant's id and the digest of the secret; None if the text is no token, or one with a typo."""
    if len(text) != LENGTH or not text.startswith(PREFIX):
        return None
    try:
        whole = base64.b32decode(text[len(PREFIX) :].upper() + "====")
    except (binascii.Error, ValueError):
        return None
    content, checksum = whole[:-4], whole[-4:]
    # Bytes have one text: the last character holds four bits more than there are, and capitals are no token's.
    if zlib.crc32(content).to_bytes(4, "big") != checksum or _written(whole) != text:
        return None
    return UUID(bytes=content[:16]), digest(content[16:])


def digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
