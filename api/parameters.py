"""Parameters of audit questions: the texts of an address or of the command line, made into a struct's fields."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from engine.refusals import BadRequest

LONGEST = 500  # characters of one value

A = TypeVar("A", bound=Struct)


class Parameter(Struct, frozen=True):
    """A parameter: its name, the type of its value or of each in a list, and what it means."""

    name: str
    kind: Any
    is_list: bool
    is_required: bool
    description: str

    @property
    def takes(self) -> str:
        """What it takes, for whoever gave something else."""
        return f"{'one or more, with commas between them, of: ' if self.is_list else ''}{_takes(self.kind)}"


def parameters(asked: type[Struct]) -> list[Parameter]:
    """The parameters that are the struct's fields."""
    hints = get_type_hints(asked, include_extras=True)
    return [
        _parameter(each.encode_name, hints[each.name], is_required=each.required)
        for each in msgspec.structs.fields(asked)
    ]


def read(asked: type[A], given: Mapping[str, str]) -> A:
    """The struct of what was given. Raises BadRequest for a name or a value that it does not take."""
    known = {each.name: each for each in parameters(asked)}
    if unknown := sorted(given.keys() - known.keys()):
        raise BadRequest(f"There is no parameter {unknown[0][:100]!r} here. There are: {', '.join(known) or 'none'}.")
    for each in known.values():
        if each.is_required and each.name not in given:
            raise BadRequest(f"{each.name} is missing: it takes {each.takes}.")
    values = {name: _value(known[name], text) for name, text in given.items()}
    try:
        return msgspec.convert(values, asked)
    except msgspec.ValidationError as error:
        wrong = next((each for each in known.values() if f"$.{each.name}`" in str(error)), None)
        if wrong is None:
            raise BadRequest(f"This cannot be asked: {error}.") from None
        raise BadRequest(f"{wrong.name} takes {wrong.takes}.") from None


def _parameter(name: str, hint: Any, *, is_required: bool) -> Parameter:
    description = ""
    if get_origin(hint) is Annotated:
        hint, *metas = get_args(hint)
        description = next((each.description for each in metas if isinstance(each, Meta) and each.description), "")
    if get_origin(hint) in {Union, UnionType}:
        hint = next(each for each in get_args(hint) if each is not type(None))
    is_list = get_origin(hint) is tuple
    return Parameter(name, get_args(hint)[0] if is_list else hint, is_list, is_required, description)


def _value(parameter: Parameter, text: str) -> Any:
    if len(text) > LONGEST or "\0" in text:
        raise BadRequest(f"{parameter.name} takes at most {LONGEST} characters, and no NUL.")
    if not parameter.is_list:
        return _one(parameter, text)
    return [_one(parameter, each.strip()) for each in text.split(",")]


def _one(parameter: Parameter, text: str) -> Any:
    kind = bare(parameter.kind)
    if kind is datetime:
        moment = _moment(text)
        if moment is None:
            raise BadRequest(f"{parameter.name} takes {parameter.takes}; not {text[:50]!r}.")
        return moment
    try:
        return msgspec.convert(text, parameter.kind, strict=False)
    except msgspec.ValidationError:
        raise BadRequest(f"{parameter.name} takes {parameter.takes}; not {text[:50]!r}.") from None


def _moment(text: str) -> datetime | None:
    """A date is its beginning in UTC; a time names its zone. An unescaped + arrives as a space."""
    text = text.strip().replace(" ", "+")
    try:
        if len(text) == len("2026-11-23"):
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        moment = msgspec.convert(text, datetime)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):  # msgspec's ValidationError is a ValueError
        return None


def bare(kind: Any) -> Any:
    """The type without what is noted of it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _takes(kind: Any) -> str:
    kind_itself = bare(kind)
    if get_origin(kind_itself) is Literal:
        return " or ".join(get_args(kind_itself))
    if kind_itself is int:
        return "a whole number" + _bounds(kind)
    return {
        UUID: "an id, a UUID",
        bool: "true or false",
        datetime: "a time with its zone, such as 2026-11-23T09:00:00Z, or a date, which is its beginning in UTC",
    }.get(kind_itself, "text")


def _bounds(kind: Any) -> str:
    metas = [each for each in get_args(kind)[1:] if isinstance(each, Meta)]
    low, high = metas and metas[0].ge, metas and metas[0].le
    return f" from {low} to {high}" if metas and low is not None and high is not None else ""
