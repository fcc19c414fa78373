"""Work that a command does with the store."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from api.composition import open_services
from api.services import Services
from ops.database import open_database

T = TypeVar("T")


def with_services(data: Path, work: Callable[[Services], Awaitable[T]], *, create: bool = False) -> T:
    """Do some work with the store, beside a running service or without one."""

    async def run(service_url: str) -> T:
        async with open_services(service_url, connections=2) as services:
            return await work(services)

    with open_database(data, create=create) as database:
        return asyncio.run(run(database.service_url))
