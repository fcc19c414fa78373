"""`rollbook serve`: the service with its Postgres, from the first line on the screen to a clean end."""

import asyncio
import gc
import os
import re
import shlex
import signal
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, NoReturn

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette

from api.app import create_app
from api.composition import CONNECTIONS, MEASURED_TENANTS, open_services
from engine.tenant import RegisterTenant
from ops import administration, logs
from ops.database import Database, open_database
from ops.follow import Processes, prepare_signing
from ops.issuer import issuer_settings
from ops.ledger_key import KeyPlace
from ops.postgres import EmbeddedPostgres
from ops.retention import request_log_days
from ops.trouble import Trouble
from ops.workers import Workers, counting_together
from projections.follower import FOLLOWERS
from projections.processes import end_with_parent

DATA = Path(".rollbook")
DEFAULT_TENANT = "default"
FIRST_TOKEN = "First token"  # noqa: S105  its name
CONSOLE_TOKEN = "Console"  # noqa: S105  its name
FIRST_TOKEN_LIFE = timedelta(days=365)

MOST_CONNECTIONS = 160  # of all workers; the embedded Postgres takes 200
MOST_MEASURED_TENANTS = 10_000
ENDING = (signal.SIGTERM, signal.SIGINT)
DRAIN = 6  # seconds for requests that are under way when the end is asked for
_URL = "ROLLBOOK_WORKER_DATABASE_URL"
_CONNECTIONS = "ROLLBOOK_WORKER_CONNECTIONS"
_DATA = "ROLLBOOK_WORKER_DATA"
_PUBLIC_URL = "ROLLBOOK_PUBLIC_URL"
_METRICS_TOKEN = "ROLLBOOK_METRICS_TOKEN"  # noqa: S105  its name
_MEASURED_TENANTS = "ROLLBOOK_METRICS_TENANTS"


