"""The main job, over real HTTP: a simulated Entra provisions Contoso into the service, in each of its dialects."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Literal

import pytest
import uvicorn

from api.app import create_app
from api.composition import open_services
from api.services import Services
from engine.tenant import RevokeToken
from ops import administration
from ops.database import Database
from ops.directory import ADMIN, MEMBER, OWNER, AppRole, Directory
from ops.entra import EntraJob
from ops.entra_contoso import contoso
from ops.entra_mapping import DEFAULT, SEED, Options
from ops.entra_report import Report
from ops.serve import listen, own_url
from projections.rebuild import rebuild
from projections.target import inline_target
from tests.conftest import issue, register

PEOPLE = 40


class Live:
    """The service on a port of its own, with a tenant for the directory."""

    def __init__(self, url: str, services: Services, database: Database) -> None:
        self.url = url
        self.services = services
        self.database = database

    async def job(self, directory: Directory, options: Options, name: str = "contoso") -> EntraJob:
        self.tenant_id = await register(self.services, name)
        token = await issue(self.services, self.tenant_id, "scim")
        return EntraJob(f"{self.url}/scim/v2", token, directory, options, Random(7))

    async def differences(self) -> int:
        summary = await rebuild(self.database.owner_url, inline_target(), swap=False)
        return len(summary.differences)


@pytest.fixture
async def live(database: Database) -> AsyncIterator[Live]:
    app = create_app(lambda: open_services(database.service_url))
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield Live(own_url(listening), app.state.services, database)
        server.should_exit = True
        await serving


def done(report: Report) -> Report:
    assert report.ok, [(entry.code, entry.detail) for entry in report.failures] or report.stop
    return report


def name_of(options: Options) -> str:
    mapping = "seed" if options.mapping is SEED else "default"
    return f"{mapping}-{options.dialect}-{options.custom_on_create}-{options.manager_form}"


DIALECTS = [
    Options(mapping=SEED),
    Options(mapping=SEED, dialect="flag"),
    Options(mapping=SEED, custom_on_create="dropped"),
    Options(mapping=SEED, role_source="value", default_access=True),
    Options(mapping=SEED, dialect="flag", custom_on_create="dropped", default_access=True),
    Options(mapping=DEFAULT),
    Options(mapping=DEFAULT, dialect="flag", manager_form="object"),
    Options(mapping=DEFAULT, manager_form="array"),
]


@pytest.mark.parametrize("options", DIALECTS, ids=name_of)
async def test_a_directory_reads_back_what_it_wrote_and_then_writes_no_more(live: Live, options: Options) -> None:
    directory = contoso(PEOPLE, Random(1))
    async with await live.job(directory, options) as job:
        assert done(await job.test_connection()).writes == []
        assert done(await job.initial_cycle()).created == PEOPLE
        job.restart()
        done(await job.initial_cycle())  # what was dropped on creation arrives now
        job.restart()
        assert done(await job.initial_cycle()).writes == []
        job.reset()
        assert done(await job.initial_cycle()).writes == []
    assert await live.differences() == 0


@pytest.mark.parametrize("dialect", ["classic", "flag"])
async def test_the_service_follows_the_directory_through_a_working_life(
    live: Live, dialect: Literal["classic", "flag"]
) -> None:
    directory = contoso(PEOPLE, Random(2))
    people = directory.people
    async with await live.job(directory, Options(mapping=SEED, dialect=dialect)) as job:
        done(await job.initial_cycle())
        roles: list[AppRole] = [ADMIN, OWNER, MEMBER]
        for person, role in zip(people[:3], roles, strict=True):
            directory.assign(person.object_id, role)
        for person in people[3:8]:
            directory.change(person.object_id, job_title="Researcher", display_name="Renée O’Brien-Müller")
        for person in people[8:12]:
            directory.unassign(person.object_id)
        directory.disable(people[12].object_id)
        directory.soft_delete(people[13].object_id)
        done(await job.incremental_cycle())
        assert (await live.services.seats.counts(live.tenant_id)).active == PEOPLE - 6

        directory.assign(people[8].object_id, MEMBER)
        directory.enable(people[12].object_id)
        directory.restore(people[13].object_id)
        directory.purge(people[14].object_id)
        done(await job.incremental_cycle())
        counts = await live.services.seats.counts(live.tenant_id)
        assert (counts.active, counts.inactive, counts.deleted) == (PEOPLE - 4, 4, 1)
        assert done(await job.incremental_cycle()).writes == []
    assert await live.differences() == 0


async def test_a_wrong_value_holds_up_its_person_alone(live: Live) -> None:
    directory = contoso(PEOPLE, Random(3))
    person = directory.people[0]
    directory.change(person.object_id, display_name="<script>")
    async with await live.job(directory, Options(mapping=SEED)) as job:
        report = await job.initial_cycle()
        assert (report.created, report.failed) == (PEOPLE - 1, 1)
        assert "name_characters" in (report.failures[0].detail or "")

        directory.change(person.object_id, display_name="Ada Lovelace")
        assert done(await job.incremental_cycle()).created == 1


async def test_a_revoked_token_puts_the_directory_into_quarantine(live: Live) -> None:
    directory = contoso(3, Random(4))
    async with await live.job(directory, Options(mapping=SEED)) as job:
        done(await job.initial_cycle())
        for token in await live.services.tenants.tokens(live.tenant_id):
            command = RevokeToken(token.id)
            await live.services.engine.administer(command, administration.cause(live.tenant_id))
        live.services.gate.forget()
        directory.change(directory.people[0].object_id, job_title="Researcher")
        report = await job.incremental_cycle()
    assert report.stop is not None
    assert report.stop.code == "SystemForCrossDomainIdentityManagementInvalidCredentials"
    assert report.writes == []
