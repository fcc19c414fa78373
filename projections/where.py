"""A filter as the WHERE clause of a query on `users`: every value is a parameter, every comparison is SQL's."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import assert_never
from uuid import UUID

from msgspec import Struct

from engine.filters import And, Compare, Filter, Not, Nothing, Or, Present, Some, Value
from engine.schema import CORE, ENTERPRISE, GROUP_URN, ROLLBOOK, Attribute, Target

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
    "id": ("id::text", str),
    "role": ("lower(coalesce(own_role, role))", str.lower),  # as it is shown: the directory knows no other
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

# The URNs in a resource's `schemas`.
_DECLARED = f"""
    SELECT '{CORE}' AS urn
    UNION ALL
    SELECT regexp_replace(key, ':[^:]*$', '')
    FROM jsonb_object_keys(attributes) AS key
    WHERE starts_with(key, 'urn:')
    UNION ALL
    SELECT '{ROLLBOOK}'
    WHERE '{ROLLBOOK}' = ANY (prefixes)
"""  # noqa: S608  constants

# The groups that a person is in, as they are shown.
_GROUPS_OF_USER = """
    WITH RECURSIVE within AS (
        SELECT group_id, 'direct' AS type
        FROM rollbook.members
        WHERE tenant_id = $1 AND member_id = users.id
        UNION
        SELECT members.group_id, 'indirect'
        FROM within
        JOIN rollbook.members ON tenant_id = $1 AND member_id = within.group_id
    )
    SELECT jsonb_build_object(
        'value', group_id,
        '$ref', {base} || '/Groups/' || group_id,
        'type', min(within.type),
        'display', min(groups.attributes ->> 'displayName')
    ) AS element
    FROM rollbook.groups
    JOIN within ON groups.tenant_id = $1 AND groups.id = within.group_id
    GROUP BY group_id
"""

# The people in a group: in it directly, or in one that is within it.
_IN_GROUP = """
    id IN (
        WITH RECURSIVE within AS (
            SELECT {id} AS id
            UNION
            SELECT member_id
            FROM within
            JOIN rollbook.members ON tenant_id = $1 AND group_id = within.id AND type = 'Group'
        )
        SELECT member_id
        FROM within
        JOIN rollbook.members ON tenant_id = $1 AND group_id = within.id
    )
"""

# The members of a group, as they are shown.
_MEMBERS_OF_GROUP = """
    SELECT jsonb_build_object(
        'value', coalesce(value, member_id::text),
        '$ref', {base} || '/' || type || 's/' || member_id,
        'type', type
    ) AS element
    FROM rollbook.members
    WHERE members.tenant_id = $1 AND group_id = groups.id
"""

_WITH_MEMBER = """
    id IN (SELECT group_id FROM rollbook.members WHERE tenant_id = $1 AND member_id = {id})
"""
_WITH_AWAITED = """
    id IN (
        SELECT group_id FROM rollbook.members WHERE tenant_id = $1 AND lower(value) = lower({text}) AND value = {text}
    )
"""


class Rows(Struct, frozen=True):
    """A table of resources, as filters see it.

    `text` and `other` are leaves with a column of their own, `declared` a query of the URNs in `schemas`, `lists` the
    multi-valued attributes that stand in tables of their own: a query of their elements, and conditions that find rows
    by an element's `value`, one for an id and one for any other text. `endpoint` is where they stand behind the base.
    """

    endpoint: str
    text: dict[str, tuple[str, Callable[[str], str]]]
    other: dict[str, str]
    declared: str
    lists: dict[str, tuple[str, str, str]]


USERS = Rows("Users", _TEXT_COLUMNS, _OTHER_COLUMNS, _DECLARED, {"groups": (_GROUPS_OF_USER, _IN_GROUP, "")})
GROUPS = Rows(
    "Groups",
    {
        **{leaf: _TEXT_COLUMNS[leaf] for leaf in ("externalId", "id", "meta.version")},
        "displayName": ("display_name", folded),
        "meta.resourceType": ("'Group'", str),
    },
    {leaf: column for leaf, column in _OTHER_COLUMNS.items() if leaf != "active"},
    f"""
    SELECT '{GROUP_URN}' AS urn
    UNION ALL
    SELECT regexp_replace(key, ':[^:]*$', '')
    FROM jsonb_object_keys(attributes) AS key
    WHERE starts_with(key, 'urn:')
