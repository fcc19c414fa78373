"""The public keys of a store's ledger, and how each came after the one before."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from engine.checkpoint import store_name
from engine.endorsement import check_endorsement
from engine.note import NoteError, VerifierKey, read_verifier_key


class LedgerKey(Struct, frozen=True):
    """A key, under the store's own name. `endorsement` is a note of the one before; None if there was none, or if it
    was lost."""

    number: int
    verifier: VerifierKey
    made_at: datetime
    endorsement: str | None


async def read_keys(connection: Any) -> list[LedgerKey]:
    """All keys of the store, oldest first; through a connection or a pool. Raises MalformedNoteError."""
    rows = await connection.fetch("SELECT number, vkey, made_at, endorsement FROM rollbook.ledger_keys ORDER BY number")
    return [
        LedgerKey(row["number"], read_verifier_key(row["vkey"]), row["made_at"], row["endorsement"]) for row in rows
    ]


async def name_of_store(connection: Any) -> str:
    """The name under which the store's keys stand."""
    store_id: UUID = await connection.fetchval("SELECT id FROM rollbook.store")
    return store_name(store_id)


def chain_troubles(keys: Sequence[LedgerKey]) -> Iterator[str]:
    """What is wrong with the endorsements. A key without one begins a new chain, which is told but not wrong."""
    for number, key in enumerate(keys, 1):
        if key.number != number:
            yield f"key {number} of the ledger is missing"
            return
        if key.endorsement is None:
            continue
        if number == 1:
            yield "key 1 of the ledger is endorsed by a key that is missing"
            continue
        try:
            check_endorsement(key.endorsement, keys[number - 2].verifier, key.verifier)
        except NoteError as error:
            yield f"key {number} of the ledger is not endorsed by the one before it: {error}"
