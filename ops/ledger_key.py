"""The private key of the ledger: a file in the data folder, or a variable; never in the database, and never logged."""

import os
import secrets
import stat
from pathlib import Path

import asyncpg

from engine.endorsement import endorse
from engine.note import NoteError, SigningKey, VerifierKey, read_signing_key
from ops.trouble import Trouble
from projections.connections import connected
from projections.ledger_keys import LedgerKey, name_of_store, read_keys
from projections.signer import NoKeyError

KEY = "ROLLBOOK_LEDGER_KEY"
FILE = "ledger.key"
_NEXT = "ledger.key.next"  # of a rotation that is under way

_SEED = 32  # bytes


class KeyPlace:
    """Where this process finds the key: in the variable if it is set, in a file of the folder otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: tuple[VerifierKey, SigningKey] | None = None  # a copy, until another key is asked for

    @property
    def is_variable(self) -> bool:
        return bool(os.environ.get(KEY, "").strip())

    def is_there(self) -> bool:
        return self.is_variable or (self.folder / FILE).exists()

    def find(self, current: VerifierKey) -> SigningKey:
        """The private half of the store's current key. Raises NoKeyError.

        A rotation that is under way, or was cut off, has a new key in the database, and its file beside the old one.
        """
        if self._found and self._found[0] == current:
            return self._found[1]
        for key in self._keys():
            if key.verifier.public == current.public:
                self._found = current, key.named(current.name)
                return self._found[1]
        raise NoKeyError(
            f"The ledger's key {current.text} is not here: {self._where()} does not hold its private half. Bring that "
            f"back from where it was kept; if it is lost, begin a new chain of keys: rollbook ledger rotate --lost"
        )

    def _keys(self) -> list[SigningKey]:
        if self.is_variable:
            return [_from_variable()]
        return [key for name in (FILE, _NEXT) if (key := _read(self.folder / name))]

    def _where(self) -> str:
        return KEY if self.is_variable else str(self.folder / FILE)

    def first(self, name: str) -> SigningKey:
        """The key for a store that has none yet: the one that is here, or a new one. Raises NoKeyError."""
        if self.is_variable:
            return _from_variable().named(name)
        key = _read(self.folder / FILE)
        if key is None:
            key = _new(name)
            _write(self.folder / FILE, key)
        if key.name != name:
            raise NoKeyError(
                f"{self.folder / FILE} is the key of another store, {key.name}. Name another folder with --data, or "
                f"move it away."
            )
        return key

    def begin_rotation(self, key: SigningKey) -> None:
        """Lay the new key beside the old one, before the database names it; a variable is the operator's to set."""
        if self.is_variable:
            return
        (self.folder / _NEXT).unlink(missing_ok=True)
        _write(self.folder / _NEXT, key)

    def end_rotation(self, current: VerifierKey) -> None:
        """Put the new key into the place of the old one, which is gone then, once the database names it."""
        key = None if self.is_variable else _read(self.folder / _NEXT)
        if key and key.verifier.public == current.public:
            (self.folder / _NEXT).replace(self.folder / FILE)


def _from_variable() -> SigningKey:
    try:
        return read_signing_key(os.environ[KEY])
    except NoteError as error:
        raise NoKeyError(f"{KEY} holds no key of a ledger: {error}") from None


def _read(path: Path) -> SigningKey | None:
    """None if there is no such file. Raises NoKeyError if others can read it, or if it holds no key."""
    try:
        with path.open() as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise NoKeyError(
                    f"Others on this machine can read {path}, which is secret: chmod 600 {path} (and think of a "
                    f"rotation: rollbook ledger rotate)"
                )
            return read_signing_key(file.read(10_000))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise NoKeyError(f"{path} cannot be read ({_reason(error)}).") from None
    except NoteError as error:
        raise NoKeyError(f"{path} holds no key of a ledger: {error}") from None


def _write(path: Path, key: SigningKey) -> None:
    """Whole, or not at all; for nobody else to read. Raises NoKeyError."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{key.text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # which replaces no key that is there
        _sync(path.parent)
    except OSError as error:
        raise NoKeyError(
            f"The ledger's key cannot be written to {path} ({_reason(error)}). Name a folder that can be written with "
            f"--data, or keep the key in {KEY}."
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _new(name: str) -> SigningKey:
    return SigningKey(name, secrets.token_bytes(_SEED))


async def prepare_key(owner_url: str, place: KeyPlace) -> VerifierKey:
    """The store's key, made if this is its first start; safe if several start at once.

    Raises NoKeyError if the store has a key whose private half is not here.
    """
    async with connected(owner_url) as connection, connection.transaction():
        keys = await _locked(connection)
        if keys:
            place.find(keys[-1].verifier)
            place.end_rotation(keys[-1].verifier)
            return keys[-1].verifier
        key = place.first(await name_of_store(connection))
        await _add(connection, 1, key.verifier, None)
        return key.verifier


async def rotate(owner_url: str, place: KeyPlace, *, is_lost: bool) -> SigningKey:
    """The new key, in the place of the old one, which endorses it unless it is lost.

    Raises Trouble if there is no key to rotate, and NoKeyError if the old one is not here.
    """
    async with connected(owner_url) as connection:
        async with connection.transaction():
            keys = await _locked(connection)
            if not keys:
                raise Trouble("The ledger has no key yet; it is made when the service starts: rollbook serve")
            place.end_rotation(keys[-1].verifier)  # one that was cut off
            new = _new(await name_of_store(connection))
            endorsement = None if is_lost else endorse(place.find(keys[-1].verifier), new.verifier)
            place.begin_rotation(new)
            await _add(connection, keys[-1].number + 1, new.verifier, endorsement)
        place.end_rotation(new.verifier)
    return new


async def _locked(connection: asyncpg.Connection) -> list[LedgerKey]:
    """The keys, of which no other process makes one until the commit."""
    await connection.execute("SET LOCAL ROLE rollbook_owner; LOCK TABLE rollbook.ledger_keys IN EXCLUSIVE MODE")
    try:
        return await read_keys(connection)
    except NoteError as error:
        raise NoKeyError(f"The ledger's keys in the database cannot be read: {error}") from None


async def _add(connection: asyncpg.Connection, number: int, key: VerifierKey, endorsement: str | None) -> None:
    await connection.execute(
        "INSERT INTO rollbook.ledger_keys (number, vkey, endorsement) VALUES ($1, $2, $3)",
        number,
        key.text,
        endorsement,
    )
