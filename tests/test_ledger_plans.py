"""Proofs and signatures use their indexes, in a ledger that is large enough that the planner must care."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from engine.merkle import leaf_hash
from engine.tiles import appended
from ops.database import Database
from ops.ledger_key import KeyPlace, prepare_key
from projections.ledger import Ledger
from projections.signer import Signer
from tests.test_plans import MODES, Explainer

SIZE, TENANTS = 40_000, 4
TENANT = UUID(int=2)

_CHECKPOINTS = """
    INSERT INTO rollbook.checkpoints
    SELECT ('00000000-0000-0000-0000-00000000000' || tenant)::uuid, size, 1, sha256(''), now(), 'note', true
    FROM generate_series(1, 4) AS tenant, generate_series(1, 39001, 10) AS size
"""


@pytest.fixture
async def explainer(owner: asyncpg.Connection) -> Explainer:
    tiles = appended(0, [leaf_hash(b"%d" % each) for each in range(SIZE)], {})
    for tenant in range(1, TENANTS + 1):
        rows = [(UUID(int=tenant), tile.level, tile.place, hashes) for tile, hashes in tiles.items()]
        await owner.copy_records_to_table("ledger_tiles", schema_name="rollbook", records=rows)
    await owner.execute(_CHECKPOINTS)
    await owner.execute("ANALYZE rollbook.ledger_tiles, rollbook.checkpoints")
    return Explainer(owner)


QUESTIONS: dict[str, Callable[[Ledger], Awaitable[Any]]] = {
    "size": lambda ledger: ledger.size(TENANT),
    "root": lambda ledger: ledger.root(TENANT, 39_999),
    "inclusion": lambda ledger: ledger.inclusion(TENANT, 12_345, 39_999),
    "consistency": lambda ledger: ledger.consistency(TENANT, 12_345, 39_999),
    "block": lambda ledger: ledger.block(TENANT, 12_352, 39_999),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_an_answer_of_the_ledger_reads_a_few_pages_of_its_index(explainer: Explainer, question: str) -> None:
    await QUESTIONS[question](Ledger(explainer))

    for mode in MODES:
        plan = await explainer.plan(mode)
        assert plan.indexes == {"ledger_tiles_pkey"}
        assert not plan.scanned
        assert plan.pages < 50, plan


async def test_what_a_signature_needs_is_found_without_a_look_at_all_checkpoints(
    explainer: Explainer, database: Database, tmp_path: Any
) -> None:
    await prepare_key(database.owner_url, KeyPlace(tmp_path))
    signer = Signer(explainer, Ledger(explainer), KeyPlace(tmp_path).find)
    with pytest.raises(Exception, match="does not continue"):  # for what stands there was never signed
        await signer.sign(TENANT, keep=False)

    for mode in MODES:
        plan = await explainer.plan(mode)
        assert {"ledger_tiles_pkey", "checkpoints_pkey"} <= plan.indexes
        assert "checkpoints" not in plan.scanned
        assert plan.pages < 50, plan
