"""`/v1/tokens`: issuing and revoking over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.conftest import Directory, issue, register
from tests.test_openapi import assert_valid, document

TOKENS = "/v1/tokens"


async def ask(directory: Directory, token: str = "", **headers: str) -> Any:
    body = {"name": "Our app", "scopes": ["people:write", "people:read"]}
    headers |= {"Authorization": f"Bearer {token or directory.token}"}
    return await directory.client.post(TOKENS, json=body, headers=headers)


async def revoke(directory: Directory, token_id: object, token: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token or directory.token}"}
    return await directory.client.delete(f"{TOKENS}/{token_id}", headers=headers)


def status_of(directory: Directory, token: str) -> Any:
    return directory.client.get("/v1/seats", headers={"Authorization": f"Bearer {token}"})


async def test_an_issued_token_is_answered_once_opens_what_it_says_and_ends_when_it_is_revoked(
    directory: Directory,
) -> None:
    answer = await ask(directory, **{"X-Rollbook-Actor": "person-7"})
    issued = answer.json()
    described = await document(directory)

    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert issued["scopes"] == ["people:read", "people:write"]
    assert_valid(described, {"$ref": "#/components/schemas/TokenSecret"}, issued)
    life = datetime.fromisoformat(issued["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=364) < life <= timedelta(days=365)
    assert (await status_of(directory, issued["token"])).status_code == 200
    listed = (await directory.request("GET", TOKENS)).json()["rows"][-1]
    assert (listed["id"], listed["issued_by"]) == (issued["id"], "person-7")
    assert issued["token"] not in (await directory.request("GET", TOKENS)).text

    ended = await revoke(directory, issued["id"])

    assert (ended.status_code, ended.json()) == (200, {"id": issued["id"], "is_own": False})
    assert_valid(described, {"$ref": "#/components/schemas/TokenEnded"}, ended.json())
    assert (await status_of(directory, issued["token"])).status_code == 401
    assert (await revoke(directory, issued["id"])).status_code == 200
    types = [each["type"] for each in (await directory.request("GET", "/v1/events?order=asc")).json()["events"]]
    assert types.count("TokenRevoked") == 1


async def test_a_token_may_revoke_itself_and_is_told_so(directory: Directory) -> None:
    own = (await directory.services.tenants.tokens(directory.tenant_id))[0].id

    assert (await revoke(directory, own)).json() == {"id": str(own), "is_own": True}
    assert (await directory.request("GET", TOKENS)).status_code == 401


async def test_only_a_token_of_the_scope_admin_may_issue_and_revoke_and_only_in_its_tenant(
    directory: Directory,
) -> None:
    other = await issue(directory.services, await register(directory.services, "fabrikam"), "admin")
    poor = await issue(directory.services, directory.tenant_id, "people:write", "audit:read", "scim")
    own = (await directory.services.tenants.tokens(directory.tenant_id))[0].id

    assert (await ask(directory, poor)).status_code == 403
    assert (await revoke(directory, own, poor)).status_code == 403
    assert (await revoke(directory, own, other)).status_code == 404
    assert (await revoke(directory, uuid4())).status_code == 404
    assert (await revoke(directory, "ann")).status_code == 404
    assert (await directory.client.post(TOKENS, json={})).status_code == 401


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"scopes": ["me"]}, "rollbook token issue --user ID"),
        ({"scopes": []}, "one or more of the scopes"),
        ({"scopes": ["root"]}, "one or more of the scopes"),
        ({"name": " "}, "1 to 200 printable characters"),
        ({"name": None}, "Expected `str`, got `null` - at `$.name`"),
        ({"user_id": str(UUID(int=1))}, "unknown field `user_id`"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "in the future, within ten years"),
        ({"expires_at": "2120-01-01T00:00:00Z"}, "in the future, within ten years"),
        ({"expires_at": "2027-01-01T00:00:00"}, "with its offset"),
        ({"expires_at": "soon"}, "Invalid RFC3339"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_with_what_would_be_right(
    directory: Directory, changed: dict[str, Any], told: str
) -> None:
    refused = await directory.request("POST", TOKENS, json={"name": "Our app", "scopes": ["scim"], **changed})

    assert (refused.status_code, told in refused.json()["detail"]) == (400, True), refused.text
    assert len(await directory.services.tenants.tokens(directory.tenant_id)) == 1
