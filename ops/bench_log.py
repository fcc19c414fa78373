"""The log that the replay's benchmark works on, made by the engine's own code: four events of each person."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from msgspec import structs
from uuid_utils.compat import uuid7

from api.composition import open_services
from engine import patch, resource, user
from engine.catalog import USERS
from engine.decision import Outcome
from engine.schema import ENTERPRISE
from engine.store import EventStore, NewEvent
from engine.streams import Recorded
from engine.tenant import RegisterTenant
from engine.user import PatchUser, ProvisionUser, Terms, User, UserCommand
from ops import administration, bench_data
from ops.database import Database
from ops.progress import Report
from projections.inline import INLINE

AT_ONCE = 250  # people in one append


async def fill(database: Database, tenants: int, users: int, report: Report) -> list[UUID]:
    """Provision so many people in each of so many tenants, and change each of them three times; the tenants."""
    async with open_services(database.service_url) as services:
        found = []
        for number in range(tenants):
            tenant_id = await administration.tenant_id_of(services, f"tenant {number}")
            await services.engine.administer(RegisterTenant(f"tenant {number}"), administration.cause(tenant_id))
            found.append(tenant_id)
        store, done = EventStore(services.pool), 0
        for tenant_id in found:
            people: list[User | None] = [None] * users
            for command in COMMANDS:
                for start in range(0, users, AT_ONCE):
                    end = min(start + AT_ONCE, users)
                    people[start:end] = await _append(store, tenant_id, command, start, people[start:end])
                    done += end - start
                    report(done, tenants * users * len(COMMANDS))
    await _vacuum(database)
    return found


async def _append(
    store: EventStore, tenant_id: UUID, command: Callable[[int], UserCommand], start: int, people: Sequence[User | None]
) -> list[User | None]:
    """The people after one command to each of them, in one append."""
    cause = structs.replace(administration.cause(tenant_id), source="directory")
    outcomes = [_decided(command(number), person) for number, person in enumerate(people, start)]
    batch = [NewEvent(each.stream_id, each.version, each.event, cause) for made in outcomes for each in made.recorded]
    rows: dict[str, list[Any]] = {
        projection.name: [row for made in outcomes for row in projection.rows(made)] for projection in INLINE
    }
    await store.append(batch, {name: found for name, found in rows.items() if found})
    return [made.state for made in outcomes]


def _decided(command: UserCommand, person: User | None) -> Outcome[User]:
    version, user_id = (person.version, person.id) if person else (0, uuid7())
    events = user.decide(command, person, Terms())
    recorded = tuple(Recorded(user_id, version + place, "directory", event) for place, event in enumerate(events, 1))
    return Outcome(recorded, user.evolve_all(person, recorded))


def _creation(number: int) -> UserCommand:
    return ProvisionUser(resource.read(bench_data.user(f"person{number}@contoso.example"), USERS, []))


def _title(number: int) -> UserCommand:
    return _change("title", f"Engineer {number}")


def _department(number: int) -> UserCommand:
    return _change(f"{ENTERPRISE}:department", f"Department {number % 50}")


def _leaver_or_name(number: int) -> UserCommand:
    return _change("active", "False") if number % 10 == 0 else _change("displayName", "Ada King")


def _change(path: str, value: str) -> UserCommand:
    return PatchUser(patch.read({"Operations": [{"op": "Replace", "path": path, "value": value}]}, USERS, []))


COMMANDS = (_creation, _title, _department, _leaver_or_name)


async def _vacuum(database: Database) -> None:
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()
