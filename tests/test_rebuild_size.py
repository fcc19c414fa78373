"""Replays of long logs: in little memory, in pages, and one tenant's without a look at the others."""

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest

from ops.database import Database
from projections import build, shadow
from projections.rebuild import rebuild
from projections.target import targets
from tests.conftest import Directory
from tests.replays import fill, follow, live, replay

EVENTS, STREAMS = 200_000, 40_000

_PEAK = """
    import asyncio, re, sys
    from pathlib import Path
    from projections.rebuild import rebuild
    from projections.target import inline_target

    summary = asyncio.run(rebuild(sys.argv[1], inline_target()))
    # Not getrusage: its peak is that of the process before exec, too.
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(summary.events, len(summary.differences) + summary.more, int(peak[1]) // 1024)
"""


@pytest.mark.parametrize("streams", [STREAMS, 1], ids=["of many people", "of one person"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
async def test_a_long_log_takes_little_memory_even_if_every_row_differs(
    database: Database, owner: asyncpg.Connection, streams: int
) -> None:
    await fill(owner, EVENTS, streams)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_PEAK), database.owner_url, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    events, found, peak = map(int, output.split())

    assert (events, found) == (EVENTS, streams + 2)
    assert peak < 150, f"{peak} MB"
    assert await owner.fetchval("SELECT reltuples FROM pg_class WHERE oid = 'rollbook.users'::regclass") == streams


@pytest.mark.parametrize(("streams", "events"), [(1, 400), (7, 401), (150, 402)])
async def test_wherever_pages_and_slices_end_the_same_rows_are_made(  # noqa: PLR0913, PLR0917  fixtures
    company: Directory,
    database: Database,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    streams: int,
    events: int,
) -> None:
    await fill(owner, events, streams)
    for target in targets():
        await rebuild(database.owner_url, target)
    await follow(company.services)
    right = await live(owner)
    for slice_, page in ((10, 7), (50, 10), (100, 1)):
        monkeypatch.setattr(shadow, "SLICE", slice_)
        monkeypatch.setattr(build, "SLICE", slice_)
        monkeypatch.setattr(build, "PAGE", page)
        for target in targets():
            summary = await rebuild(database.owner_url, target)
            assert summary.differences == []
    assert await live(owner) == right


async def test_more_differences_than_are_told_are_counted(
    company: Directory, database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.execute("UPDATE rollbook.users SET role = 'broken'")
    for limit, value in (("MOST_DIFFERENCES", 2), ("MOST_CHARACTERS", 1)):
        monkeypatch.setattr(f"projections.comparison.{limit}", value)
        summary = await replay(database, swap=False)
        assert (len(summary.differences), summary.more) == (value, 5 - value)


async def test_one_tenants_replay_looks_at_no_other_tenants_rows(
    company: Directory, database: Database, owner: asyncpg.Connection
) -> None:
    await fill(owner, 20_000, 5_000)
    for target in targets():
        await rebuild(database.owner_url, target)
    await owner.execute("UPDATE rollbook.users SET role = 'broken'")
    await owner.execute("VACUUM ANALYZE")
    plans: list[str] = []

    for target in targets():
        with explaining(owner, plans):
            await rebuild(database.owner_url, target, tenant_id=company.tenant_id)

    assert len(plans) > 30
    for plan in plans:
        for table in ("events", "users", "history", "seat_changes"):
            assert f"Seq Scan on rollbook.{table}" not in plan, plan
    summary = await replay(database, swap=False)
    assert str(company.tenant_id) not in {each.key["tenant_id"] for each in summary.differences}
    assert len(summary.differences) + summary.more == 5_001


def explaining(owner: asyncpg.Connection, plans: list[str]) -> Any:
    """Note the plan of each query with values that names a table of the store."""
    original = asyncpg.Connection._execute

    async def execute(connection: asyncpg.Connection, query: str, args: Any, *more: Any, **options: Any) -> Any:
        is_query = query.split(maxsplit=1)[0] in {"SELECT", "INSERT", "DELETE"}
        if is_query and "rollbook." in query and connection is not owner:
            # By the connection itself, for its schema is first on the path.
            rows = await original(connection, f"EXPLAIN (VERBOSE) {query}", args, *more, **options)
            plans.append("\n".join(row[0] for row in rows[0] if isinstance(row[0], str)))
        return await original(connection, query, args, *more, **options)

    return patch.object(asyncpg.Connection, "_execute", execute)
