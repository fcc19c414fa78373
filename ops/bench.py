"""`rollbook bench`: the service beside a bare Starlette server, on one machine and one Postgres, as ratios.

The two take turns, so that a machine that is slow for a while is slow for both; each figure is the median of its turns.
"""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from uuid import UUID

import asyncpg
import msgspec
import typer
import uvloop
from msgspec import Struct

from api.composition import open_services
from ops import baseline
from ops.bench_data import SMALL_HISTORY, Prepared, json_user, prepare_store
from ops.bench_groups import FEW, additions, switch_on
from ops.database import OWNER_URL, Database, prepare
from ops.load import Measured, measure, prepared
from ops.postgres import EmbeddedPostgres
from ops.tables import show_table
from ops.trouble import Trouble

CONNECTIONS = 16
IN_BULK = 500  # operations of one bulk request
SCIM = "/scim/v2"
USERS = f"{SCIM}/Users"

Requests = Callable[[], Iterator[bytes]]


class Scale(Struct, frozen=True):
    """How much is measured."""

    seconds: float  # of one turn
    turns: int
    few_users: int
    many_users: int
    newcomers: int  # to the groups: more than are added meanwhile
    long_history: int


FULL = Scale(seconds=3, turns=5, few_users=1_000, many_users=100_000, newcomers=10_000, long_history=5_000)
QUICK = Scale(seconds=0.5, turns=3, few_users=500, many_users=5_000, newcomers=1_000, long_history=300)


def run(*, quick: bool) -> None:
    scale = QUICK if quick else FULL
    # A folder that goes away, but a Postgres that keeps its promises: the price of a commit is part of the measure.
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data") as postgres:
        database = Database(postgres.url(), postgres.url("rollbook_service"), postgres)
        typer.echo(f"Preparing {scale.many_users:,} users and {scale.long_history:,} events of one of them ...")
        store = asyncio.run(_prepare(database, scale))
        for workers in (1, 2):
            with servers(database, workers) as (ours, bare):
                uvloop.run(_throughput(store, scale, workers, ours, bare))
                if workers == 1:
                    uvloop.run(_bulk(store, scale, ours))
                    uvloop.run(_growth(database, store, scale, ours))


async def _prepare(database: Database, scale: Scale) -> Prepared:
    await prepare(database)
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute(baseline.TABLE)
    await connection.close()
    async with open_services(database.service_url) as services:
        found = await prepare_store(services, scale.few_users, scale.many_users, scale.newcomers, scale.long_history)
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return found


@contextmanager
def servers(database: Database, workers: int) -> Iterator[tuple[int, int]]:
    """The service and the bare server, each with so many processes; their ports."""
    ours, bare = free_port(), free_port()
    environment = {**os.environ, OWNER_URL: database.owner_url, baseline.URL: database.owner_url}
    rollbook = [sys.executable, "-c", "from ops.cli import main; main()", "serve"]
    uvicorn = [sys.executable, "-m", "uvicorn", "--factory", "ops.baseline:application", "--no-access-log"]
    count = ["--workers", str(workers)]
    with ExitStack() as stack:
        for command in ([*rollbook, "--port", str(ours), *count], [*uvicorn, "--port", str(bare), *count]):
            stack.enter_context(_running(command, environment))
        for port in (ours, bare):
            _wait_for(port)
        yield ours, bare


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)  # noqa: S603  our own commands
    try:
        yield
    finally:
        process.terminate()
        process.wait(15)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            time.sleep(0.5)  # further workers
            return
    raise Trouble("A server of the benchmark did not start. Try: rollbook serve --port 0")


async def _throughput(store: Prepared, scale: Scale, workers: int, ours: int, bare: int) -> None:
    """Requests a second with 16 connections, each kind in turns with the bare server's INSERT."""
    kinds: dict[str, tuple[Requests, int]] = {
        "create": (lambda: creations(USERS, store.token), 201),
        "change": (lambda: changes(store, store.user_ids), 200),
        "read": (lambda: reads(store), 200),
        "match": (lambda: matches(store.token, store.few_names), 200),
    }
    rows = []
    for name, (requests, status) in kinds.items():
        bares: list[Measured] = []
        found: list[Measured] = []
        for _ in range(scale.turns):
            bares.append(await _turn(bare, lambda: creations("/Users", "none"), 201, scale.seconds))
            found.append(await _turn(ours, requests, status, scale.seconds))
        rows.append([name, *_figures(found), f"{median(each.rate for each in bares):,.0f}", _ratio(found, bares)])
    typer.echo(f"\n{workers} worker{'s' * (workers > 1)}, {CONNECTIONS} connections, one tenant:")
    show_table(["", "requests/s", "p50 ms", "p99 ms", "bare INSERT/s", "ratio"], rows)


