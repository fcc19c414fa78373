"""`/metrics` counts what happened, whoever answers, tells nobody who was meant, and opens to whom it should."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from api import metrics, store_metrics
from api.app import ROUTES, create_app
from api.composition import open_services
from api.services import Services
from engine import catalog, resource
from engine.engine import Engine
from engine.events import TYPES
from engine.refusals import Busy
from engine.store import Appended, EventStore, LostRaceError, NewEvent
from engine.tenant import RevokeToken
from engine.user import ProvisionUser, Terms
from ops import administration, serve
from ops.database import Database
from ops.trouble import Trouble
from projections.followers import Followers
from projections.inline import INLINE
from tests.conftest import Directory, issue, register

USERS = "/scim/v2/Users"
LABELS = {
    "route",
    "method",
    "status",
    "le",
    "reason",
    "type",
    "result",
    "state",
    "version",
    "follower",
    "projection",
    "tenant",
}


@pytest.fixture(autouse=True)
def _no_memory_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_metrics, "REMEMBERED", 0)


class Scrape:
    """What was answered to one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: list[Metric] = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def __getitem__(self, name: str) -> float:
        """The value of a metric without labels, or the sum over them."""
        values = [sample.value for sample in self.samples if sample.name == name]
        assert values, f"{name} is not in {self.text}"
        return sum(values)

    def of(self, name: str, **labels: str) -> float:
        """The sum of all that have these labels, 0 if none has."""
        return sum(each.value for each in self.samples if each.name == name and labels.items() <= each.labels.items())

    def labels(self, name: str, label: str) -> set[str]:
        return {each.labels[label] for each in self.samples if each.name == name}

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}


async def scraped(client: httpx.AsyncClient) -> Scrape:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.text)


# What is counted.


async def test_requests_are_counted_by_route_method_and_status(directory: Directory) -> None:
    ann = await directory.create("ann")
    for title in ("Dr", "Prof"):
        await directory.patch(ann, {"op": "replace", "path": "title", "value": title})
    await directory.request("POST", USERS, json={"userName": "ann"})
    found = await scraped(directory.client)

    assert found.of("rollbook_requests_total", route=USERS, method="POST", status="201") == 1
    assert found.of("rollbook_requests_total", route=USERS, method="POST", status="409") == 1
    assert found.of("rollbook_requests_total", route=USERS + "/{id}", method="PATCH", status="200") == 2
    assert found.of("rollbook_request_duration_seconds_count", route=USERS + "/{id}", method="PATCH") == 2
    assert found.of("rollbook_request_duration_seconds_bucket", route=USERS + "/{id}", le="+Inf") == 2
    assert found.of("rollbook_request_duration_seconds_sum", route=USERS, method="POST") > 0


async def test_refusals_are_counted_by_their_reason(directory: Directory) -> None:
    await directory.create("ann")
    await directory.request("POST", USERS, json={"userName": "ann"})
    await directory.request("POST", USERS, content="{")
    await directory.request("GET", f"{USERS}/{uuid4()}")
    await directory.client.get(USERS)
    await directory.client.get("/nowhere")
    await directory.set_settings(seat_limit=1)
    await directory.request("POST", USERS, json={"userName": "ben"})
    found = await scraped(directory.client)

    counted = {each.labels["reason"]: each.value for each in found.samples if each.name == "rollbook_refusals_total"}
    assert {reason: count for reason, count in counted.items() if count} == {
        "uniqueness": 1,
        "invalidSyntax": 1,
        "NotFound": 2,
        "NotAuthenticated": 1,
        "SeatLimitReached": 1,
    }
    assert set(counted) == set(metrics.reasons())


