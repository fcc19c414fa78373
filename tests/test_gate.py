"""Who is let in: each way of not being let in says which it is, and nobody sees another tenant."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from api import gate
from api.gate import Gate
from api.services import Services
from engine import tokens
from engine.refusals import NotAuthenticated
from engine.tenant import RevokeToken
from ops import administration
from tests.conftest import Directory, issue, register


@pytest.fixture
def bare(directory: Directory) -> httpx.AsyncClient:
    """A client that sends no token by itself."""
    return directory.client


def typo(token: str) -> str:
    return token[:20] + ("a" if token[20] != "a" else "b") + token[21:]


async def asked(client: httpx.AsyncClient, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return await client.get("/scim/v2/Users", headers=headers)


async def test_each_credential_that_is_none_is_refused_with_its_reason(
    bare: httpx.AsyncClient, directory: Directory
) -> None:
    reasons = {
        None: "missing",
        "Basic YWRhOnB3": "form",
        f"Bearer Bearer {directory.token}": "stands twice",
        "Bearer rb_short": "copied whole",
        f"Bearer {typo(directory.token)}": "copied whole",
        f"Bearer {tokens.write(directory.tenant_id, bytes(32))}": "not known",
        f"Bearer {tokens.write(uuid4(), bytes(32))}": "not known",
    }
    for authorization, reason in reasons.items():
        answer = await asked(bare, authorization)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/scim+json"
        assert reason in answer.json()["detail"]


async def test_a_revoked_token_says_so(bare: httpx.AsyncClient, directory: Directory) -> None:
    token = await issue(directory.services, directory.tenant_id, "scim")
    listed = (await directory.services.tenants.tokens(directory.tenant_id))[-1]
    await directory.services.engine.administer(RevokeToken(listed.id), administration.cause(directory.tenant_id))

    answer = await asked(bare, f"Bearer {token}")
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]


async def test_a_token_that_was_seen_just_now_is_refused_within_five_seconds_of_its_revocation(
    bare: httpx.AsyncClient, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gate.REMEMBERED < 5
    monkeypatch.setattr(gate, "REMEMBERED", 0.2)
    assert (await asked(bare, f"Bearer {directory.token}")).status_code == 200
    listed = (await directory.services.tenants.tokens(directory.tenant_id))[-1]
    await directory.services.engine.administer(RevokeToken(listed.id), administration.cause(directory.tenant_id))

    answers = [(await asked(bare, f"Bearer {directory.token}")).status_code]
    while answers[-1] == 200 and len(answers) < 1_000:
        answers.append((await asked(bare, f"Bearer {directory.token}")).status_code)
    assert answers[-1] == 401


async def test_a_token_expires_at_the_second(services: Services) -> None:
    tenant_id = await register(services, "contoso")
    token = await issue(services, tenant_id, "scim", life=timedelta(days=365))
    expires_at = (await services.tenants.tokens(tenant_id))[0].expires_at
    now = [expires_at - timedelta(seconds=1)]
    guarded = Gate(services.tenants, clock=lambda: now[0])

    assert guarded.valid(await guarded.look_up([f"Bearer {token}"])).tenant_id == tenant_id
    now[0] = expires_at
    with pytest.raises(NotAuthenticated, match="expired"):
        guarded.valid(await guarded.look_up([f"Bearer {token}"]))


async def test_a_token_of_another_scope_is_forbidden_and_the_answer_says_how_to_get_one(
    bare: httpx.AsyncClient, directory: Directory
) -> None:
    token = await issue(directory.services, directory.tenant_id, "people:read")
    answer = await asked(bare, f"Bearer {token}")

    assert answer.status_code == 403
    assert "--scope scim" in answer.json()["detail"]
    assert (await bare.get("/v1/seats", headers={"Authorization": f"Bearer {token}"})).status_code == 200
    assert (await bare.get("/v1/events", headers={"Authorization": f"Bearer {token}"})).status_code == 403


async def test_nobody_sees_another_tenant(bare: httpx.AsyncClient, directory: Directory) -> None:
    ann = await directory.create("ann")
    other = await register(directory.services, "other")
    headers = {"Authorization": f"Bearer {await issue(directory.services, other)}"}

    for path in (f"/scim/v2/Users/{ann}", f"/v1/users/{ann}", f"/v1/users/{ann}/history"):
        assert (await bare.get(path, headers=headers)).status_code == 404
    assert (await bare.get("/scim/v2/Users?filter=userName+eq+%22ann%22", headers=headers)).json()["totalResults"] == 0
    assert (await bare.get("/v1/users", headers=headers)).json()["users"] == []
    assert (await bare.get(f"/v1/events?user={ann}", headers=headers)).json()["events"] == []
    body = {"Operations": [{"op": "replace", "path": "title", "value": "x"}]}
    assert (await bare.patch(f"/scim/v2/Users/{ann}", json=body, headers=headers)).status_code == 404
    assert (await bare.delete(f"/scim/v2/Users/{ann}", headers=headers)).status_code == 404


async def test_the_last_use_of_a_token_is_listed(directory: Directory) -> None:
    before = datetime.now(UTC)
    await directory.request("GET", "/scim/v2/Users")
    await directory.services.gate.note_uses()

    used_at = (await directory.services.tenants.tokens(directory.tenant_id))[0].used_at
    assert used_at is not None
    assert used_at >= before


async def test_both_of_two_tokens_are_valid_so_that_one_can_replace_the_other(
    bare: httpx.AsyncClient, directory: Directory
) -> None:
    new = await issue(directory.services, directory.tenant_id, "scim")

    assert (await asked(bare, f"Bearer {new}")).status_code == 200
    assert (await asked(bare, f"bearer {directory.token}")).status_code == 200
