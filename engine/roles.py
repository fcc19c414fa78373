"""Which role is in force: a person's own, from the directory or a local edit, or a higher one that a group gives."""

from collections.abc import Iterable
from uuid import UUID

from msgspec import Struct

from engine.settings import Settings


class Given(Struct, frozen=True):
    """A role, and the group that gives it to whoever is in it."""

    role: str
    group: UUID


def rank(role: str, settings: Settings) -> int:
    """The lower, the more powerful. A role that is none of the tenant's any more ranks behind all others."""
    return next((place for place, each in enumerate(settings.roles) if each.value == role), len(settings.roles))


def highest(groups: Iterable[UUID], settings: Settings) -> Given | None:
    """The most that these groups give to somebody who is in all of them; None if none of them is mapped to a role."""
    wanted = frozenset(groups)
    found = [Given(each.role, each.group) for each in settings.role_groups if each.group in wanted]
    return min(found, key=lambda each: (rank(each.role, settings), each.group), default=None)


def in_force(own: str, given: Given | None, settings: Settings) -> Given | None:
    """What a group gives, if that is more than the role of one's own; None if one's own is in force."""
    return given if given and rank(given.role, settings) < rank(own, settings) else None
