"""What auditors read: every row of their tenants and none of others, the same before and after a replay."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ops.database import Database
from projections import audit_views
from projections.audit_views import VIEWS, View, ViewsInUseError
from projections.installation import SchemaTakenError, create_store
from projections.rebuild import TablesInUseError, TablesNeededError
from projections.target import Target, inline_target, targets
from tests.auditing import auditor, enrich, name_of, twin_of, views
from tests.conftest import Directory
from tests.replays import follow, replay

FOR_EVERYBODY = {"ledger_keys"}


@dataclass
class Seen:
    """An auditor's connection, and the tenant that it may read."""

    connection: asyncpg.Connection
    tenant_id: UUID

    async def rows(self) -> dict[str, list[str]]:
        """Of every view."""
        return {
            view.name: [
                row["row"]
                for row in await self.connection.fetch(
                    f"SELECT to_json(v)::text AS row FROM audit.{view.name} AS v ORDER BY 1"  # noqa: S608  constants
                )
            ]
            for view in VIEWS
        }


@pytest.fixture
async def seen(company: Directory, database: Database, owner: asyncpg.Connection) -> AsyncIterator[Seen]:
    await enrich(company, owner)
    async with auditor(database, "contoso") as connection:
        yield Seen(connection, company.tenant_id)


# What is to be seen.


async def test_an_auditor_sees_every_row_of_its_tenants_and_none_of_a_twin(
    seen: Seen, owner: asyncpg.Connection
) -> None:
    before = await seen.rows()
    twin = await twin_of(owner, seen.tenant_id)

    assert await views(owner) == sorted(before)
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    after = await seen.rows()
    granted = "INSERT INTO rollbook.auditors (tenant_id, role, granted_by) VALUES ($1, $2, 'me')"
    await owner.execute(granted, twin, await name_of(seen.connection))
    both = await seen.rows()
    for name in set(before) - FOR_EVERYBODY - {"auditors"}:
        assert after[name] == before[name], name
        assert len(both[name]) == 2 * len(before[name]), name


