"""Getting in to the console, and not where one does not belong."""

import re
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from api.console.visit import LARGEST_FORM, safe_next
from tests.conftest import Directory, issue, register
from tests.visitors import SAME_ORIGIN, Visitor, form_word, visitor

PAGES = ("/console", "/console/tokens")
FORM = "application/x-www-form-urlencoded"


async def test_who_is_not_signed_in_is_led_to_the_sign_in_and_back_to_the_page_afterwards(directory: Directory) -> None:
    nobody = Visitor(directory.client)
    led = await nobody.get("/console/tokens?valid=true")
    assert (led.status_code, led.headers["location"]) == (
        303,
        "/console/sign-in?next=%2Fconsole%2Ftokens%3Fvalid%3Dtrue",
    )
    door = await nobody.get(led.headers["location"])
    assert 'name="next" value="/console/tokens?valid=true"' in door.text
    token = await issue(directory.services, directory.tenant_id, "admin")
    entered = await nobody.post("/console/sign-in", {"token": f" {token}\n", "next": "/console/tokens?valid=true"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/console/tokens?valid=true")
    assert (await nobody.get("/console/tokens")).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "/console//evil",
        "/console/\\evil",
        "/v1/users",
        "/console/sign-in",
        "",
    ],
)
def test_nobody_is_led_anywhere_else_than_into_the_console(address: str) -> None:
    assert safe_next(address) == "/console"


async def test_a_token_that_opens_nothing_here_is_refused_with_what_to_do(directory: Directory) -> None:
    nobody = Visitor(directory.client)
    wrong = await nobody.sign_in("rb_nonsense")
    assert wrong.status_code == 401
    assert "was not copied whole" in wrong.text
    scim = await nobody.sign_in(await issue(directory.services, directory.tenant_id, "scim"))
    assert scim.status_code == 403
    assert "with the scope admin (everything) or audit:read" in scim.text
    assert nobody.cookies == {}


async def test_a_token_opens_also_with_the_word_bearer_before_it(directory: Directory) -> None:
    token = await issue(directory.services, directory.tenant_id, "admin")
    assert (await Visitor(directory.client).sign_in(f" bearer {token} ")).status_code == 303


async def test_the_cookie_is_for_this_host_alone_and_no_script_reads_it(directory: Directory) -> None:
    token = await issue(directory.services, directory.tenant_id, "admin")
    form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    abroad = await directory.client.post("/console/sign-in", content=f"token={token}", headers=form)
    assert abroad.headers["set-cookie"].startswith("__Host-rollbook=")
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(abroad.headers["set-cookie"].split("; "))
    at_home, with_tls = [
        await directory.client.post(
            f"{scheme}://localhost:8080/console/sign-in", content=f"token={token}", headers=form
        )
        for scheme in ("http", "https")
    ]
    assert at_home.headers["set-cookie"].startswith("rollbook=")
    assert "Secure" not in at_home.headers["set-cookie"]
    assert with_tls.headers["set-cookie"].startswith("__Host-rollbook=")


async def test_the_store_has_no_secret_of_a_session(directory: Directory, owner: asyncpg.Connection) -> None:
    ann = await visitor(directory, "admin")
    kept = str(await owner.fetch("SELECT * FROM rollbook.console_sessions"))
    assert ann.cookies["__Host-rollbook"][32:] not in kept


async def test_a_session_ends_when_one_signs_out_and_no_other_does(directory: Directory) -> None:
    ann, bob = await visitor(directory, "admin"), await visitor(directory, "admin")
    cookies = dict(ann.cookies)
    assert (await ann.submit("/console/tokens", "/console/sign-out")).headers[
        "location"
    ] == "/console/sign-in?done=signed-out"
    assert ann.cookies == {}
    assert (await Visitor(directory.client, cookies).get("/console/tokens")).status_code == 303
    assert (await bob.get("/console/tokens")).status_code == 200


async def test_a_session_ends_with_its_token(directory: Directory) -> None:
    ann = await visitor(directory, "admin")
    own = (await directory.services.tenants.tokens(directory.tenant_id))[-1].id
    await directory.revoke(own)
    assert (await ann.get("/console/tokens")).status_code == 303


async def test_a_session_ends_by_itself(directory: Directory, owner: asyncpg.Connection) -> None:
    ann = await visitor(directory, "admin")
    await owner.execute("UPDATE rollbook.console_sessions SET ends_at = now()")
    assert (await ann.get("/console/tokens")).status_code == 303
    await visitor(directory, "admin")
    assert await owner.fetchval("SELECT count(*) FROM rollbook.console_sessions") == 1


