"""Evidence: events with all that proves them, as the lines of one file that verifies without us."""

import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from api.services import Services
from engine import merkle
from engine.checkpoint import Checkpoint
from engine.events import EvidenceExported
from engine.note import SigningKey
from engine.refusals import NotFound
from engine.store import Cause
from engine.tiles import WIDTH
from projections.ledger import Block, Ledger
from projections.ledger_keys import read_keys
from projections.signer import Signed

BLOCKS = 16  # that are read together
MOST_CONNECTED = 200  # earlier checkpoints, given to others, that every file connects to its own


@dataclass(frozen=True)
class Query:
    """What is asked: a person, a period, or everything."""

    user: UUID | None = None
    start: datetime | None = None
    end: datetime | None = None

    def told(self) -> dict[str, Any]:
        if self.user:
            return {"user": str(self.user)}
        if self.start and self.end:
            return {"from": _moment(self.start), "to": _moment(self.end)}
        return {"all": True}

    def parameters(self) -> dict[str, str]:
        return {name: "true" if value is True else str(value) for name, value in self.told().items()}


@dataclass(frozen=True)
class Extent:
    """The seqs that are shown, in order, and those that stand beside them, by what they are there for."""

    shown: Sequence[int]
    beside: dict[int, str]
    erased: int


def _nobody_waits(done: int, total: int) -> None:
    """Most who read the lines know how far they are."""


