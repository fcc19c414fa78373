"""The first page: to where a visitor has most to do."""

from starlette.responses import RedirectResponse, Response

from api.console import html
from api.console.visit import Visit, for_role


@for_role("auditor")
async def show(visit: Visit) -> Response:
    """An admin whose directory has not called yet sets up; everybody else sees the people."""
    counts = await visit.services.seats.counts(visit.tenant_id)
    is_empty = counts.active + counts.inactive == 0
    page = "setup" if visit.may_change and is_empty else "people"
    return html.guarded(RedirectResponse(f"/console/{page}", 303))
