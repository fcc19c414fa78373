"""How the synchronisation is going: cycles, overdue ones, tokens and refusals, from the request log."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from api.services import Services
from engine.tenant import RevokeToken
from ops import administration
from ops.entra_contoso import contoso
from ops.entra_mapping import SEED, Options
from projections.request_log import LoggedRequest, RequestLog, RequestSelection
from projections.sync_health import MOST_PEOPLE, Cycle, QuirkCount, RefusalCount, SyncHealth
from tests.conftest import Directory, issue
from tests.test_plans import MODES, Explainer
from tests.test_provisioning import Live, done
from tests.test_provisioning import live as entra  # noqa: F401  a fixture
from tests.test_request_log import request

TENANT = UUID(int=1)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LONG_AGO = NOON - timedelta(days=30)


def at(minutes: float, **given: Any) -> LoggedRequest:
    return request(NOON + timedelta(minutes=minutes), **given)


async def cycles_of(services: Services, rows: Sequence[LoggedRequest], **given: Any) -> Sequence[Cycle]:
    """The first one first."""
    await RequestLog(services.pool).write(rows)
    asked = {"since": LONG_AGO, "until": NOON + timedelta(days=1), "limit": 100, **given}
    return (await SyncHealth(services.pool).cycles(TENANT, **asked))[::-1]


async def test_requests_with_a_long_pause_between_them_are_of_different_cycles(services: Services) -> None:
    rows = [at(minutes) for minutes in (0, 4.9, 9.8, 14.81, 40, 40, 80)]

    found = await cycles_of(services, rows)

    began = [(cycle.began_at - NOON) / timedelta(minutes=1) for cycle in found]
    assert began == pytest.approx([0, 14.81, 40, 80])
    assert [cycle.requests for cycle in found] == [3, 1, 2, 1]
    assert found[0].ended_at == rows[2].at + timedelta(milliseconds=5)
    assert found[0].seconds == pytest.approx(588.005)
    longer = await cycles_of(services, [], pause=timedelta(minutes=30))
    assert [cycle.requests for cycle in longer] == [6, 1]


async def test_a_cycle_belongs_to_the_period_in_which_it_began(services: Services) -> None:
    rows = [at(minutes) for minutes in (0, 1, 2, 40, 41, 42)]
    await RequestLog(services.pool).write(rows)

    async def requests(since: float, until: float) -> list[int]:
        period = {"since": NOON + timedelta(minutes=since), "until": NOON + timedelta(minutes=until)}
        return [cycle.requests for cycle in await cycles_of(services, [], **period)]

    assert await requests(0, 60) == [3, 3]
    assert await requests(0.5, 60) == [3]
    assert await requests(2.5, 60) == [3]
    assert await requests(-10, 41.5) == [3, 2]
    assert await requests(41, 60) == []
    for until, may_go_on in ((44, True), (47.1, False)):
        found = await cycles_of(services, [], until=NOON + timedelta(minutes=until))
        assert [cycle.may_go_on for cycle in found] == [False, may_go_on]


async def test_page_by_page_there_is_every_cycle_once(services: Services) -> None:
    whole = await cycles_of(services, [at(minutes) for minutes in range(0, 600, 20)])
    assert len(whole) == 30

    found: list[Cycle] = []
    until = NOON + timedelta(days=1)
    while page := await SyncHealth(services.pool).cycles(TENANT, LONG_AGO, until, 7):
        found += page
        until = page[-1].began_at

    assert found[::-1] == whole


async def test_a_cycle_tells_what_came_of_it(services: Services) -> None:
    ann, bob, first, second = (UUID(int=place) for place in (71, 72, 81, 82))
    duplicate = {"method": "POST", "status": 409, "refusal": "uniqueness", "token_id": first}
    rows = [
        at(0, token_id=first),
        at(0.1, method="POST", status=201, user_id=ann, changes=1, quirks=("a", "b"), token_id=first),
        at(0.2, **duplicate),
        at(0.3, method="PATCH", user_id=ann, changes=2, quirks=("a",), token_id=first),
        at(0.4, method="PATCH", user_id=ann, quirks=("a",), token_id=first),
        at(0.5, method="PATCH", status=400, refusal="invalidValue", user_id=bob, token_id=first),
        at(0.6, method="PUT", status=400, refusal="invalidValue", user_id=ann, token_id=first),
        at(0.7, method="PATCH", status=400, refusal="invalidValue", user_id=bob, token_id=second),
        at(0.8, method="DELETE", status=500, user_id=bob, token_id=second),
        at(0.9, method="DELETE", status=204, user_id=bob, changes=1, token_id=second),
        at(1, method="POST", status=499, token_id=second),
        at(1, tenant_id=UUID(int=3), quirks=("c",)),
    ]

    (cycle,) = await cycles_of(services, rows)

    assert msgspec.structs.asdict(cycle) == {
        "began_at": rows[0].at,
        "ended_at": rows[10].at + timedelta(milliseconds=5),
        "seconds": pytest.approx(60.005),
        "may_go_on": False,
        "requests": 11,
        "reads": 1,
        "creations": 3,
        "changes": 5,
        "deletions": 2,
        "effective": 3,
        "events": 4,
        "refused": 4,
        "faults": 1,
        "refusals": [
            RefusalCount(400, "invalidValue", 3, [ann, bob]),
            RefusalCount(409, "uniqueness", 1, []),
            RefusalCount(499, "ClientWent", 1, []),
            RefusalCount(500, "Fault", 1, [bob]),
        ],
        "quirks": [QuirkCount("a", 3), QuirkCount("b", 1)],
        "tokens": [first, second],
    }


async def test_refusals_are_counted_by_reason_with_the_people_concerned(services: Services) -> None:
    refused = {"method": "PATCH", "status": 400, "refusal": "invalidValue", "route": "/scim/v2/Users/{id}"}
    rows = [at(place, **refused, user_id=UUID(int=1_000 + place % 150)) for place in range(200)]
    rows += [at(5, method="POST", status=409, refusal="uniqueness"), at(300, **refused), at(5)]
    await RequestLog(services.pool).write([*rows, at(1, tenant_id=UUID(int=3), status=404, refusal="NotFound")])

    found = await SyncHealth(services.pool).refusals(TENANT, NOON, NOON + timedelta(minutes=300))

    assert [(each.status, each.reason, each.method, each.requests, each.people) for each in found] == [
        (400, "invalidValue", "PATCH", 200, 150),
        (409, "uniqueness", "POST", 1, 0),
    ]
    assert found[0].people_ids == [UUID(int=1_000 + place) for place in range(MOST_PEOPLE)]
    assert (found[0].first_at, found[0].last_at) == (rows[0].at, rows[199].at)


# Overdue.

EXPIRED = {"status": 401, "refusal": "NotAuthenticated"}


@pytest.mark.parametrize(
    ("rows", "now", "expected"),
    [
        ([], 0, (None, None, 0, None, False)),
        ([at(0)], 60, (0, 0, 0, 60, False)),
        ([at(0)], 60.1, (0, 0, 0, 60, True)),
        ([at(0), at(30, status=400, refusal="invalidValue")], 61, (30, 30, 0, 90, False)),
        ([at(0), at(30, status=403, refusal="SeatLimitReached")], 61, (30, 30, 0, 90, False)),
        ([at(0), at(40, **EXPIRED), at(80, status=403, refusal="Forbidden")], 81, (80, 0, 2, 60, True)),
        ([at(0, **EXPIRED)], 1, (0, None, 1, None, True)),
        ([at(0, tenant_id=UUID(int=3))], 99, (None, None, 0, None, False)),
    ],
)
async def test_a_cycle_is_overdue_an_hour_after_the_last_call_that_was_let_in(
    services: Services, rows: list[LoggedRequest], now: float, expected: tuple[object, ...]
) -> None:
    if rows:
        await RequestLog(services.pool).write(rows)

    state = await SyncHealth(services.pool).state(TENANT, NOON + timedelta(minutes=now))

    def minutes(moment: datetime | None) -> float | None:
        return None if moment is None else (moment - NOON) / timedelta(minutes=1)

    called, admitted, due = (minutes(moment) for moment in (state.called_at, state.admitted_at, state.due_at))
    assert (called, admitted, state.turned_away, due, state.is_overdue) == expected


async def test_a_directory_that_calls_more_often_is_overdue_sooner(services: Services) -> None:
    await RequestLog(services.pool).write([at(0)])

    now, interval = NOON + timedelta(minutes=41), timedelta(minutes=20)
    assert (await SyncHealth(services.pool).state(TENANT, now, interval)).is_overdue


async def test_tokens_that_still_call_are_told_with_what_they_are_now(directory: Directory) -> None:
    services, tenant_id = directory.services, directory.tenant_id
    revoked = await issue(services, tenant_id, "scim")
    revoked_id = (await services.tenants.tokens(tenant_id))[-1].id
    await services.engine.administer(RevokeToken(revoked_id), administration.cause(tenant_id))
    expired = await issue(services, tenant_id, "scim", life=timedelta(milliseconds=1))
    for token in (directory.token, directory.token, revoked, expired, expired):
        await directory.client.get("/scim/v2/Users", headers={"Authorization": f"Bearer {token}"})
    await services.request_writer.flush()

    now = datetime.now(UTC)
    found = await SyncHealth(services.pool).tokens(tenant_id, now - timedelta(hours=1), now, now)

    assert [(each.state, each.requests, each.turned_away) for each in found] == [
        ("expired", 2, 2),
        ("revoked", 1, 1),
        ("valid", 2, 0),
    ]
    assert found[1].token_id == revoked_id


# The questions.


async def test_the_questions_answer_over_http(company: Directory) -> None:
    before = (await company.request("GET", "/v1/requests?limit=1000")).json()["rows"]
    (cycle,) = (await company.request("GET", "/v1/sync")).json()["rows"]
    (state,) = (await company.request("GET", "/v1/sync-state")).json()["rows"]
    (token,) = (await company.request("GET", "/v1/sync-tokens")).json()["rows"]
    refusals = (await company.request("GET", "/v1/sync-refusals")).json()["rows"]

    assert cycle["requests"] == len(before) == token["requests"] > 5
    assert cycle["may_go_on"]
    assert not state["is_overdue"]
    assert [(each["status"], each["reason"]) for each in refusals] == [(409, "uniqueness")]
    refused = (await company.request("GET", "/v1/requests?refusal=uniqueness")).json()["rows"]
    assert refused == [row for row in before if row["status"] == 409]
    quirk = "active: a string for a boolean"
    found = (await company.request("GET", f"/v1/requests?quirk={quirk}&status=200")).json()["rows"]
    assert found == [row for row in before if quirk in row["quirks"]] != []
    assert (await company.request("GET", "/v1/prunes")).json()["rows"] == []


@pytest.mark.parametrize(
    "query",
    [
        "requests?after=x",
        "requests?after=2026-11-23T09:00:00,1",
        "requests?after=2026-11-23T09:00:00Z",
        "requests?after=0001-01-01T00:00:00%2B14:00,00000000-0000-0000-0000-000000000000",
        "requests?status=99",
        "requests?token=me",
        "sync?after=yesterday",
        "sync?minutes=0",
        "sync?from=2026-11-24&to=2026-11-23",
        "sync?from=9999-12-31",
        "sync?to=0001-01-02",
        "sync-tokens?to=0001-01-02",
        "prunes?after=1",
        "prunes?after=2026-11-23,noon",
    ],
)
async def test_what_cannot_be_asked_is_refused_with_a_word(directory: Directory, query: str) -> None:
    response = await directory.request("GET", f"/v1/{query}")

    assert response.status_code == 400, response.text
    assert len(response.json()["detail"]) > 20


@pytest.mark.parametrize("query", ["from=0001-01-01", "from=0001-01-01&to=0001-01-02", "to=9999-12-31"])
async def test_periods_at_the_ends_of_time_have_no_cycles(directory: Directory, query: str) -> None:
    for question in ("sync", "sync-tokens", "sync-refusals", "requests"):
        response = await directory.request("GET", f"/v1/{question}?{query}")

        assert response.status_code == 200, response.text
        assert response.json()["rows"] == []


async def test_prunes_are_told_day_by_day_and_only_to_their_tenant(
    directory: Directory, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        """
        INSERT INTO rollbook.prunes
        SELECT tenant_id, date '2026-01-01' + n, now(), n + 1, 90, 'engine', 'retention'
        FROM generate_series(0, 4) AS n, unnest($1::uuid[]) AS tenant_id
        """,
        [directory.tenant_id, UUID(int=3)],
    )
    page = (await directory.request("GET", "/v1/prunes?limit=2")).json()
    rows = page["rows"]
    while page["next"]:
        page = (await directory.request("GET", page["next"])).json()
        rows += page["rows"]

    assert [(row["day"], row["requests"]) for row in rows] == [(f"2026-01-0{n + 1}", n + 1) for n in range(5)]


# A simulated Entra.


async def test_the_cycles_of_an_entra_are_found_with_what_it_did(entra: Live, owner: asyncpg.Connection) -> None:  # noqa: F811  the fixture
    people = contoso(12, Random(7))
    async with await entra.job(people, Options(mapping=SEED)) as job:
        reports = [done(await job.initial_cycle())]
        await _an_hour_passes(entra, owner)
        reports.append(done(await job.incremental_cycle()))
        await _an_hour_passes(entra, owner)
        people.unassign(people.people[0].object_id)
        reports.append(done(await job.incremental_cycle()))
    await entra.services.request_writer.flush()

    now = datetime.now(UTC)
    found = (await SyncHealth(entra.services.pool).cycles(entra.tenant_id, now - timedelta(days=1), now, 10))[::-1]

    assert [cycle.requests for cycle in found] == [report.requests.total() for report in reports]
    assert [cycle.creations for cycle in found] == [12, 0, 0]
    assert (found[1].requests, found[1].effective, found[1].reads) == (found[1].reads, 0, found[1].requests)
    assert (found[2].effective, found[2].events, found[2].changes) == (1, 1, 1)
    assert found[1].requests > 0, "a cycle without changes begins with probes"
    assert "op: not in lower case" in {each.quirk for each in found[2].quirks}
    assert sum(cycle.refused + cycle.faults for cycle in found) == 0


async def _an_hour_passes(to: Live, owner: asyncpg.Connection) -> None:
    """For the rows that are there; the next cycle is later."""
    await to.services.request_writer.flush()
    await owner.execute("UPDATE rollbook.request_log SET at = at - interval '1 hour'")


# Plans.

# Two tenants, each with a request every ten seconds for four days.
_MANY = """
    INSERT INTO rollbook.request_log
    SELECT
        ('00000000-0000-0000-0000-00000000000' || 1 + 2 * (n % 2))::uuid,
        now() + n / 2 * interval '10 s', gen_random_uuid(), md5((n % 4)::text)::uuid, 'GET', '/scim/v2/Users',
        CASE WHEN n % 1000 < 2 THEN 404 ELSE 200 END, 5000, md5((n % 500)::text)::uuid,
        CASE WHEN n % 1000 < 2 THEN 'NotFound' END, '{a,b}', 0
    FROM generate_series(0, 4 * 2 * 8640 - 1) AS n
