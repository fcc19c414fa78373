"""Schemas of a tenant's own."""

from typing import Any
from urllib.parse import urlencode

import pytest

from engine import extensions
from engine.refusals import InvalidValue
from engine.settings import Extension, Settings
from tests.conftest import Directory

URN = "urn:example:contoso:2.0:User"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
DOCUMENT: dict[str, Any] = {
    "id": URN,
    "name": "Contoso",
    "attributes": [
        {"name": "badge", "type": "integer", "required": True},
        {"name": "rate", "type": "decimal"},
        {"name": "since", "type": "dateTime"},
        {"name": "remote", "type": "boolean"},
        {"name": "site", "canonicalValues": ["Bonn", "Graz"]},
        {"name": "code", "caseExact": True, "mutability": "immutable"},
        {"name": "secret", "returned": "never"},
        {"name": "note", "returned": "request"},
        {"name": "tags", "multiValued": True},
        {"name": "desk", "type": "complex", "subAttributes": [{"name": "floor", "type": "integer"}]},
        {
            "name": "keys",
            "type": "complex",
            "multiValued": True,
            "subAttributes": [{"name": "value"}, {"name": "door", "type": "integer"}],
        },
    ],
}
VALUES = {
    "badge": 12345678901,
    "rate": 1.25,
    "since": "2026-11-23T10:00:00+01:00",
    "remote": True,
    "site": "Bonn",
    "code": "Ab",
    "tags": ["x", "Y"],
    "desk": {"floor": 3},
    "keys": [{"value": "k1", "door": 10}],
}


async def extended(directory: Directory, document: dict[str, Any] = DOCUMENT) -> None:
    new = Extension(extensions.read(document))
    await directory.set_settings(**extensions.added(Settings(), new))


async def found(directory: Directory, text: str) -> list[str]:
    answer = await directory.request("GET", f"/scim/v2/Users?{urlencode({'filter': text})}")
    assert answer.status_code == 200, answer.text
    return [each["userName"] for each in answer.json()["Resources"]]


async def test_values_of_a_schema_of_ones_own_are_kept_as_sent_and_listed(company: Directory) -> None:
    await extended(company)

    user_id = await company.create("bob@contoso.example", **{URN: {**VALUES, "secret": "s", "note": "n"}})
    read = (await company.request("GET", f"/scim/v2/Users/{user_id}")).json()
    asked = (await company.request("GET", f"/scim/v2/Users/{user_id}?attributes={URN}:note")).json()
    schema = (await company.request("GET", f"/scim/v2/Schemas/{URN}")).json()
    type_ = (await company.request("GET", "/scim/v2/ResourceTypes/User")).json()

    assert read[URN] == VALUES
    assert URN in read["schemas"]
    assert asked[URN] == {"note": "n"}
    assert [each["name"] for each in schema["attributes"]] == [each["name"] for each in DOCUMENT["attributes"]]
    assert {"schema": URN, "required": False} in type_["schemaExtensions"]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("badge gt 12345678900", True),
        ("badge lt 9", False),
        ("rate eq 1.250", True),
        ('since eq "2026-11-23T09:00:00Z"', True),
        ('since lt "2026-11-23T09:00:00Z"', False),
        ("remote eq true", True),
        ("remote ne true", False),
        ('site eq "BONN"', True),
        ('code eq "AB"', False),
        ('tags eq "y"', True),
        ('tags[value sw "x"]', True),
        ('tags eq "z"', False),
        ("tags pr", True),
        ("desk.floor ge 3", True),
        ("keys[door gt 9]", True),
        ('keys[door gt 9 and value eq "k2"]', False),
        ('not (keys.value eq "k2")', True),
    ],
)
async def test_filters_compare_values_by_their_type(company: Directory, text: str, is_found: bool) -> None:
    await extended(company)
    await company.create("bob@contoso.example", **{URN: VALUES})
    negated = text.startswith("not (")
    named = f"not ({URN}:{text[5:]}" if negated else f"{URN}:{text}"

    assert ("bob@contoso.example" in await found(company, named)) is is_found
    assert await found(company, f'schemas eq "{URN}"') == ["bob@contoso.example"]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"badge": 1.5}, "badge"),
        ({"badge": 2**63}, "badge"),
        ({"badge": 1, "since": "yesterday"}, "since"),
        ({"badge": 1, "since": "2026-02-31T00:00:00Z"}, "since"),
        ({"badge": 1, "site": "Rome"}, "site"),
        ({"badge": 1, "tags": [{"value": 1}]}, "tags"),
        ({"rate": 1}, "badge"),
    ],
)
async def test_values_of_another_type_and_missing_ones_are_refused(
    company: Directory, values: dict[str, Any], word: str
) -> None:
    await extended(company)

    answer = await company.request("POST", "/scim/v2/Users", json={"userName": "b@x.example", URN: values})

    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")
    assert word in answer.json()["detail"]


