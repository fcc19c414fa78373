"""What may happen to one user: pure functions from a command and a state to events, and from events to the state."""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from msgspec import Struct

from engine import extensions, patch, roles, rules
from engine.catalog import users_of
from engine.events import (
    AnyEvent,
    AttributesChanged,
    Change,
    Deactivated,
    PersonalDataErased,
    Reactivated,
    RoleAssigned,
    UserDeleted,
    UserEvent,
    UserProvisioned,
)
from engine.refusals import Conflict, InvalidValue, NoTarget, NotFound, PreconditionFailed
from engine.resource import Values
from engine.roles import Given
from engine.settings import Settings
from engine.streams import Recorded, Source


class Origin(Struct, frozen=True):
    """Who set a value, and in which event of the stream."""

    source: Source
    version: int


class User(Struct, frozen=True, kw_only=True):
    """A user as its events make it.

    `attributes` are values by leaf, as they were sent, without `active`; `attributes["role"]` is the directory's
    spelling, `role` the role in force. `own_role` is set where a group gives that one, and the person's own is another.
    `origins` holds each leaf's origin, `active` and `role` included. The times are None while the event that sets them
    is not appended yet.
    """

    id: UUID
    version: int
    attributes: dict[str, Any]
    active: bool
    role: str
    origins: dict[str, Origin]
    prefixes: tuple[str, ...] = ()
    own_role: str | None = None
    deleted_at: datetime | None = None
    is_deleted: bool = False
    created_at: datetime | None = None
    modified_at: datetime | None = None

    @property
    def own(self) -> str:
        """The role that the person has without any group."""
        return self.own_role or self.role


class ProvisionUser(Struct, frozen=True):
    """The directory creates a user."""

    values: Values


class ReplaceUser(Struct, frozen=True):
    """The directory puts the whole resource: what it leaves out has no value from then on (RFC 7644 §3.5.1)."""

    values: Values


class PatchUser(Struct, frozen=True):
    """Parts of the resource change: by the directory, or by a local edit, which the directory may overwrite."""

    operations: tuple[patch.Operation, ...]


class DeleteUser(Struct, frozen=True):
    """The directory deletes the user."""


UserCommand = ProvisionUser | ReplaceUser | PatchUser | DeleteUser


class Terms(Struct, frozen=True):
    """Under which terms a command is decided: the tenant's settings, who asks, and the versions that If-Match names.

    `given` is the most that the person's groups give; it matters only where the command changes the person's own role.
    """

    settings: Settings = Settings()
    source: Source = "directory"
    versions: frozenset[int] | None = None
    given: Given | None = None


def decide(command: UserCommand, user: User | None, terms: Terms) -> list[UserEvent]:
    """The events that the command brings about; none if it changes nothing.

    Raises NotFound, Conflict, PreconditionFailed, InvalidValue, NotMutable or NoTarget if it is refused.
    """
    if isinstance(command, ProvisionUser):
        if user is not None:
            raise Conflict("This user exists already.")
        return [provisioned(command.values, terms.settings)]
    if user is None or (user.is_deleted and terms.source == "directory"):
        check(command, terms.settings)  # what is wrong in itself is said first, 400 before 404
        raise NotFound("No such user.")
    user = existing(user, terms)
    match command:
        case ReplaceUser(values):
            return changes(user, replacing(user, values, terms.settings), terms)
        case PatchUser(operations):
            values = patch.apply(operations, user.attributes, strict=terms.settings.mode == "strict")
            return changes(user, values, terms)
        case DeleteUser():
            return [UserDeleted(active=user.active, role=user.role)]
        case _:
            assert_never(command)


def check(command: UserCommand, settings: Settings) -> None:
    """Raises InvalidValue if the command's values would be refused whomever they are for."""
    match command:
        case PatchUser(operations):
            with contextlib.suppress(NoTarget):  # there is nobody who could have the target
                check_values(patch.apply(operations, {}), settings)
        case ProvisionUser(values) | ReplaceUser(values):
            check_values(values, settings)
        case DeleteUser():
            pass
        case _:
            assert_never(command)


def check_values(values: Values, settings: Settings) -> None:
    for key, value in values.leaves.items():
        rules.check(key, value, None, settings)
    rules.role_of(values.leaves.get("role"), settings)


def existing(user: User, terms: Terms) -> User:
    if terms.versions is not None and user.version not in terms.versions:
        raise PreconditionFailed
    if user.is_deleted:
        raise Conflict("The directory deleted this person, who can no longer be edited; the history stays readable.")
    return user


