"""The page of the ledger and of evidence: what can be proved of the log, and files that prove it elsewhere."""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

from msgspec import Struct, field
from starlette.responses import Response, StreamingResponse

from api import parameters
from api.console import html
from api.console.operations import OUTCOMES
from api.console.visit import Visit, for_role
from api.evidence import Evidence, Query
from api.v1_ledger import reach_end, sign
from engine.refusals import BadRequest, Busy, Conflict, Refusal
from projections.checks import last_checks
from projections.ledger_keys import read_keys


class EvidenceAsked(Struct, frozen=True, kw_only=True):
    """Which events: those of a person, or of a period, or all."""

    user: UUID | None = None
    from_: datetime | None = field(name="from", default=None)
    to: datetime | None = None


@for_role("auditor")
async def show(visit: Visit) -> Response:
    """How far the ledger is, and the checkpoint of what is sealed by now."""
    wrong: Refusal | None = None
    signed = None
    checks = await last_checks(visit.services.pool, visit.tenant_id)
    try:
        signed = await sign(visit.services, visit.tenant_id)
    except (Busy, Conflict) as refusal:
        wrong = refusal
    return visit.page(
        "audit-evidence.html",
        signed=signed,
        wrong=wrong,
        reach=await visit.services.ledger.reach(visit.tenant_id),
        keys=await read_keys(visit.services.pool),
        checked=next((each for each in checks if each.kind == "ledger"), None),
        outcomes=OUTCOMES,
    )


@for_role("auditor")
async def take_checkpoint(visit: Visit) -> Response:
    """The signed checkpoint as a file, to be kept elsewhere."""
    await reach_end(visit.services, visit.tenant_id)
    signed = await sign(visit.services, visit.tenant_id)
    name = f"checkpoint-{signed.checkpoint.size}.txt"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return html.guarded(Response(signed.note, headers=disposition, media_type="text/plain"))


@for_role("auditor")
async def take_evidence(visit: Visit) -> Response:
    """Events with their proofs, as a file that `rollbook verify` checks without us."""
    asked = parameters.read(EvidenceAsked, visit.query)
    if (asked.from_ is None) != (asked.to is None) or (asked.user and asked.from_):
        raise BadRequest(
            "Say which events: those of one person, or of a period with both its ends; or nothing, for all."
        )
    if asked.from_ and asked.to and asked.from_ >= asked.to:
        raise BadRequest("from must be before to.")
    await reach_end(visit.services, visit.tenant_id)
    signed = await sign(visit.services, visit.tenant_id)
    query = Query(asked.user, asked.from_, asked.to)
    evidence = Evidence(visit.services, visit.session.tenant_name, query, signed, visit.cause)
    lines = evidence.lines()
    first = await anext(lines)  # what cannot be had is refused before there is a file
    headers = {"Content-Disposition": f'attachment; filename="evidence-{signed.checkpoint.size}.ndjson"'}
    body = StreamingResponse(_chained(first, lines), headers=headers, media_type="application/x-ndjson")
    return html.guarded(body)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for line in rest:
        yield line
