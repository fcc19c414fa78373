"""Strict SCIM: each tolerance is refused, in a tenant that wants none, before anything is carried out."""

from collections.abc import Iterable
from typing import Self

from engine.quirks import Quirk, told_in
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

_REFUSALS: dict[Quirk, type[Refusal]] = {
    Quirk.EMPTY_FILTER: InvalidFilter,
    Quirk.MEDIA_TYPE: UnsupportedMediaType,
    Quirk.UNQUOTED: InvalidFilter,
    Quirk.QUOTED_BOOLEAN: InvalidFilter,
    Quirk.QUOTED_NUMBER: InvalidFilter,
    Quirk.BEHIND_BRACKETS: InvalidFilter,
    Quirk.NO_ZONE: InvalidFilter,
    Quirk.SINGLE_VALUE_PATH: InvalidPath,
    Quirk.UNKNOWN: InvalidValue,
    Quirk.UNKNOWN_EXTENSION: InvalidValue,
    Quirk.UNKNOWN_SUB: InvalidValue,
    Quirk.NO_URN: InvalidPath,
    Quirk.DOT_FOR_COLON: InvalidPath,
    Quirk.CORE_OBJECT: InvalidSyntax,
    Quirk.PATH_AS_NAME: InvalidSyntax,
    Quirk.GIVEN_TWICE: InvalidSyntax,
    Quirk.NO_SCHEMAS: InvalidSyntax,
    Quirk.UNKNOWN_SCHEMA: InvalidSyntax,
    Quirk.UNDECLARED_SCHEMA: InvalidSyntax,
    Quirk.STRING_FOR_BOOLEAN: InvalidValue,
    Quirk.STRING_FOR_NUMBER: InvalidValue,
    Quirk.STRING_FOR_OBJECT: InvalidValue,
    Quirk.ONE_FOR_LIST: InvalidValue,
    Quirk.LIST_OF_ONE: InvalidValue,
    Quirk.EMPTY_STRING: InvalidValue,
    Quirk.EMPTY_ELEMENT: InvalidValue,
    Quirk.WHICH_ELEMENT: InvalidPath,
    Quirk.ROLE_AS_JSON: InvalidValue,
    Quirk.CAPITALS: InvalidSyntax,
    Quirk.STRAY_MEMBER: InvalidSyntax,
    Quirk.NO_OPERATIONS: InvalidSyntax,
    Quirk.EMPTY_PATH: InvalidPath,
    Quirk.REMOVED_BY_VALUE: InvalidValue,
    Quirk.MADE: NoTarget,
}
"""All but those that SCIM itself allows: what is read-only is passed over (RFC 7644 §3.3), the usual parts of an
element may stand in any (RFC 7643 §2.4), `active` may be left out (§4.1.1), unknown parameters of a query are nobody's,
and a schema's URN is the name of its attributes' container (§3.3)."""

_UNKNOWN = {Quirk.UNKNOWN, Quirk.UNKNOWN_EXTENSION, Quirk.UNKNOWN_SUB}


def _name_in(quirk: str) -> str:
    return f", {quirk.name[:100]!r}" if isinstance(quirk, Unknown) else ""


class StrictQuirks(list[str]):
    """Takes no quirk that SCIM does not allow: raises the refusal that the RFC has for it.

    `unknown_in` is what an unknown name is refused with; it depends on where names are read.
    """

    def __init__(self, quirks: Iterable[str] = ()) -> None:
        super().__init__(quirks)
        self.unknown_in: type[Refusal] = InvalidValue

    def append(self, quirk: str) -> None:
        told = told_in(quirk)
        if refusal := self.unknown_in if told in _UNKNOWN else _REFUSALS.get(told):
            raise refusal(f"This tenant takes strict SCIM, and this is none: {quirk}{_name_in(quirk)}.")
        super().append(quirk)

    def extend(self, quirks: Iterable[str]) -> None:
        for each in quirks:
            self.append(each)

    def __iadd__(self, quirks: Iterable[str]) -> Self:  # type: ignore[override,misc]
        self.extend(quirks)
        return self
