"""One audit question being answered: its parameters settled, its pages, and what is noted of it in the log."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from api.export import Format, Writer
from engine.events import AuditAccessed, EvidenceExported
from projections.question import Asked, Asking, Page, Question, Settled, parameters_of, settle, wait_for

EXPORTED_AT_A_TIME = 500  # rows


@dataclass
class Inquiry:
    """A question of one tenant with its parameters; every page of it is about the same part of the log."""

    pool: asyncpg.Pool
    tenant_id: UUID
    question: Question[Any, Any]
    asked: Asked
    settled: Settled

    async def page(self, after: str | None, limit: int) -> Page[Any]:
        """The rows behind `after`. Raises BadRequest if that is no key of this question."""
        asking = Asking(self.pool, self.tenant_id, self.asked, self.settled, after, limit)
        return await self.question.page(asking)

    async def pages(self) -> AsyncIterator[Page[Any]]:
        """All of them."""
        after: str | None = None
        while True:
            page = await self.page(after, EXPORTED_AT_A_TIME)
            yield page
            after = page.next
            if after is None:
                return

    def next_parameters(self, page: Page[Any]) -> dict[str, str] | None:
        """Those with which the page behind this one is asked for; None at the end."""
        if page.next is None:
            return None
        return {**parameters_of(self.asked.pinned(self.settled)), self.question.cursor(self.asked): page.next}

    def accessed(self, rows: int) -> AuditAccessed:
        """What is noted of a page that was read."""
        return AuditAccessed(
            question=self.question.name,
            parameters=parameters_of(self.asked),
            rows=rows,
            as_of_seq=self.settled.to_seq,
        )


async def inquire(pool: asyncpg.Pool, tenant_id: UUID, question: Question[Any, Any], asked: Asked) -> Inquiry:
    """Settle what is asked, and wait until the tables that are read are so far. Two statements, if they are.

    Raises BadRequest for moments that cannot be, and Busy if the tables are not so far in time.
    """
    settled = await settle(pool, tenant_id, asked)
    await wait_for(pool, tenant_id, question.followers, settled.to_seq)
    return Inquiry(pool, tenant_id, question, asked, settled)


class Export:
    """An inquiry as the pieces of a file, and what is noted of it."""

    def __init__(self, inquiry: Inquiry, format_: Format) -> None:
        self._inquiry = inquiry
        self._format = format_
        self._writer = Writer(format_, inquiry.question.row)
        self._seqs: tuple[int, int] | None = None
        self._erased = 0
        self._is_whole = False

    @property
    def rows(self) -> int:
        return self._writer.rows

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The file's bytes, in memory a page at a time. What cannot be answered is refused before the first of them.

        It is whole when the last piece was taken.
        """
        begun = self._writer.start()
        async for page in self._inquiry.pages():
            for row in page.rows:
                self._count(row)
            if piece := begun + self._writer.piece(page.rows):
                yield piece
            begun = b""
        yield self._writer.end()
        self._is_whole = True

    def exported(self) -> EvidenceExported:
        """What is noted of it, whether it was taken to the end or not."""
        first, last = self._seqs or (None, None)
        return EvidenceExported(
            question=self._inquiry.question.name,
            parameters=parameters_of(self._inquiry.asked),
            rows=self._writer.rows,
            as_of_seq=self._inquiry.settled.to_seq,
            format=self._format,
            sha256=self._writer.sha256,
            first_seq=first,
            last_seq=last,
            erased=self._erased,
            is_whole=self._is_whole,
        )

    def _count(self, row: Any) -> None:
        """Rows that are events, or name one."""
        seq = getattr(row, "seq", None)
        if seq is not None:
            first, last = self._seqs or (seq, seq)
            self._seqs = min(first, seq), max(last, seq)
        self._erased += getattr(row, "data", "") is None
