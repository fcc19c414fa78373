"""The simulated Entra provisions groups after people, in both dialects, and writes nothing twice."""

from collections.abc import Sequence
from random import Random

import pytest

from engine.tenant import ChangeSettings
from ops import administration
from ops.directory import Directory, SecurityGroup
from ops.entra import EntraJob
from ops.entra_contoso import contoso
from ops.entra_mapping import Dialect, Options
from ops.entra_report import Report, Written
from tests.test_provisioning import Live, done
from tests.test_provisioning import live as _live

live = _live  # a fixture

CLASSIC, FLAG = "classic", "flag"


async def job_with_groups(live: Live, directory: Directory, dialect: Dialect, groups: str = "on") -> EntraJob:
    job = await live.job(directory, Options(dialect=dialect, groups=True))
    command = ChangeSettings({"groups": groups})
    await live.services.engine.administer(command, administration.cause(live.tenant_id))
    return job


async def members(live: Live, job: EntraJob, directory: Directory) -> dict[str, list[str]]:
    """By the group's name, the userNames of who is in it."""
    found: dict[str, list[str]] = {}
    for listed in await live.services.groups.listed(live.tenant_id, None, 100):
        async for page in live.services.groups.pages_of_members(live.tenant_id, listed.id):
            names = await live.services.users.names(live.tenant_id, [each.id for each in page])
            found[listed.display_name] = sorted(names.values())
    return found


def written(report: Report) -> Sequence[Written]:
    return [each for each in report.writes if "/Groups" in each.path]


@pytest.mark.parametrize("dialect", [CLASSIC, FLAG])
async def test_groups_come_after_their_people_and_follow_what_happens_to_them(live: Live, dialect: Dialect) -> None:
    directory = contoso(10, Random(1))
    ann, bob, eve = directory.people[:3]
    team = directory.add_group(SecurityGroup("g-1", "Team", frozenset({ann.object_id, bob.object_id})))
    directory.add_group(SecurityGroup("g-2", "Nobody"))
    async with await job_with_groups(live, directory, dialect) as job:
        first = done(await job.initial_cycle())
        begun = await members(live, job, directory)
        again = done(await job.incremental_cycle())
        whole = done(await job.initial_cycle())

        directory.change_group(team.object_id, display_name="Crew", members=frozenset({bob.object_id, eve.object_id}))
        directory.change_group("g-2", deleted=True)
        later = done(await job.incremental_cycle())
        ended = await members(live, job, directory)

    assert [each.path.rpartition("/")[2] for each in written(first)].count("Groups") == 2
    assert written(first)[-1].method in {"POST", "PATCH"}
    assert begun == {"Team": sorted([ann.user_principal_name, bob.user_principal_name])}
    assert [again.writes, whole.writes] == [[], []]
    assert [each.method for each in written(later)] == ["PATCH", "PATCH", "DELETE"]
    assert ended == {"Crew": sorted([bob.user_principal_name, eve.user_principal_name])}
    assert await live.differences() == 0


async def test_a_group_that_the_app_refuses_is_a_failure_of_that_group_alone(live: Live) -> None:
    directory = contoso(3, Random(1))
    directory.add_group(SecurityGroup("g-1", "Team"))
    async with await job_with_groups(live, directory, "classic", groups="off") as job:
        report = await job.initial_cycle()

    assert [(each.object_id, each.code) for each in report.failures] == [("g-1", "NotImplemented")]
    assert report.created == 3