async def test_a_fault_is_no_refusal_and_a_database_that_is_away_is(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [RuntimeError(), ConnectionRefusedError()]

    async def fail(*_: object) -> None:
        raise errors.pop()

    monkeypatch.setattr(type(directory.services.users), "get", fail)
    for _ in range(2):
        await directory.request("GET", f"{USERS}/{uuid4()}")
    found = await scraped(directory.client)

    assert found["rollbook_refusals_total"] == found.of("rollbook_refusals_total", reason="Busy") == 1
    assert found.of("rollbook_requests_total", status="500") == found.of("rollbook_requests_total", status="503") == 1


async def test_events_are_counted_by_type_from_zero_on(directory: Directory) -> None:
    before = await scraped(directory.client)
    ann = await directory.create("ann")
    await directory.patch(ann, {"op": "replace", "value": {"title": "Dr", "active": False, "role": "Admin"}})
    await directory.patch(ann, {"op": "replace", "path": "title", "value": "Dr"})
    await directory.request("POST", USERS, json={"userName": "ann"})
    found = await scraped(directory.client)

    def added(name: str) -> float:
        return found.of("rollbook_events_appended_total", type=name) - before.of(
            "rollbook_events_appended_total", type=name
        )

    assert before.labels("rollbook_events_appended_total", "type") == set(TYPES)
    assert {name: added(name) for name in TYPES if added(name)} == {
        "UserProvisioned": 1,
        "AttributesChanged": 1,
        "RoleAssigned": 1,
        "Deactivated": 1,
        "RequestRefused": 1,
    }


class ForestalledStore(EventStore):
    """A store in which another writer comes first, so many times."""

    def __init__(self, pool: asyncpg.Pool, times: int) -> None:
        super().__init__(pool)
        self._times = times

    async def append(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> Appended:
        self._times -= 1
        if self._times >= 0:
            raise LostRaceError
        return await super().append(batch, rows)


async def provision(services: Services, tenant_id: UUID, times: int) -> None:
    store = ForestalledStore(services.pool, times)
    engine = Engine(store, services.users, services.groups, services.tenants, INLINE, services.metrics)
    command = ProvisionUser(resource.read({"userName": "ann"}, catalog.USERS, []))
    await engine.carry_out(command, uuid4(), administration.cause(tenant_id), Terms())


async def test_lost_races_are_counted_with_what_became_of_them(directory: Directory) -> None:
    await provision(directory.services, directory.tenant_id, 2)
    with pytest.raises(Busy):
        await provision(directory.services, directory.tenant_id, 5)
    found = await scraped(directory.client)

    assert found["rollbook_append_conflicts_total"] == 2 + 5
    assert found["rollbook_append_retries_total"] == 2 + 4
    assert found["rollbook_append_busy_total"] == 1


async def test_appends_that_were_committed_together_are_one_observation_of_their_number(directory: Directory) -> None:
    before = await scraped(directory.client)
    await asyncio.gather(*(directory.create(f"ann{number}") for number in range(20)))
    found = await scraped(directory.client)

    assert found["rollbook_group_commit_appends_sum"] - before["rollbook_group_commit_appends_sum"] == 20
    assert found["rollbook_group_commit_appends_count"] - before["rollbook_group_commit_appends_count"] < 20


async def test_the_pool_is_shown_as_it_is(directory: Directory) -> None:
    pool = directory.services.pool
    async with pool.acquire(), pool.acquire():
        directory.services.metrics.measure(pool)
        found = Scrape(directory.services.metrics.text([]).decode())

    assert found.of("rollbook_pool_connections", state="in_use") == 2
    assert found["rollbook_pool_connections"] == pool.get_size()
    assert found["rollbook_pool_connections_max"] == 16


async def test_a_token_misses_once_and_is_hit_from_then_on_and_what_is_no_token_is_neither(
    directory: Directory,
) -> None:
    for _ in range(3):
        await directory.request("GET", USERS)
    await directory.client.get(USERS, headers={"Authorization": "Bearer rb_mistyped"})
    found = await scraped(directory.client)

    assert found.of("rollbook_token_cache_lookups_total", result="miss") == 1
    assert found.of("rollbook_token_cache_lookups_total", result="hit") == 2


async def test_the_running_version_is_told(directory: Directory) -> None:
    found = await scraped(directory.client)

    assert found.labels("rollbook_build_info", "version") == {metrics.VERSION}


async def test_every_metric_is_named_after_rollbook_and_says_what_it_is(directory: Directory) -> None:
    found = await scraped(directory.client)

    for family in found.families:
        assert family.name.startswith("rollbook_")
        assert family.documentation.endswith(".")
        assert (family.type == "counter") == (family.name + "_total" in metrics.COUNTERS)


# Labels.


async def test_whatever_clients_send_there_are_no_more_series(directory: Directory) -> None:
    async def send(round_: int) -> None:
        for path in ("/nowhere/", USERS + "/", "/scim/v2/Nothing/", "/v1/users/", "/scim/v2/Schemas/"):
            for method in ("GET", "BREW", f"X{round_}", "propfind"):
                await directory.request(method, f"{path}{uuid4()}?filter={round_}")

    await send(0)
    first = await scraped(directory.client)
    await send(1)
    second = await scraped(directory.client)

    assert len(second.samples) == len((await scraped(directory.client)).samples)
    known = {route.path for route in ROUTES} | {"unknown"}
    assert second.labels("rollbook_requests_total", "route") <= known
    assert second.labels("rollbook_requests_total", "method") == {"GET", "other"}
    assert {(each.name, str(each.labels)) for each in second.samples} - {
        (each.name, str(each.labels)) for each in first.samples
    } == {
        (name, str(labels))
        for name, labels in ((each.name, each.labels) for each in second.samples)
        if labels.get("route") == "/metrics"
    }


async def test_no_person_token_or_name_of_a_tenant_is_in_a_scrape(directory: Directory) -> None:
    ada = await directory.create("ada.lovelace@secret.example", displayName="Ada Lovelace", externalId="4711-ext")
    await directory.request("GET", f"{USERS}?filter=userName+eq+%22ada.lovelace@secret.example%22")
    await directory.request("GET", "/ada.lovelace")
    found = await scraped(directory.client)

    for secret in ("ada", "lovelace", "secret", "4711", "contoso", "rb_", directory.token[3:], ada):
        assert secret not in found.text.lower()
    assert {label for sample in found.samples for label in sample.labels} <= LABELS
    assert {sample.name for sample in found.samples if str(directory.tenant_id) in sample.labels.values()} == {
        "rollbook_directory_silence_seconds"
    }


async def test_two_services_in_one_process_count_for_themselves(directory: Directory, database: Database) -> None:
    await directory.create("ann")
    app = create_app(lambda: open_services(database.service_url))
    async with app.router.lifespan_context(app), client_of(app) as other:
        assert (await scraped(other)).of("rollbook_requests_total") == 0
        assert (await scraped(directory.client)).of("rollbook_requests_total", route=USERS) == 1


# Directories.


def client_of(app: Starlette, address: str = "127.0.0.1") -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(address, 4711)), base_url="http://rollbook.test"
    )


