"""What the service's role can do with the function that erases, and what names a person and what does not."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.parameters import parameters
from api.questions import QUESTIONS
from ops.database import Database
from projections.connections import connected
from tests.conftest import Directory, issue, register
from tests.replays import differences, follow
from tests.test_erasure import SECRETS, erase, everything, provisioned


@pytest.fixture
async def service(database: Database) -> AsyncIterator[asyncpg.Connection]:
    async with connected(database.service_url) as connection:
        yield connection


async def log_of(owner: asyncpg.Connection, tenant_id: UUID) -> list[str]:
    rows = await owner.fetch("SELECT e::text FROM rollbook.events AS e WHERE tenant_id = $1 ORDER BY seq", tenant_id)
    return [row[0] for row in rows]


ERASE = "SELECT rollbook.erase($1, $2, 'operator', 'uid:0', NULL, gen_random_uuid(), $3)"


async def test_a_wrong_tenant_a_tenants_own_stream_and_nobody_erase_nothing(
    company: Directory, service: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    zaphod = UUID(await provisioned(company))
    other = await register(company.services, "galaxy")
    before = await everything(owner)

    for tenant_id, person in [
        (other, zaphod),
        (company.tenant_id, company.tenant_id),
        (other, company.tenant_id),
        (company.tenant_id, other),
        (company.tenant_id, uuid4()),
        (uuid4(), zaphod),
        (None, zaphod),
        (company.tenant_id, None),
    ]:
        assert await service.fetchval(ERASE, tenant_id, person, None) is False

    assert await everything(owner) == before


async def test_a_basis_that_is_no_letter_of_the_article_is_not_recorded(
    company: Directory, service: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    zaphod = UUID(await provisioned(company))
    before = await everything(owner)

    for basis in ("Zaphod asked for it", "", "A", "g"):
        with pytest.raises(asyncpg.CheckViolationError):
            await service.execute(ERASE, company.tenant_id, zaphod, basis)

    assert await everything(owner) == before


APPEND = """
    SELECT rollbook.append(
        $1, $2::uuid[], $3::int[], $4::text[], array_fill('engine'::text, $6), array_fill('a'::text, $6),
        array_fill(NULL::uuid, $6), array_fill(gen_random_uuid(), $6), $5::text[], array_fill('x'::bytea, $6), '{}'
    )
