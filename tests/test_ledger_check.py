"""`rollbook ledger check`: whatever the owner of the database changes, it is found, and the first bad seq is named."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.composition import open_services
from api.services import Services
from engine.checkpoint import origin_of, read_checkpoint, sign_checkpoint
from engine.note import SigningKey, read_note
from engine.tiles import appended
from ops import administration, ledger_check
from ops.database import Database
from ops.ledger_check import Check, Found, Verdict, verdict_of
from ops.ledger_cli import _keys
from ops.ledger_key import KeyPlace, prepare_key, rotate
from projections.background.ledger import FOLLOWER
from projections.connections import connected
from projections.following import Following
from projections.ledger_keys import read_keys
from projections.signer import Signer
from tests.conftest import Directory, register
from tests.logs import fill
from tests.test_cli import Shell
from tests.test_ledger import leaves

SIZES = (1, 40, 75, 76, 120, 150)  # those of the stored checkpoints
EXTERNAL = (76, 150)  # those that others hold, too
LAST = 160  # of the log; what is behind the last checkpoint is in the ledger, but not signed

# Whoever owns the tables can do all of this first.
UNGUARD = """
    ALTER TABLE rollbook.events
        DROP CONSTRAINT seq_is_gap_free, DROP CONSTRAINT version_is_expected, DROP CONSTRAINT source_is_known,
        DROP CONSTRAINT erasure_is_whole, DROP CONSTRAINT digest_is_of_data, ALTER type DROP NOT NULL,
        ALTER digest DROP NOT NULL;
    ALTER TABLE rollbook.ledger_tiles DROP CONSTRAINT tile_holds_hashes;
    CREATE INDEX ON rollbook.events (tenant_id, seq);
"""


@dataclass
class Log:
    """A tenant's log with its ledger and its checkpoints, in the hands of somebody who owns the database."""

    owner: asyncpg.Connection
    tenant_id: UUID
    place: KeyPlace
    notes: list[tuple[str, str]]

    async def check(self, *, external: bool = True) -> tuple[Found, Verdict]:
        keys, troubles = await _keys(self.owner, self.place)
        store_id = await self.owner.fetchval("SELECT id FROM rollbook.store")
        check = Check(self.owner, store_id, self.tenant_id, keys)
        found = await check.run(self.notes if external else [], lambda _: None)
        return found, verdict_of([*troubles, *found.findings.values()])

    async def do(self, statement: str, *values: object) -> None:
        await self.owner.execute(statement, self.tenant_id, *values)

    async def change(self, seq: int, assignments: str, *values: object) -> None:
        """Change the event at a seq."""
        await self.do(f"UPDATE rollbook.events SET {assignments} WHERE tenant_id = $1 AND seq = $2", seq, *values)  # noqa: S608

    async def reseal(self) -> None:
        """Make the tiles that the forged events make."""
        await self.do("DELETE FROM rollbook.ledger_tiles WHERE tenant_id = $1")
        made = appended(0, await leaves(self.owner, self.tenant_id), {})
        rows = [(self.tenant_id, tile.level, tile.place, hashes) for tile, hashes in made.items()]
        await self.owner.copy_records_to_table("ledger_tiles", schema_name="rollbook", records=rows)
        await self.do(
            "UPDATE rollbook.places SET seq = (SELECT seq FROM rollbook.heads WHERE tenant_id = $1) "
            "WHERE tenant_id = $1 AND follower = 'ledger'"
        )

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        transaction = self.owner.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()


@pytest.fixture
async def signers(database: Database, tmp_path: Path) -> AsyncIterator[Services]:
    place = KeyPlace(tmp_path)
    await prepare_key(database.owner_url, place)
    async with open_services(database.service_url, find_key=place.find) as services:
        yield services


@pytest.fixture
async def log(signers: Services, database: Database, owner: asyncpg.Connection, tmp_path: Path) -> Log:
    await fill(owner, await register(signers, "another"), 50)
    tenant_id = await register(signers, "contoso")
    notes, size = [], 1
    for each in SIZES:
        if each > size:
            await fill(owner, tenant_id, each - size)
        size = each
        await Following(signers.pool, [FOLLOWER]).catch_up()
        note = (await signers.signer.sign(tenant_id, keep=True)).note
        if each == 75:
            await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)
        if each in EXTERNAL:
            notes.append((f"file {each}", note))
    await fill(owner, tenant_id, LAST - size)
    await Following(signers.pool, [FOLLOWER]).catch_up()
    await owner.execute(UNGUARD)
    return Log(owner, tenant_id, KeyPlace(tmp_path), notes)


