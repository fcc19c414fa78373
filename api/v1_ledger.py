"""`/v1` of the ledger: signed checkpoints, and proofs for whoever holds one."""

import asyncio
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from api import wire
from api.call import call_of
from api.services import Services, services_of
from api.v1 import AUDIT
from api.v1_types import CheckpointShown, ConsistencyProof, InclusionProof, LedgerKeys, LedgerKeyShown
from engine.checkpoint import origin_of
from engine.leaf import Header, leaf_of
from engine.merkle import leaf_hash
from engine.refusals import BadRequest, Busy, Conflict, NotFound
from projections.batch import read_headers
from projections.ledger import Reach
from projections.ledger_keys import read_keys
from projections.signer import CannotSignError, ForkError, Signed

PATIENCE = 5.0  # seconds in which the ledger shall reach the end of the log
LOOK = 0.05  # seconds between two looks at it

NOTE = "text/plain"


async def read_checkpoint(request: Request) -> Response:
    """The tree as it is now, with everything in it that was committed when the request came."""
    services, tenant_id = await _admitted(request)
    form = request.query_params.get("format", "json" if wire.JSON in request.headers.get("accept", "") else "note")
    if form not in {"json", "note"}:
        raise BadRequest("format takes one of note, json.")
    await reach_end(services, tenant_id)
    signed = await sign(services, tenant_id)
    if form == "note":
        return Response(signed.note, media_type=NOTE)
    return wire.json(
        CheckpointShown(
            note=signed.note,
            origin=signed.checkpoint.origin,
            size=signed.checkpoint.size,
            root=signed.checkpoint.root,
            vkey=signed.key.text,
            fingerprint=signed.key.fingerprint,
            made_at=signed.made_at,
        )
    )


async def prove_inclusion(request: Request) -> Response:
    services, tenant_id = await _admitted(request)
    seq, size = _number(request, "seq", 1), _number(request, "size", 1)
    if seq > size:
        raise BadRequest(f"The event {seq} is not in the tree of size {size}; seq is not above size.")
    await _check_reach(services, tenant_id, size)
    leaf = leaf_of(await _header(services, tenant_id, seq))
    return wire.json(
        InclusionProof(
            seq=seq,
            leaf_index=seq - 1,
            size=size,
            root=await services.ledger.root(tenant_id, size),
            leaf=leaf.hex(),
            leaf_hash=leaf_hash(leaf),
            path=await services.ledger.inclusion(tenant_id, seq, size),
        )
    )


async def prove_consistency(request: Request) -> Response:
    services, tenant_id = await _admitted(request)
    first, second = _number(request, "from", 0), _number(request, "to", 0)
    if first > second:
        raise BadRequest("from is the size of the older tree, and not above to.")
    await _check_reach(services, tenant_id, second)
    from_root, to_root = await services.ledger.roots(tenant_id, [first, second])
    path = await services.ledger.consistency(tenant_id, first, second)
    return wire.json(ConsistencyProof(first, second, from_root, to_root, path))


async def list_keys(request: Request) -> Response:
    services, tenant_id = await _admitted(request)
    origin = origin_of(await services.pool.fetchval("SELECT id FROM rollbook.store"), tenant_id)
    keys = [
        LedgerKeyShown(
            number=key.number,
            vkey=key.verifier.named(origin).text,
            store_vkey=key.verifier.text,
            fingerprint=key.verifier.fingerprint,
            made_at=key.made_at,
            endorsement=key.endorsement,
        )
        for key in await read_keys(services.pool)
    ]
    return wire.json(LedgerKeys(origin, keys))


async def _admitted(request: Request) -> tuple[Services, UUID]:
    services, call = services_of(request), call_of(request)
    call.source = "local"
    admission = await services.gate.admit(request, *AUDIT)
    return services, admission.tenant_id


async def _header(services: Services, tenant_id: UUID, seq: int) -> Header:
    headers = await read_headers(services.pool, tenant_id, seq - 1, 1)
    if not headers:
        raise Conflict(f"The event {seq} is missing from the log, though it is in the ledger. Tell the operator.")
    return headers[0]


async def reach_end(services: Services, tenant_id: UUID) -> None:
    """Wait until the ledger holds what is in the log at this moment. Raises Busy if it does not get there."""
    wanted = (await services.ledger.reach(tenant_id)).last_seq
    reach = Reach(0, wanted)
    try:
        async with asyncio.timeout(PATIENCE):
            while (reach := await services.ledger.reach(tenant_id)).size < wanted:  # noqa: ASYNC110  in the database
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise Busy(
            f"The ledger holds the events up to {reach.size}, and the log ends at {wanted}; try again. If it stays so, "
            f"the operator sees why: rollbook followers"
        ) from None


async def sign(services: Services, tenant_id: UUID) -> Signed:
    """A checkpoint of the ledger as it is. Raises Conflict if it does not continue what was signed, Busy."""
    try:
        return await services.signer.sign(tenant_id, keep=True)
    except ForkError as error:
        raise Conflict(str(error)) from None
    except CannotSignError:  # what it says is for the operator
        raise Busy(
            "Checkpoints cannot be signed here at present. The operator sees why in the log, and with: rollbook ledger "
            "check"
        ) from None


async def _check_reach(services: Services, tenant_id: UUID, size: int) -> None:
    known = await services.ledger.size(tenant_id)
    if size > known:
        raise NotFound(f"There is no tree of size {size} yet: the ledger holds the events up to {known}.")


def _number(request: Request, name: str, least: int) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and least <= int(text[:20]) < 2**63):
        raise BadRequest(f"{name} is needed, and takes a whole number from {least} on.")
    return int(text[:20])
