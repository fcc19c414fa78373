"""What `/v1` answers: the types of which its OpenAPI document is made."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from engine import resource
from engine.catalog import Catalog
from engine.events import (
    AnyEvent,
    AttributesChanged,
    AuditAccessed,
    Deactivated,
    Erased,
    EvidenceExported,
    GroupChanged,
    GroupDeleted,
    GroupEvent,
    GroupProvisioned,
    MemberAwaited,
    MemberJoined,
    MembersAdded,
    MembersRemoved,
    PersonalDataErased,
    Reactivated,
    RequestRefused,
    RoleAssigned,
    SettingsChanged,
    TenantRegistered,
    TokenIssued,
    TokenRevoked,
    UserDeleted,
    UserProvisioned,
    decode,
)
from engine.log import LoggedEvent
from engine.streams import Source
from engine.user import User

Values = dict[str, Any]


class Person(Struct, frozen=True, kw_only=True, rename={"user_name": "userName"}):
    """A person, with further attributes by their SCIM names beside these members."""

    id: UUID
    version: Annotated[int, Meta(description="Of the last event; the number in the ETag.")]
    user_name: str
    active: bool
    role: Annotated[str, Meta(description="The role in force, in the product's spelling.")]
    is_deleted: Annotated[bool, Meta(description="The directory deleted the person, who stays known and inactive.")]
    local_edits: Annotated[list[str], Meta(description="Attributes whose present value was set by a local edit.")]
    created_at: datetime
    modified_at: datetime
    deleted_at: datetime | None


class PersonPage(Struct, frozen=True):
    """A page of people, in the order of their creation."""

    users: list[Person]
    next: Annotated[str | None, Meta(description="The address of the next page; null at the end.")]


class EventShown(Struct, frozen=True, kw_only=True):
    """An event of the log."""

    seq: Annotated[int, Meta(description="The place in the tenant's log, without gaps.")]
    user_id: Annotated[
        UUID | None, Meta(description="The user or the group it is about; null for an event of the tenant itself.")
    ]
    version: Annotated[int, Meta(description="The place in the user's stream, without gaps.")]
    type: str
    recorded_at: datetime
    source: Source
    actor: Annotated[str, Meta(description="The id of the token or the person that asked.")]
    token_id: UUID | None
    request_id: UUID
    before: Annotated[Values | None, Meta(description="The values before, by attribute; null if there were none.")]
    after: Annotated[Values | None, Meta(description="The values after, by attribute; null if there are none.")]
    overwrote: Annotated[
        dict[str, int], Meta(description="Local edits that this event ended, by attribute: the version of the edit.")
    ]
    confirmed: Annotated[
        dict[str, int], Meta(description="Local edits to which the directory sent the same value, likewise.")
    ]
    data: Annotated[Any, Meta(description="The event as it was written; null if it was erased.")]


class Problem(Struct, frozen=True):
    """Why a request was refused (RFC 9457)."""

    title: str
    status: int
    detail: str


class CheckpointShown(Struct, frozen=True):
    """A signed checkpoint: the note as it is, and what it says. `root` is in base64.

    `vkey` verifies it, and `fingerprint` is the SHA-256 of that key's bytes, in hexadecimal.
    """

    note: str
    origin: str
    size: int
    root: bytes
    vkey: str
    fingerprint: str
    made_at: datetime


class InclusionProof(Struct, frozen=True):
    """That an event is in the tree of a size (RFC 9162 §2.1.3). Hashes are in base64, the leaf in hexadecimal."""

    seq: int
    leaf_index: int
    size: int
    root: bytes
    leaf: str
    leaf_hash: bytes
    path: list[bytes]


class ConsistencyProof(Struct, frozen=True, rename={"from_": "from"}):
    """That the tree of one size continues that of another (RFC 9162 §2.1.4). Hashes are in base64."""

    from_: int
    to: int
    from_root: bytes
    to_root: bytes
    path: list[bytes]


class LedgerKeyShown(Struct, frozen=True):
    """A public key of the ledger. `vkey` verifies this tenant's checkpoints, `store_vkey` endorsements.

    `endorsement` is a note by which the key before says that this one follows; null if there was none, or it was lost.
    """

    number: int
    vkey: str
    store_vkey: str
    fingerprint: str
    made_at: datetime
    endorsement: str | None


class LedgerKeys(Struct, frozen=True):
    """All keys, oldest first; the last one signs."""

    origin: str
    keys: list[LedgerKeyShown]


def person(user: User, catalog: Catalog | None = None) -> dict[str, Any]:
    """A Person with its further attributes, as they are written; of a catalog, those that it shows."""
    attributes = catalog.shown(user.attributes) if catalog else user.attributes
    return {
        "id": user.id,
        "version": user.version,
        **resource.nested({key: value for key, value in attributes.items() if key != "role"}),
        "active": user.active,
        "role": user.role,
        "is_deleted": user.is_deleted,
        "local_edits": sorted(key for key, origin in user.origins.items() if origin.source == "local"),
        "created_at": user.created_at,
        "modified_at": user.modified_at,
        "deleted_at": user.deleted_at,
    }


def shown(tenant_id: UUID, logged: LoggedEvent) -> EventShown:
    event = decode(logged.data) if logged.data else None
    before, after = before_and_after(event) if event else (None, None)
    return EventShown(
        seq=logged.seq,
        user_id=None if logged.stream_id == tenant_id else logged.stream_id,
        version=logged.version,
        type=logged.type,
        recorded_at=logged.recorded_at,
        source=logged.source,
        actor=logged.actor,
        token_id=logged.token_id,
        request_id=logged.request_id,
        before=before,
        after=after,
        overwrote=getattr(event, "overwrote", {}),
        confirmed=getattr(event, "confirmed", {}),
        data=msgspec.Raw(logged.data.encode()) if logged.data else None,
    )


def before_and_after(event: AnyEvent) -> tuple[Values | None, Values | None]:
    """What an event changed, by attribute."""
    if isinstance(event, GroupEvent):
        return _before_and_after_of_group(event)
    match event:
        case UserProvisioned():
            return None, {**event.attributes, "active": event.active, "role": event.role}
        case AttributesChanged(changes=changes) | SettingsChanged(changes=changes):
            return {key: each.from_ for key, each in changes.items()}, {key: each.to for key, each in changes.items()}
        case RoleAssigned():
            return {"role": event.from_}, {"role": event.to}
        case Deactivated():
            return {"active": True}, {"active": False}
        case Reactivated():
            return {"active": False}, {"active": True}
        case UserDeleted():
            return {"active": event.active, "role": event.role}, None
        case TenantRegistered():
            return None, {"name": event.name, **msgspec.to_builtins(event.settings)}
        case TokenIssued():
            return None, {"name": event.name, "scopes": list(event.scopes), "expires_at": event.expires_at}
        case TokenRevoked():
            return {"name": event.name}, None
        case RequestRefused() | AuditAccessed() | EvidenceExported() | PersonalDataErased() | Erased():
            return None, None


def _before_and_after_of_group(event: GroupEvent) -> tuple[Values | None, Values | None]:
    """Of members, those that came and went."""
    match event:
        case GroupProvisioned():
            return None, event.attributes
        case GroupChanged(changes=changes):
            return {key: each.from_ for key, each in changes.items()}, {key: each.to for key, each in changes.items()}
        case MembersAdded():
            return None, {"members": _members(event.users, event.groups)}
        case MembersRemoved():
            return {"members": _members(event.users, event.groups, event.awaited)}, None
        case MemberAwaited():
            return None, {"members": [event.value]}
        case MemberJoined():
            return {"members": [str(event.awaited)]}, {"members": [str(event.id)]}
        case GroupDeleted():
            return None, None


def _members(*ids: Iterable[UUID]) -> list[str]:
    return [str(each) for some in ids for each in some]
