"""The first page: to where a visitor has most to do."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console import html
from api.console.visit import Visit, for_role
from engine.refusals import NotFound


@for_role("auditor")
async def show(visit: Visit) -> Response:
    """An admin whose directory has not called yet sets up; everybody else sees the people."""
    counts = await visit.services.seats.counts(visit.tenant_id)
    is_empty = counts.active + counts.inactive == 0
    page = "setup" if visit.may_change and is_empty else "people"
    return html.guarded(RedirectResponse(f"/console/{page}", 303))


async def show_from_outside(request: Request) -> Response:
    """At the address without a path: browsers are led here, programs are told where to go."""
    if "authorization" in request.headers or "text/html" not in request.headers.get("accept", ""):
        raise NotFound(
            "There is nothing at this address. SCIM is at /scim/v2, the API at /v1, the console at /console."
        )
    return html.guarded(RedirectResponse("/console", 303))
