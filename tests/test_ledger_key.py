"""The ledger's key: made once, kept where nobody else reads it, followed by another that it endorses."""

import asyncio
import os
import stat
from pathlib import Path

import asyncpg
import pytest

from engine.endorsement import check_endorsement
from engine.note import BadSignatureError, SigningKey, VerifierKey
from ops import ledger_key
from ops.database import Database
from ops.ledger_key import KeyPlace, prepare_key, rotate
from ops.trouble import Trouble
from projections.ledger_keys import chain_troubles, name_of_store, read_keys
from projections.signer import NoKeyError
from tests.test_cli import Shell


def files(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())


def private(path: Path) -> str:
    return path.read_text().rpartition("+")[2]


async def prepared(database: Database, folder: Path) -> VerifierKey:
    return await prepare_key(database.owner_url, KeyPlace(folder))


async def test_the_first_start_makes_a_key_that_nobody_else_can_read(
    database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "data"
    key = await prepared(database, folder)

    path = folder / "ledger.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files(folder) == ["ledger.key"]
    assert key.name == await name_of_store(owner)
    [row] = await owner.fetch("SELECT * FROM rollbook.ledger_keys")
    assert (row["number"], row["vkey"], row["endorsement"]) == (1, key.text, None)
    assert KeyPlace(folder).find(key).verifier == key
    assert await prepared(database, folder) == key


async def test_processes_that_start_at_once_make_one_key(
    database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    found = await asyncio.gather(*(prepared(database, tmp_path) for _ in range(8)))

    assert len(set(found)) == 1
    assert await owner.fetchval("SELECT count(*) FROM rollbook.ledger_keys") == 1


async def test_machines_that_start_at_once_make_one_key_and_the_others_say_so(
    database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    found = await asyncio.gather(
        *(prepared(database, tmp_path / str(machine)) for machine in range(6)), return_exceptions=True
    )

    assert sum(isinstance(each, VerifierKey) for each in found) == 1
    assert sum(isinstance(each, NoKeyError) for each in found) == 5
    assert len(files(tmp_path)) == 1


async def test_a_start_that_was_cut_off_goes_on_with_the_file_that_it_left(
    database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    key = await prepared(database, tmp_path)
    await owner.execute("TRUNCATE rollbook.ledger_keys")

    assert await prepared(database, tmp_path) == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
async def test_a_key_that_others_can_read_is_not_used(database: Database, tmp_path: Path, mode: int) -> None:
    key = await prepared(database, tmp_path)
    (tmp_path / "ledger.key").chmod(mode)

    with pytest.raises(NoKeyError, match="chmod 600"):
        KeyPlace(tmp_path).find(key)


async def test_what_is_no_key_is_not_used_and_not_replaced(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "ledger.key"
    path.write_text("a secret that is not said")
    path.chmod(0o600)

    with pytest.raises(NoKeyError, match="holds no key") as refused:
        await prepared(database, tmp_path)
    assert "secret that" not in str(refused.value)
    assert path.read_text() == "a secret that is not said"


async def test_the_key_of_another_store_is_not_used(database: Database, tmp_path: Path) -> None:
    other = SigningKey("rollbook/other", bytes(32))
    ledger_key._write(tmp_path / "ledger.key", other)

    with pytest.raises(NoKeyError, match="another store"):
        await prepared(database, tmp_path)


async def test_a_lost_key_is_not_made_anew_in_silence(database: Database, tmp_path: Path) -> None:
    key = await prepared(database, tmp_path)
    (tmp_path / "ledger.key").unlink()

    with pytest.raises(NoKeyError, match="rotate --lost") as refused:
        await prepared(database, tmp_path)
    assert key.text in str(refused.value)
    assert not (tmp_path / "ledger.key").exists()


async def test_a_rotated_key_is_endorsed_by_the_one_before_whose_private_half_is_gone(
    database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    first, secret = await prepared(database, tmp_path), private(tmp_path / "ledger.key")
    place = KeyPlace(tmp_path)
    second = (await rotate(database.owner_url, place, is_lost=False)).verifier
    third = (await rotate(database.owner_url, place, is_lost=False)).verifier

    keys = await read_keys(owner)
    assert [key.verifier for key in keys] == [first, second, third]
    assert list(chain_troubles(keys)) == []
    for before, after in ((keys[0], keys[1]), (keys[1], keys[2])):
        check_endorsement(after.endorsement or "", before.verifier, after.verifier)
        with pytest.raises(BadSignatureError):
            check_endorsement(after.endorsement or "", after.verifier, after.verifier)
        with pytest.raises(BadSignatureError):
            check_endorsement(after.endorsement or "", before.verifier, before.verifier)
    assert place.find(third).verifier == third
    assert files(tmp_path) == ["ledger.key"]
    assert private(tmp_path / "ledger.key") != secret
    with pytest.raises(NoKeyError):
        place.find(first)


async def test_a_lost_key_is_followed_by_a_new_chain(
    database: Database, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    await prepared(database, tmp_path)
    (tmp_path / "ledger.key").unlink()
    with pytest.raises(NoKeyError):
        await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)

    key = (await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=True)).verifier

    keys = await read_keys(owner)
    assert [each.endorsement for each in keys] == [None, None]
    assert await prepared(database, tmp_path) == keys[1].verifier == key


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_rotation_that_was_cut_off_leaves_a_key_that_works(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    first = await prepared(database, tmp_path)

    def cut_off(*_: object) -> None:
        raise InterruptedError

    place = KeyPlace(tmp_path)
    with monkeypatch.context() as patched:
        if is_committed:
            patched.setattr(Path, "replace", cut_off)
        else:
            patched.setattr(ledger_key, "_add", cut_off)
        with pytest.raises(InterruptedError):
            await rotate(database.owner_url, place, is_lost=False)

    current = await prepared(database, tmp_path)
    assert (current != first) == is_committed
    assert KeyPlace(tmp_path).find(current).verifier == current
    await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)


async def test_the_key_may_stand_in_a_variable(
    database: Database, owner: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLBOOK_LEDGER_KEY", SigningKey("any", bytes(32)).text)
    key = await prepared(database, tmp_path)
    assert key == SigningKey(await name_of_store(owner), bytes(32)).verifier

    new = await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)
    with pytest.raises(NoKeyError, match="ROLLBOOK_LEDGER_KEY"):
        KeyPlace(tmp_path).find(new.verifier)
    monkeypatch.setenv("ROLLBOOK_LEDGER_KEY", new.text)
    assert KeyPlace(tmp_path).find(new.verifier) == new
    assert files(tmp_path) == []

    monkeypatch.setenv("ROLLBOOK_LEDGER_KEY", "PRIVATE+KEY+x")
    with pytest.raises(NoKeyError, match="holds no key"):
        await prepared(database, tmp_path)


async def test_a_store_without_a_key_has_none_to_rotate(database: Database, tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="no key yet"):
        await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)


async def test_a_folder_that_cannot_be_written_is_told(database: Database) -> None:
    with pytest.raises(NoKeyError, match="cannot be written"):
        await prepared(database, Path("/proc/nowhere"))


async def test_a_forged_chain_is_told(database: Database, owner: asyncpg.Connection, tmp_path: Path) -> None:
    await prepared(database, tmp_path)
    await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)
    keys = await read_keys(owner)
    forged = SigningKey(keys[0].verifier.name, bytes(32)).verifier

    assert list(chain_troubles([])) == []
    assert "missing" in next(chain_troubles(keys[1:]))
    await owner.execute("UPDATE rollbook.ledger_keys SET vkey = $1 WHERE number = 2", forged.text)
    assert "not endorsed" in next(chain_troubles(await read_keys(owner)))
    await owner.execute("UPDATE rollbook.ledger_keys SET endorsement = endorsement || 'x' WHERE number = 2")
    assert "not endorsed" in next(chain_troubles(await read_keys(owner)))


async def test_the_command_line_rotates_and_prints_what_is_to_be_kept(database: Database, tmp_path: Path) -> None:
    shell = Shell(database.owner_url)
    await prepared(database, tmp_path)
    folder = str(tmp_path)

    shown = shell.output("ledger", "rotate", "--data", folder)
    assert "New key: rollbook/" in shown
    assert "PRIVATE" not in shown
    (tmp_path / "ledger.key").unlink()
    assert "rotate --lost" in shell.trouble("ledger", "rotate", "--data", folder)
    assert "New key: rollbook/" in shell.output("ledger", "rotate", "--lost", "--data", folder)
    assert os.stat(tmp_path / "ledger.key").st_mode & 0o777 == 0o600  # noqa: PTH116