"""
FORGED = '{"type":"PersonalDataErased","events":9}'


async def test_an_erasure_that_did_not_take_place_cannot_be_recorded(
    company: Directory, service: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    zaphod, erased = UUID(await provisioned(company)), UUID(await company.create("erased"))
    await erase(company, str(erased))
    before = await log_of(owner, company.tenant_id)
    nobody, tenant_id = uuid4(), company.tenant_id

    for streams, types in [
        ([zaphod], ["PersonalDataErased"]),
        ([erased], ["PersonalDataErased"]),
        ([nobody], ["PersonalDataErased"]),
        ([nobody, nobody], ["UserProvisioned", "PersonalDataErased"]),
        ([nobody, zaphod], ["PersonalDataErased", "PersonalDataErased"]),
        ([erased, nobody], ["Deactivated", "PersonalDataErased"]),
        ([tenant_id], ["PersonalDataErased"]),
    ]:
        with pytest.raises(asyncpg.CheckViolationError, match="nothing was erased"):
            await service.execute(
                APPEND, tenant_id, streams, [None] * len(types), types, [FORGED] * len(types), [len(types)]
            )

    assert await log_of(owner, tenant_id) == before


async def test_tables_of_the_caller_cannot_be_slipped_under_an_erasure(
    company: Directory, service: asyncpg.Connection, owner: asyncpg.Connection, database: Database
) -> None:
    zaphod = await provisioned(company)
    for table in ("heads", "events", "users", "seats", "history", "tokens", "request_log", "local_edits"):
        exists = await owner.fetchval("SELECT to_regclass($1) IS NOT NULL", f"rollbook.{table}")
        await service.execute(
            f"CREATE TEMP TABLE {table} AS TABLE rollbook.{table}"
            if exists
            else f"CREATE TEMP TABLE {table} (tenant_id uuid, user_id uuid)"
        )
    await service.execute(
        "CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql RETURN 'zaphod'; "
        "SET search_path = pg_temp, rollbook"
    )

    assert await service.fetchval(ERASE, company.tenant_id, UUID(zaphod), "a") is True

    await follow(company.services)
    assert await service.fetchval("SELECT count(*) FROM rollbook.users WHERE id = $1", UUID(zaphod)) == 0
    assert await differences(database) == []


async def test_an_erasure_in_a_transaction_that_is_taken_back_has_erased_nothing(
    company: Directory, service: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    zaphod = UUID(await provisioned(company))
    before = await everything(owner)

    transaction = service.transaction(isolation="repeatable_read")
    await transaction.start()
    assert await service.fetchval(ERASE, company.tenant_id, zaphod, None) is True
    await transaction.rollback()

    assert await everything(owner) == before


async def test_only_events_of_the_person_and_notes_are_emptied_and_the_record_names_each(
    company: Directory, owner: asyncpg.Connection
) -> None:
    """However a person is called: as our own words, as the tenant, as a type, as a wildcard."""
    await company.set_settings(name_characters="any")
    await company.request("POST", "/scim/v2/Users", json={"userName": "uniqueness", "active": "perhaps"})
    before = {
        each["seq"]: each
        for each in await owner.fetch("SELECT * FROM rollbook.events WHERE tenant_id = $1", company.tenant_id)
    }
    names = [
        "contoso",
        "RequestRefused",
        "POST",
        "uniqueness",
        "%",
        ".*",
        "[a-z]+",
        "\\",
        "type",
        "scim",
        "events",
        "400",
    ]
    people = [
        await company.create(f"person{place}", displayName=name, nickName=name) for place, name in enumerate(names)
    ]

    notes = [seq for person in people for seq in (await erase(company, person))["notes"]]

    emptied = await owner.fetch(
        "SELECT seq, stream_id, type FROM rollbook.events WHERE tenant_id = $1 AND data IS NULL", company.tenant_id
    )
    assert {row["seq"] for row in emptied if row["stream_id"] == company.tenant_id} == set(notes)
    assert {row["type"] for row in emptied if row["stream_id"] == company.tenant_id} <= {"RequestRefused"}
    assert {str(row["stream_id"]) for row in emptied} - {str(company.tenant_id)} == set(people)
    kept = {
        each["seq"]: each
        for each in await owner.fetch("SELECT * FROM rollbook.events WHERE tenant_id = $1", company.tenant_id)
    }
    assert all(kept[seq] == row for seq, row in before.items() if seq not in notes)


# The name, the text, and whether the one is found in the other: in a note, and in a token's name.
BORDERS = [
    ("ann", "ann", True, True),
    ("ann", "ANN", True, True),
    ("ann", "annual", False, False),
    ("ann", "joann", False, False),
    ("ann", "the name of ann.", True, True),
    ("ann", "'Ann' holds", True, True),
    ("ann", "(ann)", True, True),
    ("ann", "ann2", False, False),
    ("ann", "ann-marie", False, True),
    ("ann", "ann@contoso.example", False, True),
    ("ann", "mary_ann", False, True),
    ("ann", "ann.smith", False, True),
    ("ann", "ann's laptop", True, True),
    ("ann", "/scim/v2/Users/ann", True, True),
    ("ann", "", False, False),
    ("zo", "zo", True, True),
    ("zo", "Zo came", False, False),
    ("zoë", "zoë came", True, True),
    ("zoë", "ZOË CAME", True, True),
    ("zoe", "zoë", False, False),
    ("ana", "anaïs", False, False),
    ("李小龙", "李小龙", True, True),
    ("李小龙", "x 李小龙 y", True, True),
    ("4711", "4711", True, True),
    ("4711", "room 4711", False, False),
    ("4711", "14711", False, False),
    ("ann smith", "Ann  Smith", False, False),
    ("ann smith", "for Ann Smith, Ltd", True, True),
    ("ann smith", "joann smithers", False, False),
    ("ann@contoso.example", "ann@contoso.example", True, True),
    ("ann@contoso.example", "joann@contoso.example", False, False),
    ("ann@contoso.example", "jo-ann@contoso.example", False, True),
    ("ann@contoso.example", "ann@contoso.example.au", False, True),
    ("ann@contoso.example", "ann@contosoxexample", False, False),
    ("ann@contoso.example", "'ann@contoso.example'.", True, True),
    ("+1 555 0142", "call +1 555 0142 now", True, True),
    ("+1 555 0142", "+1 555 01423", False, False),
    ("o'brien (ext.)", "x O'Brien (Ext.) y", True, True),
    ("a.*b", "axxb", False, False),
    ("***=x", "y ***=x z", True, True),
    ("a\\b", "a\\b", True, True),
]


@pytest.mark.parametrize(("name", "text", "in_note", "in_token"), BORDERS)
async def test_a_name_is_found_as_a_word_of_its_own_and_not_within_another(
    owner: asyncpg.Connection, name: str, text: str, in_note: bool, in_token: bool
) -> None:
    mentions = "SELECT rollbook.mentions($1, $2, $3)"

    assert await owner.fetchval(mentions, text, ["nobody else", name], False) is in_note
    assert await owner.fetchval(mentions, text, ["nobody else", name], True) is in_token


async def test_every_name_that_a_person_ever_had_is_searched_for(company: Directory, owner: asyncpg.Connection) -> None:
    ann = await company.create(
        "first@x.example",
        externalId="EXT-1",
        microsoftId="MS-1",
        displayName="Display Once",
        nickName="Nicky",
        title="Not A Name",
        name={"formatted": "Formatted Once", "familyName": "Not This"},
        emails=[{"type": "work", "value": "mail@x.example"}],
        phoneNumbers=[{"type": "work", "value": "+49 30 1"}],
    )
    await company.request("PUT", f"/scim/v2/Users/{ann}", json={"userName": "straße@x.example", "displayName": "Last"})

    names = await owner.fetchval("SELECT rollbook.names_of($1, $2)", company.tenant_id, UUID(ann))

    assert set(names) == {
        "first@x.example", "ext-1", "ms-1", "display once", "nicky", "formatted once", "mail@x.example", "+49 30 1",
        "straße@x.example", "strasse@x.example", "last",
    }  # fmt: skip


async def test_a_refusal_that_collided_by_the_folded_name_is_about_the_person(
    company: Directory, owner: asyncpg.Connection
) -> None:
    await company.set_settings(email_case="keep")
    ann = await company.create("groß@x.example")
    assert (await company.request("POST", "/scim/v2/Users", json={"userName": "GROSS@x.example"})).status_code == 409

    assert len((await erase(company, ann))["notes"]) == 1
    assert "gross@" not in await everything(owner)


async def test_a_directory_that_goes_on_to_send_what_it_knows_brings_nothing_back(
    company: Directory, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    await erase(company, zaphod)

    refused = await company.patch(zaphod, {"op": "replace", "path": "role", "value": "Zaphod Beeblebrox"})
    also = await company.request("PATCH", f"/v1/users/{zaphod}", json={"Zaphod Beeblebrox": 1})

    assert (refused.status_code, also.status_code) == (400, 400)
    assert "Zaphod" in refused.text
    noted = await owner.fetch("SELECT data::jsonb AS d FROM rollbook.events WHERE type = 'RequestRefused' ORDER BY seq")
    assert [json.loads(row["d"])["detail"] for row in noted[-2:]] == ["", ""]
    assert [secret for secret in SECRETS if secret in await everything(owner)] == []


async def test_after_an_erasure_each_audit_question_still_has_its_answer_without_the_person(
    company: Directory, database: Database
) -> None:
    zaphod = await provisioned(company)
    await company.patch(zaphod, {"op": "replace", "path": "active", "value": False})
    await company.patch(zaphod, {"op": "replace", "path": "active", "value": True})
    await erase(company, zaphod)
    await follow(company.services)

    for question in QUESTIONS:
        given = {each.name: "title" for each in parameters(question.asked) if each.is_required and each.name != "id"}
        address = f"{question.address.replace('{id}', zaphod)}?{urlencode(given)}"
        answer = await company.request("GET", address)
        assert answer.status_code == 200 or ("{id}" in question.address and answer.status_code == 404), answer.text
        if answer.status_code == 200:
            answer = await company.request("GET", f"{address}&format=ndjson")
            assert answer.status_code == 200
        assert [secret for secret in SECRETS if secret in answer.text.lower()] == [], question.name
        await company.services.accesses.drain()
        await follow(company.services)


async def test_each_table_with_rows_about_people_is_in_the_list_of_those_that_are_deleted_from(
    owner: asyncpg.Connection,
) -> None:
    listed = {tuple(row) for row in await owner.fetch("SELECT place, person_column FROM rollbook.places_of_people()")}
    found = await owner.fetch(
        "SELECT relname::text, attname::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relnamespace = 'rollbook'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition "
        "AND (attname IN ('user_id', 'person_id', 'member_id') OR (relname IN ('users', 'people') AND attname = 'id'))"
    )

    # A token of somebody's own has the id alone, as the log has it, and opens nothing any more; and so have groups.
    assert {tuple(row) for row in found} - {("tokens", "user_id"), ("member_history", "member_id")} == listed


async def test_people_who_name_the_erased_person_as_their_manager_are_counted_in_the_certificate(
    company: Directory,
) -> None:
    enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    zaphod = await provisioned(company)
    await company.create("trillian", **{enterprise: {"manager": {"value": zaphod, "displayName": "Somebody"}}})

    certificate = await erase(company, zaphod)

    assert "Present people with this person's id as their manager: 1." in certificate["remains"]


async def test_the_tables_of_an_interrupted_replay_are_named_in_the_certificate(
    company: Directory, owner: asyncpg.Connection
) -> None:
    zaphod = await provisioned(company)
    await owner.execute("CREATE SCHEMA rollbook_replay_history")

    assert any("rollbook_replay_history" in each for each in (await erase(company, zaphod))["remains"])


async def test_a_certificate_holds_nothing_personal_and_names_who_asked(company: Directory) -> None:
    zaphod = await provisioned(company)
    admin = str(uuid4())

    answer = await company.request(
        "POST", f"/v1/users/{zaphod}/erase", json={"basis": "a"}, headers={"X-Rollbook-Actor": admin}
    )

    found: dict[str, Any] = json.loads(answer.text)
    assert [secret for secret in SECRETS if secret in answer.text.lower()] == []
    assert (found["asked_by"], found["request_id"]) == (admin, answer.headers["x-request-id"])


async def test_an_erasure_is_counted_among_the_events(company: Directory) -> None:
    zaphod = await provisioned(company)

    await erase(company, zaphod)
    await erase(company, zaphod)

    text = company.services.metrics.text([]).decode()
    assert 'rollbook_events_appended_total{type="PersonalDataErased"} 1.0' in text


async def test_without_the_scope_not_even_a_certificate_is_given(company: Directory) -> None:
    zaphod = await provisioned(company)
    await erase(company, zaphod)
    company.token = await issue(company.services, company.tenant_id, "audit:read", "people:write", "scim")

    assert (await company.request("POST", f"/v1/users/{zaphod}/erase")).status_code == 403
