"""`rollbook audit evidence`: writes an evidence file, and what there is to say of it."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from api.composition import open_services
from api.evidence import Evidence, Query
from engine.checkpoint import Checkpoint, read_checkpoint
from engine.note import NoteError, read_note, split_notes
from ops import administration
from ops.database import open_database
from ops.files import new_file
from ops.ledger_key import KeyPlace, prepare_key
from ops.progress import progress
from ops.trouble import Trouble
from projections.background.ledger import FOLLOWER
from projections.following import Following
from projections.signer import CannotSignError


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
                cause = administration.cause(tenant_id)
                evidence = Evidence(services, tenant, query, signed, cause)
                async for line in evidence.lines(notes, report):
                    file.write(line)
                return evidence.told()

    try:
        with open_database(data) as database:
            return asyncio.run(run(database.service_url, database.owner_url))
    except CannotSignError as error:
        raise Trouble(str(error)) from None


def _notes(path: Path) -> Iterable[Checkpoint]:
    try:
        return [read_checkpoint(read_note(note).text) for note in split_notes(path.read_text())]
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"Cannot read {path} ({getattr(error, 'strerror', None) or 'it is no text'}).") from None
    except NoteError as error:
        raise Trouble(f"{path} holds something that is no checkpoint: {error}") from None
