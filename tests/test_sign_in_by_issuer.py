"""Signing in with an issuer of identities, whatever that says."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from joserfc import jws
from joserfc.jwk import Key
from msgspec import structs

from api.app import create_app
from api.composition import open_services
from api.console import sign_in_by_issuer
from ops.database import Database
from tests.conftest import Directory, directory_in
from tests.forger import CALLBACK, CLIENT_SECRET, Forger, ask, forging, new_key
from tests.visitors import Visitor

NOW = int(time.time())


@pytest.fixture
async def forger() -> AsyncIterator[Forger]:
    async with forging() as found:
        yield found


@pytest.fixture
async def contoso(database: Database, forger: Forger) -> AsyncIterator[Directory]:
    async with directory_in(database, forger.settings) as found:
        yield found


async def enter(contoso: Directory, forger: Forger, **claims: Any) -> Visitor:
    """Somebody who has signed in."""
    asked = await ask(contoso)
    forger.says(forger.claims(nonce=asked.query["nonce"], **claims))
    assert (await asked.come_back()).status_code == 200
    return asked.browser


async def test_the_issuer_is_asked_as_openid_connect_says(contoso: Directory, forger: Forger) -> None:
    asked = await ask(contoso)
    assert {**asked.query, "state": "", "nonce": "", "code_challenge": ""} == {
        "response_type": "code",
        "client_id": "rollbook",
        "redirect_uri": f"https://rollbook.test{CALLBACK}",
        "scope": "openid",
        "state": "",
        "nonce": "",
        "code_challenge": "",
        "code_challenge_method": "S256",
    }
    forger.says(forger.claims(nonce=asked.query["nonce"]))
    await asked.come_back()
    [form] = forger.forms
    challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
    assert challenge == asked.query["code_challenge"]
    assert (form["grant_type"], form["code"]) == ("authorization_code", "c0de")
    assert form["redirect_uri"] == asked.query["redirect_uri"]


async def test_two_sign_ins_share_nothing_that_could_be_guessed(contoso: Directory) -> None:
    one, two = await ask(contoso), await ask(contoso)
    for name in ("state", "nonce", "code_challenge"):
        assert one.query[name] != two.query[name]
        assert len(one.query[name]) >= 43


async def test_the_way_back_leads_to_the_page_that_was_asked_for(contoso: Directory, forger: Forger) -> None:
    door = await Visitor(contoso.client).get("/console/sign-in?next=/console/people%3Frole%3Downer")
    assert "Sign in with 127.0.0.1" in door.text
    assert 'href="/console/sign-in/issuer?next=/console/people%3Frole%3Downer"' in door.text
    asked = await ask(contoso, "/console/people%3Frole%3Downer")
    forger.says(forger.claims(nonce=asked.query["nonce"]))
    page = await asked.come_back()
    assert '<meta http-equiv="refresh" content="0; url=/console/people?role=owner">' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert (await asked.browser.get("/console/people")).status_code == 200


async def test_nobody_is_led_out_of_the_console(contoso: Directory, forger: Forger) -> None:
    asked = await ask(contoso, "https://evil.example/")
    forger.says(forger.claims(nonce=asked.query["nonce"]))
    assert 'content="0; url=/console"' in (await asked.come_back()).text


async def test_the_highest_role_of_the_claim_counts(
    contoso: Directory, forger: Forger, owner: asyncpg.Connection
) -> None:
    for sub, claim in (("a", "Reader"), ("b", ["Reader", "Keeper", 5, None]), ("c", ["Nothing", "Reader", "Boss"])):
        await enter(contoso, forger, sub=sub, roles=claim)
    rows = await owner.fetch("SELECT role, token_id FROM rollbook.console_sessions ORDER BY began_at")
    assert [tuple(row) for row in rows] == [("auditor", None), ("admin", None), ("owner", None)]


async def test_who_has_no_role_stays_out_and_is_told_what_to_do(contoso: Directory, forger: Forger) -> None:
    forger.user = {"sub": "ann"}
    for claim in (None, [], "", ["boss"], "Bosses", {"Boss": True}, 7, [["Boss"]]):
        asked = await ask(contoso)
        forger.says(forger.claims(nonce=asked.query["nonce"], roles=claim))
        refused = await asked.come_back()
        assert refused.status_code == 403, claim
        assert "“roles” has to hold “Boss” or “Keeper” or “Reader”" in refused.text
        assert asked.browser.cookies == {}


async def test_the_log_has_an_id_of_the_person_and_nothing_that_names_them(
    contoso: Directory, forger: Forger, owner: asyncpg.Connection, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets = {"name": "Ann Secret", "email": "ann@contoso.example"}
    first = await enter(contoso, forger, sub="ann@contoso.example", **secrets)
    await enter(contoso, forger, sub="ann@contoso.example", **secrets)
    await enter(contoso, forger, sub="bob@contoso.example")
    await first.get("/console/people")
    await contoso.services.accesses.drain()
    rows = await owner.fetch("SELECT * FROM rollbook.events WHERE type = 'AuditAccessed' ORDER BY seq")
    actors = [UUID(row["actor"]) for row in rows if '"console:sign-in"' in row["data"]]
    assert actors[0] == actors[1] != actors[2]
    kept = str(rows) + str(await owner.fetch("SELECT * FROM rollbook.console_sessions"))
    output = capfd.readouterr()
    for text in ("Ann", "contoso.example"):
        assert text not in kept + output.out + output.err


WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "other"},
    "no nonce": {"nonce": None},
    "another audience": {"aud": "other"},
    "another audience, asked for by us": {"aud": "other", "azp": "rollbook"},
    "no audience": {"aud": None},
    "an audience that is no text": {"aud": 5},
    "more audiences, and not for whom it was issued": {"aud": ["rollbook", "other"]},
    "issued for another party": {"azp": "other"},
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "an issuer that is no text": {"iss": ["x"]},
    "expired": {"exp": NOW - 3600},
    "without an end": {"exp": None},
    "with an end that is no number": {"exp": "tomorrow"},
    "from the future": {"iat": NOW + 3600},
    "not valid yet": {"nbf": NOW + 3600},
    "without a time": {"iat": None},
    "about nobody": {"sub": None},
    "about an empty name": {"sub": ""},
    "about a number": {"sub": 7},
    "about what is no text": {"sub": "\ud800"},
    "with another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "with a hash that is no text": {"at_hash": 5},
}


async def test_a_token_with_wrong_claims_lets_nobody_in(contoso: Directory, forger: Forger) -> None:
    for what, changed in WRONG.items():
        asked = await ask(contoso)
        forger.says(forger.claims(**{"nonce": asked.query["nonce"], **changed}))
        refused = await asked.come_back()
        assert refused.status_code == 401, what
        assert "What the issuer says of you cannot be trusted" in refused.text
        assert asked.browser.cookies == {}
        assert (await asked.browser.get("/console/people")).status_code == 303


def part(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


async def outcome(contoso: Directory, forger: Forger, id_token: Callable[[str], object]) -> int:
    """The status, if the issuer answers with what is made of the claims that would be right."""
    asked = await ask(contoso)
    content = part(json.dumps(forger.claims(nonce=asked.query["nonce"])).encode())
    forger.answer = {"access_token": "access", "token_type": "Bearer", "id_token": id_token(content)}
    status = (await asked.come_back()).status_code
    assert (status == 200) == bool(asked.browser.cookies)
    return status


def signed(header: dict[str, str], key: Key) -> Callable[[str], str]:
    return lambda content: jws.serialize_compact(header, base64.urlsafe_b64decode(f"{content}==="), key)


def with_secret(secret: bytes) -> Callable[[str], str]:
    def id_token(content: str) -> str:
        text = f"{part(json.dumps({'alg': 'HS256', 'kid': 'first'}).encode())}.{content}"
        return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256'))}"

    return id_token


async def test_a_token_that_the_issuer_did_not_sign_lets_nobody_in(contoso: Directory, forger: Forger) -> None:
    right, other = {"alg": "RS256", "kid": "first"}, new_key()
    assert await outcome(contoso, forger, signed(right, forger.key)) == 200
    assert await outcome(contoso, forger, signed(right, other)) == 401
    assert await outcome(contoso, forger, signed({"alg": "RS256", "kid": "another"}, other)) == 401
    assert await outcome(contoso, forger, with_secret(CLIENT_SECRET.encode())) == 401
    assert await outcome(contoso, forger, with_secret(forger.key.as_pem(private=False))) == 401


async def test_what_is_no_signed_token_lets_nobody_in(contoso: Directory, forger: Forger) -> None:
    for header in ({"alg": "none"}, {"alg": "none", "kid": "first"}, {"alg": "RS256"}, {}, None):
        for signature in ("", "AAAA"):
            assert await outcome(contoso, forger, unsigned(header, signature)) == 401, header
    for garbage in ("", "x", "a.b.c", "é.é.é", "....", None, 5, ["x"], {"a": 1}):
        assert await outcome(contoso, forger, says(garbage)) == 401, garbage


def unsigned(header: object, signature: str) -> Callable[[str], object]:
    return lambda content: f"{part(json.dumps(header).encode())}.{content}.{signature}"


def says(garbage: object) -> Callable[[str], object]:
    return lambda _: garbage


async def test_a_new_key_of_the_issuer_is_fetched_when_it_is_used(contoso: Directory, forger: Forger) -> None:
    await enter(contoso, forger)
    forger.key = new_key("second")
    await enter(contoso, forger)
    forger.published = {
        "keys": [5, {}, {"kty": "EC", "crv": "P-1", "kid": "x"}, new_key("third").as_dict(private=False)]
    }
    forger.key = new_key("fourth")
    asked = await ask(contoso)
    forger.says(forger.claims(nonce=asked.query["nonce"]))
    assert (await asked.come_back()).status_code == 401
    forger.published["keys"].append(forger.key.as_dict(private=False))
    await enter(contoso, forger)


async def test_an_issuer_that_publishes_no_keys_lets_nobody_in(contoso: Directory, forger: Forger) -> None:
    odd: tuple[object, ...] = (7, "none", [], {}, None)
    for keys in odd:
        forger.published = {"keys": keys}
        assert await outcome(contoso, forger, signed({"alg": "RS256", "kid": "first"}, forger.key)) == 401


async def test_a_claim_that_the_token_lacks_is_asked_for_and_no_other_is_believed(
    contoso: Directory, forger: Forger, owner: asyncpg.Connection
) -> None:
    await enter(contoso, forger, aud=["rollbook", "other"], azp="rollbook")
    forger.user = {"sub": "ann", "roles": "Keeper", "iss": "https://evil.example"}
    ann = await enter(contoso, forger, roles=None)
    assert '<span class="badge quiet">admin</span>' in (await ann.get("/console/people")).text
    assert await owner.fetchval("SELECT count(DISTINCT actor) FROM rollbook.console_sessions") == 1
    forger.user = {"sub": "somebody else", "roles": "Boss"}
    asked = await ask(contoso)
    forger.says(forger.claims(nonce=asked.query["nonce"], roles=None))
    assert (await asked.come_back()).status_code == 401


async def test_an_answer_that_nobody_asked_for_is_refused(contoso: Directory, forger: Forger) -> None:
    asked, other = await ask(contoso), await ask(contoso)
    forger.says(forger.claims(nonce=asked.query["nonce"]))
    assert (await Visitor(contoso.client).get(f"{CALLBACK}?state={asked.query['state']}&code=c")).status_code == 400
    for state in ("forged", "", "é", other.query["state"]):
        asked = await ask(contoso)
        forger.says(forger.claims(nonce=asked.query["nonce"]))
        assert (await asked.come_back(state=state)).status_code == 400
    assert forger.forms == []


async def test_a_cookie_that_is_not_ours_is_no_sign_in(contoso: Directory, forger: Forger) -> None:
    cursor = await contoso.services.seals.seal(b"x", b"another purpose")
    for text in (
        "",
        "x",
        "A" * 5_000,
        cursor,
        await contoso.services.seals.seal(b"x", sign_in_by_issuer._PURPOSE),
    ):
        asked = await ask(contoso)
        asked.browser.cookies["__Host-rollbook-sign-in"] = text
        assert (await asked.come_back()).status_code == 400


async def test_an_answer_counts_once_and_not_too_late(
    contoso: Directory, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await ask(contoso)
    forger.says(forger.claims(nonce=asked.query["nonce"]))
    assert (await asked.come_back()).status_code == 200
    assert (await asked.come_back()).status_code == 400
    late = await ask(contoso)
    forger.says(forger.claims(nonce=late.query["nonce"]))
    end = time.time() + sign_in_by_issuer.PATIENCE + 1
    monkeypatch.setattr(time, "time", lambda: end)
    refused = await late.come_back()
    assert refused.status_code == 400
    assert "took longer than ten minutes" in refused.text


async def test_what_the_issuer_refuses_is_told_but_no_words_of_a_stranger(contoso: Directory) -> None:
    for code, status, said in (
        ("access_denied", 401, "access_denied"),
        ("temporarily_unavailable", 503, "temporarily_unavailable"),
        ("call +49 123 to win", 503, "an unknown error"),
        ("<script>alert(1)</script>", 503, "an unknown error"),
    ):
        refused = await (await ask(contoso)).come_back(error=code, error_description="call +49 123 to win")
        assert (refused.status_code, said in refused.text) == (status, True)
        assert "+49" not in refused.text
        assert "<script>" not in refused.text
    asked = await ask(contoso)
    assert (await asked.come_back(code="")).status_code == 400


ODD: tuple[tuple[int, Any, int], ...] = (
    (400, {"error": "invalid_grant"}, 401),
    (401, {"error": "invalid_client"}, 503),
    (400, {"error": ["odd"]}, 503),
    (400, {"error": None}, 503),
    (500, {}, 503),
    (500, "<h1>Oops</h1>", 503),
    (200, "<h1>Welcome</h1>", 503),
    (302, {}, 401),
    (200, [], 503),
    (200, {}, 401),
    (200, {"id_token": "x", "expires_in": "soon"}, 503),
    (200, {"id_token": "x", "expires_in": []}, 401),
    (200, {"id_token": "x", "expires_in": [5]}, 503),
)


async def test_an_issuer_that_answers_oddly_gives_a_page(contoso: Directory, forger: Forger) -> None:
    for status, answer, expected in ODD:
        forger.status, forger.answer = status, answer
        refused = await (await ask(contoso)).come_back()
        assert refused.status_code == expected, answer
        assert 'role="alert"' in refused.text
        assert "Sign in with 127.0.0.1" in refused.text


async def test_an_issuer_that_describes_itself_oddly_is_not_asked(contoso: Directory, forger: Forger) -> None:
    for description in (
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "ftp://127.0.0.1/"},
        {"jwks_uri": "https://[/"},
        {"token_endpoint": 5},
        {"jwks_uri": None},
    ):
        forger.description = description
        refused = await Visitor(contoso.client).get("/console/sign-in/issuer")
        assert refused.status_code == 503
        assert "A token opens the console in the meantime" in refused.text


async def test_an_issuer_that_is_down_gives_a_page_before_and_after(database: Database) -> None:
    async with forging() as forger:
        settings = forger.settings
    async with directory_in(database, settings) as contoso:
        refused = await Visitor(contoso.client).get("/console/sign-in/issuer?next=/console/people")
        assert refused.status_code == 503
        assert 'name="next" value="/console/people"' in refused.text


async def test_an_issuer_that_goes_down_in_the_middle_gives_a_page(database: Database) -> None:
    async with AsyncExitStack() as running:
        forger = await running.enter_async_context(forging())
        async with directory_in(database, forger.settings) as contoso:
            asked = await ask(contoso)
            await running.aclose()
            assert (await asked.come_back()).status_code == 503


async def test_another_worker_takes_the_answer(database: Database, contoso: Directory, forger: Forger) -> None:
    asked = await ask(contoso)
    forger.says(forger.claims(nonce=asked.query["nonce"]))
    app = create_app(lambda: open_services(database.service_url, issuer=forger.settings))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://rollbook.test") as other:
            asked.browser.client = other
            assert (await asked.come_back()).status_code == 200


async def test_a_tenant_that_is_not_there_gives_a_page(database: Database, forger: Forger) -> None:
    settings = structs.replace(forger.settings, tenant="fabrikam")
    async with directory_in(database, settings) as contoso:
        asked = await ask(contoso)
        forger.says(forger.claims(nonce=asked.query["nonce"]))
        refused = await asked.come_back()
    assert refused.status_code == 401
    assert "The tenant that this sign-in opens is not there" in refused.text


async def test_where_there_is_no_issuer_the_way_to_it_is_not_there(directory: Directory) -> None:
    nobody = Visitor(directory.client)
    assert "Sign in with" not in (await nobody.get("/console/sign-in")).text
    for path in ("/console/sign-in/issuer", CALLBACK):
        assert (await nobody.get(path)).status_code == 404
