"""What Entra writes: literal JSON of published captures and of Microsoft's documentation, built from mappings."""

import unicodedata
from dataclasses import replace
from typing import Any

import pytest

from ops.directory import Person
from ops.entra_mapping import CORE, DEFAULT, ENTERPRISE, SEED, Dialect, ManagerForm, Mapping, Source, Target
from ops.entra_payload import (
    Change,
    Wanted,
    create_body,
    differences,
    filter_query,
    form_encoded,
    manager_body,
    patch_body,
    wanted,
)

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
GUID = "66e4a8cc-1b7b-435e-95f8-f06cea133828"
ADA = Person(GUID, "ada@contoso.com", "Ada Lovelace", "Ada", "Lovelace", "Engineer")


def values_of(mapping: Mapping, person: Person, role: str | None = None, *, is_soft_deleted: bool = False) -> Wanted:
    rows = [row for row in mapping if not row.is_reference]
    return wanted(rows, Source(person, is_soft_deleted, role))


def changes(op: str, **values: str) -> list[Change]:
    return [Change("Add" if op == "Add" else "Replace", Target(name), value) for name, value in values.items()]


def test_a_creation_nests_the_guides_attributes_under_the_core_urn() -> None:
    assert create_body(values_of(SEED, ADA, "member")) == {
        "schemas": [CORE, ENTERPRISE],
        "userName": "ada@contoso.com",
        "active": True,
        "displayName": "Ada Lovelace",
        "title": "Engineer",
        "name": {"formatted": "Ada Lovelace"},
        "meta": {"resourceType": "User"},
        "roles": [],
        CORE: {"active": "True", "microsoftId": GUID, "role": "member"},
    }


def test_a_creation_may_leave_custom_attributes_out() -> None:
    body = create_body(values_of(SEED, ADA, "member"), with_custom=False)

    assert CORE not in body
    assert body["userName"] == "ada@contoso.com"


def test_a_creation_of_the_default_mapping_makes_one_element_of_each_type() -> None:
    person = replace(
        ADA,
        mail="ada@contoso.com",
        mail_nickname="ada",
        preferred_language="en-GB",
        physical_delivery_office_name="18/2111",
        street_address="1 Harbour Street",
        city="Dublin",
        state="Leinster",
        postal_code="D02",
        country="Ireland",
        telephone_number="+353 1",
        mobile="+353 86",
        facsimile_telephone_number="+353 2",
        employee_id="10001",
        department="Retail",
        manager="somebody",
    )

    assert create_body(values_of(DEFAULT, person)) == {
        "schemas": [CORE, ENTERPRISE],
        "externalId": "ada",
        "userName": "ada@contoso.com",
        "active": True,
        "displayName": "Ada Lovelace",
        "title": "Engineer",
        "preferredLanguage": "en-GB",
        "emails": [{"primary": True, "type": "work", "value": "ada@contoso.com"}],
        "name": {"formatted": "Ada Lovelace", "familyName": "Lovelace", "givenName": "Ada"},
        "addresses": [
            {
                "type": "work",
                "primary": False,
                "formatted": "18/2111",
                "streetAddress": "1 Harbour Street",
                "locality": "Dublin",
                "region": "Leinster",
                "postalCode": "D02",
                "country": "Ireland",
            }
        ],
        "phoneNumbers": [
            {"type": "work", "value": "+353 1"},
            {"type": "mobile", "value": "+353 86"},
            {"type": "fax", "value": "+353 2"},
        ],
        "meta": {"resourceType": "User"},
        "roles": [],
        ENTERPRISE: {"employeeNumber": "10001", "department": "Retail"},
    }


def test_both_mappings_have_the_rows_of_their_tables() -> None:
    assert [(row.expression.text, row.target.name, row.matching) for row in SEED] == [
        ("[userPrincipalName]", "userName", 2),
        ('Switch([IsSoftDeleted], , "False", "True", "True", "False")', "active", 0),
        ("[displayName]", "displayName", 0),
        ("[jobTitle]", "title", 0),
        ('Join(" ", [givenName], [surname])', "name.formatted", 0),
        ('Switch([IsSoftDeleted], , "False", "True", "True", "False")', f"{CORE}:active", 0),
        ("[objectId]", f"{CORE}:microsoftId", 1),
        ("SingleAppRoleAssignment([appRoleAssignments])", f"{CORE}:role", 0),
    ]
    assert len(DEFAULT) == 22


