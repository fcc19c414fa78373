"""Every audit question, with every parameter, answers what a fold of the raw rows of the log says."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from api.questions import QUESTIONS
from engine.schema import ENTERPRISE
from ops import administration
from ops.directory import ADMIN, MEMBER, OWNER, Person
from ops.directory import Directory as Contoso
from ops.entra_contoso import contoso
from ops.entra_mapping import SEED, Options
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.questions import bulk_acts, changes, moves, rosters
from tests.conftest import Directory, issue, register
from tests.independent_fold import Past, read_past, shown_time
from tests.test_provisioning import Live
from tests.test_provisioning import live as _live

Json = dict[str, Any]

live = _live  # a fixture

BY_NAME = {each.name: each for each in QUESTIONS}
# What happened since, told beside what is asked for: it is of now, whatever the answer is of.
LOOKS_AHEAD = ("role_ended", "assigned_role", "assigned_at", "seconds_until_assigned", "returned_at")
# Whose pages each say themselves up to where they are true.
OF_NOW = ("events", "tokens")
STEP = timedelta(microseconds=1)


async def follow(directory: Directory) -> None:
    await Following(directory.services.pool, FOLLOWERS).catch_up()


async def nothing() -> None:
    pass


async def ask(
    directory: Directory,
    name: str,
    given: Mapping[str, str],
    limit: int = 1_000,
    between: Callable[[], Awaitable[None]] = nothing,
) -> tuple[list[Json], int]:
    """All rows, page by page, and the seq up to which they are true; none if nobody is there."""
    question = BY_NAME[name]
    path = question.address.replace("{id}", given.get("id", ""))
    query = {key: value for key, value in given.items() if f"{{{key}}}" not in question.address}
    rows: list[Json] = []
    answer = await directory.client.get(
        path, params={**query, "limit": str(limit)}, headers={"Authorization": f"Bearer {directory.token}"}
    )
    seq: int = answer.json().get("as_of_seq", 0)
    while answer.status_code == 200:
        page = answer.json()
        assert page["as_of_seq"] == seq or name in OF_NOW
        assert len(page[question.rows_name]) <= limit
        rows += page[question.rows_name]
        if page["next"] is None:
            return rows, seq
        await between()
        answer = await directory.request("GET", page["next"])
    assert answer.status_code == 404, (path, query, answer.text)
    return rows, seq


def without(rows: list[Json], *columns: str) -> list[Json]:
    return [{key: value for key, value in row.items() if key not in columns} for row in rows]


async def assert_right(directory: Directory, past: Past, name: str, given: Mapping[str, str], limit: int) -> None:
    """`past` is the log up to a seq at least to which `given` is bound."""
    rows, _ = await ask(directory, name, given, limit)

    assert without(rows, "used_at") == without(past.answer(name, given), "used_at"), (name, given, limit)


def some_parts(chance: random.Random, past: Past, to_seq: int) -> list[dict[str, str]]:
    """Periods by time and by seq, bounded by a seq, for looking at the log adds to it."""
    seqs = sorted(chance.sample(range(to_seq + 1), min(4, to_seq)))
    times = [chance.choice(past.events[:to_seq]).at + step * STEP for step in (-1, 0, 0, 1)]
    begin, end = min(times), max(times) + STEP
    return [
        {"to_seq": str(to_seq)},
        {"after_seq": str(seqs[0]), "to_seq": str(seqs[-1])},
        {"from": str(shown_time(begin)), "to_seq": str(to_seq)},
        {"to": str(shown_time(end)), "to_seq": str(to_seq)},
        {"from": str(shown_time(begin)), "to": str(shown_time(end)), "to_seq": str(to_seq)},
        {"from": str(shown_time(begin)), "to": str(shown_time(end)), "after_seq": str(seqs[1]), "to_seq": str(to_seq)},
    ]


def some_moments(chance: random.Random, past: Past, to_seq: int) -> list[dict[str, str]]:
    at = chance.choice(past.events[:to_seq]).at
    return [
        {"as_of_seq": str(to_seq)},
        {"as_of_seq": str(chance.randint(0, to_seq))},
        *({"as_of": str(shown_time(at + step * STEP))} for step in (-1, 0, 1)),
    ]


def some(chance: random.Random, choices: Mapping[str, list[str]]) -> dict[str, str]:
    """Some of the parameters, each with one of its values."""
    names = chance.sample(sorted(choices), chance.randint(0, len(choices)))
    return {name: chance.choice(choices[name]) for name in names}


def inquiries(chance: random.Random, past: Past, to_seq: int) -> list[tuple[str, dict[str, str]]]:
    """Each question with each of its parameters, alone and with others."""
    log = past.events[:to_seq]
    times = [str(shown_time(each.at + step * STEP)) for each in chance.sample(log, 5) for step in (0, 1)]
    actors, tokens = sorted({each.actor for each in log}), sorted({each.token_id for each in log if each.token_id})
    who: dict[str, list[str]] = {"actor": [*actors, "nobody"], "token": [*tokens, str(uuid4())]}
    people = [chance.choice(past.people) for _ in range(4)]
    truths = ["true", "false"]
    roster = {
        "role": ["owner", "member", "admin,owner", "king"],
        "active": truths,
        "deleted": truths,
        "manager": truths,
        "inactive_since": times,
        "untouched_since": times,
    }
    events = {
        **who,
        "user": [*people, past.tenant_id],
        "type": ["UserProvisioned", "AttributesChanged,RoleAssigned", "RequestRefused,TokenIssued,Deactivated"],
        "source": ["directory", "local", "operator", "engine"],
        "request": [chance.choice(log).request_id for _ in range(4)],
        "since": times,
        "until": times,
        "after": [str(chance.randint(0, to_seq))],
        "order": ["asc", "desc"],
    }
    found: list[tuple[str, dict[str, str]]] = []
    for part in some_parts(chance, past, to_seq):
        person = chance.choice(past.people)
        found += [(name, part) for name in ("joiners", "seat-changes", "changes")]
        found += [("history", {**part, "id": person}), ("changes", {**part, "user": person})]
        found += [("leavers", {**part, **some(chance, {"target_seconds": ["0", "1", "9"], "in_time": truths})})]
        found += [("movers", {**part, **some(chance, {"role": ["owner", "admin,owner", "king"]})})]
        found += [("seat-peaks", {**part, "by": by}) for by in ("day", "month")]
        found += [(name, {**part, **some(chance, who)}) for name in ("refusals", "settings-changes", "accesses")]
        found += [("bulk-acts", {**part, **some(chance, {"people": ["1", "2", "5"], "minutes": ["1", "1440"]})})]
    for moment in some_moments(chance, past, to_seq):
        found += [("seats-then", moment), ("person", {**moment, "id": chance.choice(past.people)}), ("roster", moment)]
        found += [("roster", {**moment, **some(chance, roster)}) for _ in range(4)]
        found += [("roster", {**moment, name: chance.choice(values)}) for name, values in roster.items()]
    before = {"before": str(to_seq + 1)}
    found += [("events", {**before, **some(chance, events)}) for _ in range(10)]
    found += [("events", {**before, name: chance.choice(values)}) for name, values in events.items()]
    return found


async def test_everything_that_can_be_asked_of_a_company_is_answered_rightly(
    company: Directory, owner: asyncpg.Connection
) -> None:
    past = await read_past(owner, company.tenant_id)
    chance = random.Random(1)
    asked = inquiries(chance, past, len(past.events))
    asked += [("history", {"id": person, "to_seq": str(len(past.events))}) for person in past.people]

    for name, given in asked:
        await assert_right(company, past, name, given, chance.choice([1, 2, 7]))


# A past of every kind: several people within one append, refusals, renamings, deletions, erasures, beside a neighbour.

NAMES = [f"user-{number}" for number in range(12)]


def some_values(chance: random.Random) -> Json:
    values = {
        "title": chance.choice(["", "Engineer", "Zoë ’—’", "=1+1"]),
        "userName": chance.choice(NAMES).upper(),
        "displayName": chance.choice(["A", "B"]),
        "role": chance.choice(["owner", "Admin", "member"]),
        "active": chance.choice([True, False]),
        f"{ENTERPRISE}:department": chance.choice(["", "Sales"]),
        f"{ENTERPRISE}:manager": chance.choice([{"value": "boss"}, {"value": ""}]),
    }
    return {key: values[key] for key in chance.sample(sorted(values), chance.randint(1, 4))}


async def some_request(directory: Directory, chance: random.Random, people: list[str]) -> None:
    kind, person = chance.random(), chance.choice(people)
    if kind < 0.25:
        body = {**some_values(chance), "userName": chance.choice(NAMES)}
        created = await directory.request("POST", "/scim/v2/Users", json=body)
        people += [created.json()["id"]] if created.status_code == 201 else []
    elif kind < 0.3:
        await directory.request("DELETE", f"/scim/v2/Users/{person}")
    elif kind < 0.35:
        await directory.request("POST", "/scim/v2/Users", json={"userName": chance.choice(NAMES), "role": "king"})
    elif kind < 0.55:
        values = {key: value for key, value in some_values(chance).items() if ":" not in key}
        headers = {"X-Rollbook-Actor": f"person-{chance.randint(1, 3)}"}
        await directory.request("PATCH", f"/v1/users/{person}", json=values, headers=headers)
    else:
        operations = [{"op": "replace", "path": key, "value": value} for key, value in some_values(chance).items()]
        await directory.patch(person, *operations)


async def some_past(directory: Directory, chance: random.Random, requests: int, first: str = "first") -> list[str]:
    """Requests one after the other and at the same time, so that several share an append."""
    await directory.set_settings(name_characters="any", email_case="keep")
    people = [await directory.create(f"{first}-{number}") for number in range(3)]
    for _ in range(requests // 6):
        together = chance.choice([1, 1, 10])
        await asyncio.gather(*(some_request(directory, chance, people) for _ in range(together)))
    return people


async def neighbour(directory: Directory) -> Directory:
    tenant_id = await register(directory.services, "fabrikam")
    other = Directory(directory.client, directory.services, tenant_id, await issue(directory.services, tenant_id))
    await some_past(other, random.Random(0), 30)
    return other


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds the cost of a page is met by little."""
    for module in (changes, moves, rosters):
        monkeypatch.setattr(module, "MOST_LOOKED_AT", 3)
    monkeypatch.setattr(bulk_acts, "PART", CUT)
    monkeypatch.setattr(bulk_acts, "READ_AT_A_TIME", 3)


