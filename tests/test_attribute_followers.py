"""The followers `local_edits` and `attribute_history` keep what an independent fold of the raw events has."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.services import Services
from engine import patch, user
from engine.events import UserEvent, decode, encode, type_of
from engine.refusals import Refusal
from engine.resource import Values
from engine.settings import Settings
from engine.store import Cause
from engine.streams import Recorded
from engine.user import DeleteUser, PatchUser, ProvisionUser, ReplaceUser, Terms, UserCommand
from ops.database import Database
from projections import build, following, shadow
from projections.background import attribute_history
from projections.background import local_edits as module
from projections.background.local_edits import Edit, edits_of
from projections.batch import Logged
from projections.following import Following
from projections.rebuild import rebuild
from projections.target import follower_target
from tests import raw_folds
from tests.conftest import Directory, register
from tests.raw_folds import Raw, Row

Source = Literal["directory", "local"]

KEEPING = Settings(email_case="keep")

DEPARTMENT = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
VALUES: dict[str, list[Any]] = {
    "title": [None, "Engineer", "Manager", "Zoë ’—’ \\u0041 \u2028"],
    "name.givenName": [None, "Ann", "ANN"],
    "nickName": [None, "x" * 10_000],
    DEPARTMENT: [None, "R&D", "'; DROP TABLE events; --"],
    "userName": ["ann", "ANN", "Straße", "STRASSE", "ß" * 250, "ß" * 250 + "x"],
    "externalId": [None, "E1", "e1", "E" * 300],
    "microsoftId": [None, "m1", "M1", "\U0001d504" * 500],
    "emails": [
        None,
        [],
        [{"type": "work", "value": "a@x.example"}],
        [{"type": "work", "value": "A@x.example"}, {"type": "home", "value": "a@X.example"}],
        [{"type": "work", "value": "b@x.example"}, {"type": "home", "value": "a@x.example"}],
        [{"type": "home", "display": "no address"}],
    ],
    "role": [None, "owner", "Owner", "OWNER", "member", "Member"],
    "active": [True, False],
}

some_values = st.fixed_dictionaries({}, optional={key: st.sampled_from(found) for key, found in VALUES.items()})
commands = st.tuples(
    st.sampled_from(["directory", "local"]), st.sampled_from(["PATCH", "PATCH", "PATCH", "PUT", "DELETE"]), some_values
)


def command_of(kind: str, given: dict[str, Any]) -> UserCommand:
    match kind:
        case "DELETE":
            return DeleteUser()
        case "PUT":
            return ReplaceUser(Values({"userName": "ann", **given}))
        case _:
            return PatchUser((patch.SetLeaves(given),))


def logged(events: Sequence[UserEvent], source: Source, after: int) -> list[Logged]:
    """As they stand in the log of a tenant with one person."""
    return [
        Logged(
            stream_id=UUID(int=1),
            version=number,
            source=source,
            event=decode(encode(event)),
            recorded_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
            seq=10 * number,
        )
        for number, event in enumerate(events, after + 1)
    ]


def lived(steps: Sequence[tuple[Source, str, dict[str, Any]]], begun_by: Source) -> list[Logged]:
    """What the engine decides upon these commands, one after the other."""
    commands = [("PROVISION", begun_by, {"userName": "ann", "title": "Engineer"}), *((k, s, v) for s, k, v in steps)]
    found: list[Logged] = []
    person = None
    for kind, source, sent in commands:
        command = ProvisionUser(Values(sent)) if kind == "PROVISION" else command_of(kind, sent)
        try:
            events = user.decide(command, person, Terms(KEEPING, source))
        except Refusal:
            continue
        new = logged(events, source, len(found))
        found += new
        person = user.evolve_all(person, cast(Sequence[Recorded[UserEvent]], new)) if new else person
    return found


def as_raw(event: Logged) -> Raw:
    return {
        **{key: getattr(event, key) for key in ("stream_id", "version", "source", "seq", "recorded_at")},
        "type": type_of(event.event),
        "data": json.loads(encode(event.event)),
    }


def row_of(edit: Edit) -> Row:
    begun, ended = edit.event, edit.ended
    assert begun is not None
    end = (ended.seq, ended.recorded_at, ended.version) if ended else (None, None, None)
    return (
        *(edit.user_id, edit.version, edit.attribute, begun.seq, edit.before, edit.after),
        *(edit.fate, *end, edit.replaced_by),
    )


@settings(deadline=None, max_examples=400)
@given(st.lists(commands, max_size=14), st.sampled_from(["directory", "directory", "local"]), st.integers(1, 5))
def test_every_local_edit_has_one_fate_and_every_word_of_the_log_on_one_is_such_a_fate(
    steps: list[tuple[Source, str, dict[str, Any]]], begun_by: Source, cut: int
) -> None:
    events = lived(steps, begun_by)
    edits: dict[tuple[int, str], Edit] = {}
    for start in range(0, len(events), cut):  # each part knows of those before it what stands
        standing = [each for each in edits.values() if each.fate == "standing"]
        for edit in edits_of(events[start : start + cut], standing):
            assert edits.setdefault((edit.version, edit.attribute), edit) is edit

    rows = sorted(map(row_of, edits.values()), key=lambda row: (row[3], row[2].encode()))
    assert rows == raw_folds.local_edits([as_raw(each) for each in events])
    # The directory's events say of themselves which edits they end: those, and no others.
    for word, fate in (("overwrote", "overwritten"), ("confirmed", "confirmed")):
        said = {
            (event.version, attribute, version)
            for event in events
            for attribute, version in getattr(event.event, word, {}).items()
        }
        assert {
            (each.ended.version, name, v) for (v, name), each in edits.items() if each.ended and each.fate == fate
        } == said
    person = user.evolve_all(None, cast(Sequence[Recorded[UserEvent]], events))
    standing_now = {name: v for (v, name), each in edits.items() if each.fate == "standing"}
    origins = {name: each.version for name, each in person.origins.items() if each.source == "local"}
    assert standing_now == ({} if person.is_deleted else origins)


async def live(services: Services, tenant_id: UUID, seed: int, commands: int = 120) -> None:
    """A random past of a few people, who change and are deleted, some within one append."""
    chance = random.Random(seed)
    people = [uuid4() for _ in range(6)]
    for turn in range(commands):
        if turn >= len(people) and chance.random() < 0.05:
            people[chance.randrange(len(people))] = uuid4()
        person = chance.choice(people) if turn >= len(people) else people[turn]
        given = {key: chance.choice(VALUES[key]) for key in chance.sample(sorted(VALUES), chance.randint(1, 5))}
        given |= {"userName": f"{chance.choice(['p', 'P'])}{chance.randrange(12)}"} if "userName" in given else {}
        given |= {"microsoftId": str(uuid4())} if given.get("microsoftId") else {}
        source: Source = chance.choice(["directory", "directory", "local"])
        kind = chance.choice(["PATCH"] * 9 + ["PUT"] * 3 + ["DELETE"])
        if kind == "DELETE":
            source = "directory"
        cause = Cause(tenant_id=tenant_id, source=source, actor="someone", request_id=uuid4())
        for command in (command_of(kind, given), ProvisionUser(Values({**given, "userName": str(person)}))):
            try:
                await services.engine.carry_out(command, person, cause, Terms(KEEPING, source))
                break
            except Refusal:  # nobody is there yet; or somebody was, and was deleted
                continue


async def kept(owner: asyncpg.Connection, tenant_id: UUID) -> dict[str, list[Row]]:
    """The rows of all three tables, as the raw folds give them."""
    edits = await owner.fetch(
        "SELECT user_id, version, attribute, seq, before, after, fate, ended_seq, ended_at, ended_version, replaced_by "
        'FROM rollbook.local_edits WHERE tenant_id = $1 ORDER BY seq, attribute COLLATE "C"',
        tenant_id,
    )
    values = ("before", "after", "replaced_by")
    changes = await owner.fetch(
        "SELECT attribute, seq, user_id FROM rollbook.attribute_changes WHERE tenant_id = $1", tenant_id
    )
    identities = await owner.fetch(
        "SELECT user_id, attribute, value, spelling, from_seq, valid_from, to_seq, valid_to "
        "FROM rollbook.identities WHERE tenant_id = $1",
        tenant_id,
    )
    return {
        "local_edits": [
            tuple(json.loads(value) if key in values and value else value for key, value in row.items())
            for row in edits
        ],
        "attribute_changes": sorted(tuple(row) for row in changes),
        "identities": sorted((tuple(row) for row in identities), key=lambda row: (row[4], *row[:3])),
    }


async def told(owner: asyncpg.Connection, tenant_id: UUID) -> dict[str, list[Row]]:
    events = await raw_folds.people(owner, tenant_id)
    return {
        "local_edits": raw_folds.local_edits(events),
        "attribute_changes": raw_folds.attribute_changes(events),
        "identities": raw_folds.identities(events),
    }


FOLLOWERS = (module.FOLLOWER, attribute_history.FOLLOWER)


async def follow(services: Services, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "BATCH", batch)
    await Following(services.pool, FOLLOWERS).catch_up()


@pytest.mark.parametrize("seed", range(4))
async def test_however_the_log_is_cut_into_batches_the_rows_are_those_of_the_raw_events(
    services: Services, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    tenant_id, other = [await register(services, name) for name in ("contoso", "fabrikam")]
    await live(services, tenant_id, seed)
    await live(services, other, seed + 100, 30)
    expected = await told(owner, tenant_id)

    for batch in (1, 3, 10, 1_000):
        await owner.execute("TRUNCATE rollbook.local_edits, rollbook.attribute_changes, rollbook.identities")
        await owner.execute("TRUNCATE rollbook.places")
        await follow(services, batch, monkeypatch)
        assert await kept(owner, tenant_id) == expected
        assert await kept(owner, other) == await told(owner, other)
    assert {row[6] for row in expected["local_edits"]} >= {"standing", "overwritten", "edited again", "person deleted"}
    assert any(row[2] != row[3] for row in expected["identities"])


@pytest.mark.parametrize("jobs", [1, 3])
async def test_a_rebuild_in_pieces_or_in_several_processes_makes_the_same_rows(
    services: Services, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    tenant_id = await register(services, "contoso")
    await live(services, tenant_id, 7)
    await follow(services, 5, monkeypatch)
    monkeypatch.setattr(shadow, "SLICE", 10)
    monkeypatch.setattr(build, "SLICE", 10)
    monkeypatch.setattr(build, "PAGE", 4)
    for each in FOLLOWERS:
        summary = await rebuild(database.owner_url, follower_target(each), jobs=jobs)
        assert (summary.is_compared, summary.differences) == (True, [])

    assert await kept(owner, tenant_id) == await told(owner, tenant_id)


async def test_of_an_erased_person_no_row_is_left_nor_made_and_those_of_others_stay(
    directory: Directory, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, tenant_id = directory.services, directory.tenant_id
    await live(services, tenant_id, 11)
    await follow(services, 1_000, monkeypatch)
    [person] = await owner.fetchrow(
        "SELECT user_id FROM rollbook.local_edits JOIN rollbook.identities USING (tenant_id, user_id) LIMIT 1"
    )
    answer = await directory.request("POST", f"/v1/users/{person}/erase")
    assert answer.status_code == 200

    assert await kept(owner, tenant_id) == await told(owner, tenant_id)
    for batch in (1, 4, 1_000):
        await follow(services, batch, monkeypatch)
        assert await kept(owner, tenant_id) == await told(owner, tenant_id)
        await owner.execute("TRUNCATE rollbook.local_edits, rollbook.attribute_changes, rollbook.identities")
        await owner.execute("TRUNCATE rollbook.places")
    assert person not in {row[0] for row in (await told(owner, tenant_id))["identities"]}
