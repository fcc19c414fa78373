"""What may happen to a tenant: given these events, when this command, then these events or this refusal."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from engine.events import (
    Change,
    RequestRefused,
    SettingsChanged,
    TenantEvent,
    TenantRegistered,
    TokenIssued,
    TokenRevoked,
)
from engine.refusals import Conflict, InvalidValue, NotFound
from engine.settings import Role, Settings
from engine.streams import Recorded
from engine.tenant import (
    ChangeSettings,
    IssueToken,
    RegisterTenant,
    RevokeToken,
    Tenant,
    TenantCommand,
    decide,
    evolve,
    tenant_id_of,
)

CONTOSO = TenantRegistered(name="contoso", settings=Settings())
TOKEN_ID = UUID(int=5)
EXPIRY = datetime(2027, 11, 23, tzinfo=UTC)
ISSUED = TokenIssued(token_id=TOKEN_ID, name="Entra", scopes=("scim",), digest="00ff", expires_at=EXPIRY)
REFUSED = RequestRefused(method="POST", path="/scim/v2/Users", status=400, detail="no")


def given(*events: TenantEvent) -> Tenant:
    tenant = None
    for version, event in enumerate(events, 1):
        tenant = evolve(tenant, Recorded(UUID(int=9), version, "operator", event))
    assert tenant is not None
    return tenant


def issue(name: str = "Entra", *scopes: str) -> IssueToken:
    return IssueToken(TOKEN_ID, name, scopes, "00ff", EXPIRY)


def test_a_tenant_is_registered_once() -> None:
    assert decide(RegisterTenant(" contoso "), None) == [CONTOSO]
    with pytest.raises(Conflict, match="contoso exists already"):
        decide(RegisterTenant("Contoso"), given(CONTOSO))


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "con\ntoso", "con\0toso", "\u202econtoso"])
def test_a_tenants_name_is_short_and_can_be_printed(name: str) -> None:
    with pytest.raises(InvalidValue, match="name has 1 to 200"):
        decide(RegisterTenant(name), None)


def test_a_tenants_id_is_made_from_its_name_without_regard_to_case() -> None:
    store = UUID(int=1)

    assert tenant_id_of(store, " Contoso") == tenant_id_of(store, "contoso")
    assert tenant_id_of(store, "contoso") != tenant_id_of(store, "fabrikam")
    assert tenant_id_of(store, "contoso") != tenant_id_of(UUID(int=2), "contoso")


@pytest.mark.parametrize("command", [ChangeSettings({}), issue("Entra", "scim"), RevokeToken(TOKEN_ID)])
def test_nothing_can_be_done_to_a_tenant_that_nobody_registered(command: TenantCommand) -> None:
    with pytest.raises(NotFound, match="no such tenant"):
        decide(command, None)


def test_settings_change_with_their_values_before_and_after() -> None:
    events = decide(ChangeSettings({"email_case": "keep", "unknown_role": "refuse", "seat_limit": 5}), given(CONTOSO))

    assert events == [SettingsChanged(changes={"email_case": Change("lower", "keep"), "seat_limit": Change(None, 5)})]
    tenant = given(CONTOSO, *events)
    assert tenant.settings == Settings(email_case="keep", seat_limit=5)
    assert decide(ChangeSettings({"email_case": "keep"}), tenant) == []


def test_a_tenant_may_set_its_own_roles() -> None:
    roles = [{"value": "editor", "display": "Content Editor"}, {"value": "reader", "display": "Reader"}]
    events = decide(ChangeSettings({"roles": roles}), given(CONTOSO))
    settings = given(CONTOSO, *events).settings

    assert settings.roles == (Role("editor", "Content Editor"), Role("reader", "Reader"))
    assert settings.default_role == "reader"


@pytest.mark.parametrize(
    "values",
    [
        {"e-mail_case": "keep"},
        {"email_case": "upper"},
        {"email_case": None},
        {"email_case": 5},
        {"name_characters": ["any"]},
        {"unknown_role": True},
        {"seat_limit": -1},
        {"seat_limit": "five"},
        {"seat_limit": 1.5},
        {"seat_limit": True},
        {"seat_limit": 10**30},
        {"roles": []},
        {"roles": None},
        {"roles": "owner"},
        {"roles": [{"value": "owner"}]},
        {"roles": [{"value": "", "display": "Nobody"}]},
        {"roles": [{"value": "a", "display": "B"}, {"value": "b", "display": "C"}]},
        {"roles": [{"value": "a", "display": "A"}, {"value": "A", "display": "B"}]},
    ],
)
def test_what_is_no_setting_or_no_value_for_one_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        decide(ChangeSettings(values), given(CONTOSO))


def test_a_token_is_issued_with_its_scopes_in_their_order() -> None:
    events = decide(issue(" Entra ", "audit:read", "scim"), given(CONTOSO))

    assert events == [msgspec.structs.replace(ISSUED, scopes=("scim", "audit:read"))]
    token = given(CONTOSO, *events).tokens[TOKEN_ID]
    assert (token.name, token.digest, token.expires_at, token.is_revoked) == ("Entra", "00ff", EXPIRY, False)


@pytest.mark.parametrize(
    "command",
    [
        issue("", "scim"),
        issue(" ", "scim"),
        issue("x" * 201, "scim"),
        issue("a\tb", "scim"),
        issue(),
        issue("E", "root"),
    ],
)
def test_a_token_without_a_name_or_a_known_scope_is_refused(command: IssueToken) -> None:
    with pytest.raises(InvalidValue):
        decide(command, given(CONTOSO))


def test_a_token_is_revoked_once_and_stays_listed() -> None:
    assert decide(RevokeToken(TOKEN_ID), given(CONTOSO, ISSUED)) == [TokenRevoked(token_id=TOKEN_ID, name="Entra")]

    tenant = given(CONTOSO, ISSUED, TokenRevoked(token_id=TOKEN_ID, name="Entra"))
    assert tenant.tokens[TOKEN_ID].is_revoked
    assert decide(RevokeToken(TOKEN_ID), tenant) == []


def test_a_token_that_nobody_issued_cannot_be_revoked() -> None:
    with pytest.raises(NotFound, match="no such token"):
        decide(RevokeToken(UUID(int=6)), given(CONTOSO, ISSUED))


def test_several_tokens_are_valid_at_a_time() -> None:
    other = msgspec.structs.replace(ISSUED, token_id=UUID(int=6))
    tenant = given(CONTOSO, ISSUED, other, TokenRevoked(token_id=TOKEN_ID, name="Entra"))

    assert [token.is_revoked for token in tenant.tokens.values()] == [True, False]


def test_a_refused_request_moves_the_version_and_nothing_else() -> None:
    before = given(CONTOSO, ISSUED)

    assert given(CONTOSO, ISSUED, REFUSED) == msgspec.structs.replace(before, version=3)


def test_folding_an_event_leaves_the_state_before_it_as_it_was() -> None:
    before = given(CONTOSO, ISSUED)
    frozen = msgspec.json.encode(before)

    for event in (
        TokenRevoked(token_id=TOKEN_ID, name="Entra"),
        SettingsChanged(changes={"seat_limit": Change(None, 5)}),
    ):
        assert evolve(before, Recorded(before.id, 3, "operator", event)) != before
    assert msgspec.json.encode(before) == frozen


def test_a_stream_that_begins_with_anything_but_a_registration_is_a_fault() -> None:
    with pytest.raises(LookupError, match="begins with TokenIssued"):
        given(ISSUED)
    with pytest.raises(LookupError, match="registered twice"):
        given(CONTOSO, CONTOSO)


def test_a_setting_of_a_later_version_does_not_keep_the_log_from_being_folded() -> None:
    later = SettingsChanged(changes={"quiet_hours": Change(None, "22-6"), "seat_limit": Change(None, 5)})

    assert given(CONTOSO, later).settings == Settings(seat_limit=5)
