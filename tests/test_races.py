"""Many at once: who wins a race, what the loser is told, and that no rule over many rows is ever broken."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from api.app import create_app
from api.composition import CONNECTIONS, open_services
from api.services import Services
from engine import patch
from engine.catalog import USERS
from engine.engine import Engine
from engine.refusals import Busy, PreconditionFailed
from engine.resource import Values
from engine.store import Appended, Cause, EventStore, NewEvent
from engine.user import PatchUser, ProvisionUser, Terms, User
from ops.database import Database
from projections.connections import connected
from projections.inline import INLINE
from projections.rebuild import rebuild
from projections.target import inline_target
from tests.conftest import Directory, issue, register
from tests.test_budget import Proxy


def replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def work_phone(number: str) -> dict[str, Any]:
    return {"op": "add", "path": "phoneNumbers", "value": [{"type": "work", "value": number}]}


async def create_all(directory: Directory, *bodies: dict[str, Any]) -> Counter[int]:
    """The statuses of creations that are sent at the same time."""
    requests = (directory.request("POST", "/scim/v2/Users", json=body) for body in bodies)
    return Counter(response.status_code for response in await asyncio.gather(*requests))


async def seats_of(directory: Directory) -> dict[str, Any]:
    response = await directory.request("GET", "/v1/seats")
    return dict(response.json())


# One user, several writers.


async def test_two_writers_of_one_user_both_succeed(directory: Directory) -> None:
    user_id = await directory.create()

    answers = await asyncio.gather(
        directory.patch(user_id, replace("title", "Engineer")), directory.patch(user_id, replace("active", value=False))
    )

    assert [each.status_code for each in answers] == [200, 200]
    user = (await directory.request("GET", f"/scim/v2/Users/{user_id}")).json()
    assert (user["title"], user["active"], user["meta"]["version"]) == ("Engineer", False, 'W/"3"')


async def test_the_loser_of_a_race_decides_from_what_the_winner_left(directory: Directory) -> None:
    user_id = await directory.create()
    engine = overtaken(directory.services, [work_phone("1")], times=1)

    user = await carry_out(engine, directory.tenant_id, user_id, work_phone("2"))

    assert [each["value"] for each in user.attributes["phoneNumbers"]] == ["1", "2"]
    assert await directory.event_types(user_id) == ["UserProvisioned", "AttributesChanged", "AttributesChanged"]


async def test_the_loser_of_a_race_to_the_same_change_changes_nothing(directory: Directory) -> None:
    user_id = await directory.create()
    engine = overtaken(directory.services, [replace("title", "Engineer")], times=1)

    user = await carry_out(engine, directory.tenant_id, user_id, replace("title", "Engineer"))

    assert (user.attributes["title"], user.version) == ("Engineer", 2)


async def test_the_loser_of_a_race_that_named_a_version_is_refused(directory: Directory) -> None:
    user_id = await directory.create()
    engine = overtaken(directory.services, [replace("title", "Engineer")], times=1)
    terms = Terms(versions=frozenset({1}))

    with pytest.raises(PreconditionFailed):
        await carry_out(engine, directory.tenant_id, user_id, replace("nickName", "Annie"), terms=terms)


async def test_whoever_loses_every_race_is_told_to_come_again(directory: Directory) -> None:
    user_id = await directory.create()
    numbers = [work_phone(str(number)) for number in range(100)]
    engine = overtaken(directory.services, numbers, times=100)

    with pytest.raises(Busy):
        await carry_out(engine, directory.tenant_id, user_id, replace("title", "Engineer"))

    assert len(await directory.event_types(user_id)) == 1 + 5


async def test_twenty_writers_of_one_user_lose_no_change(directory: Directory) -> None:
    user_id = await directory.create()

    async def write(number: int) -> None:
        while (await directory.patch(user_id, work_phone(str(number)))).status_code == Busy.status:
            pass

    await asyncio.gather(*(write(number) for number in range(20)))

    user = (await directory.request("GET", f"/scim/v2/Users/{user_id}")).json()
    assert sorted(int(each["value"]) for each in user["phoneNumbers"]) == list(range(20))
    assert user["meta"]["version"] == 'W/"21"'


class OvertakenStore(EventStore):
    """A store in front of which others write first, as often as they have something to write."""

    def __init__(self, services: Services, others: list[dict[str, Any]], times: int) -> None:
        super().__init__(services.pool)
        self._services = services
        self._others = others
        self._times = times

    async def append(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> Appended:
        if self._times:
            self._times -= 1
            event = batch[0]
            await carry_out(
                self._services.engine, event.cause.tenant_id, str(event.stream_id), self._others[-1 - self._times]
            )
        return await super().append(batch, rows)


def overtaken(services: Services, others: list[dict[str, Any]], times: int) -> Engine:
    return Engine(OvertakenStore(services, others, times), services.users, services.groups, services.tenants, INLINE)


def cause(tenant_id: UUID) -> Cause:
    return Cause(tenant_id=tenant_id, source="directory", actor="a-token", request_id=uuid4())


async def carry_out(
    engine: Engine, tenant_id: UUID, user_id: str, operation: dict[str, Any], terms: Terms | None = None
) -> User:
    command = PatchUser(patch.read({"Operations": [operation]}, USERS, []))
    return await engine.carry_out(command, UUID(user_id), cause(tenant_id), terms or Terms())


# One name, several users.


@pytest.mark.parametrize("count", [2, 20])
async def test_of_creations_of_one_user_name_in_any_case_exactly_one_succeeds(
    directory: Directory, owner: asyncpg.Connection, count: int
) -> None:
    await directory.set_settings(email_case="keep")
    names = ["Ann@Contoso.example", "ann@contoso.example", "ANN@CONTOSO.EXAMPLE"]

    statuses = await create_all(directory, *({"userName": names[place % 3]} for place in range(count)))

    assert statuses == {201: 1, 409: count - 1}
    assert await owner.fetchval("SELECT count(*) FROM rollbook.users") == 1
    assert (await seats_of(directory))["active"] == 1
    refusals = await owner.fetchval("SELECT count(*) FROM rollbook.events WHERE type = 'RequestRefused'")
    assert refusals == count - 1


async def test_user_names_that_differ_only_in_the_case_of_other_scripts_are_the_same(directory: Directory) -> None:
    names = ["straße", "STRASSE", "Straße", "ΣΊΣΥΦΟΣ", "Σίσυφος", "ÉLODIE", "élodie"]

    statuses = await create_all(directory, *({"userName": name} for name in names))

    assert statuses == {201: 3, 409: 4}


@pytest.mark.parametrize("count", [2, 20])
async def test_of_creations_of_one_microsoft_id_exactly_one_succeeds(
    directory: Directory, owner: asyncpg.Connection, count: int
) -> None:
    ids = ["ABCDEF01-0000-4000-8000-000000000000", "abcdef01-0000-4000-8000-000000000000"]

    statuses = await create_all(
        directory, *({"userName": f"u{place}", "microsoftId": ids[place % 2]} for place in range(count))
    )

    assert statuses == {201: 1, 409: count - 1}
    assert await owner.fetchval("SELECT count(*) FROM rollbook.users") == 1


async def test_of_two_that_take_a_free_name_at_once_one_gets_it_and_the_other_is_refused(directory: Directory) -> None:
    users = [await directory.create(name) for name in ("ann", "bob")]

    answers = await asyncio.gather(*(directory.patch(user_id, replace("userName", "eve")) for user_id in users))

    assert sorted(each.status_code for each in answers) == [200, 409]
    refused = next(each for each in answers if each.status_code == 409)
    assert refused.json()["scimType"] == "uniqueness"


async def test_a_name_given_up_while_others_want_it_goes_to_at_most_one_of_them(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    user_id = await directory.create("ann")

    deleting = directory.request("DELETE", f"/scim/v2/Users/{user_id}")
    creating = (directory.request("POST", "/scim/v2/Users", json={"userName": "Ann"}) for _ in range(10))
    deleted, *created = await asyncio.gather(deleting, *creating)

    assert deleted.status_code == 204
    assert Counter(each.status_code for each in created)[201] <= 1
    assert await owner.fetchval("SELECT count(*) FROM rollbook.users WHERE NOT is_deleted") <= 1


async def test_the_same_names_in_two_tenants_are_not_in_each_others_way(directory: Directory) -> None:
    services = directory.services
    other = await register(services, "fabrikam")
    create = ProvisionUser(Values({"userName": "ann", "microsoftId": "1"}))

    await asyncio.gather(
        *(services.engine.carry_out(create, uuid4(), cause(each), Terms()) for each in (directory.tenant_id, other))
    )


# Seats.


async def test_concurrent_creations_never_take_more_seats_than_there_are(directory: Directory) -> None:
    await directory.set_settings(seat_limit=5)

    statuses = await create_all(directory, *({"userName": f"u{place}"} for place in range(20)))

    assert statuses == {201: 5, 403: 15}
    assert (await seats_of(directory))["active"] == 5


async def test_concurrent_creations_and_reactivations_never_take_more_seats_than_there_are(
    directory: Directory,
) -> None:
    sleeping = [await directory.create(f"sleeping{place}", active=False) for place in range(10)]
    await directory.set_settings(seat_limit=7)

    waking = (directory.patch(user_id, replace("active", "True")) for user_id in sleeping)
    creating = (directory.request("POST", "/scim/v2/Users", json={"userName": f"new{place}"}) for place in range(10))
    answers = await asyncio.gather(*waking, *creating)

    assert sum(each.status_code in {200, 201} for each in answers) == 7
    assert sum(each.status_code == 403 for each in answers) == 13
    assert (await seats_of(directory))["active"] == 7


async def test_a_seat_that_is_given_up_can_be_taken_at_once(directory: Directory) -> None:
    await directory.set_settings(seat_limit=1)
    ann, bob = await directory.create("ann"), await directory.create("bob", active=False)

    async def pass_on(giver: str, taker: str) -> None:
        assert (await directory.patch(giver, replace("active", value=False))).status_code == 200
        assert (await directory.patch(taker, replace("active", value=True))).status_code == 200

    for _ in range(3):
        await pass_on(ann, bob)
        await pass_on(bob, ann)
    assert (await seats_of(directory))["active"] == 1


async def test_over_the_limit_people_can_leave_and_change_but_nobody_can_come(directory: Directory) -> None:
    ann, bob, eve = [await directory.create(name) for name in ("ann", "bob", "eve")]
    asleep = await directory.create("asleep", active=False)
    await directory.set_settings(seat_limit=0)

    changed = await directory.patch(ann, replace("title", "Engineer"), replace("role", "admin"))
    refused = await directory.patch(asleep, replace("role", "admin"), replace("active", value=True))
    inactive = await directory.request("POST", "/scim/v2/Users", json={"userName": "new", "active": False})
    left = await asyncio.gather(
        directory.patch(ann, replace("active", value=False), replace("role", "owner")),
        directory.patch(bob, replace("active", value=False)),
        directory.request("DELETE", f"/scim/v2/Users/{eve}"),
        directory.request("DELETE", f"/scim/v2/Users/{asleep}"),
    )

    assert (changed.status_code, refused.status_code, inactive.status_code) == (200, 403, 201)
    assert "3 of 0 are taken" in refused.json()["detail"]
    assert [each.status_code for each in left] == [200, 200, 204, 204]
    seats = await seats_of(directory)
    assert (seats["active"], seats["deleted"], seats["by_role"]) == (0, 2, {"admin": 0, "member": 0, "owner": 0})


@asynccontextmanager
async def gathering(database: Database) -> AsyncIterator[None]:
    """Appends wait meanwhile, so that those of one process gather and go together afterwards."""
    async with connected(database.owner_url) as other, other.transaction():
        await other.execute("SELECT FROM rollbook.heads FOR UPDATE")
        yield
        await asyncio.sleep(0.1)


async def test_over_the_limit_a_seat_that_is_given_up_at_the_same_moment_lets_nobody_in(
    directory: Directory, database: Database
) -> None:
    ann, bob, _ = [await directory.create(name) for name in ("ann", "bob", "eve")]
    await directory.set_settings(seat_limit=1)

    async with gathering(database):
        first = asyncio.create_task(directory.patch(bob, replace("title", "Engineer")))
        await asyncio.sleep(0.05)
        leaving = asyncio.create_task(directory.patch(ann, replace("active", value=False)))
        coming = asyncio.create_task(directory.request("POST", "/scim/v2/Users", json={"userName": "new"}))
    answers = await asyncio.gather(first, leaving, coming)

    assert [each.status_code for each in answers] == [200, 200, 403]
    assert (await seats_of(directory))["active"] == 2


async def test_what_is_appended_together_is_refused_one_by_one(directory: Directory, database: Database) -> None:
    ann = await directory.create("ann")

    async with gathering(database):
        first = asyncio.create_task(directory.patch(ann, replace("title", "Engineer")))
        await asyncio.sleep(0.05)
        names = ["bob", "BOB", "ann", "eve"]
        tasks = [
            asyncio.create_task(directory.request("POST", "/scim/v2/Users", json={"userName": name})) for name in names
        ]
    answers = await asyncio.gather(first, *tasks)

    assert [each.status_code for each in answers] == [200, 201, 409, 409, 201]
    assert (await seats_of(directory))["active"] == 3


# Trouble between the service and its database.


async def test_two_hundred_requests_share_the_connections_that_there_are(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    statuses = await create_all(directory, *({"userName": f"u{place}"} for place in range(200)))

    assert statuses == {201: 200}
    backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1"
    assert await owner.fetchval(backends, "rollbook_service") <= CONNECTIONS


async def test_a_writer_that_waits_too_long_fails_whole_and_may_come_again(
    database: Database, owner: asyncpg.Connection
) -> None:
    async with directory_at(f"{database.service_url}&statement_timeout=200") as directory:
        async with connected(database.owner_url) as other, other.transaction():
            await other.execute("SELECT FROM rollbook.heads FOR UPDATE")
            waited = await directory.request("POST", "/scim/v2/Users", json={"userName": "ann"})
        again = await directory.request("POST", "/scim/v2/Users", json={"userName": "ann"})

    assert waited.status_code >= 500
    assert again.status_code == 201
    assert await owner.fetchval("SELECT count(*) FROM rollbook.events WHERE type = 'UserProvisioned'") == 1


async def test_while_connections_are_killed_every_request_is_answered_and_what_was_acknowledged_stands(
    directory: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    made: list[str] = []
    statuses: Counter[int] = Counter()
    is_over = asyncio.Event()

    async def write(writer: int) -> None:
        turn = 0
        while not is_over.is_set():
            turn += 1
            async with asyncio.timeout(10):
                answer = await directory.request("POST", "/scim/v2/Users", json={"userName": f"{writer}-{turn}"})
            statuses[answer.status_code] += 1
            if answer.status_code == 201:
                made.append(answer.json()["id"])
            else:
                await asyncio.sleep(0.01)

    async def kill() -> None:
        for _ in range(15):
            await asyncio.sleep(0.03)
            await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'rollbook_service' AND datname = current_database()"
            )
        is_over.set()

    await asyncio.gather(kill(), *map(write, range(8)))
    await directory.create("after")

    assert statuses[201]
    assert statuses.keys() <= {201, 503}
    assert set(made) <= {str(row["id"]) for row in await owner.fetch("SELECT id FROM rollbook.users")}
    summary = await rebuild(database.owner_url, inline_target(), swap=False)
    assert summary.differences == []


async def test_a_client_that_goes_away_leaves_a_whole_event_or_none(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    tasks = [asyncio.create_task(directory.create(f"u{place}")) for place in range(40)]
    await asyncio.sleep(0.02)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    made = [each for each in answers if isinstance(each, str)]
    assert len(made) >= 20
    assert (await seats_of(directory))["active"] == await owner.fetchval("SELECT count(*) FROM rollbook.users")
    assert await owner.fetchval("SELECT count(*) FROM rollbook.events WHERE type = 'UserProvisioned'") >= len(made)
    await directory.create("after")


async def test_an_answer_lost_after_the_commit_is_no_second_event_when_the_directory_comes_again(
    database: Database, owner: asyncpg.Connection
) -> None:
    async with Proxy() as proxy, directory_at(proxy.in_front_of(database.service_url)) as directory:
        user_id = await directory.create("ann")

        proxy.lose_answer_to("rollbook.append")
        created = await directory.request("POST", "/scim/v2/Users", json={"userName": "bob"})
        created_again = await directory.request("POST", "/scim/v2/Users", json={"userName": "bob"})

        proxy.lose_answer_to("rollbook.append")
        changed = await directory.patch(user_id, replace("title", "Engineer"))
        changed_again = await directory.patch(user_id, replace("title", "Engineer"))

    assert (created.status_code, created_again.status_code) == (503, 409)
    assert (changed.status_code, changed_again.status_code) == (503, 200)
    assert changed_again.json()["meta"]["version"] == 'W/"2"'
    log = await owner.fetch("SELECT type FROM rollbook.events WHERE source = 'directory' ORDER BY seq")
    assert [row["type"] for row in log] == [
        "UserProvisioned",
        "UserProvisioned",
        "RequestRefused",
        "AttributesChanged",
    ]


@asynccontextmanager
async def directory_at(service_url: str) -> AsyncIterator[Directory]:
    app = create_app(lambda: open_services(service_url))
    async with app.router.lifespan_context(app):
        services = app.state.services
        tenant_id = await register(services, "contoso")
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://rollbook.test") as client:
            yield Directory(client, services, tenant_id, await issue(services, tenant_id))