CUT = 50


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("seed", range(4))
async def test_everything_that_can_be_asked_of_a_random_past_is_answered_rightly(
    directory: Directory, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    people = await some_past(directory, chance, 200)
    await neighbour(directory)
    for person in people[:2]:
        cause = administration.cause(directory.tenant_id)
        await directory.services.erasures.erase(UUID(person), cause, None)
    await follow(directory)
    await some_past(directory, chance, 40, "later")
    past = await read_past(owner, directory.tenant_id)
    for person in past.people:  # a story does not wait for followers
        await assert_right(directory, past, "history", {"id": person, "to_seq": str(len(past.events))}, 7)
    await follow(directory)
    monkeypatch.setattr(past, "bulk_acts", partial(past.bulk_acts, cut=CUT))

    for name, given in inquiries(chance, past, len(past.events)):
        await assert_right(directory, past, name, given, chance.choice([1, 2, 7]))
    for person in past.people:
        await assert_right(directory, past, "history", {"id": person, "to_seq": str(len(past.events))}, 7)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_an_answer_stays_what_it_was_while_writes_go_on_between_its_pages(
    directory: Directory, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    chance = random.Random(limit)
    people = await some_past(directory, chance, 30)
    await follow(directory)

    async def write() -> None:
        await asyncio.gather(*(some_request(directory, chance, people) for _ in range(2)))
        await follow(directory)

    for name in ("history", "roster", "changes", "joiners", "leavers", "movers", "seat-changes", "seat-peaks",
                 "settings-changes", "refusals", "accesses", "bulk-acts", "events"):  # fmt: skip
        given = {"history": {"id": people[0]}, "bulk-acts": {"people": "1"}, "seat-peaks": {"by": "day"}}.get(name, {})
        rows, seq = await ask(directory, name, given, limit, between=write)
        past = await read_past(owner, directory.tenant_id)
        monkeypatch.setattr(past, "bulk_acts", partial(past.bulk_acts, cut=CUT))
        bound = {"roster": {"as_of_seq": str(seq)}, "events": {"before": str(seq + 1)}}.get(name, {"to_seq": str(seq)})
        expected = past.answer(name, {**given, **bound})
        assert without(rows, *LOOKS_AHEAD) == without(expected, *LOOKS_AHEAD), name


async def test_tokens_are_listed_with_who_issued_and_who_revoked_them(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    for name in ("one", "two", "three"):
        token_id = await directory.name_token(name)
    await directory.revoke(token_id)
    await directory.services.gate.note_uses()
    past = await read_past(owner, directory.tenant_id)

    for given in ({}, {"valid": "true"}, {"valid": "false"}):
        for limit in (1, 2, 7):
            await assert_right(directory, past, "tokens", given, limit)
    used = [row["used_at"] for row in (await ask(directory, "tokens", {}))[0]]
    assert [each is not None for each in used] == [False, False, False, False]
    await directory.services.gate.note_uses()
    used = [row["used_at"] for row in (await ask(directory, "tokens", {}))[0]]
    assert [each is not None for each in used] == [True, False, False, False]


PEOPLE, CYCLES = 120, 6


def change(chance: random.Random, company: Contoso, person: Person) -> None:
    """Something that a working life holds."""
    turns: list[Callable[[], object]] = [
        lambda: company.change(person.object_id, job_title=chance.choice(["Researcher", "Director", "Fellow"])),
        lambda: company.change(person.object_id, department=chance.choice(["Sales", "Legal"])),
        lambda: company.assign(person.object_id, chance.choice([ADMIN, OWNER, MEMBER])),
        lambda: company.unassign(person.object_id),
        lambda: company.disable(person.object_id),
        lambda: company.enable(person.object_id),
        lambda: company.set_manager(person.object_id, chance.choice(company.people)),
        lambda: company.purge(person.object_id),
    ]
    chance.choices(turns, [4, 4, 4, 2, 2, 2, 4, 1])[0]()


async def test_everything_that_can_be_asked_of_a_provisioned_company_is_answered_rightly(
    live: Live, owner: asyncpg.Connection
) -> None:
    """What a simulated Entra does in some cycles, with local edits in between."""
    chance, company = random.Random(5), contoso(PEOPLE, random.Random(5))
    async with await live.job(company, Options(mapping=SEED)) as job, httpx.AsyncClient(base_url=live.url) as client:
        directory = Directory(client, live.services, live.tenant_id, await issue(live.services, live.tenant_id))
        await job.initial_cycle()
        for _ in range(CYCLES):
            for person in chance.sample(company.people, PEOPLE // 3):
                change(chance, company, person)
            await job.incremental_cycle()
            for row in chance.sample((await directory.request("GET", "/v1/users")).json()["users"], 5):
                await directory.request("PATCH", f"/v1/users/{row['id']}", json={"title": "Edited", "role": "admin"})
        await neighbour(directory)
        await follow(directory)
        past = await read_past(owner, directory.tenant_id)

        assert Counter(each.type for each in past.events).keys() >= set(HAPPENS)
        for name, given in inquiries(chance, past, len(past.events)):
            await assert_right(directory, past, name, given, chance.choice([7, 100, 1_000]))


HAPPENS = ("UserProvisioned", "AttributesChanged", "RoleAssigned", "Deactivated", "Reactivated", "UserDeleted")
