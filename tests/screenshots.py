"""Pictures of every page of the console, light, dark and on a phone: `make screenshots` writes them."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from playwright.async_api import Page

from engine.tenant import ChangeSettings
from ops import administration
from ops.database import Database
from ops.directory import MEMBER, Directory
from ops.entra import EntraJob
from ops.entra_contoso import contoso
from ops.entra_mapping import Options
from projections.connections import connected
from projections.follower import FOLLOWERS
from projections.following import Following
from projections.rebuild import rebuild
from projections.target import inline_target
from tests.browsers import DESK, PHONE, Served, chromium, serving
from tests.conftest import issue, register

FOLDER = Path(__file__).parents[1] / "screenshots"
PEOPLE = 180
WEEKS = 10  # over which the events are spread
PAGES = {
    "sign-in": "sign-in",
    "setup": "setup",
    "people": "people",
    "person": "people/{person}",
    "person-edit": "people/{person}/edit",
    "person-erase": "people/{person}/erase",
    "seats": "seats?days=90",
    "audit": "audit",
    "audit-event": "audit/events/{edit}",
    "audit-local-edits": "audit/local-edits",
    "audit-changes": "audit/changes?from={week_ago}",
    "audit-questions": "audit/questions",
    "audit-question": "audit/questions/roster",
    "audit-evidence": "audit/evidence",
    "sync": "sync",
    "tokens": "tokens",
    "operations": "operations",
    "nothing": "nowhere",
}
LOOKS = {
    "light": ("light", DESK),
    "dark": ("dark", DESK),
    "phone": ("light", PHONE),
    "small": ("light", {"width": 1000, "height": 640}),  # two of these are in the README
}

# Later events later, and most of them at the beginning, as a company arrives.
_SPREAD = """
    UPDATE rollbook.events
    SET recorded_at = now() - make_interval(secs => $1 * (1 - sqrt((seq - 1)::float8 / $2)))
    WHERE stream_id <> tenant_id
"""


async def test_pictures_of_every_page(database: Database) -> None:
    """Not collected with the others: the make target names this file."""
    FOLDER.mkdir(exist_ok=True)
    async with serving(database) as served, chromium() as browser:
        token, places = await _fill(database, served)
        for look, (scheme, size) in LOOKS.items():
            context = await browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
            await _take_all(await context.new_page(), served.url, token, places, look)
            await context.close()


async def _take_all(page: Page, url: str, token: str, places: dict[str, str], look: str) -> None:
    await page.goto(f"{url}/console/sign-in")
    await page.screenshot(path=FOLDER / f"sign-in-{look}.png")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(lambda address: "sign-in" not in address)
    for name, path in PAGES.items():
        if name != "sign-in":
            await page.goto(f"{url}/console/{path.format(**places)}")
            await page.screenshot(path=FOLDER / f"{name}-{look}.png", full_page=name not in {"people", "seats"})


async def _fill(database: Database, served: Served) -> tuple[str, dict[str, str]]:
    """A company that arrived over some weeks, with local edits and a refused write; a token, and what to look at."""
    services, chance = served.services, random.Random(7)
    tenant_id = await register(services, "Contoso")
    await services.engine.administer(ChangeSettings({"seat_limit": 200}), administration.cause(tenant_id))
    directory = contoso(PEOPLE, chance)
    scim, token = await issue(services, tenant_id, "scim"), await issue(services, tenant_id, "admin")
    async with (
        EntraJob(f"{served.url}/scim/v2", scim, directory, Options(), chance) as job,
        httpx.AsyncClient(base_url=f"{served.url}/v1/users", headers={"Authorization": f"Bearer {token}"}) as app,
    ):
        await job.test_connection()
        await job.initial_cycle()
        person = next(each for each in directory.people if each.job_title)
        person_id = str(job.target_id(person))
        await app.patch(f"/{person_id}", json={"title": "Chief Improviser"})
        for other in directory.people[20:26]:
            await app.patch(f"/{job.target_id(other)}", json={"title": "Edited here"})
        directory.change(person.object_id, job_title="Principal Engineer")
        _some_leave(directory)
        await job.incremental_cycle()
    async with connected(database.owner_url) as owner:
        last = await owner.fetchval("SELECT max(seq) FROM rollbook.events")
        await owner.execute(_SPREAD, WEEKS * 7 * 86_400.0, float(last))
    await rebuild(database.owner_url, inline_target())
    await Following(services.pool, FOLLOWERS).catch_up()
    await services.request_writer.flush()
    edit = await services.pool.fetchval("SELECT min(seq) FROM rollbook.events WHERE source = 'local'")
    week_ago = datetime.now(UTC) - timedelta(days=7)
    return token, {"person": person_id, "edit": str(edit), "week_ago": f"{week_ago:%Y-%m-%d}"}


def _some_leave(directory: Directory) -> None:
    members = [each for each in directory.people if directory.role_of(each.object_id) == MEMBER]
    for leaver in members[30:60]:
        directory.unassign(leaver.object_id)
