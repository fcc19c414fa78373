"""The questions about attributes use their indexes: a page costs what it holds, however much there is beside it."""

from collections.abc import Awaitable, Callable
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from projections.background import attribute_history, local_edits
from projections.question import Asking, Question, Settled
from projections.questions.attributes import (
    ATTRIBUTE_CHANGES,
    IDENTITIES,
    LOCAL_EDITS,
    AttributeChangesAsked,
    IdentitiesAsked,
    LocalEditsAsked,
)
from tests.test_plans import MODES, Explainer, Plan

EVENTS = 40_000  # of each of two tenants
LIMIT = 20
TENANT, PERSON, BUSY = UUID(int=1), UUID(int=8), UUID(int=2)

_TENANT = "('00000000-0000-0000-0000-00000000000' || tenant)::uuid"
# Every fourth event is of one person, who is busy; the others are of 2,000 people.
_PERSON = "lpad(CASE WHEN n % 4 = 0 THEN '2' ELSE to_hex(3 + n % 2000) END, 32, '0')::uuid"
_AT = "timestamptz '2026-01-01' + n * interval '1 s'"

_EVENTS = f"""
    INSERT INTO rollbook.events
    SELECT
        {_TENANT}, n, {_PERSON}, row_number() OVER (PARTITION BY tenant, {_PERSON} ORDER BY n), 'AttributesChanged',
        {_AT}, 'directory', 'a', NULL, md5(n::text)::uuid, data, 'x', sha256('x' || convert_to(data::text, 'UTF8'))
    FROM generate_series(1, 2) AS tenant
    CROSS JOIN generate_series(1, $1::int) AS n
    CROSS JOIN LATERAL (
        SELECT json_build_object(
            'type', 'AttributesChanged', 'changes', json_build_object(
                CASE WHEN n % 4000 = 3 THEN 'nickName' ELSE 'title' END, json_build_object('from', n, 'to', n + 1)
            )
        ) AS data
    ) AS made
"""  # noqa: S608  constants

# Few stand, few were confirmed, one attribute is rare; all but those that stand ended 500 events later.
_EDITS = f"""
    INSERT INTO rollbook.local_edits
    SELECT
        {_TENANT}, {_PERSON}, n, CASE WHEN n % 4000 = 3 THEN 'nickName' ELSE 'title' END, n, {_AT}, '1', '2', fate,
        CASE WHEN fate <> 'standing' THEN least(n + 500, $1) END, {_AT}, 1, NULL
    FROM generate_series(1, 2) AS tenant
    CROSS JOIN generate_series(1, $1::int) AS n
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN n % 2000 IN (3, 8) THEN 'standing'
            WHEN n % 5000 = 6 THEN 'confirmed'
            WHEN n % 2 = 0 THEN 'edited again'
            ELSE 'overwritten'
        END AS fate
    ) AS made
"""  # noqa: S608  constants

_CHANGES = f"""
    INSERT INTO rollbook.attribute_changes
    SELECT {_TENANT}, CASE WHEN n % 4000 = 3 THEN 'nickName' ELSE 'title' END, n, {_PERSON}
    FROM generate_series(1, 2) AS tenant
    CROSS JOIN generate_series(1, $1::int) AS n
"""  # noqa: S608  constants

# Half of all people have the same address.
_IDENTITIES = f"""
    INSERT INTO rollbook.identities
    SELECT
        {_TENANT}, {_PERSON}, attribute,
        CASE WHEN attribute = 'emails' AND n % 2 = 0 THEN 'info' ELSE 'v' || n END,
        'V', n, {_AT}, CASE WHEN n % 3 = 0 THEN n + 2000 END, NULL
    FROM generate_series(1, 2) AS tenant
    CROSS JOIN generate_series(1, $1::int) AS n
    CROSS JOIN unnest(ARRAY['userName', 'emails']) AS attribute
"""  # noqa: S608  constants


@pytest.fixture
async def explainer(owner: asyncpg.Connection) -> Explainer:
    for filling in (_EVENTS, _EDITS, _CHANGES, _IDENTITIES):
        await owner.execute(filling, EVENTS)
    await owner.execute(
        "ANALYZE rollbook.events, rollbook.local_edits, rollbook.attribute_changes, rollbook.identities"
    )
    return Explainer(owner)


def asking(asked: Any, after: str | None = None) -> Callable[[Explainer], Awaitable[Any]]:
    questions: list[Question[Any, Any]] = [ATTRIBUTE_CHANGES, LOCAL_EDITS, IDENTITIES]
    question = next(each for each in questions if each.asked is type(asked))
    return lambda pool: question.page(Asking(cast(Any, pool), TENANT, asked, Settled(0, EVENTS), after, LIMIT))


