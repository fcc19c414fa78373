"""`rollbook replay`: the rebuild with its progress, its differences and its summary on the terminal."""

import asyncio
import json
import time
from uuid import UUID

import asyncpg
import typer

from ops.progress import progress
from ops.trouble import Trouble
from projections.rebuild import AlreadyRunningError, Difference, Summary, rebuild


def run(owner_url: str, tenant_id: UUID | None, *, check: bool) -> int:
    """Rebuild, or compare only; the exit code: 1 if a comparison found differences."""
    started = time.monotonic()
    with progress("replay", "events") as report:
        try:
            summary = asyncio.run(rebuild(owner_url, tenant_id=tenant_id, swap=not check, progress=report))
        except AlreadyRunningError as error:
            raise Trouble(str(error)) from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise Trouble(
                f"The role in ROLLBOOK_DATABASE_URL cannot replay ({str(error).splitlines()[0]}). It must be able to "
                f"create schemas in this database and to act as rollbook_owner."
            ) from None
    for difference in summary.differences:
        typer.echo(text_of(difference))
    typer.echo(_summary_text(summary, time.monotonic() - started))
    return 1 if check and summary.differences else 0


def text_of(difference: Difference) -> str:
    key = " ".join(f"{name}={value}" for name, value in difference.key.items())
    if difference.live is None:
        return f"{difference.table} {key}: is missing; the log says {_json(difference.rebuilt)}"
    if difference.rebuilt is None:
        return f"{difference.table} {key}: is there, but not by the log: {_json(difference.live)}"
    columns = [
        f"{name} is {_json(difference.live[name])}, by the log {_json(difference.rebuilt[name])}"
        for name in difference.columns()
    ]
    return f"{difference.table} {key}: {'; '.join(columns)}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _summary_text(summary: Summary, seconds: float) -> str:
    rate = summary.events / max(seconds, 0.001)
    found = f"{len(summary.differences)} differences" if summary.differences else "no differences"
    ended = "; the rebuilt tables are in use" if summary.swapped else ""
    return f"{summary.events:,} events in {seconds:.1f} s ({rate:,.0f}/s): {found}{ended}."