async def test_values_of_a_schema_of_ones_own_are_patched(company: Directory) -> None:
    await extended(company)
    user_id = await company.create("bob@contoso.example", **{URN: VALUES})

    answer = await company.patch(
        user_id,
        {"op": "add", "path": f"{URN}:tags", "value": ["z", "x"]},
        {"op": "remove", "path": f'{URN}:tags[value eq "y"]'},
        {"op": "replace", "path": f"{URN}:desk.floor", "value": 4},
        {"op": "replace", "path": f"{URN}:keys[door gt 9].door", "value": 11},
        {"op": "replace", "path": URN, "value": {"badge": 7}},
        {"op": "remove", "path": f"{URN}:rate"},
    )
    changed = answer.json()[URN]
    again = await company.patch(user_id, {"op": "replace", "path": f"{URN}:code", "value": "Other"})

    assert changed["tags"] == ["x", "z"]
    assert (changed["desk"], changed["keys"], changed["badge"]) == (
        {"floor": 4},
        [{"value": "k1", "door": 11}],
        7,
    )
    assert "rate" not in changed
    assert (again.status_code, again.json()["scimType"]) == (400, "mutability")


async def test_one_value_is_added_to_a_list_without_a_list_around_it(company: Directory) -> None:
    """RFC 7644 §3.5.2.1; where nothing but SCIM is taken, too."""
    await extended(company)
    user_id = await company.create("bob@contoso.example", **{URN: VALUES})
    await company.set_settings(mode="strict")
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "add", "path": f"{URN}:tags", "value": "z"}],
    }
    answer = await company.request("PATCH", f"/scim/v2/Users/{user_id}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()[URN]["tags"] == ["x", "Y", "z"]


async def test_a_schema_that_was_removed_hides_its_values_until_it_comes_back(company: Directory) -> None:
    await extended(company)
    user_id = await company.create("bob@contoso.example", **{URN: VALUES})
    before = Settings(schemas=(Extension(extensions.read(DOCUMENT)),))

    await company.set_settings(**extensions.removed(before, URN))
    hidden = (await company.request("GET", f"/scim/v2/Users/{user_id}")).json()
    await company.request("PUT", f"/scim/v2/Users/{user_id}", json={"userName": "bob@contoso.example"})
    await extended(company)
    shown = (await company.request("GET", f"/scim/v2/Users/{user_id}")).json()

    assert URN not in hidden
    assert URN not in hidden["schemas"]
    assert shown[URN] == VALUES


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"id": "contoso"}, "id"),
        ({"id": CORE}, "taken"),
        ({"id": "urn:example:it's:User"}, "id"),
        ({"attributes": []}, "attributes"),
        ({"attributes": [{"name": "a'b"}]}, "attributes[0].name"),
        ({"attributes": [{"name": "a"}, {"name": "A"}]}, "two attributes"),
        ({"attributes": [{"name": "a", "type": "number"}]}, "attributes[0]"),
        ({"attributes": [{"name": "a", "type": "complex"}]}, "subAttributes"),
        ({"attributes": [{"name": "a", "uniqueness": "server"}]}, "uniqueness"),
    ],
)
def test_a_schema_that_is_none_is_refused_with_the_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        extensions.added(Settings(), Extension(extensions.read({**DOCUMENT, **change})))

    assert place in refused.value.detail


