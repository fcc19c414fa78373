"""A company's directory in memory: its people, its app roles, and who may use the app. It notes who changed when."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class AppRole:
    """A role that the app registration offers: what admins see, and what the app is meant to get."""

    display_name: str
    value: str


OWNER = AppRole("Owner", "owner")
ADMIN = AppRole("Admin", "admin")
MEMBER = AppRole("Member", "member")


@dataclass(frozen=True)
class Person:
    """A user object, with the names that Microsoft Graph has for its properties, in Python's spelling."""

    object_id: str
    user_principal_name: str
    display_name: str | None = None
    given_name: str | None = None
    surname: str | None = None
    job_title: str | None = None
    mail: str | None = None
    mail_nickname: str | None = None
    department: str | None = None
    employee_id: str | None = None
    preferred_language: str | None = None
    physical_delivery_office_name: str | None = None
    street_address: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None
    telephone_number: str | None = None
    mobile: str | None = None
    facsimile_telephone_number: str | None = None
    manager: str | None = None
    account_enabled: bool = True
    soft_deleted: bool = False
    purged: bool = False


@dataclass(frozen=True)
class SecurityGroup:
    """A group that is assigned to the app, with the object ids of its direct members."""

    object_id: str
    display_name: str
    members: frozenset[str] = frozenset()
    deleted: bool = False


class Directory:
    """People and groups by object id. Every operation is a change that a job will see once in `changed_since`."""

    def __init__(self, people: Iterable[Person] = ()) -> None:
        self._people: dict[str, Person] = {}
        self._groups: dict[str, SecurityGroup] = {}
        self._assignments: dict[str, AppRole | None] = {}
        self._changed_at: dict[str, int] = {}
        self.watermark = 0
        for person in people:
            self.add(person)

    @property
    def people(self) -> list[Person]:
        """Everyone who is not purged, those in the recycle bin included."""
        return [person for person in self._people.values() if not person.purged]

    def person(self, object_id: str) -> Person:
        """The person as of now, a tombstone if purged. Raises KeyError if the directory never had it."""
        return self._people[object_id]

    def is_assigned(self, object_id: str) -> bool:
        """Whether the app is assigned to the person; for a purged one, whether it was to the last."""
        return object_id in self._assignments

    def role_of(self, object_id: str) -> AppRole | None:
        """The app role of the assignment; None for an assignment without one ("Default Access")."""
        return self._assignments.get(object_id)

    def changed_since(self, watermark: int) -> list[str]:
        """Ids of what changed after that watermark, each once, the least recent change first."""
        return [object_id for object_id, changed_at in self._changed_at.items() if changed_at > watermark]

    def add(self, person: Person) -> Person:
        self._people[person.object_id] = person
        self._touch(person.object_id)
        return person

    def change(self, object_id: str, **changes: Any) -> Person:
        """Sets fields of `Person` by name."""
        return self.add(replace(self._people[object_id], **changes))

    def assign(self, object_id: str, role: AppRole | None = None) -> None:
        """Assigns the app, or gives an assignment another role."""
        self._assignments[object_id] = role
        self._touch(object_id)

    def unassign(self, object_id: str) -> None:
        self._assignments.pop(object_id, None)
        self._touch(object_id)

    def set_manager(self, object_id: str, manager: Person | None) -> Person:
        return self.change(object_id, manager=manager.object_id if manager else None)

    def disable(self, object_id: str) -> Person:
        return self.change(object_id, account_enabled=False)

    def enable(self, object_id: str) -> Person:
        return self.change(object_id, account_enabled=True)

    def soft_delete(self, object_id: str) -> Person:
        """Moves the person to the recycle bin, where Entra keeps it for 30 days."""
        return self.change(object_id, soft_deleted=True)

    def restore(self, object_id: str) -> Person:
        """Takes the person out of the recycle bin, with the assignment that it had."""
        return self.change(object_id, soft_deleted=False)

    def purge(self, object_id: str) -> Person:
        """Deletes for good, after the 30 days or at once."""
        return self.change(object_id, soft_deleted=True, purged=True)

    def group(self, object_id: str) -> SecurityGroup:
        """The group as of now, also if it was deleted. Raises KeyError if the directory never had it."""
        return self._groups[object_id]

    def is_group(self, object_id: str) -> bool:
        return object_id in self._groups

    def add_group(self, group: SecurityGroup) -> SecurityGroup:
        self._groups[group.object_id] = group
        self._touch(group.object_id)
        return group

    def change_group(self, object_id: str, **changes: Any) -> SecurityGroup:
        """Sets fields of `SecurityGroup` by name."""
        return self.add_group(replace(self._groups[object_id], **changes))

    def _touch(self, object_id: str) -> None:
        self.watermark += 1
        self._changed_at.pop(object_id, None)  # to the end
        self._changed_at[object_id] = self.watermark
