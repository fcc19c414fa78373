"""The set-up's queries read what they show, however many people, requests and refusals there are."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from engine.settings import Settings
from projections.setup_mistakes import setup_mistakes
from projections.setup_progress import setup_progress
from tests.test_plans import MODES, Explainer, Plan

TENANT = UUID(int=1)


class Explained(Explainer):
    """Explains every statement that is sent, not the last one alone."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        super().__init__(connection)
        self.plans: list[tuple[str, Plan]] = []

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        rows = await super().fetch(query, *values)
        await self._explain(query)
        return rows

    async def fetchrow(self, query: str, *values: object) -> asyncpg.Record | None:
        row = await super().fetchrow(query, *values)
        await self._explain(query)
        return row

    async def fetchval(self, query: str, *values: object) -> Any:
        row = await self.fetchrow(query, *values)
        return row[0] if row else None

    async def _explain(self, query: str) -> None:
        self.plans += [(f"{mode}: {query}", await self.plan(mode)) for mode in MODES]


# Two tenants with 20,000 people each; a request every ten seconds for four days, one in five hundred refused; 20,000
# events each, of which one in four is a refusal.
_PEOPLE = """
    INSERT INTO rollbook.users
    SELECT
        ('00000000-0000-0000-0000-00000000000' || 1 + n % 2)::uuid, md5(n::text)::uuid, 1, 'user-' || n, NULL, NULL,
        NULL, NULL, false, true, 'member', jsonb_build_object('userName', 'user-' || n), '{}', '{}', false,
        now(), now(), NULL
    FROM generate_series(1, 40000) AS n
"""
_REQUESTS = """
    INSERT INTO rollbook.request_log
    SELECT
        ('00000000-0000-0000-0000-00000000000' || 1 + n % 2)::uuid,
        now() - interval '10 minutes' + n / 2 * interval '10 s', gen_random_uuid(), md5((n % 2)::text)::uuid,
        'GET', '/scim/v2/Users', CASE WHEN n % 1000 < 2 THEN 404 ELSE 200 END, 5000, NULL,
        CASE WHEN n % 1000 < 2 THEN 'NotFound' END, '{}', 0
    FROM generate_series(0, 4 * 2 * 8640 - 1) AS n
"""
_EVENTS = """
    INSERT INTO rollbook.events
    SELECT
        tenant_id, seq, tenant_id, seq, CASE WHEN seq % 4 = 0 THEN 'RequestRefused' ELSE 'AttributesChanged' END,
        now(), 'directory', 'a', NULL, md5(seq::text)::uuid, data, salt, sha256(salt || convert_to(data::text, 'UTF8'))
    FROM (
        SELECT
            ('00000000-0000-0000-0000-00000000000' || 1 + n % 2)::uuid AS tenant_id,
            n / 2 AS seq,
            decode(md5(n::text), 'hex') AS salt,
            '{"method": "POST", "path": "/scim/v2/Groups", "status": 501, "detail": "Groups are off."}'::json AS data
        FROM generate_series(2, 40001) AS n
    ) AS placed
"""
_TOKENS = """
    INSERT INTO rollbook.tokens
    SELECT
        ('00000000-0000-0000-0000-00000000000' || 1 + n % 2)::uuid, md5((n % 2)::text)::uuid, 'Entra', '{scim}',
        md5(n::text), now(), now() + interval '5 days', NULL, NULL
    FROM generate_series(0, 1) AS n
"""


@pytest.fixture
async def explained(owner: asyncpg.Connection) -> Explained:
    for fill in (_PEOPLE, _REQUESTS, _EVENTS, _TOKENS):
        await owner.execute(fill)
    await owner.execute("ANALYZE rollbook.users, rollbook.request_log, rollbook.events, rollbook.tokens")
    return Explained(owner)


async def test_how_far_the_set_up_is_costs_the_people_who_came_last(explained: Explained) -> None:
    pool = cast("Any", explained)
    seen = await setup_progress(pool, TENANT, datetime.now(UTC))
    assert seen.connection_tested.is_seen
    assert seen.first_person.is_seen
    assert explained.plans
    for name, plan in explained.plans:
        assert plan.pages < 1_500, (name, plan)
        assert not plan.scanned & {"users", "events"}, (name, plan)


async def test_mistakes_are_looked_for_among_the_latest(explained: Explained) -> None:
    pool = cast("Any", explained)
    found = {each.code: each.count for each in await setup_mistakes(pool, TENANT, Settings(), datetime.now(UTC))}
    assert found["groups_mapped"] == 1_000
    assert found["no_role_mapped"] == 1_000
    assert len(explained.plans) == 6 * len(MODES)
    for name, plan in explained.plans:
        assert plan.pages < 1_500, (name, plan)
        assert not plan.scanned & {"users", "events"}, (name, plan)
