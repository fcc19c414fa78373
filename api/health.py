"""Whether the process lives, and whether it can do its work."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from api import wire
from api.services import services_of
from projections import installation

WAIT = 2.0  # seconds; who asks does not wait much longer


async def healthz(request: Request) -> Response:  # noqa: ARG001  a handler
    """The process lives. Says nothing about the database, so that nobody restarts us when that is away."""
    return wire.json({"status": "ok"})


async def readyz(request: Request) -> Response:
    """200 if the database answers and its store is of the version that this program knows; 503 with a reason if not."""
    reason = await _not_ready(request)
    if reason:
        return wire.json({"status": "not ready", "reason": reason}, 503, headers={"Retry-After": "1"})
    return wire.json({"status": "ready"})


async def _not_ready(request: Request) -> str | None:
    try:
        async with asyncio.timeout(WAIT), services_of(request).pool.acquire() as connection:
            version = await installation.store_version(connection)
    except Exception:  # noqa: BLE001  for whatever reason
        return "the database cannot be reached"
    if version != installation.VERSION:
        return f"the store has version {version}, this program knows {installation.VERSION}"
    return None
