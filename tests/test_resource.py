"""Bodies as directories write them, read into leaves: every spelling of a name, each value of its type or refused."""

import base64
from contextlib import suppress
from copy import deepcopy
from time import process_time
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine import resource
from engine.catalog import USERS
from engine.quirks import Quirk
from engine.refusals import InvalidSyntax, InvalidValue, Refusal
from engine.resource import nested
from engine.schema import CORE, ENTERPRISE, ROLLBOOK
from engine.values import MOST_ELEMENTS

MANAGER = f"{ENTERPRISE}:manager"
TWICE = "active: given twice, under two names"


def read(body: object) -> dict[str, Any]:
    """The values that the body gives, without what it takes away."""
    return {key: value for key, value in resource.read(body, USERS, []).leaves.items() if value is not None}


def quirks_of(body: object) -> list[str]:
    quirks: list[str] = []
    resource.read(body, USERS, quirks)
    return quirks


# What Entra sends.


def test_entras_creation_with_its_default_mapping_is_read_whole() -> None:
    body = {
        "schemas": [CORE, ENTERPRISE],
        "externalId": "alias",
        "userName": "ann@contoso.example",
        "active": True,
        "displayName": "Ann Lee",
        "title": "Engineer",
        "emails": [{"type": "work", "value": "ann@contoso.example", "primary": True}],
        "preferredLanguage": "de",
        "name": {"givenName": "Ann", "familyName": "Lee", "formatted": "Ann Lee"},
        "addresses": [{"type": "work", "formatted": "18/2111", "locality": "Bonn", "primary": False}],
        "phoneNumbers": [
            {"type": "work", "value": "1"},
            {"type": "mobile", "value": "2"},
            {"type": "fax", "value": "3"},
        ],
        "meta": {"resourceType": "User"},
        "roles": [],
        ENTERPRISE: {"employeeNumber": "7", "department": "Retail", "manager": "2c2f6fb8"},
    }

    assert read(body) == {
        "externalId": "alias",
        "userName": "ann@contoso.example",
        "active": True,
        "displayName": "Ann Lee",
        "title": "Engineer",
        "emails": [{"type": "work", "value": "ann@contoso.example", "primary": True}],
        "preferredLanguage": "de",
        "name.givenName": "Ann",
        "name.familyName": "Lee",
        "name.formatted": "Ann Lee",
        "addresses": [{"type": "work", "formatted": "18/2111", "locality": "Bonn", "primary": False}],
        "phoneNumbers": [
            {"type": "work", "value": "1"},
            {"type": "mobile", "value": "2"},
            {"type": "fax", "value": "3"},
        ],
        f"{ENTERPRISE}:employeeNumber": "7",
        f"{ENTERPRISE}:department": "Retail",
        f"{MANAGER}.value": "2c2f6fb8",
    }
    assert quirks_of(body) == [f"{MANAGER}: a string for an object"]


@pytest.mark.parametrize(
    ("body", "prefixes"),
    [
        ({CORE: {"active": "False", "microsoftId": "66E4", "role": "Owner"}}, (CORE,)),
        ({f"{CORE}:active": False, f"{CORE}:microsoftId": "66E4", f"{CORE}:role": "Owner"}, (CORE,)),
        ({f"{CORE}.active": False, f"{CORE}.microsoftId": "66E4", f"{CORE}.role": "Owner"}, (CORE,)),
        ({ROLLBOOK: {"active": False, "microsoftId": "66E4", "role": "Owner"}}, (ROLLBOOK,)),
        ({"active": "false", "microsoftId": "66E4", "role": "Owner"}, ()),
        ({"ACTIVE": "FALSE", "microsoftID": "66E4", "Role": "Owner"}, ()),
        ({CORE.upper(): {"Active": False}, "microsoftId": "66E4", f"{ROLLBOOK}:role": "Owner"}, (CORE, ROLLBOOK)),
    ],
)
def test_the_three_names_are_read_in_every_shape_and_the_urn_is_remembered(
    body: dict[str, Any], prefixes: tuple[str, ...]
) -> None:
    assert read(body) == {"active": False, "microsoftId": "66E4", "role": "Owner"}
    assert resource.read(body, USERS, []).prefixes == prefixes


