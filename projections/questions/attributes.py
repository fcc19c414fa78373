"""Every change of an attribute, every local edit with its fate, and who went by which name when."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from engine.refusals import BadRequest
from projections.names import compared
from projections.question import Asking, AsOf, Page, Period, Question, Settled, page_of, seq_after

Fate = Literal["standing", "overwritten", "confirmed", "edited again", "person deleted"]
Name = Literal["userName", "externalId", "microsoftId", "emails"]


class AttributeChange(Struct, frozen=True, kw_only=True):
    """An event by which an attribute of a person got another value."""

    seq: int
    recorded_at: datetime
    user_id: UUID
    attribute: str
    before: Annotated[Any, Meta(description="The value before; null if there was none.")]
    after: Annotated[Any, Meta(description="The value from then on; null if there is none.")]
    type: str
    source: str
    actor: str
    token_id: UUID | None
    request_id: UUID


class LocalEdit(Struct, frozen=True, kw_only=True):
    """A local edit of one attribute, and what became of it."""

    seq: int
    recorded_at: datetime
    user_id: UUID
    version: Annotated[int, Meta(description="The place of the edit in the person's stream.")]
    attribute: str
    before: Annotated[Any, Meta(description="The value before the edit; null if there was none.")]
    after: Annotated[Any, Meta(description="The value that was set; null if it was taken away.")]
    actor: str
    token_id: UUID | None
    request_id: UUID
    fate: Annotated[Fate, Meta(description="What became of it up to now, whatever the period.")]
    ended_seq: Annotated[int | None, Meta(description="The event that ended it; null while it stands.")]
    ended_at: datetime | None
    ended_version: Annotated[int | None, Meta(description="Its place in the person's stream.")]
    ended_by: Annotated[str | None, Meta(description="The actor of that event.")]
    ended_token_id: UUID | None
    ended_request_id: UUID | None
    replaced_by: Annotated[Any, Meta(description="The value that this event put in its place.")]


class IdentityHeld(Struct, frozen=True, kw_only=True):
    """For how long a person had a name."""

    user_id: UUID
    attribute: str
    value: Annotated[str, Meta(description="As it was written when the person got it.")]
    from_seq: int
    valid_from: datetime
    to_seq: Annotated[int | None, Meta(description="The event that took it away; null: the person has it now.")]
    valid_to: datetime | None


class AttributeChangesAsked(Period, frozen=True, kw_only=True):
    """Of which attribute, and of whom."""

    attribute: Annotated[
        str, Meta(description="As events name it: title, name.formatted, role, active, urn:…:department.")
    ]
    user: Annotated[UUID | None, Meta(description="Only of this person, with the value at the start.")] = None


class LocalEditsAsked(Period, frozen=True, kw_only=True):
    """Which local edits."""

    user: Annotated[UUID | None, Meta(description="Only of this person.")] = None
    attribute: Annotated[str | None, Meta(description="Only of this attribute.")] = None
    fate: Annotated[tuple[Fate, ...], Meta(description="Only those of which this became.")] = ()
    by: Annotated[
        Literal["edit", "end"], Meta(description="Whether period and order are those of the edits, or of their ends.")
    ] = "edit"


class IdentitiesAsked(AsOf, frozen=True, kw_only=True):
    """Which name; whoever ever had it, unless a moment is given."""

    value: Annotated[str, Meta(description="The name, whole; its case matters in an externalId only.")]
    attribute: Annotated[tuple[Name, ...], Meta(description="What kind of name; any, if it is not given.")] = ()
    held: Annotated[
        Literal["then", "ever"] | None,
        Meta(description="Who had it at the moment, as usual if one is given; or whoever had it up to then."),
    ] = None

    @property
    def is_then(self) -> bool:
        has_moment = self.as_of is not None or self.as_of_seq is not None
        return has_moment if self.held is None else self.held == "then"

    def pinned(self, settled: Settled) -> Self:
        """The seq that is added is no moment that was asked for."""
        return msgspec.structs.replace(super().pinned(settled), held="then" if self.is_then else "ever")


async def _attribute_changes(asking: Asking[AttributeChangesAsked]) -> Page[AttributeChange]:
    rows = await asking.pool.fetch(
        _CHANGES if asking.asked.user is None else _CHANGES_OF_USER,
        asking.tenant_id,
        asking.asked.attribute,
        seq_after(asking),
        asking.settled.to_seq,
        asking.limit,
        *([] if asking.asked.user is None else [asking.asked.user]),
    )
    found = [
        AttributeChange(**{**dict(row), "before": _value(row["before"]), "after": _value(row["after"])}) for row in rows
    ]
    return page_of(found, asking.limit, lambda each: each.seq)


async def _local_edits(asking: Asking[LocalEditsAsked]) -> Page[LocalEdit]:
    asked = asking.asked
    only = {"user_id": asked.user, "attribute": asked.attribute}
    given = {column: value for column, value in only.items() if value is not None}
    place = "seq" if asked.by == "edit" else "ended_seq"
    rows = await asking.pool.fetch(
        _edits(place, list(given)),
        asking.tenant_id,
        list(asked.fate or get_args(Fate)),
        *_place_after(asking),
        asking.settled.to_seq,
        asking.limit,
        *given.values(),
    )
    found = [LocalEdit(**{**dict(row), **{name: _value(row[name]) for name in _VALUES}}) for row in rows]
    return page_of(found, asking.limit, lambda each: f"{getattr(each, place)}.{each.attribute}")


_VALUES = ("before", "after", "replaced_by")


def _place_after(asking: Asking[Any]) -> tuple[int, str]:
    """Where a page begins: one event may be about several attributes."""
    if asking.after is None:
        return asking.settled.after_seq + 1, ""
    seq, _, attribute = asking.after.partition(".")
    if not (seq.isascii() and seq.isdecimal() and len(seq) < 19 and attribute and "\0" not in attribute):
        raise BadRequest("after takes the key that the page before named as its end: a seq, a dot, and an attribute.")
    return max((int(seq), attribute), (asking.settled.after_seq + 1, ""))


async def _identities(asking: Asking[IdentitiesAsked]) -> Page[IdentityHeld]:
    asked = asking.asked
    names = asked.attribute or get_args(Name)
    rows = await asking.pool.fetch(
        _IDENTITIES,
        asking.tenant_id,
        list(names),
        [compared(name, asked.value) for name in names],
        asking.settled.to_seq,
        asked.is_then,
        *_place_after(asking),
        asking.limit,
    )
    found = [IdentityHeld(**dict(row)) for row in rows]
    return page_of(found, asking.limit, lambda each: f"{each.from_seq}.{each.attribute}")


def _value(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


ATTRIBUTE_CHANGES: Question[AttributeChangesAsked, AttributeChange] = Question(
    "attribute-changes",
    "Every change of an attribute, before and after",
    AttributeChangesAsked,
    AttributeChange,
    _attribute_changes,
    ("attribute_history",),
)
LOCAL_EDITS: Question[LocalEditsAsked, LocalEdit] = Question(
    "local-edits",
    "Local edits, and what became of each",
    LocalEditsAsked,
    LocalEdit,
    _local_edits,
    ("local_edits",),
)
IDENTITIES: Question[IdentitiesAsked, IdentityHeld] = Question(
    "identities",
    "Who had a name, and when",
    IdentitiesAsked,
    IdentityHeld,
    _identities,
    ("attribute_history",),
)

_CHANGE = """
    events.seq, events.recorded_at, events.stream_id AS user_id, $2::text AS attribute,
    CASE events.type
        WHEN 'AttributesChanged' THEN nullif((events.data -> 'changes' -> $2::text -> 'from')::text, 'null')
        WHEN 'RoleAssigned' THEN (events.data -> 'from')::text
        WHEN 'UserProvisioned' THEN NULL
        ELSE (events.type <> 'Reactivated')::text
    END AS before,
    CASE events.type
        WHEN 'AttributesChanged' THEN nullif((events.data -> 'changes' -> $2::text -> 'to')::text, 'null')
        WHEN 'RoleAssigned' THEN (events.data -> 'to')::text
        WHEN 'UserProvisioned' THEN coalesce(
            CASE WHEN $2::text IN ('role', 'active') THEN events.data -> $2::text END,
            events.data -> 'attributes' -> $2::text
        )::text
        ELSE (events.type = 'Reactivated')::text
    END AS after,
    events.type, events.source, events.actor, events.token_id, events.request_id
