"""The names by which people are told apart, as they are kept and looked for."""

from hashlib import sha256

from projections import where

NAMES = ("userName", "externalId", "microsoftId", "emails")
LONGEST = 200  # characters, of which each may take four bytes: what is longer may not fit into an index


def compared(name: str, value: str) -> str:
    """The form in which a name is looked for: an externalId is case-exact (RFC 7643 §3.1)."""
    form = value if name == "externalId" else where.folded(value)
    if len(form) <= LONGEST:
        return form
    digest = sha256(form.encode()).hexdigest()
    return form[: LONGEST - len(digest)] + digest
