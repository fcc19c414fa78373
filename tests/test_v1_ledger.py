"""`/v1` of the ledger: signed checkpoints and proofs, verified by whoever has nothing but them."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from api import v1_ledger
from api.app import create_app
from api.composition import open_services
from engine.endorsement import check_endorsement
from engine.merkle import verify_consistency, verify_inclusion
from engine.note import read_verifier_key
from ops.database import Database
from ops.ledger_key import KeyPlace, prepare_key, rotate
from projections.background.ledger import FOLLOWER
from projections.following import Following
from tests.conftest import Directory, issue, register
from tests.logs import fill
from tests.test_checkpoint import verified


@pytest.fixture
async def ledger(database: Database, tmp_path: Path, owner: asyncpg.Connection) -> AsyncIterator[Directory]:
    """A tenant of 70 events with a service that signs and follows."""
    place = KeyPlace(tmp_path)
    await prepare_key(database.owner_url, place)
    app = create_app(lambda: open_services(database.service_url, find_key=place.find))
    async with app.router.lifespan_context(app):
        services = app.state.services
        tenant_id = await register(services, "contoso")
        token = await issue(services, tenant_id, "audit:read")
        await fill(owner, tenant_id, 68)
        following = asyncio.create_task(Following(services.pool, [FOLLOWER]).run())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://rollbook.test") as client:
            yield Directory(client, services, tenant_id, token)
        following.cancel()


async def got(ledger: Directory, path: str, **headers: str) -> httpx.Response:
    response = await ledger.request("GET", path, headers=headers)
    assert response.status_code == 200, response.text
    return response


async def refused(ledger: Directory, path: str, status: int) -> str:
    response = await ledger.request("GET", path)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    return str(response.json()["detail"])


def decoded(proof: Any, name: str) -> Any:
    value = proof[name]
    return [base64.b64decode(each) for each in value] if isinstance(value, list) else base64.b64decode(value)


async def test_a_checkpoint_covers_what_was_committed_before_it_was_asked_for(
    ledger: Directory, owner: asyncpg.Connection
) -> None:
    keys = (await got(ledger, "/v1/ledger-keys")).json()
    for size in (70, 75, 80):
        response = await got(ledger, "/v1/checkpoint")
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        origin, told, _ = verified(response.text, keys["keys"][0]["vkey"])
        assert (origin, told) == (keys["origin"], size)
        await fill(owner, ledger.tenant_id, 5)


@pytest.mark.parametrize(("query", "accept"), [("?format=json", "*/*"), ("", "application/json")])
async def test_a_checkpoint_as_json_says_what_verifies_it(ledger: Directory, query: str, accept: str) -> None:
    told = (await got(ledger, f"/v1/checkpoint{query}", accept=accept)).json()

    assert verified(told["note"], told["vkey"]) == (told["origin"], told["size"], base64.b64decode(told["root"]))
    public = base64.b64decode(told["vkey"].split("+", 2)[2])[1:]
    assert told["fingerprint"] == hashlib.sha256(public).hexdigest()
    assert told["note"] == (await got(ledger, "/v1/checkpoint?format=note", accept=accept)).text


async def test_each_event_is_proven_to_be_in_the_tree_of_a_checkpoint(ledger: Directory) -> None:
    told = (await got(ledger, "/v1/checkpoint?format=json")).json()
    root = base64.b64decode(told["root"])

    for seq in (1, 2, 32, 33, 64, 70):
        proof = (await got(ledger, f"/v1/proofs/inclusion?seq={seq}&size=70")).json()
        leaf = hashlib.sha256(b"\0" + bytes.fromhex(proof["leaf"])).digest()
        assert (proof["seq"], proof["leaf_index"], proof["size"]) == (seq, seq - 1, 70)
        assert decoded(proof, "leaf_hash") == leaf
        assert decoded(proof, "root") == root
        assert verify_inclusion(seq - 1, 70, leaf, decoded(proof, "path"), root)


async def test_a_checkpoint_is_proven_to_continue_an_older_one(ledger: Directory, owner: asyncpg.Connection) -> None:
    old = (await got(ledger, "/v1/checkpoint?format=json")).json()
    await fill(owner, ledger.tenant_id, 100)
    new = (await got(ledger, "/v1/checkpoint?format=json")).json()

    proof = (await got(ledger, "/v1/proofs/consistency?from=70&to=170")).json()
    roots = base64.b64decode(old["root"]), base64.b64decode(new["root"])
    assert (proof["from"], proof["to"]) == (70, 170)
    assert (decoded(proof, "from_root"), decoded(proof, "to_root")) == roots
    assert verify_consistency(70, 170, *roots, decoded(proof, "path"))
    assert (await got(ledger, "/v1/proofs/consistency?from=0&to=170")).json()["path"] == []


async def test_keys_are_listed_with_their_endorsements(ledger: Directory, database: Database, tmp_path: Path) -> None:
    before = (await got(ledger, "/v1/checkpoint?format=json")).json()
    await rotate(database.owner_url, KeyPlace(tmp_path), is_lost=False)
    after = (await got(ledger, "/v1/checkpoint?format=json")).json()

    keys = (await got(ledger, "/v1/ledger-keys")).json()["keys"]
    assert [key["number"] for key in keys] == [1, 2]
    assert [key["vkey"] for key in keys] == [before["vkey"], after["vkey"]]
    old, new = (read_verifier_key(key["store_vkey"]) for key in keys)
    assert keys[0]["endorsement"] is None
    check_endorsement(keys[1]["endorsement"], old, new)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/checkpoint?format=xml", 400, "note, json"),
        ("/v1/proofs/inclusion", 400, "seq is needed"),
        ("/v1/proofs/inclusion?seq=1", 400, "size is needed"),
        ("/v1/proofs/inclusion?seq=0&size=1", 400, "from 1 on"),
        ("/v1/proofs/inclusion?seq=-1&size=1", 400, "whole number"),
        ("/v1/proofs/inclusion?seq=x&size=1", 400, "whole number"),
        ("/v1/proofs/inclusion?seq=1.5&size=2", 400, "whole number"),
        ("/v1/proofs/inclusion?seq=%C2%B2&size=2", 400, "whole number"),
        ("/v1/proofs/inclusion?seq=99999999999999999999999&size=1", 400, "whole number"),
        ("/v1/proofs/inclusion?seq=9&size=8", 400, "not above size"),
        ("/v1/proofs/inclusion?seq=1&size=71", 404, "up to 70"),
        ("/v1/proofs/inclusion?seq=1&size=9223372036854775807", 404, "up to 70"),
        ("/v1/proofs/consistency?from=1", 400, "to is needed"),
        ("/v1/proofs/consistency?from=2&to=1", 400, "older tree"),
        ("/v1/proofs/consistency?from=2&to=71", 404, "up to 70"),
    ],
)
async def test_a_wrong_question_is_answered_by_what_would_be_right(
    ledger: Directory, path: str, status: int, words: str
) -> None:
    await got(ledger, "/v1/checkpoint")
    assert words in await refused(ledger, path, status)


@pytest.mark.parametrize(
    "path",
    ["/v1/checkpoint", "/v1/proofs/inclusion?seq=1&size=1", "/v1/proofs/consistency?from=1&to=1", "/v1/ledger-keys"],
)
async def test_the_ledger_is_for_auditors(ledger: Directory, path: str) -> None:
    services, tenant_id = ledger.services, ledger.tenant_id
    await got(ledger, "/v1/checkpoint")
    for scopes, status in ((["people:write", "scim"], 403), (["admin"], 200)):
        token = await issue(services, tenant_id, *scopes)
        response = await ledger.client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == status
    assert (await ledger.client.get(path)).status_code == 401


async def test_a_tenant_sees_its_own_ledger_alone(ledger: Directory) -> None:
    other = await register(ledger.services, "fabrikam")
    token = await issue(ledger.services, other, "audit:read")
    response = await ledger.client.get("/v1/checkpoint", headers={"Authorization": f"Bearer {token}"})

    assert response.text.split("\n")[:2] == [f"{(await origin(ledger)).rpartition('/')[0]}/{other}", "2"]


async def origin(ledger: Directory) -> str:
    return str((await got(ledger, "/v1/ledger-keys")).json()["origin"])


async def test_a_fork_is_refused_and_said(ledger: Directory, owner: asyncpg.Connection) -> None:
    await got(ledger, "/v1/checkpoint")
    await owner.execute(
        "UPDATE rollbook.ledger_tiles SET hashes = set_byte(hashes, 0, 255 - get_byte(hashes, 0)) WHERE level = 1"
    )

    assert "does not continue its last checkpoint" in await refused(ledger, "/v1/checkpoint", 409)


async def test_an_event_that_was_deleted_is_told(ledger: Directory, owner: asyncpg.Connection) -> None:
    await got(ledger, "/v1/checkpoint")
    await owner.execute("DELETE FROM rollbook.events WHERE seq = 7")

    assert "event 7 is missing" in await refused(ledger, "/v1/proofs/inclusion?seq=7&size=70", 409)


async def test_without_its_key_a_service_answers_everything_but_checkpoints(ledger: Directory, tmp_path: Path) -> None:
    (tmp_path / "ledger.key").unlink()

    assert "cannot be signed" in await refused(ledger, "/v1/checkpoint", 503)
    await got(ledger, "/v1/ledger-keys")
    await got(ledger, "/v1/proofs/consistency?from=1&to=2")


async def test_a_ledger_that_does_not_reach_the_end_of_the_log_in_time_is_told(
    ledger: Directory, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await got(ledger, "/v1/checkpoint")
    monkeypatch.setattr(v1_ledger, "PATIENCE", 0.2)
    await owner.execute("UPDATE rollbook.heads SET seq = seq + 5")

    assert "up to 70, and the log ends at 75" in await refused(ledger, "/v1/checkpoint", 503)
