"""`rollbook replay --as-of`: the people as they were then, as a file."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec

from api import v1_types
from api.export import cell, csv_line
from engine import tenant
from engine.user import User
from ops.files import new_file
from ops.trouble import Trouble
from projections.as_of import first_moment, last_seq, people_as_of, seq_at, tenants_of_log

COLUMNS = (
    "tenant",
    "id",
    "userName",
    "active",
    "role",
    "is_deleted",
    "displayName",
    "title",
    "externalId",
    "microsoftId",
    "version",
    "created_at",
    "modified_at",
    "deleted_at",
    "attributes",
)
MOST_NAMES = 20  # that a message lists

Line = Callable[[str, User], bytes]


def moment_of(text: str, option: str = "--as-of") -> datetime:
    """A date is its beginning; a time without a zone is UTC. Raises Trouble if it is neither, or not yet."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Trouble(
            f"{option} takes a date or a time, such as 2026-11-23 or 2026-11-23T09:00:00Z, not {text!r}."
        ) from None
    try:
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        raise Trouble(f"{option} {text} is before the year 1.") from None
    if moment > datetime.now(UTC):
        raise Trouble(f"{option} {text} is not yet; the log knows what was.")
    return moment


async def write_roster(url: str, name: str | None, moment: datetime | int, into: Path) -> str:
    """Write everybody of a tenant, or of all, as of a time, or after the event of a seq; what there is to say about it.

    Raises Trouble if there is no such tenant, the file cannot be written, or a log does not reach so far.
    """
    line = _lines_of(into)
    connection = await asyncpg.connect(url)
    try:
        tenants = await tenants_named(connection, name)
        places = [(name, tenant_id, await _seq(connection, name, tenant_id, moment)) for name, tenant_id in tenants]
        with new_file(into) as file:
            count = 0
            if line is csv_row:
                file.write(csv_line(COLUMNS))
            for called, tenant_id, seq in places:
                async for person in people_as_of(connection, tenant_id, seq):
                    file.write(line(called, person))
                    count += 1
        told = f"{count:,} {'person' if count == 1 else 'people'} in {into}."
        if not any(seq for _, _, seq in places) and (begun := await first_moment(connection, tenants)):
            told += f" Nothing had happened by then: the log begins at {begun.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}."
        return told
    finally:
        await connection.close()


async def tenants_named(connection: asyncpg.Connection, name: str | None) -> Sequence[tuple[str, UUID]]:
    """The tenant of this name, or all, by the log. Raises Trouble if there is no such tenant."""
    if name is None:
        return await tenants_of_log(connection)
    store_id = await connection.fetchval("SELECT id FROM rollbook.store")
    if found := await tenants_of_log(connection, tenant.tenant_id_of(store_id, name)):
        return found
    names = [each for each, _ in await tenants_of_log(connection)]
    known = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    raise Trouble(f"There is no tenant {name!r}. There are: {known or 'none yet'}.")


async def _seq(connection: asyncpg.Connection, name: str, tenant_id: UUID, moment: datetime | int) -> int:
    if isinstance(moment, datetime):
        return await seq_at(connection, tenant_id, moment)
    last = await last_seq(connection, tenant_id)
    if moment > last:
        raise Trouble(f"The log of {name} ends at seq {last:,}; there is no {moment:,} yet.")
    return moment


def _lines_of(into: Path) -> Line:
    lines: dict[str, Line] = {".ndjson": json_line, ".jsonl": json_line, ".csv": csv_row}
    if line := lines.get(into.suffix.lower()):
        return line
    raise Trouble(f"--into takes a file whose name ends in {', '.join(lines)}, not {str(into)!r}.")


def json_line(tenant: str, person: User) -> bytes:
    return msgspec.json.encode({"tenant": tenant, **v1_types.person(person)}) + b"\n"


def csv_row(tenant: str, person: User) -> bytes:
    """RFC 4180, with a quotation mark before what a spreadsheet would take for a formula."""
    values = {"tenant": tenant, **v1_types.person(person), "attributes": person.attributes}
    return csv_line([cell(values.get(name)) for name in COLUMNS])
