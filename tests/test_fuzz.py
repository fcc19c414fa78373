"""Hostile requests: none is answered with a fault, none hangs, and what was acknowledged is in the log.

`make fuzz` sends 100,000 of them, `make test` some.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.rebuild import rebuild
from projections.target import targets
from tests.conftest import Directory
from tests.hostile import Hostile, requests

MANY = int(os.environ.get("FUZZ", "3000"))
AT_ONCE = 8
LONGEST = 20.0  # seconds for a request, on a busy machine


@pytest.fixture
async def followed(directory: Directory) -> AsyncIterator[Directory]:
    """Followers follow, as they do in a running service."""
    await directory.set_settings(groups="on")

    async def follow() -> None:
        following = Following(directory.services.pool, FOLLOWERS)
        while True:
            await following.catch_up()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(follow())
    yield directory
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def send(directory: Directory, hostile: Hostile) -> httpx.Response:
    async with asyncio.timeout(LONGEST):
        return await directory.client.request(
            hostile.method, hostile.path, headers=hostile.headers, content=hostile.body
        )


async def test_hostile_requests_meet_no_fault_and_lose_nothing(
    followed: Directory, owner: asyncpg.Connection, database: Database
) -> None:
    directory, ids, made = followed, list[str](), 0
    source = requests(7, directory.token, ids)

    async def work(count: int) -> None:
        nonlocal made
        for _ in range(count):
            hostile = next(source)
            answer = await send(directory, hostile)
            assert answer.status_code < 500 or answer.status_code == 501, (hostile, answer.text)
            if answer.status_code == 201:
                ids.append(answer.json()["id"])
                made += 1

    await asyncio.gather(*(work(MANY // AT_ONCE) for _ in range(AT_ONCE)))

    kept = "SELECT count(*) FROM rollbook.events WHERE type IN ('UserProvisioned', 'GroupProvisioned')"
    assert await owner.fetchval(kept) >= made > MANY // 200
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    for target in targets():
        assert (await rebuild(database.owner_url, target, swap=False)).differences == [], target.name
