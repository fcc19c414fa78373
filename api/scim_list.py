"""Answers that hold many resources: lists and searches, of one type or of all (RFC 7644 §3.4.2, §3.4.3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import scim_groups, scim_query, scim_users, wire
from api.call import Call, call_of
from api.scim_query import Query
from api.services import Services, services_of
from engine.refusals import InvalidValue
from projections.groups import GroupPage
from projections.users import Page

_FURTHEST = 2**31  # a startIndex behind it finds nothing, as behind any other end
LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


async def users(request: Request) -> Response:
    await scim_users.admitted(request)
    return await _answer(request, scim_query.of_address(request, scim_users.catalog_of(call_of(request))))


async def search_users(request: Request) -> Response:
    await scim_users.admitted(request)
    return await _answer(request, await scim_query.of_body(request, scim_users.catalog_of(call_of(request))))


async def everything(request: Request) -> Response:
    """Resources of both types (RFC 7644 §3.4.2.1)."""
    await scim_users.admitted(request)
    query = scim_query.of_address(request, scim_users.catalog_of(call_of(request)))
    if not scim_groups.is_on(call_of(request)):
        return await _answer(request, query)
    with _no_quirks(request):  # a name of one type is none of the other, as a rule
        return await _answer_both(
            request, query, scim_query.of_address(request, scim_groups.catalog_of(call_of(request)))
        )


async def search_everything(request: Request) -> Response:
    await scim_users.admitted(request)
    request.scope[wire.DECODED] = await wire.read_json(request)
    query = await scim_query.of_body(request, scim_users.catalog_of(call_of(request)))
    if not scim_groups.is_on(call_of(request)):
        return await _answer(request, query)
    with _no_quirks(request):
        return await _answer_both(
            request, query, await scim_query.of_body(request, scim_groups.catalog_of(call_of(request)))
        )


@contextmanager
def _no_quirks(request: Request) -> Iterator[None]:
    call = call_of(request)
    told = call.quirks
    call.quirks = []
    yield
    call.quirks = told


async def groups(request: Request) -> Response:
    await scim_groups.admitted(request)
    return await _answer_groups(request, scim_query.of_address(request, scim_groups.catalog_of(call_of(request))))


async def search_groups(request: Request) -> Response:
    await scim_groups.admitted(request)
    return await _answer_groups(request, await scim_query.of_body(request, scim_groups.catalog_of(call_of(request))))


async def _answer(request: Request, query: Query) -> Response:
    services, call = services_of(request), call_of(request)
    part = await _part(request, query)
    page = await services.users.find(call.admitted.tenant_id, query.filter, **part)
    resources = await scim_users.rendered(request, page.users, query.choice)
    head = await _head(services, call, query, page)
    return wire.scim({**head, "itemsPerPage": len(resources), "Resources": resources})


async def _answer_groups(request: Request, query: Query) -> Response:
    """Entra probes groups at the start of every cycle; anything but a list stops the customer's whole sync."""
    services, call = services_of(request), call_of(request)
    page = GroupPage([], 0)
    if call.admitted.settings.groups == "on":
        part = await _part(request, query)
        page = await services.groups.find(call.admitted.tenant_id, query.filter, **part)
    head = await _head(services, call, query, page)
    return await scim_groups.listed(request, {**head, "itemsPerPage": len(page.groups)}, page.groups, query.choice)


async def _answer_both(request: Request, of_users: Query, of_groups: Query) -> Response:
    """People first, then groups; each in the order that is asked for."""
    if of_users.cursor is not None:
        raise InvalidValue(
            "Pages of users and groups together begin at a startIndex; for a cursor, ask for one of them."
        )
    services, tenant_id = services_of(request), call_of(request).admitted.tenant_id
    offset, limit = min(of_users.start - 1, _FURTHEST), of_users.count
    base = scim_users.base_url(request)
    page = await services.users.find(
        tenant_id, of_users.filter, offset=offset, limit=limit, order=of_users.order, base=base
    )
    people = await scim_users.rendered(request, page.users, of_users.choice)
    offset, limit = max(offset - page.total, 0), limit - len(people)
    rest = await services.groups.find(
        tenant_id, of_groups.filter, offset=offset, limit=limit, order=of_groups.order, base=base
    )
    head = {"schemas": [LIST_RESPONSE], "totalResults": page.total + rest.total, "startIndex": of_users.start}
    head["itemsPerPage"] = len(people) + len(rest.groups)
    return await scim_groups.listed(request, head, rest.groups, of_groups.choice, people)


async def _head(services: Services, call: Call, query: Query, page: Page | GroupPage) -> dict[str, Any]:
    found: dict[str, Any] = {"schemas": [LIST_RESPONSE], "totalResults": page.total}
    if query.cursor is None:
        found["startIndex"] = query.start
    elif page.last:
        found["nextCursor"] = await services.cursors.write(page.last, call.admitted.tenant_id, query.bound)
    return found


async def _part(request: Request, query: Query) -> dict[str, Any]:
    services, tenant_id = services_of(request), call_of(request).admitted.tenant_id
    after = await services.cursors.read(query.cursor, tenant_id, query.bound) if query.cursor else None
    offset = min(query.start - 1, _FURTHEST) if query.cursor is None else 0
    return {
        "offset": offset,
        "limit": query.count,
        "order": query.order,
        "after": after,
        "base": scim_users.base_url(request),
    }
