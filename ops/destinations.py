"""Where checkpoints are sent to, so that they are with somebody who is not the operator."""

import asyncio
import hashlib
import os
import secrets
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from engine.checkpoint import Checkpoint, read_checkpoint
from engine.note import read_note
from ops.trouble import Trouble

TO = "ROLLBOOK_CHECKPOINTS_TO"
EVERY = "ROLLBOOK_CHECKPOINT_SECONDS"
USUAL_SECONDS = 300
MOST_SECONDS = 86_400
PATIENCE = 10.0  # seconds; for one request

_LOCAL = {"localhost", "127.0.0.1", "::1"}


class Destination(ABC):
    """Takes notes. `id` tells it from others in the database, `kind` in the log: an address may hold a secret."""

    kind: str

    def __init__(self, address: str) -> None:
        self.id = hashlib.sha256(address.encode()).hexdigest()

    @abstractmethod
    async def send(self, note: str) -> None:
        """Whatever it raises, it is tried again."""


class Folder(Destination):
    """One file for each tenant and size, there whole or not at all. The same checkpoint twice is one file."""

    kind = "dir"

    def __init__(self, address: str, path: Path) -> None:
        super().__init__(address)
        self._path = path

    async def send(self, note: str) -> None:
        await asyncio.to_thread(self._write, note)

    def _write(self, note: str) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        checkpoint = read_checkpoint(read_note(note).text)
        partial = self._path / f".{secrets.token_hex(8)}.partial"
        try:
            with partial.open("x") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path / name_of(checkpoint))
        finally:
            partial.unlink(missing_ok=True)


def name_of(checkpoint: Checkpoint) -> str:
    """The name of a checkpoint's file: sorted by name they are in order."""
    return f"{checkpoint.origin.rpartition('/')[2]}-{checkpoint.size:012}.checkpoint"


class Address(Destination):
    """A POST of the note as text; any answer of the 200s will do."""

    kind = "https"

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._address = address

    async def send(self, note: str) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "rollbook"}
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(self._address, data=note.encode(), headers=headers, allow_redirects=False) as response,
        ):
            if not 200 <= response.status < 300:
                raise RefusedError(f"it answered {response.status}")


class RefusedError(Exception):
    """A destination does not take a note."""


class Output(Destination):
    """Standard output, for whoever collects that."""

    kind = "stdout"

    async def send(self, note: str) -> None:
        sys.stdout.write(f"{note}\n")
        sys.stdout.flush()


def destinations() -> list[Destination]:
    """Those that the environment names. Raises Trouble if one is none."""
    texts = os.environ.get(TO, "").replace(",", " ").split()
    return [_destination(text) for text in dict.fromkeys(texts)]


def _destination(text: str) -> Destination:
    if text == "stdout":
        return Output(text)
    if text.startswith("dir:") and (path := Path(text.removeprefix("dir:"))).is_absolute():
        return Folder(text, path)
    try:
        parts = urlsplit(text)
        is_taken = bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
        )
    except ValueError:
        is_taken = False
    if not is_taken:
        raise Trouble(f"{TO} takes dir:/an/absolute/path, https://… and stdout, with spaces or commas between.")
    return Address(text)


def seconds_between() -> int:
    """How often a tenant's checkpoints are sent at most. Raises Trouble if the setting is none."""
    text = os.environ.get(EVERY, "").strip() or str(USUAL_SECONDS)
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_SECONDS):
        raise Trouble(f"{EVERY} takes a whole number of seconds from 1 to {MOST_SECONDS:,}; it is {text!r}.")
    return int(text)
