"""Roles that groups give: the highest of these and of a person's own is in force, whatever changes around it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import engine as engines
from engine import role_changes
from engine.engine import Engine
from engine.refusals import Conflict, InvalidValue
from engine.settings import RoleGroup, Settings
from engine.store import Appended, EventStore, NewEvent
from engine.tenant import MapGroup
from ops import administration
from ops.database import Database
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.inline import INLINE
from tests.conftest import Directory
from tests.replays import differences
from tests.test_cli import Shell
from tests.test_groups import GROUPS, adding, group, grouped, patch, removing

__all__ = ["grouped"]


class StoreThatBreaks(EventStore):
    """Its connection is lost after some appends."""

    def __init__(self, pool: asyncpg.Pool, appends: int) -> None:
        super().__init__(pool)
        self._appends = appends

    async def append(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> Appended:
        if not self._appends:
            raise ConnectionResetError
        self._appends -= 1
        return await super().append(batch, rows)


async def map_group(directory: Directory, group_id: str, role: str | None) -> None:
    command = MapGroup(UUID(group_id), role)
    await directory.services.engine.map_group(command, administration.cause(directory.tenant_id))
    directory.services.gate.forget()


async def role(directory: Directory, user_id: str) -> str:
    return str((await directory.request("GET", f"/v1/users/{user_id}")).json()["role"])


async def assignments(directory: Directory, user_id: str) -> list[dict[str, Any]]:
    rows = await directory.services.pool.fetch(
        "SELECT data FROM rollbook.events WHERE tenant_id = $1 AND stream_id = $2 AND type = 'RoleAssigned' "
        "ORDER BY version",
        directory.tenant_id,
        UUID(user_id),
    )
    return [msgspec.json.decode(row["data"]) for row in rows]


async def test_who_joins_a_mapped_group_gets_its_role_and_who_leaves_has_the_own_one_again(grouped: Directory) -> None:
    ann, team = await grouped.create("ann", role="Member"), await group(grouped, "Team")
    await map_group(grouped, team, "admin")

    await patch(grouped, team, adding(ann))
    within = await role(grouped, ann)
    await patch(grouped, team, removing(ann))

    assert (within, await role(grouped, ann)) == ("admin", "member")
    assert await assignments(grouped, ann) == [
        {"type": "RoleAssigned", "from": "member", "to": "admin", "active": True, "group": team, "own": "member"},
        {"type": "RoleAssigned", "from": "admin", "to": "member", "active": True, "group": team},
    ]
    rows = await grouped.services.pool.fetch(
        "SELECT type FROM rollbook.events WHERE tenant_id = $1 AND request_id = ("
        "SELECT request_id FROM rollbook.events WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1) ORDER BY seq",
        grouped.tenant_id,
    )
    assert [row["type"] for row in rows] == ["MembersRemoved", "RoleAssigned"]


async def test_the_highest_role_wins_among_groups_direct_and_nested(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    inner = await group(grouped, "Inner", ann)
    middle = await group(grouped, "Middle", inner)
    outer = await group(grouped, "Outer", middle)
    found = []

    for group_id, value in ((inner, "admin"), (outer, "owner"), (inner, None), (inner, "admin"), (outer, "member")):
        await map_group(grouped, group_id, value)
        found.append(await role(grouped, ann))
    await map_group(grouped, middle, "owner")
    found.append(await role(grouped, ann))
    await patch(grouped, middle, removing(inner))
    found.append(await role(grouped, ann))
    await grouped.request("DELETE", f"{GROUPS}/{inner}")
    found.append(await role(grouped, ann))

    assert found == ["admin", "owner", "owner", "owner", "admin", "owner", "admin", "member"]


async def test_a_role_of_the_persons_own_that_is_higher_stays_in_force_and_a_lower_one_waits(
    grouped: Directory,
) -> None:
    ann = await grouped.create("ann", role="Owner")
    await map_group(grouped, await group(grouped, "Team", ann), "admin")
    found = [await role(grouped, ann)]

    for sent in ("Member", "Owner", "Admin", "Member"):
        await grouped.patch(ann, {"op": "replace", "path": "role", "value": sent})
        found.append(await role(grouped, ann))

    assert found == ["owner", "admin", "owner", "admin", "admin"]
    shown = (await grouped.request("GET", f"/scim/v2/Users/{ann}")).json()
    assert shown["role"] == "Member"  # to the directory its own, or it would send it again for ever
    written = await grouped.event_types(ann)
    await grouped.patch(ann, {"op": "replace", "path": "role", "value": "Member"})
    assert await grouped.event_types(ann) == written


async def test_a_local_edit_of_the_role_is_the_persons_own_too(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    team = await group(grouped, "Team", ann)
    await map_group(grouped, team, "owner")

    await grouped.request("PATCH", f"/v1/users/{ann}", json={"role": "admin"})
    within = await role(grouped, ann)
    await patch(grouped, team, removing(ann))

    assert (within, await role(grouped, ann)) == ("owner", "admin")
    assert (await grouped.request("GET", f"/v1/users/{ann}")).json()["local_edits"] == ["role"]
    await Following(grouped.services.pool, FOLLOWERS).catch_up()
    edits = (await grouped.request("GET", "/v1/local-edits")).json()["rows"]
    assert [(each["attribute"], each["after"], each["fate"]) for each in edits] == [("role", "admin", "standing")]


async def test_who_was_awaited_arrives_with_the_role_of_the_group(grouped: Directory) -> None:
    await map_group(grouped, await group(grouped, "Team", "id of ann"), "admin")

    ann = await grouped.create("ann", externalId="id of ann")

    assert await role(grouped, ann) == "admin"
    assert await grouped.event_types(ann) == ["UserProvisioned", "RoleAssigned"]


async def test_a_group_that_was_awaited_brings_the_role_to_its_members(grouped: Directory) -> None:
    ann = await grouped.create("ann")
    await map_group(grouped, await group(grouped, "Outer", "inner"), "admin")

    await group(grouped, "Inner", ann, externalId="inner")

    assert await role(grouped, ann) == "admin"


async def test_who_is_inactive_gets_the_role_without_a_seat_and_who_is_deleted_gets_none(grouped: Directory) -> None:
    ann, bob = await grouped.create("ann", active=False), await grouped.create("bob")
    team = await group(grouped, "Team", ann, bob)
    await grouped.request("DELETE", f"/scim/v2/Users/{bob}")

    await map_group(grouped, team, "admin")

    assert [each["active"] for each in await assignments(grouped, ann)] == [False]
    assert await assignments(grouped, bob) == []


async def test_an_erased_person_leaves_a_mapped_group(grouped: Directory, database: Database) -> None:
    ann = await grouped.create("ann")
    await map_group(grouped, await group(grouped, "Team", ann), "admin")

    response = await grouped.request("POST", f"/v1/users/{ann}/erase", json={})

    assert response.status_code == 200, response.text
    await Following(grouped.services.pool, FOLLOWERS).catch_up()
    assert await differences(database) == []


async def test_seats_histories_and_answers_of_the_past_tell_the_role_in_force(
    grouped: Directory, database: Database
) -> None:
    ann, team = await grouped.create("ann"), await group(grouped, "Team")
    await map_group(grouped, team, "admin")
    await patch(grouped, team, adding(ann))
    [seq] = await grouped.services.pool.fetchrow("SELECT max(seq) FROM rollbook.events")
    await patch(grouped, team, removing(ann))
    await Following(grouped.services.pool, FOLLOWERS).catch_up()

    then = (await grouped.request("GET", f"/v1/users/{ann}?as_of_seq={seq}")).json()
    movers = (await grouped.request("GET", "/v1/movers")).json()["rows"]

    assert then["role"] == "admin"
    assert (await grouped.request("GET", "/v1/seats")).json()["by_role"]["member"] == 1
    assert [(each["before"], each["after"]) for each in movers] == [("member", "admin"), ("admin", "member")]
    assert await differences(database) == []


async def test_a_worker_that_does_not_know_yet_that_a_group_is_mapped_gives_the_role_all_the_same(
    grouped: Directory,
) -> None:
    ann, bob, team = await grouped.create("ann"), await grouped.create("bob"), await group(grouped, "Team")
    await patch(grouped, team, adding(bob))  # whose settings are remembered
    await grouped.services.engine.map_group(MapGroup(UUID(team), "admin"), administration.cause(grouped.tenant_id))

    added = await patch(grouped, team, adding(ann))
    changed = await grouped.patch(bob, {"op": "replace", "path": "role", "value": "member"})

    assert (added.status_code, changed.status_code) == (200, 200)
    assert (await role(grouped, ann), await role(grouped, bob)) == ("admin", "admin")


@pytest.mark.parametrize("times", range(5))
async def test_groups_that_change_around_a_person_at_the_same_time_leave_the_role_that_they_should(
    grouped: Directory, times: int
) -> None:
    people = [await grouped.create(f"person{number}") for number in range(6)]
    inner, outer = await group(grouped, "Inner", *people[:3]), await group(grouped, "Outer")
    await map_group(grouped, outer, "admin")

    await asyncio.gather(
        patch(grouped, outer, adding(inner)),
        patch(grouped, inner, removing(people[0])),
        patch(grouped, inner, adding(people[3])),
        map_group(grouped, inner, "owner" if times % 2 else "member"),
        patch(grouped, outer, adding(people[4])),
    )

    inside = "owner" if times % 2 else "admin"
    found = [await role(grouped, each) for each in people]
    assert found == ["member", inside, inside, inside, "admin", "member"]


async def test_a_mapping_of_many_people_that_was_broken_off_is_finished_by_the_same_command(
    grouped: Directory, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(engines, "AT_ONCE", 2)
    people = [await grouped.create(f"person{number}") for number in range(7)]
    team = await group(grouped, "Team", *people)
    services = grouped.services
    store = StoreThatBreaks(services.pool, appends=2)
    engine = Engine(store, services.users, services.groups, services.tenants, INLINE)

    with pytest.raises(ConnectionResetError):
        await engine.map_group(MapGroup(UUID(team), "admin"), administration.cause(grouped.tenant_id))
    half = [await role(grouped, each) for each in people]
    await patch(grouped, team, removing(people[6]))
    await map_group(grouped, team, "admin")

    assert sorted(half) == ["admin"] * 4 + ["member"] * 3
    assert [await role(grouped, each) for each in people] == ["admin"] * 6 + ["member"]
    await map_group(grouped, team, None)
    assert {await role(grouped, each) for each in people} == {"member"}
    await Following(grouped.services.pool, FOLLOWERS).catch_up()
    assert await differences(database) == []


async def test_a_request_that_concerns_the_roles_of_too_many_is_refused_and_one_about_other_groups_is_not(
    grouped: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role_changes, "MOST", 2)
    monkeypatch.setattr(engines, "AT_ONCE", 2)
    people = [await grouped.create(f"person{number}") for number in range(3)]
    team, crew = await group(grouped, "Team", *people), await group(grouped, "Crew", *people)
    await map_group(grouped, team, "admin")

    refused = await grouped.request("DELETE", f"{GROUPS}/{team}")
    done = await grouped.request("DELETE", f"{GROUPS}/{crew}")
    await map_group(grouped, team, None)
    unmapped = await grouped.request("DELETE", f"{GROUPS}/{team}")

    assert [each.status_code for each in (refused, done, unmapped)] == [413, 204, 204]
    assert "group unmap" in refused.json()["detail"]


async def test_roles_keep_their_order_while_groups_are_mapped_to_them(grouped: Directory) -> None:
    await map_group(grouped, await group(grouped, "Team"), "admin")
    owner, admin, member, guest = ({"value": each, "display": each} for each in ("owner", "admin", "member", "guest"))

    await grouped.set_settings(roles=[owner, admin, guest, member])
    with pytest.raises(Conflict, match="Unmap the groups first"):
        await grouped.set_settings(roles=[admin, owner, guest, member])
    with pytest.raises(InvalidValue, match="stays until the group is unmapped"):
        await grouped.set_settings(roles=[owner, member])


def test_a_group_is_mapped_to_roles_of_the_tenant_alone() -> None:
    with pytest.raises(InvalidValue, match="'guest' is none of this tenant's roles"):
        Settings(role_groups=(RoleGroup(UUID(int=1), "guest"),))


async def test_the_command_maps_lists_and_unmaps_groups(grouped: Directory, database: Database) -> None:
    ann = await grouped.create("ann")
    team, _ = await group(grouped, "Team", ann), [await group(grouped, "Twin") for _ in range(2)]
    shell = Shell(database.owner_url)

    def shown(*arguments: str) -> str:
        return shell.output("group", *arguments, "--tenant", "contoso")

    await asyncio.to_thread(shown, "map", "team", "admin")
    listed = await asyncio.to_thread(shown, "list")
    in_force = await role(grouped, ann)
    await asyncio.to_thread(shown, "unmap", team)

    def trouble(*arguments: str) -> str:
        return shell.trouble("group", *arguments, "--tenant", "contoso")

    assert next(line for line in listed.splitlines() if team in line).split() == [team, "Team", "-", "1", "admin"]
    assert (in_force, await role(grouped, ann)) == ("admin", "member")
    assert "There is no group 'nobody'" in await asyncio.to_thread(trouble, "map", "nobody", "admin")
    assert "2 groups have the name 'Twin'" in await asyncio.to_thread(trouble, "unmap", "Twin")
    assert "none of this tenant's roles" in await asyncio.to_thread(trouble, "map", team, "guest")


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 3), st.integers(0, 7)),
        st.tuples(st.just("map"), st.integers(0, 3), st.sampled_from(["owner", "admin", "member", None])),
        st.tuples(st.just("own"), st.integers(0, 3), st.sampled_from(["Owner", "Admin", "Member"])),
        st.tuples(st.just("rebuild"), st.integers(0, 3), st.lists(st.integers(0, 7), max_size=3)),
    ),
    min_size=1,
    max_size=12,
)
RANKS = ["owner", "admin", "member"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
async def test_any_memberships_nestings_and_mappings_end_in_the_roles_of_a_plain_model(
    grouped: Directory, database: Database, changes: list[Any]
) -> None:
    prefix = await grouped.services.pool.fetchval("SELECT count(*) FROM rollbook.events")
    people = [await grouped.create(f"person{number} of {prefix}") for number in range(4)]
    groups = [await group(grouped, f"Group {number}") for number in range(4)]
    own, mapped, within = dict.fromkeys(people, "member"), dict[str, str](), {each: set[str]() for each in groups}

    for kind, place, value in changes:
        team = groups[place]
        if kind == "map":
            await map_group(grouped, team, value)
            mapped = {key: each for key, each in mapped.items() if key != team} | ({team: value} if value else {})
        elif kind == "own":
            await grouped.patch(people[place], {"op": "replace", "path": "role", "value": value})
            own[people[place]] = value.lower()
        elif kind == "rebuild":
            wanted = {[*people, *groups][each] for each in value}
            operation = {"op": "replace", "path": "members", "value": [{"value": each} for each in sorted(wanted)]}
            if (await patch(grouped, team, operation)).status_code == 200:
                within[team] = wanted
        else:
            member = [*people, *groups][value]
            done = await patch(grouped, team, (adding if kind == "add" else removing)(member))
            if done.status_code == 200:
                (within[team].add if kind == "add" else within[team].discard)(member)

    def around(member: str) -> set[str]:
        direct = {team for team, inside in within.items() if member in inside}
        return direct.union(*(around(each) for each in direct))

    for each in people:
        expected = min([own[each], *(mapped[team] for team in around(each) if team in mapped)], key=RANKS.index)
        assert await role(grouped, each) == expected
    await Following(grouped.services.pool, FOLLOWERS).catch_up()
    assert await differences(database) == []
