"""`rollbook ledger`: checkpoints, keys, and the check of everything."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import asyncpg
import typer
from msgspec import Struct

from api.composition import open_services
from api.services import Services
from engine.checkpoint import origin_of, read_checkpoint
from engine.note import NoteError, VerifierKey, read_note, split_notes
from engine.tenant import tenant_id_of
from ops import administration, logs
from ops.checked import Checked, remember
from ops.database import Database, open_database
from ops.ledger_check import Check, Finding, Found, Verdict, verdict_of
from ops.ledger_key import KEY, KeyPlace, prepare_key, rotate
from ops.options import Data, TenantName
from ops.progress import Report, progress
from ops.serve import DATA
from ops.trouble import Trouble
from projections.background.ledger import FOLLOWER
from projections.connections import connected
from projections.following import Following
from projections.ledger_keys import LedgerKey, chain_troubles, read_keys
from projections.signer import CannotSignError, NoKeyError

app = typer.Typer(help="The signed ledger of each tenant's log.", no_args_is_help=True, rich_markup_mode=None)

T = TypeVar("T")

Checkpoints = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", metavar="FILE", help="Checkpoints that others hold, one or many in a file."),
]


@app.command("checkpoint")
def print_checkpoint(tenant: TenantName, data: Data = DATA) -> None:
    """Sign the ledger as it is now, and print the note, to be appended to a file that others keep."""
    logs.silence()  # of what keeps the follower, the note or its lack tells

    async def work(services: Services) -> str:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        await Following(services.pool, [FOLLOWER]).catch_up()
        reach = await services.ledger.reach(tenant_id)
        if reach.size < reach.last_seq:
            raise Trouble(
                f"The ledger holds the events up to {reach.size}, and the log ends at {reach.last_seq}. What keeps it "
                f"is told by: rollbook followers"
            )
        return (await services.signer.sign(tenant_id, keep=True)).note

    with open_database(data) as database:
        typer.echo(_with_key(database, data, work), nl=False)


@app.command("key")
def print_key(tenant: TenantName, data: Data = DATA) -> None:
    """Print the key that verifies a tenant's checkpoints, and its fingerprint."""

    async def work(services: Services) -> VerifierKey:
        tenant_id = await administration.existing_tenant_id(services, tenant)
        store_id = await services.pool.fetchval("SELECT id FROM rollbook.store")
        return (await read_keys(services.pool))[-1].verifier.named(origin_of(store_id, tenant_id))

    with open_database(data) as database:
        key = _with_key(database, data, work)
    typer.echo(f"{key.text}\nSHA-256 of the key: {key.fingerprint}")


@app.command("rotate")
def rotate_key(
    lost: Annotated[
        bool,
        typer.Option("--lost", help="The old key is lost, or was stolen: begin a new chain, which everybody sees."),
    ] = False,
    data: Data = DATA,
) -> None:
    """Put a new key into the place of the old one, which endorses it; checkpoints of the old one still verify."""
    place = KeyPlace(data)
    with open_database(data) as database:
        try:
            key = asyncio.run(rotate(database.owner_url, place, is_lost=lost))
        except NoKeyError as error:
            raise Trouble(str(error)) from None
    typer.echo(f"New key: {key.verifier.text}\nSHA-256 of the key: {key.verifier.fingerprint}", err=place.is_variable)
    if place.is_variable:
        typer.echo(f"Set this where the service runs, and start it again; it is shown this once. {KEY}=", err=True)
        typer.echo(key.text)


@app.command("check")
def check(
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant.")] = None,
    checkpoint: Checkpoints = None,
    data: Data = DATA,
) -> None:
    """Recompute the ledger from the events, and compare it with all that was signed. Exits 0 if everything holds, 1 if
    a content differs, 2 if a proof fails, 3 if a signature fails, 4 if events are missing."""
    external = list(_external(checkpoint or []))
    with open_database(data) as database, progress("checking", "events") as report:
        found, troubles = asyncio.run(_check(database, KeyPlace(data), tenant, external, report))
        trouble = asyncio.run(remember(database, found, troubles, is_of_all=tenant is None))
    if trouble:
        typer.echo(trouble, err=True)
    for line in _told(found, troubles):
        typer.echo(line)
    raise typer.Exit(_verdict(found, troubles))


def _with_key(database: Database, data: Path, work: Callable[[Services], Awaitable[T]]) -> T:
    place = KeyPlace(data)

    async def run() -> T:
        await prepare_key(database.owner_url, place)
        async with open_services(database.service_url, connections=4, find_key=place.find) as services:
            return await work(services)

    try:
        return asyncio.run(run())
    except CannotSignError as error:
        raise Trouble(str(error)) from None


# The check.


class External(Struct, frozen=True):
    """A checkpoint that others hold: the file that it came from, and the ledger that it says it is of."""

    file: str
    origin: str
    note: str


