"""What is rebuilt together: one follower, or the inline projections, which come from one fold."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from projections.batch import Batch
from projections.fold import Fold
from projections.follower import FOLLOWERS, Follower
from projections.inline import INLINE
from projections.table import Table

INLINE_TARGET = "inline"
_AND = "__"  # between names of projections in the name of a target


@dataclass(frozen=True)
class Target:
    """Tables that are made of the log by one `apply`, as the live ones are.

    `name` is fit for a schema's; `names` are those of the projections that are to be compared and replaced; `versions`
    those of all.
    """

    name: str
    names: frozenset[str]
    versions: Mapping[str, int]
    tables: Mapping[str, tuple[Table, ...]]
    ddl: str
    by_stream: bool
    reads_headers: bool
    is_follower: bool
    apply: Callable[[Batch], Awaitable[None]]

    @property
    def wanted_by_name(self) -> Sequence[tuple[str, Table]]:
        """Each table that is to be compared and replaced, with the name of its projection."""
        return [(name, table) for name, tables in self.tables.items() if name in self.names for table in tables]

    @property
    def wanted_tables(self) -> Sequence[Table]:
        return [table for _, table in self.wanted_by_name]


def names_of(target_name: str) -> frozenset[str]:
    """The projections that a target of this name compares and replaces."""
    if target_name == INLINE_TARGET:
        return frozenset(each.name for each in INLINE)
    return frozenset(target_name.split(_AND))


class UnknownProjectionError(Exception):
    """There is no projection of this name."""


def projection_names() -> list[str]:
    return [*(each.name for each in INLINE), *(each.name for each in FOLLOWERS)]


def targets(names: Iterable[str] = ()) -> list[Target]:
    """What has to be rebuilt for these projections; for all of them if none is named. Raises UnknownProjectionError."""
    wanted = set(names) or set(projection_names())
    if unknown := wanted.difference(projection_names()):
        raise UnknownProjectionError(
            f"There is no projection {min(unknown)}. There are: {', '.join(projection_names())}."
        )
    inline = wanted.intersection(each.name for each in INLINE)
    found = [inline_target(inline)] if inline else []
    return found + [follower_target(each) for each in FOLLOWERS if each.name in wanted]


def inline_target(names: Iterable[str] = ()) -> Target:
    """The inline projections, or some of them; all are built, for they come from one fold."""
    every = frozenset(each.name for each in INLINE)
    wanted = frozenset(names) or every
    return Target(
        name=INLINE_TARGET if wanted == every else _AND.join(sorted(wanted)),
        names=wanted,
        versions={each.name: each.version for each in INLINE},
        tables={each.name: each.tables for each in INLINE},
        ddl="\n".join(Path(__file__).with_name(f"{each.name}.sql").read_text() for each in INLINE),
        by_stream=True,
        reads_headers=False,
        is_follower=False,
        apply=Fold(INLINE).apply,
    )


def follower_target(follower: Follower) -> Target:
    return Target(
        name=follower.name,
        names=frozenset({follower.name}),
        versions={follower.name: follower.version},
        tables={follower.name: follower.tables},
        ddl=follower.ddl,
        by_stream=follower.by_stream,
        reads_headers=follower.reads_headers,
        is_follower=True,
        apply=follower.apply,
    )