def provisioned(values: Values, settings: Settings) -> UserProvisioned:
    attributes = {key: value for key, value in values.leaves.items() if value is not None and key != "active"}
    if not str(attributes.get("userName", "")).strip():
        raise InvalidValue("userName is required.")
    check_values(values, settings)
    extensions.check(users_of(settings), {}, attributes)
    return UserProvisioned(
        attributes=attributes,
        active=values.leaves.get("active") is not False,
        role=rules.role_of(attributes.get("role"), settings) or settings.default_role,
        prefixes=values.prefixes,
    )


def replacing(user: User, values: Values, settings: Settings) -> Values:
    """What a PUT leaves out is taken away; `active` and `role` stay, for nobody is let in or promoted by silence."""
    present = dict.fromkeys(key for key in [*user.attributes, *user.origins] if key not in {"active", "role"})
    left_out = dict.fromkeys(extensions.left_out(users_of(settings), present))
    return Values({**left_out, **values.leaves}, values.prefixes)


def changes(user: User, values: Values, terms: Terms) -> list[UserEvent]:
    """The events that bring the user's values to the given ones; values of other leaves stay."""
    given = dict(values.leaves)
    active = given.pop("active", None)
    if "userName" in given and not str(given["userName"] or "").strip():
        raise InvalidValue("userName is required and cannot be taken away.")
    if given.get("role") is None:  # a role that is taken away or left empty changes nothing
        given.pop("role", None)
    meant = rules.role_of(given.get("role"), terms.settings)
    own = meant or user.own
    given_role = roles.in_force(own, terms.given, terms.settings)
    role = user.role if own == user.own else given_role.role if given_role else own
    changed = {
        key: Change(user.attributes.get(key), value)
        for key, value in given.items()
        if value != user.attributes.get(key) and (key != "role" or role == user.role)
    }
    extensions.check(users_of(terms.settings), user.attributes, {key: each.to for key, each in changed.items()})
    for key, change in changed.items():
        rules.check(key, change.to, change.from_, terms.settings)
    events: list[UserEvent] = []
    own_role = Change(user.own, own) if own != user.own and role == user.role else None
    if event := _attributes_changed(user, values, changed, meant, own_role, terms):
        events.append(event)
    if role != user.role:
        events.append(
            RoleAssigned(
                from_=user.role,
                to=role,
                sent=given["role"] if given["role"] != role else None,
                active=user.active,
                overwrote=_overwritten(user, ["role"], terms),
                group=given_role.group if given_role else None,
                own=own if given_role else None,
            )
        )
    if active is not None and active != user.active:
        turned = Reactivated if active else Deactivated
        events.append(turned(role=role, overwrote=_overwritten(user, ["active"], terms)))
    return events


def moves_role(event: AnyEvent) -> bool:
    """Whether it changes the role in force, or the person's own."""
    return isinstance(event, RoleAssigned) or (isinstance(event, AttributesChanged) and event.own_role is not None)


def regrouped(user: User, given: Given | None, by: UUID, settings: Settings) -> list[UserEvent]:
    """What it means to a person that groups give this now, after the group `by` changed, or what it gives."""
    found = roles.in_force(user.own, given, settings)
    role = found.role if found else user.own
    if role == user.role:
        return []
    return [
        RoleAssigned(
            from_=user.role,
            to=role,
            active=user.active,
            group=found.group if found else by,
            own=user.own if found else None,
        )
    ]


def _attributes_changed(  # noqa: PLR0913, PLR0917  all that goes into it
    user: User,
    values: Values,
    changed: dict[str, Change],
    meant: str | None,
    own_role: Change | None,
    terms: Terms,
) -> AttributesChanged | None:
    present = {**user.attributes, "active": user.active, "role": user.own}
    sent = {**values.leaves, "role": meant}
    edited = [key for key in changed if key != "role"] + (["role"] if own_role else [])
    event = AttributesChanged(
        changes=changed,
        overwrote=_overwritten(user, edited, terms),
        confirmed=_overwritten(user, [key for key in sent if sent[key] == present.get(key)], terms),
        prefixes=_new_prefixes(user, values, terms),
        own_role=own_role,
    )
    return event if event != AttributesChanged() else None