def serve(host: str, port: int, workers: int, data: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises Trouble if the port or the database cannot be had."""
    logs.configure()
    measured_tenants()
    request_log_days()
    issuer_settings()
    listening = listen(host, port)
    _end_by_signal_is_no_failure()
    with listening, counting_together(workers), open_database(data, create=True) as database:
        os.environ[_URL] = database.service_url
        os.environ[_CONNECTIONS] = str(max(2, min(CONNECTIONS, MOST_CONNECTIONS // workers)))
        stop_watching = watch(database.embedded)
        os.environ[_DATA] = str(data.resolve())
        prepare_signing(database, data)
        say_hello(database, (os.environ.get(_PUBLIC_URL) or own_url(listening)).rstrip("/"), data)
        following = Processes(database, FOLLOWERS, jobs=1, data=data)
        following.start()
        try:
            run(listening, workers)
        finally:
            following.stop()
            stop_watching.set()


def listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it each answer takes 40 ms.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise Trouble(
            f"Cannot listen on {host} port {port} ({error.strerror or error}). Choose another with --port or --host, "
            f"or stop what uses it."
        ) from None
    listening.listen(2048)
    return listening


def own_url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104  read
    return f"http://{host}:{port}"


def run(listening: socket.socket, workers: int) -> None:
    config = uvicorn.Config(
        "ops.serve:application",
        factory=True,
        workers=workers,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN,
    )
    if workers > 1:
        Workers(config, sockets=[listening]).run()
        return
    server = uvicorn.Server(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listening]))
    if not server.started:
        raise Trouble("The service did not start; the log above says why.")


def application() -> Starlette:
    """The application of one worker; its process inherits the environment."""
    logs.configure()
    end_with_parent()
    # What is loaded by now stays: looking through all of it for garbage again and again held requests up by 40 ms.
    gc.collect()
    gc.freeze()
    return create_app(
        lambda: open_services(
            os.environ[_URL],
            os.environ.get(_PUBLIC_URL),
            int(os.environ[_CONNECTIONS]),
            metrics_token=os.environ.get(_METRICS_TOKEN, "").strip() or None,
            measured_tenants=measured_tenants(),
            find_key=KeyPlace(Path(os.environ[_DATA])).find,
            issuer=issuer_settings(),
        )
    )


def measured_tenants() -> int:
    """How many tenants the metrics tell apart. Raises Trouble if the setting is none."""
    text = os.environ.get(_MEASURED_TENANTS) or str(MEASURED_TENANTS)
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > MOST_MEASURED_TENANTS:
        raise Trouble(
            f"ROLLBOOK_METRICS_TENANTS takes a whole number from 0 to {MOST_MEASURED_TENANTS:,}; it is {text!r}."
        )
    return int(text)


def say_hello(database: Database, url: str, data: Path) -> None:
    """What the admin needs, on standard output; the tokens on the very first start only."""
    tenant, tokens, expires_at = asyncio.run(first_tokens(database))
    place = [] if database.embedded is None or data == DATA else ["--data", str(data)]
    issue = ["rollbook", "token", "issue", "--tenant", tenant, "--name"]
    lines = [f"Console        {url}/console"]
    if tokens:
        lines += [f"Sign in with   {tokens.console}"]
    else:
        lines += ["Sign in with   the token of the first start, or another one:"]
        lines += ["               " + shlex.join([*issue, "NAME", "--scope", "admin", *place])]
    lines += ["", f"Tenant URL     {url}/scim/v2"]
    if tokens:
        lines += [f"Secret token   {tokens.directory}"]
        lines += ["", f"Both tokens are valid until {expires_at:%Y-%m-%d}, and are shown this once."]
    else:
        lines += ["Secret token   shown at the first start; for another one:"]
        lines += ["               " + shlex.join([*issue, "NAME", *place])]
    lines += [f"Health         {url}/readyz"]
    print("\n".join(["", *lines, ""]), flush=True)  # noqa: T201  for the person at the terminal


class FirstTokens(NamedTuple):
    """The texts of the two tokens with which a store begins: one for the console, one for the directory."""

    console: str
    directory: str


async def first_tokens(database: Database) -> tuple[str, FirstTokens | None, datetime]:
    """A tenant's name; with tokens and their expiry in an empty store, which gets the tenant `default`."""
    expires_at = datetime.now(UTC) + FIRST_TOKEN_LIFE
    async with open_services(database.service_url, connections=2) as services:
        if tenants := await services.tenants.list():
            return tenants[0].name, None, expires_at
        tenant_id = await administration.tenant_id_of(services, DEFAULT_TENANT)
        await services.engine.administer(RegisterTenant(DEFAULT_TENANT), administration.cause(tenant_id))
        directory = await administration.issue_token(services, tenant_id, FIRST_TOKEN, ("scim",), expires_at)
        console = await administration.issue_token(services, tenant_id, CONSOLE_TOKEN, ("admin",), expires_at)
        return DEFAULT_TENANT, FirstTokens(console, directory), expires_at


def watch(postgres: EmbeddedPostgres | None) -> threading.Event:
    """Start the embedded Postgres again if it dies; setting the event ends the watch."""
    stop = threading.Event()

    def keep_alive() -> None:
        log = structlog.get_logger("rollbook")
        while postgres and not stop.wait(1):
            try:
                if postgres.restart_if_dead():
                    log.warning("postgres was restarted")
            except Trouble as trouble:  # tried again in a second
                log.warning("postgres is down", reason=str(trouble))

    threading.Thread(target=keep_alive, daemon=True).start()
    return stop


def _end_by_signal_is_no_failure() -> None:
    """While it starts, the service ends at once. uvicorn drains, and then raises the signal again, for us to end."""

    def end(*_: object) -> NoReturn:
        for each in ENDING:  # what is open is closed in peace
            signal.signal(each, lambda *_: None)
        sys.exit(0)

    for each in ENDING:
        signal.signal(each, end)
