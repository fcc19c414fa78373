"""Builds the parts of the service, once, from the address of its database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from api.accesses import Accesses
from api.cursors import Cursors
from api.gate import Gate
from api.issuer import Issuer, IssuerSettings
from api.last_calls import LastCalls
from api.metrics import Metrics
from api.request_writer import RequestWriter
from api.seals import Seals
from api.services import Services
from api.store_metrics import StoreMetrics
from engine.engine import Engine
from engine.group_commit import GroupCommit
from engine.log import EventLog
from engine.store import EventStore
from projections.console_sessions import ConsoleSessions
from projections.erasure import Erasures
from projections.followers import Followers
from projections.groups import Groups
from projections.histories import Histories
from projections.inline import INLINE
from projections.ledger import Ledger
from projections.people import People
from projections.request_log import RequestLog
from projections.seats import Seats
from projections.signer import FindKey, Signer, no_key
from projections.tenants import Tenants
from projections.users import Users

CONNECTIONS = 16  # of one process
MEASURED_TENANTS = 100


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """No statement of ours leaves anything in its session; resetting it would cost a round trip each time."""


@asynccontextmanager
async def open_services(  # noqa: PLR0913  what an operator can choose
    database_url: str,
    public_url: str | None = None,
    connections: int = CONNECTIONS,
    *,
    metrics_token: str | None = None,
    measured_tenants: int = MEASURED_TENANTS,
    find_key: FindKey = no_key,
    issuer: IssuerSettings | None = None,
) -> AsyncIterator[Services]:
    """The parts, with a pool of connections as the role `rollbook_service`, which may read and append only.

    `find_key` gives the private half of the ledger's key; `issuer` says who vouches for people in the console.
    """
    metrics = Metrics()
    async with asyncpg.create_pool(
        database_url, min_size=1, max_size=connections, command_timeout=30, reset=_leave_as_it_is
    ) as pool:
        users, groups, tenants, followers = Users(pool), Groups(pool), Tenants(pool), Followers(pool)
        ledger, seals = Ledger(pool), Seals(pool)
        gate = Gate(tenants, on_look_up=metrics.token_looked_up)
        engine = Engine(GroupCommit(EventStore(pool), metrics), users, groups, tenants, INLINE, metrics)
        yield Services(
            pool=pool,
            engine=engine,
            users=users,
            people=People(pool),
            groups=groups,
            cursors=Cursors(seals),
            seals=seals,
            tenants=tenants,
            console_sessions=ConsoleSessions(pool),
            seats=Seats(pool),
            erasures=Erasures(pool, metrics),
            log=EventLog(pool),
            histories=Histories(pool),
            followers=followers,
            ledger=ledger,
            signer=Signer(pool, ledger, find_key),
            gate=gate,
            accesses=Accesses(engine),
            metrics=metrics,
            request_writer=RequestWriter(RequestLog(pool), metrics.requests_written, metrics.requests_dropped),
            store_metrics=StoreMetrics(followers, LastCalls(pool, gate, measured_tenants)),
            public_url=public_url,
            metrics_token=metrics_token,
            issuer=Issuer(issuer) if issuer else None,
        )
