"""The names by which people are told apart, as they are kept and looked for."""

from projections import where

NAMES = ("userName", "externalId", "microsoftId", "emails")
LONGEST = 200  # characters


def compared(name: str, value: str) -> str:
    """The form in which a name is looked for: an externalId is case-exact (RFC 7643 §3.1)."""
    return (value if name == "externalId" else where.folded(value))[:LONGEST]