def test_another_core_name_under_the_core_urn_leaves_no_prefix() -> None:
    values = resource.read({CORE: {"title": "X", "name": {"givenName": "A"}}}, USERS, [])

    assert (values.leaves["title"], values.leaves["name.givenName"], values.prefixes) == ("X", "A", ())


@pytest.mark.parametrize(
    "body",
    [
        {ENTERPRISE: {"manager": "1"}},
        {ENTERPRISE: {"manager": {"value": "1"}}},
        {ENTERPRISE: {"manager": {"Value": "1"}}},
        {ENTERPRISE: {"manager": [{"value": "1"}]}},
        {f"{ENTERPRISE}:manager": "1"},
        {f"{ENTERPRISE}:manager.value": "1"},
        {"manager": "1"},
        {"manager": {"value": "1"}},
    ],
)
def test_the_manager_is_read_in_every_shape(body: dict[str, Any]) -> None:
    assert read(body) == {f"{MANAGER}.value": "1"}


@pytest.mark.parametrize(
    "body",
    [
        {"name": {"givenName": "A", "familyName": "B"}},
        {"name.givenName": "A", "name.familyName": "B"},
        {"Name": {"GIVENNAME": "A", "familyname": "B"}},
        {"name": {"givenName": "A"}, "name.familyName": "B"},
        {"name.familyName": "B", "name": {"givenName": "A"}},
        {CORE: {"name": {"familyName": "B"}}, "name": {"givenName": "A", "familyName": None}},
    ],
)
def test_parts_of_a_name_come_together_from_all_spellings_in_any_order(body: dict[str, Any]) -> None:
    assert read(body) == {"name.givenName": "A", "name.familyName": "B"}


def test_of_two_values_for_one_name_the_later_counts() -> None:
    assert read({"title": "A", f"{CORE}:title": "B"}) == {"title": "B"}
    assert read({"active": True, CORE: {"active": "False"}}) == {"active": False}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", None),
        ("title", ""),
        ("name", None),
        ("name", {}),
        ("name", {"givenName": None, "familyName": ""}),
        ("emails", None),
        ("emails", []),
        ("emails", ""),
        ("emails", [None, {}, {"value": ""}, ""]),
        ("active", None),
        ("active", ""),
        ("manager", ""),
        ("manager", None),
        ("manager", {"value": ""}),
        (ENTERPRISE, None),
        (ENTERPRISE, {}),
        ("schemas", None),
    ],
)
def test_null_and_empty_are_no_value(name: str, value: Any) -> None:
    assert read({name: value}) == {}


def test_values_are_kept_byte_for_byte() -> None:
    kept = {"title": " Ä\u0308 ", "externalId": "A", "nickName": "\u200d", "profileUrl": "HTTPS://x/%41", "locale": "0"}

    assert read(kept) == kept


@pytest.mark.parametrize(
    ("value", "expected"), [("True", True), ("true", True), ("TRUE", True), ("False", False), (False, False)]
)
def test_booleans_come_as_strings_too(value: Any, expected: bool) -> None:
    assert read({"active": value}) == {"active": expected}
    assert read({"emails": [{"value": "a", "primary": value}]}) == {"emails": [{"value": "a", "primary": expected}]}


