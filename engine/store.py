"""The event store: the append, and readers of the log. The only module of the engine that knows the driver."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from engine import events
from engine.events import AnyEvent
from engine.refusals import Conflict, NotFound, NotUnique, SeatLimitReached
from engine.streams import Source

SALT = 32  # bytes


class Cause(Struct, frozen=True, kw_only=True):
    """Why an event happens: who asked, with which token, in which request of which tenant.

    `actor` is the id of a token or of a person, never a name or an address.
    """

    tenant_id: UUID
    source: Source
    actor: str
    request_id: UUID
    token_id: UUID | None = None


class NewEvent(Struct, frozen=True):
    """An event to append. `version` is the place that it must get in its stream; None for the next one."""

    stream_id: UUID
    version: int | None
    event: AnyEvent
    cause: Cause


class Appended(Struct, frozen=True):
    """Where a batch came to stand in its tenant's log, and when."""

    first_seq: int
    recorded_at: datetime


class LostRaceError(Exception):
    """Another writer came first; the command has to be decided afresh."""


class ErasedError(Exception):
    """A note tells something of a person whose data were erased; it has to be noted without."""


_APPEND = """
    SELECT first_seq, at
    FROM rollbook.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""


class EventStore:
    """The log in Postgres, through a pool of the service's own role."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def append(self, batch: Sequence[NewEvent], rows: Mapping[str, Sequence[Any]]) -> Appended:
        """Append events of any number of streams of one tenant, with the rows of the inline projections.

        All or nothing, in one statement. Raises LostRaceError if a stream is at another version than expected,
        ErasedError if it would bring back something of an erased person, NotUnique, SeatLimitReached, Conflict or
        NotFound if a rule over many rows is broken.
        """
        try:
            found = await self._pool.fetchrow(
                _APPEND,
                batch[0].cause.tenant_id,
                [each.stream_id for each in batch],
                [each.version for each in batch],
                [events.type_of(each.event) for each in batch],
                [each.cause.source for each in batch],
                [each.cause.actor for each in batch],
                [each.cause.token_id for each in batch],
                [each.cause.request_id for each in batch],
                [events.encode(each.event) for each in batch],
                [secrets.token_bytes(SALT) for _ in batch],
                msgspec.json.encode(rows).decode(),
            )
        except asyncpg.IntegrityConstraintViolationError as error:
            raise _refusal(error) from error
        return Appended(found["first_seq"], found["at"])


def _refusal(error: Any) -> Exception:
    """Each rule over many rows is kept by a constraint of its name; this says it to the client."""
    refusals: dict[str, Exception] = {
        "version_is_expected": LostRaceError(),
        "members_are_as_decided": LostRaceError(),
        "roles_are_as_decided": LostRaceError(),
        "groups_have_no_cycle": Conflict("A group would be a member of itself, through the groups within it."),
        "of_the_erased_nothing_is_told": ErasedError(),
        "user_name_is_free": NotUnique(
            "Another user of this tenant has this userName, in whatever case; inactive users count too. Match that "
            "user instead of creating it, or free the name first."
        ),
        "microsoft_id_is_free": NotUnique(
            "Another user of this tenant has this microsoftId; inactive users count too. Match that user instead of "
            "creating it."
        ),
        "external_id_is_free": NotUnique(
            "Another group of this tenant has this externalId. Match that group instead of creating it."
        ),
        "tenant_is_registered": NotFound("There is no such tenant."),
        "tenant_is_registered_once": Conflict("A tenant of this name exists already."),
        "seats_are_within_limit": SeatLimitReached(
            f"No seat is free: {error.detail} are taken, which is the tenant's seat limit. Deactivate somebody, or "
            f"have the limit raised."
        ),
    }
    refusal = refusals.get(str(error.constraint_name))
    return error if refusal is None else refusal
