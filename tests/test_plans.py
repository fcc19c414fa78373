"""Indexes are used: the plans of the very statements that the code sends, on enough rows that the planner must care."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
import pytest

from engine import filter_parser
from engine.catalog import USERS
from engine.log import EventLog, LoggedEvent, Selection
from engine.schema import ENTERPRISE
from ops.database import Database, role_url
from projections.connections import connected
from projections.order import by
from projections.users import Users

PEOPLE, EVENTS = 20_000, 50_000

# Postgres plans a prepared statement for its values at first, and for any values once it was used a few times.
MODES = ("force_custom_plan", "force_generic_plan")

Json = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a statement did: the indexes and the tables that it read, and how many pages in all."""

    indexes: frozenset[str]
    scanned: frozenset[str]
    sorts: bool
    pages: int

    @classmethod
    def of(cls, root: Json) -> "Plan":
        nodes = list(_nodes(root))
        return cls(
            frozenset(node["Index Name"] for node in nodes if "Index Name" in node),
            frozenset(node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"),
            any("Sort" in node["Node Type"] for node in nodes),
            root["Shared Hit Blocks"] + root["Shared Read Blocks"],
        )


def _nodes(root: Json) -> Iterator[Json]:
    yield root
    for node in root.get("Plans", ()):
        yield from _nodes(node)


class Explainer:
    """Stands where the pool stands, and keeps the last statement with its values, to be explained."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        self._query, self._values = query, values
        return list(await self._connection.fetch(query, *values))

    async def fetchrow(self, query: str, *values: object) -> asyncpg.Record | None:
        self._query, self._values = query, values
        return await self._connection.fetchrow(query, *values)

    async def fetchval(self, query: str, *values: object) -> object:
        self._query, self._values = query, values
        return await self._connection.fetchval(query, *values)

    async def plan(self, mode: str) -> Plan:
        literals = ", ".join([await self._literal(value) for value in self._values])
        # As the service, whom row-level security concerns.
        await self._connection.execute(
            f"SET ROLE rollbook_service; SET plan_cache_mode = {mode}; PREPARE explained AS {self._query}"
        )
        explained = await self._connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({literals})"
        )
        await self._connection.execute("DEALLOCATE explained; RESET plan_cache_mode; RESET ROLE")
        return Plan.of(json.loads(explained)[0]["Plan"])

    async def _literal(self, value: object) -> str:
        if isinstance(value, list):
            value = f"{{{','.join(str(each) for each in value)}}}"
        text = value.isoformat() if isinstance(value, datetime) else None if value is None else str(value)
        return str(await self._connection.fetchval("SELECT quote_nullable($1::text)", text))


@pytest.fixture
async def tenant_id(owner: asyncpg.Connection) -> UUID:
    """The first of four tenants: half of all people and events are its own."""
    await owner.execute(_TENANT_OF)
    await owner.execute(_PEOPLE, PEOPLE)
    await owner.execute(_EVENTS, EVENTS, PEOPLE)
    await owner.execute(_HEADS)
    await owner.execute("ANALYZE rollbook.users, rollbook.events, rollbook.heads")
    tenant_id: UUID = await owner.fetchval("SELECT pg_temp.tenant_of(0)")
    return tenant_id


_TENANT_OF = """
    CREATE FUNCTION pg_temp.tenant_of(person bigint) RETURNS uuid
    LANGUAGE sql
    IMMUTABLE
    RETURN md5('tenant' || CASE WHEN person % 2 = 0 THEN 0 ELSE 1 + person / 2 % 3 END)::uuid
"""

_PEOPLE = """
    INSERT INTO rollbook.users
    SELECT
        pg_temp.tenant_of(n), md5(n::text)::uuid, 1, 'user-' || n, 'microsoft-' || n, 'external-' || n,
        'employee-' || n, 'user-' || n || '@work.example', n % 5000 = 0, n % 10 <> 1, 'member',
        jsonb_build_object('userName', 'user-' || n, 'title', 'Engineer', 'emails', jsonb_build_array(
            jsonb_build_object('type', 'work', 'value', 'user-' || n || '@work.example'),
            jsonb_build_object('type', 'home', 'value', 'user-' || n || '@home.example')
        )),
        '{"userName": {"source": "directory", "version": 1}}', '{}', n % 50 = 7, now(), now(), NULL
    FROM generate_series(1, $1::int) AS n
"""

# Every tenth event is of person 2, whose history is long, every twentieth of the tenant's own stream.
_EVENTS = """
    INSERT INTO rollbook.events
    SELECT
        tenant_id, seq, stream_id, row_number() OVER (PARTITION BY tenant_id, stream_id ORDER BY seq),
        type, timestamptz '2026-01-01' + seq * interval '1 s', source, 'a', NULL, md5(n::text)::uuid,
        data, salt, sha256(salt || convert_to(data::text, 'UTF8'))
    FROM (
        SELECT
            n,
            pg_temp.tenant_of(person) AS tenant_id,
            row_number() OVER (PARTITION BY pg_temp.tenant_of(person) ORDER BY n) AS seq,
            CASE WHEN n % 20 = 2 THEN pg_temp.tenant_of(person) ELSE md5(person::text)::uuid END AS stream_id,
            CASE WHEN n % 1000 = 4 THEN 'UserDeleted' WHEN n % 20 = 2 THEN 'RequestRefused'
                ELSE 'AttributesChanged' END AS type,
            CASE WHEN n % 200 = 6 THEN 'local' ELSE 'directory' END AS source,
            ('{"n": ' || n || '}')::json AS data,
            decode(md5(n::text), 'hex') AS salt
        FROM (
            SELECT n, CASE WHEN n % 10 = 0 THEN 2 ELSE n * 7919 % $2::bigint END AS person
            FROM generate_series(1, $1::bigint) AS n
        ) AS numbered
    ) AS placed
"""

_HEADS = """
    INSERT INTO rollbook.heads
    SELECT tenant_id, max(seq), max(recorded_at)
    FROM rollbook.events
    GROUP BY tenant_id
"""

MATCHING = {
    'userName eq "USER-16000"': "user_name_is_free",
    'microsoftId eq "Microsoft-16000"': "microsoft_id_is_free",
    'externalId eq "external-16000"': "users_by_external_id",
    f'{ENTERPRISE}:employeeNumber eq "employee-16000"': "users_by_employee_number",
    'emails[type eq "work"].value eq "user-16000@work.example"': "users_by_work_email",
    'emails[type eq "work" and value eq "user-16000@work.example"]': "users_by_work_email",
    'id eq "{id}"': "users_pkey",
    'userName eq "user-16000" and active eq true': "user_name_is_free",
    'externalId eq "external-16000" or microsoftId eq "nobody"': "users_by_external_id",
}


async def test_every_query_by_which_directories_match_uses_its_index(
    owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    explainer = Explainer(owner)
    user_id = await owner.fetchval("SELECT md5('16000')::uuid")
    for text, index in MATCHING.items():
        page = await Users(explainer).find(
            tenant_id, filter_parser.parse(text.format(id=user_id), USERS), offset=0, limit=100
        )
        assert [(user.id, page.total) for user in page.users] == [(user_id, 1)], text
        for mode in MODES:
            plan = await explainer.plan(mode)
            assert index in plan.indexes, (text, plan)
            assert not plan.scanned, (text, plan)
            assert plan.pages < 30, (text, plan)


async def test_a_user_is_read_by_the_primary_key(owner: asyncpg.Connection, tenant_id: UUID) -> None:
    explainer = Explainer(owner)
    assert await Users(explainer).get(tenant_id, await owner.fetchval("SELECT md5('16000')::uuid"))

    for mode in MODES:
        plan = await explainer.plan(mode)
        assert plan.indexes == {"users_pkey"}
        assert plan.pages < 5


async def test_a_page_of_everybody_reads_that_page_and_not_everybody(
    owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    explainer = Explainer(owner)
    people = await Users(explainer).all(tenant_id, UUID(int=2**127), 100, active=None)
    assert len(people) == 100

    for mode in MODES:
        plan = await explainer.plan(mode)
        assert plan.indexes == {"users_pkey"}
        assert not plan.sorts
        assert plan.pages < 120


@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize(("name", "index"), [("id", "users_pkey"), ("userName", "user_name_is_free")])
async def test_a_page_far_behind_a_cursor_costs_what_it_holds(
    owner: asyncpg.Connection, tenant_id: UUID, name: str, index: str, *, is_descending: bool
) -> None:
    explainer, target = Explainer(owner), USERS.find(name)
    assert target
    order = by(target, is_descending=is_descending)
    page = await Users(explainer).find(tenant_id, None, offset=500, limit=1, order=order)
    assert page.last

    assert len((await Users(explainer).find(tenant_id, None, limit=100, order=order, after=page.last)).users) == 100
    for mode in MODES:
        plan = await explainer.plan(mode)
        assert index in plan.indexes, plan
        assert not plan.scanned, plan
        assert plan.pages < 250, plan


SOME_TIME = datetime.fromisoformat("2026-01-01T03:00:00Z")
OF_A_TYPE, OF_A_STREAM, NOT_OF_THE_DIRECTORY, IN_ORDER = (
    "events_by_type",
    "version_is_expected",
    "events_not_of_the_directory",
    "seq_is_gap_free",
)
HISTORY: dict[str, tuple[Json, set[str]]] = {
    "everything": ({}, {IN_ORDER}),
    "one person": ({"stream_id": "person"}, {OF_A_STREAM}),
    "the tenant itself": ({"stream_id": "tenant"}, {OF_A_STREAM}),
    "a rare type": ({"types": ("UserDeleted",)}, {OF_A_TYPE}),
    "a common type": ({"types": ("AttributesChanged",)}, {OF_A_TYPE, IN_ORDER}),
    "a type that there is not": ({"types": ("UserProvisioned",)}, {OF_A_TYPE}),
    "local edits": ({"source": "local"}, {NOT_OF_THE_DIRECTORY}),
    "what the operator did": ({"source": "operator"}, {NOT_OF_THE_DIRECTORY}),
    "what the directory did": ({"source": "directory"}, {IN_ORDER}),
    "since a time": ({"since": SOME_TIME}, {IN_ORDER}),
    "until a time": ({"until": SOME_TIME}, {IN_ORDER}),
    "a rare type since a time": ({"types": ("UserDeleted",), "since": SOME_TIME}, {OF_A_TYPE}),
    "local edits until a time": ({"source": "local", "until": SOME_TIME}, {NOT_OF_THE_DIRECTORY}),
    "one person since a time": ({"stream_id": "person", "since": SOME_TIME}, {OF_A_STREAM}),
    "one person until a time": ({"stream_id": "person", "until": SOME_TIME}, {OF_A_STREAM}),
    "the next page": ({"after": 9_000}, {IN_ORDER}),
    "the page before": ({"before": 9_000}, {IN_ORDER}),
}


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_every_question_to_the_log_uses_an_index_and_reads_little_more_than_it_answers(
    owner: asyncpg.Connection, tenant_id: UUID, order: Literal["asc", "desc"]
) -> None:
    explainer = Explainer(owner)
    streams = {"person": await owner.fetchval("SELECT md5('2')::uuid"), "tenant": tenant_id}
    for name, (given, indexes) in HISTORY.items():
        selection = {**given, "stream_id": streams.get(given.get("stream_id", ""))}
        found = await EventLog(explainer).read(tenant_id, Selection(order=order, **selection), 100)
        assert found or "not" in name or "operator" in name, name
        assert [each.seq for each in found] == sorted((each.seq for each in found), reverse=order == "desc"), name
        for mode in MODES:
            plan = await explainer.plan(mode)
            assert plan.indexes <= indexes, (name, mode, plan)
            assert not plan.scanned, (name, mode, plan)
            assert not plan.sorts, (name, mode, plan)
            assert plan.pages < 400, (name, mode, plan)


async def test_the_page_from_which_a_time_begins_is_found_by_halving(
    owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    log = EventLog(Explainer(owner))

    async def first(**given: Any) -> LoggedEvent | None:
        return next(iter(await log.read(tenant_id, Selection(order="asc", **given), 1)), None)

    async def last(**given: Any) -> LoggedEvent | None:
        return next(iter(await log.read(tenant_id, Selection(order="desc", **given), 1)), None)

    everything = await log.read(tenant_id, Selection(order="asc"), EVENTS)
    for event in (everything[0], everything[1], everything[777], everything[-2], everything[-1]):
        at = event.recorded_at
        assert (await first(since=at)) == event
        assert (await last(until=at)) == (everything[event.seq - 2] if event.seq > 1 else None)
    assert await first(since=datetime.fromisoformat("9999-12-31T23:59:59.999999Z")) is None
    assert await last(until=datetime.fromisoformat("0001-01-01T00:00:00Z")) is None
    assert await last(until=datetime.fromisoformat("9999-12-31T23:59:59.999999Z")) == everything[-1]


async def test_an_append_reads_and_writes_as_few_pages_in_a_large_store_as_in_a_small_one(
    owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    append = """
        EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
        SELECT rollbook.append(
            pg_temp.tenant_of(0), ARRAY[md5('16000')::uuid], '{NULL}', '{AttributesChanged}', '{directory}', '{a}',
            '{NULL}', ARRAY[gen_random_uuid()], '{"{}"}', '{x}',
            (SELECT jsonb_build_object('users', jsonb_agg(users)) FROM rollbook.users
            WHERE tenant_id = pg_temp.tenant_of(0) AND id = md5('16000')::uuid)
        )
    """
    for _ in range(8):  # by now its statements are planned for any values
        explained = await owner.fetchval(append)

    assert Plan.of(json.loads(explained)[0]["Plan"]).pages < 60


OF_AN_AUDITOR = {
    "one person's events": ("events", "stream_id = md5('2')::uuid ORDER BY version LIMIT 50", OF_A_STREAM),
    "a rare type": ("events", "type = 'UserDeleted' ORDER BY seq LIMIT 50", OF_A_TYPE),
    "a part of the log": ("events", "seq > 9000 AND seq <= 9050", IN_ORDER),
    "a page": ("events", "tenant_id = pg_temp.mine() AND seq > 9000 ORDER BY seq LIMIT 50", IN_ORDER),
    "local edits": ("events", "source = 'local' AND source <> 'directory' AND seq < 2000", NOT_OF_THE_DIRECTORY),
    "one person's changes": ("attribute_changes", "user_id = md5('2')::uuid AND version < 50", OF_A_STREAM),
    "a person now": ("people", "user_id = md5('16000')::uuid", "users_pkey"),
    "a person's states": ("history", "user_id = md5('16000')::uuid", "history_pkey"),
    "a person's state": ("person_as_of(md5('16000')::uuid, now())", "true", "history_pkey"),
}


async def test_conditions_of_auditors_reach_the_indexes_through_row_level_security_and_barriers(
    database: Database, owner: asyncpg.Connection, tenant_id: UUID
) -> None:
    await owner.execute(_STATES)
    await owner.execute("ANALYZE rollbook.history")
    name = f"auditor_{uuid4().hex}"
    await owner.execute(f"CREATE ROLE {name} LOGIN IN ROLE rollbook_auditor")
    await owner.execute("INSERT INTO rollbook.auditors VALUES ($1, $2, now(), 'me')", tenant_id, name)
    async with connected(role_url(database.owner_url, name)) as auditor:
        await auditor.execute(f"CREATE FUNCTION pg_temp.mine() RETURNS uuid IMMUTABLE RETURN '{tenant_id}'::uuid")
        for question, (view, condition, index) in OF_AN_AUDITOR.items():
            query = f"SELECT * FROM audit.{view} WHERE {condition}"  # noqa: S608  constants
            explained = await auditor.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}")
            plan = Plan.of(json.loads(explained)[0]["Plan"])
            assert index in plan.indexes, (question, plan)
            assert not plan.scanned - {"auditors"}, (question, plan)
            assert plan.pages < 400, (question, plan)
            assert await auditor.fetch(query) or "changes" in question, question
    await owner.execute(f"DROP ROLE {name}")


_STATES = """
    INSERT INTO rollbook.history
    SELECT
        tenant_id, id, 1, NULL, created_at, NULL, version, active, role, attributes, origins, prefixes, is_deleted,
        created_at, deleted_at, 1
    FROM rollbook.users
"""
