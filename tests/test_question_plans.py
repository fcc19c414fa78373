"""A page of an answer costs what it holds, however long the log is: the plans of the very statements that are sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api import parameters
from api.questions import QUESTIONS
from api.services import Services
from ops.database import Database
from projections.background.history import FOLLOWER as HISTORY
from projections.background.seat_history import FOLLOWER as SEAT_HISTORY
from projections.question import Asked, Asking, Page, settle, wait_for
from projections.questions import changes, moves, rosters
from projections.rebuild import rebuild
from projections.target import follower_target, inline_target
from tests.conftest import issue, register
from tests.test_plans import MODES, Explainer, Plan

PEOPLE, BUSY, LIMIT = 4_000, 10_000, 20
BY_NAME = {each.name: each for each in QUESTIONS}


@dataclass(frozen=True)
class Statement:
    """What was sent."""

    query: str
    values: tuple[object, ...]


class Recorder(Explainer):
    """Stands where the pool stands, and keeps every statement."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        super().__init__(connection)
        self.statements: list[Statement] = []

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        self.statements.append(Statement(query, values))
        return await super().fetch(query, *values)

    async def fetchrow(self, query: str, *values: object) -> asyncpg.Record | None:
        self.statements.append(Statement(query, values))
        return await super().fetchrow(query, *values)

    async def fetchval(self, query: str, *values: object) -> Any:
        row = await self.fetchrow(query, *values)
        return row and row[0]

    async def plans(self, mode: str) -> list[tuple[str, Plan]]:
        found = []
        for each in self.statements:
            self._query, self._values = each.query, each.values
            found.append((each.query, await self.plan(mode)))
        return found

    async def _literal(self, value: object) -> str:
        if isinstance(value, list):
            return await super()._literal("{" + ",".join(map(str, value)) + "}")
        return await super()._literal(f"{value.total_seconds()}s" if isinstance(value, timedelta) else value)


