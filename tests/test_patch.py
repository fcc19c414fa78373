"""PATCH (RFC 7644 §3.5.2): given these values, when these operations, then those values or this refusal."""

from contextlib import suppress
from copy import deepcopy
from time import process_time
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from engine.catalog import USERS
from engine.patch import MOST_OPERATIONS, apply, made, read
from engine.quirks import Quirk
from engine.refusals import InvalidPath, InvalidSyntax, InvalidValue, NoTarget, NotMutable, Refusal
from engine.schema import CORE, ENTERPRISE, ROLLBOOK

MANAGER = f"{ENTERPRISE}:manager"
WORK = {"value": "ann@contoso.example", "type": "work", "primary": True}
HOME = {"value": "ann@home.example", "type": "home"}
ANN: dict[str, Any] = {
    "userName": "ann@contoso.example",
    "displayName": "Ann",
    "name.givenName": "Ann",
    "name.familyName": "Lee",
    "emails": [WORK, HOME],
    f"{MANAGER}.value": "1",
    f"{MANAGER}.displayName": "Bob",
}


def patched(*operations: Any, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """All values after the operations."""
    leaves = ANN if before is None else before
    after = {**leaves, **apply(read({"Operations": list(operations)}, USERS, []), leaves).leaves}
    return {key: value for key, value in after.items() if value is not None}


def difference(*operations: Any, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the operations change; None where a value is taken away."""
    leaves = ANN if before is None else before
    after = patched(*operations, before=leaves)
    return {key: after.get(key) for key in {**leaves, **after} if after.get(key) != leaves.get(key)}


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str, **value: Any) -> dict[str, Any]:
    return {"op": "remove", "path": path, **value}


def quirks_of(*operations: Any) -> list[str]:
    quirks: list[str] = []
    read({"Operations": list(operations)}, USERS, quirks)
    return quirks


# Entra's classic dialect: capitals, one operation an attribute, strings.


def test_the_classic_dialect_is_understood() -> None:
    assert difference(
        {"op": "Replace", "path": "displayName", "value": "Pvlo"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "pvlo@contoso.example"},
        {"op": "Add", "path": "name.givenName", "value": "Gtfd"},
        {"op": "Replace", "path": "externalId", "value": "Eqpj"},
        {"op": "Add", "path": 'addresses[type eq "work"].formatted', "value": "18/2111"},
        {"op": "Replace", "path": f"{ENTERPRISE}:employeeNumber", "value": "Eqpj"},
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "Remove", "path": "name.familyName"},
    ) == {
        "displayName": "Pvlo",
        "emails": [{**WORK, "value": "pvlo@contoso.example"}, HOME],
        "name.givenName": "Gtfd",
        "externalId": "Eqpj",
        "addresses": [{"type": "work", "formatted": "18/2111"}],
        f"{ENTERPRISE}:employeeNumber": "Eqpj",
        "active": False,
        "name.familyName": None,
    }


# The flagged dialect: lower case, booleans, and all but filtered paths in one operation without a path.


@pytest.mark.parametrize("op", ["add", "replace"])
def test_the_flagged_dialect_is_understood(op: str) -> None:
    assert difference(
        {"op": op, "path": 'emails[type eq "work"].value', "value": "a@x"},
        {
            "op": op,
            "value": {
                "displayName": "Bjfe",
                "name.givenName": "Kkom",
                "name": {"familyName": "Unua"},
                f"{ENTERPRISE}:employeeNumber": "Aklq",
                ENTERPRISE: {"department": "Retail", "manager": {"value": "2"}},
                'phoneNumbers[type eq "mobile"].value': "55",
                "active": False,
                "schemas": [CORE],
                "id": "1",
                "meta": {},
            },
        },
    ) == {
        "emails": [{**WORK, "value": "a@x"}, HOME],
        "displayName": "Bjfe",
        "name.givenName": "Kkom",
        "name.familyName": "Unua",
        f"{ENTERPRISE}:employeeNumber": "Aklq",
        f"{ENTERPRISE}:department": "Retail",
        f"{MANAGER}.value": "2",
        "phoneNumbers": [{"type": "mobile", "value": "55"}],
        "active": False,
    }


@pytest.mark.parametrize(
    "operations",
    [
        [add(f"{CORE}:role", "Owner"), replace(f"{CORE}:active", "False"), add(f"{CORE}:microsoftId", "66E4")],
        [add(f"{CORE}.role", "Owner"), replace(f"{CORE}.active", "False"), add(f"{CORE}.microsoftId", "66E4")],
        [{"op": "add", "value": {CORE: {"role": "Owner", "active": "False", "microsoftId": "66E4"}}}],
        [replace(CORE, {"role": "Owner", "active": "False", "microsoftId": "66E4"})],
        [replace(CORE.lower(), {"ROLE": "Owner", "Active": False, "MICROSOFTID": "66E4"})],
        [{"op": "replace", "value": {f"{CORE}:role": "Owner", f"{CORE}:active": False, f"{CORE}:microsoftId": "66E4"}}],
    ],
)
def test_the_three_names_are_written_in_every_shape_and_the_urn_is_remembered(operations: list[Any]) -> None:
    values = apply(read({"Operations": operations}, USERS, []), ANN)

    assert values.leaves == {"role": "Owner", "active": False, "microsoftId": "66E4"}
    assert values.prefixes == (CORE,)


def test_every_urn_that_a_request_uses_is_remembered() -> None:
    operations = [add(f"{CORE}:active", True), add(f"{ROLLBOOK}:active", True), add(f"{ENTERPRISE}:division", "X")]

    assert apply(read({"Operations": operations}, USERS, []), ANN).prefixes == (CORE, ROLLBOOK)
    assert apply(read({"Operations": [add("active", True), add(f"{CORE}:title", "X")]}, USERS, []), ANN).prefixes == ()


def test_of_two_operations_on_one_value_the_later_counts() -> None:
    assert difference(replace("active", "True"), replace(f"{CORE}:active", "False")) == {"active": False}
    assert difference(replace("title", "X"), remove("title")) == {}


@pytest.mark.parametrize(
    "operation",
    [
        add(MANAGER, "2"),
        replace(MANAGER, "2"),
        add(MANAGER, {"value": "2"}),
        add(MANAGER, [{"$ref": None, "value": "2"}]),
        add("manager", "2"),
        add("manager.value", "2"),
        add(f"{MANAGER}.value", "2"),
        replace(ENTERPRISE, {"manager": "2"}),
        {"op": "replace", "value": {ENTERPRISE: {"manager": "2"}}},
        {"op": "replace", "value": {MANAGER: "2"}},
    ],
)
def test_the_manager_is_set_in_every_shape(operation: Any) -> None:
    assert patched(operation)[f"{MANAGER}.value"] == "2"


@pytest.mark.parametrize(
    "operation",
    [
        replace(MANAGER, ""),
        replace(MANAGER, None),
        replace(MANAGER, {"value": ""}),
        replace(MANAGER, {"Value": None}),
        {"op": "replace", "value": {ENTERPRISE: {"manager": ""}}},
        remove(MANAGER),
        remove("manager"),
        remove('manager[value eq "1"]'),
        remove(f'{MANAGER}[displayName sw "b"]'),
        remove(ENTERPRISE),
    ],
)
def test_the_manager_is_taken_away_whole_in_every_shape(operation: Any) -> None:
    assert difference(operation) == {f"{MANAGER}.value": None, f"{MANAGER}.displayName": None}


def test_another_manager_than_the_one_to_be_taken_away_stays() -> None:
    assert difference(remove('manager[value eq "2"]')) == {}
    assert patched(replace(MANAGER, "2"), remove('manager[value eq "1"]'))[f"{MANAGER}.value"] == "2"
    assert difference(remove('manager[value eq "1"]'), before={}) == {}


def test_a_single_value_that_the_filter_does_not_choose_is_no_target() -> None:
    assert difference(replace('manager[value eq "1"]', {"value": "2", "displayName": "Cy"})) == {
        f"{MANAGER}.value": "2",
        f"{MANAGER}.displayName": "Cy",
    }
    assert difference(replace('manager[value eq "1"].displayName', "Cy")) == {f"{MANAGER}.displayName": "Cy"}
    with pytest.raises(NoTarget, match=r"manager\.displayName does not match the filter"):
        patched(replace('manager[value eq "2"].displayName', "Cy"))


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Add", "path": "roles", "value": [{"value": '{"id":"06b0","value":"25","displayName":"R"}'}]},
        {"op": "replace", "path": "roles", "value": [{"primary": False, "type": "W", "display": "U", "value": "U"}]},
    ],
)
def test_the_directorys_own_roles_are_kept_as_sent_and_once(operation: Any) -> None:
    assert patched(operation, operation)["roles"] == operation["value"]


def test_members_that_are_no_scim_are_passed_over() -> None:
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "id": "5",
        "OPERATIONS": [{"name": "addMember", "OP": "Add", "Path": "title", "VALUE": "X"}],
    }

    assert apply(read(body, USERS, []), ANN).leaves == {"title": "X"}


@pytest.mark.parametrize(
    "operations", [[], [{"op": "add", "value": {}}], [replace("name", {})], [add("emails", [])], [add("emails", None)]]
)
def test_no_operation_is_no_change(operations: list[Any]) -> None:
    assert difference(*operations) == {}


def test_the_examples_of_rfc_7644_are_understood() -> None:
    babs = {"value": "babs@jensen.org", "type": "home"}
    address = {"type": "work", "streetAddress": "911 Universal City Plaza", "locality": "Hollywood", "primary": True}
    before = {"emails": [{"value": "bjensen@example.com", "type": "work"}, babs]}

    assert difference({"op": "add", "value": {"emails": [babs], "nickname": "Babs"}}) == {
        "emails": [WORK, HOME, babs],
        "nickName": "Babs",
    }
    assert difference(remove('emails[type eq "work" and value ew "example.com"]'), before=before) == {"emails": [babs]}
    assert difference(remove("emails"), add("emails", [babs]), before=before) == {"emails": [babs]}
    assert difference(replace("emails", [babs]), before=before) == {"emails": [babs]}
    assert difference(replace('addresses[type eq "work"]', address), before={"addresses": [{"type": "work"}]}) == {
        "addresses": [address]
    }
    assert difference(
        replace('addresses[type eq "work"].streetAddress', "1010 Broadway Ave"), before={"addresses": [address]}
    ) == {"addresses": [{**address, "streetAddress": "1010 Broadway Ave"}]}


# Adding (RFC 7644 §3.5.2.1).


def test_adding_to_a_list_keeps_what_is_there() -> None:
    other = {"value": "ann@other.example", "type": "other"}

    assert patched(add("emails", [other]))["emails"] == [WORK, HOME, other]
    assert patched(add("emails", other))["emails"] == [WORK, HOME, other]
    assert patched({"op": "add", "value": {"emails": [other]}})["emails"] == [WORK, HOME, other]
    assert patched(add("emails", "ann@other.example"))["emails"] == [WORK, HOME, {"value": "ann@other.example"}]


@pytest.mark.parametrize("there", [WORK, HOME, {"value": WORK["value"]}, {"value": WORK["value"], "type": "work"}])
def test_what_is_there_already_is_not_added_again(there: Any) -> None:
    assert difference(add("emails", [there])) == {}
    assert difference(add("emails", there), add("emails", [there])) == {}


def test_what_is_added_twice_in_one_list_is_added_once() -> None:
    assert patched(add("ims", [{"value": "a"}, {"value": "a"}]))["ims"] == [{"value": "a"}]


def test_adding_to_a_complex_value_keeps_its_other_parts() -> None:
    assert difference(add("name", {"middleName": "B", "givenName": "A"})) == {
        "name.middleName": "B",
        "name.givenName": "A",
    }


def test_adding_to_chosen_elements_keeps_their_other_parts() -> None:
    assert patched(add('emails[type eq "work"]', {"display": "W"}))["emails"] == [{**WORK, "display": "W"}, HOME]


# Replacing (RFC 7644 §3.5.2.3).


def test_replacing_a_list_replaces_all_of_it() -> None:
    assert patched(replace("emails", [HOME]))["emails"] == [HOME]
    assert patched({"op": "replace", "value": {"emails": [HOME]}})["emails"] == [HOME]


@pytest.mark.parametrize("nothing", [None, [], "", [{}], [{"value": ""}]])
def test_replacing_a_list_by_nothing_takes_it_away(nothing: Any) -> None:
    assert difference(replace("emails", nothing)) == {"emails": None}


def test_replacing_a_complex_value_keeps_the_parts_that_are_not_named() -> None:
    assert difference(replace("name", {"givenName": "A"})) == {"name.givenName": "A"}
    assert difference(replace("name", {"givenName": None})) == {"name.givenName": None}
    assert difference(replace("name", None)) == {"name.givenName": None, "name.familyName": None}


def test_replacing_chosen_elements_replaces_them_whole() -> None:
    assert patched(replace('emails[type eq "work"]', {"value": "a@x"}))["emails"] == [
        {"type": "work", "value": "a@x"},
        HOME,
    ]
    assert patched(replace('emails[type eq "work"]', [{"value": "a@x", "type": "other"}]))["emails"] == [
        {"type": "other", "value": "a@x"},
        HOME,
    ]


def test_a_sub_attribute_is_replaced_in_all_chosen_elements_and_without_a_filter_in_all() -> None:
    two = {"emails": [WORK, {**HOME, "type": "work"}, HOME]}

    after = patched(replace('emails[type eq "work"].display', "W"), before=two)["emails"]
    assert [each.get("display") for each in after] == ["W", "W", None]
    after = patched(replace("emails.display", "W"), before=two)["emails"]
    assert [each.get("display") for each in after] == ["W", "W", "W"]


@pytest.mark.parametrize(
    ("path", "value", "made"),
    [
        ('emails[type eq "work"].value', "a@x", {"type": "work", "value": "a@x"}),
        ('emails[type eq "work"]', {"value": "a@x"}, {"type": "work", "value": "a@x"}),
        ('emails[type eq "work" and primary eq true].value', "a", {"type": "work", "primary": True, "value": "a"}),
        ('roles[primary eq "True"].value', "Admin", {"primary": True, "value": "Admin"}),
        ('emails[value eq "a@x"].type', "work", {"value": "a@x", "type": "work"}),
        ("emails.value", "a@x", {"value": "a@x"}),
        ('emails[type eq "work" and value co "@x"].value', "a@x", {"type": "work", "value": "a@x"}),
    ],
)
@pytest.mark.parametrize("op", ["Add", "Replace"])
def test_an_element_that_is_not_there_is_made_as_the_filter_describes_it_and_once(
    op: str, path: str, value: Any, made: dict[str, Any]
) -> None:
    operation = {"op": op, "path": path, "value": value}

    assert patched(operation, before={}) == {path.partition("[")[0].partition(".")[0]: [made]}
    assert patched(operation, operation, operation, before={}) == patched(operation, before={})


@pytest.mark.parametrize(
    "path",
    [
        'emails[not (type eq "home")].value',
        'emails[type ne "work"].value',
        'emails[type eq "work" or type eq "home"].value',
        "emails[primary pr].value",
        'emails[kind eq "x"].value',
        'emails[type eq "work" and value co "@y"].value',
        'emails[type eq "work" and value eq "old@x"].value',
        'emails[type eq "work" and type eq "home"].value',
        'emails[value eq "other@x"].value',
    ],
)
def test_a_filter_that_chooses_nothing_and_describes_nothing_is_no_target(path: str) -> None:
    with pytest.raises(NoTarget, match="No value of emails matches the filter"):
        patched(replace(path, "a@x"), before={})


def test_what_a_filter_describes_is_no_freer_than_a_value() -> None:
    with pytest.raises(InvalidValue, match="501 characters long; 500 are allowed"):
        patched(add(f'emails[value eq "{"x" * 501}"].type', "work"), before={})
    with pytest.raises(InvalidValue, match="takes bytes in base64"):
        patched(add('x509Certificates[value eq "no base64"].type', "work"), before={})


def test_one_value_path_takes_one_value() -> None:
    with pytest.raises(InvalidValue, match="takes one value, not 2"):
        patched(replace('emails[type eq "work"]', [WORK, HOME]))


# At most one is primary (RFC 7643 §2.4).


def test_a_value_made_primary_takes_that_from_the_others() -> None:
    expected = [{**WORK, "primary": False}, {**HOME, "primary": True}]

    assert patched(replace('emails[type eq "home"].primary', "True"))["emails"] == expected
    assert patched(add('emails[type eq "home"]', {"primary": True}))["emails"] == expected
    assert patched(add("emails", [{"value": "n", "primary": True}]))["emails"] == [
        {**WORK, "primary": False},
        HOME,
        {"value": "n", "primary": True},
    ]


def test_a_value_made_primary_takes_that_also_from_one_that_is_just_like_it() -> None:
    before = {"emails": [{"display": "a"}, {"primary": True}]}
    after = patched(replace("emails[display pr]", {"primary": True}), before=before)["emails"]
    assert after == [{"primary": True}, {"primary": False}]


@pytest.mark.parametrize(
    ("before", "operation"),
    [
        ([], replace("emails", [WORK, {**HOME, "primary": True}])),
        ([], add("emails", [WORK, {**HOME, "primary": True}])),
        ([WORK, HOME], replace("emails.primary", True)),
        ([WORK, HOME], replace("emails[value pr].primary", True)),
        ([WORK, {**WORK, "value": "b"}], replace('emails[type eq "work"]', {"value": "c", "primary": True})),
        ([HOME, {**HOME, "value": "b"}], replace('emails[type eq "home"].primary', True)),
    ],
)
def test_two_cannot_become_primary(before: list[Any], operation: Any) -> None:
    with pytest.raises(InvalidValue, match="more than one primary value"):
        patched(operation, before={"emails": before})


# Removing (RFC 7644 §3.5.2.2).


@pytest.mark.parametrize(
    ("operation", "left"),
    [
        (remove("emails"), None),
        (remove("emails", value=None), None),
        (remove("emails", value=""), None),
        (remove('emails[type eq "work"]'), [HOME]),
        (remove('emails[type eq "other"]'), [WORK, HOME]),
        (remove('emails[not (type eq "work")]'), [WORK]),
        (remove("emails[value pr]"), None),
        (remove('emails[type eq "work"].value'), [HOME]),
        (remove('emails[type eq "work"].primary'), [{"value": WORK["value"], "type": "work"}, HOME]),
        (remove('emails[type eq "work"].display'), [WORK, HOME]),
        (remove("emails.value"), None),
        (replace('emails[type eq "work"].value', ""), [HOME]),
        (replace('emails[type eq "work"].value', None), [HOME]),
        (replace('emails[type eq "work"]', None), [HOME]),
        # The classic dialect names by value what to remove.
        (remove("emails", value=[{"value": WORK["value"]}]), [HOME]),
        (remove("emails", value=[WORK]), [HOME]),
        (remove("emails", value=HOME), [WORK]),
        (remove("emails", value=[{"value": "other@x"}]), [WORK, HOME]),
        (remove("emails", value=[]), [WORK, HOME]),
        (remove("emails", value=[{"unknown": "x"}]), [WORK, HOME]),
        (remove("emails", value=[{"value": None}]), [WORK, HOME]),
    ],
)
def test_what_is_removed_from_a_list_and_what_is_left(operation: Any, left: Any) -> None:
    assert patched(operation).get("emails") == left
    assert patched(operation, operation).get("emails") == left


def test_removing_a_part_of_chosen_elements_leaves_the_others_as_they_are() -> None:
    bare = {"type": "other"}

    assert patched(remove('emails[type eq "work"].value'), before={"emails": [WORK, bare]})["emails"] == [bare]


def test_removing_single_and_complex_values() -> None:
    assert difference(remove("displayName")) == {"displayName": None}
    assert difference(remove("name.givenName")) == {"name.givenName": None}
    assert difference(remove("name")) == {"name.givenName": None, "name.familyName": None}
    assert difference(remove("title")) == {}
    assert difference(remove("displayName", value="Bob")) == {"displayName": None}


@pytest.mark.parametrize("operation", [{"op": "remove"}, {"op": "Remove", "path": ""}, {"op": "remove", "value": {}}])
def test_removing_without_a_path_is_no_target(operation: Any) -> None:
    with pytest.raises(NoTarget, match=r"Operations\[0\] removes without a path"):
        read({"Operations": [operation]}, USERS, [])


def test_removing_the_core_schema_is_no_target() -> None:
    with pytest.raises(NoTarget, match="whole resource"):
        read({"Operations": [remove(CORE)]}, USERS, [])


@pytest.mark.parametrize("path", ["userName", f"{CORE}:USERNAME"])
def test_what_is_required_cannot_be_removed(path: str) -> None:
    with pytest.raises(NotMutable, match="userName is required"):
        read({"Operations": [remove(path)]}, USERS, [])


@pytest.mark.parametrize("path", ["id", "meta", "schemas", "meta.created", f"{CORE}:id", "META.Version"])
@pytest.mark.parametrize("op", ["add", "replace", "remove"])
def test_what_is_read_only_cannot_be_changed(op: str, path: str) -> None:
    with pytest.raises(NotMutable, match=r"Operations\[0\]: \w+ is read-only"):
        read({"Operations": [{"op": op, "path": path, "value": "x"}]}, USERS, [])


# Tolerances, each named.


@pytest.mark.parametrize(
    ("operation", "quirks"),
    [
        (add("shoeSize", 44), [Quirk.UNKNOWN]),
        (remove("shoeSize"), [Quirk.UNKNOWN]),
        (add('members[value eq "1"].display', "x"), [Quirk.UNKNOWN]),
        (add('emails[type eq "work"].kind', "x"), ["emails: an unknown sub-attribute"]),
        (add("name.nick", "x"), ["name: an unknown sub-attribute"]),
        (add("name", {"nick": "x"}), ["name: an unknown sub-attribute"]),
        (add("emails", [{"kind": "x", "value": "a"}]), ["emails: an unknown sub-attribute"]),
        ({"op": "add", "value": {"shoeSize": 44}}, [Quirk.UNKNOWN]),
        ({"op": "add", "value": {"display name": 44}}, [Quirk.UNKNOWN]),
        ({"op": "add", "value": {"": 1, "5": 2}}, [Quirk.UNKNOWN] * 2),
        ({"op": "add", "value": {CORE: {"shoe size": 44}}}, [Quirk.CORE_OBJECT, f"{CORE}: an unknown attribute"]),
        ({"op": "add", "value": {"urn:other:2.0:User": {"a": 1}}}, [Quirk.UNKNOWN_EXTENSION]),
        ({"op": "add", "value": {"name.givenName": "A"}}, [Quirk.PATH_AS_NAME]),
        ({"op": "add", "value": {"id": "1", "schemas": []}}, ["id: read-only, left as it is"]),
        ({"op": "add", "path": "", "value": {}}, [Quirk.EMPTY_PATH]),
        ({"op": "Add", "path": "title", "value": "x"}, [Quirk.CAPITALS]),
        ({"op": "add", "path": "title", "value": "x", "name": "y"}, [Quirk.STRAY_MEMBER]),
        ({"op": "add", "path": CORE, "value": {"title": "x"}}, [Quirk.SCHEMA_AS_PATH]),
        (add(f"{CORE}.role", "x"), ["role: a dot for the colon behind the schema's URN"]),
        (add("title", ""), ["title: an empty string for no value"]),
        (add("manager", "1"), [f"{MANAGER}: named without its schema's URN", f"{MANAGER}: a string for an object"]),
        (remove(f'{MANAGER}[value eq "1"]'), [f"{MANAGER}: a value path for a single value"]),
        (remove("emails", value=[{"value": "a"}]), ["emails: removed by its value instead of a filter"]),
        (add("emails[type eq work].value", "x"), [Quirk.UNQUOTED]),
        (add('roles[primary eq "True"].value', "x"), [Quirk.QUOTED_BOOLEAN]),
        (add('emails[type eq "work"]', [{"value": "x"}]), ["emails: a list of one for a single value"]),
        (replace("active", "False"), ["active: a string for a boolean"]),
        (replace("displayName", [{"$ref": None, "value": "x"}]), ["displayName: a list of one for a single value"]),
        (add("emails", "a@x"), ["emails: one value for a list", "emails: a string for an object"]),
        (replace('addresses[type eq "work"]', {"locality": "Bonn"}), []),
        (replace('emails[type eq "work"].value', "a@x"), []),
    ],
)
def test_tolerances_are_named_and_nothing_that_is_scim(operation: Any, quirks: list[str]) -> None:
    assert quirks_of(operation) == quirks


def test_an_empty_list_of_operations_and_stray_members_are_named() -> None:
    quirks: list[str] = []
    read({"Operations": [], "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "id": "1"}, USERS, quirks)

    assert quirks == [Quirk.NO_OPERATIONS, Quirk.STRAY_MEMBER]


@pytest.mark.parametrize(
    ("operations", "quirks"),
    [
        ([add('emails[type eq "other"].value', "x")], ["emails: made, for the value path matched nothing"]),
        (
            [replace('phoneNumbers[type eq "work"].value', "x")],
            ["phoneNumbers: made, for the value path matched nothing"],
        ),
        ([add("phoneNumbers.value", "x")], ["phoneNumbers: made, for the value path matched nothing"]),
        ([add('emails[type eq "work"].value', "x")], []),
        ([add("emails", [{"value": "x"}]), remove('emails[type eq "other"]'), add("title", "x")], []),
        ([add("ims", [{"type": "a"}]), add('ims[type eq "a"].value', "x")], []),
        (
            [remove("emails"), add('emails[type eq "work"].value', "x")],
            ["emails: made, for the value path matched nothing"],
        ),
    ],
)
def test_elements_that_a_value_path_made_are_named(operations: list[Any], quirks: list[str]) -> None:
    assert list(made(read({"Operations": operations}, USERS, []), ANN)) == quirks


# What is refused, with its place.


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (None, "The body must be a JSON object, a PatchOp; it is null."),
        ([], "The body must be a JSON object, a PatchOp; it is a list."),
        ("x", "The body must be a JSON object, a PatchOp; it is a string."),
        ({}, "Operations takes a list, not null."),
        ({"Operations": {}}, "Operations takes a list, not an object."),
        ({"Operations": "add"}, "Operations takes a list, not a string."),
        ({"Operations": [{"op": "add", "value": {}}, 5]}, "Operations[1] must be an object, not a number."),
        ({"Operations": [None]}, "Operations[0] must be an object, not null."),
        ({"Operations": [{}]}, "Operations[0].op must be add, replace or remove."),
        ({"Operations": [{"op": "move", "path": "title"}]}, "Operations[0].op must be"),
        ({"Operations": [{"op": ["add"], "path": "title"}]}, "Operations[0].op must be"),
        ({"Operations": [{"op": None, "path": "title"}]}, "Operations[0].op must be"),
        ({"Operations": [remove("title")] * 1001}, "There are 1001 operations; 1000 are allowed in one request."),
        (
            {"Operations": [{"op": "add", "value": {f'emails[type eq "{n}"].value': "a" for n in range(1001)}}]},
            "There are 1001 attributes to change; 1000 are allowed.",
        ),
    ],
)
def test_a_body_that_is_no_patch_is_refused_with_its_place(body: Any, detail: str) -> None:
    with pytest.raises(InvalidSyntax) as refused:
        read(body, USERS, [])
    assert refused.value.detail.startswith(detail)


@pytest.mark.parametrize(
    ("operation", "detail"),
    [
        (add("emails[type", "x"), "Operations[0].path is not understood. At character 12:"),
        (add("display name", "x"), "Operations[0].path is not understood. At character 9:"),
        (add(" ", "x"), "Operations[0].path is not understood."),
        ({"op": "add", "path": 5, "value": "x"}, "Operations[0].path takes a string, not a number."),
        ({"op": "add", "path": ["title"], "value": "x"}, "Operations[0].path takes a string, not a list."),
        ({"op": "add", "value": {"emails[type": "x"}}, "Operations[0].path is not understood."),
        (remove('title[value eq "x"]'), "Operations[0].path is not understood. At character 6:"),
    ],
)
def test_a_path_that_is_not_understood_is_refused_with_its_place(operation: Any, detail: str) -> None:
    with pytest.raises(InvalidPath) as refused:
        read({"Operations": [operation]}, USERS, [])
    assert refused.value.detail.startswith(detail)


@pytest.mark.parametrize(
    ("operation", "detail"),
    [
        (add("title", 5), "title takes a string, not a number."),
        (add("title", {}), "title takes a string, not an object."),
        (add("title", ["a", "b"]), "title takes a string, not a list."),
        (add("userName", "x" * 501), "userName is 501 characters long; 500 are allowed."),
        (add("active", "perhaps"), "active takes true or false, not a string."),
        (add("active", 1), "active takes true or false, not a number."),
        (add(f"{CORE}:role", 1), "role takes a string, not a number."),
        (add("name", "Ann"), "name takes an object, not a string."),
        (add("name", {"givenName": 5}), "name.givenName takes a string, not a number."),
        (add("name.givenName", {}), "name.givenName takes a string, not an object."),
        (add("emails", 5), "emails[0] takes an object, not a number."),
        (add("emails", [{"value": 5}]), "emails[0].value takes a string, not a number."),
        (add("emails", ["a"] * 101), "emails has 101 values; 100 are allowed."),
        (add('emails[type eq "work"]', 5), "emails[0] takes an object, not a number."),
        (add('emails[type eq "work"].value', 5), "emails.value takes a string, not a number."),
        (add('emails[type eq "work"].primary', "x"), "emails.primary takes true or false, not a string."),
        (remove("emails", value=5), "emails[0] takes an object, not a number."),
        (add(MANAGER, 5), f"{MANAGER} takes an object, not a number."),
        (add(MANAGER, {"value": 5}), f"{MANAGER}.value takes a string, not a number."),
        (add(CORE, "x"), "Operations[0].value takes an object of attributes"),
        (add(ENTERPRISE, None), "Operations[0].value takes an object of attributes"),
        ({"op": "add", "value": "x"}, "Operations[0].value takes an object of attributes"),
        ({"op": "replace", "value": None}, "Operations[0].value takes an object of attributes"),
        ({"op": "replace", "value": [{"title": "x"}]}, "Operations[0].value takes an object of attributes"),
        ({"op": "replace", "value": {CORE: "x"}}, "Operations[0].value takes an object of attributes"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(operation: Any, detail: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        read({"Operations": [operation]}, USERS, [])
    assert refused.value.detail.startswith(detail)


def test_a_list_that_would_grow_too_long_is_refused() -> None:
    full = {"ims": [{"value": str(place)} for place in range(100)]}

    with pytest.raises(InvalidValue, match="ims would have 101 values; 100 are allowed"):
        patched(add("ims", "more"), before=full)
    with pytest.raises(InvalidValue, match="ims would have 101 values"):
        patched(add('ims[type eq "x"].value', "more"), before=full)


# Whatever the body.

PATHS = [
    *("title", "active", "role", "name", "name.givenName", "emails", "emails.value", "manager", MANAGER, "x.y", "id"),
    *('emails[type eq "work"].value', "emails[primary eq true]", 'manager[value eq "1"].displayName', "[", "schemas"),
    *("emails[value pr].primary", "userName", "x509Certificates", 'emails[not (type eq "work")]', CORE, ENTERPRISE),
]
NAMES = st.sampled_from([*PATHS, "value", "primary", "type", "givenName", "displayName"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["True", "work", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
OPERATION = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "Replace", "remove"])},
    optional={"path": st.sampled_from(PATHS) | JSON, "value": JSON},
)


@how(deadline=None)
@for_all(st.fixed_dictionaries({"Operations": st.lists(OPERATION | JSON, max_size=4)}) | JSON)
def test_any_json_is_a_patch_or_refused_and_changes_nothing_that_it_gets(body: Any) -> None:
    given, leaves = deepcopy(body), deepcopy(ANN)
    with suppress(Refusal):
        operations = read(body, USERS, [])
        before = deepcopy(operations)
        with suppress(Refusal):
            values = apply(operations, leaves)
            assert values.leaves.keys() <= USERS.leaves.keys()
            assert all(value not in ({}, []) for value in values.leaves.values())
        assert operations == before
    assert (body, leaves) == (given, ANN)


ELEMENTS = [{"value": f"a{place}@x", "type": f"t{place}"} for place in range(100)]


@pytest.mark.parametrize(
    "operations",
    [
        [add('emails[value co "x"].type', f"t{place}") for place in range(500)],
        [remove("emails[" + " or ".join(f'value co "{each}"' for each in "qrstuvwyz0"[:9]) + ' or type eq "q"]')] * 500,
        [replace("emails[" + " or ".join(f'display co "{each}"' for each in "qrstuvwyzp") + "].type", None)] * 500,
        [remove("emails", value=[{"value": f"b{place}"} for place in range(100)])] * 450,
        [add("emails", [{"value": f"a{place}@x"} for place in range(100)])] * 450,
        [{"op": "add", "value": {f"x{place}[a pr]": 1 for place in range(50_000)}}],
        [{"op": "add", "value": {f'emails[type eq "{place}"].value': 1 for place in range(20_000)}}],
        [add("title" + " " * 7_900, "x")] * 120,
        [add('emails[type eq "' + '\\"' * 3_900, "x")] * 120,
        [add("emails", [{"display": "x" * 700_000}]), *[remove('emails[display co "y"]')] * 499],
    ],
    ids=["every", "none", "clear", "by value", "again", "unknown", "unnamed", "spaces", "quotes", "large"],
)
def test_no_body_of_a_megabyte_takes_long(operations: list[Any]) -> None:
    assert len(operations) <= MOST_OPERATIONS
    begun = process_time()
    with suppress(Refusal):
        patched(*operations, before={"emails": ELEMENTS})
    assert process_time() - begun < 1.5
