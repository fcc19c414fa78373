"""The audit questions under `/v1`: a page as JSON, or the whole answer as a file; each look is noted in the log."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api import parameters, wire
from api.accesses import Accesses
from api.call import Call, call_of
from api.event_questions import is_idle_poll, times_of
from api.export import FORMATS, MEDIA_TYPES, Format
from api.inquiry import Export, Inquiry, inquire
from api.manifest import ExportAsked, manifest
from api.services import services_of
from engine.log import Selection
from engine.refusals import BadRequest, NotFound
from projections.question import Question

SCOPES = ("audit:read", "admin")
DEFAULT_LIMIT = 100
HIGHEST_LIMIT = 1000


def handler(question: Question[Any, Any]) -> Callable[[Request], Awaitable[Response]]:
    """What answers the question's address."""

    async def answer(request: Request) -> Response:
        services, call = services_of(request), call_of(request)
        call.source = "local"
        await services.gate.admit(request, *SCOPES)
        services.accesses.check()
        given = _given(request)
        after, limit, format_ = _taken(given, question)
        asked = parameters.read(question.asked, given)
        inquiry = await inquire(services.pool, call.admitted.tenant_id, question, asked)
        try:
            if format_ is not None:
                return await file(inquiry, format_, services.accesses, call)
            page = await inquiry.page(after, limit)
        except NotFound:  # that nobody is there is an answer, too
            services.accesses.note(inquiry.accessed(0), call.cause)
            raise
        if not is_idle_poll(asked, page.rows):
            services.accesses.note(inquiry.accessed(len(page.rows)), call.cause)
        content = {
            question.rows_name: page.rows,
            "next": _next(request, inquiry.next_parameters(page)),
            "as_of_seq": inquiry.settled.to_seq,
        }
        return wire.json(content)

    return answer


def _given(request: Request) -> dict[str, str]:
    """Parameters of the query and of the path. Raises BadRequest if one comes twice."""
    names = [name for name, _ in request.query_params.multi_items()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadRequest(f"{twice[0][:100]} is given twice; several values stand in one, with commas between them.")
    return {**request.query_params, **request.path_params}


def _taken(given: dict[str, str], question: Question[Any, Any]) -> tuple[str | None, int, Format | None]:
    """Takes out what every question understands: where the page begins, its length, the format of a file."""
    after = None if "after" in question.asked.__struct_fields__ else given.pop("after", None)
    limit, format_ = given.pop("limit", None), given.pop("format", None)
    if format_ is not None and format_ not in FORMATS:
        raise BadRequest(f"format takes one of {', '.join(FORMATS)}; without it, the answer is a page of JSON.")
    if format_ is not None and (limit is not None or after is not None):
        raise BadRequest("With format, the answer is the whole file: limit and after are for pages.")
    return after, _limit(limit), format_


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= HIGHEST_LIMIT):
        raise BadRequest(f"limit takes a number from 1 to {HIGHEST_LIMIT}.")
    return int(text)


def _next(request: Request, query: dict[str, str] | None) -> str | None:
    """The same address from behind the last row, for the same part of the log."""
    if query is None:
        return None
    query = {name: value for name, value in query.items() if name not in request.path_params}
    if limit := request.query_params.get("limit"):
        query["limit"] = limit
    return f"{request.scope['path']}?{urlencode(query)}"


async def file(inquiry: Inquiry, format_: Format, accesses: Accesses, call: Call) -> Response:
    """The whole answer. What was taken of it is noted when it is over, also if the client goes away before."""
    export = Export(inquiry, format_)
    pieces = export.pieces()
    first = await anext(pieces)
    headers = {
        "Content-Disposition": f'attachment; filename="{inquiry.question.name}.{format_}"',
        "Link": f'</v1/exports/{call.request_id}>; rel="describedby"',
    }
    return _File(first, pieces, lambda: accesses.note(export.exported(), call.cause), headers, MEDIA_TYPES[format_])


class _File(StreamingResponse):
    """A file piece by piece; what comes at the end is done however it ends, and at once."""

    def __init__(
        self,
        first: bytes,
        pieces: AsyncGenerator[bytes, None],
        at_the_end: Callable[[], None],
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        super().__init__(_chained(first, pieces), headers=headers, media_type=media_type)
        self._pieces = pieces
        self._at_the_end = at_the_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._at_the_end()
            await self._pieces.aclose()


async def _chained(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


async def read_manifest(request: Request) -> Response:
    """What was noted of an export, by the id of its request: enough to tell whether a file is the one."""
    services, call = services_of(request), call_of(request)
    call.source = "local"
    await services.gate.admit(request, *SCOPES)
    tenant_id, export_id = call.admitted.tenant_id, request.path_params["id"]
    request_id = parameters.read(ExportAsked, {"id": export_id}).id
    since, until = times_of(request_id)
    selection = Selection(types=("EvidenceExported",), request_id=request_id, since=since, until=until)
    found = await services.log.read(tenant_id, selection, 1)
    if not found:
        raise NotFound(f"There is no export {export_id}. It is noted when the file is over; /v1/accesses lists them.")
    return wire.json(manifest(tenant_id, found[0]))
