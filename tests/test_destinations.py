"""Destinations of checkpoints: each gets the last one of each tenant that went on, again and again until it has it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from api.composition import open_services
from api.services import Services
from engine.checkpoint import open_checkpoint
from ops import deliveries, destinations
from ops.database import Database
from ops.deliveries import Deliveries
from ops.destinations import Address, Destination, Folder, Output
from ops.ledger_key import KeyPlace, prepare_key
from ops.trouble import Trouble
from projections.background.ledger import FOLLOWER
from projections.following import Following
from tests.conftest import register
from tests.logs import fill


class Listener:
    """An HTTP server that takes notes, or answers something else."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.status = 204
        self.pause = 0.0
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.pause)
        self.headers.append(dict(request.headers))
        if self.status < 300:
            self.notes.append(await request.text())
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    def sizes(self) -> list[int]:
        return sorted(int(note.split("\n")[1]) for note in self.notes)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found, app = Listener(), web.Application()
    app.router.add_post("/secret-path", found.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret-path"
    yield found
    await runner.cleanup()


@pytest.fixture
async def signers(database: Database, tmp_path: Path) -> AsyncIterator[Services]:
    place = KeyPlace(tmp_path / "data")
    await prepare_key(database.owner_url, place)
    async with open_services(database.service_url, find_key=place.find) as services:
        yield services


@pytest.fixture
async def tenants(signers: Services, owner: asyncpg.Connection) -> list[UUID]:
    """Three tenants with a checkpoint each, at sizes 1, 2 and 3."""
    found = [await register(signers, name) for name in "abc"]
    for count, tenant_id in enumerate(found):
        await sign(signers, owner, tenant_id, count)
    return found


async def sign(services: Services, owner: asyncpg.Connection, tenant_id: UUID, count: int) -> str:
    if count:
        await fill(owner, tenant_id, count)
    await Following(services.pool, [FOLLOWER]).catch_up()
    return (await services.signer.sign(tenant_id, keep=False)).note


def to(services: Services, destination: Destination, seconds: float = 300) -> Deliveries:
    return Deliveries(services.pool, destination, seconds)


async def test_each_tenants_last_checkpoint_is_sent_once_and_kept(
    signers: Services, owner: asyncpg.Connection, tenants: list[UUID], listener: Listener
) -> None:
    sending = [to(signers, Address(listener.url)) for _ in range(3)]  # processes at once
    for _ in range(2):
        await asyncio.gather(*(each.send_due() for each in sending))

    assert listener.sizes() == [1, 2, 3]
    assert {each["Content-Type"] for each in listener.headers} == {"text/plain; charset=utf-8"}
    assert await owner.fetchval("SELECT bool_and(is_kept) FROM rollbook.checkpoints")
    key = (await signers.signer.sign(tenants[0], keep=False)).key
    assert open_checkpoint(next(note for note in listener.notes if str(tenants[0]) in note), key).size == 1


async def test_a_tenant_that_goes_on_is_sent_again_after_the_time_between(
    signers: Services, owner: asyncpg.Connection, tenants: list[UUID], listener: Listener
) -> None:
    sending = to(signers, Address(listener.url))
    await sending.send_due()
    await sign(signers, owner, tenants[0], 4)
    await sign(signers, owner, tenants[0], 4)
    await sending.send_due()
    assert listener.sizes() == [1, 2, 3]

    await owner.execute("UPDATE rollbook.checkpoint_deliveries SET tried_at = tried_at - interval '301 s'")
    await sending.send_due()
    assert listener.sizes() == [1, 2, 3, 9]


@pytest.mark.parametrize("status", [301, 302, 400, 500])
async def test_what_a_destination_does_not_take_is_sent_again_and_told_once(
    signers: Services, owner: asyncpg.Connection, tenants: list[UUID], listener: Listener, status: int
) -> None:
    sending, listener.status = to(signers, Address(listener.url)), status
    with capture_logs() as logs:
        for _ in range(3):
            await sending.send_due()
            await owner.execute("UPDATE rollbook.checkpoint_deliveries SET tried_at = tried_at - interval '30 s'")
        listener.status = 200
        for _ in range(3):
            await sending.send_due()

    assert listener.sizes() == [1, 2, 3]
    assert [each["event"] for each in logs] == ["checkpoints cannot be sent", "checkpoints are sent again"]
    assert listener.url not in str(logs)
    assert "secret-path" not in str(await owner.fetch("SELECT * FROM rollbook.checkpoint_deliveries"))


async def test_a_process_that_is_killed_while_it_sends_leaves_it_to_others(
    signers: Services, owner: asyncpg.Connection, tenants: list[UUID], listener: Listener
) -> None:
    listener.pause = 60
    killed = asyncio.create_task(to(signers, Address(listener.url)).send_due())
    async with asyncio.timeout(10):
        while await owner.fetchval("SELECT count(*) FROM rollbook.checkpoint_deliveries") < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    killed.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killed
    listener.pause = 0

    await to(signers, Address(listener.url)).send_due()
    assert listener.sizes() == []
    await owner.execute("UPDATE rollbook.checkpoint_deliveries SET tried_at = tried_at - interval '301 s'")
    await to(signers, Address(listener.url)).send_due()
    assert listener.sizes() == [1, 2, 3]


async def test_a_destination_that_does_not_answer_holds_up_no_sealing(
    signers: Services,
    owner: asyncpg.Connection,
    tenants: list[UUID],
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(destinations, "PATIENCE", 0.3)
    monkeypatch.setattr(deliveries, "LOOK", 0.01)
    listener.pause = 5
    with capture_logs() as logs:
        running = asyncio.create_task(to(signers, Address(listener.url), 0.1).run())
        assert "9\n" in await sign(signers, owner, tenants[0], 8)
        async with asyncio.timeout(10):
            while not logs:  # noqa: ASYNC110  the log is a list
                await asyncio.sleep(0.01)
        listener.pause = 0
        async with asyncio.timeout(10):
            while 9 not in listener.sizes():  # noqa: ASYNC110  of a server
                await asyncio.sleep(0.01)
        running.cancel()
    assert logs[0]["error"] == "TimeoutError"


async def test_a_folder_gets_one_whole_file_for_each_tenant_and_size(
    signers: Services, owner: asyncpg.Connection, tenants: list[UUID], tmp_path: Path
) -> None:
    folder = tmp_path / "kept" / "here"
    for _ in range(2):
        await to(signers, Folder(f"dir:{folder}", folder)).send_due()
        await owner.execute("TRUNCATE rollbook.checkpoint_deliveries")

    assert listed(folder) == sorted(f"{each}-{size:012}.checkpoint" for size, each in enumerate(tenants, 1))
    note = (await signers.signer.sign(tenants[2], keep=False)).note
    assert (folder / f"{tenants[2]}-000000000003.checkpoint").read_text() == note


def listed(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_a_folder_that_cannot_be_written_is_told_and_tried_again(
    signers: Services, tenants: list[UUID], tmp_path: Path, owner: asyncpg.Connection
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    sending = to(signers, Folder("dir:x", blocked))
    with capture_logs() as logs:
        await sending.send_due()
        blocked.unlink()
        await owner.execute("UPDATE rollbook.checkpoint_deliveries SET tried_at = tried_at - interval '31 s'")
        await sending.send_due()

    assert [each["event"] for each in logs] == ["checkpoints cannot be sent", "checkpoints are sent again"]
    assert len(listed(blocked)) >= 1


async def test_standard_output_gets_notes_with_an_empty_line_between(
    signers: Services, tenants: list[UUID], capsys: pytest.CaptureFixture[str]
) -> None:
    await to(signers, Output("stdout")).send_due()

    assert capsys.readouterr().out.count("\n\n\N{EM DASH} rollbook/") == 3


def test_destinations_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLBOOK_CHECKPOINTS_TO", raising=False)
    assert destinations.destinations() == []
    text = "dir:/a/b, https://witness.example/x?y=1 stdout http://localhost:99/ http://[::1]/ stdout"
    monkeypatch.setenv("ROLLBOOK_CHECKPOINTS_TO", text)
    assert [each.kind for each in destinations.destinations()] == ["dir", "https", "stdout", "https", "https"]


@pytest.mark.parametrize(
    "text", ["dir:relative", "dir:", "http://witness.example", "ftp://x", "https://", "https://[", "x"]
)
def test_what_is_no_destination_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ROLLBOOK_CHECKPOINTS_TO", text)
    with pytest.raises(Trouble, match="ROLLBOOK_CHECKPOINTS_TO takes"):
        destinations.destinations()


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "86401", "\u00b2"])
def test_what_is_no_time_between_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ROLLBOOK_CHECKPOINT_SECONDS", text)
    with pytest.raises(Trouble, match="ROLLBOOK_CHECKPOINT_SECONDS takes"):
        destinations.seconds_between()


def test_the_time_between_is_five_minutes_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLBOOK_CHECKPOINT_SECONDS", raising=False)
    assert destinations.seconds_between() == 300
    monkeypatch.setenv("ROLLBOOK_CHECKPOINT_SECONDS", " 60 ")
    assert destinations.seconds_between() == 60