def test_a_schema_that_comes_back_keeps_the_types_of_its_values() -> None:
    before = Settings(former_schemas=(Extension(extensions.read(DOCUMENT)),))
    other = {**DOCUMENT, "attributes": [{"name": "badge"}, *DOCUMENT["attributes"][1:]]}

    with pytest.raises(InvalidValue, match="badge"):
        extensions.added(before, Extension(extensions.read(other)))


async def test_a_password_is_taken_and_neither_kept_nor_shown(company: Directory) -> None:
    user_id = await company.create("bob@contoso.example", password="hunter2-hunter2")
    await company.patch(user_id, {"op": "replace", "path": "password", "value": "hunter2-hunter2"})
    stored = await company.services.pool.fetch("SELECT data::text FROM rollbook.events")

    assert "hunter2" not in (await company.request("GET", f"/scim/v2/Users/{user_id}")).text
    assert not any("hunter2" in row["data"] for row in stored)


async def test_a_number_in_quotes_is_compared_as_one_but_by_a_strict_tenant(company: Directory) -> None:
    await extended(company)
    await company.create("bob@contoso.example", **{URN: VALUES})
    assert await found(company, f'{URN}:desk.floor eq "3"') == ["bob@contoso.example"]

    new = Extension(extensions.read(DOCUMENT))
    await company.set_settings(**extensions.added(Settings(), new), mode="strict")
    in_quotes = {"filter": f'{URN}:desk.floor eq "3"'}
    quoted = await company.request("GET", f"/scim/v2/Users?{urlencode(in_quotes)}")

    assert await found(company, f"{URN}:desk.floor eq 3") == ["bob@contoso.example"]
    assert (quoted.status_code, quoted.json()["scimType"]) == (400, "invalidFilter")
    assert "a number in quotes" in quoted.json()["detail"]


async def test_a_strict_tenant_names_what_is_unknown(company: Directory) -> None:
    await company.set_settings(mode="strict")

    answer = await company.request(
        "POST", "/scim/v2/Users", json={"schemas": [CORE], "userName": "b@x.example", "shoeSize": 43}
    )

    assert answer.json()["scimType"] == "invalidValue"
    assert "'shoeSize'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": f'{URN}:secret eq "s"'},
        {"filter": f'not ({URN}:secret sw "a")'},
        {"filter": f"title pr or {URN}:SECRET pr"},
        {"filter": "password pr"},
    ],
)
async def test_what_is_never_returned_cannot_be_searched_by(company: Directory, asked: dict[str, str]) -> None:
    await extended(company)

    answer = await company.request("GET", f"/scim/v2/Users?{urlencode(asked)}")

    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter"), answer.text


@pytest.mark.parametrize("name", [f"{URN}:secret", "password"])
async def test_nothing_is_sorted_by_what_is_never_returned(company: Directory, name: str) -> None:
    await extended(company)

    answer = await company.request("GET", f"/scim/v2/Users?{urlencode({'sortBy': name})}")

    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidPath"), answer.text


async def test_the_app_sees_neither_what_is_never_returned_nor_what_is_of_a_removed_schema(company: Directory) -> None:
    await extended(company)
    user_id = await company.create("bob@contoso.example", **{URN: {**VALUES, "secret": "hush"}})

    async def bob() -> list[Any]:
        one = (await company.request("GET", f"/v1/users/{user_id}")).json()
        everybody = (await company.request("GET", "/v1/users")).json()["users"]
        edited = (await company.request("PATCH", f"/v1/users/{user_id}", json={"title": "Baker"})).json()
        return [one.get(URN), next(each for each in everybody if each["id"] == user_id).get(URN), edited.get(URN)]

    assert await bob() == [VALUES] * 3
    with_it = Settings(schemas=(Extension(extensions.read(DOCUMENT)),))
    await company.set_settings(**extensions.removed(with_it, URN))
    assert await bob() == [None] * 3
