"""An event in its stream, and the stream's identity: the leaf of types that everything else shares."""

from datetime import datetime
from typing import Generic, Literal, TypeVar
from uuid import UUID

from msgspec import Struct

Source = Literal["directory", "local", "operator", "engine"]
SOURCES: tuple[Source, ...] = ("directory", "local", "operator", "engine")

E_co = TypeVar("E_co", covariant=True)


class Recorded(Struct, Generic[E_co], frozen=True):
    """An event with its place in its stream. `recorded_at` is None for one that is about to be appended."""

    stream_id: UUID
    version: int
    source: Source
    event: E_co
    recorded_at: datetime | None = None
