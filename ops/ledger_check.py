"""`rollbook ledger check`: recomputes a tenant's ledger from its events, and says what holds and what does not.

Nothing that is stored is believed but the log's columns and what a signature proves: not a digest, not a tile, not the
number of events. It reads the log once, in its order, in one snapshot, and keeps a page of it in memory.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from engine.checkpoint import Checkpoint, origin_of, read_checkpoint
from engine.leaf import Header, leaf_of
from engine.merkle import HASH, leaf_hash
from engine.note import NoteError, VerifierKey, read_note
from engine.tiles import HEIGHT, WIDTH, Tile, appended, edge, root_of
from projections.ledger_keys import LedgerKey

PAGE = 5_000  # events in memory at a time

Report = Callable[[int], None]
"""Called with the number of events that were checked since the last time."""

ERASURE = "PersonalDataErased"


class Verdict(IntEnum):
    """What a check ends with, as an exit code."""

    HOLDS = 0
    CONTENT_DIFFERS = 1
    PROOF_FAILS = 2
    SIGNATURE_FAILS = 3
    INCOMPLETE = 4


# What makes a verdict, the most fundamental first.
_GRAVEST = (Verdict.SIGNATURE_FAILS, Verdict.PROOF_FAILS, Verdict.CONTENT_DIFFERS, Verdict.INCOMPLETE)


class Finding(Struct):
    """Something that does not hold: the first time, and how often in all. `seq` is that of the first bad event."""

    verdict: Verdict
    text: str
    seq: int | None = None
    count: int = 1


class Found(Struct):
    """What a check of one tenant found: findings by what they are about, in the order in which they came up."""

    findings: dict[str, Finding] = {}
    events: int = 0
    erased: int = 0
    sealed: int = 0
    stored: int = 0
    external: int = 0
    root: bytes = b""

    def add(self, about: str, verdict: Verdict, text: str, seq: int | None = None) -> None:
        if about in self.findings:
            self.findings[about].count += 1
        else:
            self.findings[about] = Finding(verdict, text, seq)

    @property
    def first_seq(self) -> int | None:
        return min((each.seq for each in self.findings.values() if each.seq is not None), default=None)


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    found = {each.verdict for each in findings}
    return next((each for each in _GRAVEST if each in found), Verdict.HOLDS)


class Erasures:
    """Which events may be without their data: what events of erasure account for."""

    def __init__(self, tenant_id: UUID, rows: Sequence[asyncpg.Record]) -> None:
        self._tenant_id = tenant_id
        self._versions: dict[UUID, int] = {}
        self._notes: set[int] = set()
        for row in rows:
            if row["stream_id"] != tenant_id:
                self._versions[row["stream_id"]] = max(row["version"], self._versions.get(row["stream_id"], 0))
            self._notes.update(_notes(row["data"]))

    def account_for(self, row: Mapping[str, Any]) -> bool:
        if row["stream_id"] == self._tenant_id or row["type"] == "MemberAwaited":
            return row["seq"] in self._notes
        return bool(row["version"] < self._versions.get(row["stream_id"], 0))


def _notes(data: str | None) -> Sequence[int]:
    try:
        return msgspec.json.decode(data or "", type=_Notes).notes
    except msgspec.MsgspecError:
        return []


class _Notes(Struct):
    notes: list[int] = []


class Claims:
    """What signatures say of one tenant's trees: stored checkpoints, and those that others hold."""

    def __init__(self, origin: str, keys: Sequence[LedgerKey], external: Sequence[tuple[str, str]]) -> None:
        self._origin = origin
        self._keys = {key.number: key.verifier.named(origin) for key in keys}
        self._external = external

    def external(self, found: Found) -> Iterator[tuple[Checkpoint, str]]:
        """Those that others hold, with what to call each; those whose signature fails are findings."""
        for where, note in self._external:
            found.external += 1
            try:
                yield self._opened(note, list(self._keys.values())), f"the checkpoint in {where}"
            except NoteError as error:
                found.add("external", Verdict.SIGNATURE_FAILS, f"the checkpoint in {where} is not signed: {error}")

    def stored(self, row: asyncpg.Record, found: Found) -> Checkpoint | None:
        """A stored one, None if it is not what was signed."""
        found.stored += 1
        key = self._keys.get(row["key"])
        try:
            checkpoint = self._opened(row["note"], [key] if key else [])
            if (checkpoint.size, checkpoint.root) == (row["size"], row["root"]):
                return checkpoint
            reason = "its row says something else than its note"
        except NoteError as error:
            reason = str(error)
        found.add("stored", Verdict.SIGNATURE_FAILS, f"the stored checkpoint of size {row['size']} fails: {reason}")
        return None

    def _opened(self, note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
        signed = read_note(note)
        signed.verify(keys)
        checkpoint = read_checkpoint(signed.text)
        if checkpoint.origin != self._origin:
            raise NoteError("it is of another ledger")
        return checkpoint


class Tree:
    """The tree as the events make it, page by page, beside the tiles that are stored."""

    def __init__(self, connection: asyncpg.Connection, tenant_id: UUID, sealed: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._sealed = sealed
        self.size = 0
        self._edge: dict[Tile, bytes] = {}
        self._known: dict[Tile, bytes] = {}

    async def add(self, leaf_hashes: Sequence[bytes], found: Found) -> None:
        before, self.size = self.size, self.size + len(leaf_hashes)
        made = appended(before, leaf_hashes, self._edge)
        await self._compare(made, found)
        self._known = {**self._edge, **made}
        self._edge = {tile: self._known[tile] for tile in edge(self.size, 1 << 62) if tile in self._known}

    def root(self, size: int) -> bytes:
        """Of a size within the page that was added last, or at its end."""
        return root_of(range(size), self._known)

    async def _compare(self, made: Mapping[Tile, bytes], found: Found) -> None:
        rows = await self._connection.fetch(
            _TILES, self._tenant_id, [tile.level for tile in made], [tile.place for tile in made]
        )
        stored = {Tile(row["level"], row["place"]): row["hashes"] for row in rows}
        for tile, hashes in made.items():
            held = self._held(tile, len(hashes) // HASH) * HASH
            have = stored.get(tile, b"")[: len(hashes)]
            if have[:held] == hashes[:held] and len(have) >= held:
                continue
            self._tell(tile, hashes[:held], have, found)

    def _held(self, tile: Tile, count: int) -> int:
        """How many of a tile's hashes the ledger has to hold, as far as it has come."""
        complete = self._sealed >> HEIGHT * tile.level
        return max(min(complete - tile.place * WIDTH, count), 0)

    def _tell(self, tile: Tile, hashes: bytes, have: bytes, found: Found) -> None:
        parts = range(0, len(hashes), HASH)
        wrong = [at // HASH for at in parts if hashes[at : at + HASH] != have[at : at + HASH]]
        for index in (tile.place * WIDTH + place for place in wrong):
            if tile.level == 0:
                text = f"the event at seq {index + 1} is not the one that was sealed: its leaf is another one"
                found.add("leaf", Verdict.PROOF_FAILS, text, index + 1)
            elif "leaf" not in found.findings:
                text = f"the ledger's tile at level {tile.level}, place {tile.place} is not what the events make"
                found.add("tile", Verdict.PROOF_FAILS, text, (index << HEIGHT * tile.level) + 1)


class Check:
    """A check of one tenant, through a connection that is in a transaction with one snapshot."""

    def __init__(
        self, connection: asyncpg.Connection, store_id: UUID, tenant_id: UUID, keys: Sequence[LedgerKey]
    ) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._keys = keys
        self._origin = origin_of(store_id, tenant_id)
        self._found = Found()
        self._last_seq = 0
        self._last_at: datetime | None = None
        self._good_size = 0  # of the last checkpoint whose root holds
        self._is_whole = True  # whether each event so far was at its place, so that it can be the tree's leaf

    async def run(self, external: Sequence[tuple[str, str]], report: Report) -> Found:
        found = self._found
        claims = Claims(self._origin, self._keys, external)
        held = sorted(claims.external(found), key=lambda each: each[0].size)
        state = await self._connection.fetchrow(_STATE, self._tenant_id)
        found.sealed = state["sealed"] or 0
        tree = Tree(self._connection, self._tenant_id, found.sealed)
        erasures = Erasures(self._tenant_id, await self._connection.fetch(_ERASURES, self._tenant_id, ERASURE))
        await self._claims(claims, held, tree, -1)
        async for rows in self._pages():
            before, leaf_hashes = tree.size, [hashed for row in rows if (hashed := self._event(row, erasures))]
            if leaf_hashes:
                await tree.add(leaf_hashes, found)
                await self._claims(claims, held, tree, before)
            report(len(rows))
        found.root = tree.root(tree.size)
        await self._end(state, held, tree)
        return found

    async def _pages(self) -> AsyncIterator[Sequence[asyncpg.Record]]:
        cursor = await self._connection.cursor(_EVENTS, self._tenant_id)
        while rows := await cursor.fetch(PAGE):
            yield rows

    def _event(self, row: asyncpg.Record, erasures: Erasures) -> bytes | None:
        """Its leaf's hash, None from the first event on that is missing, or stands there twice."""
        self._found.events += 1
        self._check_place(row)
        self._check_content(row, erasures)
        if not self._is_whole:
            return None
        hashed = _hash_of(row)
        if hashed is None:
            text = f"the event at seq {row['seq']} has columns that no event has"
            self._found.add("columns", Verdict.PROOF_FAILS, text, row["seq"])
        return hashed or bytes(HASH)

    def _check_place(self, row: asyncpg.Record) -> None:
        seq, expected = row["seq"], self._last_seq + 1
        if seq < expected:
            self._found.add("twice", Verdict.PROOF_FAILS, f"the event at seq {seq} is one too many", seq)
            self._is_whole = False
        elif seq > expected:
            missing = f"{expected}" if seq == expected + 1 else f"{expected} to {seq - 1}"
            self._found.add("gap", Verdict.INCOMPLETE, f"seq {missing} is missing", expected)
            self._is_whole = False
        at = row["recorded_at"]
        if self._last_at and at and at < self._last_at:
            text = f"the event at seq {seq} was recorded before the one that it follows"
            self._found.add("time", Verdict.PROOF_FAILS, text, seq)
        self._last_seq, self._last_at = max(seq, self._last_seq), at or self._last_at

    def _check_content(self, row: asyncpg.Record, erasures: Erasures) -> None:
        seq, data, salt = row["seq"], row["data"], row["salt"]
        if data is None and salt is None:
            self._found.erased += 1
            if not erasures.account_for(row):
                text = f"the event at seq {seq} is without its data, and no event accounts for that"
                self._found.add("unaccounted", Verdict.CONTENT_DIFFERS, text, seq)
        elif sha256((salt or b"") + (data or b"")).digest() != row["digest"]:
            text = f"the data of the event at seq {seq} are not those of its digest"
            self._found.add("content", Verdict.CONTENT_DIFFERS, text, seq)

    async def _claims(self, claims: Claims, held: Sequence[tuple[Checkpoint, str]], tree: Tree, before: int) -> None:
        """Compare the tree with all that was signed about it at the sizes that the last page brought."""
        rows = await self._connection.fetch(_CHECKPOINTS, self._tenant_id, before, tree.size)
        stored = [(claims.stored(row, self._found), f"the stored checkpoint of size {row['size']}") for row in rows]
        within = [(each, name) for each, name in held if before < each.size <= tree.size]
        for checkpoint, name in sorted(
            [(each, name) for each, name in [*stored, *within] if each], key=lambda each: each[0].size
        ):
            self._compare(checkpoint, name, tree)

    def _compare(self, checkpoint: Checkpoint, name: str, tree: Tree) -> None:
        if tree.root(checkpoint.size) == checkpoint.root:
            self._good_size = checkpoint.size
            return
        text = f"{name} says another root than the events make"
        if "leaf" in self._found.findings:  # which says it more exactly
            self._found.add("root", Verdict.PROOF_FAILS, text)
            return
        first = min(self._good_size + 1, checkpoint.size)
        text += f": one of the events from seq {first} to {checkpoint.size} was changed"
        self._found.add("root", Verdict.PROOF_FAILS, text, first)

    async def _end(self, state: asyncpg.Record, held: Sequence[tuple[Checkpoint, str]], tree: Tree) -> None:
        found, last = self._found, self._last_seq
        if state["last_seq"] != last:
            head = "missing" if state["last_seq"] is None else f"at {state['last_seq']}"
            seq = min(state["last_seq"] or 0, last) + 1
            found.add("head", Verdict.INCOMPLETE, f"the log ends at seq {last}, but its head is {head}", seq)
        if self._is_whole and found.sealed > last:
            text = f"the ledger holds {found.sealed} events, but the log ends at seq {last}: its end was cut off"
            found.add("end", Verdict.INCOMPLETE, text, last + 1)
        await self._check_tiles(state, last)
        if wrong := await self._connection.fetchrow(_VERSIONS, self._tenant_id):
            text = (
                f"the event at seq {wrong['seq']} is version {wrong['version']} of its stream, behind {wrong['before']}"
            )
            found.add("version", Verdict.INCOMPLETE, text, wrong["seq"])
        beyond = await self._connection.fetchval(_BEYOND, self._tenant_id, tree.size) or 0
        beyond = max([beyond, *(each.size for each, _ in held if each.size > tree.size)])
        if self._is_whole and beyond:
            text = f"a tree of size {beyond} was signed, but the log ends at seq {last}: its end was cut off"
            found.add("signed", Verdict.INCOMPLETE, text, last + 1)

    async def _check_tiles(self, state: asyncpg.Record, last: int) -> None:
        """That there are neither fewer nor more of them than there must be."""
        sealed, place = self._found.sealed, state["place"] or 0
        if sealed != min(place, last) and sealed <= last:
            text = f"the ledger holds {sealed} events, where {min(place, last)} were sealed"
            self._found.add("sealed", Verdict.PROOF_FAILS, text, min(sealed, place) + 1)
        expected = sum(-(-(sealed >> HEIGHT * level) // WIDTH) for level in range(13))
        count = await self._connection.fetchval(_COUNT, self._tenant_id)
        if count != expected:
            text = f"the ledger has {count} tiles, where {expected} hold {sealed} events"
            self._found.add("tiles", Verdict.PROOF_FAILS, text)


def _hash_of(row: asyncpg.Record) -> bytes | None:
    try:
        return leaf_hash(leaf_of(Header(*(row[name] for name in Header.__struct_fields__))))
    except (TypeError, AttributeError, OverflowError):  # NULL, or a number below 0: columns lost their constraints
        return None


_STATE = """
    SELECT
        (SELECT seq FROM rollbook.heads WHERE tenant_id = $1) AS last_seq,
        (SELECT seq FROM rollbook.places WHERE tenant_id = $1 AND follower = 'ledger') AS place,
        (
            SELECT place * 32 + octet_length(hashes) / 32
            FROM rollbook.ledger_tiles
            WHERE tenant_id = $1 AND level = 0
            ORDER BY place DESC
            LIMIT 1
        ) AS sealed
"""

_ERASURES = "SELECT seq, stream_id, version, data FROM rollbook.events WHERE tenant_id = $1 AND type = $2"

# Times that no log has, and that no program can read, are none.
_EVENTS = """
    SELECT
        tenant_id,
        seq,
        stream_id,
        version,
        type,
        CASE WHEN recorded_at BETWEEN '0002-01-01' AND '9998-01-01' THEN recorded_at END AS recorded_at,
        source,
        actor,
        token_id,
        request_id,
        digest,
        convert_to(data::text, 'UTF8') AS data,
        salt
    FROM rollbook.events
    WHERE tenant_id = $1
    ORDER BY seq, version
"""

_TILES = """
    SELECT wanted.level, wanted.place, tile.hashes
    FROM unnest($2::smallint[], $3::bigint[]) AS wanted(level, place)
    CROSS JOIN LATERAL (
        SELECT hashes
        FROM rollbook.ledger_tiles
        WHERE tenant_id = $1 AND level = wanted.level AND place = wanted.place
        LIMIT 1
    ) AS tile
"""

_CHECKPOINTS = """
    SELECT size, key, root, note
    FROM rollbook.checkpoints
    WHERE tenant_id = $1 AND size > $2 AND size <= $3
    ORDER BY size, key
"""

_BEYOND = "SELECT max(size) FROM rollbook.checkpoints WHERE tenant_id = $1 AND size > $2"

_COUNT = "SELECT count(*) FROM rollbook.ledger_tiles WHERE tenant_id = $1"

# The first event that is not the next of its stream.
_VERSIONS = """
    SELECT seq, version, before
    FROM (
        SELECT seq, version, lag(version, 1, 0) OVER (PARTITION BY stream_id ORDER BY seq, version) AS before
        FROM rollbook.events
        WHERE tenant_id = $1
    ) AS placed
    WHERE version <> before + 1
    ORDER BY seq
    LIMIT 1
"""
