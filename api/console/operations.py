"""The page of operations: whether everything keeps up, and what the last checks found."""

from starlette.responses import Response

from api.console.visit import Visit, for_role
from projections.operations import operations_of

OUTCOMES = {
    "holds": "holds",
    "differs": "rows differ",
    "content_differs": "contents differ",
    "proof_fails": "a proof fails",
    "signature_fails": "a signature fails",
    "incomplete": "something is missing",
}


@for_role("owner")
async def show(visit: Visit) -> Response:
    found = await operations_of(visit.services.pool, visit.tenant_id)
    return visit.page("operations.html", found=found, outcomes=OUTCOMES, bytes=_bytes(found.database_bytes))


def _bytes(count: float) -> str:
    """In the largest unit of which there is one at least."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:,.0f} {unit}"
        count /= 1_000
    return f"{count:,.1f} TB"
