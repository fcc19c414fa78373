"""`/v1/openapi.json` is a valid OpenAPI document, and `/v1` answers as it says."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.conftest import Directory


async def document(directory: Directory) -> dict[str, Any]:
    found: dict[str, Any] = (await directory.client.get("/v1/openapi.json")).json()
    return found


async def test_the_document_is_valid_and_needs_no_token(directory: Directory) -> None:
    found = await document(directory)

    validate(found)
    assert found["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/users", "/v1/users"),
        ("/v1/users/{user}", "/v1/users/{id}"),
        ("/v1/users/{user}/history", "/v1/users/{id}/history"),
        ("/v1/seats", "/v1/seats"),
        ("/v1/events", "/v1/events"),
    ],
)
async def test_what_is_answered_is_what_is_described(directory: Directory, path: str, operation: str) -> None:
    user = await directory.create("ann", title="Dr", name={"formatted": "Ann"})
    await directory.request("PATCH", f"/v1/users/{user}", json={"title": "Prof"})
    await directory.patch(user, {"op": "replace", "path": "title", "value": "Dr"})
    found = await document(directory)
    answer = await directory.request("GET", path.format(user=user))

    described = found["paths"][operation]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert_valid(found, described, answer.json())


async def test_a_refusal_is_the_problem_that_is_described(directory: Directory) -> None:
    found = await document(directory)
    answer = await directory.request("GET", "/v1/events?since=yesterday")

    assert answer.headers["content-type"] == "application/problem+json"
    assert_valid(found, {"$ref": "#/components/schemas/Problem"}, answer.json())


def assert_valid(found: dict[str, Any], schema: dict[str, Any], answer: Any) -> None:
    registry: Registry[Any] = Registry().with_resource("urn:document", Resource.from_contents(found, DRAFT202012))
    schema = {"$ref": "urn:document" + schema["$ref"]}
    Draft202012Validator(schema, registry=registry).validate(answer)
