"""Answers a refusal, and records in the log that a write was refused: what the directory tried is part of the trail."""

from starlette.requests import Request
from starlette.responses import Response

from api import wire
from api.call import Call, call_of
from api.services import services_of
from engine.events import RequestRefused
from engine.refusals import Refusal

_WRITES = {"POST", "PUT", "PATCH", "DELETE"}
_RECORDED = {400, 403, 409, 412, 501}
_LONGEST_DETAIL = 2_000  # characters


async def answer(request: Request, refusal: Refusal) -> Response:
    """The answer to a refused request. One statement more if it was a write with a valid token."""
    call = call_of(request)
    call.refusal = type(refusal)
    if call.is_admitted and request.method in _WRITES and refusal.status in _RECORDED:
        await services_of(request).engine.note(_event(request, call, refusal), call.cause)
    return wire.refused(refusal, request.scope["path"])


def _event(request: Request, call: Call, refusal: Refusal) -> RequestRefused:
    return RequestRefused(
        method=request.method,
        path=request.scope["path"][:200].replace("\0", ""),
        status=refusal.status,
        detail=refusal.detail[:_LONGEST_DETAIL].replace("\0", ""),
        scim_type=refusal.scim_type,
        user_id=call.user_id,
        subject={name: value.replace("\0", "") for name, value in call.subject.items()},
    )