def test_a_classic_patch_has_an_operation_for_each_attribute() -> None:
    values = {
        "displayName": "Pvlo",
        'emails[type eq "work"].value': "TestBcwqnm@test.microsoft.com",
        "name.givenName": "Gtfd",
        "name.familyName": "Pkqf",
        "externalId": "Eqpj",
        f"{ENTERPRISE}:employeeNumber": "Eqpj",
    }

    assert patch_body(changes("Replace", **values), "classic") == {
        "schemas": [PATCH],
        "Operations": [
            {"op": "Replace", "path": "displayName", "value": "Pvlo"},
            {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "TestBcwqnm@test.microsoft.com"},
            {"op": "Replace", "path": "name.givenName", "value": "Gtfd"},
            {"op": "Replace", "path": "name.familyName", "value": "Pkqf"},
            {"op": "Replace", "path": "externalId", "value": "Eqpj"},
            {"op": "Replace", "path": f"{ENTERPRISE}:employeeNumber", "value": "Eqpj"},
        ],
    }


def test_a_flagged_patch_collapses_all_but_filtered_paths() -> None:
    values = {
        "displayName": "Bjfe",
        'emails[type eq "work"].value': "TestMhvaes@test.microsoft.com",
        "name.givenName": "Kkom",
        "name.familyName": "Unua",
        f"{ENTERPRISE}:employeeNumber": "Aklq",
    }

    assert patch_body(changes("Replace", **values), "flag") == {
        "schemas": [PATCH],
        "Operations": [
            {"op": "replace", "path": 'emails[type eq "work"].value', "value": "TestMhvaes@test.microsoft.com"},
            {
                "op": "replace",
                "value": {
                    "displayName": "Bjfe",
                    "name.givenName": "Kkom",
                    "name.familyName": "Unua",
                    f"{ENTERPRISE}:employeeNumber": "Aklq",
                },
            },
        ],
    }


def test_a_flagged_add_of_several_attributes_has_no_path() -> None:
    values = {"displayName": "Foo Bar", "title": "Bar Foo", "name.givenName": "Foo", "name.familyName": "Bar"}

    assert patch_body(changes("Add", **values), "flag")["Operations"] == [{"op": "add", "value": values}]


def test_a_flagged_add_of_one_attribute_has_its_path() -> None:
    assert patch_body(changes("Add", nickName="Babs"), "flag")["Operations"] == [
        {"op": "add", "path": "nickName", "value": "Babs"}
    ]


@pytest.mark.parametrize(
    ("dialect", "mapping", "expected"),
    [
        (
            "classic",
            SEED,
            [
                {"op": "Replace", "path": "active", "value": "False"},
                {"op": "Replace", "path": f"{CORE}:active", "value": "False"},
            ],
        ),
        ("classic", DEFAULT, [{"op": "Replace", "path": "active", "value": "False"}]),
        ("flag", SEED, [{"op": "replace", "value": {"active": False, f"{CORE}:active": "False"}}]),
        ("flag", DEFAULT, [{"op": "replace", "path": "active", "value": False}]),
    ],
)
def test_a_disable_is_written_in_the_jobs_dialect(dialect: Dialect, mapping: Mapping, expected: list[Any]) -> None:
    present = create_body(values_of(mapping, ADA))

    found = differences(present, values_of(mapping, ADA, is_soft_deleted=True))

    assert patch_body(found, dialect)["Operations"] == expected


