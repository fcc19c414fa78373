"""`rollbook audit evidence`: events with all that proves them, as one file that verifies without us."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import asyncpg
import msgspec

from api.composition import open_services
from api.services import Services
from engine import merkle
from engine.checkpoint import Checkpoint, read_checkpoint
from engine.events import EvidenceExported
from engine.note import NoteError, SigningKey, read_note, split_notes
from engine.tiles import WIDTH
from ops import administration
from ops.database import open_database
from ops.files import new_file
from ops.ledger_key import KeyPlace, prepare_key
from ops.progress import Report, progress
from ops.trouble import Trouble
from projections.background.ledger import FOLLOWER
from projections.following import Following
from projections.ledger import Block, Ledger
from projections.ledger_keys import read_keys
from projections.signer import CannotSignError, Signed

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


def export(tenant: str, query: Query, out: Path, checkpoints: Sequence[Path], data: Path) -> str:
    """Write the file; what there is to say of it. Raises Trouble."""
    notes = [note for path in checkpoints for note in _notes(path)]
    place = KeyPlace(data)

    async def run(service_url: str, owner_url: str) -> str:
        await prepare_key(owner_url, place)
        async with open_services(service_url, connections=4, find_key=place.find) as services:
            tenant_id = await administration.existing_tenant_id(services, tenant)
            await Following(services.pool, [FOLLOWER]).catch_up()
            signed = await services.signer.sign(tenant_id, keep=True)
            with progress("evidence", "events") as report, new_file(out) as file:
                evidence = Evidence(services, tenant, tenant_id, query, signed, place)
                return await evidence.write(file, notes, report)

    try:
        with open_database(data) as database:
            return asyncio.run(run(database.service_url, database.owner_url))
    except CannotSignError as error:
        raise Trouble(str(error)) from None


class Evidence:
    """One file being written."""

    def __init__(  # noqa: PLR0913, PLR0917  what a file is made of
        self, services: Services, tenant: str, tenant_id: UUID, query: Query, signed: Signed, place: KeyPlace
    ) -> None:
        self._services = services
        self._ledger: Ledger = services.ledger
        self._tenant = tenant
        self._tenant_id = tenant_id
        self._query = query
        self._signed = signed
        self._place = place
        self._cause = administration.cause(tenant_id)
        self._digest = hashlib.sha256()

    async def write(self, file: BinaryIO, notes: Sequence[Checkpoint], report: Report) -> str:
        """Write all lines, note in the log that it was done, and say what it is."""
        extent = await self._extent()
        if self._query.user and not extent.shown:
            raise Trouble(f"There is no person {self._query.user} in {self._tenant}.")
        keys = await read_keys(self._services.pool)
        self._line(file, self._manifest(extent))
        self._line(file, {"checkpoint": self._signed.note})
        self._line(file, {"keys": [{"vkey": each.verifier.text, "endorsement": each.endorsement} for each in keys]})
        async for proof in self._connections(notes):
            self._line(file, proof)
        done = 0
        async for line in self._events(extent):
            self._line(file, line)
            done += "event" in line
            report(min(done, len(extent.shown)), len(extent.shown))
        self._line(file, {"end": {"events": len(extent.shown)}})
        self._line(file, {"seal": self._seal(self._place.find(keys[-1].verifier))})
        await self._services.engine.note(self._noted(extent), self._cause)
        return self._told(extent)

    def _line(self, file: BinaryIO, content: Any) -> None:
        line = msgspec.json.encode(content) + b"\n"
        self._digest.update(line)
        file.write(line)

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

    async def _extent(self) -> Extent:
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

    def _told(self, extent: Extent) -> str:
        seqs = f", seq {extent.shown[0]:,} to {extent.shown[-1]:,}" if extent.shown else ""
        return (
            f"{len(extent.shown):,} events{seqs}, {extent.erased:,} of them erased; the log has "
            f"{self._signed.checkpoint.size:,}.\n"
            f"SHA-256 of the file: {self._digest.hexdigest()}\n"
            f"SHA-256 of the key:  {self._signed.key.fingerprint}"
        )


def _notes(path: Path) -> Iterable[Checkpoint]:
    try:
        return [read_checkpoint(read_note(note).text) for note in split_notes(path.read_text())]
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"Cannot read {path} ({getattr(error, 'strerror', None) or 'it is no text'}).") from None
    except NoteError as error:
        raise Trouble(f"{path} holds something that is no checkpoint: {error}") from None


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
