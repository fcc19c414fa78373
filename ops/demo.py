"""`rollbook demo`: a simulated directory provisions 200 people, somebody edits one of them, and the directory wins."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self

import aiohttp
import uvicorn
from rich.console import Console
from rich.table import Table

from api.app import create_app
from api.composition import open_services
from engine.tenant import RegisterTenant
from ops import administration, logs
from ops.database import Database, prepare
from ops.directory import ADMIN, MEMBER, Directory, Person
from ops.entra import EntraJob
from ops.entra_contoso import contoso
from ops.entra_mapping import Options
from ops.entra_report import Report
from ops.postgres import temporary_postgres
from ops.serve import listen, own_url
from projections.rebuild import rebuild
from projections.target import inline_target

PEOPLE = 200
SEED = 2026
EDITOR = "person-4711"
SHORT_LIFE = timedelta(hours=1)


def run(seed: int = SEED) -> None:
    console = Console(highlight=False)
    console.print("[bold]Rollbook demo[/bold]: a throwaway store, a simulated Microsoft Entra ID, real HTTP.")
    with temporary_postgres() as postgres:
        database = Database(postgres.url(), postgres.url("rollbook_service"), postgres)
        asyncio.run(_story(database, console, Random(seed)))  # noqa: S311  people and probes, no secrets


async def _story(database: Database, console: Console, random: Random) -> None:
    await prepare(database)
    directory = contoso(PEOPLE, random)
    async with _served(database) as (url, directory_token, app_token):
        job = EntraJob(f"{url}/scim/v2", directory_token, directory, Options(), random)
        async with job, App(url, app_token) as app:
            await _provision(console, job)
            person = _somebody(directory)
            person_id = str(job.target_id(person))
            await _edit(console, app, person_id, person)
            await _change_directory(console, job, directory, person)
            await _show(console, app, person_id)
    summary = await rebuild(database.owner_url, inline_target(), swap=False)
    found = f"{len(summary.differences)} differences" if summary.differences else "nothing differs"
    console.print(f"\n[bold]rollbook replay --check[/bold]: {summary.events} events replayed, {found}.")


@contextlib.asynccontextmanager
async def _served(database: Database) -> AsyncIterator[tuple[str, str, str]]:
    """The service on a free port: its address, and tokens of the directory and of the app."""
    logs.silence()
    async with open_services(database.service_url, connections=2) as services:
        tenant_id = await administration.tenant_id_of(services, "contoso")
        await services.engine.administer(RegisterTenant("contoso"), administration.cause(tenant_id))
        expires_at = datetime.now(UTC) + SHORT_LIFE
        tokens = [
            await administration.issue_token(services, tenant_id, name, scopes, expires_at)
            for name, scopes in (
                ("Entra", ("scim",)),
                ("The app", ("people:read", "people:write", "audit:read")),
            )
        ]
    app = create_app(lambda: open_services(database.service_url))
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield own_url(listening), tokens[0], tokens[1]
        finally:
            server.should_exit = True
            await serving


class App:
    """The product that embeds Rollbook, as a client of `/v1`."""

    def __init__(self, url: str, token: str) -> None:
        self._session = aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}, raise_for_status=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str) -> Any:
        async with self._session.get(path) as response:
            return await response.json()

    async def edit(self, person_id: str, **values: object) -> None:
        headers = {"X-Rollbook-Actor": EDITOR}
        async with self._session.patch(f"/v1/users/{person_id}", json=values, headers=headers):
            pass


def _somebody(directory: Directory) -> Person:
    """Somebody with a title, and with a name that any terminal can show."""
    return next(person for person in directory.people if person.job_title and (person.display_name or "").isascii())


async def _provision(console: Console, job: EntraJob) -> None:
    console.print("\n[bold]1.[/bold] The admin presses Test Connection, then starts provisioning.")
    _report(console, "test connection", await job.test_connection())
    _report(console, "initial cycle", await job.initial_cycle())
    again = await job.incremental_cycle()
    _report(console, "next cycle", again)
    console.print(f"   Nothing changed, and nothing was written again: {len(again.writes)} writes.")


async def _edit(console: Console, app: App, person_id: str, person: Person) -> None:
    await app.edit(person_id, title="Chief Improviser")
    console.print(f"\n[bold]2.[/bold] In the app, {EDITOR} changes the title of {person.display_name}:")
    console.print(f"   {person.job_title!r} becomes 'Chief Improviser'.")


async def _change_directory(console: Console, job: EntraJob, directory: Directory, person: Person) -> None:
    others = [each for each in directory.people if each.object_id != person.object_id]
    demoted = next(each for each in others if directory.role_of(each.object_id) == ADMIN)
    leavers = [each for each in others if directory.role_of(each.object_id) == MEMBER][:7]
    directory.change(person.object_id, job_title="Principal Engineer")
    for each in others[10:15]:
        directory.change(each.object_id, department="Research", job_title="Researcher")
    directory.assign(demoted.object_id, MEMBER)
    for leaver in leavers:
        directory.unassign(leaver.object_id)
    console.print(
        f"\n[bold]3.[/bold] In the directory, {person.display_name} gets another title, 5 people move to\n"
        f"   research, an admin becomes a member, and {len(leavers)} people are unassigned."
    )
    _report(console, "next cycle", await job.incremental_cycle())


def _report(console: Console, what: str, report: Report) -> None:
    counts = f"{report.created} created, {report.updated} updated, {report.disabled} disabled, {report.failed} failed"
    console.print(f"   {what:<16}{sum(report.requests.values()):>5} requests: {counts}")


async def _show(console: Console, app: App, person_id: str) -> None:
    seats = await app.get("/v1/seats")
    roles = ", ".join(f"{count} {role}" for role, count in seats["by_role"].items())
    console.print(f"\n[bold]People[/bold]: {seats['active']} active, {seats['inactive']} inactive.")
    console.print(f"[bold]Seats[/bold]: {roles}.")
    person = await app.get(f"/v1/users/{person_id}")
    history = await app.get(f"/v1/users/{person_id}/history")
    console.print(f"\n[bold]History[/bold] of {person['displayName']}, now {person['title']!r}:")
    console.print(_history_table(history["events"]))


def _history_table(events: list[dict[str, Any]]) -> Table:
    table = Table("seq", "event", "source", "what changed", box=None, pad_edge=False)
    for event in events:
        table.add_row(str(event["seq"]), event["type"], event["source"], "\n".join(_changes(event)))
    return table


def _changes(event: dict[str, Any]) -> list[str]:
    before, after = event["before"] or {}, event["after"] or {}
    if event["type"] == "UserProvisioned":
        return [f"{after['userName']}, {after['role']}, with {len(after)} attributes"]
    lines = [f"{key}: {before.get(key)!r} → {value!r}" for key, value in after.items()]
    return lines + [f"[bold]overwrote the local edit of {key}[/bold]" for key in event["overwrote"]]