def _new_prefixes(user: User, values: Values, terms: Terms) -> tuple[str, ...]:
    """Only the directory reads its names again; a local edit may use any."""
    return tuple(urn for urn in values.prefixes if urn not in user.prefixes and terms.source == "directory")


def _overwritten(user: User, keys: Iterable[str], terms: Terms) -> dict[str, int]:
    """Which of the leaves hold a local edit that this write of the directory ends, by the version of the edit."""
    if terms.source != "directory":
        return {}
    origins = {key: user.origins.get(key) for key in keys}
    return {key: origin.version for key, origin in origins.items() if origin and origin.source == "local"}


def evolve(user: User | None, recorded: Recorded[UserEvent]) -> User:
    """The user after the event."""
    return evolve_all(user, (recorded,))


def evolve_all(user: User | None, events: Sequence[Recorded[UserEvent]]) -> User:
    """The user after the events, of which there is at least one if there is no user yet."""
    state = None if user is None else _Draft(user)
    for recorded in events:
        if state is None:
            state = _Draft(_begun(recorded))
        else:
            _evolve(state, recorded)
    assert state is not None  # noqa: S101  as the docstring says
    return state.user()


class _Draft:
    """A user while its events are folded: what may change, in place, in dictionaries of its own."""

    __slots__ = (
        "active",
        "attributes",
        "deleted_at",
        "is_deleted",
        "modified_at",
        "origins",
        "own_role",
        "prefixes",
        "role",
        "start",
        "version",
    )

    def __init__(self, start: User) -> None:
        self.start = start
        self.version = start.version
        self.attributes = dict(start.attributes)
        self.origins = dict(start.origins)
        self.active = start.active
        self.role = start.role
        self.own_role = start.own_role
        self.prefixes = start.prefixes
        self.is_deleted = start.is_deleted
        self.deleted_at = start.deleted_at
        self.modified_at = start.modified_at

    def user(self) -> User:
        return User(
            id=self.start.id,
            version=self.version,
            attributes=self.attributes,
            active=self.active,
            role=self.role,
            origins=self.origins,
            prefixes=self.prefixes,
            own_role=self.own_role,
            is_deleted=self.is_deleted,
            deleted_at=self.deleted_at,
            created_at=self.start.created_at,
            modified_at=self.modified_at,
        )


def _begun(recorded: Recorded[UserEvent]) -> User:
    event = recorded.event
    if not isinstance(event, UserProvisioned):
        raise LookupError(f"stream {recorded.stream_id} begins with {type(event).__name__}")  # noqa: TRY004  not of ours
    origin = Origin(recorded.source, recorded.version)
    return User(
        id=recorded.stream_id,
        version=recorded.version,
        attributes=event.attributes,
        active=event.active,
        role=event.role,
        origins=dict.fromkeys([*event.attributes, "active", "role"], origin),
        prefixes=event.prefixes,
        created_at=recorded.recorded_at,
        modified_at=recorded.recorded_at,
    )


def _evolve(state: _Draft, recorded: Recorded[UserEvent]) -> None:
    event, origin = recorded.event, Origin(recorded.source, recorded.version)
    state.version, state.modified_at = recorded.version, recorded.recorded_at
    match event:
        case AttributesChanged():
            _change(state, event, origin)
        case RoleAssigned():
            if event.is_direct:
                state.attributes["role"] = event.sent or event.to
                state.origins["role"] = origin
            state.role, state.own_role = event.to, event.own
        case Deactivated() | Reactivated():
            state.active = isinstance(event, Reactivated)
            state.origins["active"] = origin
        case UserDeleted():
            state.active, state.is_deleted, state.deleted_at = False, True, recorded.recorded_at
        case UserProvisioned():
            raise LookupError(f"stream {recorded.stream_id} was provisioned twice")
        case PersonalDataErased():
            raise LookupError(f"stream {recorded.stream_id} was erased, and is in no state")
        case _:
            assert_never(event)


def _change(state: _Draft, event: AttributesChanged, origin: Origin) -> None:
    for key, change in event.changes.items():
        state.attributes.pop(key, None)
        if change.to is not None:
            state.attributes[key] = change.to
        if key != "role":  # its origin is that of the role in force, not of its spelling
            state.origins[key] = origin
    if event.own_role:
        state.own_role, state.origins["role"] = event.own_role.to, origin
    for key in event.confirmed:
        state.origins[key] = origin
    if event.prefixes:
        state.prefixes = tuple(sorted({*state.prefixes, *event.prefixes}))
