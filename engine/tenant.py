"""What may happen to a tenant: its settings, its tokens, and the requests that were refused it."""

from datetime import datetime
from typing import Any, assert_never, get_args, get_type_hints
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct

from engine import extensions
from engine.events import (
    AuditAccessed,
    Change,
    EvidenceExported,
    RequestRefused,
    SettingsChanged,
    TenantEvent,
    TenantRegistered,
    TokenIssued,
    TokenRevoked,
)
from engine.refusals import Conflict, InvalidValue, NotFound
from engine.settings import Extension, RoleGroup, Settings
from engine.streams import Recorded
from engine.tokens import OWN, SCOPES

LONGEST_NAME = 200  # characters


class Token(Struct, frozen=True, kw_only=True):
    """A token as its events make it."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    digest: str
    expires_at: datetime
    is_revoked: bool = False


class Tenant(Struct, frozen=True, kw_only=True):
    """A tenant as its events make it. `version` is that of its own stream, which has the tenant's id."""

    id: UUID
    name: str
    settings: Settings
    version: int
    tokens: dict[UUID, Token] = {}
    created_at: datetime | None = None


class RegisterTenant(Struct, frozen=True):
    """The operator registers a customer organisation."""

    name: str


class ChangeSettings(Struct, frozen=True):
    """Settings get other values; the names are those of `Settings`."""

    values: dict[str, Any]


class AddSchema(Struct, frozen=True):
    """A schema of the tenant's own is added to those that it has when this is carried out."""

    new: Extension


class RemoveSchema(Struct, frozen=True):
    """One of the tenant's own schemas is taken away."""

    urn: str


class IssueToken(Struct, frozen=True):
    """A token with a new secret is issued."""

    token_id: UUID
    name: str
    scopes: tuple[str, ...]
    digest: str
    expires_at: datetime
    user_id: UUID | None = None


class RevokeToken(Struct, frozen=True):
    """A token ends now."""

    token_id: UUID


class MapGroup(Struct, frozen=True):
    """Everybody in a group gets a role, at least; with None, nobody gets one by this group any more."""

    group_id: UUID
    role: str | None


TenantCommand = RegisterTenant | ChangeSettings | AddSchema | RemoveSchema | MapGroup | IssueToken | RevokeToken


def tenant_id_of(store_id: UUID, name: str) -> UUID:
    """A tenant's id is made from its name, so that the primary key keeps names unique (RFC 9562 §5.5)."""
    return uuid5(store_id, name.strip().lower())


def decide(command: TenantCommand, tenant: Tenant | None) -> list[TenantEvent]:
    """The events that the command brings about; none if it changes nothing.

    Raises Conflict, NotFound or InvalidValue if it is refused.
    """
    if isinstance(command, RegisterTenant):
        return [_registered(command, tenant)]
    if tenant is None:
        raise NotFound("There is no such tenant. `rollbook tenant list` names those that there are.")
    match command:
        case ChangeSettings(values):
            return _settings_changed(tenant.settings, values)
        case MapGroup(group_id, role):
            others = [each for each in tenant.settings.role_groups if each.group != group_id]
            mapped = [*others, *([RoleGroup(group_id, role)] if role is not None else [])]
            found = sorted(mapped, key=lambda each: each.group)
            return _settings_changed(tenant.settings, {"role_groups": msgspec.to_builtins(found)})
        case AddSchema(new):
            return _settings_changed(tenant.settings, extensions.added(tenant.settings, new))
        case RemoveSchema(urn):
            return _settings_changed(tenant.settings, extensions.removed(tenant.settings, urn))
        case IssueToken():
            return [_issued(command)]
        case RevokeToken(token_id):
            return _revoked(tenant, token_id)
        case _:
            assert_never(command)


def _registered(command: RegisterTenant, tenant: Tenant | None) -> TenantRegistered:
    if tenant is not None:
        raise Conflict(f"The tenant {tenant.name} exists already.")
    name = command.name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidValue(f"A tenant's name has 1 to {LONGEST_NAME} printable characters.")
    return TenantRegistered(name=name, settings=Settings())