"""

_CHANGES = f"""
    SELECT {_CHANGE}
    FROM (
        SELECT seq
        FROM rollbook.attribute_changes
        WHERE tenant_id = $1 AND attribute = $2::text AND seq > $3 AND seq <= $4
        ORDER BY seq
        LIMIT $5
    ) AS changed
    JOIN rollbook.events ON events.tenant_id = $1 AND events.seq = changed.seq
    ORDER BY events.seq
"""  # noqa: S608  constants

_CHANGES_OF_USER = f"""
    SELECT {_CHANGE}
    FROM (
        SELECT seq
        FROM (
            (
                SELECT seq
                FROM rollbook.attribute_changes
                WHERE tenant_id = $1 AND user_id = $6 AND attribute = $2::text AND seq > $3 AND seq <= $4
                ORDER BY seq
                LIMIT $5
            )
            UNION ALL
            (
                SELECT seq
                FROM rollbook.events
                WHERE tenant_id = $1
                    AND stream_id = $6
                    AND version = 1
                    AND stream_id <> tenant_id
                    AND seq > $3
                    AND seq <= $4
                    AND ($2::text IN ('role', 'active') OR data -> 'attributes' -> $2::text IS NOT NULL)
                    AND data IS NOT NULL
            )
        ) AS found
        ORDER BY seq
        LIMIT $5
    ) AS changed
    JOIN rollbook.events ON events.tenant_id = $1 AND events.seq = changed.seq
    ORDER BY events.seq