""",  # noqa: S608  constants
    {"members": (_MEMBERS_OF_GROUP, _WITH_MEMBER, _WITH_AWAITED)},
)

ROWS = {"User": USERS, "Group": GROUPS}  # by the type of the resource

# Leaves whose column, or whose value here, is in the form in which names are compared already.
FOLDED = {leaf for leaf in _TEXT_COLUMNS if leaf != "meta.version"}

_SQL_TYPES = {"dateTime": "timestamptz", "integer": "numeric", "decimal": "numeric"}
_IN_ORDER = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def column_of(target: Target, rows: Rows = USERS) -> str:
    """What holds the value of a single-valued attribute, or of one of its sub-attributes; NULL if there is none."""
    return _Compiler(rows).operand(target, None)


def compile_filter(filter_: Filter, rows: Rows = USERS, base: str = "") -> Condition:
    """Raises nothing: whatever the parser lets through has a meaning in SQL.

    `base` is the address of the service, which begins those of its resources.
    """
    compiler = _Compiler(rows, base)
    sql = compiler.filter(filter_)
    return Condition(sql, tuple(compiler.values))


class _Compiler:
    def __init__(self, rows: Rows, base: str = "") -> None:
        self.rows = rows
        self.base = base
        self.values: list[object] = []

    def parameter(self, value: object) -> str:
        self.values.append(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.values[-1] = repr(value)  # exact, and of any size
            return f"${len(self.values) + FIRST_PARAMETER - 1}::text::numeric"
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
                return (
                    f"EXISTS (SELECT FROM ({self.rows.declared}) AS declared WHERE {self.comparison(filter_, element)})"
                )
            case Present(target):
                return f"{self.operand(target, element)} IS NOT NULL"
            case Compare():
                return self.comparison(filter_, element)
            case _:
                assert_never(filter_)

    def some(self, target: Target, inner: Filter) -> str:
        if elsewhere := self.rows.lists.get(target.key):
            return self.some_elsewhere(inner, *elsewhere)
        address = _work_email(inner) if target.key == "emails" else None
        found = (
            f"EXISTS (SELECT FROM jsonb_array_elements(attributes -> '{target.key}') AS element "
            f"WHERE {self.filter(inner, 'element')})"
        )
        if address is None:
            return found
        # The same question to the index; the few who have more than one such address are looked at whole.
        return f"(work_email = {self.parameter(folded(address))} OR (has_more_work_emails AND {found}))"

    def some_elsewhere(self, inner: Filter, elements: str, by_id: str, by_text: str) -> str:
        """Whom an index finds by the value of an element, and then whether all of the filter holds."""
        known, rest = _value_and_rest(inner)
        conditions = []
        if known is not None:
            conditions.append(self.by_value(known, by_id, by_text))
        if rest or known is None:
            elements = elements.format(base=self.parameter(self.base))
            conditions.append(f"EXISTS (SELECT FROM ({elements}) AS each WHERE {self.filter(inner, 'element')})")
        return f"({' AND '.join(conditions)})"

    def by_value(self, value: str, by_id: str, by_text: str) -> str:
        conditions = []
        if id_ := _id(value):
            self.values.append(id_)
            conditions.append(by_id.format(id=f"${len(self.values) + FIRST_PARAMETER - 1}::uuid"))
        if by_text:
            conditions.append(by_text.format(text=self.parameter(value)))
        return f"({' OR '.join(conditions)})" if conditions else "false"

    def operand(self, target: Target, element: str | None) -> str:
        if element is not None:
            if target.leaf:
                return f"({element} ->> '{target.leaf}')"
            return element if target.attribute.type == "complex" else f"({element} #>> '{{}}')"
        if column := self.rows.text.get(target.leaf):
            return f"({column[0]})"
        if column_ := self.rows.other.get(target.leaf):
            return column_
        if target.leaf == "meta.location":
            return f"({self.parameter(f'{self.base}/{self.rows.endpoint}/')} || id)"
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
        kind = _SQL_TYPES.get((compare.target.sub or compare.target.attribute).type)
        if kind:
            stored = f"{left}::{kind}" if element or compare.target.leaf not in self.rows.other else left
            return self.compared(compare, stored, self.parameter(value))
        if compare.target.leaf == "id" and compare.operator == "eq":
            return self.id(str(value))
        attribute = compare.target.sub or compare.target.attribute
        column = self.rows.text.get(compare.target.leaf) if element is None else None
        if column:
            return self.compared(compare, left, self.parameter(column[1](str(value))))
        return self.text(compare, attribute, left, value)

    def id(self, value: str) -> str:
        if not (id_ := _id(value)):
            return "false"
        self.values.append(id_)
        return f"id = ${len(self.values) + FIRST_PARAMETER - 1}::uuid"

    def text(self, compare: Compare, attribute: Attribute, left: str, value: Value) -> str:
        right = self.parameter(value)
        if attribute.case_exact:
            return self.compared(compare, left, right)
        return self.compared(compare, f"lower({left})", f"lower({right})")

    def boolean(self, compare: Compare, left: str, value: bool, element: str | None) -> str:
        # In an element, a boolean that is not there is false.
        if element is not None and compare.target.leaf:
            left = f"coalesce({left}::boolean, false)"
        elif compare.target.leaf not in self.rows.other:
            left = f"({left})::boolean"
        return f"{left} {'=' if compare.operator == 'eq' else 'IS DISTINCT FROM'} {self.parameter(value)}"

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
                collation = "" if isinstance(compare.value, datetime | int | float) else ' COLLATE "C"'
                return f"{left} {symbol} {right}{collation}"


def _id(text: str) -> UUID | None:
    """The id that is shown as this text; ids are case exact, and have one spelling."""
    with contextlib.suppress(ValueError):
        if str(found := UUID(text)) == text:
            return found
    return None


def _value_and_rest(inner: Filter) -> tuple[str | None, bool]:
    """The value that an element must have, if the filter says so, and whether it says more than that."""
    match inner:
        case Compare(Target(key="value"), "eq", str(value)):
            return value, False
        case And(left, right):
            return next((known for each in (left, right) if (known := _value_and_rest(each)[0])), None), True
        case _:
            return None, False


def _work_email(inner: Filter) -> str | None:
    """The address in `emails[type eq "work" and value eq "…"]`, in which Entra's matching query ends up."""
    match inner:
        case And(Compare(Target(key="type"), "eq", str(kind)), Compare(Target(key="value"), "eq", str(address))):
            return address if kind.lower() == "work" else None
        case _:
            return None
