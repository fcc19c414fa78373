"""What an admin sets up for a provisioning job: which source value goes to which target attribute, and how."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from ops.directory import Person

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

_TARGET = re.compile(r'(?:(?P<prefix>urn:.+):)?(?P<attribute>\w+)(?:\[type eq "(?P<kind>\w+)"\])?(?:\.(?P<sub>\w+))?')
_PRIMARY = {"emails": True, "addresses": False}  # what a created element says of itself, where Entra says it


class _Parts(NamedTuple):
    prefix: str | None
    attribute: str
    kind: str | None
    sub: str | None


@dataclass(frozen=True)
class Target:
    """An attribute of the app by the name that a mapping has for it, such as `emails[type eq "work"].value`."""

    name: str

    @property
    def prefix(self) -> str | None:
        """All before the last colon of a URN: the key that a body nests the value under."""
        return self._parts.prefix

    @property
    def is_custom(self) -> bool:
        return self.prefix not in {None, ENTERPRISE}

    @property
    def is_filtered(self) -> bool:
        return self._parts.kind is not None

    @property
    def is_boolean(self) -> bool:
        """Whether Entra's attribute list has it as Boolean; one that an admin typed in by hand is a String."""
        return self.name == "active"

    @property
    def is_active(self) -> bool:
        return self._parts.attribute == "active"

    def read(self, resource: dict[str, Any]) -> Any:
        """What a resource has in this place, of any JSON type; None if there is nothing."""
        prefix, attribute, kind, sub = self._parts
        branch: dict[str, Any] = (resource.get(prefix) or {}) if prefix else resource
        found = branch.get(attribute)
        if kind:
            found = next((element for element in found or [] if element.get("type") == kind), None)
        return (found or {}).get(sub) if sub else found

    def write(self, body: dict[str, Any], value: Any) -> None:
        """Puts a value into the body of a creation."""
        prefix, attribute, kind, sub = self._parts
        place: dict[str, Any] = body.setdefault(prefix, {}) if prefix else body
        if kind:
            place = _element(place.setdefault(attribute, []), kind, _PRIMARY.get(attribute))
        elif sub:
            place = place.setdefault(attribute, {})
        place[sub or attribute] = value

    @cached_property
    def _parts(self) -> _Parts:
        match = _TARGET.fullmatch(self.name)
        if match is None:
            raise ValueError(f"no target attribute: {self.name}")
        return _Parts(*match.group("prefix", "attribute", "kind", "sub"))


def _element(elements: list[dict[str, Any]], kind: str, primary: bool | None) -> dict[str, Any]:
    for element in elements:
        if element["type"] == kind:
            return element
    elements.append({"type": kind} if primary is None else {"type": kind, "primary": primary})
    return elements[-1]


@dataclass(frozen=True)
class Source:
    """What expressions see of a person: `is_soft_deleted` is Entra's IsSoftDeleted, `role` the assigned role's name."""

    person: Person
    is_soft_deleted: bool
    role: str | None


@dataclass(frozen=True)
class Expression:
    """An expression as the portal shows it, and what it does."""

    text: str
    value: Callable[[Source], str | None]


@dataclass(frozen=True)
class Row:
    """One line of a mapping. `matching` is the precedence, 0 for an attribute that matches nothing."""

    expression: Expression
    target: Target
    matching: int = 0
    is_reference: bool = False

    def value(self, source: Source) -> str | None:
        """The mapped text; None for null and for an empty one, which Entra cannot provision."""
        return self.expression.value(source) or None


Mapping = tuple[Row, ...]


def by_precedence(mapping: Mapping) -> list[Row]:
    """The rows that match objects, in the order in which they are tried."""
    return sorted((row for row in mapping if row.matching), key=lambda row: row.matching)


def direct(attribute: str) -> Expression:
    """A mapping of the type Direct, by the property's name in Microsoft Graph."""
    field = re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", attribute)
    return Expression(f"[{attribute}]", lambda source: getattr(source.person, field))