"""  # noqa: S608  constants


def _edits(place: str, only: Sequence[str]) -> str:
    """A page, fate by fate, each from its index: little among much is not looked for in all of it."""
    narrowed = "".join(f" AND {column} = ${number}" for number, column in enumerate(only, 7))
    return f"""
        SELECT
            edit.seq, edit.recorded_at, edit.user_id, edit.version, edit.attribute, edit.before, edit.after,
            began.actor, began.token_id, began.request_id,
            edit.fate, edit.ended_seq, edit.ended_at, edit.ended_version,
            ended.actor AS ended_by, ended.token_id AS ended_token_id, ended.request_id AS ended_request_id,
            edit.replaced_by
        FROM (
            SELECT of_fate.*
            FROM unnest($2::text[]) AS wanted(fate)
            CROSS JOIN LATERAL (
                SELECT *
                FROM rollbook.local_edits
                WHERE tenant_id = $1
                    AND fate = wanted.fate
                    AND ({place}, attribute) > ($3, $4)
                    AND {place} <= $5{narrowed}
                ORDER BY {place}, attribute
                LIMIT $6
            ) AS of_fate
            ORDER BY {place}, attribute
            LIMIT $6
        ) AS edit
        JOIN rollbook.events AS began ON began.tenant_id = $1 AND began.seq = edit.seq
        LEFT JOIN rollbook.events AS ended ON ended.tenant_id = $1 AND ended.seq = edit.ended_seq
        ORDER BY edit.{place}, edit.attribute
    """  # noqa: S608  columns of ours


_IDENTITIES = """
    SELECT
        one.user_id, wanted.attribute, one.spelling AS value, one.from_seq, one.valid_from,
        CASE WHEN one.to_seq <= $4 THEN one.to_seq END AS to_seq,
        CASE WHEN one.to_seq <= $4 THEN one.valid_to END AS valid_to
    FROM unnest($2::text[], $3::text[]) AS wanted(attribute, value)
    CROSS JOIN LATERAL (
        SELECT *
        FROM rollbook.identities
        WHERE tenant_id = $1
            AND attribute = wanted.attribute
            AND value = wanted.value
            AND (from_seq, attribute) > ($6, $7)
            AND from_seq <= $4
            AND (NOT $5::boolean OR to_seq IS NULL OR to_seq > $4)
        ORDER BY from_seq
        LIMIT $8
    ) AS one
    ORDER BY one.from_seq, wanted.attribute
    LIMIT $8
"""
