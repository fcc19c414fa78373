"""What changed between two moments: each person to whom something happened, before and after."""

from typing import Annotated, Literal
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from engine.events import Change
from engine.user import User
from projections.batch import NO_GROUP
from projections.histories import USER
from projections.question import Asking, Page, Period, Question, page_up_to, seq_after

MOST_LOOKED_AT = 10_000  # events for one page

Kind = Literal["joined", "left", "returned", "role", "attributes"]


class PersonChanged(Struct, frozen=True, kw_only=True, rename={"user_name": "userName"}):
    """A person to whom something happened between two moments, and the difference between these.

    Somebody in whom everything is as it was before has no kinds. Of an erased person nothing but the events remains.
    """

    first_seq: Annotated[int, Meta(description="The first event of the person between the two.")]
    user_id: UUID
    user_name: str | None
    kinds: Annotated[list[Kind], Meta(description="In which ways the person differs.")]
    active: Annotated[Change, Meta(description="Active or not, before and after; null: not there.")]
    role: Annotated[Change, Meta(description="The role, before and after; null: not there.")]
    is_deleted: Annotated[Change, Meta(description="Deleted by the directory or not, before and after.")]
    changes: Annotated[dict[str, Change], Meta(description="Attributes that differ, before and after.")]
    events: Annotated[int | None, Meta(description="How many events of the person lie between; null if erased.")]


class ChangesAsked(Period, frozen=True, kw_only=True):
    """Between which moments, and of whom."""

    user: Annotated[UUID | None, Meta(description="Only this person.")] = None


async def _changes(asking: Asking[ChangesAsked]) -> Page[PersonChanged]:
    after, to_seq, user_id = seq_after(asking), asking.settled.to_seq, asking.asked.user
    looked_to = to_seq if user_id else min(to_seq, after + MOST_LOOKED_AT)
    rows = await asking.pool.fetch(
        _CHANGES if user_id is None else _CHANGES_OF_ONE,
        asking.tenant_id,
        asking.settled.after_seq,
        to_seq,
        after,
        asking.limit,
        looked_to if user_id is None else user_id,
    )
    return page_up_to([_changed(row) for row in rows], asking.limit, lambda each: each.first_seq, looked_to, to_seq)


CHANGES: Question[ChangesAsked, PersonChanged] = Question(
    "changes",
    "What changed between two moments, person by person",
    ChangesAsked,
    PersonChanged,
    _changes,
    followers=("history",),
)


def _changed(row: asyncpg.Record) -> PersonChanged:
    before = _user(row["before"])
    after = _user(row["after"])
    changes = _differences(before, after)
    return PersonChanged(
        first_seq=row["first_seq"],
        user_id=row["user_id"],
        user_name=after.attributes["userName"] if after else None,
        kinds=_kinds(before, after, changes),
        active=Change(before and before.active, after and after.active),
        role=Change(before and before.role, after and after.role),
        is_deleted=Change(before and before.is_deleted, after and after.is_deleted),
        changes=changes,
        events=after.version - (before.version if before else 0) if after else None,
    )


def _kinds(before: User | None, after: User | None, changes: dict[str, Change]) -> list[Kind]:
    if after is None:
        return []
    was_active, was_deleted = before is not None and before.active, before is not None and before.is_deleted
    is_so: dict[Kind, bool] = {
        "joined": before is None,
        "left": (was_active and not after.active) or (after.is_deleted and not was_deleted),
        "returned": before is not None and not was_active and after.active,
        "role": before is not None and before.role != after.role,
        "attributes": before is not None and bool(changes),
    }
    return [kind for kind, so in is_so.items() if so]


def _differences(before: User | None, after: User | None) -> dict[str, Change]:
    """The attributes that differ but for the role, which is told apart from its spelling."""
    old = before.attributes if before else {}
    new = after.attributes if after else {}
    keys = [key for key in sorted({*old, *new}) if key != "role" and old.get(key) != new.get(key)]
    return {key: Change(old.get(key), new.get(key)) for key in keys}


def _user(text: str | None) -> User | None:
    return _DECODER.decode(text) if text else None


_DECODER = msgspec.json.Decoder(User)

_STATE = f"""
    LEFT JOIN LATERAL (
        SELECT to_json(found) AS state
        FROM (
            SELECT {USER}
            FROM rollbook.history
            WHERE tenant_id = $1 AND user_id = touched.user_id AND valid_from_seq <= {{seq}}
            ORDER BY valid_from_seq DESC
            LIMIT 1
        ) AS found
    ) AS {{name}} ON true
"""  # noqa: S608  constants
_STATES = _STATE.format(seq="$2", name="before") + _STATE.format(seq="$3", name="after")

# Each person at the first event between the two moments: the one before it, if there is one, lies ahead of them.
_CHANGES = f"""
    SELECT touched.*, before.state AS before, after.state AS after
    FROM (
        SELECT seq AS first_seq, stream_id AS user_id
        FROM rollbook.events
        WHERE tenant_id = $1
            AND seq > $4
            AND seq <= $6
            AND stream_id <> tenant_id
            AND {NO_GROUP}
            AND NOT EXISTS (
                SELECT
                FROM rollbook.events AS earlier
                WHERE earlier.tenant_id = $1
                    AND earlier.stream_id = events.stream_id
                    AND earlier.version = events.version - 1
                    AND earlier.seq > $2
            )
        ORDER BY seq
        LIMIT $5
    ) AS touched
    {_STATES}
    ORDER BY first_seq
"""  # noqa: S608  constants

# Of an erased person there are no states, but events.
_CHANGES_OF_ONE = f"""
    SELECT touched.*, before.state AS before, after.state AS after
    FROM (
        SELECT first_seq, $6::uuid AS user_id
        FROM (
            SELECT coalesce(
                (
                    SELECT min(valid_from_seq)
                    FROM rollbook.history
                    WHERE tenant_id = $1 AND user_id = $6 AND valid_from_seq > $2
                ),
                (
                    SELECT min(seq)
                    FROM rollbook.events
                    WHERE tenant_id = $1 AND stream_id = $6 AND stream_id <> tenant_id AND seq > $2
                )
            ) AS first_seq
        ) AS first
        WHERE first_seq > $4 AND first_seq <= $3
        LIMIT $5
    ) AS touched
    {_STATES}
"""  # noqa: S608  constants
