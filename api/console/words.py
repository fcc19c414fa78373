"""What the console calls things: plain words for events, sources and fates."""

from typing import Any

from api.console.asking import OF_MEMBERS, Names
from api.v1_types import EventShown
from engine.events import AuditAccessed, EvidenceExported, RequestRefused, decode
from projections.questions.changes import PersonChanged

EVENTS = {
    "UserProvisioned": "Created",
    "AttributesChanged": "Attributes changed",
    "RoleAssigned": "Role changed",
    "Deactivated": "Deactivated",
    "Reactivated": "Reactivated",
    "UserDeleted": "Deleted by the directory",
    "PersonalDataErased": "Personal data erased",
    "GroupProvisioned": "Group created",
    "GroupChanged": "Group changed",
    "MembersAdded": "Members added",
    "MembersRemoved": "Members removed",
    "MemberAwaited": "Member awaited",
    "MemberJoined": "Awaited member joined",
    "GroupDeleted": "Group deleted",
    "TenantRegistered": "Tenant registered",
    "SettingsChanged": "Settings changed",
    "TokenIssued": "Token issued",
    "TokenRevoked": "Token revoked",
    "RequestRefused": "Write refused",
    "AuditAccessed": "Data looked at",
    "EvidenceExported": "Data taken as a file",
}
_EDITS = {"AttributesChanged", "RoleAssigned", "Deactivated", "Reactivated"}
SOURCES = {
    "directory": "directory",
    "local": "local",
    "operator": "operator",
    "engine": "Rollbook itself",
}


FATES = {
    "standing": "still stands",
    "overwritten": "overwritten",
    "confirmed": "confirmed",
    "edited again": "edited again",
    "person deleted": "person deleted",
}
# What is looked at on pages that answer none of the audit's questions.
_PAGES = {
    "console:people": "the list of people",
    "console:person": "the page of a person",
    "console:sign-in": "the console, by signing in",
    "console:sync": "the page of the sync",
}
KINDS = {
    "joined": "joined",
    "left": "left",
    "returned": "came back",
    "role": "other role",
    "attributes": "other attributes",
}


def source(name: str, type_: str = "AttributesChanged") -> str:
    """Whose doing it was. What somebody here does to a person is a local edit, and other doings are none."""
    return "local edit" if name == "local" and type_ in _EDITS else SOURCES.get(name, name)


def event(type_: str) -> str:
    return EVENTS.get(type_, type_)


def told(shown: EventShown) -> str:
    """What a note says: which write was refused and why, or what was looked at."""
    match decode(bytes(shown.data)) if shown.data is not None else None:
        case RequestRefused() as refused:
            return f"{refused.status}: {refused.detail}"
        case EvidenceExported() as exported:
            return f"{_looked_at(exported.question)}, {_rows(exported.rows)} as {exported.format}"
        case AuditAccessed(question="console:sign-in" | "console:person") as accessed:
            return _looked_at(accessed.question)
        case AuditAccessed() as accessed:
            return f"{_looked_at(accessed.question)}, {_rows(accessed.rows)}"
        case _:
            return ""


def _looked_at(question: str) -> str:
    return _PAGES.get(question, question.replace("-", " "))


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def compared(shown: EventShown, names: Names) -> list[tuple[str, Any, Any]]:
    """What an event changed: the attribute, its value before and after; members of a group by their names."""
    before, after = shown.before or {}, shown.after or {}
    if shown.type in OF_MEMBERS:
        before, after = ({key: names.members(found) for key, found in each.items()} for each in (before, after))
    return [(name, before.get(name), after.get(name)) for name in dict.fromkeys((*before, *after))]


def differing(changed: PersonChanged) -> list[tuple[str, Any, Any]]:
    """In what a person differs between two moments, in the same form."""
    changes = {"active": changed.active, "role": changed.role, **changed.changes}
    return [(name, each.from_, each.to) for name, each in changes.items() if each.from_ != each.to]