async def test_what_nobody_changed_holds(log: Log) -> None:
    async with log.undone():
        found, verdict = await log.check()

    assert (verdict, found.findings) == (Verdict.HOLDS, {})
    assert (found.events, found.sealed, found.stored, found.external, found.erased) == (LAST, LAST, len(SIZES), 2, 0)


async def test_a_log_is_checked_in_pages_of_any_size(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in (1, 31, 32, 33, 76, 100, 160):
        monkeypatch.setattr(ledger_check, "PAGE", page)
        async with log.undone():
            assert (await log.check())[0].findings == {}
            await log.change(50, "actor = 'x'")
            assert (await log.check())[0].first_seq == 50


async def test_a_ledger_that_is_behind_the_log_holds_as_far_as_it_goes(log: Log) -> None:
    async with log.undone():
        await fill(log.owner, log.tenant_id, 10)
        found, verdict = await log.check()

    assert (verdict, found.events, found.sealed) == (Verdict.HOLDS, LAST + 10, LAST)


# Each mutation is done at a seq, and says which seq has to be named, or between which, and what the verdict may be.
Expected = tuple[int | None, int | None, set[Verdict]]
Mutation = Callable[[Log, int, random.Random], Awaitable[Expected]]
CONTENT, PROOF, SIGNATURE, CUT = (
    {Verdict.CONTENT_DIFFERS},
    {Verdict.PROOF_FAILS},
    {Verdict.SIGNATURE_FAILS},
    {Verdict.INCOMPLETE},
)
DIGEST = "sha256(salt || convert_to(data::text, 'UTF8'))"

# Columns of an event with other values, by what is found then.
CHANGES = {
    "data": ("data = replace(data::text, '\"to\"', '\"to\" ')::json", CONTENT),
    "a value": ("data = replace(data::text, 'to\":\"', 'to\":\"X')::json", CONTENT),
    "salt": ("salt = sha256(salt)", CONTENT),
    "no salt": ("salt = NULL", CONTENT),
    "no data": ("data = NULL", CONTENT),
    "neither": ("data = NULL, salt = NULL", CONTENT),
    "digest": ("digest = sha256(digest)", PROOF),
    "short digest": ("digest = substr(digest, 1, 31)", PROOF),
    "no digest": ("digest = NULL", PROOF),
    "type": ("type = 'UserDeleted'", PROOF),
    "no type": ("type = NULL", PROOF),
    "actor": ("actor = actor || '.'", PROOF),
    "source": ("source = 'local'", PROOF),
    "unknown source": ("source = 'nobody'", PROOF),
    "token": ("token_id = md5(token_id::text)::uuid", PROOF),
    "request": ("request_id = md5(request_id::text)::uuid", PROOF),
    "a microsecond": ("recorded_at = recorded_at + interval '1 us'", PROOF),
    "earlier": ("recorded_at = recorded_at - interval '1 day'", PROOF),
    "later": ("recorded_at = recorded_at + interval '1 day'", PROOF),
    "for ever": ("recorded_at = 'infinity'", PROOF),
    "never": ("recorded_at = '-infinity'", PROOF),
    "before Christ": ("recorded_at = '0044-03-15 BC'", PROOF),
    "after us": ("recorded_at = '20000-01-01'", PROOF),
    "version": ("version = version + 100", PROOF),
    "version below 0": ("version = -1", PROOF),
    "stream": ("stream_id = md5(stream_id::text)::uuid", PROOF),
}


def change_of(assignment: str, verdicts: set[Verdict]) -> Mutation:
    async def mutate(log: Log, seq: int, chance: random.Random) -> Expected:
        seq = seq if "token_id" not in assignment else max(seq - seq % 3 + 1, 4)  # it has a token
        seq = seq if 'to"' not in assignment else max(seq, 2)  # it changes a value
        await log.change(seq, assignment)
        return seq, seq, verdicts

    return mutate


async def new_content(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.change(seq, 'data = \'{"type":"forged"}\'')
    await log.change(seq, f"digest = {DIGEST}")
    return seq, seq, PROOF


async def new_salt(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.change(seq, "salt = sha256(salt)")
    await log.change(seq, f"digest = {DIGEST}")
    return seq, seq, PROOF


async def new_dates(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.do(
        "UPDATE rollbook.events SET recorded_at = recorded_at + interval '1 hour' WHERE tenant_id = $1 AND seq >= $2",
        seq,
    )
    return seq, seq, PROOF


async def deleted(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.do("DELETE FROM rollbook.events WHERE tenant_id = $1 AND seq = $2", seq)
    return seq, seq, CUT


async def deleted_and_closed(log: Log, seq: int, chance: random.Random) -> Expected:
    await deleted(log, seq, chance)
    await shift(log, seq, -1)
    return seq, seq, PROOF if seq < LAST else CUT


async def shift(log: Log, seq: int, by: int) -> None:
    await log.do("UPDATE rollbook.events SET seq = seq + $3 WHERE tenant_id = $1 AND seq >= $2", seq, by)
    await log.do("UPDATE rollbook.heads SET seq = seq + $2 WHERE tenant_id = $1", by)


COPY = """
    INSERT INTO rollbook.events
    SELECT tenant_id, $3, stream_id, version + $4, type, recorded_at, source, actor, token_id, $5, data, salt, digest
    FROM rollbook.events
    WHERE tenant_id = $1 AND seq = $2
"""


async def doubled(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.do(COPY, seq, seq, 500, uuid4())
    return seq, seq, PROOF


async def inserted(log: Log, seq: int, chance: random.Random) -> Expected:
    await shift(log, seq, 1)
    await log.do(COPY, chance.randint(seq + 1, LAST + 1), seq, 500, uuid4())
    return seq, seq, PROOF


async def added_behind_the_head(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.do(COPY, LAST, LAST + 1, 1, uuid4())
    return LAST + 1, LAST + 1, CUT


async def swapped(log: Log, seq: int, chance: random.Random) -> Expected:
    other = chance.choice([each for each in range(1, LAST + 1) if each != seq])
    await log.do(
        "UPDATE rollbook.events SET seq = CASE seq WHEN $2 THEN $3 ELSE $2 END "
        "WHERE tenant_id = $1 AND seq IN ($2, $3)",
        seq,
        other,
    )
    return min(seq, other), min(seq, other), PROOF


async def truncated(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.do("DELETE FROM rollbook.events WHERE tenant_id = $1 AND seq >= $2", seq)
    await log.do("UPDATE rollbook.heads SET seq = $2 WHERE tenant_id = $1", seq - 1)
    return seq, seq, CUT


async def truncated_with_all_that_is_stored(log: Log, seq: int, chance: random.Random) -> Expected:
    seq = min(seq, max(EXTERNAL))  # nobody else knows of what came later
    await truncated(log, seq, chance)
    await log.reseal()
    await log.do("DELETE FROM rollbook.checkpoints WHERE tenant_id = $1 AND size >= $2", seq)
    return seq, seq, CUT


async def head_moved(log: Log, seq: int, chance: random.Random) -> Expected:
    head = chance.choice([seq - 1, LAST + seq])
    await log.do("UPDATE rollbook.heads SET seq = $2 WHERE tenant_id = $1", head)
    return min(head, LAST) + 1, min(head, LAST) + 1, CUT


async def head_deleted(log: Log, seq: int, chance: random.Random) -> Expected:
    await log.do("DELETE FROM rollbook.heads WHERE tenant_id = $1")
    return 1, 1, CUT


def between(sizes: tuple[int, ...], seq: int) -> tuple[int, int]:
    """The first seq that is named if a checkpoint is the only witness: behind the last one that holds, up to it."""
    return max([0, *(size for size in sizes if size < seq)]) + 1, seq


async def resealed(log: Log, seq: int, chance: random.Random) -> Expected:
    seq = min(seq, max(SIZES))
    assignment = chance.choice(["actor = 'x'", "type = 'Forged'", "recorded_at = recorded_at - interval '1 us'"])
    await log.change(seq, assignment)
    await log.reseal()
    return *between(SIZES, seq), PROOF


async def resealed_with_new_content(log: Log, seq: int, chance: random.Random) -> Expected:
    seq = min(seq, max(SIZES))
    await new_content(log, seq, chance)
    await log.reseal()
    return *between(SIZES, seq), PROOF


async def resealed_without_a_trace(log: Log, seq: int, chance: random.Random) -> Expected:
    seq = min(seq, max(EXTERNAL))
    await new_content(log, seq, chance)
    await log.reseal()
    await log.do("DELETE FROM rollbook.checkpoints WHERE tenant_id = $1 AND size >= $2", seq)
    return *between(SIZES, seq), PROOF


async def resealed_and_signed_by_another(log: Log, seq: int, chance: random.Random) -> Expected:
    seq = min(seq, max(SIZES))
    await new_content(log, seq, chance)
    await log.reseal()
    forger = SigningKey((await read_keys(log.owner))[0].verifier.name, chance.randbytes(32))
    await log.owner.execute("UPDATE rollbook.ledger_keys SET vkey = $1 WHERE number = 2", forger.verifier.text)
    for row in await log.owner.fetch("SELECT size, note FROM rollbook.checkpoints WHERE tenant_id = $1", log.tenant_id):
        note = sign_checkpoint(forger, read_checkpoint(read_note(row["note"]).text))
        await log.do(
            "UPDATE rollbook.checkpoints SET note = $3, key = 2 WHERE tenant_id = $1 AND size = $2", row["size"], note
        )
    return None, None, SIGNATURE


def checkpoint_change_of(assignment: str) -> Mutation:
    async def mutate(log: Log, seq: int, chance: random.Random) -> Expected:
        size = chance.choice(SIZES)
        statement = f"UPDATE rollbook.checkpoints SET {assignment} WHERE tenant_id = $1 AND size = $2"  # noqa: S608
        await log.do(statement, size)
        return None, None, SIGNATURE

    return mutate


def tile_change_of(statement: str) -> Mutation:
    async def mutate(log: Log, seq: int, chance: random.Random) -> Expected:
        await log.do(statement.replace("PLACE", str(chance.randrange(5))))
        return None, None, PROOF

    return mutate


CHECKPOINT_CHANGES = {
    "root": "root = sha256(root)",
    "size": "size = size + 1",
    "signature": "note = overlay(note placing 'AAAA' from length(note) - 30)",
    "text": "note = replace(note, 'rollbook/', 'rollboot/')",
    "no note": "note = ''",
    "key": "key = 3 - key",
    "no key": "key = 9",
}
TILE_CHANGES = {
    "leaf": "UPDATE rollbook.ledger_tiles SET hashes = sha256(hashes) || substr(hashes, 33) "
    "WHERE tenant_id = $1 AND level = 0 AND place = PLACE",
    "node": "UPDATE rollbook.ledger_tiles SET hashes = sha256(hashes) || substr(hashes, 33) "
    "WHERE tenant_id = $1 AND level = 1",
    "missing": "DELETE FROM rollbook.ledger_tiles WHERE tenant_id = $1 AND level = 0 AND place = PLACE",
    "missing node": "DELETE FROM rollbook.ledger_tiles WHERE tenant_id = $1 AND level = 1",
    "all missing": "DELETE FROM rollbook.ledger_tiles WHERE tenant_id = $1",
    "shorter": "UPDATE rollbook.ledger_tiles SET hashes = substr(hashes, 1, 32) "
    "WHERE tenant_id = $1 AND level = 0 AND place = PLACE",
    "ghost": "INSERT INTO rollbook.ledger_tiles VALUES ($1, 2, PLACE, sha256(''))",
}

MUTATIONS: dict[str, Mutation] = {
    **{f"event: {name}": change_of(*change) for name, change in CHANGES.items()},
    **{f"checkpoint: {name}": checkpoint_change_of(change) for name, change in CHECKPOINT_CHANGES.items()},
    **{f"tile: {name}": tile_change_of(change) for name, change in TILE_CHANGES.items()},
    **{
        each.__name__: each
        for each in (
            new_content,
            new_salt,
            new_dates,
            deleted,
            deleted_and_closed,
            doubled,
            inserted,
            added_behind_the_head,
            swapped,
            truncated,
            truncated_with_all_that_is_stored,
            head_moved,
            head_deleted,
            resealed,
            resealed_with_new_content,
            resealed_without_a_trace,
            resealed_and_signed_by_another,
        )
    },
}
EACH = 12  # times that each mutation is done somewhere


def planned() -> Iterator[tuple[str, int, random.Random]]:
    chance = random.Random(20261123)
    for name in MUTATIONS:
        for seq in (1, LAST, *(chance.randint(2, LAST - 1) for _ in range(EACH - 2))):
            yield name, seq, random.Random(chance.random())


async def test_every_mutation_by_the_owner_is_found_and_the_first_bad_seq_named(log: Log) -> None:
    plan = list(planned())
    assert len(plan) >= 500

    for name, seq, chance in plan:
        async with log.undone():
            first, last, verdicts = await MUTATIONS[name](log, seq, chance)
            found, verdict = await log.check()
            where = f"{name} at {seq}: {found.findings}"
            assert verdict in verdicts, where
            if first is not None and last is not None:
                assert found.first_seq is not None, where
                assert first <= found.first_seq <= last, where
    async with log.undone():
        assert (await log.check())[1] is Verdict.HOLDS


async def test_checkpoints_that_others_hold_see_what_those_that_are_stored_do_not(log: Log) -> None:
    async with log.undone():
        await resealed_without_a_trace(log, 30, random.Random(1))
        await log.do("DELETE FROM rollbook.checkpoints WHERE tenant_id = $1")

        assert (await log.check(external=False))[1] is Verdict.HOLDS
        assert (await log.check())[1] is Verdict.PROOF_FAILS


# Erasures, as the event of an erasure accounts for them.


async def erase(log: Log, stream_id: UUID, notes: list[int]) -> None:
    await fill(log.owner, log.tenant_id, 1)
    data = f'{{"type":"PersonalDataErased","notes":{notes}}}'
    versions = "SELECT coalesce(max(version), 0) FROM rollbook.events WHERE tenant_id = $1 AND stream_id = $3"
    assignments = f"type = 'PersonalDataErased', stream_id = $3, version = 1 + ({versions}), data = $4"
    await log.change(LAST + 1, assignments, stream_id, data)
    await log.change(LAST + 1, f"digest = {DIGEST}")


async def test_what_an_event_accounts_for_may_be_erased_and_nothing_else(log: Log) -> None:
    stream_id = await log.owner.fetchval(
        "SELECT stream_id FROM rollbook.events WHERE tenant_id = $1 AND seq = 40", log.tenant_id
    )
    erasing = "UPDATE rollbook.events SET data = NULL, salt = NULL WHERE tenant_id = $1 AND "
    async with log.undone():
        await erase(log, stream_id, [1])
        await log.do(f"{erasing} (stream_id = $2 AND seq <= $3 OR seq = 1)", stream_id, LAST)
        found, verdict = await log.check()
        assert (verdict, found.findings, found.erased > 15) == (Verdict.HOLDS, {}, True)

        await log.do(f"{erasing} seq = 41")
        found, verdict = await log.check()
        assert (verdict, found.first_seq) == (Verdict.CONTENT_DIFFERS, 41)
    async with log.undone():
        await erase(log, log.tenant_id, [41])  # notes account for events of the tenant's own stream
        await log.do(f"{erasing} seq IN (1, 41)")
        found, verdict = await log.check()
        assert (verdict, found.first_seq, found.findings["unaccounted"].count) == (Verdict.CONTENT_DIFFERS, 1, 2)
    async with log.undone():
        await erase(log, stream_id, [1])
        await log.change(LAST + 1, "data = NULL, salt = NULL")  # an erasure does not account for itself
        assert (await log.check())[0].first_seq == LAST + 1


async def test_an_erasure_changes_no_checkpoint_and_every_event_of_it_is_accounted_for(
    company: Directory, database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    place, services, tenant_id = KeyPlace(tmp_path), company.services, company.tenant_id
    await prepare_key(database.owner_url, place)
    signer = Signer(services.pool, services.ledger, place.find)
    before = (await signer.sign(tenant_id, keep=True)).note
    user_id = await owner.fetchval(
        "SELECT id FROM rollbook.users WHERE tenant_id = $1 AND user_name = 'ann'", tenant_id
    )

    await services.erasures.erase(user_id, administration.cause(tenant_id), None)
    await Following(services.pool, [FOLLOWER]).catch_up()
    await signer.sign(tenant_id, keep=True)

    log = Log(owner, tenant_id, place, [("before", before)])
    async with log.undone():
        found, verdict = await log.check()
    assert (verdict, found.findings, found.stored, found.external) == (Verdict.HOLDS, {}, 2, 1)
    # Those of the person, and the refused request that named her.
    emptied = "SELECT count(*), count(*) FILTER (WHERE stream_id = tenant_id) FROM rollbook.events WHERE data IS NULL"
    assert (found.erased, 1) == tuple(await owner.fetchrow(emptied))


# The command.


@pytest.fixture
def shell(database: Database) -> Shell:
    return Shell(database.owner_url)


async def test_the_command_says_in_words_what_holds_and_what_does_not(
    log: Log, shell: Shell, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("\n".join(note for _, note in log.notes) + log.notes[0][1])
    check = ["ledger", "check", "--data", str(tmp_path)]

    shown = shell.output(*check, "--tenant", "contoso", "--checkpoint", str(notes)).splitlines()
    assert shown[0].startswith(
        "contoso: holds. 160 events, 0 of them erased, 160 in the ledger; 6 stored checkpoints, 3 of"
    )
    assert shown[1:] == ["Everything holds."]

    await owner.execute("UPDATE rollbook.events SET actor = 'x' WHERE tenant_id = $1 AND seq IN (7, 9)", log.tenant_id)
    done = shell.run(*check)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0].startswith("another: holds. 51 events")
    assert lines[1].startswith("contoso: does not hold.")
    assert lines[2] == "  the event at seq 7 is not the one that was sealed: its leaf is another one (and 1 more)"
    assert lines[3] == "  the stored checkpoint of size 40 says another root than the events make (and 4 more)"
    assert lines[4:] == ["  First bad seq: 7", "It does not hold: the log is not the one that was sealed."]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE rollbook.events SET data = '{}' WHERE seq = 12", 1),
        ("UPDATE rollbook.events SET type = 'x' WHERE seq = 12", 2),
        ("UPDATE rollbook.checkpoints SET root = ''", 3),
        ("UPDATE rollbook.ledger_keys SET vkey = 'x' WHERE number = 1", 3),
        ("UPDATE rollbook.ledger_keys SET endorsement = NULL WHERE number = 2", 0),
        ("DELETE FROM rollbook.ledger_keys WHERE number = 2", 3),
        ("DELETE FROM rollbook.events WHERE seq = 12", 4),
        ("DELETE FROM rollbook.events WHERE seq = 12; UPDATE rollbook.events SET data = '{}' WHERE seq = 13", 1),
        ("TRUNCATE rollbook.events, rollbook.heads", 4),
    ],
)
async def test_the_exit_code_says_what_is_wrong(  # noqa: PLR0913, PLR0917  fixtures
    log: Log, shell: Shell, owner: asyncpg.Connection, tmp_path: Path, statement: str, code: int
) -> None:
    await owner.execute(statement)

    assert shell.run("ledger", "check", "--data", str(tmp_path)).returncode == code


async def test_what_cannot_be_checked_is_one_line(log: Log, shell: Shell, tmp_path: Path) -> None:
    note = tmp_path / "note"
    check = ["ledger", "check", "--tenant", "contoso", "--checkpoint", str(note)]

    assert "no tenant 'nobody'" in shell.trouble("ledger", "check", "--tenant", "nobody")
    assert "Cannot read" in shell.trouble(*check)
    note.write_text("\n")
    assert "no checkpoint in" in shell.trouble(*check)
    note.write_bytes(b"\xff")
    assert "it is no text" in shell.trouble(*check)
    note.write_text("something\n\nelse\n")
    assert "holds something that is no checkpoint" in shell.trouble(*check)
    checkpoint = read_checkpoint(read_note(log.notes[0][1]).text)
    other = SigningKey("x", bytes(32))
    note.write_text(other.sign(checkpoint.text.replace(str(log.tenant_id), str(UUID(int=1)))))
    assert "of another ledger" in shell.trouble(*check)
    note.write_text(other.named(checkpoint.origin).sign(checkpoint.text))
    assert shell.run(*check).returncode == 3


async def test_a_checkpoint_and_its_key_are_printed(log: Log, shell: Shell, tmp_path: Path, database: Database) -> None:
    arguments = ["--tenant", "contoso", "--data", str(tmp_path)]
    file = tmp_path / "printed"
    file.write_text(shell.output("ledger", "checkpoint", *arguments) + shell.output("ledger", "checkpoint", *arguments))
    key, fingerprint = shell.output("ledger", "key", *arguments).splitlines()

    async with connected(database.owner_url) as connection:
        verifier = (await read_keys(connection))[-1].verifier
        store_id = await connection.fetchval("SELECT id FROM rollbook.store")
        assert await connection.fetchval("SELECT is_kept FROM rollbook.checkpoints WHERE size = 160")
    assert key == verifier.named(origin_of(store_id, log.tenant_id)).text
    assert fingerprint.endswith(verifier.fingerprint)
    found = shell.run("ledger", "check", "--checkpoint", str(file), "--data", str(tmp_path))
    assert found.returncode == 0, found.stdout
    await log.owner.execute("UPDATE rollbook.heads SET seq = 170")
    assert "the log ends at 170" in shell.trouble("ledger", "checkpoint", *arguments)
