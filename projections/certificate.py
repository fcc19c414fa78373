"""The certificate of an erasure: made from its event, and from what is there when it is asked for."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from engine.events import PersonalDataErased, decode
from engine.refusals import NotFound
from engine.schema import ENTERPRISE
from projections.follower import FOLLOWERS

Basis = Literal["a", "b", "c", "d", "e", "f"]

LONGEST = 600.0  # seconds; only who asked waits for it

_MANAGER = f"{ENTERPRISE}:manager.value"
# Those that keep rows about people.
_KEEPERS = [each.name for each in FOLLOWERS if any(table.stream in {"user_id", "id"} for table in each.tables)]


class Checks(Struct, frozen=True):
    """What was looked for when the certificate was made, and not found: each of these is 0."""

    events_with_content: int
    rows_about_the_person: int
    notes_with_content: int
    followers_behind: Annotated[
        int, Meta(description="How many have yet to pass the person's events; what they write of them, they delete.")
    ]


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


async def certify(pool: asyncpg.Pool, tenant_id: UUID, user_id: UUID) -> tuple[Certificate, PersonalDataErased]:
    """The certificate, and the event. Raises NotFound if no such person was erased."""
    row = await pool.fetchrow(_ERASURE, tenant_id, user_id)
    if row is None:
        raise NotFound(f"There is no person with the id {user_id}, and none was erased.")
    event = decode(row["data"])
    if not isinstance(event, PersonalDataErased):
        raise TypeError(f"seq {row['seq']} is no erasure")
    checks = await pool.fetchrow(
        _CHECKS, tenant_id, user_id, list(event.notes), row["last_seq"], _KEEPERS, timeout=LONGEST
    )
    left = await pool.fetchrow(_LEFT, tenant_id, str(user_id), _MANAGER, timeout=LONGEST)
    certificate = Certificate(
        tenant_id=tenant_id,
        user_id=user_id,
        erased_at=row["recorded_at"],
        asked_by=row["actor"],
        token_id=row["token_id"],
        request_id=row["request_id"],
        basis=None if event.basis is None else msgspec.convert(event.basis, Basis),
        seq=row["seq"],
        events=event.events,
        first_seq=row["first_seq"],
        last_seq=row["last_seq"],
        notes=list(event.notes),
        checks=Checks(*checks),
        remains=[*_REMAINS, *_also(**left)],
    )
    return certificate, event


_REMAINS = (
    "Of each event of the person: ids, place in the log, time, type, source, the ids of who asked, the digest of what it held.",  # noqa: E501  a sentence
    "Which of these events took or freed a seat of which role, for the history of seats.",
    "In what is known of others, now and in their past: the person's id as their manager, and the name sent with it.",
    "What was refused or asked since and names the person: it is no longer known by which names to find it.",
    "Backups, replicas that lag, archived write-ahead logs, and exports, made before: until they expire or are deleted. After a restore, erase again.",  # noqa: E501  a sentence
    "Dead rows and the planner's samples on the database's disk: until VACUUM (ANALYZE) has passed.",
)


def _also(managed: int, replays: list[str] | None) -> list[str]:
    """What may or may not be there."""
    found = []
    if managed:
        found.append(f"Present people with this person's id as their manager: {managed}.")
    if replays:
        found.append(
            f"Tables of a replay that is under way or was interrupted ({', '.join(replays)}): until it runs to its end."
        )
    return found


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

# One snapshot: a follower that has passed the person's events and left no row of them writes none any more.
_CHECKS = """
    SELECT
        (
            SELECT count(*)
            FROM rollbook.events
            WHERE tenant_id = $1 AND stream_id = $2 AND type <> 'PersonalDataErased' AND data IS NOT NULL
        ),
        rollbook.rows_about($1, $2),
        (SELECT count(*) FROM rollbook.events WHERE tenant_id = $1 AND seq = ANY ($3) AND data IS NOT NULL),
        (
            SELECT count(*)
            FROM unnest($5::text[]) AS keeper(name)
            LEFT JOIN rollbook.places ON places.tenant_id = $1 AND places.follower = keeper.name
            WHERE coalesce(places.seq, 0) < $4::bigint
        )
"""

# There is no other way to those who name a manager than to look at each of the present people.
_LEFT = """
    SELECT
        (SELECT count(*) FROM rollbook.users WHERE tenant_id = $1 AND attributes ->> $3::text = $2) AS managed,
        (
            SELECT array_agg(nspname::text ORDER BY nspname)
            FROM pg_namespace
            WHERE starts_with(nspname, 'rollbook_replay_') OR starts_with(nspname, 'rollbook_replaced_')
        ) AS replays
"""