@pytest.mark.parametrize(
    ("emails", "quirk"),
    [
        ([{"value": "a@x"}], None),
        ([{"VALUE": "a@x"}], None),
        ({"value": "a@x"}, "emails: one value for a list"),
        ("a@x", "emails: one value for a list"),
        (["a@x"], "emails: a string for an object"),
        ([{"value": ["a@x"]}], "emails.value: a list of one for a single value"),
        ([{"value": "a@x", "shade": "red"}], "emails: an unknown sub-attribute"),
        ([{"shade": "red"}, {"value": "a@x"}], "emails: an unknown sub-attribute"),
        ([{}, {"value": "a@x"}], "emails: an empty element of a list"),
    ],
)
def test_a_list_is_read_in_every_shape(emails: Any, quirk: str | None) -> None:
    assert read({"emails": emails}) == {"emails": [{"value": "a@x"}]}
    assert quirks_of({"emails": emails})[:1] == ([quirk] if quirk else [])


def test_a_list_of_one_stands_for_a_single_value() -> None:
    assert read({"displayName": [{"$ref": None, "value": "User x"}]}) == {"displayName": "User x"}
    assert read({"displayName": ["User x"], "active": ["True"]}) == {"displayName": "User x", "active": True}


def test_the_directorys_own_roles_are_kept_as_sent() -> None:
    roles = [{"primary": True, "type": "WindowsAzureActiveDirectoryRole", "value": '{"value":"25"}', "display": "R"}]

    assert read({"roles": roles}) == {"roles": roles}


# What is passed over.


@pytest.mark.parametrize(
    ("body", "quirks"),
    [
        ({"shoeSize": 44}, [Quirk.UNKNOWN]),
        ({"urn:other:2.0:User": {"a": 1}}, [Quirk.UNKNOWN_EXTENSION]),
        (
            {"urn:ietf:params:scim:schemas:extension:enterprise:2.0User": {"department": "A"}},
            [Quirk.UNKNOWN_EXTENSION],
        ),
        ({CORE: {"shoeSize": 44}}, [Quirk.CORE_OBJECT, f"{CORE}: an unknown attribute"]),
        ({ENTERPRISE: {"ann": 44}}, [f"{ENTERPRISE}: an unknown attribute"]),
        ({"name": {"nick": "A"}}, ["name: an unknown sub-attribute"]),
        ({"name.nick": "A"}, ["name: an unknown sub-attribute"]),
        ({"ann@example.com": 1}, [Quirk.UNKNOWN]),
        ({"": 1}, [Quirk.UNKNOWN]),
        ({"x" * 1_000: 1}, [Quirk.UNKNOWN]),
        (
            {"emails.value": "a@x"},
            [Quirk.PATH_AS_NAME, "emails: a sub-attribute of a list, without saying of which element"],
        ),
        ({"passwords": "secret"}, [Quirk.UNKNOWN]),
        ({"meta.created": "2026"}, [Quirk.PATH_AS_NAME, "meta: read-only, left as it is"]),
        ({CORE: {"id": "1"}}, [Quirk.CORE_OBJECT, "id: read-only, left as it is"]),
        (
            {"id": "1", "ID": 2, "meta": {"version": 1}, "schemas": ["urn:other"]},
            [Quirk.UNKNOWN_SCHEMA],
        ),
        ({"schemas": [CORE, ENTERPRISE]}, []),
        ({"schemas": [CORE], ENTERPRISE: {}}, [Quirk.UNDECLARED_SCHEMA]),
        ({"schemas": None}, []),
    ],
)
def test_what_nobody_may_write_or_nobody_knows_is_passed_over_and_named(
    body: dict[str, Any], quirks: list[str]
) -> None:
    assert read(body) == {}
    assert quirks_of(body) == quirks


# What is refused.


@pytest.mark.parametrize("body", [None, True, 5, 1.5, "user", [], [{"userName": "a"}]])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InvalidSyntax, match="must be a JSON object, a User; it is"):
        resource.read(body, USERS, [])


