"""Groups of two tenants in one store: neither matters to the other, even where all their ids are the same."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from engine.group import ProvisionGroup
from engine.resource import Values
from engine.user import ProvisionUser, Terms
from ops import administration
from projections.follower import FOLLOWERS
from projections.following import Following
from tests.conftest import Directory, issue, register
from tests.test_groups import GROUPS, adding, grouped, patch, removing
from tests.test_role_groups import map_group

__all__ = ["grouped"]

ANN, BOB, EVE, ZOE, TEAM, OUTER, SALES, WAITING = [UUID(int=number) for number in range(1, 9)]
SHOWN = [
    f"/scim/v2/Users/{ANN}",
    f"{GROUPS}/{TEAM}",
    "/scim/v2/Users",
    GROUPS,
    "/v1/groups",
    f"/v1/groups/{OUTER}",
    f"/v1/groups/{OUTER}/members",
    f"/v1/groups/{OUTER}/members?direct=false",
    f"/v1/groups/{TEAM}/members",
    f"/v1/users/{ANN}/groups",
    f"/v1/users/{ANN}",
    "/v1/users",
    *(
        f"/scim/v2/Users?attributes=id&filter={filter_}"
        for filter_ in (
            f'groups.value eq "{OUTER}"',
            'groups[type eq "direct"]',
            'groups.display eq "OUTER"',
        )
    ),
    *(
        f"{GROUPS}?attributes=id&filter={filter_}"
        for filter_ in (
            f'members.value eq "{ANN}"',
            'members.value eq "zoe"',
            'members.type eq "User"',
            'displayName eq "team"',
        )
    ),
]


def without_times(value: Any) -> Any:
    """What two tenants can have in common."""
    if isinstance(value, list):
        return [without_times(each) for each in value]
    if not isinstance(value, dict):
        return value
    times = {"meta", "created_at", "modified_at", "deleted_at", "since", "as_of_seq"}
    return {name: without_times(each) for name, each in value.items() if name not in times}


async def seen(directory: Directory) -> list[Any]:
    """All that a tenant tells of its groups, and what has happened in it."""
    await Following(directory.services.pool, FOLLOWERS).catch_up()
    answers = [await directory.request("GET", path) for path in SHOWN]
    assert all(each.status_code in {200, 404} for each in answers)
    events = await directory.services.pool.fetch(
        "SELECT stream_id, type FROM rollbook.events WHERE tenant_id = $1 AND stream_id <> tenant_id ORDER BY seq",
        directory.tenant_id,
    )
    groups, tenant_id = directory.services.groups, directory.tenant_id
    more = [
        await groups.named(tenant_id, "TEAM"),
        await groups.names(tenant_id, [OUTER]),
        await directory.services.users.names(tenant_id, [ANN]),
        await groups.people_in(tenant_id, OUTER),
        await groups.people_in(tenant_id, ANN),
    ]
    return [
        *(without_times(each.json()) if each.is_success else each.status_code for each in answers),
        *(tuple(each) for each in events),
        *more,
    ]


async def neighbour(directory: Directory) -> Directory:
    """Another tenant with groups in the same store."""
    tenant_id = await register(directory.services, "fabrikam")
    other = Directory(directory.client, directory.services, tenant_id, await issue(directory.services, tenant_id))
    await other.set_settings(groups="on")
    for limit in range(1_000, 1_020):  # so that it gets to the seq of all that the first one did
        await other.set_settings(seat_limit=limit)
    return other


async def person(directory: Directory, id_: UUID, name: str, **attributes: Any) -> None:
    settings = (await directory.services.tenants.get(directory.tenant_id)).settings  # type: ignore[union-attr]
    command = ProvisionUser(Values({"userName": name, **attributes}))
    cause = administration.cause(directory.tenant_id)
    await directory.services.engine.carry_out(command, id_, cause, Terms(settings))


async def group_of(directory: Directory, id_: UUID, name: str, *members: object, **attributes: Any) -> None:
    elements = [{"value": str(each)} for each in members]
    command = ProvisionGroup(Values({"displayName": name, "members": elements, **attributes}))
    cause = administration.cause(directory.tenant_id)
    await directory.services.engine.carry_out_on_group(command, id_, cause)


async def changed(directory: Directory, group_id: UUID, operation: dict[str, Any]) -> None:
    answer = await patch(directory, str(group_id), operation)
    assert answer.status_code in {200, 204}, answer.text


async def story(directory: Directory) -> AsyncIterator[list[Any]]:
    """What is seen after each step. Whatever is there at the end was missing at some step before, and in the end
    somebody is awaited who was there, and a group is there that was not.
    """
    yield await seen(directory)
    await group_of(directory, TEAM, "Team", "ann's", "B0B", EVE, "sales'", OUTER)  # nobody of whom is there yet
    yield await seen(directory)
    await person(directory, ANN, "ann", externalId="ann's")
    await person(directory, BOB, "bob", microsoftId="b0b")
    await person(directory, EVE, "eve")
    await group_of(directory, SALES, "Sales", externalId="sales'")
    yield await seen(directory)
    await changed(directory, TEAM, removing(str(ANN), "b0b", str(SALES), str(OUTER)))
    yield await seen(directory)
    await group_of(directory, OUTER, "Outer", BOB)
    await map_group(directory, str(OUTER), "admin")
    yield await seen(directory)
    await changed(directory, TEAM, adding("ann's"))
    yield await seen(directory)
    await changed(directory, SALES, adding(str(OUTER)))  # the other way round than in the end
    await changed(directory, SALES, {"op": "replace", "path": "members", "value": []})
    await changed(directory, SALES, {"op": "replace", "path": "members", "value": []})
    await group_of(directory, WAITING, "Waiting", "zoe")
    await directory.set_settings(groups="off")
    await person(directory, ZOE, "zoe", externalId="zoe")
    await directory.set_settings(groups="on")
    yield await seen(directory)
    assert (await directory.request("DELETE", f"/scim/v2/Users/{ZOE}")).status_code == 204
    await changed(directory, OUTER, adding(str(TEAM), str(SALES)))
    yield await seen(directory)
    await changed(directory, OUTER, adding(str(EVE)))
    await changed(directory, WAITING, adding("zoe", str(ANN)))
    await changed(directory, SALES, adding(str(EVE)))
    await changed(directory, OUTER, {"op": "replace", "path": "displayName", "value": "Beyond"})
    yield await seen(directory)


async def test_a_tenant_sees_nothing_of_another_one_that_has_the_same_ids(grouped: Directory) -> None:
    alone = [each async for each in story(grouped)]
    await changed(grouped, OUTER, {"op": "replace", "path": "displayName", "value": "Ours"})
    assert (await grouped.patch(str(ANN), {"op": "replace", "path": "userName", "value": "ours"})).is_success
    before = await seen(grouped)

    beside = [each async for each in story(await neighbour(grouped))]

    assert beside == alone
    assert await seen(grouped) == before


async def test_what_a_tenant_deletes_is_gone_for_no_other(grouped: Directory) -> None:
    other = await neighbour(grouped)
    for tenant in (grouped, other):
        assert [each async for each in story(tenant)]
    await changed(other, WAITING, adding(str(EVE)))
    theirs, ours = await seen(other), await grouped.event_types(str(WAITING))

    assert (await grouped.request("DELETE", f"/scim/v2/Users/{EVE}")).status_code == 204
    assert await grouped.event_types(str(WAITING)) == ours  # nobody left it here
    for path in (f"{GROUPS}/{TEAM}", f"{GROUPS}/{OUTER}", f"/scim/v2/Users/{ANN}", f"/scim/v2/Users/{BOB}"):
        assert (await grouped.request("DELETE", path)).status_code == 204
    assert await seen(other) == theirs
