"""In which order a list is read, as SQL: by an attribute (RFC 7644 §3.4.2.3) or by age, and from behind a place on."""

from typing import Literal
from uuid import UUID

from msgspec import Struct

from engine.schema import Target
from projections import where
from projections.where import USERS, Rows

Kind = Literal["text", "timestamptz", "boolean", "numeric"]


class Order(Struct, frozen=True):
    """What a list is sorted by: an expression on a row, and the type of its values.

    Those without a value come last, and first if the order is descending (RFC 7644 §3.4.2.3). Whose values are the same
    stand in the order of their age.
    """

    key: str
    kind: Kind
    is_descending: bool = False
    has_gaps: bool = True  # whether somebody may have no value


class Place(Struct, frozen=True):
    """A row in a list: its value of the order, as text, and its id."""

    key: str | None
    id: UUID


BY_AGE = Order("id", "text", has_gaps=False)
_KINDS: dict[str, Kind] = {"boolean": "boolean", "dateTime": "timestamptz", "integer": "numeric", "decimal": "numeric"}
# Each row has one; and as they have a column of their own, an index can serve.
_ALWAYS = {"userName", "id", "active", "role", "meta.created", "meta.lastModified"}


def by(target: Target, *, is_descending: bool, rows: Rows = USERS) -> Order:
    """The order by an attribute; of a multi-valued one by its primary value, or its first one (RFC 7644 §3.4.2.3)."""
    attribute = target.sub or target.attribute
    kind = _KINDS.get(attribute.type, "text")
    if target.leaf in {"id", "meta.location"}:  # an address ends in the id
        return Order("id", "text", is_descending, has_gaps=False)
    operand = _first(target) if target.attribute.multi_valued else where.column_of(target, rows)
    if kind == "text" and not attribute.case_exact and target.leaf not in where.FOLDED:
        operand = f"lower({operand})"
    cast = "" if target.leaf in _ALWAYS or kind == "text" else f"::{kind}"
    return Order(f"({operand}){cast}", kind, is_descending, target.leaf not in _ALWAYS)


def _first(target: Target) -> str:
    sub = target.sub.name if target.sub else "value"
    value = f"element ->> '{sub}'" if target.attribute.type == "complex" else "element #>> '{}'"
    return f"""(
        SELECT {value}
        FROM jsonb_array_elements(attributes -> '{target.key}') WITH ORDINALITY AS each(element, place)
        ORDER BY element ->> 'primary' IS NOT DISTINCT FROM 'true' DESC, place
        LIMIT 1
    )"""  # noqa: S608  names of our schema


def order_by(order: Order, key: str | None = None) -> str:
    """The terms of ORDER BY; of a column that holds the key, if it is named."""
    direction = "DESC" if order.is_descending else "ASC"
    return f"id {direction}" if order.key == "id" else f"{key or order.key} {direction}, id {direction}"


def behind(order: Order, place: Place, first_parameter: int) -> tuple[str, list[object]]:
    """The condition that a row stands behind the place, and the values of its parameters."""
    sign = "<" if order.is_descending else ">"
    id_ = f"${first_parameter}::uuid"
    if order.key == "id":
        return f"id {sign} {id_}", [place.id]
    if place.key is None:
        rest = f"{order.key} IS NULL AND id {sign} {id_}"
        return (f"({rest} OR {order.key} IS NOT NULL)" if order.is_descending else rest), [place.id]
    key = f"${first_parameter + 1}::text::{order.kind}"
    condition = f"({order.key}, id) {sign} ({key}, {id_})"
    if order.has_gaps and not order.is_descending:
        condition = f"({condition} OR {order.key} IS NULL)"
    return condition, [place.id, place.key]