def _joined(source: Source) -> str:
    return " ".join(part for part in (source.person.given_name, source.person.surname) if part)


# A guest's name loses its mark before use.
PRINCIPAL_NAME = Expression("[userPrincipalName]", lambda it: it.person.user_principal_name.replace("#EXT#", ""))
IS_ACTIVE = Expression(
    'Switch([IsSoftDeleted], , "False", "True", "True", "False")', lambda it: "False" if it.is_soft_deleted else "True"
)
FULL_NAME = Expression('Join(" ", [givenName], [surname])', _joined)
APP_ROLE = Expression("SingleAppRoleAssignment([appRoleAssignments])", lambda it: it.role)

SEED: Mapping = (
    Row(PRINCIPAL_NAME, Target("userName"), matching=2),
    Row(IS_ACTIVE, Target("active")),
    Row(direct("displayName"), Target("displayName")),
    Row(direct("jobTitle"), Target("title")),
    Row(FULL_NAME, Target("name.formatted")),
    Row(IS_ACTIVE, Target(f"{CORE}:active")),
    Row(direct("objectId"), Target(f"{CORE}:microsoftId"), matching=1),
    Row(APP_ROLE, Target(f"{CORE}:role")),
)
"""The eight rows of the admin guide."""

DEFAULT: Mapping = (
    Row(PRINCIPAL_NAME, Target("userName"), matching=1),
    Row(IS_ACTIVE, Target("active")),
    Row(direct("displayName"), Target("displayName")),
    Row(direct("jobTitle"), Target("title")),
    Row(direct("mail"), Target('emails[type eq "work"].value')),
    Row(direct("preferredLanguage"), Target("preferredLanguage")),
    Row(direct("givenName"), Target("name.givenName")),
    Row(direct("surname"), Target("name.familyName")),
    Row(FULL_NAME, Target("name.formatted")),
    Row(direct("physicalDeliveryOfficeName"), Target('addresses[type eq "work"].formatted')),
    Row(direct("streetAddress"), Target('addresses[type eq "work"].streetAddress')),
    Row(direct("city"), Target('addresses[type eq "work"].locality')),
    Row(direct("state"), Target('addresses[type eq "work"].region')),
    Row(direct("postalCode"), Target('addresses[type eq "work"].postalCode')),
    Row(direct("country"), Target('addresses[type eq "work"].country')),
    Row(direct("telephoneNumber"), Target('phoneNumbers[type eq "work"].value')),
    Row(direct("mobile"), Target('phoneNumbers[type eq "mobile"].value')),
    Row(direct("facsimileTelephoneNumber"), Target('phoneNumbers[type eq "fax"].value')),
    Row(direct("mailNickname"), Target("externalId")),
    Row(direct("employeeId"), Target(f"{ENTERPRISE}:employeeNumber")),
    Row(direct("department"), Target(f"{ENTERPRISE}:department")),
    Row(direct("manager"), Target(f"{ENTERPRISE}:manager"), is_reference=True),
)
"""The 22 rows that a new job of the kind `scim` starts with."""

Dialect = Literal["classic", "flag"]
ManagerForm = Literal["string", "object", "array"]


@dataclass(frozen=True)
class Options:
    """How this Entra differs from others.

    `dialect`: `flag` is what `?aadOptscim062020` at the Tenant URL switches on.
    `custom_on_create`: attributes under a URN of one's own are nested in the creation, or left out of it and added a
    cycle later. `role_source`: which column of the app role is sent. `default_access`: an assignment without an app
    role sends "User" instead of nothing. `manager_form`: what a PATCH of the manager has for its value.
    `concurrency`: how many objects are on their way at a time; one keeps them in order. `groups`: whether the mapping
    of groups is on.
    """

    mapping: Mapping = SEED
    dialect: Dialect = "classic"
    custom_on_create: Literal["nested", "dropped"] = "nested"
    role_source: Literal["display_name", "value"] = "display_name"
    default_access: bool = False
    manager_form: ManagerForm = "string"
    concurrency: int = 1
    groups: bool = False
