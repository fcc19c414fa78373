"""What waits for a tenant's log goes together, and each append is still refused, or fails, for itself."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from api.services import Services
from engine import resource
from engine.catalog import USERS
from engine.engine import Engine
from engine.group_commit import GroupCommit
from engine.refusals import NotUnique
from engine.store import Appended, EventStore, NewEvent
from engine.user import ProvisionUser, Terms, User
from ops import administration
from projections.inline import INLINE
from tests.conftest import register


class Watched(EventStore):
    """The real store, noting how many events each call has."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.pool)
        self.calls: list[int] = []
        self.fault: Exception | None = None

    async def append(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> Appended:
        self.calls.append(len(batch))
        if self.fault:
            raise self.fault
        return await super().append(batch, rows)


class Tenant:
    """A tenant whose users are created through one group commit."""

    def __init__(self, services: Services, tenant_id: UUID) -> None:
        self.id = tenant_id
        self.store = Watched(services)
        self.engine = Engine(GroupCommit(self.store), services.users, services.groups, services.tenants, INLINE)

    async def create(self, user_name: str) -> User:
        command = ProvisionUser(resource.read({"userName": user_name}, USERS, []))
        return await self.engine.carry_out(command, uuid7(), administration.cause(self.id), Terms())


@pytest.fixture
async def tenant(services: Services) -> Tenant:
    return Tenant(services, await register(services, "contoso"))


async def test_appends_that_wait_at_the_same_time_go_in_one_call(tenant: Tenant, services: Services) -> None:
    users = await asyncio.gather(*(tenant.create(f"ann{number}") for number in range(20)))

    assert len(users) == 20
    assert tenant.store.calls == [20]
    assert (await services.seats.counts(tenant.id)).active == 20


async def test_a_refused_append_takes_none_of_its_neighbours_with_it(tenant: Tenant) -> None:
    names = ["ann", "ben", "ANN", "cid"]
    outcomes = await asyncio.gather(*(tenant.create(name) for name in names), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [User, User, NotUnique, User]


async def test_a_fault_of_the_database_is_everybodys_and_is_not_tried_again(tenant: Tenant) -> None:
    tenant.store.fault = ConnectionError()
    outcomes = await asyncio.gather(*(tenant.create(f"ann{number}") for number in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 3
    assert tenant.store.calls == [3]


async def test_after_a_fault_the_queue_goes_on(tenant: Tenant) -> None:
    tenant.store.fault = ConnectionError()
    with pytest.raises(ConnectionError):
        await tenant.create("ann")
    tenant.store.fault = None

    assert (await tenant.create("ann")).version == 1


async def test_an_append_whose_caller_went_away_is_carried_out(tenant: Tenant, services: Services) -> None:
    others = [asyncio.create_task(tenant.create(f"ann{number}")) for number in range(2)]
    gone = asyncio.create_task(tenant.create("gone"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(*others)

    assert (await services.seats.counts(tenant.id)).active == 3


async def test_tenants_do_not_wait_for_each_other(services: Services) -> None:
    first, second = [Tenant(services, await register(services, name)) for name in ("first", "second")]
    second.engine = first.engine
    second.store = first.store
    await asyncio.gather(*(tenant.create(f"ann{number}") for tenant in (first, second) for number in range(5)))

    assert first.store.calls == [5, 5]