def _external(files: Sequence[Path]) -> Iterator[External]:
    for path in files:
        try:
            notes = split_notes(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise Trouble(f"Cannot read {path} ({reason}).") from None
        if not notes:
            raise Trouble(f"There is no checkpoint in {path}.")
        for note in notes:
            try:
                yield External(str(path), read_checkpoint(read_note(note).text).origin, note)
            except NoteError as error:
                raise Trouble(f"{path} holds something that is no checkpoint: {error}") from None


async def _check(
    database: Database, place: KeyPlace, tenant: str | None, external: Sequence[External], report: Report
) -> tuple[list[Checked], list[Finding]]:
    """What was found in each tenant, and what is wrong with the keys."""
    async with connected(database.service_url) as connection:
        await connection.execute("SET default_transaction_isolation = 'repeatable read'")
        store_id = await connection.fetchval("SELECT id FROM rollbook.store")
        tenants = await _tenants(connection, store_id, tenant)
        _check_origins(external, {origin_of(store_id, tenant_id) for tenant_id in tenants})
        keys, troubles = await _keys(connection, place)
        total, done = await connection.fetchval(_EVENTS, list(tenants)), 0

        def count(events: int) -> None:
            nonlocal done
            done += events
            report(done, max(done, total))

        checked = []
        for tenant_id, name in tenants.items():
            notes = [(each.file, each.note) for each in external if each.origin == origin_of(store_id, tenant_id)]
            started_at, started = datetime.now(UTC), time.monotonic()
            async with connection.transaction():
                found = await Check(connection, store_id, tenant_id, keys).run(notes, count)
            checked.append(Checked(tenant_id, name, found, started_at, time.monotonic() - started))
        return checked, troubles


async def _tenants(connection: asyncpg.Connection, store_id: UUID, name: str | None) -> dict[UUID, str]:
    """Those whose log, ledger or checkpoints are there; a name that the log does not say is the id."""
    rows = await connection.fetch(_TENANTS)
    found = {row["tenant_id"]: row["name"] or str(row["tenant_id"]) for row in rows}
    if name is None:
        return found
    tenant_id = tenant_id_of(store_id, name)
    if tenant_id not in found:
        raise Trouble(f"There is no tenant {name!r}. There are: {', '.join(sorted(found.values())) or 'none yet'}.")
    return {tenant_id: name}


def _check_origins(external: Sequence[External], known: set[str]) -> None:
    for each in external:
        if each.origin not in known:
            raise Trouble(
                f"{each.file} holds a checkpoint of another ledger, {each.origin}, which is not checked here."
            )


async def _keys(connection: asyncpg.Connection, place: KeyPlace) -> tuple[list[LedgerKey], list[Finding]]:
    try:
        keys = await read_keys(connection)
    except NoteError as error:
        text = f"the keys in the database cannot be read: {error}"
        return [], [Finding(Verdict.SIGNATURE_FAILS, text)]
    troubles = [Finding(Verdict.SIGNATURE_FAILS, text) for text in chain_troubles(keys)]
    if keys and place.is_there():
        try:
            place.find(keys[-1].verifier)
        except NoKeyError as error:
            troubles.append(Finding(Verdict.SIGNATURE_FAILS, str(error)))
    return keys, troubles


def _verdict(checked: Sequence[Checked], troubles: Sequence[Finding]) -> Verdict:
    return verdict_of([*troubles, *(finding for each in checked for finding in each.found.findings.values())])


def _told(checked: Sequence[Checked], troubles: Sequence[Finding]) -> Iterator[str]:
    for trouble in troubles:
        yield f"Keys: {trouble.text}"
    for each in checked:
        yield f"{each.tenant}: {_told_of(each.found)}"
        for finding in each.found.findings.values():
            more = f" (and {finding.count - 1:,} more)" if finding.count > 1 else ""
            yield f"  {finding.text}{more}"
        if each.found.first_seq is not None:
            yield f"  First bad seq: {each.found.first_seq}"
    yield _CONCLUSIONS[_verdict(checked, troubles)]


def _told_of(found: Found) -> str:
    state = "does not hold" if found.findings else "holds"
    root = "" if found.findings else f" Root: {base64.b64encode(found.root).decode()}"
    return (
        f"{state}. {found.events:,} events, {found.erased:,} of them erased, {found.sealed:,} in the ledger; "
        f"{found.stored:,} stored checkpoints, {found.external:,} of others.{root}"
    )


_CONCLUSIONS = {
    Verdict.HOLDS: "Everything holds.",
    Verdict.CONTENT_DIFFERS: "It does not hold: contents are not those that were recorded.",
    Verdict.PROOF_FAILS: "It does not hold: the log is not the one that was sealed.",
    Verdict.SIGNATURE_FAILS: "It does not hold: what is stored is not what was signed.",
    Verdict.INCOMPLETE: "It does not hold: events are missing.",
}

_EVENTS = "SELECT coalesce(sum(seq), 0)::bigint FROM rollbook.heads WHERE tenant_id = ANY ($1)"

# By whatever names one; a log whose head was deleted is found event by event, from tenant to tenant.
_TENANTS = """
    WITH RECURSIVE logs AS (
        (SELECT tenant_id FROM rollbook.events ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT tenant_id FROM rollbook.events WHERE tenant_id > logs.tenant_id ORDER BY tenant_id LIMIT 1)
        FROM logs
        WHERE tenant_id IS NOT NULL
    )
    SELECT tenant_id, (SELECT name FROM rollbook.tenants WHERE tenants.tenant_id = known.tenant_id) AS name
    FROM (
        SELECT tenant_id FROM logs WHERE tenant_id IS NOT NULL
        UNION
        SELECT tenant_id FROM rollbook.heads
        UNION
        SELECT tenant_id FROM rollbook.checkpoints
    ) AS known
    ORDER BY name, tenant_id
"""
