"""Answers that hold many resources: lists and searches, of one type or of all (RFC 7644 §3.4.2, §3.4.3)."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import scim_groups, scim_query, scim_users, wire
from api.call import Call, call_of
from api.scim_query import Query
from api.services import Services, services_of
from engine.catalog import GROUPS, USERS
from projections.groups import GroupPage
from projections.users import Page

_FURTHEST = 2**31  # a startIndex behind it finds nothing, as behind any other end
LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


async def users(request: Request) -> Response:
    await scim_users.admitted(request)
    return await _answer(request, scim_query.of_address(request, USERS))


async def search_users(request: Request) -> Response:
    await scim_users.admitted(request)
    return await _answer(request, await scim_query.of_body(request, USERS))


async def groups(request: Request) -> Response:
    await scim_groups.admitted(request)
    return await _answer_groups(request, scim_query.of_address(request, GROUPS))


async def search_groups(request: Request) -> Response:
    await scim_groups.admitted(request)
    return await _answer_groups(request, await scim_query.of_body(request, GROUPS))


async def _answer(request: Request, query: Query) -> Response:
    services, call = services_of(request), call_of(request)
    part = await _part(services, call, query)
    page = await services.users.find(call.admitted.tenant_id, query.filter, **part)
    resources = await scim_users.rendered(request, page.users, query.choice)
    head = await _head(services, call, query, page)
    return wire.scim({**head, "itemsPerPage": len(resources), "Resources": resources})


async def _answer_groups(request: Request, query: Query) -> Response:
    """Entra probes groups at the start of every cycle; anything but a list stops the customer's whole sync."""
    services, call = services_of(request), call_of(request)
    page = GroupPage([], 0)
    if call.admitted.settings.groups == "on":
        part = await _part(services, call, query)
        page = await services.groups.find(call.admitted.tenant_id, query.filter, **part)
    head = await _head(services, call, query, page)
    return await scim_groups.listed(request, {**head, "itemsPerPage": len(page.groups)}, page.groups, query.choice)


async def _head(services: Services, call: Call, query: Query, page: Page | GroupPage) -> dict[str, Any]:
    found: dict[str, Any] = {"schemas": [LIST_RESPONSE], "totalResults": page.total}
    if query.cursor is None:
        found["startIndex"] = query.start
    elif page.last:
        found["nextCursor"] = await services.cursors.write(page.last, call.admitted.tenant_id, query.bound)
    return found


async def _part(services: Services, call: Call, query: Query) -> dict[str, Any]:
    tenant_id = call.admitted.tenant_id
    after = await services.cursors.read(query.cursor, tenant_id, query.bound) if query.cursor else None
    offset = min(query.start - 1, _FURTHEST) if query.cursor is None else 0
    return {"offset": offset, "limit": query.count, "order": query.order, "after": after}