"""


async def test_every_query_reads_its_period_of_its_tenant_by_an_index(
    services: Services, owner: asyncpg.Connection
) -> None:
    await owner.execute(_MANY)
    await owner.execute("ANALYZE rollbook.request_log")
    pages = await owner.fetchval("SELECT sum(relpages) FROM pg_class WHERE relname ~ '^request_log_[0-9]+$'")
    assert pages > 1_000
    explainer, now = Explainer(owner), datetime.now(UTC)
    health, log = SyncHealth(explainer), RequestLog(explainer)
    since, until = now + timedelta(hours=30), now + timedelta(hours=32)  # 720 requests
    person = await owner.fetchval("SELECT md5('2')::uuid")
    asked: dict[str, tuple[Callable[[], Awaitable[Any]], int]] = {
        "cycles": (lambda: health.cycles(TENANT, since, until, 100, timedelta(seconds=5)), 900),
        "tokens": (lambda: health.tokens(TENANT, since, until, now), 900),
        "refusals": (lambda: health.refusals(TENANT, since, until), 60),
        "state": (lambda: health.state(TENANT, now), 100),
        "the latest": (lambda: log.page(TENANT, RequestSelection(), None, 100), 300),
        "the next page": (lambda: log.page(TENANT, RequestSelection(), (until, UUID(int=0)), 100), 300),
        "a period": (lambda: log.page(TENANT, RequestSelection(since=since, until=until, quirk="c"), None, 100), 900),
        "refused": (lambda: log.page(TENANT, RequestSelection(refusal="NotFound"), None, 50), 300),
        "a person": (lambda: log.page(TENANT, RequestSelection(user_id=person), None, 50), 300),
    }

    for name, (ask, most) in asked.items():
        assert await ask(), name
        for mode in MODES:
            plan = await explainer.plan(mode)
            assert plan.pages < most, (name, mode, plan)
            assert plan.indexes, (name, mode)
