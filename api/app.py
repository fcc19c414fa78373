"""The composition root: every address, and what answers it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import (
    health,
    openapi,
    refusal_record,
    scim_bulk,
    scim_discovery,
    scim_groups,
    scim_list,
    scim_me,
    scim_users,
    scrape,
    v1,
    v1_audit,
    v1_groups,
    v1_ledger,
    v1_tokens,
)
from api.call import call_of
from api.console import overview
from api.console.routes import PAGES, STATIC
from api.exchange import Exchange
from api.questions import QUESTIONS
from api.services import Services, services_of
from engine.refusals import MethodNotAllowed, NotFound, Refusal

Handler = Callable[[Request], Awaitable[Response]]

ANY_METHOD: tuple[str, ...] = ()  # Starlette then asks us, and the answer is ours in every case


def address(path: str, **handlers: Handler) -> Route:
    """One address with the handler of each method; HEAD is GET without the body (RFC 9110 §9.3.2)."""
    if "GET" in handlers:
        handlers["HEAD"] = handlers["GET"]

    async def answer(request: Request) -> Response:
        request.scope["rollbook.route"] = path
        handler, allowed = handlers.get(request.method), sorted([*handlers, "OPTIONS"])
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(allowed)})
        if handler is None:
            raise MethodNotAllowed(
                f"{request.method} does not work here. Allowed: {', '.join(allowed)}.", allow=allowed
            )
        return await handler(request)

    return Route(path, answer, methods=ANY_METHOD)


async def _astray(request: Request) -> NoReturn:
    call_of(request).is_astray = True
    await _unknown_scim_address(request)


async def _unknown_scim_address(request: Request) -> NoReturn:
    await services_of(request).gate.admit(request, scim_users.SCOPE)
    raise NotFound(
        "There is nothing at this address. The Tenant URL ends in /scim/v2; below it are /Users and /Groups."
    )


SCIM = "/scim/v2"

# Where a directory calls whose Tenant URL was written without /scim/v2: it is told so, and its admin sees it.
ASTRAY = ("/Users", "/Groups", "/v2/Users", "/v2/Groups", "/Users/{rest:path}", "/Groups/{rest:path}")

# What is done at the address of a question.
BESIDE: dict[str, dict[str, Handler]] = {"/v1/tokens": {"POST": v1_tokens.issue}}

ROUTES: list[Route] = [
    address("/", GET=overview.show_from_outside),
    address("/healthz", GET=health.healthz),
    address("/readyz", GET=health.readyz),
    address("/metrics", GET=scrape.metrics),
    address(SCIM, GET=scim_list.everything),
    address(f"{SCIM}/.search", POST=scim_list.search_everything),
    address(f"{SCIM}/Users/.search", POST=scim_list.search_users),
    address(f"{SCIM}/Users", GET=scim_list.users, POST=scim_users.create),
    address(
        f"{SCIM}/Users/{{id}}",
        GET=scim_users.read,
        PUT=scim_users.replace,
        PATCH=scim_users.change,
        DELETE=scim_users.delete,
    ),
    address(f"{SCIM}/Groups/.search", POST=scim_list.search_groups),
    address(f"{SCIM}/Groups", GET=scim_list.groups, POST=scim_groups.create),
    address(
        f"{SCIM}/Groups/{{id}}",
        GET=scim_groups.read,
        PUT=scim_groups.replace,
        PATCH=scim_groups.change,
        DELETE=scim_groups.delete,
    ),
    address(f"{SCIM}/ServiceProviderConfig", GET=scim_discovery.service_provider_config),
    address(f"{SCIM}/Schemas", GET=scim_discovery.schemas),
    address(f"{SCIM}/Schemas/{{id}}", GET=scim_discovery.schema),
    address(f"{SCIM}/ResourceTypes", GET=scim_discovery.resource_types),
    address(f"{SCIM}/ResourceTypes/{{id}}", GET=scim_discovery.resource_type),
    address(f"{SCIM}/Bulk", POST=scim_bulk.carry_out),
    address(
        f"{SCIM}/Me",
        GET=scim_me.read,
        PATCH=scim_me.change,
        POST=scim_me.refuse,
        PUT=scim_me.refuse,
        DELETE=scim_me.refuse,
    ),
    address("/v1/users", GET=v1.list_users),
    address("/v1/users/{id}", GET=v1.read_user, PATCH=v1.edit_user),
    address("/v1/users/{id}/erase", POST=v1.erase_user),
    address("/v1/groups", GET=v1_groups.list_groups),
    address("/v1/groups/{id}", GET=v1_groups.read_group),
    address("/v1/groups/{id}/role", PUT=v1_groups.map_group),
    address("/v1/seats", GET=v1.read_seats),
    address("/v1/exports/{id}", GET=v1_audit.read_manifest),
    address("/v1/checkpoint", GET=v1_ledger.read_checkpoint),
    address("/v1/proofs/inclusion", GET=v1_ledger.prove_inclusion),
    address("/v1/proofs/consistency", GET=v1_ledger.prove_consistency),
    address("/v1/ledger-keys", GET=v1_ledger.list_keys),
    address("/v1/tokens/{id}", DELETE=v1_tokens.revoke),
    *(address(each.address, GET=v1_audit.handler(each), **BESIDE.get(each.address, {})) for each in QUESTIONS),
    address("/v1/openapi.json", GET=openapi.document),
    *(address(path, **handlers) for path, handlers in PAGES.items()),
    Route("/scim/{path:path}", _unknown_scim_address, methods=ANY_METHOD),
    Route("/scim", _unknown_scim_address, methods=ANY_METHOD),
    *(Route(path, _astray, methods=ANY_METHOD) for path in ASTRAY),
]


async def _on_unknown_address(request: Request, error: Exception) -> Response:  # noqa: ARG001  registered for it
    """Starlette's own refusal, in our words."""
    return await refusal_record.answer(request, NotFound("There is nothing at this address."))


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  registered for it alone
    return await refusal_record.answer(request, error)


def create_app(opening: Callable[[], AbstractAsyncContextManager[Services]]) -> Starlette:
    """The service as an ASGI application; its lifespan opens its parts and closes them."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with opening() as services:
            app.state.services = services
            noting = asyncio.create_task(services.gate.keep_noting_uses())
            measuring = asyncio.create_task(services.metrics.keep_measuring(services.pool))
            writing = asyncio.create_task(services.request_writer.keep_writing())
            try:
                yield
            finally:
                noting.cancel()
                measuring.cancel()
                writing.cancel()
                await asyncio.wait([writing])  # what it was writing is waiting again
                await services.request_writer.end()
                await services.accesses.drain()
                with contextlib.suppress(Exception):  # the database may be gone; a time of last use is no loss
                    await services.gate.note_uses()

    app = Starlette(
        routes=[*ROUTES, STATIC],
        middleware=[Middleware(Exchange)],
        exception_handlers={404: _on_unknown_address, Refusal: _on_refusal},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
