"""The filter language of RFC 7644 §3.4.2.2: from text to a tree whose attributes and values are typed already."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast, get_args

import msgspec
from msgspec import Struct

from engine.catalog import Catalog
from engine.filters import And, Compare, Filter, Not, Nothing, Operator, Or, Present, Some, Value
from engine.quirks import Quirk
from engine.refusals import BadRequest, InvalidFilter
from engine.schema import SCHEMAS_ATTRIBUTE, Attribute, Target
from engine.values import Quirks, one_of

LONGEST = 8_000  # characters
DEEPEST = 30  # brackets within brackets
MOST_TERMS = 100

# Spaces belong to no alternative, for looking for the end of a long run of them again and again is slow.
_TOKEN = re.compile(r'[()\[\]]|"(?:[^"\\]|\\.)*"|[^\s()\[\]"]+|(?P<unended>\S)')
NAME = re.compile(r"[A-Za-z$][\w$.:-]*")
_WHOLE = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_OPERATORS = frozenset(get_args(Operator))
_IN_ORDER = {"gt", "ge", "lt", "le"}
_CONSTANTS = {"true": True, "false": False, "null": None}


class _Bare(str):
    """A number, which stands without quotes by right; whether it may here, its attribute says."""

    __slots__ = ()


class Token(Struct, frozen=True):
    """A piece of the text with the place where it starts, counted from 1 as people count."""

    text: str
    at: int


def tokens(text: str, refuse: type[BadRequest]) -> list[Token]:
    found = []
    for match in _TOKEN.finditer(text):
        token = Token(match.group(), match.start() + 1)
        if match.lastgroup == "unended":
            raise refuse(f"A quoted value begins at character {token.at} and does not end.")
        found.append(token)
    return found


class Parser:
    """Reads filters and value paths from one text; refuses with the place at which it stopped understanding."""

    def __init__(
        self,
        text: str,
        catalog: Catalog,
        refuse: type[BadRequest] = InvalidFilter,
        most_terms: int = MOST_TERMS,
        quirks: Quirks | None = None,
    ) -> None:
        self._catalog = catalog
        self._refuse = refuse
        self._quirks: Quirks = [] if quirks is None else quirks
        self._most_terms = most_terms
        if len(text) > LONGEST:
            raise refuse(f"This is {len(text)} characters long; {LONGEST} are allowed.")
        self._end = len(text) + 1
        self._tokens = tokens(text, refuse)
        self._next = 0
        self._depth = 0
        self._terms = 0

    # The stream of tokens.

    def peek(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def take(self) -> Token:
        if self._next == len(self._tokens):
            raise self.wrong("it ends too early")
        self._next += 1
        return self._tokens[self._next - 1]

    def take_mark(self, mark: str) -> None:
        if self.peek() != mark:
            raise self.wrong(f"'{mark}' is missing")
        self._next += 1

    def take_end(self) -> None:
        if self._next < len(self._tokens):
            raise self.wrong(f"{_quoted(self.peek())} is not expected here")

    def wrong(self, what: str) -> BadRequest:
        at = self._tokens[self._next].at if self._next < len(self._tokens) else self._end
        return self._refuse(f"At character {at}: {what}.")

    # The grammar, from the loosest binding to the tightest.

    def either(self, inside: Target | None = None) -> Filter:
        left = self.both(inside)
        while self.peek().lower() == "or":
            self._next += 1
            left = Or(left, self.both(inside))
        return left

    def both(self, inside: Target | None) -> Filter:
        left = self.one(inside)
        while self.peek().lower() == "and":
            self._next += 1
            left = And(left, self.one(inside))
        return left

    def one(self, inside: Target | None) -> Filter:
        self._terms += 1
        if self._terms > self._most_terms:
            raise self.wrong(f"there are more than {self._most_terms} terms")
        negated = self.peek().lower() == "not"
        if negated:
            self._next += 1
        if negated or self.peek() == "(":
            inner = self.nested("(", ")", lambda: self.either(inside))
            return Not(inner) if negated else inner
        return self.term(inside)

    def nested(self, opening: str, closing: str, read: Callable[[], Filter]) -> Filter:
        self.take_mark(opening)
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.wrong(f"brackets are nested more than {DEEPEST} deep")
        inner = read()
        self._depth -= 1
        self.take_mark(closing)
        return inner

    def term(self, inside: Target | None) -> Filter:
        name = self.name()
        target, odd = (_sub_attribute(inside, name.text), ()) if inside else self._catalog.spelled(name.text)
        self._quirks += odd
        if target and target.attribute.returned == "never":  # who may search may guess, one character after another
            raise self.wrong(f"{name.text} is never returned, so it cannot be searched by")
        if self.peek() == "[":
            if inside is not None:
                raise self.wrong("a value path cannot stand within another one")
            return self.value_path(target, name.text)
        return self.comparison(target, name.text)

    def name(self) -> Token:
        token = self.take()
        if not NAME.fullmatch(token.text):
            self._next -= 1
            raise self.wrong(f"an attribute's name is expected, not {_quoted(token.text)}")
        return token

    def value_path(self, target: Target | None, name: str) -> Filter:
        """`emails[type eq "work"]`, and Entra's `emails[type eq "work"].value eq "…"`: one element fulfils both."""
        inner = self.bracketed(target)
        if sub := self.sub_name():
            self._quirks.append(Quirk.BEHIND_BRACKETS)
            inner = And(inner, self.comparison(_sub_attribute(target, sub), sub))
        if target is None:
            return Nothing(name)
        return Some(target, inner) if target.attribute.multi_valued else inner

    def bracketed(self, target: Target | None) -> Filter:
        if target is not None and (not _has_elements(target.attribute) or target.sub is not None):
            raise self.wrong(f"{target.attribute.name} has no sub-attributes to choose by")
        return self.nested("[", "]", lambda: self.either(target or _UNKNOWN))

    def sub_name(self) -> str:
        """The `.value` behind a bracket, without its dot; empty if there is none."""
        if not self.peek().startswith("."):
            return ""
        name = self.peek()[1:]
        if not NAME.fullmatch(name):
            raise self.wrong("a sub-attribute's name is expected behind the dot")
        self._next += 1
        return name

    def comparison(self, target: Target | None, name: str) -> Filter:
        operator = self.take()
        if operator.text.lower() == "pr":
            return _over_elements(target, name, Present, present=True)
        if operator.text.lower() not in _OPERATORS:
            self._next -= 1
            raise self.wrong(
                f"an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr) is expected, not {_quoted(operator.text)}"
            )
        symbol = cast(Operator, operator.text.lower())
        value = self.value()
        if value is None and target and target.attribute.multi_valued and not target.sub and symbol in {"eq", "ne"}:
            there = _over_elements(target, name, Present, present=True)  # a list without elements is unassigned
            return there if symbol == "ne" else Not(there)
        return _over_elements(target, name, lambda leaf: Compare(leaf, symbol, self.typed(leaf, symbol, value)))

    def value(self) -> object:
        token = self.take()
        if token.text.startswith('"'):
            return self.text(token)
        if token.text in {"(", ")", "[", "]"} or "\0" in token.text:
            raise self.wrong_value("a value is expected")
        if _DECIMAL.fullmatch(token.text):
            return _Bare(token.text)
        # A value without quotes is no SCIM, but Microsoft's documentation writes one (filter=externalId eq jyoung).
        if token.text not in _CONSTANTS:
            self._quirks.append(Quirk.UNQUOTED)
        return _CONSTANTS.get(token.text.lower(), token.text)

    def text(self, token: Token) -> str:
        try:
            found = msgspec.json.decode(token.text, type=str)
        except (msgspec.DecodeError, UnicodeError):
            found = "\0"
        if "\0" in found:
            raise self.wrong_value("the quoted value is not a JSON string, or holds a NUL character")
        return found

    def wrong_value(self, what: str) -> BadRequest:
        """Refuses the value that was taken last, at its place."""
        self._next -= 1
        return self.wrong(what)

    def typed(self, leaf: Target, operator: Operator, value: object) -> Value:
        kind = (leaf.sub or leaf.attribute).type
        if value is None:
            if operator not in {"eq", "ne"}:
                raise self.wrong_value(f"null cannot be compared with {operator}")
            return None
        if kind == "boolean":
            if operator not in {"eq", "ne"}:
                raise self.wrong_value(f"{leaf.leaf} is a boolean; it can be compared with eq and ne")
            return self.boolean(leaf, value)
        if kind == "binary" and operator in _IN_ORDER:  # RFC 7644 §3.4.2.2
            raise self.wrong_value(f"{leaf.leaf} is binary; it has no order")
        if kind == "dateTime":
            return self.moment(leaf, operator, value)
        if kind in {"integer", "decimal"}:
            return self.number(leaf, operator, value)
        if kind == "complex":
            raise self.wrong_value(f"{leaf.leaf} is complex; name one of its sub-attributes")
        if isinstance(value, bool | _Bare):
            self._quirks.append(Quirk.UNQUOTED)
            return str(value).lower() if isinstance(value, bool) else str(value)
        return str(value)

    def number(self, leaf: Target, operator: Operator, value: object) -> int | float:
        if (operator in {"eq", "ne"} or operator in _IN_ORDER) and not isinstance(value, bool):
            text = str(value)
            if isinstance(value, str) and not isinstance(value, _Bare):
                self._quirks.append(Quirk.QUOTED_NUMBER)
            if _WHOLE.fullmatch(text):
                return int(text)
            if _DECIMAL.fullmatch(text) and math.isfinite(found := float(text)):
                return found
        raise self.wrong_value(f"{leaf.leaf} is a number; compare it by eq, ne, gt, ge, lt or le with one like 4.5")

    def boolean(self, leaf: Target, value: object) -> bool:
        """Entra quotes booleans: `roles[primary eq "True"]`."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            self._quirks.append(Quirk.QUOTED_BOOLEAN)
            return value.lower() == "true"
        raise self.wrong_value(f"{leaf.leaf} is a boolean; compare it with true or false")

    def moment(self, leaf: Target, operator: Operator, value: object) -> datetime:
        if operator in {"eq", "ne"} or operator in _IN_ORDER:
            try:
                moment = datetime.fromisoformat(str(value))
                if moment.tzinfo is None:
                    self._quirks.append(Quirk.NO_ZONE)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        raise self.wrong_value(
            f'{leaf.leaf} is a time; compare it by eq, ne, gt, ge, lt or le with one like "2026-11-23T09:00:00Z"'
        )


_UNKNOWN = Target("", Attribute("", "", "complex"))


def _sub_attribute(parent: Target | None, name: str) -> Target | None:
    """A sub-attribute as a target: of an element if the parent is multi-valued, else of the parent's own leaf."""
    sub = parent.attribute.sub(name) if parent else None
    if parent and parent.attribute.type != "complex" and name.lower() == "value":
        return Target("", one_of(parent.attribute))
    if parent is None or sub is None:
        return None
    return Target(sub.name, sub) if parent.attribute.multi_valued else Target(parent.key, parent.attribute, sub)


