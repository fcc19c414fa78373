"""What the benchmark works on: tenants of two sizes, and users with short and long histories."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct
from uuid_utils.compat import uuid7

from api.services import Services
from engine import patch, resource
from engine.catalog import USERS
from engine.schema import CORE, ENTERPRISE
from engine.tenant import RegisterTenant
from engine.user import PatchUser, ProvisionUser, Terms
from ops import administration
from ops.bench_groups import PreparedGroups, prepare_groups

SMALL_HISTORY = 10  # events
SHORT = 200  # users with a small history
AT_ONCE = 64

T = TypeVar("T")


class Prepared(Struct, frozen=True):
    """What is there: a small tenant with its token, and a large one."""

    token: str
    user_ids: list[UUID]
    few_names: list[str]
    short_history_ids: list[UUID]
    long_history_id: UUID
    many_token: str
    many_names: list[str]
    groups: PreparedGroups


def user(user_name: str) -> dict[str, object]:
    """A user as Entra sends one with the usual mapping."""
    return {
        "schemas": [CORE, ENTERPRISE],
        "userName": user_name,
        "active": True,
        "displayName": "Ada Lovelace",
        "title": "Engineer",
        "name": {"formatted": "Ada Lovelace"},
        "emails": [{"primary": True, "type": "work", "value": user_name}],
        "meta": {"resourceType": "User"},
        CORE: {"active": "True", "microsoftId": str(uuid4()), "role": "Member"},
    }


def json_user() -> bytes:
    return msgspec.json.encode(user(f"{uuid4().hex}@contoso.example"))


async def prepare_store(services: Services, few: int, many: int, newcomers: int, long_history: int) -> Prepared:
    small, large = await _tenant(services, "small"), await _tenant(services, "large")
    few_names = [f"person{number}@contoso.example" for number in range(few)]
    many_names = [f"person{number}@contoso.example" for number in range(many)]
    user_ids = await _provision(services, small, few_names)
    many_ids = await _provision(services, large, many_names)
    newcomer_ids = await _provision(
        services, large, [f"newcomer{number}@contoso.example" for number in range(newcomers)]
    )
    short_ids, long_id = user_ids[:SHORT], user_ids[-1]
    await _all([_change(services, small, user_id, SMALL_HISTORY - 1) for user_id in short_ids])
    await _change(services, small, long_id, long_history - 1)
    many_token = await _token(services, large)
    return Prepared(
        token=await _token(services, small),
        user_ids=user_ids[SHORT:-1],
        few_names=few_names,
        short_history_ids=short_ids,
        long_history_id=long_id,
        many_token=many_token,
        many_names=many_names,
        groups=await prepare_groups(services, large, many_token, many_ids, newcomer_ids),
    )


async def _tenant(services: Services, name: str) -> UUID:
    tenant_id = await administration.tenant_id_of(services, name)
    await services.engine.administer(RegisterTenant(name), administration.cause(tenant_id))
    return tenant_id


async def _token(services: Services, tenant_id: UUID) -> str:
    expires_at = datetime.now(UTC) + timedelta(days=1)
    return await administration.issue_token(services, tenant_id, "Benchmark", ("scim",), expires_at)


async def _provision(services: Services, tenant_id: UUID, names: list[str]) -> list[UUID]:
    async def one(name: str) -> UUID:
        command = ProvisionUser(resource.read(user(name), USERS, []))
        return (await services.engine.carry_out(command, uuid7(), administration.cause(tenant_id), Terms())).id

    return await _all([one(name) for name in names])


async def _change(services: Services, tenant_id: UUID, user_id: UUID, times: int) -> None:
    for number in range(times):
        body = {"Operations": [{"op": "Replace", "path": "title", "value": f"Engineer {number}"}]}
        command = PatchUser(patch.read(body, USERS, []))
        await services.engine.carry_out(command, user_id, administration.cause(tenant_id), Terms())


async def _all(work: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Do it all, some at a time: together they are appended together."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(each: Coroutine[Any, Any, T]) -> T:
        async with free:
            return await each

    return await asyncio.gather(*(one(each) for each in work))
