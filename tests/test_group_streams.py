"""The streams of groups in what is made of the log: replay, erasure, followers, and the races that a store decides."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.composition import open_services
from engine import patch as patches
from engine.catalog import GROUPS
from engine.group import PatchGroup
from ops import administration
from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.groups import _NAMED
from tests.conftest import Directory
from tests.replays import differences
from tests.test_groups import adding, group, grouped, members, patch, removing

__all__ = ["grouped"]


async def follow(directory: Directory) -> None:
    await Following(directory.services.pool, FOLLOWERS).catch_up()


async def live_a_while(directory: Directory) -> tuple[str, str]:
    """Two groups to which everything has happened that can."""
    ann, bob, eve = [await directory.create(each, externalId=f"id of {each}") for each in ("ann", "bob", "eve")]
    inner = await group(directory, "Inner", ann, bob, "id of zoe", "nobody")
    outer = await group(directory, "Outer", inner, eve, externalId="outer")
    await group(directory, "Gone", ann, inner)
    gone = await group(directory, "Gone too", ann, "nobody")
    await patch(directory, inner, removing(bob, "nobody"), adding(eve))
    await patch(directory, inner, adding(bob), {"op": "replace", "path": "displayName", "value": "Innermost"})
    await directory.create("zoe", externalId="id of zoe")
    await directory.request("DELETE", f"/scim/v2/Users/{eve}")
    await directory.request("DELETE", f"/scim/v2/Groups/{gone}")
    return inner, outer


async def test_replay_makes_the_same_groups_and_members(grouped: Directory, database: Database) -> None:
    await live_a_while(grouped)
    await follow(grouped)

    assert await differences(database) == []


async def test_an_erased_person_is_in_no_group_and_no_event_tells_its_names(
    grouped: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    team = await group(grouped, "Team", "ann@directory.example", "bob@directory.example")
    ann = await grouped.create("ann", externalId="ann@directory.example")
    await follow(grouped)

    response = await grouped.request("POST", f"/v1/users/{ann}/erase", json={})

    assert response.status_code == 200, response.text
    assert await members(grouped, team) == ["bob@directory.example"]
    told = await owner.fetchval("SELECT string_agg(data::text, '') FROM rollbook.events")
    assert "ann@directory.example" not in told
    assert "bob@directory.example" in told
    await follow(grouped)
    assert await differences(database) == []


async def test_a_group_is_no_person_who_could_be_erased(grouped: Directory) -> None:
    team = await group(grouped, "Team")

    response = await grouped.request("POST", f"/v1/users/{team}/erase", json={})

    assert response.status_code == 404
    assert await grouped.event_types(team) == ["GroupProvisioned"]


async def test_two_services_change_one_group_at_the_same_time_and_no_member_is_lost(
    grouped: Directory, database: Database
) -> None:
    people = [await grouped.create(f"person{number}") for number in range(20)]
    team = await group(grouped, "Team", *people[:10])
    cause = administration.cause(grouped.tenant_id)
    async with open_services(database.service_url) as other:

        async def change(operation: dict[str, Any], engine: Any) -> None:
            from_body = _operations(operation)
            await engine.carry_out_on_group(PatchGroup(from_body), UUID(team), cause)

        engines = [grouped.services.engine, other.engine]
        changes = [removing(each) for each in people[:10]] + [adding(each) for each in people[10:]]
        await asyncio.gather(*(change(each, engines[place % 2]) for place, each in enumerate(changes)))

    assert await members(grouped, team) == people[10:]


def _operations(operation: dict[str, Any]) -> Any:
    return patches.read({"Operations": [operation]}, GROUPS, [])


@pytest.mark.parametrize("times", range(5))
async def test_who_arrives_while_being_added_is_a_member(grouped: Directory, times: int) -> None:
    team = await group(grouped, "Team")

    created, _ = await asyncio.gather(
        grouped.create("ann", externalId="id of ann"), patch(grouped, team, adding("id of ann"))
    )

    assert await members(grouped, team) == [created]


@pytest.mark.parametrize("times", range(5))
async def test_who_is_deleted_while_being_added_is_no_member_that_is_there(grouped: Directory, times: int) -> None:
    ann = await grouped.create("ann")
    team = await group(grouped, "Team")

    await asyncio.gather(grouped.request("DELETE", f"/scim/v2/Users/{ann}"), patch(grouped, team, adding(ann)))

    rows = await grouped.services.pool.fetch(
        "SELECT type FROM rollbook.members WHERE tenant_id = $1", grouped.tenant_id
    )
    assert [row["type"] for row in rows] in ([], [None])  # it left, or is awaited as anybody who is not here


async def test_two_groups_that_take_in_each_other_at_the_same_time_make_no_cycle(grouped: Directory) -> None:
    one, two = await group(grouped, "One"), await group(grouped, "Two")

    responses = await asyncio.gather(patch(grouped, one, adding(two)), patch(grouped, two, adding(one)))

    assert sorted(each.status_code for each in responses) == [200, 409]


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "filter", "replace", "clear"]), st.lists(st.integers(0, 7), max_size=4)
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES, min_size=1, max_size=4))
async def test_any_changes_end_in_what_a_set_would_hold(grouped: Directory, requests: list[Any]) -> None:
    values = await _people(grouped)
    team, expected = await group(grouped, "Team"), set[str]()

    for changes in requests:
        operations = []
        for kind, chosen in changes:
            named = [values[each] for each in chosen]
            operations += _told(kind, named)
            expected = _model(kind, expected, named)
        response = await patch(grouped, team, *operations)
        assert response.status_code == 200, response.text
        assert set(await members(grouped, team)) == expected


def _told(kind: str, named: list[str]) -> list[dict[str, Any]]:
    elements = [{"value": each} for each in named]
    match kind:
        case "filter":
            return [{"op": "remove", "path": f'members[value eq "{each}"]'} for each in named]
        case "clear":
            return [{"op": "remove", "path": "members"}]
        case "replace":
            return [{"op": "replace", "path": "members", "value": elements}]
        case _:
            return [{"op": kind, "path": "members", "value": elements}]


def _model(kind: str, before: set[str], named: list[str]) -> set[str]:
    match kind:
        case "add":
            return before | set(named)
        case "remove" | "filter":
            return before - set(named)
        case "replace":
            return set(named)
        case _:
            return set()


async def _people(directory: Directory) -> list[str]:
    """Four who are here, and four who are not."""
    response = await directory.request("GET", "/scim/v2/Users")
    here = [each["id"] for each in response.json()["Resources"]]
    while len(here) < 4:
        here.append(await directory.create(f"person{len(here)}"))
    return [*here, "a", "b", "c", "d"]


async def test_to_add_a_member_reads_no_other_member(grouped: Directory, owner: asyncpg.Connection) -> None:
    ann, team = await grouped.create("ann"), await group(grouped, "Team")
    await owner.execute(
        "INSERT INTO rollbook.members SELECT $1, $2, gen_random_uuid(), 'User' FROM generate_series(1, 50000)",
        grouped.tenant_id,
        UUID(team),
    )
    await owner.execute("ANALYZE rollbook.members")

    async with grouped.services.pool.acquire() as connection:
        plan = "\n".join(
            row[0]
            for row in await connection.fetch(
                f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {_NAMED}", grouped.tenant_id, UUID(team), [ann], [UUID(ann)]
            )
        )
    assert "Seq Scan on members" not in plan, plan
