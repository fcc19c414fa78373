"""What a list is asked for (RFC 7644 §3.4.2), in the address of a GET or in the body of a `/.search` (§3.4.3)."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from starlette.requests import Request

from api import wire
from api.call import Call, call_of
from api.scim_resource import Choice
from engine import filter_parser, filters, resource
from engine import quirks as told
from engine.catalog import Catalog
from engine.filters import Filter
from engine.quirks import Quirk
from engine.refusals import InvalidCount, InvalidFilter, InvalidPath, InvalidSyntax, InvalidValue
from engine.values import kind
from projections import order, where
from projections.order import BY_AGE, Order

DEFAULT_COUNT = 100
MOST_RESULTS = 1000
SEARCH_REQUEST = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"

_NAMES = ("filter", "attributes", "excludedAttributes", "sortBy", "sortOrder", "startIndex", "count", "cursor")
_LISTS = ("attributes", "excludedAttributes")  # in a body (RFC 7644 §3.4.3)
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")


class Query(Struct, frozen=True, kw_only=True):
    """A list: whom it holds, in which order, and which part of it.

    `cursor` is None where pages begin at a number, `start`; it is empty for the first page of those that are linked by
    cursors (RFC 9865 §2). `bound` is what a cursor is good for.
    """

    filter: Filter | None
    order: Order
    choice: Choice
    start: int
    count: int
    cursor: str | None
    bound: str


def of_address(request: Request, catalog: Catalog, beside: Catalog | None = None) -> Query:
    """`beside` is the other type whose resources are listed too: what it knows is no unknown name.

    Raises InvalidFilter, InvalidValue or InvalidCount, naming the parameter.
    """
    call, given = call_of(request), request.query_params
    if set(given) - set(_NAMES):
        call.quirks.append(Quirk.PARAMETER)
    if given.get("filter") == "":
        call.quirks.append(Quirk.EMPTY_FILTER)
    return _read({name: given[name] for name in _NAMES if name in given}, catalog, beside, call)


async def of_body(request: Request, catalog: Catalog, beside: Catalog | None = None) -> Query:
    """Raises InvalidSyntax if the body is no SearchRequest, and what `of_address` raises."""
    call, body = call_of(request), await wire.read_json(request)
    members = {name.lower(): value for name, value in wire.as_object(body).items()}
    if "schemas" not in members:
        call.quirks.append(Quirk.NO_SCHEMAS)
    given = {name: members[name.lower()] for name in _NAMES if members.get(name.lower()) is not None}
    call.quirks += [told.at(name, Quirk.ONE_FOR_LIST) for name in _LISTS if isinstance(given.get(name), str)]
    return _read({name: _text(name, value) for name, value in given.items()}, catalog, beside, call)


def _text(name: str, value: Any) -> str:
    if name in _LISTS and isinstance(value, list):
        return ",".join(_text(f"a name in {name}", each) for each in value)
    if name in {"startIndex", "count"} and type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise InvalidSyntax(f"{name} takes a string, not {kind(value)}.")
    return value


def _read(given: Mapping[str, str], catalog: Catalog, beside: Catalog | None, call: Call) -> Query:
    call.expect_names_of(InvalidFilter)
    filter_ = filter_parser.parse(given["filter"], catalog, call.quirks) if given.get("filter") else None
    if filter_:
        unknown = [name for name in filters.unknown_names(filter_) if not _is_known(name, beside)]
        call.quirks += [resource.unknown(name, catalog) for name in unknown]
    if "cursor" in given and "startIndex" in given:
        raise InvalidValue("cursor and startIndex exclude each other; give one of them (RFC 9865 §2).")
    return Query(
        filter=filter_,
        order=_order(given, catalog, beside, call),
        choice=Choice(given.get("attributes"), given.get("excludedAttributes"), catalog),
        start=max(_number(given, "startIndex", 1), 1),
        count=_count_of_cursor(given) if "cursor" in given else min(max(_count(given), 0), MOST_RESULTS),
        cursor=given.get("cursor"),
        bound=f"{catalog.type}{'+' if beside else ''}\n"
        + "\n".join(f"{name}={given.get(name, '')}" for name in ("filter", "sortBy", "sortOrder")),
    )


def _is_known(name: str, beside: Catalog | None) -> bool:
    return beside is not None and beside.find(name) is not None


def _order(given: Mapping[str, str], catalog: Catalog, beside: Catalog | None, call: Call) -> Order:
    direction = given.get("sortOrder", "ascending").strip().lower()
    if direction not in {"ascending", "descending"}:
        raise InvalidValue("sortOrder takes ascending or descending.")
    if not (name := given.get("sortBy", "").strip()):
        return BY_AGE
    call.expect_names_of(InvalidPath)
    target, odd = catalog.spelled(name)
    call.quirks += odd
    if target is None:
        if not _is_known(name, beside):
            call.quirks.append(resource.unknown(name, catalog))
        return BY_AGE
    if target.attribute.returned == "never":  # the order would tell the values
        raise InvalidPath(f"{name[:100]} is never returned, so nothing can be sorted by it.")
    if target.attribute.type == "complex" and not (target.sub or target.attribute.sub("value")):
        raise InvalidValue(f"{target.key} is complex: sort by one of its sub-attributes (RFC 7644 §3.4.2.3).")
    return order.by(target, is_descending=direction == "descending", rows=where.ROWS[catalog.type])


def _count(given: Mapping[str, str]) -> int:
    return _number(given, "count", DEFAULT_COUNT)


def _count_of_cursor(given: Mapping[str, str]) -> int:
    """RFC 9865 §2.2 refuses what §3.4.2.4 of RFC 7644 cuts."""
    count = _count(given)
    if not 1 <= count <= MOST_RESULTS:
        raise InvalidCount(f"count takes a number from 1 to {MOST_RESULTS} where pages are linked by cursors.")
    return count


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, "").strip()
    if not text:
        return default
    if not _WHOLE_NUMBER.fullmatch(text):
        raise InvalidValue(f"{name} takes a whole number, not '{text[:30]}'.")
    return int(text[:30])
