"""`/scim/v2/Bulk` (RFC 7644 §3.7): many operations in one request, each carried out and refused for itself alone."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api import exchange, refusal_record, scim_groups, scim_resource, scim_users, wire
from api.call import KEY, call_of
from engine import bulk
from engine.bulk import BulkRequest, Operation
from engine.group import Group
from engine.refusals import Conflict, MethodNotAllowed, NotFound, Refusal
from engine.user import User

Handler = Callable[[Request], Awaitable[User | Group | None]]

Outcome = User | Group | Response | None
"""What came of an operation: a resource; an error, as the answer to a single request has it; nothing of a DELETE."""

LARGEST_BODY = 4 * 1_048_576  # bytes
AT_ONCE = 128  # operations: as many as go into one append, and the next ones, which are decided meanwhile

_ON_ALL: dict[str, Handler] = {"users": scim_users.created, "groups": scim_groups.created}
_ON_ONE: dict[str, dict[str, Handler]] = {
    "users": {"PUT": scim_users.replaced, "PATCH": scim_users.changed, "DELETE": scim_users.deleted},
    "groups": {"PUT": scim_groups.replaced, "PATCH": scim_groups.changed, "DELETE": scim_groups.deleted},
}


class Result(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """What came of one operation; `response` is the error, if it is one."""

    method: str
    bulk_id: str | None = None
    version: str | None = None
    location: str | None = None
    status: str
    response: msgspec.Raw | None = None

    @property
    def is_error(self) -> bool:
        return self.response is not None


async def carry_out(request: Request) -> Response:
    _, call = await scim_users.admitted(request)
    message = bulk.read(await wire.read_json(request, LARGEST_BODY), call.quirks)
    results = await _Run(request, message).results()
    return wire.scim({"schemas": [bulk.RESPONSE], "Operations": results})


class _Run:
    """The operations of one request on their way: those of a wave at the same time, wave after wave."""

    def __init__(self, request: Request, message: BulkRequest) -> None:
        self._request = request
        self._message = message
        self._names = frozenset(each.bulk_id for each in message.operations if each.bulk_id)
        self._ids: dict[str, str] = {}  # by bulkId, of what was made or changed
        self._done: dict[int, Result] = {}  # by the place of the operation
        self._room = asyncio.Semaphore(AT_ONCE)

    async def results(self) -> list[Result]:
        """In the order of the request; without those that were not carried out because of failOnErrors."""
        waiting = list(self._message.operations)
        while waiting and (most := self._most()):
            wave = bulk.next_wave(waiting, frozenset(self._ids), most) or [self._stuck(waiting)]
            await asyncio.gather(*map(self._carry_out, wave))
            waiting = [each for each in waiting if each.place not in self._done]
        return [self._done[place] for place in sorted(self._done)]

    def _most(self) -> int:
        """How many may still go wrong, and so how many may go at the same time."""
        if self._message.fail_on_errors is None:
            return bulk.MOST_OPERATIONS
        return self._message.fail_on_errors - sum(each.is_error for each in self._done.values())

    def _stuck(self, waiting: Sequence[Operation]) -> Operation:
        """Where all wait for others: one that waits for what failed, or any of those that wait for each other."""
        failed = {each.bulk_id for each in self._done.values() if each.is_error}
        return next((each for each in waiting if each.refers_to & failed), waiting[0])

    async def _carry_out(self, operation: Operation) -> None:
        async with self._room:
            request = _request_of(operation, self._request, self._ids)
            outcome = await self._outcome(operation, request)
        call, of_operation = call_of(self._request), call_of(request)
        call.quirks += of_operation.quirks
        call.changes += of_operation.changes
        result = self._done[operation.place] = _result(operation, request, outcome)
        if operation.bulk_id and result.location and not result.is_error:
            self._ids[operation.bulk_id] = result.location.rpartition("/")[2]

    async def _outcome(self, operation: Operation, request: Request) -> Outcome:
        try:
            bulk.check(operation, self._names)
            self._check_references(operation)
            return await _handler(operation)(request)
        except Refusal as refusal:
            return await refusal_record.answer(request, refusal)
        except Exception as error:  # noqa: BLE001  it is this operation's; the others have their own answers
            return exchange.answer_to_fault(error, call_of(request), request.scope["path"])

    def _check_references(self, operation: Operation) -> None:
        if waits_for := operation.refers_to - self._ids.keys():
            raise Conflict(
                f"The operation with the bulkId {min(waits_for)[:80]!r} was not carried out, or waits for this one "
                f"itself (RFC 7644 §3.7.1)."
            )


def _handler(operation: Operation) -> Handler:
    name = operation.collection.lower()
    if name not in _ON_ALL:
        raise NotFound("The path of an operation is like /Users or /Groups, with the id of a resource behind it.")
    handlers = _ON_ONE[name] if operation.id else {"POST": _ON_ALL[name]}
    if operation.method not in handlers:
        raise MethodNotAllowed(f"{operation.method} does not work on {operation.path[:80]}.", allow=sorted(handlers))
    return handlers[operation.method]


def _request_of(operation: Operation, request: Request, ids: Mapping[str, str]) -> Request:
    """The operation as a request of its own, admitted with the request that holds it, and with its id."""
    data, path = operation.data, operation.path
    if operation.refers_to and operation.refers_to <= ids.keys():
        data, path = bulk.resolved(data, ids), bulk.resolved(path, ids)
    headers = [each for each in request.scope["headers"] if each[0] == b"host"]
    if operation.version is not None:
        headers.append((b"if-match", operation.version.encode()))
    call = replace(call_of(request), user_id=None, subject={}, quirks=[], refusal=None, changes=0)
    scope = {
        **request.scope,
        "method": operation.method,
        "path": f"{request.scope['path'].rpartition('/')[0]}{path}",
        "path_params": {"id": path.rpartition("/")[2]} if operation.id else {},
        "query_string": b"",
        "headers": headers,
        KEY: call,
        wire.DECODED: data,
    }
    return Request(scope)


def _result(operation: Operation, request: Request, outcome: Outcome) -> Result:
    found = Result(method=operation.method, bulk_id=operation.bulk_id, status="204")
    base = scim_users.base_url(request)
    if operation.id:
        found.location = base + request.scope["path"].removeprefix("/scim/v2")
    if isinstance(outcome, Response):
        found.status, found.response = str(outcome.status_code), msgspec.Raw(outcome.body)
    elif outcome is not None:
        found.status = "200" if operation.id else "201"
        found.version, found.location = scim_resource.etag(outcome), scim_resource.location(outcome, base)
    return found
