"""`rollbook follow`: keeps followers up to date, in as many processes as wanted; also as a child of the service."""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NoReturn

import asyncpg
import psutil
import structlog
import uvloop

from ops import logs
from ops.database import Database
from ops.deliveries import Deliveries
from ops.destinations import destinations, seconds_between
from ops.ledger_key import KeyPlace, prepare_key
from ops.retention import keep_pruning, request_log_days
from ops.trouble import Trouble
from projections.claim import AlreadyRunningError
from projections.follower import FOLLOWERS, Follower
from projections.followers import FollowerStatus
from projections.following import TURNS, Following
from projections.ledger import Ledger
from projections.processes import end_with_parent
from projections.rebuild import rebuild
from projections.signer import NoKeyError, Signer
from projections.signing import Signing
from projections.target import follower_target

PAUSE = 1.0  # seconds between two looks whether all processes are there
AGAIN = 30.0  # seconds before a rebuild that failed is tried again
UNREACHABLE = 1.0  # seconds until a database that is away is asked again

_log = structlog.get_logger("rollbook")


def followers_named(names: Sequence[str]) -> Sequence[Follower]:
    """All of them if none is named. Raises Trouble if there is no such follower."""
    known = {each.name: each for each in FOLLOWERS}
    if unknown := set(names).difference(known):
        raise Trouble(f"There is no follower {min(unknown)}. There are: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)] or FOLLOWERS


class Processes:
    """Processes that follow, started again if they die or are stopped, ended together."""

    def __init__(self, database: Database, followers: Sequence[Follower], jobs: int, data: Path) -> None:
        self._arguments = (database.service_url, database.owner_url, [each.name for each in followers], data)
        self._jobs = jobs
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        self._keeper.start()

    def stop(self) -> None:
        self._stop.set()
        self._keeper.join()

    def _keep(self) -> None:
        running = [_started(*self._arguments) for _ in range(self._jobs)]
        while not self._stop.wait(PAUSE):
            for place, process in enumerate(running):
                if not _is_running(process):
                    _end(process)
                    _log.warning("a process that follows was started again", exitcode=process.exitcode)
                    running[place] = _started(*self._arguments)
        for process in running:
            _end(process)


def _is_running(process: SpawnProcess) -> bool:
    """Not if it is stopped by SIGSTOP, either: it would follow nothing, for as long as nobody wakes it."""
    try:
        status: str = psutil.Process(process.pid).status()
    except psutil.NoSuchProcess:
        return False
    return process.is_alive() and status != psutil.STATUS_STOPPED


def _end(process: SpawnProcess) -> None:
    """At once, and even if it is stopped: nothing is lost with it."""
    process.kill()
    process.join()


def until_stopped(database: Database, followers: Sequence[Follower], jobs: int, data: Path) -> None:
    """Follow until SIGTERM or SIGINT."""
    stopped = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stopped.set())
    processes = Processes(database, followers, jobs, data)
    processes.start()
    stopped.wait()
    processes.stop()


def table_of(found: Sequence[FollowerStatus]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """What `rollbook followers` shows of each: a header, and rows."""
    versions = {each.name: each.version for each in FOLLOWERS}
    rows = [
        [
            each.name,
            _version(each.version, versions.get(each.name)),
            f"{each.tenants_behind:,}",
            f"{each.events_behind:,}",
            _duration(each.oldest_lag),
            f"{each.parked_tenants:,}",
        ]
        for each in found
    ]
    return ["follower", "version", "tenants behind", "events behind", "oldest lag", "parked"], rows


def _version(installed: int, ours: int | None) -> str:
    if ours is None:
        return f"{installed} (unknown to this program)"
    if installed > ours:
        return f"{installed} (this program knows {ours})"
    return f"{installed}" if installed == ours else f"{installed} (being rebuilt for {ours})"


def _duration(seconds: float) -> str:
    """Short enough for a column: 0.3 s, 5 min, 7 h, 12 days."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3_600, 48)):
        if seconds < length * most:
            return f"{seconds / length:.{int(unit == 's')}f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def parked_lines(found: Sequence[FollowerStatus]) -> Iterator[str]:
    """A line for each parked tenant, those first that have been so for longest, as far as a screen holds them."""
    for each in found:
        for parked in each.parked:
            tries = f"{parked.attempts:,} {'try' if parked.attempts == 1 else 'tries'}"
            yield (
                f"parked: {each.name}, tenant {parked.tenant or parked.tenant_id}, seq {parked.seq}: {parked.error} "
                f"({tries} in {_duration(parked.seconds)})"
            )
        if more := each.parked_tenants - len(each.parked):
            yield f"parked: {each.name}, {more:,} more tenants"


def prepare_signing(database: Database, data: Path) -> None:
    """Make the ledger's key at the first start. What keeps us from signing is logged, and keeps us from nothing else.

    Raises Trouble if a setting is none.
    """
    destinations()
    seconds_between()
    try:
        asyncio.run(prepare_key(database.owner_url, KeyPlace(data)))
    except NoKeyError as error:
        _log.error("checkpoints are not signed", reason=str(error))


def _started(service_url: str, owner_url: str, names: Sequence[str], data: Path) -> SpawnProcess:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=follow_in_child, args=(service_url, owner_url, names, data), daemon=True)
    process.start()
    return process


def follow_in_child(service_url: str, owner_url: str, names: Sequence[str], data: Path) -> None:
    """Follow until the parent ends it, or is gone; at any moment, for nothing is lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, to all; the parent decides
    logs.configure()
    end_with_parent()
    uvloop.run(follow(service_url, owner_url, followers_named(names), data))


async def follow(service_url: str, owner_url: str, followers: Sequence[Follower], data: Path) -> NoReturn:
    """Follow, sign checkpoints, rebuild those followers whose tables an older version of the program made, and prune
    the request log."""
    async with (
        asyncpg.create_pool(
            service_url, min_size=0, max_size=TURNS + 4, command_timeout=60, reset=_leave_as_it_is
        ) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(_keep_current(pool, owner_url, followers))
        tasks.create_task(Following(pool, followers).run())
        tasks.create_task(keep_pruning(pool, owner_url, request_log_days()))
        tasks.create_task(Signing(pool, Signer(pool, Ledger(pool), KeyPlace(data).find)).run())
        for destination in destinations():
            tasks.create_task(Deliveries(pool, destination, seconds_between()).run())
    raise AssertionError("following does not end")


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """What a turn sets, it sets for its transaction."""


async def _keep_current(pool: asyncpg.Pool, owner_url: str, followers: Sequence[Follower]) -> None:
    """The old version's tables serve until the new one's are ready; those of a newer one are not ours."""
    for follower in followers:
        while await _installed_version(pool, follower) < follower.version:
            try:
                await rebuild(owner_url, follower_target(follower), resume=True)
            except AlreadyRunningError:  # somebody else does it
                await asyncio.sleep(AGAIN)
            except Exception as error:  # noqa: BLE001  tried again
                _log.error("a follower cannot be rebuilt", follower=follower.name, error=type(error).__name__)
                await asyncio.sleep(AGAIN)
            else:
                _log.info("rebuilt for this version", follower=follower.name, version=follower.version)


async def _installed_version(pool: asyncpg.Pool, follower: Follower) -> int:
    while True:
        try:
            version = await pool.fetchval("SELECT version FROM rollbook.projections WHERE name = $1", follower.name)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # the database is away
            await asyncio.sleep(UNREACHABLE)
        else:
            return int(version or 0)
