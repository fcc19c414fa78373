"""What the benchmark measures against: a bare Starlette server whose one address runs one INSERT through asyncpg."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.composition import CONNECTIONS

URL = "ROLLBOOK_BASELINE_URL"

TABLE = """
    CREATE TABLE IF NOT EXISTS baseline (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        user_name text NOT NULL,
        data jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),

        PRIMARY KEY (tenant_id, id),
        UNIQUE (tenant_id, user_name)
    )
"""

_TENANT = uuid4()
_INSERT = "INSERT INTO baseline (tenant_id, id, user_name, data) VALUES ($1, $2, $3, $4) RETURNING created_at"


async def insert(request: Request) -> Response:
    body = await request.body()
    user = msgspec.json.decode(body)
    user_id = uuid4()
    await request.app.state.pool.fetchval(_INSERT, _TENANT, user_id, user["userName"], body.decode())
    return Response(msgspec.json.encode({"id": user_id, **user}), 201, media_type="application/scim+json")


def application() -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with asyncpg.create_pool(os.environ[URL], min_size=1, max_size=CONNECTIONS) as pool:
            app.state.pool = pool
            yield

    return Starlette(routes=[Route("/Users", insert, methods=["POST"])], lifespan=lifespan)
