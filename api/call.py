"""One request as the service sees it: who asks, what was tolerated, what the log will say."""

import time
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from starlette.requests import HTTPConnection
from uuid_utils.compat import uuid7

from engine.refusals import Refusal
from engine.store import Cause
from engine.streams import Source
from engine.strictness import StrictQuirks
from engine.values import Quirks
from projections.tenants import Admission

KEY = "rollbook.call"
MOST_QUIRKS = 20  # that are told of one request


@dataclass
class Call:
    """Filled as the request goes through; nothing in it but ids, names of attributes and numbers may be logged."""

    request_id: UUID = field(default_factory=uuid7)
    started: float = field(default_factory=time.perf_counter)
    presented: Admission | None = None  # what the token would open, if it were valid and had the scope
    admission: Admission | None = None
    visitor: Cause | None = None  # of the console, whom a session admits and no token
    source: Source = "directory"
    is_astray: bool = False  # whether a directory asks where SCIM is not, for its Tenant URL is wrong
    actor: str | None = None
    user_id: UUID | None = None
    subject: dict[str, str] = field(default_factory=dict)
    quirks: Quirks = field(default_factory=list)
    refusal: type[Refusal] | None = None
    fault: str | None = None
    lacks_active: bool = False  # whether it created somebody without saying active: a mapping may lack it
    changes: int = 0  # events that it appended, without the record of its own refusal

    def be_strict(self) -> None:
        """Refuse every tolerance from now on, and those that were applied."""
        self.quirks, noted = StrictQuirks(), self.quirks
        self.quirks += noted

    def expect_names_of(self, refusal: type[Refusal]) -> None:
        """Say what an unknown name is refused with from now on, in a tenant that takes strict SCIM."""
        if isinstance(self.quirks, StrictQuirks):
            self.quirks.unknown_in = refusal

    @property
    def distinct_quirks(self) -> tuple[str, ...]:
        """The plain texts: what a refusal knows besides, such as an unknown name, stays out of every record."""
        return tuple(dict.fromkeys(map(str, self.quirks)))[:MOST_QUIRKS]

    @property
    def admitted(self) -> Admission:
        if self.admission is None:
            raise LookupError("the request was not admitted")
        return self.admission

    @property
    def is_admitted(self) -> bool:
        return bool(self.admission or self.visitor)

    @property
    def cause(self) -> Cause:
        if self.visitor:
            return self.visitor
        admission = self.admitted
        return Cause(
            tenant_id=admission.tenant_id,
            source=self.source,
            actor=self.actor or str(admission.token_id),
            token_id=admission.token_id,
            request_id=self.request_id,
        )


def call_of(connection: HTTPConnection) -> Call:
    return cast(Call, connection.scope[KEY])
