"""Answers that hold many resources: lists and searches, of one type or of all (RFC 7644 §3.4.2, §3.4.3)."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import scim_query, scim_users, wire
from api.call import Call, call_of
from api.scim_query import Query
from api.services import Services, services_of
from engine.catalog import USERS
from projections.users import Page

_FURTHEST = 2**31  # a startIndex behind it finds nothing, as behind any other end
LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


async def users(request: Request) -> Response:
    await scim_users.admitted(request)
    return await _answer(request, scim_query.of_address(request, USERS))


async def search_users(request: Request) -> Response:
    await scim_users.admitted(request)
    return await _answer(request, await scim_query.of_body(request, USERS))


async def _answer(request: Request, query: Query) -> Response:
    services, call = services_of(request), call_of(request)
    page = await _page(services, call, query)
    resources = [query.choice.of(scim_users.rendered(request, call, user)) for user in page.users]
    found: dict[str, Any] = {"schemas": [LIST_RESPONSE], "totalResults": page.total}
    if query.cursor is None:
        found["startIndex"] = query.start
    elif page.last:
        found["nextCursor"] = await services.cursors.write(page.last, call.admitted.tenant_id, query.bound)
    return wire.scim({**found, "itemsPerPage": len(resources), "Resources": resources})


async def _page(services: Services, call: Call, query: Query) -> Page:
    tenant_id = call.admitted.tenant_id
    after = await services.cursors.read(query.cursor, tenant_id, query.bound) if query.cursor else None
    offset = min(query.start - 1, _FURTHEST) if query.cursor is None else 0
    return await services.users.find(
        tenant_id, query.filter, offset=offset, limit=query.count, order=query.order, after=after
    )
