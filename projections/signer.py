"""Signs checkpoints, and stores what was signed. Never one that does not continue the last one that is stored."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from engine.checkpoint import Checkpoint, open_checkpoint, origin_of, sign_checkpoint
from engine.merkle import EMPTY
from engine.note import NoteError, SigningKey, VerifierKey, read_verifier_key
from engine.tiles import MissingHashError
from projections.ledger import Ledger

FindKey = Callable[[VerifierKey], SigningKey]
"""Gives the private half of a key. Raises NoKeyError."""


class CannotSignError(Exception):
    """Nothing is signed; the message says why, and what to do."""


class NoKeyError(CannotSignError):
    """The key is missing, or is not the store's. It is the same for all tenants."""


class BehindError(CannotSignError):
    """A tenant's ledger has not come as far again as it was: the database lost its last moments in a crash."""


class ForkError(CannotSignError):
    """A tenant's ledger does not continue what was signed about it."""


class Signed(Struct, frozen=True):
    """A checkpoint as a signed note, and the key, under the checkpoint's origin, that verifies it."""

    checkpoint: Checkpoint
    note: str
    key: VerifierKey
    made_at: datetime


def no_key(key: VerifierKey) -> SigningKey:
    raise NoKeyError(f"The private half of the ledger's key {key.text} is not here.")


class Signer:
    """Signs with the store's current key, which is looked for each time: it may have been rotated."""

    def __init__(self, pool: asyncpg.Pool, ledger: Ledger, find_key: FindKey) -> None:
        self._pool = pool
        self._ledger = ledger
        self.find_key = find_key

    async def sign(self, tenant_id: UUID, *, keep: bool) -> Signed:
        """Sign the tree as it is now. `keep` is for one that is given to somebody: it will not be replaced by later
        ones.

        Three statements; two if it was signed before. Raises NoKeyError, BehindError, ForkError.
        """
        state = await self._pool.fetchrow(_STATE, tenant_id)
        key = self._key(state)
        size = max(state["sealed"], state["size"])
        checkpoint = Checkpoint(
            origin_of(state["store_id"], tenant_id), size, await self._checked_root(tenant_id, state, size)
        )
        note = sign_checkpoint(key, checkpoint)
        is_stored = size == state["size"] and state["signed_with"] == state["key"]
        made_at = state["made_at"]
        if not is_stored or (keep and not state["is_kept"]):
            made_at = await self._store(tenant_id, state, checkpoint, note, keep=keep)
        return Signed(checkpoint, note, key.verifier.named(checkpoint.origin), made_at)

    def _key(self, state: asyncpg.Record) -> SigningKey:
        if state["vkey"] is None:
            raise NoKeyError("The ledger has no key yet; it is made when the service starts: rollbook serve")
        try:
            current = read_verifier_key(state["vkey"])
        except NoteError as error:
            raise NoKeyError(f"The ledger's key in the database cannot be read: {error}") from None
        return self.find_key(current)

    async def _checked_root(self, tenant_id: UUID, state: asyncpg.Record, size: int) -> bytes:
        """The root at a size, if the tree continues the last checkpoint, by what was signed then."""
        if state["sealed"] < state["size"] <= (state["last_seq"] or 0):
            raise BehindError(f"The ledger has not reached seq {state['size']} yet, up to which it was signed.")
        try:
            last = _last(state, tenant_id)
            before, after = await self._ledger.roots(tenant_id, [last.size, size])
        except (NoteError, MissingHashError) as error:
            raise _forked(tenant_id, str(error)) from None
        if before != last.root:
            raise _forked(tenant_id, f"the root of its first {last.size} events is not the one that was signed")
        return after

    async def _store(
        self, tenant_id: UUID, state: asyncpg.Record, checkpoint: Checkpoint, note: str, *, keep: bool
    ) -> datetime:
        made_at: datetime | None = await self._pool.fetchval(
            _STORE, tenant_id, checkpoint.size, state["key"], checkpoint.root, note, keep, state["size"]
        )
        if made_at is None:
            raise NoKeyError("The ledger's key was rotated at this moment; the next checkpoint is signed with the new.")
        return made_at


def _last(state: asyncpg.Record, tenant_id: UUID) -> Checkpoint:
    """What was signed last, not what the columns say of it: nobody can change that without the key."""
    origin = origin_of(state["store_id"], tenant_id)
    if state["note"] is None:
        return Checkpoint(origin, 0, EMPTY)
    last = open_checkpoint(state["note"], read_verifier_key(state["last_vkey"] or ""))
    if last != Checkpoint(origin, state["size"], state["root"]):
        raise NoteError("the last stored checkpoint is not the one that was signed")
    return last


def _forked(tenant_id: UUID, reason: str) -> ForkError:
    return ForkError(
        f"The ledger of tenant {tenant_id} does not continue its last checkpoint, and is not signed any more: "
        f"{reason.rstrip('.')}. Somebody changed the log, or the ledger's tables. See: rollbook ledger check"
    )


# The size is that of the tree by now, and that of the last checkpoint.
_STATE = """
    SELECT
        store.id AS store_id,
        current.number AS key,
        current.vkey,
        (SELECT seq FROM rollbook.heads WHERE tenant_id = $1) AS last_seq,
        coalesce(tile.place * 32 + octet_length(tile.hashes) / 32, 0) AS sealed,
        coalesce(last.size, 0) AS size,
        last.root,
        last.note,
        last.made_at,
        last.is_kept,
        last.key AS signed_with,
        used.vkey AS last_vkey
    FROM rollbook.store
    LEFT JOIN LATERAL (
        SELECT number, vkey FROM rollbook.ledger_keys ORDER BY number DESC LIMIT 1
    ) AS current ON true
    LEFT JOIN LATERAL (
        SELECT place, hashes
        FROM rollbook.ledger_tiles
        WHERE tenant_id = $1 AND level = 0
        ORDER BY place DESC
        LIMIT 1
    ) AS tile ON true
    LEFT JOIN LATERAL (
        SELECT size, root, note, made_at, is_kept, key
        FROM rollbook.checkpoints
        WHERE tenant_id = $1
        ORDER BY size DESC, key DESC
        LIMIT 1
    ) AS last ON true
    LEFT JOIN rollbook.ledger_keys AS used ON used.number = last.key
"""

# No row: the key is not the current one any more.
_STORE = """
    WITH current AS (
        SELECT number
        FROM rollbook.ledger_keys
        WHERE number = $3 AND number = (SELECT max(number) FROM rollbook.ledger_keys)
    ),
    replaced AS (
        DELETE FROM rollbook.checkpoints
        WHERE tenant_id = $1
            AND size >= $7
            AND size < $2
            AND NOT is_kept
            AND made_at >= date_trunc('hour', now(), 'UTC')
            AND EXISTS (SELECT FROM current)
    )
    INSERT INTO rollbook.checkpoints AS known (tenant_id, size, key, root, note, is_kept)
    SELECT $1, $2, number, $4, $5, $6
    FROM current
    ON CONFLICT (tenant_id, size, key) DO UPDATE SET is_kept = known.is_kept OR excluded.is_kept
    RETURNING made_at
"""
