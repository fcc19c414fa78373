"""What a strict tenant refuses: each quirk that is no SCIM, with the refusal that RFC 7644 §3.12 has for it."""

from collections.abc import Iterable
from typing import Self, SupportsIndex

from engine.quirks import Quirk
from engine.refusals import (
    InvalidFilter,
    InvalidPath,
    InvalidSyntax,
    InvalidValue,
    NoTarget,
    Refusal,
    UnsupportedMediaType,
)
from engine.values import Unknown

# Quirks that are legal: names and addresses compare without case, a service may take more parameters than SCIM's, what
# is read-only in a body is passed over (RFC 7644 §3.5.1), a time needs no zone (XML Schema). The rest are a tenant's
# own settings about roles.
LEGAL = frozenset(
    (
        Quirk.ADDRESS,
        Quirk.PARAMETER,
        Quirk.NO_ZONE,
        Quirk.EMPTY_STRING,
        Quirk.READ_ONLY,
        Quirk.SCHEMA_AS_PATH,
        Quirk.ROLE_AS_JSON,
        Quirk.NO_SUCH_ROLE,
    )
)

_REFUSALS: dict[Quirk, tuple[type[Refusal], str]] = {
    Quirk.EMPTY_FILTER: (InvalidFilter, "give a filter, or leave the parameter out"),
    Quirk.MEDIA_TYPE: (UnsupportedMediaType, "send Content-Type: application/scim+json or application/json"),
    Quirk.TAG: (InvalidSyntax, 'put the version in quotes, as in W/"3"'),
    Quirk.UNQUOTED: (InvalidFilter, "put a value that is a string in double quotes, and write true, false and null so"),
    Quirk.QUOTED_BOOLEAN: (InvalidFilter, "write true or false without quotes"),
    Quirk.BEHIND_BRACKETS: (InvalidFilter, 'put all comparisons between the brackets: emails[type eq "work" and …]'),
    Quirk.SINGLE_VALUE_PATH: (InvalidPath, "name a single-valued attribute without a filter"),
    Quirk.UNKNOWN: (InvalidValue, "use the attributes that /Schemas lists"),
    Quirk.UNKNOWN_EXTENSION: (InvalidValue, "use the schemas that /Schemas lists"),
    Quirk.UNKNOWN_SUB: (InvalidValue, "use the sub-attributes that /Schemas lists"),
    Quirk.NO_URN: (InvalidValue, "put the URN of its schema before an extension's attribute"),
    Quirk.DOT_FOR_COLON: (InvalidValue, "put a colon between the URN and the attribute"),
    Quirk.CORE_OBJECT: (InvalidSyntax, "put core attributes at the top level"),
    Quirk.PATH_AS_NAME: (InvalidSyntax, "nest sub-attributes, and extensions under their URN, as objects"),
    Quirk.GIVEN_TWICE: (InvalidSyntax, "give each attribute once"),
    Quirk.NO_SCHEMAS: (InvalidSyntax, "list the URNs of the body's schemas in schemas (RFC 7643 §3.1)"),
    Quirk.UNKNOWN_SCHEMA: (InvalidValue, "list only schemas that /Schemas lists"),
    Quirk.NO_CORE_SCHEMA: (InvalidSyntax, "list the URN of the resource's schema, or for a PATCH that of PatchOp"),
    Quirk.UNDECLARED_SCHEMA: (InvalidSyntax, "list each schema that the body uses"),
    Quirk.STRING_FOR_BOOLEAN: (InvalidValue, "write true or false without quotes"),
    Quirk.STRING_FOR_NUMBER: (InvalidValue, "write a number without quotes"),
    Quirk.STRING_FOR_OBJECT: (InvalidValue, 'write an object, as in {"value": "…"}'),
    Quirk.ONE_FOR_LIST: (InvalidValue, "write a list"),
    Quirk.LIST_OF_ONE: (InvalidValue, "write one value, not a list"),
    Quirk.EMPTY_ELEMENT: (InvalidValue, "leave elements without a value out"),
    Quirk.WHICH_ELEMENT: (InvalidValue, "say of which element it is"),
    Quirk.CAPITALS: (InvalidSyntax, "write add, replace or remove in lower case"),
    Quirk.STRAY_MEMBER: (InvalidSyntax, "a message has schemas and Operations; an operation has op, path and value"),
    Quirk.NO_OPERATIONS: (InvalidSyntax, "give at least one operation"),
    Quirk.EMPTY_PATH: (InvalidPath, "name an attribute, or leave path out"),
    Quirk.REMOVED_BY_VALUE: (InvalidPath, 'name what to remove by a filter, as in members[value eq "…"]'),
    Quirk.MADE: (NoTarget, "choose a value that is there, or add one without a filter"),
}


class Strict(list[str]):
    """The quirks of one request to a strict tenant: the first that is no SCIM is raised as its refusal."""

    def append(self, told: str) -> None:
        check(told)
        super().append(told)

    def extend(self, told: Iterable[str]) -> None:
        for each in told:
            self.append(each)

    def __iadd__(self, told: Iterable[str]) -> Self:  # type: ignore[override, misc]  # as lists do
        self.extend(told)
        return self

    def insert(self, place: SupportsIndex, told: str) -> None:
        check(told)
        super().insert(place, told)


def check(told: str) -> None:
    """Raises the refusal of a quirk, as engine/quirks.py tells it, unless it is legal."""
    quirk = next(each for each in Quirk if told == each or told.endswith(f": {each}"))
    if quirk in LEGAL:
        return
    refusal, right = _REFUSALS[quirk]
    what = told
    if isinstance(told, Unknown):
        what = f"{told}, {told.name[:100]!r}"
        refusal = told.refusal or refusal
    raise refusal(f"This tenant is strict, and refuses {what}. Instead, {right}.")


def refusal_of(quirk: Quirk) -> type[Refusal] | None:
    """How a strict tenant refuses it; None if it is legal."""
    return None if quirk in LEGAL else _REFUSALS[quirk][0]