@pytest.fixture
async def tenant_id(database: Database, services: Services, owner: asyncpg.Connection) -> UUID:
    """A tenant in which each of many people has ten events and one has very many, beside a smaller one."""
    for name, people in (("fabrikam", PEOPLE // 10), ("contoso", PEOPLE)):
        tenant_id = await register(services, name)
        await issue(services, tenant_id)
        token_id = (await services.tenants.tokens(tenant_id))[0].id
        await owner.execute(_EVENTS, tenant_id, people, BUSY * people // PEOPLE, token_id)
    await owner.execute(_HEADS)
    for target in (inline_target(), follower_target(HISTORY), follower_target(SEAT_HISTORY)):
        await rebuild(database.owner_url, target)
    await owner.execute("ANALYZE rollbook.events, rollbook.users, rollbook.history, rollbook.seat_changes")
    await owner.execute("ANALYZE rollbook.heads, rollbook.tokens, rollbook.seat_days, rollbook.places")
    return tenant_id


# In the n-th wave everybody has the n-th event; then one person has all of them, and then creations collide.
_EVENTS = """
    INSERT INTO rollbook.events
    SELECT
        $1, seq, CASE type WHEN 'RequestRefused' THEN $1 ELSE person END,
        CASE type WHEN 'RequestRefused' THEN 2 + row_number() OVER (PARTITION BY type ORDER BY seq) ELSE version END,
        type, timestamptz '2026-01-01' + seq / 4 * interval '40 s', source, actor, $4::uuid, gen_random_uuid(),
        data::json, 's', sha256('s' || convert_to(data, 'UTF8'))
    FROM (
        SELECT *, CASE type
            WHEN 'UserProvisioned' THEN jsonb_build_object('attributes', jsonb_build_object('userName', 'u' || p),
                'active', true, 'role', 'member')
            WHEN 'RoleAssigned' THEN jsonb_build_object('from', 'member', 'to', 'owner', 'active', true)
            WHEN 'Deactivated' THEN '{"role": "member"}'
            WHEN 'UserDeleted' THEN '{"active": false, "role": "member"}'
            WHEN 'RequestRefused' THEN jsonb_build_object('method', 'POST', 'path', '/', 'status', 409, 'detail', 'no',
                'subject', jsonb_build_object('userName', 'U' || p))
            ELSE jsonb_build_object('changes', jsonb_build_object('title', jsonb_build_object('from', 'T' || version,
                'to', 'T' || (version + 1))))
        END::text::jsonb || jsonb_build_object('type', type) AS found
        FROM (
            SELECT
                n + 3 AS seq, p, md5(p::text)::uuid AS person, CASE WHEN n < 9 * $2 THEN n / $2 ELSE n - 8 * $2 - $2 + 9
                END + 1 AS version,
                CASE
                    WHEN n < $2 THEN 'UserProvisioned'
                    WHEN n >= 9 * $2 + $3 THEN 'RequestRefused'
                    WHEN n / $2 = 4 AND p % 1000 = 1 THEN 'RoleAssigned'
                    WHEN n / $2 = 4 AND p % 10 = 2 THEN 'Deactivated'
                    WHEN n / $2 = 8 AND p % 20 = 2 THEN 'UserDeleted'
                    ELSE 'AttributesChanged'
                END AS type,
                CASE WHEN n / $2 = 2 AND p % 100 = 3 THEN 'local' ELSE 'directory' END AS source,
                CASE WHEN n / $2 = 2 AND p % 100 = 3 THEN 'person-' || p ELSE $4::uuid::text END AS actor
            FROM (
                SELECT n, CASE WHEN n BETWEEN 9 * $2 AND 9 * $2 + $3 - 1 THEN 1 ELSE n * 7919 % $2::bigint END AS p
                FROM generate_series(0, 9 * $2::int + $3::int + $2 / 4) AS n
            ) AS numbered
        ) AS placed
    ) AS told
    CROSS JOIN LATERAL (SELECT found::text AS data) AS written
"""

_HEADS = """
    UPDATE rollbook.heads
    SET seq = last.seq, recorded_at = last.recorded_at
    FROM (SELECT DISTINCT ON (tenant_id) * FROM rollbook.events ORDER BY tenant_id, seq DESC) AS last
    WHERE heads.tenant_id = last.tenant_id
"""

BUSY_ID = str(UUID("c4ca4238-a0b9-2382-0dcc-509a6f75849b"))  # the MD5 of 1
DEEP = "40000"

# Each question with parameters and a cursor, and how many pages of the store a page of 20 rows may read at most.
CASES: list[tuple[str, Mapping[str, str], str | None, int]] = [
    ("events", {}, None, 100),
    ("events", {"actor": "person-3", "type": "AttributesChanged"}, None, 100),
    ("events", {"actor": "nobody", "type": "AttributesChanged", "order": "asc"}, None, 100),
    ("events", {"type": "RoleAssigned", "user": BUSY_ID}, None, 600),  # looks at the person's events
    ("history", {"id": BUSY_ID}, None, 400),
    ("history", {"id": BUSY_ID}, DEEP, 400),
    ("person", {"id": BUSY_ID}, None, 100),
    ("roster", {}, None, 400),
    ("roster", {}, "f0000000-0000-0000-0000-000000000000", 400),
    ("roster", {"as_of_seq": "20000"}, None, 400),
    ("roster", {"role": "owner"}, None, 400),
    ("roster", {"role": "king"}, None, 100),
    ("changes", {}, None, 400),
    ("changes", {"after_seq": "20000"}, "21000", 400),
    ("changes", {"user": BUSY_ID, "after_seq": "20000"}, None, 100),
    ("joiners", {}, None, 400),
    ("joiners", {}, "3000", 400),
    ("leavers", {}, None, 400),
    ("movers", {}, None, 400),
    ("movers", {"role": "owner"}, None, 400),
    ("seats-then", {}, None, 100),
    ("seat-changes", {}, None, 400),
    ("seat-changes", {}, "3000", 400),
    ("tokens", {}, None, 200),
    ("settings-changes", {}, None, 100),
    ("refusals", {}, None, 100),
    ("refusals", {"actor": "nobody"}, None, 100),
    ("accesses", {}, None, 100),
]
LARGE = {"events", "history", "users", "seat_changes"}


async def test_every_page_of_every_question_costs_what_it_holds(owner: asyncpg.Connection, tenant_id: UUID) -> None:
    for name, given, after, most in CASES:
        recorder = Recorder(owner)
        rows = (await ask(recorder, tenant_id, name, given, after)).rows
        assert rows or "nobody" in given.values() or "king" in given.values() or name == "accesses", (
            name,
            given,
            after,
        )
        for mode in MODES:
            plans = await recorder.plans(mode)
            pages = sum(plan.pages for _, plan in plans)
            assert pages < most, (name, given, after, mode, pages, [(plan.pages, query) for query, plan in plans])
            for query, plan in plans:
                assert not plan.scanned & LARGE, (name, given, after, mode, query)


async def ask(recorder: Recorder, tenant_id: UUID, name: str, given: Mapping[str, str], after: str | None) -> Page[Any]:
    question, pool = BY_NAME[name], recorder
    asked: Asked = parameters.read(question.asked, given)
    settled = await settle(pool, tenant_id, asked)
    await wait_for(pool, tenant_id, question.followers, settled.to_seq)
    return await question.page(Asking(pool, tenant_id, asked, settled, after, LIMIT))


# Whoever is looked for in vain: so many are looked at, and the page ends there.
IN_VAIN: list[tuple[str, Mapping[str, str], str | None]] = [
    ("roster", {"manager": "true"}, None),
    ("roster", {"inactive_since": "2026-01-01"}, None),
    ("roster", {"untouched_since": "2026-01-01"}, None),
    ("roster", {"as_of_seq": "2"}, None),
    ("changes", {"after_seq": "37000"}, "38000"),
    ("leavers", {"in_time": "true"}, None),
    ("movers", {"role": "king"}, None),
]


async def test_what_is_rare_is_looked_for_a_part_of_the_way_at_a_time(
    owner: asyncpg.Connection, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (changes, moves, rosters):
        monkeypatch.setattr(module, "MOST_LOOKED_AT", MOST)
    for name, given, after in IN_VAIN:
        recorder = Recorder(owner)
        page = await ask(recorder, tenant_id, name, given, after)
        assert (list(page.rows), page.next is not None) == ([], name != "movers"), (name, given)
        for mode in MODES:
            plans = await recorder.plans(mode)
            assert sum(plan.pages for _, plan in plans) < MOST * 12, (name, given, mode, plans)


MOST = 200
