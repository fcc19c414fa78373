"""The log has one line of JSON for a request, and nobody's name, address or token in it."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from api.services import Services
from ops import logs
from tests.conftest import Directory

SECRETS = ("ada.lovelace", "Lovelace", "contoso.example", "+4711", "rb_")


@pytest.fixture
def lines(capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[pytest.CaptureFixture[bytes]]:
    logs.configure()
    structlog.configure(logger_factory=structlog.BytesLoggerFactory(), cache_logger_on_first_use=False)
    yield capfdbinary
    structlog.reset_defaults()
    logging.getLogger().handlers = [each for each in logging.getLogger().handlers if type(each).__name__ != "_AsJson"]


async def test_no_line_says_who(
    directory: Directory, lines: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    who = {
        "userName": "ada.lovelace@contoso.example",
        "displayName": "Ada Lovelace",
        "phoneNumbers": [{"value": "+4711"}],
    }
    await directory.request("POST", "/scim/v2/Users", json={**who, "Ada Lovelace": 1, "shoeSize": 2})
    await directory.request("POST", "/scim/v2/Users", json=who)
    await directory.request("GET", "/scim/v2/Users?filter=userName+eq+%22ada.lovelace@contoso.example%22")
    await directory.request("GET", "/scim/v2/Users/ada.lovelace@contoso.example")
    await directory.request("GET", "/scim/v2/ada.lovelace@contoso.example")
    await directory.request("POST", "/scim/v2/Users", content=b'{"userName": "ada.lovelace@contoso.example')

    async def fail(*_: object) -> None:
        raise RuntimeError("Key (user_name)=(ada.lovelace@contoso.example) is odd")

    monkeypatch.setattr(type(directory.services.users), "get", fail)
    fault = await directory.request("GET", "/scim/v2/Users/00000000-0000-4000-8000-000000000000")

    assert fault.status_code == 500
    assert [secret for secret in SECRETS if secret in fault.text] == []
    written = lines.readouterr()
    text = (written.out + written.err).decode()
    assert [secret for secret in SECRETS if secret in text] == []
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    requests = [line for line in found if line["event"] == "request"]
    assert [line["status"] for line in requests] == [201, 409, 200, 404, 404, 400, 500]
    assert "an unknown attribute" in requests[0]["quirks"]
    assert requests[-1]["request_id"] in fault.json()["detail"]


async def test_health_needs_no_token_and_says_whether_the_database_is_there(
    directory: Directory, services: Services
) -> None:
    assert (await directory.client.get("/healthz")).json() == {"status": "ok"}
    assert (await directory.client.get("/readyz")).json() == {"status": "ready"}
    await directory.services.pool.close()
    gone = await directory.client.get("/readyz")
    assert (gone.status_code, gone.json()["reason"]) == (503, "the database cannot be reached")
