"""What happened: the events of users and of tenants, as they are written in the log for ever.

An event type never changes its meaning, and fields are only added, each with a default, so that every event ever
written can be read. `data` in the log is such a struct as JSON, with its type beside its fields.

Attributes are named by the leaf that holds the value (`title`, `name.formatted`,
`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department`); multi-valued ones stand whole.
Versions are places in the event's own stream.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from engine.settings import Settings


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Something that happened."""


class Change(Struct, frozen=True, rename={"from_": "from"}):
    """A value before and after; null where there was or is none."""

    from_: Any
    to: Any


class UserProvisioned(Event, frozen=True, tag=True):
    """The directory created a user. `role` is the role in force; what the directory sent is `attributes["role"]`.

    `prefixes` are the URNs under which the directory names active, microsoftId and role, where it reads them again.
    """

    attributes: dict[str, Any]
    active: bool
    role: str
    prefixes: tuple[str, ...] = ()


class AttributesChanged(Event, frozen=True, tag=True):
    """Attributes got other values. A change of `role` is one of its spelling: the role in force stays.

    `own_role` is the change of the role of the person's own while a group gives a higher one, which stays in force.
    `overwrote` names each local edit that a value of the directory replaced, `confirmed` each one to which the
    directory sent the same value, so that it is the directory's again; both by the version of that edit.
    """

    changes: dict[str, Change] = {}
    overwrote: dict[str, int] = {}
    confirmed: dict[str, int] = {}
    prefixes: tuple[str, ...] = ()
    own_role: Change | None = None


class RoleAssigned(Event, frozen=True, kw_only=True, tag=True, rename={"from_": "from"}):
    """The role in force changed. `sent` is the directory's own spelling, `active` whether the user holds a seat.

    `group` names the group by which it changed: the one that gives the role, and then `own` is the role of the person's
    own; or, without `own`, the one that gave a higher role until now. With a group and no `sent`, nobody assigned the
    person anything: the groups around it changed.
    """

    from_: str
    to: str
    sent: str | None = None
    active: bool
    overwrote: dict[str, int] = {}
    group: UUID | None = None
    own: str | None = None

    @property
    def is_direct(self) -> bool:
        """Whether the person was assigned a role, and not only a group changed."""
        return self.group is None or self.sent is not None


class Deactivated(Event, frozen=True, tag=True):
    """The user stopped being active, and its seat, of this role, is free."""

    role: str
    overwrote: dict[str, int] = {}


class Reactivated(Event, frozen=True, tag=True):
    """The user became active again and holds a seat of this role."""

    role: str
    overwrote: dict[str, int] = {}


class UserDeleted(Event, frozen=True, tag=True):
    """The directory deleted the user, who was active or not. The person's history stays."""

    active: bool
    role: str


class PersonalDataErased(Event, frozen=True, kw_only=True, tag=True):
    """The personal data of a user were erased (GDPR article 17): the content of all earlier events of the stream.

    `events` is how many those are, `notes` the seqs of events of the tenant's own stream, or of a group's, that named
    the person and were erased with them, `basis` the letter of article 17(1). `seats` says by the version of an event
    in this stream which seats it took (1), freed (-1) or did not touch (0), by role: a seat that was paid for was taken
    by somebody, whoever it was.
    """

    events: int
    notes: tuple[int, ...] = ()
    seats: dict[int, dict[str, int]] = {}
    basis: str | None = None


UserEvent = (
    UserProvisioned | AttributesChanged | RoleAssigned | Deactivated | Reactivated | UserDeleted | PersonalDataErased
)


class GroupProvisioned(Event, frozen=True, tag=True):
    """The directory created a group. Its members come with further events of the same append."""

    attributes: dict[str, Any]


class GroupChanged(Event, frozen=True, tag=True):
    """Attributes of the group got other values; members are none of them."""

    changes: dict[str, Change]


class MembersAdded(Event, frozen=True, tag=True):
    """Users and groups became members, named by their ids; at most so many an event as `engine/membership.py` says."""

    users: tuple[UUID, ...] = ()
    groups: tuple[UUID, ...] = ()


class MembersRemoved(Event, frozen=True, tag=True):
    """Users and groups are members no more; `awaited` names those who had not arrived yet, by their `member_id`."""

    users: tuple[UUID, ...] = ()
    groups: tuple[UUID, ...] = ()
    awaited: tuple[UUID, ...] = ()


