"""How the console's pages become answers: one environment of templates, and headers that let nothing else in."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct
from starlette.responses import HTMLResponse, Response

from engine.refusals import Busy, Refusal

HERE = Path(__file__).parent

# No script, style, image or frame but our own files; forms go to us alone (https://www.w3.org/TR/CSP3/). A referrer
# is told to ourselves only: browsers need one to name the origin of a form.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PRIVATE = {"Cache-Control": "no-store"}
_PUBLIC = {"Cache-Control": "public, max-age=31536000, immutable"}
_TITLES = {
    400: "This cannot be asked",
    401: "Please sign in",
    403: "This is not for you",
    404: "There is nothing here",
    405: "This does not work here",
    409: "Something is in the way",
    412: "Somebody was faster",
    413: "This is too large",
    500: "Something went wrong on our side",
    501: "This is not offered",
    503: "Not now",
}


def moment(at: datetime | None) -> Markup | str:
    """A time in UTC, which a script shows in the reader's own zone; the exact one is its title."""
    if at is None:
        return "—"
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        at.isoformat(), at.isoformat(sep=" ", timespec="milliseconds")[:23], f"{at:%Y-%m-%d %H:%M}"
    )


def number(value: float) -> str:
    """With separators of thousands."""
    return f"{value:,}"


def plain(value: Any) -> str:
    """A value of an attribute as text: what is no text is JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def readable(value: Any) -> str:
    """A value of an attribute in words: elements with their type, the parts of what is complex."""
    if isinstance(value, Struct | datetime | tuple):  # in what tokens and settings were changed to
        value = msgspec.to_builtins(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(readable, value))
    if not isinstance(value, dict):
        return ("yes" if value else "no") if isinstance(value, bool) else plain(value)
    rest = {name: each for name, each in value.items() if name not in {"type", "primary"}}
    main = next((rest.pop(name) for name in ("value", "formatted", "display") if name in rest), None)
    said = [plain(main)] if main is not None else []
    said += [f"{name} {plain(each)}" for name, each in rest.items() if each != main]
    kinds = [plain(value["type"])] if "type" in value else []
    kinds += ["primary"] if value.get("primary") is True else []
    return " ".join(part for part in ("; ".join(said), f"({', '.join(kinds)})" if kinds else "") if part)


def short(name: str) -> str:
    """An attribute's name without the schema that it is from."""
    return name.rpartition(":")[2] if name.startswith("urn:") else name


def as_rows(values: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Values by name as what is new."""
    return [(name, None, value) for name, value in values.items()]


def _static(name: str) -> str:
    """The address of a file of ours, which changes with its content."""
    return f"/console/static/{name}?v={_DIGESTS[name]}"


_DIGESTS = {
    each.name: hashlib.sha256(each.read_bytes()).hexdigest()[:12] for each in sorted((HERE / "static").iterdir())
}

_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "moment": moment,
    "number": number,
    "plain": plain,
    "readable": readable,
    "short": short,
    "as_rows": as_rows,
}
_TEMPLATES.tests |= {
    "moment": lambda value: isinstance(value, datetime),
    "event": lambda value: hasattr(value, "seq") and hasattr(value, "recorded_at"),
}
_TEMPLATES.globals |= {"static": _static, "now": lambda: datetime.now(UTC)}


def fragment(template: str, **context: Any) -> str:
    """A part of a page."""
    return _TEMPLATES.get_template(template).render(context)


def page(template: str, status: int = 200, **context: Any) -> Response:
    """A page that is nobody else's: no cache keeps it."""
    return HTMLResponse(fragment(template, **context), status, _HEADERS | _PRIVATE)


def guarded(response: Response) -> Response:
    """Another answer, such as a redirection or a file, with the headers of a page."""
    response.headers.update(_HEADERS | _PRIVATE)
    return response


def kept(response: Response) -> Response:
    """A file that is the same for everybody: any cache may keep it, for its address changes with its content."""
    response.headers.update(_HEADERS | _PUBLIC)
    return response


def refused(refusal: Refusal) -> Response:
    """A refusal as a page that says what to do."""
    response = _wrong(refusal.status, refusal.detail)
    if isinstance(refusal, Busy):
        response.headers["Retry-After"] = "1"
    if refusal.allow:
        response.headers["Allow"] = ", ".join(refusal.allow)
    return response


def failed(request_id: str) -> Response:
    """The page for a fault of ours: an id by which we find it in our log, and nothing else."""
    return _wrong(500, f"If it happens again, tell the operator this request id: {request_id}.")


def _wrong(status: int, detail: str) -> Response:
    return page("wrong.html", status, title=_TITLES.get(status, "This did not work"), detail=detail, visit=None)
