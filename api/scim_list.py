"""Answers that hold many resources: lists and searches, of one type or of all (RFC 7644 §3.4.2, §3.4.3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from api import scim_groups, scim_query, scim_users, wire
from api.call import Call, call_of
from api.scim_query import Query
from api.services import Services, services_of
from engine.refusals import InvalidCursor
from projections.groups import GroupPage
from projections.order import Place
from projections.users import Page

_Places = tuple[Place | None, Place | None]

_BEFORE_GROUPS = Place(None, UUID(int=0))  # where a page ended that is full of the last users
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
    call = call_of(request)
    users, groups = scim_users.catalog_of(call), scim_groups.catalog_of(call)
    if not scim_groups.is_on(call):
        return await _answer(request, scim_query.of_address(request, users))
    of_users = scim_query.of_address(request, users, beside=groups)
    with _no_quirks(request):  # they are told already
        of_groups = scim_query.of_address(request, groups, beside=users)
    return await _answer_both(request, of_users, of_groups)


async def search_everything(request: Request) -> Response:
    await scim_users.admitted(request)
    request.scope[wire.DECODED] = await wire.read_json(request)
    call = call_of(request)
    users, groups = scim_users.catalog_of(call), scim_groups.catalog_of(call)
    if not scim_groups.is_on(call):
        return await _answer(request, await scim_query.of_body(request, users))
    of_users = await scim_query.of_body(request, users, beside=groups)
    with _no_quirks(request):
        of_groups = await scim_query.of_body(request, groups, beside=users)
    return await _answer_both(request, of_users, of_groups)


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
        return await _answer_both_by_cursor(request, of_users, of_groups)
    services, tenant_id = services_of(request), call_of(request).admitted.tenant_id
    offset, limit = min(of_users.start - 1, _FURTHEST), of_users.count
    base = scim_users.base_url(request)
    page = await services.users.find(
        tenant_id, of_users.filter, offset=offset, limit=limit, order=of_users.order, base=base
    )
    offset, limit = max(offset - page.total, 0), limit - len(page.users)
    rest = await services.groups.find(
        tenant_id, of_groups.filter, offset=offset, limit=limit, order=of_groups.order, base=base
    )
    people = await scim_users.rendered(request, page.users, of_users.choice)
    head = {"schemas": [LIST_RESPONSE], "totalResults": page.total + rest.total, "startIndex": of_users.start}
    head["itemsPerPage"] = len(people) + len(rest.groups)
    return await scim_groups.listed(request, head, rest.groups, of_groups.choice, people)


async def _answer_both_by_cursor(request: Request, of_users: Query, of_groups: Query) -> Response:
    """A cursor is a place among the users or one among the groups; which of the two, its seal knows."""
    services, tenant_id = services_of(request), call_of(request).admitted.tenant_id
    users_behind, groups_behind = await _places(services, tenant_id, of_users, of_groups)
    limit, base = 0 if groups_behind else of_users.count, scim_users.base_url(request)
    page = await services.users.find(
        tenant_id, of_users.filter, offset=0, limit=limit, order=of_users.order, after=users_behind, base=base
    )
    after = None if groups_behind == _BEFORE_GROUPS else groups_behind
    rest = await services.groups.find(
        tenant_id,
        of_groups.filter,
        offset=0,
        limit=of_users.count - len(page.users),
        order=of_groups.order,
        after=after,
        base=base,
    )
    people = await scim_users.rendered(request, page.users, of_users.choice)
    head: dict[str, Any] = {"schemas": [LIST_RESPONSE], "totalResults": page.total + rest.total}
    if page.last:
        head["nextCursor"] = await services.cursors.write(page.last, tenant_id, of_users.bound)
    elif last := rest.last or (_BEFORE_GROUPS if rest.total and len(people) == of_users.count else None):
        head["nextCursor"] = await services.cursors.write(last, tenant_id, of_groups.bound)
    head["itemsPerPage"] = len(people) + len(rest.groups)
    return await scim_groups.listed(request, head, rest.groups, of_groups.choice, people)


async def _places(services: Services, tenant_id: UUID, of_users: Query, of_groups: Query) -> _Places:
    """Where the page before ended: among the users, or among the groups, or nowhere yet."""
    if not of_users.cursor:
        return None, None
    try:
        return await services.cursors.read(of_users.cursor, tenant_id, of_users.bound), None
    except InvalidCursor:
        return None, await services.cursors.read(of_users.cursor, tenant_id, of_groups.bound)


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
