"""Builds the parts of the service, once, from the address of its database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from api.gate import Gate
from api.services import Services
from engine.engine import Engine
from engine.group_commit import GroupCommit
from engine.log import EventLog
from engine.store import EventStore
from projections.inline import INLINE
from projections.seats import Seats
from projections.tenants import Tenants
from projections.users import Users

CONNECTIONS = 16  # of one process


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """No statement of ours leaves anything in its session; resetting it would cost a round trip each time."""


@asynccontextmanager
async def open_services(
    database_url: str, public_url: str | None = None, connections: int = CONNECTIONS
) -> AsyncIterator[Services]:
    """The parts, with a pool of connections as the role `rollbook_service`, which may read and append only."""
    async with asyncpg.create_pool(
        database_url, min_size=1, max_size=connections, command_timeout=30, reset=_leave_as_it_is
    ) as pool:
        users, tenants = Users(pool), Tenants(pool)
        yield Services(
            pool=pool,
            engine=Engine(GroupCommit(EventStore(pool)), users, tenants, INLINE),
            users=users,
            tenants=tenants,
            seats=Seats(pool),
            log=EventLog(pool),
            gate=Gate(tenants),
            public_url=public_url,
        )
