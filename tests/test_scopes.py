"""What a token of each scope opens: every address of both interfaces, with every method that it takes."""

from typing import Any
from uuid import UUID

import pytest

from api.app import ROUTES, SCIM
from engine.tokens import OWN, SCOPES
from tests.conftest import ALL_SCOPES, Directory, issue
from tests.test_console_permissions import followed

__all__ = ["followed"]

# By the scope that the OpenAPI document names first, all that will do.
WILL_DO = {
    "people:read": {"people:read", "people:write", "admin"},
    "people:write": {"people:write", "admin"},
    "audit:read": {"audit:read", "admin"},
    "admin": {"admin"},
}
CHANGES = {
    "PATCH /v1/users/{id}": "people:write",
    "POST /v1/users/{id}/erase": "admin",
    "PUT /v1/groups/{id}/role": "admin",
    "POST /v1/tokens": "admin",
    "DELETE /v1/tokens/{id}": "admin",
}


async def statuses(directory: Directory, tokens: dict[str, str], method: str, path: str) -> dict[str, int]:
    """What each scope gets for an answer."""
    address = path.format(id=UUID(int=7), rest="x", path="x", seq=1, name="x")
    return {
        scope: (
            await directory.request(method, address, json={}, headers={"Authorization": f"Bearer {token}"})
        ).status_code
        for scope, token in tokens.items()
    }


@pytest.fixture
async def tokens(directory: Directory) -> dict[str, str]:
    """A token of each scope that anybody may have."""
    return {scope: await issue(directory.services, directory.tenant_id, scope) for scope in ALL_SCOPES}


def test_every_scope_is_tried() -> None:
    assert {*ALL_SCOPES, OWN} == set(SCOPES)


async def test_each_operation_of_v1_opens_to_the_scopes_that_are_described_and_to_no_other(
    followed: Directory, tokens: dict[str, str]
) -> None:
    paths: dict[str, Any] = (await followed.client.get("/v1/openapi.json")).json()["paths"]
    needed = {
        f"{method.upper()} {path}": described["description"].rpartition("Needs a token with the scope ")[2]
        for path, operations in paths.items()
        for method, described in operations.items()
        if "Needs a token" in described.get("description", "")
    }
    named = {operation: text.partition(".")[0].partition(" or ")[0] for operation, text in needed.items()}

    assert {operation: scope for operation, scope in named.items() if not operation.startswith("GET ")} == CHANGES
    for operation, scope in named.items():
        method, _, path = operation.partition(" ")
        answers = await statuses(followed, tokens, method, path)
        assert {each for each, status in answers.items() if status != 403} == WILL_DO[scope], (operation, answers)
        assert (await followed.client.request(method, path.format(id=UUID(int=7)))).status_code == 401


SCIM_PATHS = sorted(route.path for route in ROUTES if route.path.startswith(SCIM))


@pytest.mark.parametrize("path", SCIM_PATHS)
async def test_scim_opens_to_its_own_scope_alone(directory: Directory, tokens: dict[str, str], path: str) -> None:
    await directory.set_settings(groups="on")
    allowed = (await directory.client.request("OPTIONS", path.format(id=UUID(int=7)))).headers["allow"]

    for method in set(allowed.split(", ")) - {"OPTIONS"}:
        answers = await statuses(directory, tokens, method, path)
        assert {each for each, status in answers.items() if status != 403} == {"scim"}, (method, answers)
