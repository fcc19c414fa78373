"""Around every request: its id, its address in the usual spelling, one line in the log, and no fault that gets out."""

import re
import time
import traceback
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import wire
from api.call import KEY, Call
from api.metrics import METHODS, reason_of
from api.services import services_of
from engine.quirks import Quirk
from engine.refusals import Busy
from projections.request_log import LoggedRequest
from projections.tenants import Admission

_log = structlog.get_logger("rollbook")

CLIENT_WENT = 499  # in the log alone: the client went away in the middle of its body, and nobody was answered

# In the spelling of RFC 7644 §3.2; directories and admins write them in any.
_NAMES = (".search", "Users", "Groups", "Schemas", "ResourceTypes", "ServiceProviderConfig", "Bulk", "Me")
_SEGMENTS = {name.lower(): name for name in _NAMES}
_UNREACHABLE = (
    OSError,  # refused, timed out
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of an answer
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


class Exchange:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = scope[KEY] = Call()
        path, scope["path"] = scope["path"], usual_path(scope["path"])
        if path != scope["path"]:
            call.quirks.append(Quirk.ADDRESS)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", str(call.request_id).encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_WENT
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets an answer and we a line in the log
            response = answer_to_fault(error, call, scope["path"])
            if status == 0:
                await response(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - call.started
            _write_line(scope, call, status, seconds)
            services = services_of(HTTPConnection(scope))
            services.metrics.answered(_route(scope), scope["method"], status, seconds, call.refusal)
            if call.presented and (call.is_astray or wire.is_scim(scope["path"])):
                services.request_writer.note(_row(scope, call, call.presented, status, seconds))


def usual_path(path: str) -> str:
    """Doubled and trailing slashes taken away, and SCIM's own names in their own case."""
    path = re.sub(r"/{2,}", "/", path)
    path = path.rstrip("/") or "/"
    if not wire.is_scim(path):
        return path
    segments = path.split("/")
    base, names = segments[:3], segments[3:]
    return "/".join([*(each.lower() for each in base), *(_SEGMENTS.get(each.lower(), each) for each in names)])


def answer_to_fault(error: Exception, call: Call, path: str) -> Response:
    """The answer to what is no refusal: try again, if the database is away; or a fault, with a line in the log."""
    call.fault = type(error).__name__
    call.refusal = Busy if isinstance(error, _UNREACHABLE) else None
    if call.refusal:
        return wire.refused(Busy("The database does not answer now; try again in a moment."), path)
    # Neither the message nor the values: both may hold personal data. The places are what we need.
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    _log.error("fault", request_id=str(call.request_id), error=call.fault, at=places[-12:])
    return wire.failed(str(call.request_id), path)


def _write_line(scope: Scope, call: Call, status: int, seconds: float) -> None:
    line: dict[str, Any] = {
        "method": _method(scope),
        "route": _route(scope),
        "status": status,
        "ms": round(seconds * 1000, 2),
        "request_id": str(call.request_id),
    }
    if call.presented:
        line |= {"tenant_id": str(call.presented.tenant_id), "token_id": str(call.presented.token_id)}
    optional = {
        "user_id": call.user_id and str(call.user_id),
        "scim_type": call.refusal and call.refusal.scim_type,
        "fault": call.fault,
        "quirks": call.distinct_quirks,
    }
    _log.info("request", **line, **{name: value for name, value in optional.items() if value})


def _row(scope: Scope, call: Call, presented: Admission, status: int, seconds: float) -> LoggedRequest:
    return LoggedRequest(
        tenant_id=presented.tenant_id,
        at=datetime.fromtimestamp(time.time() - seconds, UTC),
        request_id=call.request_id,
        token_id=presented.token_id,
        method=_method(scope),
        route=_route(scope),
        status=status,
        microseconds=int(seconds * 1_000_000),
        user_id=call.user_id,
        refusal=reason_of(call.refusal) if call.refusal else None,
        # Not in the log's line: it is no departure from SCIM, and yet it says what a directory's mapping lacks.
        quirks=(*call.distinct_quirks, *((str(Quirk.NO_ACTIVE),) if call.lacks_active else ())),
        changes=call.changes,
    )


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else "other"


def _route(scope: Scope) -> str:
    """The address as a pattern: what stands in a path or a query may be somebody's name."""
    route: str = scope.get("rollbook.route", "unknown")
    return route


def request_path(request: Request) -> str:
    path: str = request.scope["path"]
    return path