@pytest.mark.parametrize(
    ("form", "dialect", "expected"),
    [
        ("string", "classic", {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "2c2f6fb8"}),
        ("string", "flag", {"op": "add", "path": f"{ENTERPRISE}:manager", "value": "2c2f6fb8"}),
        ("object", "classic", {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": {"value": "2c2f6fb8"}}),
        (
            "array",
            "classic",
            {
                "op": "Add",
                "path": "manager",
                "value": [{"$ref": "http://app/scim/Users/2c2f6fb8", "value": "2c2f6fb8"}],
            },
        ),
    ],
)
def test_a_manager_comes_in_three_forms(form: ManagerForm, dialect: Dialect, expected: dict[str, Any]) -> None:
    change = Change("Add", Target(f"{ENTERPRISE}:manager"), "2c2f6fb8")

    assert manager_body(change, dialect, form, "http://app/scim/Users/2c2f6fb8")["Operations"] == [expected]


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        (
            "userName",
            "7d420df3-9995-4831-a406-ecf8166f5f6a",
            "filter=userName+eq+%227d420df3-9995-4831-a406-ecf8166f5f6a%22",
        ),
        (
            f"{CORE}:microsoftId",
            GUID,
            f"filter=urn%3aietf%3aparams%3ascim%3aschemas%3acore%3a2.0%3aUser%3amicrosoftId+eq+%22{GUID}%22",
        ),
        (
            'emails[type eq "work"].value',
            "user@contoso.com",
            "filter=emails%5btype+eq+%22work%22%5d.value+eq+%22user%40contoso.com%22",
        ),
    ],
)
def test_a_filter_is_form_encoded(target: str, value: str, expected: str) -> None:
    assert filter_query(Target(target), value) == expected


def test_letters_beyond_ascii_are_encoded_as_utf_8_in_lower_case() -> None:
    assert form_encoded("Zoë O'Brien+1") == "Zo%c3%ab+O%27Brien%2b1"


def test_an_empty_text_of_the_app_counts_as_absent() -> None:
    present = {"name": {"givenName": "", "familyName": "Foo"}}
    named: Wanted = [(Target("name.givenName"), "Bar"), (Target("name.familyName"), "Foo2")]

    assert patch_body(differences(present, named), "classic")["Operations"] == [
        {"op": "Add", "path": "name.givenName", "value": "Bar"},
        {"op": "Replace", "path": "name.familyName", "value": "Foo2"},
    ]


def test_what_the_app_lacks_is_added_and_what_differs_is_replaced() -> None:
    present = {
        "emails": [{"type": "work", "value": "adele@contoso.com", "primary": True}],
        "addresses": [{"type": "work", "formatted": "17"}],
    }
    named: Wanted = [
        (Target('emails[type eq "work"].value'), "AdeleV2@contoso.com"),
        (Target('addresses[type eq "work"].formatted'), "18/2111"),
        (Target(f"{ENTERPRISE}:department"), "Retail"),
    ]

    assert patch_body(differences(present, named), "classic")["Operations"] == [
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "AdeleV2@contoso.com"},
        {"op": "Replace", "path": 'addresses[type eq "work"].formatted', "value": "18/2111"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Retail"},
    ]


def test_an_attribute_that_a_urn_names_is_looked_for_under_that_urn() -> None:
    named: Wanted = [(Target(f"{CORE}:role"), "admin")]

    assert differences({CORE: {"role": "admin"}}, named) == []
    assert differences({"role": "admin"}, named) == [Change("Add", Target(f"{CORE}:role"), "admin")]
    assert differences({CORE: {"role": "Admin"}}, named) == [Change("Replace", Target(f"{CORE}:role"), "admin")]


def test_booleans_are_compared_as_their_text() -> None:
    named: Wanted = [(Target("active"), "True"), (Target(f"{CORE}:active"), "True")]

    assert differences({"active": True, CORE: {"active": True}}, named) == []
    assert len(differences({"active": False, CORE: {"active": False}}, named)) == 2


def test_text_is_compared_byte_for_byte() -> None:
    named: Wanted = [(Target("displayName"), unicodedata.normalize("NFC", "Zoë"))]

    assert differences({"displayName": unicodedata.normalize("NFD", "Zoë")}, named)


def test_null_and_empty_values_of_the_source_are_never_written() -> None:
    person = replace(ADA, job_title=None, display_name="")
    present = create_body(values_of(SEED, ADA, "Admin"))

    assert differences(present, values_of(SEED, person)) == []


def test_the_name_of_a_guest_loses_its_mark() -> None:
    guest = Person(GUID, "ann_fabrikam.com#EXT#@contoso.com")

    assert create_body(values_of(SEED, guest))["userName"] == "ann_fabrikam.com@contoso.com"
