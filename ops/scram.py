"""A password as PostgreSQL stores it (RFC 5802, RFC 7677): so that it is in no statement, and in no log."""

import base64
import hashlib
import hmac
import secrets

ITERATIONS = 4096  # as PostgreSQL's own, and RFC 7677 §4 asks for no fewer


def verifier(password: str) -> str:
    """For `PASSWORD '…'`. The password must be ASCII, which SASLprep leaves alone (RFC 5802 §2.2)."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", hashlib.sha256)).digest()
    server_key = hmac.digest(salted, b"Server Key", hashlib.sha256)
    return f"SCRAM-SHA-256${ITERATIONS}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
