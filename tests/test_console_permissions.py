"""Who may open which address of the console: every one that there is, for every role, and with no form but our own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import get_args
from urllib.parse import quote
from uuid import UUID

import pytest

from api.console.cookies import new_key
from api.console.routes import PAGES
from projections.console_sessions import NewSession, Role
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.conftest import Directory
from tests.visitors import Visitor

OPEN = {
    "GET /console/sign-in",
    "POST /console/sign-in",
    "GET /console/sign-in/issuer",
    "GET /console/sign-in/callback",
}
TO_ALL = {
    "GET /console",
    "POST /console/sign-out",
    "GET /console/people",
    "GET /console/people/{id}",
    "GET /console/seats",
    "GET /console/audit",
    "GET /console/audit/tail",
    "GET /console/audit/events/{seq}",
    "GET /console/audit/local-edits",
    "GET /console/audit/changes",
    "GET /console/audit/questions",
    "GET /console/audit/questions/{name}",
    "GET /console/audit/files/{name}",
    "GET /console/audit/evidence",
    "GET /console/audit/evidence/checkpoint",
    "GET /console/audit/evidence/file",
    "GET /console/sync",
}
TO_OWNERS = {"GET /console/operations"}
ADDRESSES = {f"{method} {path}" for path, handlers in PAGES.items() for method in handlers}
FORMS = sorted(each.removeprefix("POST ") for each in ADDRESSES - OPEN if each.startswith("POST "))
REFUSED = "You are signed in as"


async def seated(directory: Directory, role: Role) -> Visitor:
    """Somebody who is signed in with this role, by an issuer."""
    key, ends_at = new_key(directory.tenant_id), datetime.now(UTC) + timedelta(hours=1)
    await directory.services.console_sessions.begin(
        NewSession(
            tenant_id=directory.tenant_id, digest=key.digest, role=role, actor="x", token_id=None, ends_at=ends_at
        )
    )
    return Visitor(directory.client, {"__Host-rollbook": key.tenant_id.hex + key.secret.hex()})


def filled(path: str) -> str:
    return path.format(id=UUID(int=7), seq=1, name="roster")


async def opened(visitor: Visitor, role: Role) -> set[str]:
    """The addresses that do not refuse the role."""
    found = set()
    for address in sorted(ADDRESSES - OPEN):
        method, _, path = address.partition(" ")
        answer = await (visitor.get if method == "GET" else visitor.post)(filled(path))
        if answer.status_code == 303:
            assert "sign-in" not in answer.headers["location"], address
        if f"{REFUSED} {role}" not in answer.text:
            found.add(address)
        else:
            assert answer.status_code == 403, address
    return found


@pytest.fixture
async def followed(directory: Directory) -> AsyncIterator[Directory]:
    """A tenant of which pages have something to show, but for the ledger, which is not signed here."""
    following = asyncio.create_task(Following(directory.services.pool, FOLLOWERS).run())
    yield directory
    following.cancel()


@pytest.mark.parametrize("role", get_args(Role))
async def test_each_role_opens_what_it_is_for_and_nothing_else(followed: Directory, role: Role) -> None:
    """What is in none of the lists is for admins: whoever adds a page says whom it is for."""
    expected = {"auditor": TO_ALL, "admin": ADDRESSES - OPEN - TO_OWNERS, "owner": ADDRESSES - OPEN}

    assert await opened(await seated(followed, role), role) == expected[role]
    assert ADDRESSES > OPEN | TO_ALL | TO_OWNERS


async def test_who_is_not_signed_in_is_led_to_the_sign_in_from_everywhere(directory: Directory) -> None:
    nobody = Visitor(directory.client)

    for address in sorted(ADDRESSES - OPEN):
        method, _, path = address.partition(" ")
        answer = await (nobody.get if method == "GET" else nobody.post)(filled(path))
        back = f"?next={quote(filled(path), safe='')}" if method == "GET" and path != "/console" else ""
        assert (answer.status_code, answer.headers["location"]) == (303, f"/console/sign-in{back}"), address


@pytest.mark.parametrize("path", FORMS)
async def test_no_form_is_taken_without_its_word(directory: Directory, path: str) -> None:
    ann = await directory.create("ann")
    await directory.name_token("Victim")
    token_id = (await directory.services.tenants.tokens(directory.tenant_id))[-1].id
    target = path.format(id=token_id if "tokens" in path else ann)
    owner = await seated(directory, "owner")
    fields = {"active": "false", "confirmation": "ann", "basis": "x", "value:title": "X", "name": "X", "scope": "scim"}

    answers = [
        await owner.post(target, {**fields, **word}) for word in ({}, {"form_word": ""}, {"form_word": "0" * 64})
    ]

    assert [each.status_code for each in answers] == [403, 403, 403]
    assert all("This form was not made by the page" in each.text for each in answers)
    assert await directory.event_types(ann) == ["UserProvisioned"]
    tokens = await directory.services.tenants.tokens(directory.tenant_id)
    assert [(each.name, each.revoked_at) for each in tokens] == [("Test", None), ("Victim", None)]
    assert (await owner.get("/console/tokens")).status_code == 200
