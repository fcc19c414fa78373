"""A filter as the WHERE clause of a query on `users`: every value is a parameter, every comparison is SQL's."""

from collections.abc import Callable
from datetime import datetime
from typing import assert_never
from uuid import UUID

from msgspec import Struct

from engine.filters import And, Compare, Filter, Not, Nothing, Or, Present, Some, Value
from engine.schema import CORE, ENTERPRISE, ROLLBOOK, Attribute, Target

FIRST_PARAMETER = 4  # behind the tenant, the offset and the limit


class Condition(Struct, frozen=True):
    """SQL of one boolean expression, and the values of its parameters, from $4 on."""

    sql: str
    values: tuple[object, ...]


def folded(text: str) -> str:
    """The form in which names are compared without regard to case, the same in Python and in the columns."""
    return text.casefold()


# Leaves with a column of their own: the form in which it holds them.
_TEXT_COLUMNS: dict[str, tuple[str, Callable[[str], str]]] = {
    "userName": ("user_name", folded),
    "microsoftId": ("microsoft_id", folded),
    "externalId": ("external_id", str),
    f"{ENTERPRISE}:employeeNumber": ("employee_number", folded),
    "id": ("id::text", str.lower),
    "role": ("lower(role)", str.lower),
    "meta.version": ("""'W/"' || version || '"'""", str),
    "meta.resourceType": ("'User'", str),
}
# Times are compared as they are shown, to the millisecond: what a client has read, it finds again.
_OTHER_COLUMNS = {
    "active": "active",
    "meta": "created_at",  # there always
    "meta.created": "date_trunc('milliseconds', created_at)",
    "meta.lastModified": "date_trunc('milliseconds', modified_at)",
}

# Leaves whose column, or whose value here, is in the form in which names are compared already.
FOLDED = {leaf for leaf in _TEXT_COLUMNS if leaf != "meta.version"}

# The URNs in a resource's `schemas`.
_DECLARED = f"""
    SELECT '{CORE}' AS urn
    UNION ALL
    SELECT '{ENTERPRISE}'
    WHERE EXISTS (SELECT FROM jsonb_object_keys(attributes) AS key WHERE starts_with(key, '{ENTERPRISE}:'))
    UNION ALL
    SELECT '{ROLLBOOK}'
    WHERE '{ROLLBOOK}' = ANY (prefixes)
"""  # noqa: S608  constants

_IN_ORDER = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def column_of(target: Target) -> str:
    """What holds the value of a single-valued attribute, or of one of its sub-attributes; NULL if there is none."""
    return _Compiler().operand(target, None)


def compile_filter(filter_: Filter) -> Condition:
    """Raises nothing: whatever the parser lets through has a meaning in SQL."""
    compiler = _Compiler()
    sql = compiler.filter(filter_)
    return Condition(sql, tuple(compiler.values))