class Evidence:
    """One file being made."""

    def __init__(self, services: Services, tenant: str, query: Query, signed: Signed, cause: Cause) -> None:
        self._services = services
        self._ledger: Ledger = services.ledger
        self._tenant = tenant
        self._tenant_id = cause.tenant_id
        self._query = query
        self._signed = signed
        self._cause = cause
        self._digest = hashlib.sha256()
        self._extent = Extent((), {}, 0)

    async def lines(
        self, notes: Sequence[Checkpoint] = (), report: Callable[[int, int], None] = _nobody_waits
    ) -> AsyncIterator[bytes]:
        """All lines, in memory some at a time; that the file was made is noted behind the last one.

        Raises NotFound before the first one if there is no such person.
        """
        self._extent = extent = await self._found()
        if self._query.user and not extent.shown:
            raise NotFound(f"There is no person {self._query.user} in {self._tenant}.")
        keys = await read_keys(self._services.pool)
        yield self._line(self._manifest(extent))
        yield self._line({"checkpoint": self._signed.note})
        yield self._line({"keys": [{"vkey": each.verifier.text, "endorsement": each.endorsement} for each in keys]})
        async for proof in self._connections(notes):
            yield self._line(proof)
        done = 0
        async for line in self._events(extent):
            yield self._line(line)
            done += "event" in line
            report(min(done, len(extent.shown)), len(extent.shown))
        yield self._line({"end": {"events": len(extent.shown)}})
        yield self._line({"seal": self._seal(self._services.signer.find_key(keys[-1].verifier))})
        await self._services.engine.note(self._noted(extent), self._cause)

    def told(self) -> str:
        """What there is to say of the file, once it is made."""
        shown = self._extent.shown
        seqs = f", seq {shown[0]:,} to {shown[-1]:,}" if shown else ""
        return (
            f"{len(shown):,} events{seqs}, {self._extent.erased:,} of them erased; the log has "
            f"{self._signed.checkpoint.size:,}.\n"
            f"SHA-256 of the file: {self._digest.hexdigest()}\n"
            f"SHA-256 of the key:  {self._signed.key.fingerprint}"
        )

    def _line(self, content: Any) -> bytes:
        line = msgspec.json.encode(content) + b"\n"
        self._digest.update(line)
        return line

    def _manifest(self, extent: Extent) -> dict[str, Any]:
        return {
            "rollbook-evidence": 1,
            "tenant": self._tenant,
            "tenant_id": str(self._tenant_id),
            "origin": self._signed.checkpoint.origin,
            "query": self._query.told(),
            "asked_by": self._cause.actor,
            "made_at": _moment(datetime.now(UTC)),
            "software": f"rollbook {version('rollbook')}",
            "size": self._signed.checkpoint.size,
            "first_seq": extent.shown[0] if extent.shown else None,
            "last_seq": extent.shown[-1] if extent.shown else None,
            "seqs": list(extent.shown) if self._query.user else None,
            "events": len(extent.shown),
            "erased": extent.erased,
        }

    def _seal(self, key: SigningKey) -> str:
        origin = self._signed.checkpoint.origin
        return key.named(origin).sign(f"{origin}\nevidence\n{self._digest.hexdigest()}\n")

    # Which events.

    async def _found(self) -> Extent:
        size = self._signed.checkpoint.size
        pool, beside = self._services.pool, dict[int, str]()
        if self._query.user:
            rows = await pool.fetch(_OF_PERSON, self._tenant_id, self._query.user, size)
            shown: Sequence[int] = [row["seq"] for row in rows]
        else:
            before, last = await pool.fetchrow(_PERIOD, self._tenant_id, self._query.start, self._query.end)
            shown = range(min(before, size) + 1, min(last, size) + 1)
            if self._query.start:
                beside = {seq: "boundary" for seq in (shown.start - 1, shown.stop) if 1 <= seq <= size}
        erased = await pool.fetch(_ERASED, self._tenant_id, *_span(shown), self._query.user)
        seqs, people = [row["seq"] for row in erased], {row["stream_id"] for row in erased}
        accounting = await pool.fetch(_ERASURES, self._tenant_id, list(people), seqs, size) if seqs else []
        beside |= {row["seq"]: "erasure" for row in accounting if row["seq"] not in shown}
        return Extent(shown, beside, len(seqs))

    async def _events(self, extent: Extent) -> AsyncIterator[dict[str, Any]]:
        """A line for each event, and one ahead of those of each block of 32 leaves; some blocks in memory at a time."""
        waiting: list[tuple[int, list[int]]] = []
        for first, seqs in groupby(_merged(extent), key=lambda seq: (seq - 1) // WIDTH * WIDTH):
            waiting.append((first, list(seqs)))
            if len(waiting) == BLOCKS:
                async for line in self._blocks(waiting, extent):
                    yield line
                waiting = []
        async for line in self._blocks(waiting, extent):
            yield line

    async def _blocks(
        self, wanted: Sequence[tuple[int, Sequence[int]]], extent: Extent
    ) -> AsyncIterator[dict[str, Any]]:
        if not wanted:
            return
        firsts = [first for first, _ in wanted]
        blocks = await self._ledger.blocks(self._tenant_id, firsts, self._signed.checkpoint.size)
        seqs = [seq for _, found in wanted for seq in found]
        rows = {row["seq"]: row for row in await self._services.pool.fetch(_EVENTS, self._tenant_id, seqs)}
        for (first, found), block in zip(wanted, blocks, strict=True):
            yield {"block": first + 1, "above": _base64(block.path)}
            for seq in found:
                yield _event(rows[seq], block, extent.beside.get(seq))

    # What connects the file to what others hold.

    async def _connections(self, notes: Sequence[Checkpoint]) -> AsyncIterator[dict[str, Any]]:
        size = self._signed.checkpoint.size
        rows = await self._services.pool.fetch(_KEPT, self._tenant_id, size, MOST_CONNECTED)
        named = {each.size for each in notes if each.origin == self._signed.checkpoint.origin and each.size < size}
        for each in sorted({*named, *(row["size"] for row in rows)} - {0}):
            path = await self._ledger.consistency(self._tenant_id, each, size)
            yield {"consistency": {"size": each, "path": _base64(path)}}

    # What is said of it.

    def _noted(self, extent: Extent) -> EvidenceExported:
        return EvidenceExported(
            question="evidence",
            parameters=self._query.parameters(),
            rows=len(extent.shown),
            as_of_seq=self._signed.checkpoint.size,
            format="evidence",
            sha256=self._digest.hexdigest(),
            first_seq=extent.shown[0] if extent.shown else None,
            last_seq=extent.shown[-1] if extent.shown else None,
            erased=extent.erased,
        )


def _span(shown: Sequence[int]) -> tuple[int, int]:
    return (shown[0], shown[-1]) if shown else (1, 0)


def _merged(extent: Extent) -> Iterable[int]:
    """The shown seqs and those beside them, in order; a range is not made into a list."""
    beside = sorted(extent.beside)
    for seq in extent.shown:
        while beside and beside[0] < seq:
            yield beside.pop(0)
        yield seq
    yield from beside


def _event(row: asyncpg.Record, block: Block, beside: str | None) -> dict[str, Any]:
    index = (row["seq"] - 1) % WIDTH
    event = {
        "seq": row["seq"],
        "stream_id": str(row["stream_id"]),
        "version": row["version"],
        "type": row["type"],
        "recorded_at": _moment(row["recorded_at"]),
        "source": row["source"],
        "actor": row["actor"],
        "token_id": row["token_id"] and str(row["token_id"]),
        "request_id": str(row["request_id"]),
        "digest": row["digest"].hex(),
    }
    if beside != "boundary":
        event |= {"salt": row["salt"] and row["salt"].hex(), "data": row["data"]}
    line = {"event": event, "proof": _base64(merkle.inclusion_path(index, block.leaf_hashes))}
    return line | ({"as": beside} if beside else {})


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _base64(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(each).decode() for each in hashes]


_OF_PERSON = """
    SELECT seq
    FROM rollbook.events
    WHERE tenant_id = $1 AND stream_id = $2 AND stream_id <> tenant_id AND seq <= $3
    ORDER BY version
"""

_PERIOD = """
    SELECT
        CASE WHEN $2::timestamptz IS NULL THEN 0 ELSE rollbook.last_seq_before($1, $2) END,
        CASE WHEN $3::timestamptz IS NULL THEN heads.seq ELSE rollbook.last_seq_before($1, $3) END
    FROM rollbook.heads
    WHERE tenant_id = $1
"""

_ERASED = """
    SELECT seq, stream_id
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq BETWEEN $2 AND $3 AND data IS NULL AND ($4::uuid IS NULL OR stream_id = $4)
"""

# The erasures of these people, and those that emptied one of these events of the tenant.
_ERASURES = """
    SELECT seq
    FROM rollbook.events
    WHERE tenant_id = $1
        AND type = 'PersonalDataErased'
        AND seq <= $4
        AND (
            stream_id = ANY ($2)
            OR EXISTS (
                SELECT
                FROM json_array_elements_text(coalesce(data -> 'notes', '[]')) AS note
                WHERE note::bigint = ANY ($3)
            )
        )
"""

_EVENTS = """
    SELECT
        seq, stream_id, version, type, recorded_at, source, actor, token_id, request_id, digest, salt, data
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq = ANY ($2)
"""

_KEPT = """
    SELECT DISTINCT size
    FROM rollbook.checkpoints
    WHERE tenant_id = $1 AND is_kept AND size < $2
    ORDER BY size DESC
    LIMIT $3
"""