@pytest.mark.parametrize("schemas", ["urn", 5, {}, [5], [None], True, ["urn", ["urn"]]])
def test_schemas_that_are_no_list_of_strings_are_refused(schemas: Any) -> None:
    with pytest.raises(InvalidSyntax, match="schemas takes a list of URNs"):
        resource.read({"schemas": schemas}, USERS, [])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"userName": 5}, "userName takes a string, not a number."),
    ({"userName": 5.5}, "userName takes a string, not a number."),
    ({"userName": True}, "userName takes a string, not a boolean."),
    ({"userName": {}}, "userName takes a string, not an object."),
    ({"userName": []}, "userName takes a string, not a list."),
    ({"userName": ["a", "b"]}, "userName takes a string, not a list."),
    ({"userName": [["a"]]}, "userName takes a string, not a list."),
    ({"userName": [{"value": 5}]}, "userName takes a string, not a number."),
    ({CORE: {"role": 5}}, "role takes a string, not a number."),
    ({"active": 1}, "active takes true or false, not a number."),
    ({"active": "yes"}, "active takes true or false, not a string."),
    ({"active": {}}, "active takes true or false, not an object."),
    ({"active": []}, "active takes true or false, not a list."),
    ({"name": "Ann"}, "name takes an object, not a string."),
    ({"name": []}, "name takes an object, not a list."),
    ({"name": {"givenName": 5}}, "name.givenName takes a string, not a number."),
    ({"name.givenName": {}}, "name.givenName takes a string, not an object."),
    ({"manager": 5}, f"{MANAGER} takes an object, not a number."),
    ({"manager": {"value": {}}}, f"{MANAGER}.value takes a string, not an object."),
    ({"emails": 5}, "emails[0] takes an object, not a number."),
    ({"emails": [[]]}, "emails[0] takes an object, not a list."),
    ({"emails": [{"value": "a"}, {"value": 5}]}, "emails[1].value takes a string, not a number."),
    ({"emails": [{"primary": "maybe"}]}, "emails[0].primary takes true or false, not a string."),
    ({"emails": [{"primary": True, "value": each} for each in "ab"]}, "emails has more than one primary value"),
    ({"emails": ["a@x"] * 101}, "emails has 101 values; 100 are allowed."),
    ({"addresses": ["Bonn"]}, "addresses[0] takes an object, not a string."),
    ({"x509Certificates": [{"value": "no base64"}]}, "x509Certificates[0].value takes bytes in base64."),
    ({"x509Certificates": [{"value": "ü"}]}, "x509Certificates[0].value takes bytes in base64."),
    ({"x509Certificates": [{"value": 5}]}, "x509Certificates[0].value takes a string, not a number."),
    ({"userName": "x" * 501}, "userName is 501 characters long; 500 are allowed."),
    ({"externalId": "x" * 501}, "externalId is 501 characters long; 500 are allowed."),
    ({"emails": [{"value": "x" * 501}]}, "emails[0].value is 501 characters long; 500 are allowed."),
    ({ENTERPRISE: "x"}, f"{ENTERPRISE} takes an object, not a string."),
    ({CORE: []}, f"{CORE} takes an object, not a list."),
]


