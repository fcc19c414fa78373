"""Erasure of personal data (GDPR article 17), and the certificate that it was done."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from msgspec import Meta, Struct

from engine.events import PersonalDataErased, decode
from engine.refusals import Conflict, NotFound
from engine.store import Cause

Basis = Literal["a", "b", "c", "d", "e", "f"]


class Checks(Struct, frozen=True):
    """What was looked for after the erasure, and not found: each of these is 0."""

    events_with_content: int
    rows_about_the_person: int
    notes_with_content: int


class Certificate(Struct, frozen=True, kw_only=True):
    """What was erased, when, and who asked for it; no personal data."""

    tenant_id: UUID
    user_id: UUID
    erased_at: datetime
    asked_by: Annotated[str, Meta(description="The actor that asked: a token's or a person's id.")]
    token_id: UUID | None
    request_id: UUID
    basis: Annotated[Basis | None, Meta(description="The letter of article 17(1) GDPR, if one was given.")]
    seq: Annotated[int, Meta(description="The event that records the erasure.")]
    events: Annotated[int, Meta(description="How many events of the person were emptied.")]
    first_seq: int
    last_seq: int
    notes: Annotated[list[int], Meta(description="Events of the tenant that named the person, and were emptied.")]
    checks: Checks
    remains: Annotated[list[str], Meta(description="What is still there, and where else to look.")]


REMAINS = [
    "Of each event: its id, time, type, source, the ids of who asked, and the digest of what it held.",
    "Which of the events took or freed a seat of which role, for the history of seats.",
    "The person's id in events about others, as their manager; a name that the directory sent with it.",
    "Backups, replicas that lag, and exports that were made before: until they expire or are deleted.",
]


class Erasures:
    """Erases people. Nothing that was erased can be brought back."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def erase(self, user_id: UUID, cause: Cause, basis: Basis | None) -> Certificate:
        """Erase a person, all or nothing; again, and there is nothing to do but to certify it.

        Raises NotFound if there never was such a person, Conflict if a valid token is named after the person.
        """
        try:
            await self._pool.execute(
                _ERASE,
                cause.tenant_id,
                user_id,
                cause.source,
                cause.actor,
                cause.token_id,
                cause.request_id,
                basis,
                timeout=600,
            )
        except asyncpg.CheckViolationError as error:
            if error.constraint_name != "no_valid_token_names_the_person":
                raise
            raise Conflict(
                "A valid token is named after this person. Issue another one under a neutral name, revoke the old one "
                "(rollbook token list, rollbook token revoke), and erase again."
            ) from None
        return await self.certificate(cause.tenant_id, user_id)

    async def certificate(self, tenant_id: UUID, user_id: UUID) -> Certificate:
        """The certificate of an erasure, made from its event and from what is there now. Raises NotFound."""
        row = await self._pool.fetchrow(_ERASURE, tenant_id, user_id)
        if row is None:
            raise NotFound(f"There is no person with the id {user_id}, and none was erased.")
        event = decode(row["data"])
        if not isinstance(event, PersonalDataErased):
            raise TypeError(f"seq {row['seq']} is no erasure")
        checks = await self._pool.fetchrow(_CHECKS, tenant_id, user_id, list(event.notes))
        return Certificate(
            tenant_id=tenant_id,
            user_id=user_id,
            erased_at=row["recorded_at"],
            asked_by=row["actor"],
            token_id=row["token_id"],
            request_id=row["request_id"],
            basis=_basis(event.basis),
            seq=row["seq"],
            events=event.events,
            first_seq=row["first_seq"],
            last_seq=row["last_seq"],
            notes=list(event.notes),
            checks=Checks(*checks),
            remains=REMAINS,
        )


def _basis(text: str | None) -> Basis | None:
    for each in ("a", "b", "c", "d", "e", "f"):
        if each == text:
            return each
    return None


_ERASE = "SELECT rollbook.erase($1, $2, $3, $4, $5, $6, $7)"

_ERASURE = """
    SELECT
        seq, recorded_at, actor, token_id, request_id, data,
        (SELECT seq FROM rollbook.events WHERE tenant_id = $1 AND stream_id = $2 AND version = 1) AS first_seq,
        (
            SELECT seq
            FROM rollbook.events AS before
            WHERE tenant_id = $1 AND stream_id = $2 AND version = erasure.version - 1
        ) AS last_seq
    FROM rollbook.events AS erasure
    WHERE tenant_id = $1 AND stream_id = $2 AND type = 'PersonalDataErased'
"""

_CHECKS = """
    SELECT
        (
            SELECT count(*)
            FROM rollbook.events
            WHERE tenant_id = $1 AND stream_id = $2 AND type <> 'PersonalDataErased' AND data IS NOT NULL
        ),
        (SELECT count(*) FROM rollbook.users WHERE tenant_id = $1 AND id = $2)
            + (SELECT count(*) FROM rollbook.history WHERE tenant_id = $1 AND user_id = $2),
        (SELECT count(*) FROM rollbook.events WHERE tenant_id = $1 AND seq = ANY ($3) AND data IS NOT NULL)
"""
