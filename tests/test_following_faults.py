"""Following in processes of its own, which are killed and stopped at random: nothing is lost, nothing done twice."""

import asyncio
import os
import random
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx
import psutil
import pytest

from api.services import Services
from engine import patch
from engine.catalog import USERS
from engine.resource import Values
from engine.user import PatchUser, ProvisionUser, Terms
from ops import administration
from ops.database import Database
from projections.follower import FOLLOWERS
from projections.rebuild import rebuild
from projections.target import follower_target
from tests.conftest import register
from tests.test_serve import ROLLBOOK, Service, command, is_alive, status, until
from tests.test_serve import Services as Processes


def children(pid: int) -> list[int]:
    """The processes that follow, without those that are dead."""
    return [each.pid for each in psutil.Process(pid).children() if "spawn_main" in command_line(each)]


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@asynccontextmanager
async def follow(database: Database, jobs: int) -> AsyncIterator[int]:
    """A `rollbook follow` as a process of its own: its pid."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ROLLBOOK_DATABASE_URL": database.owner_url, "ROLLBOOK_DATA": folder}
        process = await asyncio.create_subprocess_exec(
            ROLLBOOK, "follow", "--jobs", str(jobs), env=environment, stderr=subprocess.DEVNULL
        )
        try:
            yield process.pid
        finally:
            process.terminate()
            async with asyncio.timeout(10):
                assert await process.wait() == 0


async def write(services: Services, tenant_id: UUID, is_over: asyncio.Event) -> None:
    cause = administration.cause(tenant_id)
    while not is_over.is_set():
        person = uuid4()
        await services.engine.carry_out(ProvisionUser(Values({"userName": str(person)})), person, cause, Terms())
        operations = [
            {"op": "replace", "path": "active", "value": False},
            {"op": "add", "path": "role", "value": "admin"},
        ]
        command = PatchUser(patch.read({"Operations": operations}, USERS, []))
        await services.engine.carry_out(command, person, cause, Terms())
        await asyncio.sleep(0.02)


async def applied(owner: asyncpg.Connection) -> bool:
    behind = await owner.fetchval(
        """
        SELECT count(*)
        FROM rollbook.heads
        CROSS JOIN rollbook.projections
        LEFT JOIN rollbook.places ON places.tenant_id = heads.tenant_id AND follower = projections.name
        WHERE is_follower AND heads.seq IS DISTINCT FROM places.seq
        """
    )
    return bool(behind == 0)


async def wait_until_applied(owner: asyncpg.Connection) -> None:
    async with asyncio.timeout(30):
        while not await applied(owner):  # noqa: ASYNC110  what is waited for is in the database
            await asyncio.sleep(0.05)


async def differences(database: Database) -> list[object]:
    """Between what following has made, and what the log makes."""
    summaries = [await rebuild(database.owner_url, follower_target(each), swap=False) for each in FOLLOWERS]
    assert all(each.is_compared for each in summaries)
    return [found for each in summaries for found in each.differences]


async def test_processes_that_are_killed_and_stopped_at_random_lose_nothing_and_double_nothing(
    services: Services, database: Database, owner: asyncpg.Connection
) -> None:
    chance, is_over = random.Random(), asyncio.Event()
    tenants = [await register(services, f"tenant {number}") for number in range(12)]
    writing = [asyncio.create_task(write(services, tenant_id, is_over)) for tenant_id in tenants]

    async with follow(database, 2) as one, follow(database, 1) as other:
        for _ in range(12):
            await asyncio.sleep(chance.uniform(0.2, 0.7))
            if following := children(one) + children(other):
                os.kill(chance.choice(following), chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))
        is_over.set()
        await asyncio.gather(*writing)
        await wait_until_applied(owner)

    assert await differences(database) == []
    seats = await owner.fetch("SELECT count(*), count(DISTINCT (tenant_id, seq)) FROM rollbook.seat_changes")
    assert seats[0][0] == seats[0][1] > 100
    assert await owner.fetchval("SELECT count(*) FROM rollbook.places WHERE parked_at IS NOT NULL") == 0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(tmp_path, stack)


def create_people(service: Service, token: str, count: int) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=15) as client:
        for _ in range(count):
            client.post(f"{service.url}/scim/v2/Users", json={"userName": str(uuid4())})


def all_applied(processes: Processes) -> bool:
    rows = command("followers", data=processes.data).stdout.splitlines()[1:]
    return len(rows) == len(FOLLOWERS) and all(row.split()[2] == "0" for row in rows)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_service_starts_the_process_that_follows_again_and_says_so_without_personal_data(
    processes: Processes, number: signal.Signals
) -> None:
    service = processes.start()
    assert until(lambda: children(service.process.pid))
    [first] = children(service.process.pid)
    os.kill(first, number)
    create_people(service, service.token, 5)

    assert until(lambda: children(service.process.pid) not in ([first], []))
    assert until(lambda: all_applied(processes))
    assert not is_alive(first)
    service.end()
    log = (processes.data.parent / "serve.log").read_text()
    assert "a process that follows was started again" in log
    assert "userName" not in log
    assert "Traceback" not in log


def test_followers_survive_a_kill_of_postgres_and_end_with_a_service_that_was_killed(processes: Processes) -> None:
    service = processes.start()
    assert until(lambda: status(f"{service.url}/readyz") == 200)
    create_people(service, service.token, 20)
    os.kill(service.postmaster, signal.SIGKILL)
    create_people(service, service.token, 20)
    assert until(lambda: status(f"{service.url}/readyz") == 200)
    create_people(service, service.token, 20)
    following = children(service.process.pid)
    service.process.kill()
    service.process.wait()
    assert until(lambda: not any(is_alive(pid) for pid in following))

    processes.start()
    assert until(lambda: all_applied(processes))
    checked = command("replay", "--check", *(each.name for each in FOLLOWERS), data=processes.data)
    assert (checked.returncode, checked.stdout.count("no differences")) == (0, len(FOLLOWERS)), checked.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_ends_with_a_stopped_follower_as_it_does_without(
    processes: Processes, number: signal.Signals
) -> None:
    service = processes.start()
    assert until(lambda: children(service.process.pid))
    following = children(service.process.pid)
    os.kill(following[0], signal.SIGSTOP)
    service.process.send_signal(number)

    assert service.process.wait(10) == 0
    assert not any(is_alive(pid) for pid in following)
