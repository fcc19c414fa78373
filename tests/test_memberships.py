"""Who was in which group on a day: the answers, and that they hold however the log was read."""

import json
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.questions import memberships
from tests.conftest import Directory
from tests.replays import differences
from tests.test_groups import GROUPS, adding, group, grouped, patch, removing

__all__ = ["grouped"]

Json = dict[str, Any]


async def seq(directory: Directory) -> int:
    found: int = await directory.services.pool.fetchval(
        "SELECT seq FROM rollbook.heads WHERE tenant_id = $1", directory.tenant_id
    )
    return found


async def ask(directory: Directory, path: str, **given: object) -> list[Json]:
    """All rows, in pages of two."""
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    query = "&".join(f"{key}={value}" for key, value in {"limit": 2, **given}.items())
    rows, address = list[Json](), f"{path}?{query}"
    while address:
        answer = await directory.request("GET", address)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["rows"]
        address = answer.json()["next"]
    return rows


async def test_who_was_in_a_group_on_a_day_is_told_with_names_of_that_day(grouped: Directory) -> None:
    ann, bob = await grouped.create("ann"), await grouped.create("bob")
    inner = await group(grouped, "Inner", bob)
    outer = await group(grouped, "Outer", ann, inner)
    then = await seq(grouped)
    await grouped.patch(bob, {"op": "replace", "path": "userName", "value": "robert"})
    await patch(grouped, inner, {"op": "replace", "path": "displayName", "value": "Innermost"}, adding(ann))
    await patch(grouped, outer, removing(ann))
    members = f"/v1/groups/{outer}/members"

    before = await ask(grouped, members, as_of_seq=then)
    now = await ask(grouped, members)

    def told(rows: list[Json]) -> list[Json]:
        return [{key: value for key, value in row.items() if key != "since"} for row in rows]

    assert told(before) == [
        {"id": ann, "type": "User", "name": "ann", "is_direct": True, "through": []},
        {"id": bob, "type": "User", "name": "bob", "is_direct": False, "through": [inner]},
        {"id": inner, "type": "Group", "name": "Inner", "is_direct": True, "through": []},
    ]
    assert told(now) == [
        {"id": ann, "type": "User", "name": "ann", "is_direct": False, "through": [inner]},
        {"id": bob, "type": "User", "name": "robert", "is_direct": False, "through": [inner]},
        {"id": inner, "type": "Group", "name": "Innermost", "is_direct": True, "through": []},
    ]
    assert [row["since"] is None for row in now] == [True, True, False]
    assert [row["id"] for row in await ask(grouped, members, direct="true")] == [inner]
    assert [row["id"] for row in await ask(grouped, members, direct="false")] == [ann, bob]


async def test_the_groups_of_a_person_on_a_day_are_told(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    inner = await group(grouped, "Inner", ann)
    outer = await group(grouped, "Outer", inner)
    then = await seq(grouped)
    await grouped.request("DELETE", f"{GROUPS}/{inner}")

    before = await ask(grouped, f"/v1/users/{ann}/groups", as_of_seq=then)

    assert [(row["id"], row["name"], row["is_direct"]) for row in before] == [
        (inner, "Inner", True),
        (outer, "Outer", False),
    ]
    assert await ask(grouped, f"/v1/users/{ann}/groups") == []
    await grouped.services.accesses.drain()
    looks = (await grouped.request("GET", "/v1/accesses")).json()["rows"]
    assert {look["data"]["question"] for look in looks} == {"person-groups"}


async def test_a_group_or_a_person_that_never_was_is_not_found(grouped: Directory) -> None:
    team = await group(grouped, "Team")
    await Following(grouped.services.pool, FOLLOWERS).catch_up()
    nobody = UUID(int=7)

    answers = [
        await grouped.request("GET", path)
        for path in (
            f"/v1/groups/{nobody}/members",
            f"/v1/users/{nobody}/groups",
            f"/v1/groups/{team}/members?as_of_seq=1",
        )
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert await ask(grouped, f"/v1/groups/{team}/members") == []


CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove", "await", "follow"]), st.integers(0, 4)), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
async def test_every_past_of_a_group_is_told_however_the_log_was_read(
    grouped: Directory, database: Database, changes: list[Any]
) -> None:
    first = await seq(grouped)
    people = [await grouped.create(f"person{number} of {first}") for number in range(5)]
    team, inside, past = await group(grouped, "Team"), set[str](), dict[int, set[str]]()
    for kind, place in changes:
        person = people[place]
        if kind == "follow":
            await Following(grouped.services.pool, FOLLOWERS).catch_up()
        elif kind == "await":
            await patch(grouped, team, adding(f"{first} {place}"))
            await grouped.patch(person, {"op": "add", "path": "externalId", "value": f"{first} {place}"})
            inside.add(person)
        else:
            await patch(grouped, team, (adding if kind == "add" else removing)(person))
            (inside.add if kind == "add" else inside.discard)(person)
        past[await seq(grouped)] = set(inside)

    for at, expected in past.items():
        rows = await ask(grouped, f"/v1/groups/{team}/members", as_of_seq=at)
        assert {row["id"] for row in rows} == expected
        assert len(rows) == len(expected)
    assert await differences(database) == []


async def test_a_page_of_members_costs_what_it_holds(grouped: Directory, owner: asyncpg.Connection) -> None:
    from_ = await group(grouped, "Team")
    await Following(grouped.services.pool, FOLLOWERS).catch_up()
    await owner.execute(
        """
        INSERT INTO rollbook.member_history
        SELECT $1, $2, gen_random_uuid(), 3, NULL, now(), NULL, 'User' FROM generate_series(1, 20000)
        """,
        grouped.tenant_id,
        UUID(from_),
    )
    await owner.execute("ANALYZE rollbook.member_history")
    query = memberships._MEMBERS
    plan = await owner.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {_literal(query, grouped.tenant_id, 5, UUID(from_), UUID(int=2**127), 20)}"
    )

    assert _most_rows(json.loads(plan)[0]["Plan"]) <= 50


def _literal(query: str, *values: object) -> str:
    for number, value in enumerate([*values, None], 1):
        query = query.replace(f"${number}", "NULL" if value is None else f"'{value}'")
    return query


def _most_rows(plan: Json) -> float:
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return float(max([own, *(_most_rows(each) for each in plan.get("Plans", []))]))