class _Compiler:
    def __init__(self) -> None:
        self.values: list[object] = []

    def parameter(self, value: object) -> str:
        self.values.append(value)
        kind = "timestamptz" if isinstance(value, datetime) else "boolean" if isinstance(value, bool) else "text"
        return f"${len(self.values) + FIRST_PARAMETER - 1}::{kind}"

    def filter(self, filter_: Filter, element: str | None = None) -> str:
        match filter_:
            case And(left, right):
                return f"({self.filter(left, element)} AND {self.filter(right, element)})"
            case Or(left, right):
                return f"({self.filter(left, element)} OR {self.filter(right, element)})"
            case Not(inner):
                # A comparison with what is not there is NULL in SQL, and its negation must be true.
                return f"NOT coalesce({self.filter(inner, element)}, false)"
            case Some(target, inner):
                return self.some(target, inner)
            case Nothing():
                return "false"
            case Present(Target(key="schemas")):
                return "true"
            case Compare(Target(key="schemas")):
                return f"EXISTS (SELECT FROM ({_DECLARED}) AS declared WHERE {self.comparison(filter_, element)})"
            case Present(target):
                return f"{self.operand(target, element)} IS NOT NULL"
            case Compare():
                return self.comparison(filter_, element)
            case _:
                assert_never(filter_)

    def some(self, target: Target, inner: Filter) -> str:
        address = _work_email(inner) if target.key == "emails" else None
        found = (
            f"EXISTS (SELECT FROM jsonb_array_elements(attributes -> '{target.key}') AS element "
            f"WHERE {self.filter(inner, 'element')})"
        )
        if address is None:
            return found
        # The same question to the index; the few who have more than one such address are looked at whole.
        return f"(work_email = {self.parameter(folded(address))} OR (has_more_work_emails AND {found}))"

    def operand(self, target: Target, element: str | None) -> str:
        if element is not None:
            return f"({element} ->> '{target.leaf}')" if target.leaf else element
        if column := _TEXT_COLUMNS.get(target.leaf):
            return f"({column[0]})"
        if column_ := _OTHER_COLUMNS.get(target.leaf):
            return column_
        attribute = target.sub or target.attribute
        if attribute.name == "schemas":
            return "urn"
        if attribute.type == "complex":
            subs = ", ".join(f"'{target.key}.{sub.name}'" for sub in attribute.sub_attributes)
            return f"nullif(attributes ?| ARRAY[{subs}], false)"
        return f"(attributes ->> '{target.leaf}')"

    def comparison(self, compare: Compare, element: str | None) -> str:
        left, value = self.operand(compare.target, element), compare.value
        if value is None:
            return f"{left} IS {'NOT ' if compare.operator == 'ne' else ''}NULL"
        if isinstance(value, bool):
            return self.boolean(compare, left, value, element)
        if isinstance(value, datetime):
            return self.compared(compare, left, self.parameter(value))
        if compare.target.leaf == "id" and compare.operator == "eq":
            return self.id(value)
        attribute = compare.target.sub or compare.target.attribute
        column = _TEXT_COLUMNS.get(compare.target.leaf) if element is None else None
        if column:
            return self.compared(compare, left, self.parameter(column[1](value)))
        return self.text(compare, attribute, left, value)

    def id(self, value: str) -> str:
        try:
            self.values.append(UUID(value))
        except ValueError:
            return "false"
        return f"id = ${len(self.values) + FIRST_PARAMETER - 1}::uuid"

    def text(self, compare: Compare, attribute: Attribute, left: str, value: Value) -> str:
        right = self.parameter(value)
        if attribute.case_exact:
            return self.compared(compare, left, right)
        return self.compared(compare, f"lower({left})", f"lower({right})")

    def boolean(self, compare: Compare, left: str, value: bool, element: str | None) -> str:
        # In an element, a boolean that is not there is false.
        left = left if element is None else f"coalesce({left}::boolean, false)"
        return f"{left} {'=' if compare.operator == 'eq' else '<>'} {self.parameter(value)}"

    def compared(self, compare: Compare, left: str, right: str) -> str:
        match compare.operator:
            case "eq":
                return f"{left} = {right}"
            case "ne":
                return f"{left} IS DISTINCT FROM {right}"
            case "co":
                return f"strpos({left}, {right}) > 0"
            case "sw":
                return f"starts_with({left}, {right})"
            case "ew":
                return f"right({left}, length({right})) = {right}"
            case _:
                symbol = _IN_ORDER[compare.operator]
                collation = "" if isinstance(compare.value, datetime) else ' COLLATE "C"'
                return f"{left} {symbol} {right}{collation}"


def _work_email(inner: Filter) -> str | None:
    """The address in `emails[type eq "work" and value eq "…"]`, in which Entra's matching query ends up."""
    match inner:
        case And(Compare(Target(key="type"), "eq", str(kind)), Compare(Target(key="value"), "eq", str(address))):
            return address if kind.lower() == "work" else None
        case _:
            return None
