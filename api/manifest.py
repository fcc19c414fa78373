"""The manifest of an export: what was asked by whom, and by what a file is known to be the one that was given."""

from datetime import datetime
from importlib.metadata import version
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from engine.events import EvidenceExported, decode
from engine.log import LoggedEvent


class ExportAsked(Struct, frozen=True):
    """Which export."""

    id: Annotated[UUID, Meta(description="The id of the request that asked for the file.")]


class Manifest(Struct, frozen=True, kw_only=True):
    """What is known of an export."""

    tenant_id: UUID
    question: str
    parameters: dict[str, str]
    asked_by: Annotated[str, Meta(description="The actor: a token, or a person whom the app named.")]
    made_at: datetime
    request_id: UUID
    seq: Annotated[int, Meta(description="The event that notes the export.")]
    as_of_seq: Annotated[int | None, Meta(description="The event as of which the question was answered.")]
    first_seq: Annotated[int | None, Meta(description="The first event that the file tells of.")]
    last_seq: Annotated[int | None, Meta(description="The last one.")]
    rows: int
    erased: Annotated[int, Meta(description="How many events in it were erased.")]
    format: str
    sha256: Annotated[str, Meta(description="Of the file's bytes, in hexadecimal.")]
    is_whole: Annotated[bool, Meta(description="Whether the file was taken to its end.")]
    software: str


def manifest(tenant_id: UUID, logged: LoggedEvent) -> Manifest:
    """The manifest that the event of an export holds."""
    event = decode(logged.data or "")
    if not isinstance(event, EvidenceExported):
        raise TypeError(f"{logged.type} is no export")
    return Manifest(
        tenant_id=tenant_id,
        question=event.question,
        parameters=event.parameters,
        asked_by=logged.actor,
        made_at=logged.recorded_at,
        request_id=logged.request_id,
        seq=logged.seq,
        as_of_seq=event.as_of_seq,
        first_seq=event.first_seq,
        last_seq=event.last_seq,
        rows=event.rows,
        erased=event.erased,
        format=event.format,
        sha256=event.sha256,
        is_whole=event.is_whole,
        software=f"rollbook {version('rollbook')}",
    )
