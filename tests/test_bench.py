"""The benchmark of replay: that it measures what it says, on a log that is as it says."""

import asyncpg
import pytest

from ops.bench_replay import Scale, measure
from ops.database import Database
from projections.rebuild import rebuild
from projections.target import inline_target


async def test_the_benchmark_of_replay_measures_each_projection_on_a_log_of_four_events_a_person(
    database: Database, owner: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await measure(database, Scale(tenants=2, users=30, turns=1))

    output = capsys.readouterr().out
    assert output.startswith("Rebuilds of 240 events of 60 people")
    for name in ("groups, members, seats, tenants, tokens, users", "history", "ledger", "seat_history"):
        [line] = [line for line in output.splitlines() if line.startswith(f"{name}  ")]
        rate, copied, ratio, _ = line.removeprefix(name).split()
        assert float(ratio) == pytest.approx(float(rate.replace(",", "")) / float(copied.replace(",", "")), abs=0.001)
    assert await owner.fetch("SELECT count(*) FROM rollbook.events GROUP BY tenant_id") == [(121,), (121,)]
    assert await owner.fetchval("SELECT count(*) FROM rollbook.history WHERE valid_to IS NULL") == 60
    assert (await rebuild(database.owner_url, inline_target(), swap=False)).differences == []
