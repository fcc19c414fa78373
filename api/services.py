"""What the handlers work with, built once by the composition root and handed in."""

from dataclasses import dataclass
from typing import cast

import asyncpg
from starlette.requests import HTTPConnection

from api.accesses import Accesses
from api.cursors import Cursors
from api.gate import Gate
from api.issuer import Issuer
from api.metrics import Metrics
from api.request_writer import RequestWriter
from api.seals import Seals
from api.store_metrics import StoreMetrics
from engine.engine import Engine
from engine.log import EventLog
from projections.console_sessions import ConsoleSessions
from projections.erasure import Erasures
from projections.followers import Followers
from projections.groups import Groups
from projections.histories import Histories
from projections.ledger import Ledger
from projections.people import People
from projections.seats import Seats
from projections.signer import Signer
from projections.tenants import Tenants
from projections.users import Users


@dataclass(frozen=True)
class Services:
    """The parts of a running service.

    `public_url` is where clients reach it, if it is not where they say. `metrics_token` lets others than this machine
    read the metrics. `issuer` is asked by people who sign in to the console without a token.
    """

    pool: asyncpg.Pool
    engine: Engine
    users: Users
    people: People
    groups: Groups
    cursors: Cursors
    seals: Seals
    tenants: Tenants
    console_sessions: ConsoleSessions
    seats: Seats
    erasures: Erasures
    log: EventLog
    histories: Histories
    followers: Followers
    ledger: Ledger
    signer: Signer
    gate: Gate
    accesses: Accesses
    metrics: Metrics
    request_writer: RequestWriter
    store_metrics: StoreMetrics
    public_url: str | None = None
    metrics_token: str | None = None
    issuer: Issuer | None = None


def services_of(connection: HTTPConnection) -> Services:
    return cast(Services, connection.app.state.services)