def _settings_changed(settings: Settings, values: dict[str, Any]) -> list[TenantEvent]:
    before = msgspec.to_builtins(settings)
    if unknown := values.keys() - before.keys():
        raise InvalidValue(f"There is no setting {min(unknown)}. There are: {', '.join(before)}.")
    try:
        settings_after = msgspec.convert({**before, **values}, Settings)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"This is no value for a setting: {error}. {_choices(values)}") from None
    _check_order(settings, settings_after)
    after = msgspec.to_builtins(settings_after)
    changes = {name: Change(before[name], after[name]) for name in before if before[name] != after[name]}
    return [SettingsChanged(changes=changes)] if changes else []


def _check_order(before: Settings, after: Settings) -> None:
    """What groups give was decided by the order of the roles, which therefore stays while any group gives one."""
    known, wanted = ([role.value for role in each.roles] for each in (before, after))
    if before.role_groups and [each for each in wanted if each in known] != known:
        raise Conflict(
            "Groups are mapped to roles, by the order of these roles: new ones may be added, but none may be removed "
            "or moved. Unmap the groups first, and map them again afterwards."
        )


def _choices(values: dict[str, Any]) -> str:
    """What the settings take, of which one of the values was none."""
    types = get_type_hints(Settings)
    taken = {name: get_args(types[name]) for name in values}
    return "; ".join(f"{name} takes {' or '.join(each)}" for name, each in taken.items() if str in map(type, each))


def _issued(command: IssueToken) -> TokenIssued:
    if not command.name.strip() or len(command.name) > LONGEST_NAME or not command.name.isprintable():
        raise InvalidValue(f"A token's name has 1 to {LONGEST_NAME} printable characters.")
    if not command.scopes or set(command.scopes) - set(SCOPES):
        raise InvalidValue(f"A token has one or more of the scopes {', '.join(SCOPES)}.")
    if (OWN in command.scopes) != (command.user_id is not None) or (command.user_id and len(command.scopes) > 1):
        raise InvalidValue(f"Somebody's own token has the scope {OWN} and no other, and no other token has it.")
    return TokenIssued(
        token_id=command.token_id,
        name=command.name.strip(),
        scopes=tuple(scope for scope in SCOPES if scope in command.scopes),
        digest=command.digest,
        expires_at=command.expires_at,
        user_id=command.user_id,
    )


def _revoked(tenant: Tenant, token_id: UUID) -> list[TenantEvent]:
    token = tenant.tokens.get(token_id)
    if token is None:
        raise NotFound("There is no such token. `rollbook token list` names those that there are.")
    return [] if token.is_revoked else [TokenRevoked(token_id=token_id, name=token.name)]


def evolve(tenant: Tenant | None, recorded: Recorded[TenantEvent]) -> Tenant:
    """The tenant after the event."""
    event = recorded.event
    if tenant is None and isinstance(event, TenantRegistered):
        return Tenant(
            id=recorded.stream_id,
            name=event.name,
            settings=event.settings,
            version=recorded.version,
            created_at=recorded.recorded_at,
        )
    if tenant is None:
        raise LookupError(f"tenant {recorded.stream_id} begins with {type(event).__name__}")
    return _evolved(msgspec.structs.replace(tenant, version=recorded.version), event)


def _evolved(tenant: Tenant, event: TenantEvent) -> Tenant:
    match event:
        case SettingsChanged(changes):
            settings = {**msgspec.to_builtins(tenant.settings), **{name: each.to for name, each in changes.items()}}
            return msgspec.structs.replace(tenant, settings=msgspec.convert(settings, Settings))
        case TokenIssued():
            token = Token(
                id=event.token_id,
                name=event.name,
                scopes=event.scopes,
                digest=event.digest,
                expires_at=event.expires_at,
            )
            return msgspec.structs.replace(tenant, tokens={**tenant.tokens, token.id: token})
        case TokenRevoked():
            token = msgspec.structs.replace(tenant.tokens[event.token_id], is_revoked=True)
            return msgspec.structs.replace(tenant, tokens={**tenant.tokens, token.id: token})
        case RequestRefused() | AuditAccessed() | EvidenceExported():
            return tenant
        case TenantRegistered():
            raise LookupError(f"tenant {tenant.id} was registered twice")
        case _:
            assert_never(event)
