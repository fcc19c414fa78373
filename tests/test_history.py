"""History: for any past, each state that somebody was ever in is found by seq and by time, and by one index look-up."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.services import Services
from engine import patch, user
from engine.catalog import USERS
from engine.events import UserEvent
from engine.refusals import Refusal
from engine.resource import Values
from engine.streams import Recorded
from engine.user import DeleteUser, PatchUser, ProvisionUser, ReplaceUser, Terms, User, UserCommand
from ops import administration
from ops.database import Database
from projections import following
from projections.background import history as module
from projections.background.history import FOLLOWER
from projections.batch import Logged, read_log
from projections.following import Following
from projections.histories import Histories
from projections.rebuild import rebuild
from projections.target import follower_target
from tests.conftest import register
from tests.test_plans import Explainer

COMMANDS = 60
SOURCES = ("directory", "local", "directory")
MOMENT = timedelta(microseconds=1)


def some_values(chance: random.Random) -> dict[str, Any]:
    values = {
        "title": chance.choice([None, "Engineer", "Zoë ’—’", "1e2"]),
        "displayName": chance.choice([None, "A", "B"]),
        "role": chance.choice(["owner", "Admin", "member"]),
        "active": chance.choice([True, False]),
        "externalId": chance.choice([None, "x"]),
    }
    return {key: values[key] for key in chance.sample(sorted(values), chance.randint(1, 4))}


def some_command(chance: random.Random, person: UUID, *, is_new: bool) -> UserCommand:
    if is_new:
        return ProvisionUser(Values({"userName": str(person), **some_values(chance)}))
    kind = chance.random()
    if kind < 0.05:
        return DeleteUser()
    if kind < 0.2:
        return ReplaceUser(Values({"userName": str(person), **some_values(chance)}))
    operations = [{"op": "replace", "path": key, "value": value} for key, value in some_values(chance).items()]
    return PatchUser(patch.read({"Operations": operations}, USERS, []))


async def live(services: Services, tenant_id: UUID, chance: random.Random) -> list[UUID]:
    """A random past of a few people, some of whom change several times within one append."""
    people: list[UUID] = []
    for _ in range(COMMANDS):
        is_new = len(people) < 2 or chance.random() < 0.05
        person = uuid4() if is_new else chance.choice(people)
        people += [person] if is_new else []
        cause = administration.cause(tenant_id)
        terms = Terms(source=cast(Any, chance.choice(SOURCES)))
        try:
            await services.engine.carry_out(some_command(chance, person, is_new=is_new), person, cause, terms)
        except Refusal:  # of people who were deleted
            continue
    return people


async def follow(services: Services, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "BATCH", batch)
    await Following(services.pool, [FOLLOWER]).catch_up()


async def the_log(services: Services, tenant_id: UUID) -> Sequence[Logged]:
    async with services.pool.acquire() as connection:
        return await read_log(connection, tenant_id, 0, 100_000)


def folded(log: Sequence[Logged], person: UUID) -> User | None:
    events = [event for event in log if event.stream_id == person]
    return user.evolve_all(None, cast(Sequence[Recorded[UserEvent]], events)) if events else None


async def all_rows(owner: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await owner.fetch("SELECT * FROM rollbook.history ORDER BY tenant_id, user_id, valid_from_seq")
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("seed", range(6))
async def test_the_row_of_any_seq_and_any_time_is_the_fold_of_the_log_up_to_there(
    services: Services, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    tenant_id = await register(services, "contoso")
    people = await live(services, tenant_id, chance)
    await follow(services, chance.choice([1, 2, 7, 1_000]), monkeypatch)
    log = await the_log(services, tenant_id)
    histories = Histories(services.pool)

    for seq in range(len(log) + 2):
        for person in people:
            assert await histories.state_at_seq(tenant_id, person, seq) == folded(log[:seq], person)
    times = {event.recorded_at for event in log}
    for moment in sorted({time + step * MOMENT for time in times for step in (-1, 0, 1)}):
        known = [event for event in log if event.recorded_at <= moment]
        for person in people:
            assert await histories.state_at(tenant_id, person, moment) == folded(known, person)


@pytest.mark.parametrize("seed", range(6))
async def test_rows_tile_the_time_of_each_user_and_one_of_them_is_open(
    services: Services, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    tenant_id = await register(services, "contoso")
    people = await live(services, tenant_id, random.Random(seed))
    await follow(services, 5, monkeypatch)
    log = await the_log(services, tenant_id)

    for person in people:
        rows = await owner.fetch("SELECT * FROM rollbook.history WHERE user_id = $1 ORDER BY valid_from_seq", person)
        events = [event for event in log if event.stream_id == person]
        assert [row["valid_from_seq"] for row in rows] == [event.seq for event in events]
        assert [row["valid_to_seq"] for row in rows] == [*(event.seq for event in events[1:]), None]
        assert [row["valid_from"] for row in rows] == [event.recorded_at for event in events]
        assert [row["valid_to"] for row in rows] == [*(event.recorded_at for event in events[1:]), None]


async def test_however_the_log_is_cut_into_batches_the_rows_are_the_same(
    services: Services, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("contoso", 1), ("fabrikam", 2)):
        await live(services, await register(services, name), random.Random(seed))
    found = []
    for batch in (1, 2, 3, 10, 1_000):
        await owner.execute("TRUNCATE rollbook.history, rollbook.places")
        await follow(services, batch, monkeypatch)
        found.append(await all_rows(owner))

    assert len(found[0]) > COMMANDS
    assert all(rows == found[0] for rows in found)


async def test_a_replay_makes_the_same_rows_as_following(
    services: Services, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(services, await register(services, "contoso"), random.Random(3))
    await follow(services, 4, monkeypatch)
    before = await all_rows(owner)

    summary = await rebuild(database.owner_url, follower_target(FOLLOWER))

    assert (summary.is_compared, summary.differences) == (True, [])
    assert await all_rows(owner) == before


# Plans.

_MANY = """
    INSERT INTO rollbook.history
    SELECT
        md5('big')::uuid, md5((n % $2)::text)::uuid, n, CASE WHEN n + $2 <= $1 THEN n + $2 END,
        timestamptz '2026-01-01' + n * interval '1 s', NULL, 1 + n / $2, true, 'member', '{"userName": "u"}', '{}',
        '{}', false, '2026-01-01', NULL, 1
    FROM generate_series(1, $1::int) AS n
"""


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_state_is_one_index_look_up_however_much_history_there_is(owner: asyncpg.Connection, mode: str) -> None:
    await owner.execute(_MANY, 50_000, 500)  # of each of 500 people, 100 states
    await owner.execute("ANALYZE rollbook.history")
    tenant_id, person = await owner.fetchrow("SELECT md5('big')::uuid, md5('7')::uuid")
    explainer = Explainer(owner)
    histories = Histories(cast(Any, explainer))

    assert await histories.state_at_seq(tenant_id, person, 25_000)
    by_seq = await explainer.plan(mode)
    assert await histories.state_at(tenant_id, person, datetime.fromisoformat("2026-01-01T01:00:00Z"))
    by_time = await explainer.plan(mode)
    await owner.execute("SET search_path = rollbook")
    assert len(await explainer.fetch(module._STATES, tenant_id, [person])) == 1
    explainer._values = (tenant_id, f"{{{person}}}")
    before = await explainer.plan(mode)

    assert by_seq.indexes == {"history_pkey"}
    assert by_time.indexes == {"history_by_time"}
    assert before.indexes == {"history_pkey"}
    assert not by_seq.sorts
    assert not by_time.sorts
    assert max(by_seq.pages, by_time.pages, before.pages) < 10
