"""What goes over the wire: JSON bodies in, SCIM and problem answers out (RFC 7644 §3.12, RFC 9457)."""

import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.call import call_of
from api.console import html
from engine.quirks import Quirk
from engine.refusals import Busy, InvalidSyntax, NotAuthenticated, Refusal, TooLarge, UnsupportedMediaType
from engine.values import kind

SCIM = "application/scim+json"
PROBLEM = "application/problem+json"
JSON = "application/json"

LARGEST_BODY = 1_048_576  # bytes

DECODED = "rollbook.decoded"
"""Where a request within a request, one of a bulk message, has the JSON of its body: it was read with the whole."""

_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
_ACCEPTED = {"", JSON, SCIM, "application/merge-patch+json"}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ENCODER = msgspec.json.Encoder()


async def read_json(request: Request, largest: int = LARGEST_BODY) -> object:
    """The JSON in the body, which may have so many bytes; as it was decoded, if it came within another one.

    Raises TooLarge, UnsupportedMediaType, or InvalidSyntax with the place at which the body stopped being JSON.
    """
    if DECODED in request.scope:
        return cast(object, request.scope[DECODED])
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {JSON, SCIM} and is_scim(request.scope["path"]):
        call_of(request).quirks.append(Quirk.MEDIA_TYPE)
    if media_type not in _ACCEPTED:
        raise UnsupportedMediaType(f"The body must be {SCIM} or {JSON}, not {media_type[:80]}.")
    if (encoding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise UnsupportedMediaType(f"The body must come as it is, without Content-Encoding: {encoding[:80]}.")
    body = await _read(request, largest)
    try:
        found: object = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidSyntax("The body is not understood: it is nested too deep.") from None
    except UnicodeDecodeError as error:
        raise InvalidSyntax(f"The body is not UTF-8 (at byte {error.start} of a string).") from None
    except msgspec.MsgspecError as error:
        hint = " Perhaps it holds a lone surrogate (\\ud800 to \\udfff)." if _SURROGATE.search(body) else ""
        raise InvalidSyntax(f"The body is not JSON that can be read: {error}.{hint}") from None
    if b"\\u0000" in body and (place := next(_nul(found), None)):
        raise InvalidSyntax(f"{place} holds a NUL character (\\u0000), which cannot be stored.")
    return found


async def _read(request: Request, largest: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > largest:
        raise TooLarge(f"The body has {length[:20]} bytes; {largest} are allowed.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise TooLarge(f"The body has more than {largest} bytes, which are allowed.")
    return bytes(body)


def _nul(found: object) -> Iterator[str]:
    waiting = [("the body", found)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            yield where
        elif isinstance(value, list):
            waiting += [(f"{where}[{place}]", each) for place, each in enumerate(value)]
        elif isinstance(value, dict):
            waiting += [(f"{where}.{name}".replace("\0", "�"), each) for name, each in value.items()]
            waiting += [(f"a name in {where}", name) for name in value]


def as_object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InvalidSyntax(f"The body must be a JSON object; it is {kind(found)}.")
    return found


def json(content: object, status: int = 200, media_type: str = JSON, headers: dict[str, str] | None = None) -> Response:
    return Response(_ENCODER.encode(content), status, headers, media_type)


def scim(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return json(content, status, SCIM, headers)


def is_scim(path: str) -> bool:
    return path.lower().startswith("/scim")


def _is_console(path: str) -> bool:
    return path == "/console" or path.startswith("/console/")


def refused(refusal: Refusal, path: str) -> Response:
    """A refusal as an answer, in the form of the interface that was asked."""
    if _is_console(path):
        return html.refused(refusal)
    headers = {}
    if isinstance(refusal, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="Rollbook", error="invalid_token"'
    if isinstance(refusal, Busy):
        headers["Retry-After"] = "1"
    if refusal.allow:
        headers["Allow"] = ", ".join(refusal.allow)
    if is_scim(path):
        return scim(scim_error(refusal.status, refusal.detail, refusal.scim_type), refusal.status, headers)
    problem = {"title": type(refusal).__name__, "status": refusal.status, "detail": refusal.detail}
    return json(problem, refusal.status, PROBLEM, headers)


def scim_error(status: int, detail: str, scim_type: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"schemas": [_ERROR], "status": str(status)}
    if scim_type:
        error["scimType"] = scim_type
    return {**error, "detail": detail}


def failed(request_id: str, path: str) -> Response:
    """The answer to a fault of ours: an id by which we find it in our log, and nothing else."""
    if _is_console(path):
        return html.failed(request_id)
    detail = f"Something went wrong on our side. If it happens again, report the request id {request_id}."
    if is_scim(path):
        return scim(scim_error(500, detail), 500)
    return json({"title": "Fault", "status": 500, "detail": detail}, 500, PROBLEM)