class MemberAwaited(Event, frozen=True, tag=True):
    """A member was added by a value that names nobody yet: it will be a member when it arrives.

    `value` is what the directory sent, the only thing in a group's events that may tell of a person: so it has an event
    of its own, whose content goes with the person's. `member_id` stands for it elsewhere.
    """

    member_id: UUID
    value: str


class MemberJoined(Event, frozen=True, tag=True):
    """Somebody arrived whom a group had awaited, and is a member now: a user or a group of this id."""

    awaited: UUID
    id: UUID
    kind: Literal["User", "Group"]


class GroupDeleted(Event, frozen=True, tag=True):
    """The directory deleted the group. It has no members any more."""


GroupEvent = (
    GroupProvisioned | GroupChanged | MembersAdded | MembersRemoved | MemberAwaited | MemberJoined | GroupDeleted
)


class TenantRegistered(Event, frozen=True, tag=True):
    """A customer organisation was registered, with these settings: all are written, whatever is usual one day."""

    name: str
    settings: Settings


class SettingsChanged(Event, frozen=True, tag=True):
    """Settings got other values."""

    changes: dict[str, Change]


class TokenIssued(Event, frozen=True, tag=True):
    """A token was issued. `digest` is the SHA-256 of its secret, in hexadecimal; the secret is nowhere.

    `user_id` is whose own token it is, if it is somebody's.
    """

    token_id: UUID
    name: str
    scopes: tuple[str, ...]
    digest: str
    expires_at: datetime
    user_id: UUID | None = None


class TokenRevoked(Event, frozen=True, tag=True):
    """A token ended before its expiry."""

    token_id: UUID
    name: str


class RequestRefused(Event, frozen=True, tag=True):
    """A write with a valid token was refused.

    `path` is without the query; `user_id` is set if it names a user; `subject` is what the body says about whom it
    meant (userName, externalId, microsoftId), as far as it could be read.
    """

    method: str
    path: str
    status: int
    detail: str
    scim_type: str | None = None
    user_id: UUID | None = None
    subject: dict[str, str] = {}


class AuditAccessed(Event, frozen=True, kw_only=True, tag=True):
    """Somebody looked at the audit: which question, asked with which parameters, and how many rows the answer had.

    `as_of_seq` is the event as of which it was answered, where the question asks for one.
    """

    question: str
    parameters: dict[str, str] = {}
    rows: int
    as_of_seq: int | None = None


class EvidenceExported(Event, frozen=True, kw_only=True, tag=True):
    """Somebody took an answer away as a file: what an AuditAccessed says, and what a manifest says about the file.

    `format` is that of the file, `sha256` of its bytes, in hexadecimal; both seqs are those of the first and the last
    event that it tells of. `is_whole` says whether it was taken to the end.
    """

    question: str
    parameters: dict[str, str] = {}
    rows: int
    as_of_seq: int | None = None
    format: str
    sha256: str
    first_seq: int | None = None
    last_seq: int | None = None
    erased: int = 0
    is_whole: bool = True


TenantEvent = (
    TenantRegistered | SettingsChanged | TokenIssued | TokenRevoked | RequestRefused | AuditAccessed | EvidenceExported
)

# Events of a tenant that change nothing of it: what was asked, by whom, and what came of it.
NOTES = (RequestRefused, AuditAccessed, EvidenceExported)


class Erased(Event, frozen=True, tag=True):
    """What is read of an event whose content was erased; `of` is the type that it had. Never written."""

    of: str = ""


AnyEvent = UserEvent | GroupEvent | TenantEvent | Erased

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: AnyEvent) -> str:
    return _ENCODER.encode(event).decode()


def decode(data: str | bytes) -> AnyEvent:
    """The event as it was written. Fields that this version does not know stay in the log and are passed over.

    Raises msgspec.ValidationError if the data is no event of a known type.
    """
    return _DECODER.decode(data)


def type_of(event: AnyEvent) -> str:
    return type(event).__name__


TYPES: tuple[str, ...] = tuple(
    each.__name__ for each in (*UserEvent.__args__, *GroupEvent.__args__, *TenantEvent.__args__)
)
GROUP_TYPES: tuple[str, ...] = tuple(each.__name__ for each in GroupEvent.__args__)
NOTE_TYPES: tuple[str, ...] = tuple(each.__name__ for each in NOTES)