async def test_who_signs_in_lets_no_session_of_another_tenant_be_forgotten(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    theirs = await issue(directory.services, await register(directory.services, "fabrikam"), "admin")
    await Visitor(directory.client).sign_in(theirs)
    await owner.execute("UPDATE rollbook.console_sessions SET ends_at = now()")
    await visitor(directory, "admin")
    assert await owner.fetchval("SELECT count(*) FROM rollbook.console_sessions") == 2


async def test_a_session_is_not_longer_than_its_token(directory: Directory, owner: asyncpg.Connection) -> None:
    token = await issue(directory.services, directory.tenant_id, "admin", life=timedelta(minutes=5))
    await Visitor(directory.client).sign_in(token)
    assert await owner.fetchval("SELECT max(ends_at) - now() < interval '5 minutes' FROM rollbook.console_sessions")


async def test_a_form_without_its_word_or_from_elsewhere_does_nothing(directory: Directory) -> None:
    ann = await visitor(directory, "admin")
    victim = await directory.name_token("Victim")
    path = f"/console/tokens/{victim}/revoke"
    word = form_word(await ann.get(path))
    refused = [
        await ann.post(path),
        await ann.post(path, {"form_word": "0" * 64}),
        await ann.post(path, {"form_word": form_word(await (await visitor(directory, "admin")).get(path))}),
        await ann.post(path, {"form_word": word}, {"Sec-Fetch-Site": "cross-site"}),
        await ann.post(path, {"form_word": word}, {"Sec-Fetch-Site": "same-site"}),
        await directory.client.post(path, content="", headers={"Cookie": "__Host-rollbook=x"}),
    ]
    assert [each.status_code for each in refused] == [403] * 5 + [303]
    assert not any(each.revoked_at for each in await directory.services.tenants.tokens(directory.tenant_id))
    assert (await ann.post(path, {"form_word": word})).status_code == 303
    assert any(each.revoked_at for each in await directory.services.tenants.tokens(directory.tenant_id))


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://rollbook.test", 303),  # TLS ends at a proxy
        ("http://rollbook.test", 303),
        ("https://evil.example", 403),
        ("https://rollbook.test.evil.example", 403),
        ("null", 403),
    ],
)
async def test_an_older_browser_says_where_a_form_comes_from_by_its_origin(
    directory: Directory, origin: str, status: int
) -> None:
    token = await issue(directory.services, directory.tenant_id, "admin")
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
    answer = await directory.client.post("/console/sign-in", content=f"token={token}", headers=form)
    assert answer.status_code == status


async def test_what_a_browser_says_of_the_site_counts_more_than_a_host_that_a_proxy_has_changed(
    directory: Directory,
) -> None:
    token = await issue(directory.services, directory.tenant_id, "admin")
    answer = await Visitor(directory.client).post(
        "/console/sign-in", {"token": token}, {"Origin": "https://proxy.example"}
    )
    assert answer.status_code == 303


async def test_who_says_of_no_form_where_it_comes_from_is_no_browser(directory: Directory) -> None:
    token = await issue(directory.services, directory.tenant_id, "admin")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await directory.client.post("/console/sign-in", content=f"token={token}", headers=form)
    assert answer.status_code == 303


@pytest.mark.parametrize(
    ("content", "media_type", "status", "word"),
    [
        (b"token=x", "text/plain", 400, "application/x-www-form-urlencoded"),
        (b"token=\xff", FORM, 400, "not UTF-8"),
        (b"token=%FF", FORM, 400, "not UTF-8"),
        (b"x=1&" * 1_001, FORM, 400, "too many fields"),
        (b"token=%00", FORM, 400, "NUL"),
        (b"%00=x", FORM, 400, "NUL"),
        (b"x" * (LARGEST_FORM + 1), FORM, 413, "8,388,608 bytes"),
        (b"token=" + b"x" * 1_000, f"{FORM}; charset=utf-8", 401, "not copied whole"),
    ],
)
async def test_what_is_no_form_is_refused_with_what_is_wrong(
    directory: Directory, content: bytes, media_type: str, status: int, word: str
) -> None:
    headers = {"Content-Type": media_type, **SAME_ORIGIN}
    answer = await directory.client.post("/console/sign-in", content=content, headers=headers)
    assert (answer.status_code, word in answer.text) == (status, True), answer.text[-600:]


async def test_an_auditor_reads_and_changes_nothing(directory: Directory) -> None:
    auditor = await visitor(directory, "audit:read")
    refused = await auditor.get("/console/tokens")
    assert refused.status_code == 403
    assert "You are signed in as auditor, and this is for admins and owners." in refused.text


async def test_nobody_sees_another_tenant(directory: Directory) -> None:
    other = await register(directory.services, "fabrikam")
    theirs = await issue(directory.services, other, "admin")
    token_id = (await directory.services.tenants.tokens(other))[-1].id
    ann = await visitor(directory, "admin")
    assert (await ann.get(f"/console/tokens/{token_id}/revoke")).status_code == 404
    assert (await ann.submit("/console/tokens", f"/console/tokens/{token_id}/revoke")).status_code == 404
    forged = Visitor(directory.client, {"__Host-rollbook": other.hex + ann.cookies["__Host-rollbook"][32:]})
    assert (await forged.get("/console/tokens")).status_code == 303
    assert (await Visitor(directory.client).sign_in(theirs)).status_code == 303


async def test_every_answer_has_headers_that_let_nothing_else_in(directory: Directory) -> None:
    ann = await visitor(directory, "admin")
    others = ("sign-in", "nowhere", f"tokens/{uuid4()}/revoke", "audit/files/events?format=csv", "static/nothing.css")
    for path in (*PAGES, *(f"/console/{each}" for each in others)):
        headers = (await ann.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    [address] = re.findall(r'href="(/console/static/[^"]*css[^"]*)"', (await ann.get("/console/tokens")).text)
    style = (await ann.get(address)).headers
    assert (style["x-content-type-options"], style["cross-origin-resource-policy"]) == ("nosniff", "same-origin")
    assert "immutable" in style["cache-control"]


async def test_signing_in_is_in_the_log(directory: Directory) -> None:
    await visitor(directory, "audit:read")
    await directory.services.accesses.drain()
    noted = await directory.services.pool.fetchval(
        "SELECT data FROM rollbook.events WHERE tenant_id = $1 AND type = 'AuditAccessed'", directory.tenant_id
    )
    assert '"console:sign-in"' in noted