def edits(after: str | None = None, **asked: Any) -> Callable[[Explainer], Awaitable[Any]]:
    return asking(LocalEditsAsked(**asked), after)


def changes(after: str | None = None, **asked: Any) -> Callable[[Explainer], Awaitable[Any]]:
    return asking(AttributeChangesAsked(**asked), after)


def identities(after: str | None = None, **asked: Any) -> Callable[[Explainer], Awaitable[Any]]:
    return asking(IdentitiesAsked(**asked), after)


# What is asked, and by which indexes it may be found, beside the keys of the log.
LOG = {"seq_is_gap_free", "version_is_expected"}
ASKED: dict[str, tuple[Callable[[Explainer], Awaitable[Any]], set[str]]] = {
    "all edits": (edits(), {"local_edits_by_fate"}),
    "all edits, far behind": (edits("30000.title"), {"local_edits_by_fate"}),
    "what stands": (edits(fate=("standing",)), {"local_edits_by_fate"}),
    "what was confirmed": (edits(fate=("confirmed",)), {"local_edits_by_fate"}),
    "what there is none of": (edits(fate=("person deleted",)), {"local_edits_by_fate"}),
    "edits of somebody": (edits(user=PERSON), {"local_edits_of_user"}),
    "edits of somebody busy": (edits(user=BUSY), {"local_edits_of_user"}),
    "what stands of somebody busy": (edits(user=BUSY, fate=("standing",)), {"local_edits_of_user"}),
    "edits of a rare attribute": (edits(attribute="nickName"), {"local_edits_by_attribute"}),
    "edits of a common attribute": (edits(attribute="title"), {"local_edits_by_attribute", "local_edits_by_fate"}),
    "edits of no attribute": (edits(attribute="photos"), {"local_edits_by_attribute"}),
    "by the end": (edits(by="end"), {"local_edits_by_end"}),
    "what was confirmed, by the end": (edits("20000.title", by="end", fate=("confirmed",)), {"local_edits_by_end"}),
    "changes of a rare attribute": (changes(attribute="nickName"), {"attribute_changes_pkey"}),
    "changes of a common attribute": (changes("30000", attribute="title"), {"attribute_changes_pkey"}),
    "changes of no attribute": (changes(attribute="photos"), {"attribute_changes_pkey"}),
    "changes of somebody": (changes(attribute="title", user=PERSON), {"attribute_changes_of_user"}),
    "rare changes of somebody busy": (changes(attribute="nickName", user=BUSY), {"attribute_changes_of_user"}),
    "a name": (identities(value="V3000"), {"identities_by_value"}),
    "a name, then": (identities(value="V3001", attribute=("userName",), held="then"), {"identities_by_value"}),
    "a name that many have": (identities(value="info"), {"identities_by_value"}),
    "a name that many have, far behind": (identities("30000.emails", value="info"), {"identities_by_value"}),
    "a name that nobody has": (identities(value="nobody"), {"identities_by_value"}),
}


@pytest.mark.parametrize("mode", MODES)
async def test_a_page_reads_little_more_than_it_holds(explainer: Explainer, mode: str) -> None:
    for name, (ask, indexes) in ASKED.items():
        page = await ask(explainer)
        plan = await explainer.plan(mode)

        assert bool(page.rows) != (" no" in name or "none" in name or name == "rare changes of somebody busy"), name
        assert plan.indexes <= indexes | LOG, (name, plan)
        assert not plan.scanned, (name, plan)
        assert plan.pages < 60 + 10 * LIMIT, (name, plan)


async def test_what_a_batch_looks_up_costs_no_more_for_somebody_with_a_long_past(
    owner: asyncpg.Connection, explainer: Explainer
) -> None:
    await owner.execute("SET search_path = rollbook")

    async def plan(mode: str, query: str, *values: object) -> Plan:
        explainer._query, explainer._values = query, values
        return await explainer.plan(mode)

    for mode in MODES:
        standing = await plan(mode, local_edits._STANDING, TENANT, [BUSY])
        end = await plan(mode, local_edits._END, TENANT, BUSY, 4, "title", "overwritten", 5, None, 5, None)
        had = await plan(mode, attribute_history._OPEN, TENANT, [PERSON])
        taken = await plan(mode, attribute_history._END, TENANT, BUSY, "emails", "v3", 5, None)

        assert standing.indexes == {"local_edits_of_user"}
        assert standing.pages < 30, standing
        assert end.indexes == {"local_edits_pkey"}
        assert end.pages < 60, end
        assert had.indexes == {"identities_now"}
        assert taken.indexes == {"identities_now"}
        assert taken.pages < 10, taken
        assert not standing.scanned | end.scanned | had.scanned | taken.scanned
