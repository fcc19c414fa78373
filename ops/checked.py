"""What `rollbook ledger check` found in a tenant, and remembering it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from ops.database import Database
from ops.ledger_check import Finding, Found, Verdict, verdict_of
from projections.checks import PROGRAM, CheckResult, Outcome, note_ledger
from projections.connections import connected


class Checked(Struct, frozen=True):
    """A tenant, and what was found there, from when on and for how many seconds."""

    tenant_id: UUID
    tenant: str
    found: Found
    started_at: datetime
    seconds: float


async def remember(
    database: Database, checked: Sequence[Checked], troubles: Sequence[Finding], *, is_of_all: bool
) -> str | None:
    """Note down what was found; why not, if the database cannot be written to. The check holds either way."""
    try:
        async with connected(database.owner_url) as connection, connection.transaction():
            await connection.execute("SET LOCAL ROLE rollbook_owner")
            for each in checked:
                await note_ledger(connection, each.tenant_id, _result(each, troubles, is_of_all=is_of_all))
    except (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError):
        return "The result is not remembered, for this database, or the role, is read-only."
    return None


def _result(checked: Checked, troubles: Sequence[Finding], *, is_of_all: bool) -> CheckResult:
    findings = [*troubles, *checked.found.findings.values()]
    return CheckResult(
        kind="ledger",
        name="ledger",
        started_at=checked.started_at,
        seconds=checked.seconds,
        events=checked.found.events,
        differences=sum(each.count for each in findings),
        outcome=_OUTCOMES[verdict_of(findings)],
        is_of_all=is_of_all,
        version=PROGRAM,
    )


_OUTCOMES: Mapping[Verdict, Outcome] = {
    Verdict.HOLDS: "holds",
    Verdict.CONTENT_DIFFERS: "content_differs",
    Verdict.PROOF_FAILS: "proof_fails",
    Verdict.SIGNATURE_FAILS: "signature_fails",
    Verdict.INCOMPLETE: "incomplete",
}