def silence(found: Scrape) -> dict[str, float]:
    return {
        each.labels["tenant"]: each.value for each in found.samples if each.name == "rollbook_directory_silence_seconds"
    }


async def called(services: Services, ago: timedelta, *scopes: str) -> UUID:
    """A tenant of which one token was used last so long ago."""
    tenant_id = await register(services, f"tenant {uuid4()}")
    await issue(services, tenant_id, *scopes or ["scim"])
    token = (await services.tenants.tokens(tenant_id))[0]
    await services.tenants.note_uses([(tenant_id, token.id, datetime.now(UTC) - ago)])
    return tenant_id


async def test_the_silence_of_a_directory_is_that_of_its_last_call_written_down_or_not(directory: Directory) -> None:
    tenant = await called(directory.services, timedelta(hours=3))
    assert silence(await scraped(directory.client)) == {str(tenant): pytest.approx(3 * 3600, abs=60)}

    await directory.request("GET", USERS)
    assert directory.services.gate.uses()
    assert silence(await scraped(directory.client))[str(directory.tenant_id)] < 60

    await directory.services.gate.note_uses()
    assert directory.services.gate.uses() == []
    assert silence(await scraped(directory.client))[str(directory.tenant_id)] < 60


async def test_apps_are_no_directories_and_neither_are_tenants_whose_tokens_are_all_revoked(
    directory: Directory,
) -> None:
    services = directory.services
    await called(services, timedelta(minutes=1), "people:read", "audit:read")
    left, rotated = [await called(services, timedelta(minutes=1)) for _ in range(2)]
    for tenant_id in (left, rotated):
        token = (await services.tenants.tokens(tenant_id))[0]
        await services.engine.administer(RevokeToken(token.id), administration.cause(tenant_id))
    await issue(services, rotated, "scim")

    assert set(silence(await scraped(directory.client))) == {str(rotated)}


@pytest.mark.parametrize("most", [0, 2])
async def test_the_tenants_that_are_told_apart_are_those_that_called_most_recently(
    services: Services, database: Database, most: int
) -> None:
    tenants = [await called(services, timedelta(minutes=minutes)) for minutes in (30, 10, 20)]
    app = create_app(lambda: open_services(database.service_url, measured_tenants=most))
    async with app.router.lifespan_context(app), client_of(app) as client:
        found = silence(await scraped(client))

    assert set(found) == {str(tenants[place]) for place in (1, 2)[:most]}


