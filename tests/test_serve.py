"""The service as a process: first start, health, a clean end, and what survives a `kill -9`."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

ROLLBOOK = Path(sys.prefix) / "bin" / "rollbook"
TOKEN = re.compile(r"rb_[a-z2-7]{84}")


def command(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROLLBOOK_")}
    return subprocess.run(  # noqa: S603  our own command
        [ROLLBOOK, *arguments, "--data", str(data)], capture_output=True, text=True, env=environment, check=False
    )


class Service:
    """A `rollbook serve` of its own, on a free port."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROLLBOOK_")}
        self._log = (data.parent / "serve.log").open("w")
        self.process = subprocess.Popen(  # noqa: S603  our own command
            [ROLLBOOK, "serve", "--port", "0", "--data", str(data), *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self.screen = self._read_screen()
        self.url = self.screen.split("Health")[1].split()[0].removesuffix("/readyz")

    def _read_screen(self) -> str:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("Health"):
                return "".join(lines)
        raise AssertionError((self.data.parent / "serve.log").read_text())

    @property
    def token(self) -> str:
        found = TOKEN.search(self.screen.partition("Secret token")[2])
        assert found, self.screen
        return found[0]

    @property
    def postmaster(self) -> int:
        return int((self.data / "postgres" / "postmaster.pid").read_text().splitlines()[0])

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)
        if self.process.returncode == -signal.SIGKILL:  # its Postgres lives on, for the next start
            with suppress(OSError, psutil.NoSuchProcess):
                postmaster = psutil.Process(self.postmaster)
                postmaster.send_signal(signal.SIGINT)
                postmaster.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


class Services:
    """Starts services that are ended with the test."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.data = folder / "data"
        self._stack = stack

    def start(self, *arguments: str) -> Service:
        service = Service(self.data, *arguments)
        self._stack.callback(service.close)
        return service


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(tmp_path, stack)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(true: object, seconds: float = 15) -> bool:
    """Whether a callable comes true in time."""
    assert callable(true)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def status(url: str, token: str | None = None) -> int:
    try:
        return httpx.get(url, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=5).status_code
    except httpx.TransportError:
        return 0


def test_the_first_start_shows_a_token_that_works_and_later_ones_how_to_get_another(services: Services) -> None:
    service = services.start()
    assert f"{service.url}/scim/v2" in service.screen
    assert "valid until" in service.screen
    assert until(lambda: status(f"{service.url}/readyz") == 200)
    assert status(f"{service.url}/scim/v2/Users", service.token) == 200
    assert f"{service.url}/console" in service.screen
    for_console = TOKEN.findall(service.screen)[0]
    signed_in = httpx.post(
        f"{service.url}/console/sign-in", data={"token": for_console}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/console")
    first_token = service.token
    assert service.end() == 0

    again = services.start()
    assert TOKEN.search(again.screen) is None
    assert f"{again.url}/console" in again.screen
    assert "rollbook token issue" in again.screen
    assert "--scope admin" in again.screen
    assert until(lambda: status(f"{again.url}/scim/v2/Users", first_token) == 200)


def test_the_end_drains_requests_and_takes_postgres_along(services: Services) -> None:
    service = services.start()
    assert until(lambda: status(f"{service.url}/readyz") == 200)
    postmaster = service.postmaster
    answers: list[int] = []

    def create_many() -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {service.token}"}) as client:
            for number in range(100_000):
                try:
                    answers.append(
                        client.post(f"{service.url}/scim/v2/Users", json={"userName": str(number)}).status_code
                    )
                except httpx.TransportError:
                    return

    working = threading.Thread(target=create_many)
    working.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert service.end() == 0
    assert time.monotonic() - started < 10
    working.join()
    assert set(answers) == {201}
    assert until(lambda: not is_alive(postmaster))
    listed = command("replay", "--check", data=services.data)
    assert (listed.returncode, "no differences" in listed.stdout) == (0, True)


def test_two_workers_answer_and_end_together(services: Services) -> None:
    service = services.start("--workers", "2")
    assert until(lambda: status(f"{service.url}/readyz") == 200)
    assert service.end() == 0
    assert status(f"{service.url}/healthz") == 0


def test_the_end_writes_the_last_requests_of_every_worker(services: Services) -> None:
    service = services.start("--workers", "2")
    answers = [status(f"{service.url}/scim/v2/Users", service.token) for _ in range(40)]  # each by whoever is free
    assert service.end() == 0

    listed = command("audit", "requests", "--tenant", "default", data=services.data)

    assert answers == [200] * 40
    assert [json.loads(line)["status"] for line in listed.stdout.splitlines()] == answers, listed.stderr


def test_workers_do_not_outlive_a_parent_that_was_killed(services: Services) -> None:
    service = services.start("--workers", "2")
    assert until(lambda: status(f"{service.url}/readyz") == 200)
    service.process.kill()

    assert until(lambda: status(f"{service.url}/healthz") == 0)


async def create_until(service: Service, stop: asyncio.Event, acknowledged: list[str]) -> None:
    """Create users, noting those that were answered with 201, as many others do at the same time."""

    async def work(worker: int) -> None:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {service.token}"}) as client:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    body = {"userName": f"{time.monotonic_ns()}-{worker}"}
                    answer = await client.post(f"{service.url}/scim/v2/Users", json=body, timeout=15)
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                assert answer.status_code in {201, 503}, answer.text
                if answer.status_code == 201:
                    acknowledged.append(answer.json()["id"])

    await asyncio.gather(*(work(worker) for worker in range(8)))


async def missing(service: Service, token: str, acknowledged: list[str]) -> list[str]:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:
        answers = [(await client.get(f"{service.url}/scim/v2/Users/{user_id}")).status_code for user_id in acknowledged]
    return [user_id for user_id, found in zip(acknowledged, answers, strict=True) if found != 200]


@pytest.mark.parametrize("killed", ["service", "postgres", "both"])
async def test_whatever_is_killed_under_load_nothing_that_was_acknowledged_is_lost(
    services: Services, killed: str
) -> None:
    service = services.start()
    assert until(lambda: status(f"{service.url}/readyz") == 200)
    stop, acknowledged = asyncio.Event(), list[str]()
    load = asyncio.create_task(create_until(service, stop, acknowledged))
    await asyncio.sleep(1)
    if killed != "service":
        os.kill(service.postmaster, signal.SIGKILL)
    if killed != "postgres":
        service.process.kill()
        service.process.wait()
    await asyncio.sleep(1.5)
    stop.set()
    await load

    after = services.start() if killed != "postgres" else service
    assert until(lambda: status(f"{after.url}/readyz") == 200)
    assert acknowledged
    assert await missing(after, service.token, acknowledged) == []
    checked = command("replay", "--check", data=services.data)
    assert (checked.returncode, "no differences" in checked.stdout) == (0, True), checked.stdout


def test_a_port_in_use_is_one_line_and_exit_code_2(services: Services) -> None:
    service = services.start()
    port = service.url.rpartition(":")[2]
    refused = command("serve", "--port", port, data=services.data)

    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "--port" in refused.stderr
    assert until(lambda: status(f"{service.url}/readyz") == 200)
