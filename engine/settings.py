"""What a tenant may decide about the rules of its directory."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from engine.refusals import InvalidValue
from engine.schema import Schema

MOST_ROLES = 100
MOST_ROLE_GROUPS = 1_000
LONGEST = 100  # characters of a role's value or display name


class Role(Struct, frozen=True):
    """A role of the product: its value, as the app knows it, and its display name, as the directory may send it."""

    value: str
    display: str


class Extension(Struct, frozen=True):
    """A schema of a tenant's own, and the type of the resources that it extends."""

    schema: Schema
    resource: Literal["User", "Group"] = "User"


class RoleGroup(Struct, frozen=True):
    """A group whose members get a role, which is one of the tenant's."""

    group: UUID
    role: str


class Settings(Struct, frozen=True, kw_only=True):
    """A tenant's settings, with the defaults of a new tenant."""

    mode: Literal["entra", "strict"] = "entra"
    email_case: Literal["lower", "keep"] = "lower"
    name_characters: Literal["plain", "any"] = "plain"
    unknown_role: Literal["refuse", "ignore"] = "refuse"
    seat_limit: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    groups: Literal["off", "on"] = "off"
    # Most powerful first. The last is the one of a person for whom the directory names no role.
    roles: tuple[Role, ...] = (Role("owner", "Owner"), Role("admin", "Admin"), Role("member", "Member"))
    role_groups: tuple[RoleGroup, ...] = ()
    schemas: tuple[Extension, ...] = ()
    # Those that were removed. Their values stay, so an attribute that comes back has to be of the same type.
    former_schemas: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        names = [name for role in self.roles for name in {role.value.lower(), role.display.lower()}]
        if not 1 <= len(self.roles) <= MOST_ROLES or len(names) != len(set(names)):
            raise InvalidValue(f"A tenant has 1 to {MOST_ROLES} roles; their values and display names must all differ.")
        if not all(name.isprintable() and name == name.strip() and 1 <= len(name) <= LONGEST for name in names):
            raise InvalidValue(f"The value and the display name of a role have 1 to {LONGEST} printable characters.")
        values = {role.value for role in self.roles}
        if unknown := [each.role for each in self.role_groups if each.role not in values]:
            there_are = ", ".join(role.value for role in self.roles)
            raise InvalidValue(
                f"{unknown[0]!r} is none of this tenant's roles, which are {there_are}. One to which a group is mapped "
                f"stays until the group is unmapped."
            )
        if len(self.role_groups) > MOST_ROLE_GROUPS:
            raise InvalidValue(f"A tenant maps at most {MOST_ROLE_GROUPS} groups to roles.")

    @property
    def default_role(self) -> str:
        return self.roles[-1].value