@pytest.mark.parametrize("wrong", ["-1", "many", "1e3", "10001", "100000000"])
def test_a_number_of_tenants_that_is_none_is_refused_at_the_start(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_METRICS_TENANTS", wrong)
    with pytest.raises(Trouble, match="from 0 to 10,000"):
        serve.measured_tenants()


@pytest.mark.parametrize(("given", "meant"), [("", 100), ("0", 0), ("10000", 10_000)])
def test_the_number_of_tenants_is_100_if_nobody_says_otherwise(
    given: str, meant: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLBOOK_METRICS_TENANTS", given)
    assert serve.measured_tenants() == meant


# The database.


async def begin_replay(owner: asyncpg.Connection, projection: str, done: int, total: int) -> None:
    await owner.execute(
        """
        INSERT INTO rollbook.replays (projection, run, leased_until, events_done, events_total)
        VALUES ($1, gen_random_uuid(), now() + interval '1 hour', $2, $3)
        """,
        projection,
        done,
        total,
    )


async def test_followers_and_replays_are_shown_as_the_database_knows_them(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    ann = await directory.create("ann")
    await directory.patch(ann, {"op": "replace", "path": "title", "value": "Dr"})
    await begin_replay(owner, "users", 30, 40)
    await owner.execute(
        """
        INSERT INTO rollbook.places (tenant_id, follower, seq, attempts, error, parked_at, retry_at)
        VALUES ($1, 'history', 2, 1, 'an error', now(), now())
        """,
        directory.tenant_id,
    )
    found = await scraped(directory.client)
    status = {each.name: each for each in await directory.services.followers.status()}

    assert found.labels("rollbook_follower_lag_events", "follower") == set(status)
    for follower, parked in (("history", 1), ("ledger", 0), ("seat_history", 0)):
        assert found.of("rollbook_follower_lag_events", follower=follower) == status[follower].events_behind > 0
        assert found.of("rollbook_follower_lag_seconds", follower=follower) > 0
        assert found.of("rollbook_follower_tenants_behind", follower=follower) == 1
        assert found.of("rollbook_follower_parked", follower=follower) == parked
    assert found.of("rollbook_replay_events_done", projection="users") == 30
    assert found.of("rollbook_replay_events_total", projection="users") == 40
    assert found["rollbook_database_up"] == 1


async def test_without_its_database_the_service_tells_the_rest(directory: Directory) -> None:
    await directory.create("ann")
    await directory.services.pool.close()
    found = await scraped(directory.client)

    assert found["rollbook_database_up"] == 0
    assert found.of("rollbook_requests_total", route=USERS, status="201") == 1
    assert not [name for name in found.names if re.match("rollbook_(follower|replay|directory)", name)]


async def test_scrapes_that_follow_each_other_ask_the_database_once(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_metrics, "REMEMBERED", 3600)
    asked = []

    async def fail(_: Followers) -> None:
        asked.append(1)
        await asyncio.sleep(0)
        raise ConnectionRefusedError

    monkeypatch.setattr(Followers, "status", fail)
    answers = await asyncio.gather(*(scraped(directory.client) for _ in range(5)))
    answers.append(await scraped(directory.client))

    assert len(asked) == 1
    assert {found["rollbook_database_up"] for found in answers} == {0}


# Access.


async def asked_by(
    address: str, database: Database, headers: Mapping[str, str] | None = None, token: str | None = None
) -> httpx.Response:
    """The answer to a client at this address, when `token` is what opens the metrics."""
    sent = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    app = create_app(lambda: open_services(database.service_url, metrics_token=token))
    async with app.router.lifespan_context(app), client_of(app, address) as client:
        return await client.get("/metrics", headers=sent)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_needs_no_token(database: Database, address: str) -> None:
    assert (await asked_by(address, database)).status_code == 200
    assert (await asked_by(address, database, token="secret")).status_code == 200


@pytest.mark.parametrize("address", ["10.0.0.7", "2001:db8::1", "::ffff:10.0.0.7", "localhost.example", ""])
async def test_others_are_told_how_to_be_let_in(directory: Directory, database: Database, address: str) -> None:
    for token in (directory.token, "", "secret"):
        answer = await asked_by(address, database, {"Authorization": f"Bearer {token}"})

        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
        assert answer.json()["title"] == "Forbidden"
        assert "ROLLBOOK_METRICS_TOKEN" in answer.json()["detail"]
        assert "rollbook_" not in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Real-IP", "Via"])
async def test_whoever_comes_through_a_proxy_on_this_machine_is_somebody_else(database: Database, header: str) -> None:
    assert (await asked_by("127.0.0.1", database, {header: "127.0.0.1"})).status_code == 403
    assert (await asked_by("127.0.0.1", database, {header: "127.0.0.1"}, token="secret")).status_code == 401


async def test_with_a_token_others_read_the_metrics(database: Database) -> None:
    for sent in ("Bearer sécret", "bearer  sécret "):
        answer = await asked_by("10.0.0.7", database, {"Authorization": sent}, token="sécret")
        assert answer.status_code == 200, answer.text
        assert "rollbook_build_info" in answer.text


async def test_a_wrong_token_is_refused_in_the_words_of_a_problem(directory: Directory, database: Database) -> None:
    for sent in ("Bearer secre", "Bearer secrett", "Bearer", "secret", "Basic secret", f"Bearer {directory.token}", ""):
        answer = await asked_by("10.0.0.7", database, {"Authorization": sent}, token="secret")

        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["title"] == "NotAuthenticated"
        assert "secret" not in answer.text
    assert (await asked_by("10.0.0.7", database, token="secret")).status_code == 401


async def test_metrics_are_read_and_nothing_else(directory: Directory) -> None:
    answer = await directory.client.post("/metrics")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (await directory.client.head("/metrics")).status_code == 200