@pytest.mark.parametrize(("body", "detail"), WRONG)
def test_a_value_of_another_type_is_refused_with_its_place(body: dict[str, Any], detail: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        resource.read(body, USERS, [])
    assert refused.value.detail.startswith(detail)
    assert refused.value.scim_type == "invalidValue"


def test_bytes_in_base64_are_kept_as_sent() -> None:
    value = base64.b64encode(b"certificate").decode()

    assert read({"x509Certificates": [{"value": value}]}) == {"x509Certificates": [{"value": value}]}


def test_a_list_may_have_as_many_values_as_is_said() -> None:
    assert len(read({"emails": [{"value": str(place)} for place in range(MOST_ELEMENTS)]})["emails"]) == MOST_ELEMENTS


# Leaves as the tree that SCIM writes.


def test_leaves_become_the_tree_that_was_read() -> None:
    tree = {
        "userName": "ann",
        "name": {"givenName": "A", "familyName": "B"},
        "emails": [{"value": "a@x", "type": "work"}],
        ENTERPRISE: {"department": "Retail", "manager": {"value": "1", "$ref": "../Users/1"}},
    }

    assert nested(read(tree)) == tree


def test_every_leaf_has_its_place_in_the_tree() -> None:
    for key, leaf in USERS.leaves.items():
        value: Any = True if leaf.attribute.type == "boolean" else "AAAA"
        if leaf.attribute.multi_valued:
            value = [{leaf.attribute.sub_attributes[0].name: value}]
        assert read(nested({key: value})) == {key: value}


def test_reading_and_writing_leave_what_they_get_as_it_was() -> None:
    body = {"emails": {"value": "a", "primary": "True"}, "name": {"givenName": ""}, ENTERPRISE: {"manager": "1"}}
    before = deepcopy(body)
    leaves = resource.read(body, USERS, []).leaves
    kept = deepcopy(leaves)

    nested(leaves)
    assert (body, leaves) == (before, kept)


# Whatever the body.

WORDS = "userName active name givenName emails value primary manager role schemas meta name.givenName photos"
NAMES = st.sampled_from([*WORDS.split(), "x509Certificates", CORE, ENTERPRISE, ROLLBOOK, f"{CORE}:active"])
NAMES |= st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("True"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@how(deadline=None)
@for_all(JSON | st.dictionaries(NAMES, JSON, max_size=6))
def test_any_json_is_a_user_or_refused(body: Any) -> None:
    before = deepcopy(body)
    try:
        values = resource.read(body, USERS, [])
    except Refusal:
        return
    finally:
        assert body == before
    assert values.leaves.keys() <= USERS.leaves.keys()
    given = {key: value for key, value in values.leaves.items() if value is not None}
    assert read(nested(given)) == given


@pytest.mark.parametrize(
    "body",
    [
        {f"x{place}": 1 for place in range(80_000)},
        {"name": {f"x{place}": 1 for place in range(80_000)}},
        {CORE: {f"x{place}": 1 for place in range(80_000)}},
        {"emails": [{f"x{place}": 1 for place in range(1_000)}] * 80},
        {"emails": ["a"] * 250_000},
        {"schemas": ["a"] * 250_000},
        {"x509Certificates": [{"value": "A" * 1_000_000}]},
        {"role": '{"a":' * 200_000},
    ],
    ids=["names", "names of a sub-attribute", "names of a schema", "wide", "long", "schemas", "bytes", "text"],
)
def test_no_body_of_a_megabyte_takes_long_to_read(body: Any) -> None:
    begun = process_time()
    with suppress(Refusal):
        resource.read(body, USERS, [])
    assert process_time() - begun < 1


@pytest.mark.parametrize(
    ("body", "quirks"),
    [
        ({"title": ""}, ["title: an empty string for no value"]),
        ({"emails": ""}, ["emails: an empty string for no value"]),
        ({"active": True, CORE: {"active": "True"}}, [Quirk.CORE_OBJECT, "active: a string for a boolean", TWICE]),
        ({f"{CORE}:role": "admin"}, [Quirk.PATH_AS_NAME]),
        ({"name.givenName": "Ann"}, [Quirk.PATH_AS_NAME]),
        ({f"{CORE}.role": "admin"}, [Quirk.PATH_AS_NAME, "role: a dot for the colon behind the schema's URN"]),
        ({"manager": {"value": "1"}}, [f"{MANAGER}: named without its schema's URN"]),
        ({"active": True, "title": None, "emails": [], "schemas": [CORE], "NickName": "A"}, []),
    ],
)
def test_what_is_no_scim_and_understood_is_named(body: dict[str, Any], quirks: list[str]) -> None:
    assert quirks_of(body) == quirks


@pytest.mark.parametrize("value", [5, True, ["x"] * 2, {"value": "x"}])
def test_a_password_is_a_string_and_never_kept(value: object) -> None:
    assert read({"password": "secret"}) == {}
    with pytest.raises(InvalidValue, match="password takes a string"):
        read({"password": value})