def _over_elements(
    target: Target | None, name: str, build: Callable[[Target], Filter], *, present: bool = False
) -> Filter:
    """Operators on a multi-valued attribute mean "any"; without a sub-attribute they mean `value` (RFC 7643 §2.4)."""
    if target is None:
        return Nothing(name)
    attribute = target.attribute
    if attribute.type != "complex":
        if not attribute.multi_valued or attribute == SCHEMAS_ATTRIBUTE:
            return build(target)
        return Some(target, build(Target("", one_of(attribute))))
    if target.sub is None and not present:
        sub = attribute.sub("value")
        target = Target(target.key, attribute, sub) if sub or not attribute.multi_valued else target
    if not attribute.multi_valued:
        return build(target)
    if target.sub is None:
        return Some(target, build(Target("", attribute)))
    return Some(Target(target.key, attribute), build(Target(target.sub.name, target.sub)))


def _has_elements(attribute: Attribute) -> bool:
    return attribute.type == "complex" or (attribute.multi_valued and attribute != SCHEMAS_ATTRIBUTE)


def _quoted(text: str) -> str:
    return "'" + text[:40] + ("…" if len(text) > 40 else "") + "'"


def parse(text: str, catalog: Catalog, quirks: Quirks | None = None) -> Filter:
    """The filter of a query.

    Raises InvalidFilter, with the place, if the text is not of the grammar, is too long or nested too deep, or
    compares a value of another type than the attribute's.
    """
    parser = Parser(text, catalog, quirks=quirks)
    found = parser.either()
    parser.take_end()
    return found
