"""The product's rules for values: kept as sent, or refused with what the admin can do."""

from typing import Any

import pytest

from engine.refusals import InvalidValue
from engine.rules import check, means, role_of
from engine.settings import Role, Settings

STRICT = Settings()


@pytest.mark.parametrize("address", ["ann@example.com", "Ann", "DOMAIN\\Ann", "ünal@example.com", "ßeta@x", ""])
def test_a_user_name_is_fine_in_lower_case_or_if_it_is_no_address(address: str) -> None:
    check("userName", address, None, STRICT)


@pytest.mark.parametrize("address", ["Ann@example.com", "ann@Example.com", "ÜNAL@example.com"])
def test_an_address_with_capitals_is_refused_with_the_expression_that_mends_it(address: str) -> None:
    with pytest.raises(InvalidValue, match=r"ToLower\(\[userPrincipalName\]\).*email_case = keep"):
        check("userName", address, None, STRICT)
    with pytest.raises(InvalidValue, match=r"emails\[\]\.value .* ToLower\(\[mail\]\)"):
        check("emails", [{"value": address}], None, STRICT)


@pytest.mark.parametrize("key", ["title", "externalId", "microsoftId", "displayName", "roles"])
def test_only_addresses_must_be_lower_case(key: str) -> None:
    check(key, "ANN", None, STRICT)


def test_an_address_that_was_there_already_is_left_alone_when_others_change() -> None:
    before = [{"value": "Ann@example.com", "type": "work"}]

    check("emails", [*before, {"value": "ann@home.example"}], before, STRICT)
    with pytest.raises(InvalidValue):
        check("emails", [*before, {"value": "Ann@home.example"}], before, STRICT)


@pytest.mark.parametrize("emails", [None, [], [{"type": "work"}], [{"display": "Ann"}, {"primary": True}]])
def test_elements_without_an_address_break_no_rule(emails: Any) -> None:
    check("emails", emails, None, STRICT)
    check("emails", emails, [{"type": "home"}], STRICT)


def test_a_tenant_may_keep_capitals() -> None:
    check("userName", "Ann@Example.com", None, Settings(email_case="keep"))
    check("emails", [{"value": "Ann@Example.com"}], None, Settings(email_case="keep"))


@pytest.mark.parametrize(
    "name",
    [
        "O'Brien",
        "O’Brien",
        "Jean-Luc",
        "Anne–Marie",
        "Müller, Ana (Ext.)",
        "Müller",  # the umlaut as a combining mark
        "Sales / East",
        "Gal·la",
        "Ana_Müller",
        "Henry 8",
        "देवनागरी",
        "क्‍ष",  # with a joiner within the conjunct
        "می‌خواهم",  # with a non-joiner, as Persian writes
        "محمد بن سلمان",
        "王小明",
        "ジョン・スミス",
        "김철수",
        "Ελένη",
        "Łukasz Żółć",
        "Nguyễn Thị Minh",
        "Keʻala",
        "",
    ],
)
def test_names_of_people_everywhere_are_fine(name: str) -> None:
    for key in ("displayName", "name.formatted", "name.familyName"):
        check(key, name, None, STRICT)


@pytest.mark.parametrize("character", list('<>{}[]|\\^~"$%*=+;:!?@#&'))
def test_a_special_character_in_a_name_is_refused_and_shown(character: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check("displayName", f"Ann {character} Lee", None, STRICT)
    assert f"cannot have: {character} — " in refused.value.detail
    assert "name_characters = any" in refused.value.detail


@pytest.mark.parametrize(
    ("character", "shown"), [("\n", "U+000A"), ("\t", "U+0009"), ("\x7f", "U+007F"), ("\u202e", "U+202E"), ("💼", "💼")]
)
def test_a_control_character_in_a_name_is_refused_by_its_number(character: str, shown: str) -> None:
    with pytest.raises(InvalidValue, match=f"name.givenName has characters .*: {shown} — ".replace("+", r"\+")):
        check("name.givenName", f"Ann{character}", None, STRICT)


def test_a_refusal_shows_no_more_than_ten_characters() -> None:
    with pytest.raises(InvalidValue) as refused:
        check("displayName", "".join(chr(0x2600 + place) for place in range(200)), None, STRICT)
    assert len(refused.value.detail) < 300


@pytest.mark.parametrize("key", ["title", "userName", "nickName", "externalId"])
def test_only_names_must_be_plain(key: str) -> None:
    check(key, "<R&D>", None, STRICT)


def test_a_tenant_may_take_any_characters() -> None:
    check("displayName", "<Ann>\n", None, Settings(name_characters="any"))


@pytest.mark.parametrize("key", ["userName", "displayName", "emails", "name.formatted"])
def test_taking_a_value_away_breaks_no_rule(key: str) -> None:
    check(key, None, [{"value": "Ann@example.com"}] if key == "emails" else "Ann@example.com", STRICT)


@pytest.mark.parametrize(
    ("sent", "role"),
    [
        ("owner", "owner"),
        ("Owner", "owner"),
        ("OWNER", "owner"),
        (" Admin ", "admin"),
        ("member", "member"),
        ('{"id":"06b07648","value":"admin","displayName":"Administrators"}', "admin"),
        ('{"id":"06b07648","value":"25","displayName":"Owner"}', "owner"),
        ('{"value":"","display":"Member"}', "member"),
        (' {"value":null,"displayName":"Member"}', "member"),
    ],
)
def test_a_role_is_known_by_its_value_or_display_name_in_any_case_or_in_json(sent: str, role: str) -> None:
    assert role_of(sent, STRICT) == role


def test_of_both_names_in_json_the_value_counts() -> None:
    assert role_of('{"displayName":"Owner","value":"member"}', STRICT) == "member"


@pytest.mark.parametrize(
    "sent",
    [None, "", "  ", "User", "user", "Default Access", "msiam_access", "{}", '{"id":"1"}', '{"value":"User"}'],
)
def test_a_stand_in_names_no_role(sent: str | None) -> None:
    assert role_of(sent, STRICT) is None


@pytest.mark.parametrize(
    "sent",
    [
        "superuser",
        "owner,admin",
        "[]",
        "{",
        '{"value":',
        '{"value":["admin"]}',
        '{"value":{"value":"admin"}}',
        '{"value":"25","displayName":"User"}',
        '{"value":"\\ud800"}',
        '{"value":"\\u0000"}',
        '{"a":' * 5_000,
        '<?xml version="1.0" encoding="utf-16"?><roles/>',
        "ｏｗｎｅｒ",
    ],
)
def test_any_other_role_is_refused_with_those_that_there_are(sent: str) -> None:
    with pytest.raises(InvalidValue, match=r"Allowed: owner, admin, member\..*unknown_role = ignore"):
        role_of(sent, STRICT)
    assert role_of(sent, Settings(unknown_role="ignore")) is None


def test_a_tenants_own_role_may_have_the_name_of_a_stand_in() -> None:
    own = Settings(roles=(Role("boss", "The Boss"), Role("user", "User")))

    assert role_of("User", own) == "user"
    assert role_of("the boss", own) == "boss"


def test_a_spelling_means_a_role_under_the_settings_of_today() -> None:
    assert means("Owner", "owner", STRICT)
    assert not means("User", "owner", STRICT)
    assert not means("Guest", "member", STRICT)
    assert not means("Owner", "owner", Settings(roles=(Role("reader", "Reader"),)))