async def test_an_auditor_without_tenants_sees_nothing_but_public_keys(seen: Seen, owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE rollbook.auditors SET revoked_at = now(), revoked_by = 'me'")

    assert {name for name, rows in (await seen.rows()).items() if rows} == FOR_EVERYBODY


async def test_a_revocation_is_in_force_at_the_next_statement_prepared_or_not(
    seen: Seen, owner: asyncpg.Connection
) -> None:
    prepared = [await seen.connection.prepare(f"SELECT * FROM audit.{name}") for name in ("events", "people")]  # noqa: S608  constants
    for mode in ("force_custom_plan", "force_generic_plan"):
        await seen.connection.execute(f"SET plan_cache_mode = {mode}")
        assert all([await each.fetch() for each in prepared])
    await owner.execute("UPDATE rollbook.auditors SET revoked_at = now(), revoked_by = 'me'")

    assert not any([await each.fetch() for each in prepared])


async def test_the_functions_answer_as_the_views_do(seen: Seen, company: Directory) -> None:
    connection = seen.connection
    everybody = await connection.fetch("SELECT user_id FROM audit.people_as_of('infinity') ORDER BY 1")
    current = await connection.fetch("SELECT user_id FROM audit.people ORDER BY 1")
    moments = await connection.fetch("SELECT DISTINCT valid_from AS moment FROM audit.history ORDER BY 1")

    assert everybody == current
    assert await connection.fetch("SELECT FROM audit.people_as_of($1)", company_founded(moments)) == []
    for moment in (row["moment"] for row in moments):
        after_seq = "SELECT max(seq) FROM audit.events WHERE recorded_at <= $1"
        expected = await connection.fetch(
            f"SELECT * FROM audit.history WHERE valid_from_seq <= ({after_seq}) "  # noqa: S608  constants
            f"AND (valid_to_seq > ({after_seq}) OR valid_to_seq IS NULL) ORDER BY user_id",
            moment,
        )
        found = await connection.fetch("SELECT * FROM audit.people_as_of($1) ORDER BY user_id", moment)
        assert found == expected
        for row in found:
            assert await connection.fetch("SELECT * FROM audit.person_as_of($1, $2)", row["user_id"], moment) == [row]
        [seats] = await connection.fetch("SELECT active FROM audit.seats_as_of($1)", moment)
        assert seats["active"] == sum(row["active"] for row in found)


def company_founded(moments: list[asyncpg.Record]) -> Any:
    return moments[0]["moment"].replace(year=2000)


async def test_the_events_of_a_period_are_those_whose_time_lies_in_it(seen: Seen) -> None:
    events = await seen.connection.fetch("SELECT seq, recorded_at FROM audit.events ORDER BY seq")
    since, until = events[3]["recorded_at"], events[9]["recorded_at"]

    found = await seen.connection.fetch("SELECT seq FROM audit.events_between($1, $2) ORDER BY seq", since, until)

    assert [row["seq"] for row in found] == [row["seq"] for row in events if since <= row["recorded_at"] < until] != []


async def test_the_changes_of_a_period_lead_from_the_people_before_it_to_those_after_it(seen: Seen) -> None:
    connection = seen.connection
    times = await connection.fetch("SELECT DISTINCT recorded_at FROM audit.events ORDER BY 1")
    moment = "SELECT * FROM audit.history WHERE valid_from < $1 AND (valid_to >= $1 OR valid_to IS NULL)"
    for since, until in [(times[0][0], times[-1][0]), (times[5][0], times[-3][0]), (times[6][0], times[9][0])]:
        before = {row["user_id"]: row for row in await connection.fetch(moment, since)}
        after = {row["user_id"]: row for row in await connection.fetch(moment, until)}

        found = await connection.fetch("SELECT * FROM audit.changes($1, $2)", since, until)

        touched = {person for person, row in after.items() if row != before.get(person)}
        assert {row["user_id"] for row in found} == touched != set()
        for row in found:
            was, became = before.get(row["user_id"]), after[row["user_id"]]
            assert row["joined"] == (was is None)
            assert (row["role_before"], row["role_after"]) == (was and was["role"], became["role"])
            assert (row["active_before"], row["active_after"]) == (was and was["active"], became["active"])
            assert row["last_seq"] == became["valid_from_seq"]


async def test_changes_of_attributes_begin_with_nothing_and_lead_to_what_is_now(seen: Seen, company: Directory) -> None:
    values: dict[tuple[str, str], str | None] = {}
    for row in await seen.connection.fetch("SELECT * FROM audit.attribute_changes ORDER BY seq"):
        key = (str(row["user_id"]), row["attribute"])
        assert values.get(key) == row["before"], row
        values[key] = row["after"]

    for person in await seen.connection.fetch("SELECT *, attributes ->> 'title' AS title FROM audit.people"):
        user_id = str(person["user_id"])
        assert values[user_id, "role"] == person["role"]
        assert values[user_id, "active"] == str(person["active"]).lower()
        assert values.get((user_id, "title")) == person["title"]


async def test_what_was_erased_is_null_in_views_of_events_and_gone_from_all_others(
    seen: Seen, company: Directory
) -> None:
    zoe = await company.create("zoe.the.erased", title="Zookeeper")
    await company.request("PATCH", f"/v1/users/{zoe}", json={"title": "Zoologist"})
    await company.request("PATCH", f"/v1/users/{zoe}", json={"role": "Zero"})
    await follow(company.services)
    names = await seen.connection.fetch("SELECT FROM audit.identities WHERE value = 'zoe.the.erased'")
    edits = await seen.connection.fetch("SELECT FROM audit.local_edits WHERE user_id = $1", UUID(zoe))
    refused = await seen.connection.fetchval("SELECT seq FROM audit.refusals WHERE user_id = $1", UUID(zoe))
    assert (len(names), len(edits)) == (1, 1)

    assert (await company.request("POST", f"/v1/users/{zoe}/erase", json={})).status_code == 200

    rows = await seen.rows()
    assert not [name for name, found in rows.items() if any("zoe.the" in row or "Zoo" in row for row in found)]
    assert {name for name, found in rows.items() if any(zoe in row for row in found)} == {"events", "erasures"}
    [left] = await seen.connection.fetch("SELECT * FROM audit.refusals WHERE seq = $1", refused)
    assert left["status"] is left["subject"] is left["user_id"] is None


# Through replay.


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
async def test_views_survive_a_replay_of_the_tables_that_they_read(
    seen: Seen, database: Database, owner: asyncpg.Connection, target: Target
) -> None:
    """What is prepared goes on working, rights stay, and what is made of the views later shows the new tables."""
    before = await seen.rows()
    statements = [await seen.connection.prepare(f"SELECT * FROM audit.{view.name}") for view in VIEWS]  # noqa: S608  constants
    answers = [sorted(map(str, await each.fetch())) for each in statements]
    await owner.execute("GRANT SELECT ON audit.history, audit.people TO pg_monitor WITH GRANT OPTION")
    rights = await owner.fetch("SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'audit'::regnamespace")

    assert (await replay(database, target=target)).differences == []

    assert [sorted(map(str, await each.fetch())) for each in statements] == answers
    assert await seen.rows() == before
    kept = await owner.fetch("SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'audit'::regnamespace")
    assert sorted(kept) == sorted(rights)
    for table in target.wanted_tables:
        await owner.execute(f"DELETE FROM rollbook.{table.name}")  # noqa: S608  constants
    reading = {view.name for view in VIEWS if view.reads & {table.name for table in target.wanted_tables}}
    after = await seen.rows()
    assert not any(after[name] for name in reading)


async def test_a_replay_waits_for_an_auditors_transaction_and_the_auditor_for_no_more_than_a_moment(
    seen: Seen, database: Database
) -> None:
    before = await seen.rows()
    async with seen.connection.transaction():
        await seen.connection.fetch("SELECT * FROM audit.people")
        replaying = asyncio.create_task(replay(database))
        await asyncio.sleep(1.5)
        for name in ("people", "seats", "tenants", "tokens"):  # among them what the replay cannot have yet
            async with asyncio.timeout(2):
                await seen.connection.fetch(f"SELECT * FROM audit.{name}")  # noqa: S608  constants
        assert not replaying.done()
    assert (await replaying).differences == []

    assert await seen.rows() == before


async def test_a_replay_gives_up_on_an_auditor_who_never_ends(
    seen: Seen, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.rebuild.SWAP_ATTEMPTS", 2)
    async with seen.connection.transaction():
        await seen.connection.fetch("SELECT * FROM audit.people")
        with pytest.raises(TablesInUseError):
            await replay(database)


async def test_what_others_made_of_the_views_shows_the_new_tables_after_a_replay(
    seen: Seen, database: Database, owner: asyncpg.Connection
) -> None:
    await owner.execute("CREATE VIEW public.theirs AS SELECT tenant_id, role FROM audit.people")
    await owner.execute(
        "GRANT SELECT ON public.theirs TO rollbook_auditor; GRANT USAGE ON SCHEMA public TO rollbook_auditor"
    )
    before = await seen.connection.fetch("SELECT * FROM public.theirs ORDER BY role")

    await replay(database)

    assert await seen.connection.fetch("SELECT * FROM public.theirs ORDER BY role") == before != []
    await owner.execute("UPDATE rollbook.users SET role = 'seen'")
    assert {row["role"] for row in await seen.connection.fetch("SELECT role FROM public.theirs")} == {"seen"}


async def test_each_view_with_the_owners_rights_reads_one_projection_and_is_a_barrier() -> None:
    """What is made of two could not be made anew when one of them is replaced, of another version."""
    for view in VIEWS:
        concerned = {
            name
            for target in targets()
            for name, tables in target.tables.items()
            if view.reads & {table.name for table in tables}
        }
        assert len(concerned) <= 1, view.name
        if view.body.startswith("WITH (security_invoker = true)"):
            assert view.reads <= {"events", "heads"}, view.name
        else:
            assert view.body.startswith("WITH (security_barrier = true)"), view.name


# Through upgrades.


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The views as a newer program might have them: people lose a column and get another one, history gets one more."""
    changed = []
    for view in VIEWS:
        body = view.body
        if view.name == "people":
            body = body.replace("active, role,", "role, active AS is_active,")
        if view.name == "history":
            body = body.replace("created_at, deleted_at", "created_at, deleted_at, prefixes")
        assert (body != view.body) == (view.name in {"people", "history"})
        changed.append(View(view.name, body))
    monkeypatch.setattr(audit_views, "VIEWS", tuple(changed))
    monkeypatch.setattr(audit_views, "_FINGERPRINT", "newer")


async def test_a_newer_program_changes_the_views_at_its_start(
    seen: Seen, owner: asyncpg.Connection, newer: None
) -> None:
    await asyncio.gather(create_store(owner))

    assert await seen.connection.fetch("SELECT is_active, role FROM audit.people")
    assert await seen.connection.fetch("SELECT prefixes FROM audit.history")
    assert await seen.connection.fetch("SELECT * FROM audit.people_as_of(now())")


async def test_a_view_that_is_read_at_an_upgrade_changes_at_the_next_start(
    seen: Seen, owner: asyncpg.Connection, newer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_views, "PATIENCE", "50ms")
    async with seen.connection.transaction():
        await seen.connection.fetch("SELECT * FROM audit.people")
        with pytest.raises(ViewsInUseError):
            await create_store(owner)
        assert await seen.connection.fetch("SELECT active FROM audit.people")

    await create_store(owner)

    assert await seen.connection.fetch("SELECT is_active FROM audit.people")


async def test_a_view_of_others_that_would_not_fit_keeps_the_old_views(
    seen: Seen, owner: asyncpg.Connection, newer: None
) -> None:
    await owner.execute("CREATE VIEW public.theirs AS SELECT active FROM audit.people")

    with pytest.raises(ViewsInUseError, match="theirs"):
        await create_store(owner)

    assert await seen.connection.fetch("SELECT active FROM audit.people")


async def test_views_that_were_dropped_come_back_at_the_next_start(seen: Seen, owner: asyncpg.Connection) -> None:
    before = await seen.rows()
    for dropped in ("DROP VIEW audit.people", "DROP SCHEMA audit CASCADE"):
        await owner.execute(dropped)
        await create_store(owner)

        assert await seen.rows() == before
        assert await seen.connection.fetch("SELECT * FROM audit.people_as_of(now())")


async def test_views_of_changed_tables_change_together_with_these(
    seen: Seen, database: Database, owner: asyncpg.Connection, newer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then, the old ones go on showing the old tables."""
    monkeypatch.setattr("projections.users.UsersProjection.version", 3)
    people = next(view for view in audit_views.VIEWS if view.name == "people")
    body = people.body.replace("is_deleted,", "is_deleted, title,")
    others = [view for view in audit_views.VIEWS if view is not people]
    monkeypatch.setattr(audit_views, "VIEWS", (*others, View("people", body)))
    await create_store(owner)
    assert await seen.connection.fetch("SELECT active FROM audit.people")
    assert await seen.connection.fetch("SELECT prefixes FROM audit.history")

    await replay(database, target=with_titles())

    assert {row["title"] for row in await seen.connection.fetch("SELECT title FROM audit.people")} == {None, "Director"}
    await create_store(owner)
    assert await owner.fetchval("SELECT obj_description('audit'::regnamespace, 'pg_namespace')") == "newer"


async def test_a_replay_of_changed_tables_is_refused_if_others_need_a_column_that_goes(
    seen: Seen, database: Database, owner: asyncpg.Connection, newer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.users.UsersProjection.version", 3)
    await owner.execute("CREATE VIEW public.theirs AS SELECT active FROM audit.people")

    with pytest.raises(TablesNeededError, match="theirs"):
        await replay(database, target=with_titles())

    assert await seen.connection.fetch("SELECT active FROM audit.people")


def with_titles() -> Target:
    """The inline projections as a newer program might have them: with a column more."""
    target = inline_target()
    column = "title text GENERATED ALWAYS AS (attributes ->> 'title') STORED"
    ddl = target.ddl.replace("    deleted_at timestamptz NULL,\n", f"    deleted_at timestamptz NULL,\n {column},\n", 1)
    return Target(**{**vars(target), "ddl": ddl})


async def test_a_schema_audit_of_somebody_else_is_told_and_left_alone(owner: asyncpg.Connection) -> None:
    await owner.execute("DROP SCHEMA audit CASCADE; CREATE SCHEMA audit; CREATE TABLE audit.events (theirs int)")

    with pytest.raises(SchemaTakenError, match="belongs to postgres"):
        await create_store(owner)

    assert await owner.fetch("SELECT theirs FROM audit.events") == []