async def _turn(port: int, requests: Requests, status: int, seconds: float, connections: int = CONNECTIONS) -> Measured:
    return await measure(port, requests, status=status, seconds=seconds, connections=connections)


def _figures(found: list[Measured]) -> list[str]:
    medians = (
        median(each.rate for each in found),
        median(each.p50 for each in found),
        median(each.p99 for each in found),
    )
    return [f"{medians[0]:,.0f}", f"{medians[1]:.2f}", f"{medians[2]:.2f}"]


def _ratio(found: list[Measured], bares: list[Measured]) -> str:
    return f"{median(each.rate / other.rate for each, other in zip(found, bares, strict=True)):.2f}"


async def _growth(database: Database, store: Prepared, scale: Scale, ours: int) -> None:
    """What a request costs as the store grows: its median time on one connection, in turns."""
    pairs: list[tuple[str, Requests, Requests]] = [
        (
            f"match among {scale.many_users:,} users, to {scale.few_users:,}",
            lambda: matches(store.many_token, store.many_names),
            lambda: matches(store.token, store.few_names),
        ),
        (
            f"change after {scale.long_history:,} events, to {SMALL_HISTORY}",
            lambda: changes(store, [store.long_history_id]),
            lambda: changes(store, store.short_history_ids),
        ),
    ]
    rows = [[name, await _times(scale, ours, large, small)] for name, large, small in pairs]
    async with open_services(database.service_url) as services:
        await switch_on(services, store.groups)
    to_large = additions(store.groups, [store.groups.large_id])
    to_small = additions(store.groups, store.groups.small_ids)
    found = await _times(scale, ours, lambda: to_large, lambda: to_small)
    rows.append([f"add one member to {scale.many_users:,}, to {FEW}", found])
    typer.echo("\nGrowth, as ratios of median times on one connection:")
    show_table(["", "ratio"], rows)


async def _times(scale: Scale, ours: int, large: Requests, small: Requests) -> str:
    """How many times as long the one takes as the other."""
    ratios = []
    for _ in range(scale.turns):
        few = await _turn(ours, small, 200, scale.seconds / 2, 1)
        many = await _turn(ours, large, 200, scale.seconds / 2, 1)
        ratios.append(many.p50 / few.p50)
    return f"{median(ratios):.2f}"


async def _bulk(store: Prepared, scale: Scale, ours: int) -> None:
    """Creations a second on one connection: many in one request, against one in each, in turns."""
    ratios = []
    for _ in range(scale.turns):
        single = await _turn(ours, lambda: creations(USERS, store.token), 201, scale.seconds, 1)
        bulk = await _turn(ours, lambda: bulks(store.token), 200, scale.seconds, 1)
        ratios.append(bulk.rate * IN_BULK / single.rate)
    typer.echo(f"\nBulk, {IN_BULK} creations in a request, to one in each, on one connection: {median(ratios):.1f}")


def creations(path: str, token: str) -> Iterator[bytes]:
    while True:
        yield prepared("POST", path, token, json_user())


def bulks(token: str) -> Iterator[bytes]:
    while True:
        operations = [
            {"method": "POST", "path": "/Users", "bulkId": str(number), "data": msgspec.Raw(json_user())}
            for number in range(IN_BULK)
        ]
        yield prepared("POST", f"{SCIM}/Bulk", token, msgspec.json.encode({"Operations": operations}))


def changes(store: Prepared, user_ids: list[UUID]) -> Iterator[bytes]:
    for number, user_id in enumerate(itertools.cycle(user_ids)):
        operation = {"op": "Replace", "path": "title", "value": f"Engineer {time.monotonic_ns()} {number}"}
        yield prepared("PATCH", f"{USERS}/{user_id}", store.token, msgspec.json.encode({"Operations": [operation]}))


def reads(store: Prepared) -> Iterator[bytes]:
    for user_id in itertools.cycle(store.user_ids):
        yield prepared("GET", f"{USERS}/{user_id}", store.token)


def matches(token: str, names: list[str]) -> Iterator[bytes]:
    for name in itertools.cycle(names):
        yield prepared("GET", f"{USERS}?filter=userName+eq+%22{name.replace('@', '%40')}%22", token)
