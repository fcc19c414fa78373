"""`rollbook bench replay`: rebuilds of a large log beside a plain read of it, as ratios.

What a rebuild is measured against is the fastest way to read the same columns at all: COPY, in no order, to a client
that throws them away. The two take turns, so that a machine that is slow for a while is slow for both.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from uuid import UUID

import asyncpg
import typer
import uvloop
from msgspec import Struct

from ops.bench_log import COMMANDS, fill
from ops.database import Database, prepare
from ops.postgres import EmbeddedPostgres
from ops.progress import progress
from ops.replay import JOBS
from ops.tables import show_table
from projections.rebuild import rebuild
from projections.target import Target, inline_target, targets

COLUMNS = "tenant_id, stream_id, version, source, data, recorded_at, seq"  # what a rebuild reads


class Scale(Struct, frozen=True):
    """How much is measured."""

    tenants: int
    users: int  # of each tenant
    turns: int


FULL = Scale(tenants=10, users=25_000, turns=3)
QUICK = Scale(tenants=10, users=500, turns=1)


def run(*, quick: bool) -> None:
    scale = QUICK if quick else FULL
    # A folder that goes away, but a Postgres that keeps its promises.
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data") as postgres:
        database = Database(postgres.url(), postgres.url("rollbook_service"), postgres)
        asyncio.run(prepare(database))
        uvloop.run(measure(database, scale))


async def measure(database: Database, scale: Scale) -> None:
    """Fill an empty store, measure, and show the figures."""
    with progress("Preparing", "events") as report:
        tenants = await fill(database, scale.tenants, scale.users, report)
    count = scale.tenants * scale.users * len(COMMANDS)
    typer.echo(f"Rebuilds of {count:,} events of {count // len(COMMANDS):,} people, with {JOBS} jobs:")
    rows = [await _row(database, target, scale.turns) for target in targets()]
    show_table(["", "events/s", "COPY rows/s", "ratio", "seconds in all"], rows)
    growth = await _growth(database, tenants)
    typer.echo(f"\nGrowth: {len(tenants)} times the events take {growth:.1f} times as long.")


async def _row(database: Database, target: Target, turns: int) -> list[str]:
    """Rates of the build, indexes included, beside rates of COPY; and the time with comparison and swap."""
    copies, rates, seconds = [], [], []
    for _ in range(turns):
        copies.append(await _copy(database))
        started = time.perf_counter()
        summary = await rebuild(database.owner_url, target, jobs=JOBS)
        seconds.append(time.perf_counter() - started)
        rates.append(summary.events / summary.build_seconds)
    ratio = median(rate / copy for rate, copy in zip(rates, copies, strict=True))
    return [
        ", ".join(sorted(target.names)),
        f"{median(rates):,.0f}",
        f"{median(copies):,.0f}",
        f"{ratio:.3f}",
        f"{median(seconds):.1f}",
    ]


async def _copy(database: Database) -> float:
    """Rows a second."""

    async def throw_away(_: bytes) -> None:
        pass

    connection = await asyncpg.connect(database.owner_url)
    started = time.perf_counter()
    done = await connection.copy_from_query(f"SELECT {COLUMNS} FROM rollbook.events", output=throw_away)  # noqa: S608  constants
    seconds = time.perf_counter() - started
    await connection.close()
    return int(done.split()[1]) / seconds


async def _growth(database: Database, tenants: Sequence[UUID]) -> float:
    """How many times as long all tenants take as one of them, which is of the same size as each other."""
    one = await rebuild(database.owner_url, inline_target(), tenant_id=tenants[0], swap=False, jobs=JOBS)
    every = await rebuild(database.owner_url, inline_target(), swap=False, jobs=JOBS)
    return every.build_seconds / one.build_seconds
