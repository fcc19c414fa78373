"""The simulated Entra against a small app of the test's own: what it asks, and what it makes of the answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer

from ops.directory import ADMIN, MEMBER, AppRole, Directory, Person
from ops.entra import HALTED, OVERFLOWING, EntraJob
from ops.entra_contoso import contoso
from ops.entra_mapping import CORE, DEFAULT, ENTERPRISE, SEED, Dialect, Mapping, Options, Target
from ops.entra_payload import filter_query
from ops.entra_report import Report

EMPTY_LIST = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
    "totalResults": 0,
    "Resources": [],
    "startIndex": 1,
    "itemsPerPage": 20,
}
TOKEN = "rb_token"
GUID = "66e4a8cc-1b7b-435e-95f8-f06cea133828"
ADA = Person(GUID, "ada@contoso.com", "Ada Lovelace", "Ada", "Lovelace", "Engineer")
BOB = Person("b0b00000-0000-4000-8000-000000000000", "bob@contoso.com", "Bob")
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
CYCLE = timedelta(minutes=40)


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Scripted:
    status: int
    body: Any = None
    content_type: str = "application/scim+json"
    after: float = 0


@dataclass
class App:
    """Keeps users as they are sent, and echoes them in their places. `scripted` answers come first."""

    url: str = ""
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    scripted: list[tuple[str, str, Scripted]] = field(default_factory=list)

    def answers(self, request: str, status: int, body: Any = None, **others: Any) -> None:
        """From now on, to a method and the beginning of a path."""
        method, _, path = request.partition(" ")
        self.scripted.insert(0, (method, path, Scripted(status, body, **others)))

    def recovers(self) -> None:
        self.scripted.clear()

    def lines(self) -> list[str]:
        return [f"{asked.method} {asked.path.removeprefix('/scim/v2')}" for asked in self.asked]

    async def handle(self, request: web.Request) -> web.Response:
        content = await request.read()
        body = msgspec.json.decode(content) if content else None
        self.asked.append(Asked(request.method, request.raw_path, dict(request.headers), body))
        found = self._script(request.raw_path.removeprefix("/scim/v2"), request.method) or self._echo(request, body)
        await asyncio.sleep(found.after)
        text = b"" if found.body is None else msgspec.json.encode(found.body)
        return web.Response(status=found.status, body=text, headers={"Content-Type": found.content_type})

    def _script(self, path: str, method: str) -> Scripted | None:
        return next((each for verb, start, each in self.scripted if verb == method and path.startswith(start)), None)

    def _echo(self, request: web.Request, body: Any) -> Scripted:
        user_id = request.match_info["tail"].partition("/")[2]
        if request.method == "POST":
            return self._created(body)
        if not user_id:
            return Scripted(200, self._found(request.query["filter"]))
        if user_id not in self.users:
            return Scripted(404, {"status": "404"})
        return {"GET": self._read, "PATCH": self._patched, "DELETE": self._deleted}[request.method](user_id, body)

    def _created(self, body: dict[str, Any]) -> Scripted:
        user_id = f"u{len(self.users) + 1}"
        self.users[user_id] = {**body, "id": user_id}
        return Scripted(201, self.users[user_id])

    def _read(self, user_id: str, _: Any) -> Scripted:
        return Scripted(200, self.users[user_id])

    def _deleted(self, user_id: str, _: Any) -> Scripted:
        del self.users[user_id]
        return Scripted(204)

    def _patched(self, user_id: str, body: dict[str, Any]) -> Scripted:
        for operation in body["Operations"]:
            path, value = operation.get("path"), operation["value"]
            for name, each in ({path: value} if path else value).items():
                Target(name).write(self.users[user_id], _typed(name, each))
        return Scripted(200, self.users[user_id])

    def _found(self, text: str) -> dict[str, Any]:
        match = re.fullmatch(r'(.+) eq "(.*)"', text)
        assert match, text
        hits = [user for user in self.users.values() if Target(match[1]).read(user) == match[2]]
        return {**EMPTY_LIST, "totalResults": len(hits), "Resources": hits}


def _typed(name: str, value: Any) -> Any:
    if name == "active":
        return value in {True, "True"}
    return {"value": value} if name.endswith(":manager") else value


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    application = web.Application()
    application.router.add_route("*", "/scim/v2/{tail:.*}", app.handle)
    async with TestServer(application) as server:
        app.url = str(server.make_url("/scim/v2"))
        yield app


NewJob = Callable[..., Awaitable[EntraJob]]


@pytest.fixture
async def new_job(app: App, clock: Clock) -> AsyncIterator[NewJob]:
    jobs: list[EntraJob] = []

    async def new(directory: Directory, seed: int = 7, **options: Any) -> EntraJob:
        rng = Random(seed)
        job = EntraJob(app.url, TOKEN, directory, Options(**options), rng, clock=clock)
        jobs.append(await job.__aenter__())
        return job

    yield new
    for job in jobs:
        await job.__aexit__(None, None, None)


@pytest.fixture
def settled(new_job: NewJob) -> NewJob:
    """A new job after its initial cycle."""

    async def new(directory: Directory, **options: Any) -> EntraJob:
        job = await new_job(directory, **options)
        assert (await job.initial_cycle()).ok
        return job

    return new


def assigned(*people: Person, role: AppRole | None = MEMBER) -> Directory:
    directory = Directory(people)
    for person in people:
        directory.assign(person.object_id, role)
    return directory


def operations(report: Report) -> list[list[dict[str, Any]]]:
    return [written.body["Operations"] for written in report.writes if written.method == "PATCH" and written.body]


# How it begins


async def test_a_connection_is_tested_with_random_guids_on_the_first_matching_attribute_and_on_groups(
    app: App, new_job: NewJob
) -> None:
    report = await (await new_job(assigned(ADA))).test_connection()

    guid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
    attribute = re.escape("urn%3aietf%3aparams%3ascim%3aschemas%3acore%3a2.0%3aUser%3amicrosoftId")
    *users, groups = app.lines()
    assert len(users) in {2, 3}
    assert len(set(users)) == len(users)
    assert all(re.fullmatch(rf"GET /Users\?filter={attribute}\+eq\+%22{guid}%22", line) for line in users)
    assert re.fullmatch(rf"GET /Groups\?excludedAttributes=members&filter=displayName\+eq\+%22{guid}%22", groups)
    assert (report.ok, report.writes, report.requests["GET"]) == (True, [], len(app.asked))


@pytest.mark.parametrize("seed", [2, 3])
async def test_no_probe_finds_people_who_were_made_from_the_seed_of_the_job(new_job: NewJob, seed: int) -> None:
    job = await new_job(contoso(40, Random(seed)), seed=seed)

    assert [(await job.initial_cycle()).stop for _ in range(8)] == [None] * 8


async def test_a_get_says_who_asks_and_nothing_of_its_taste(app: App, new_job: NewJob) -> None:
    await (await new_job(assigned(ADA))).test_connection()

    headers = app.asked[0].headers
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert not {"Accept", "Content-Type", "User-Agent"} & set(headers)


async def test_a_body_is_labelled_as_scim_in_utf_8(app: App, new_job: NewJob) -> None:
    report = await (await new_job(assigned(ADA))).initial_cycle()

    post = app.asked[-1]
    assert post.headers["Content-Type"] == "application/scim+json; charset=utf-8"
    assert [(each.method, each.path, each.body, each.status) for each in report.writes] == [
        ("POST", "/scim/v2/Users", post.body, 201)
    ]


@pytest.mark.parametrize("ending", ["/", "/?aadOptscim062020", "?aadOptscim062020"])
async def test_a_tenant_url_may_end_as_admins_type_it(app: App, new_job: NewJob, ending: str) -> None:
    app.url += ending

    assert (await (await new_job(assigned(ADA))).initial_cycle()).created == 1
    assert {asked.path.partition("?")[0] for asked in app.asked} == {"/scim/v2/Users", "/scim/v2/Groups"}


INCOMPATIBLE = "SystemForCrossDomainIdentityManagementServiceIncompatible"


@pytest.mark.parametrize("request_line", ["GET /Users", "GET /Groups"])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Scripted(404), INCOMPATIBLE),
        (Scripted(401), "SystemForCrossDomainIdentityManagementInvalidCredentials"),
        (Scripted(403), "SystemForCrossDomainIdentityManagementInvalidCredentials"),
        (Scripted(503), "InternalServerError"),
        (Scripted(200, EMPTY_LIST, "text/html"), INCOMPATIBLE),
        (Scripted(200, {"totalResults": 0, "Resources": []}), INCOMPATIBLE),
        (
            Scripted(200, {**EMPTY_LIST, "totalResults": 1, "Resources": [{"id": "1", "userName": "x"}]}),
            "DuplicateTargetEntries",
        ),
    ],
)
async def test_any_probe_without_an_empty_list_puts_the_job_into_quarantine(
    app: App, new_job: NewJob, request_line: str, answer: Scripted, code: str
) -> None:
    job = await new_job(assigned(ADA))
    app.answers(request_line, answer.status, answer.body, content_type=answer.content_type)

    report = await job.initial_cycle()

    assert report.stop
    assert (report.stop.reason, report.stop.code, report.writes) == (HALTED, code, [])
    assert job.quarantine
    assert job.quarantine.next_attempt == START + timedelta(hours=6)


async def test_a_probe_answered_404_is_logged_with_microsofts_words(app: App, new_job: NewJob) -> None:
    app.answers("GET /Groups", 404)

    report = await (await new_job(assigned(ADA))).test_connection()

    assert report.stop
    assert report.stop.detail == (
        "An HTTP/404 Not Found response was returned rather than the expected HTTP/200 OK response"
    )


@pytest.mark.parametrize("status", [401, 404])
async def test_a_matching_query_refused_in_mid_cycle_halts_the_job(app: App, new_job: NewJob, status: int) -> None:
    job = await new_job(assigned(ADA, BOB))
    app.answers(f"GET /Users?{filter_query('userName', 'ada@contoso.com')}", status)

    report = await job.initial_cycle()

    assert report.stop
    assert (report.stop.reason, report.entries, report.writes) == (HALTED, [], [])
    assert job.quarantine


# Cycles


async def test_a_person_is_matched_by_each_attribute_in_turn_before_it_is_created(app: App, new_job: NewJob) -> None:
    await (await new_job(assigned(ADA))).initial_cycle()

    assert app.lines()[-3:] == [
        f"GET /Users?{filter_query(f'{CORE}:microsoftId', GUID)}",
        f"GET /Users?{filter_query('userName', 'ada@contoso.com')}",
        "POST /Users",
    ]


async def test_the_first_hit_is_taken_and_brought_in_step(app: App, new_job: NewJob) -> None:
    app.users["7"] = {"id": "7", "schemas": [CORE], "userName": "old", "active": True, CORE: {"microsoftId": GUID}}

    report = await (await new_job(assigned(ADA))).initial_cycle()

    assert report.writes[0].path == "/scim/v2/Users/7"
    assert not any("userName" in line for line in app.lines())
    assert operations(report) == [
        [
            {"op": "Replace", "path": "userName", "value": "ada@contoso.com"},
            {"op": "Add", "path": "displayName", "value": "Ada Lovelace"},
            {"op": "Add", "path": "title", "value": "Engineer"},
            {"op": "Add", "path": "name.formatted", "value": "Ada Lovelace"},
            {"op": "Add", "path": f"{CORE}:active", "value": "True"},
            {"op": "Add", "path": f"{CORE}:role", "value": "Member"},
        ]
    ]


async def test_two_hits_of_one_query_are_provisioned_neither(app: App, new_job: NewJob) -> None:
    for user_id in ("1", "2"):
        app.users[user_id] = {"id": user_id, "schemas": [CORE], "userName": "ada@contoso.com"}

    report = await (await new_job(assigned(ADA))).initial_cycle()

    assert [entry.code for entry in report.failures] == ["DuplicateTargetEntries"]
    assert report.writes == []


@pytest.mark.parametrize("custom_on_create", ["nested", "dropped"])
@pytest.mark.parametrize("dialect", ["classic", "flag"])
@pytest.mark.parametrize("mapping", [SEED, DEFAULT], ids=["seed", "default"])
async def test_a_cycle_without_changes_writes_nothing(
    app: App, new_job: NewJob, mapping: Mapping, dialect: Dialect, custom_on_create: str
) -> None:
    directory = contoso(30, Random(3))
    job = await new_job(directory, mapping=mapping, dialect=dialect, custom_on_create=custom_on_create)
    first = await job.initial_cycle()
    settling = await job.incremental_cycle()

    quiet = await job.incremental_cycle()
    again = await job.initial_cycle()

    assert (first.created, first.failed, len(app.users)) == (30, 0, 30)
    assert settling.updated == (30 if (mapping, custom_on_create) == (SEED, "dropped") else 0)
    assert (quiet.writes, quiet.entries) == ([], [])
    assert (again.writes, again.skipped) == ([], 30)


async def test_only_who_changed_is_looked_at_again_and_by_its_id(app: App, settled: NewJob) -> None:
    directory = assigned(ADA, BOB)
    job = await settled(directory)
    directory.change(GUID, job_title="Countess")

    report = await job.incremental_cycle()

    assert app.lines()[-2:] == ["GET /Users/u1", "PATCH /Users/u1"]
    assert operations(report) == [[{"op": "Replace", "path": "title", "value": "Countess"}]]
    assert (report.updated, report.requests["PATCH"]) == (1, 1)


async def test_what_the_app_changes_on_its_own_goes_unnoticed_until_the_person_changes(
    app: App, settled: NewJob
) -> None:
    directory = assigned(ADA)
    job = await settled(directory)
    app.users["u1"]["title"] = "Baroness"

    assert (await job.incremental_cycle()).writes == []
    directory.change(GUID, display_name="A. Lovelace")
    assert operations(await job.incremental_cycle()) == [
        [
            {"op": "Replace", "path": "displayName", "value": "A. Lovelace"},
            {"op": "Replace", "path": "title", "value": "Engineer"},
        ]
    ]


async def test_attributes_dropped_on_creation_are_added_a_cycle_later(settled: NewJob) -> None:
    job = await settled(assigned(ADA, role=AppRole("admin", "25")), custom_on_create="dropped")

    assert operations(await job.incremental_cycle()) == [
        [
            {"op": "Add", "path": f"{CORE}:active", "value": "True"},
            {"op": "Add", "path": f"{CORE}:microsoftId", "value": GUID},
            {"op": "Add", "path": f"{CORE}:role", "value": "admin"},
        ]
    ]


@pytest.mark.parametrize(
    ("role", "options", "sent"),
    [
        (ADMIN, {}, "Admin"),
        (ADMIN, {"role_source": "value"}, "admin"),
        (None, {}, None),
        (None, {"default_access": True}, "User"),
    ],
)
async def test_the_role_is_sent_by_its_display_name_unless_told_otherwise(
    app: App, new_job: NewJob, role: AppRole | None, options: dict[str, Any], sent: str | None
) -> None:
    await (await new_job(assigned(ADA, role=role), **options)).initial_cycle()

    assert app.users["u1"][CORE].get("role") == sent


async def test_another_role_replaces_the_first_and_none_takes_nothing_away(settled: NewJob) -> None:
    directory = assigned(ADA)
    job = await settled(directory)

    directory.assign(GUID, ADMIN)
    assert operations(await job.incremental_cycle()) == [
        [{"op": "Replace", "path": f"{CORE}:role", "value": "Admin"}],
    ]
    directory.assign(GUID, None)
    assert (await job.incremental_cycle()).writes == []


@pytest.mark.parametrize("ending", [Directory.unassign, Directory.disable, Directory.soft_delete])
async def test_who_leaves_is_disabled_by_both_mappings_of_active(
    app: App, settled: NewJob, ending: Callable[[Directory, str], object]
) -> None:
    directory = assigned(ADA)
    job = await settled(directory)
    ending(directory, GUID)

    report = await job.incremental_cycle()

    assert report.disabled == 1
    assert operations(report) == [
        [
            {"op": "Replace", "path": "active", "value": "False"},
            {"op": "Replace", "path": f"{CORE}:active", "value": "False"},
        ]
    ]
    assert not app.users["u1"]["active"]


async def test_who_comes_back_is_active_again(app: App, settled: NewJob) -> None:
    directory = assigned(ADA)
    job = await settled(directory)
    directory.unassign(GUID)
    await job.incremental_cycle()

    directory.assign(GUID, MEMBER)
    report = await job.incremental_cycle()

    assert (report.updated, app.users["u1"]["active"]) == (1, True)


async def test_who_was_unassigned_is_not_managed_any_more(settled: NewJob) -> None:
    directory = assigned(ADA)
    job = await settled(directory)
    directory.unassign(GUID)
    await job.incremental_cycle()

    directory.change(GUID, job_title="Countess")
    later = await job.incremental_cycle()
    directory.purge(GUID)
    last = await job.incremental_cycle()

    assert (later.writes, last.writes) == ([], [])


async def test_who_is_purged_is_deleted_and_a_second_time_does_no_harm(app: App, settled: NewJob) -> None:
    directory = assigned(ADA, BOB)
    job = await settled(directory)
    directory.soft_delete(GUID)
    await job.incremental_cycle()
    directory.purge(GUID)
    directory.purge(BOB.object_id)
    del app.users["u2"]

    report = await job.incremental_cycle()

    assert [(written.method, written.path) for written in report.writes] == [
        ("DELETE", "/scim/v2/Users/u1"),
        ("DELETE", "/scim/v2/Users/u2"),
    ]
    assert (report.deleted, app.users) == (2, {})
    assert (await job.initial_cycle()).writes == []


async def test_who_is_disabled_is_never_created(app: App, new_job: NewJob) -> None:
    directory = assigned(replace(ADA, account_enabled=False), replace(BOB, soft_deleted=True))

    report = await (await new_job(directory)).initial_cycle()

    assert (report.skipped, app.users) == (2, {})


async def test_who_is_not_assigned_is_never_looked_at(app: App, new_job: NewJob) -> None:
    report = await (await new_job(Directory([ADA]))).initial_cycle()

    assert report.entries == []
    assert len(app.asked) <= 4


async def test_who_has_no_matching_value_is_skipped_without_a_request(app: App, new_job: NewJob) -> None:
    nameless = Person(GUID, "")

    report = await (await new_job(assigned(nameless), mapping=DEFAULT)).initial_cycle()

    assert [(entry.outcome, entry.code) for entry in report.entries] == [("skipped", "MissingValues")]
    assert app.users == {}


async def test_managers_come_in_a_second_pass_when_everyone_exists(app: App, new_job: NewJob) -> None:
    job = await new_job(assigned(replace(ADA, manager=BOB.object_id), BOB), mapping=DEFAULT)

    report = await job.initial_cycle()

    assert [written.method for written in report.writes] == ["POST", "POST", "PATCH"]
    assert operations(report) == [[{"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "u2"}]]
    assert app.users["u1"][ENTERPRISE]["manager"] == {"value": "u2"}


async def test_another_manager_replaces_the_first_and_none_takes_nothing_away(settled: NewJob) -> None:
    eve = Person("e0e00000-0000-4000-8000-000000000000", "eve@contoso.com")
    directory = assigned(replace(ADA, manager=BOB.object_id), BOB, eve)
    job = await settled(directory, mapping=DEFAULT)

    directory.set_manager(GUID, eve)
    assert operations(await job.incremental_cycle()) == [
        [{"op": "Replace", "path": f"{ENTERPRISE}:manager", "value": "u3"}],
    ]
    directory.set_manager(GUID, None)
    assert (await job.incremental_cycle()).writes == []


async def test_a_manager_who_comes_into_scope_later_is_not_set_until_a_restart(settled: NewJob) -> None:
    directory = Directory([replace(ADA, manager=BOB.object_id), BOB])
    directory.assign(GUID)
    job = await settled(directory, mapping=DEFAULT)
    directory.assign(BOB.object_id)

    assert operations(await job.incremental_cycle()) == []
    job.restart()
    assert len(operations(await job.incremental_cycle())) == 1


async def test_a_manager_that_is_not_echoed_is_sent_in_every_initial_cycle(app: App, settled: NewJob) -> None:
    job = await settled(assigned(replace(ADA, manager=BOB.object_id), BOB), mapping=DEFAULT)

    for _ in range(2):
        del app.users["u1"][ENTERPRISE]["manager"]
        assert len(operations(await job.initial_cycle())) == 1


async def test_on_demand_is_classic_whatever_the_job_speaks(app: App, new_job: NewJob) -> None:
    directory = assigned(ADA, BOB)
    job = await new_job(directory, dialect="flag")

    created = await job.provision_on_demand(ADA)
    changed = await job.provision_on_demand(directory.change(GUID, job_title="Countess"))

    assert created.entries[0].steps == ("Import", "Scope", "Match", "Action")
    assert operations(changed) == [[{"op": "Replace", "path": "title", "value": "Countess"}]]
    assert len(app.users) == 1


async def test_many_at_a_time_are_provisioned_once_each(app: App, new_job: NewJob) -> None:
    directory = contoso(60, Random(5))

    report = await (await new_job(directory, mapping=DEFAULT, concurrency=8)).initial_cycle()

    assert (report.created, report.updated, report.failed) == (60, 59, 0)
    assert len({user["userName"] for user in app.users.values()}) == 60


async def test_a_restart_keeps_the_ids_and_a_reset_matches_anew(app: App, settled: NewJob) -> None:
    job = await settled(assigned(ADA))

    job.restart()
    assert (await job.incremental_cycle()).writes == []
    assert app.lines()[-1] == "GET /Users/u1"
    job.reset()
    assert job.target_id(ADA) is None
    assert (await job.incremental_cycle()).writes == []
    assert app.lines()[-1] == f"GET /Users?{filter_query(f'{CORE}:microsoftId', GUID)}"


# What it makes of answers


async def test_an_id_that_the_app_no_longer_knows_is_an_invalid_anchor_until_the_restart(
    app: App, settled: NewJob
) -> None:
    directory = assigned(ADA)
    job = await settled(directory)
    app.users.clear()
    directory.change(GUID, job_title="Countess")

    for cycle in (job.incremental_cycle, job.initial_cycle):
        report = await cycle()
        assert [entry.code for entry in report.failures] == ["InvalidAnchor"]
        assert report.writes == []
    job.restart()
    assert (await job.incremental_cycle()).created == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "SystemForCrossDomainIdentityManagementBadRequest"),
        (403, "InsufficientRights"),
        (405, "MethodNotAllowed"),
        (409, "Conflict"),
        (422, "UnprocessableEntity"),
        (501, "NotImplemented"),
    ],
)
async def test_a_refused_object_waits_in_escrow_with_the_apps_own_words(
    app: App, clock: Clock, new_job: NewJob, status: int, code: str
) -> None:
    job = await new_job(assigned(ADA))
    app.answers("POST /Users", status, {"detail": "userName must be lower case", "status": str(status)})

    report = await job.initial_cycle()

    assert [(entry.action, entry.code, entry.status) for entry in report.failures] == [("Create", code, status)]
    assert "userName must be lower case" in report.failures[0].detail
    assert GUID in job.escrow
    assert (await job.incremental_cycle()).entries == []  # too early
    clock.forward(CYCLE)
    app.recovers()
    assert (await job.incremental_cycle()).created == 1
    assert GUID not in job.escrow


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_or_broken_app_is_tried_again_in_the_next_cycle(app: App, new_job: NewJob, status: int) -> None:
    job = await new_job(assigned(ADA))
    app.answers("POST /Users", status)
    await job.initial_cycle()
    app.recovers()

    assert (await job.incremental_cycle()).created == 1


async def test_an_app_that_is_too_slow_for_the_session_is_tried_again_in_the_next_cycle(app: App) -> None:
    app.answers("POST /Users", 201, after=0.6)
    async with ClientSession(timeout=ClientTimeout(total=0.3)) as session:
        rng = Random(7)
        async with EntraJob(app.url, TOKEN, assigned(ADA), Options(), rng, session=session) as job:
            report = await job.initial_cycle()
            app.recovers()
            later = await job.incremental_cycle()
        assert not session.closed

    assert [(entry.code, entry.status) for entry in report.failures] == [("Timeout", None)]
    assert (report.writes[0].method, report.writes[0].status, later.created) == ("POST", None, 1)


async def test_a_person_in_escrow_that_changes_is_tried_at_once(app: App, new_job: NewJob) -> None:
    directory = assigned(ADA)
    job = await new_job(directory)
    app.answers("POST /Users", 400)
    await job.initial_cycle()
    app.recovers()
    directory.change(GUID, job_title="Countess")

    assert (await job.incremental_cycle()).created == 1


async def test_an_app_that_does_not_answer_stops_the_cycle_at_its_probe(app: App, new_job: NewJob) -> None:
    app.url = "http://127.0.0.1:1/scim/v2"

    report = await (await new_job(assigned(ADA))).initial_cycle()

    assert report.stop
    assert report.stop.code == "WebExceptionProtocolError"


WELL_FORMED = {"schemas": [CORE], "id": "u1", "userName": "ada@contoso.com", "active": True}


@pytest.mark.parametrize(
    "odd",
    [
        {"active": "True"},
        {"emails": [{"type": "work", "value": "ada@contoso.com", "primary": "True"}]},
        {"roles": [{"value": "admin", "primary": "True"}]},
        {"emails": {"type": "work"}},
        {ENTERPRISE: {"manager": "u2"}},
        {"name": "Ada"},
        {"id": 1},
        {"userName": None},  # nested under a URN only, it is not there
        {"title": {"value": "Engineer"}},
    ],
)
async def test_a_user_with_the_wrong_json_types_is_stuck(app: App, settled: NewJob, odd: dict[str, Any]) -> None:
    job = await settled(assigned(ADA))
    app.answers("GET /Users/u1", 200, WELL_FORMED | odd)

    report = await job.initial_cycle()

    assert [(entry.code, entry.steps[-1]) for entry in report.failures] == [(INCOMPATIBLE, "Match")]
    assert "We are not able to deserialize the resource" in report.failures[0].detail
    assert report.writes == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_user_that_is_not_labelled_as_scim_is_stuck(app: App, new_job: NewJob, content_type: str) -> None:
    app.answers("POST /Users", 201, WELL_FORMED, content_type=content_type)

    report = await (await new_job(assigned(ADA))).initial_cycle()

    assert [entry.code for entry in report.failures] == [INCOMPATIBLE]


async def test_a_patch_may_be_answered_without_a_body(app: App, settled: NewJob) -> None:
    directory = assigned(ADA)
    job = await settled(directory)
    directory.change(GUID, job_title="Countess")
    app.answers("PATCH /Users", 204)

    assert (await job.incremental_cycle()).updated == 1


# When it tries again


async def test_a_job_in_quarantine_asks_nothing_before_its_time_and_any_success_frees_it(
    app: App, clock: Clock, new_job: NewJob
) -> None:
    job = await new_job(assigned(ADA))
    app.answers("GET /Groups", 404)
    await job.initial_cycle()
    asked = len(app.asked)

    clock.forward(CYCLE)
    held = await job.incremental_cycle()
    assert held.stop
    assert len(app.asked) == asked
    clock.forward(timedelta(hours=6))
    assert (await job.incremental_cycle()).stop
    assert job.quarantine
    assert job.quarantine.next_attempt == START + timedelta(hours=12)
    app.recovers()
    clock.forward(timedelta(hours=6))
    assert (await job.incremental_cycle()).created == 1
    assert job.quarantine is None


async def test_a_job_is_switched_off_after_four_weeks_of_quarantine(app: App, clock: Clock, new_job: NewJob) -> None:
    job = await new_job(assigned(ADA))
    app.answers("GET /Users", 401)
    for _ in range(32):
        await job.incremental_cycle()
        clock.forward(timedelta(days=1))
    app.recovers()

    assert job.quarantine
    assert job.quarantine.next_attempt is None
    assert (await job.incremental_cycle()).stop
    job.restart()
    assert (await job.incremental_cycle()).created == 1


async def test_a_cycle_of_failures_quarantines_the_job(
    app: App, new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.entra.too_many_failures", lambda *counts: counts == (2, 2, 0))
    job = await new_job(assigned(ADA, BOB))
    app.answers("POST /Users", 400)

    report = await job.initial_cycle()

    assert report.stop
    assert report.stop.reason == OVERFLOWING
    assert job.quarantine
