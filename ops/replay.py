"""`rollbook replay`: rebuilds with their progress, their differences and their summaries on the terminal."""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import typer

from ops.progress import progress
from ops.roster import tenants_named
from ops.trouble import Trouble
from projections.build import CannotApplyError
from projections.checks import note_failed_replay
from projections.claim import AlreadyRunningError
from projections.comparison import Difference
from projections.connections import connected
from projections.rebuild import (
    OtherVersionError,
    Summary,
    TablesInUseError,
    TablesNeededError,
    rebuild,
)
from projections.target import Target
from projections.workers import WorkerDiedError

JOBS = min(os.cpu_count() or 1, 4)

_REFUSED = (
    AlreadyRunningError,
    CannotApplyError,
    OtherVersionError,
    TablesInUseError,
    TablesNeededError,
    WorkerDiedError,
)
_INTERRUPTED = (
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    OSError,
)


def run(  # noqa: PLR0913  what an operator can choose
    owner_url: str, targets: Sequence[Target], tenant_id: UUID | None, *, check: bool, resume: bool, jobs: int
) -> int:
    """Rebuild, or compare only; the exit code: 1 if a comparison found differences."""
    found = False
    for target in targets:
        summary = _rebuild(owner_url, target, tenant_id, swap=not check, resume=resume, jobs=jobs)
        for difference in summary.differences:
            typer.echo(text_of(difference))
        if summary.more:
            typer.echo(f"... and {summary.more:,} more.")
        typer.echo(summary_text(summary))
        found = found or bool(summary.differences)
    return 1 if check and found else 0


async def tenant_id_of(url: str, name: str) -> UUID:
    """The tenant of this name, by the log: its row may be what is to be mended. Raises Trouble if there is none."""
    connection = await asyncpg.connect(url)
    try:
        [(_, tenant_id)] = await tenants_named(connection, name)
        return tenant_id
    finally:
        await connection.close()


def _rebuild(  # noqa: PLR0913  what an operator can choose
    owner_url: str, target: Target, tenant_id: UUID | None, *, swap: bool, resume: bool, jobs: int
) -> Summary:
    started = time.monotonic()
    with progress(_title(sorted(target.names)), "events") as report:
        try:
            return asyncio.run(
                rebuild(owner_url, target, tenant_id=tenant_id, swap=swap, resume=resume, jobs=jobs, progress=report)
            )
        except _REFUSED as error:
            if isinstance(error, CannotApplyError) and not swap:
                asyncio.run(_remember_failure(owner_url, target, tenant_id, time.monotonic() - started))
            raise Trouble(str(error)) from None
        except _INTERRUPTED as error:
            raise Trouble(
                f"The replay lost the database ({_first_line(error)}). The live tables are whole; go on with --resume."
            ) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted. The live tables are whole; go on with --resume.", err=True)
            raise
        except asyncpg.InsufficientPrivilegeError as error:
            raise Trouble(
                f"The role in ROLLBOOK_DATABASE_URL cannot replay ({_first_line(error)}). It must be able to "
                f"create schemas in this database and to act as rollbook_owner."
            ) from None


async def _remember_failure(owner_url: str, target: Target, tenant_id: UUID | None, seconds: float) -> None:
    async with connected(owner_url) as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE rollbook_owner")
        await note_failed_replay(connection, sorted(target.names), tenant_id, seconds)


def _first_line(error: BaseException) -> str:
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):  # only what came of it
        error = error.__context__ or ConnectionError("the connection broke")
    return (str(error) or type(error).__name__).splitlines()[0]


def text_of(difference: Difference) -> str:
    key = " ".join(f"{name}={value}" for name, value in difference.key.items())
    last = "no event" if difference.last_seq is None else f"last event: seq {difference.last_seq}"
    row = f"{difference.table} {key} (tenant {difference.tenant or 'unknown'}, {last}):"
    if difference.live is None:
        return f"{row} is missing; the log says {_json(difference.rebuilt)}"
    if difference.rebuilt is None:
        return f"{row} is there, but not by the log: {_json(difference.live)}"
    columns = [
        f"{name} is {_json(difference.live[name])}, by the log {_json(difference.rebuilt[name])}"
        for name in difference.columns()
    ]
    return f"{row} {'; '.join(columns)}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _title(names: Sequence[str]) -> str:
    return ", ".join(names)


def summary_text(summary: Summary) -> str:
    rate = summary.events / max(summary.build_seconds, 0.001)
    count = len(summary.differences) + summary.more
    parts = [
        f"{_title(summary.names)}: {summary.events:,} events in {summary.build_seconds:.1f} s "
        + ("after what an earlier replay had built" if summary.is_resumed else f"({rate:,.0f}/s)"),
        _compared(summary, count),
    ]
    if summary.pause is not None:
        parts.append(f"the rebuilt rows are in use; writers waited for {summary.pause * 1000:.0f} ms")
    return "; ".join(parts) + "."


def _compared(summary: Summary, count: int) -> str:
    if not summary.is_compared:
        return "nothing to compare with, for the live rows were of another version or far behind"
    return f"{count:,} difference{'s' * (count != 1)}" if count else "no differences"
