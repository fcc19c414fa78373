"""What others who know the RFCs demand of a service provider: their test suites, against the running service."""

import asyncio
import json
import sys
from pathlib import Path

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import CheckResult, Status, check_server

from engine.tenant import ChangeSettings
from ops import administration
from tests.conftest import issue, register
from tests.test_provisioning import Live
from tests.test_provisioning import live as _live

live = _live  # a fixture

ROLLBOOK = "urn:ietf:params:scim:schemas:extension:rollbook:2.0:User"
# Somebody is active or not, and always has a role: taking these away changes nothing, for nobody is let in, shut out or
# promoted by silence.
ALWAYS_THERE = {"active", "role", ROLLBOOK, f"{ROLLBOOK}:active", f"{ROLLBOOK}:role"}


@pytest.fixture
async def token(live: Live) -> str:
    tenant_id = await register(live.services, "contoso")
    await live.services.engine.administer(ChangeSettings({"groups": "on"}), administration.cause(tenant_id))
    return await issue(live.services, tenant_id, "scim")


def checked(url: str, token: str) -> list[CheckResult]:
    with httpx2.Client(base_url=f"{url}/scim/v2", headers={"Authorization": f"Bearer {token}"}) as client:
        return check_server(SyncSCIMClient(client))


async def test_scim2_tester_finds_no_fault(live: Live, token: str) -> None:
    results = await asyncio.to_thread(checked, live.url, token)

    assert len(results) > 150
    assert [each.reason for each in results if each.status in {Status.SKIPPED, Status.CRITICAL}] == []
    faults = [str(each.reason) for each in results if each.status == Status.ERROR]
    expected = {f"PATCH modify() did not remove attribute '{name}'" for name in ALWAYS_THERE}
    assert set(faults) == expected


async def test_scim_sanity_finds_no_fault(live: Live, token: str) -> None:
    probe = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("scim-sanity"), "probe", f"{live.url}/scim/v2", "--token", token,
        "--i-accept-side-effects", "--json-output",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await probe.communicate()

    results = json.loads(output)["results"]
    assert probe.returncode == 0
    assert len(results) > 20
    assert {each["status"] for each in results} == {"pass", "skip"}
    skipped = [each["name"] for each in results if each["status"] == "skip"]
    assert all("Agent" in name for name in skipped), skipped
