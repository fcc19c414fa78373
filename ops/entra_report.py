"""What one run of the job did: its log, what it wrote, how often it asked, and what stopped it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["Create", "Update", "Disable", "Delete", "Other"]
Outcome = Literal["success", "skipped", "failure"]


@dataclass(frozen=True)
class Written:
    """A request that would change something, exactly as it was sent. `status` is None if no answer came."""

    method: str
    path: str
    body: dict[str, Any] | None
    status: int | None


@dataclass(frozen=True)
class Entry:
    """A line of the provisioning log. `status` is that of the last answer; `steps` ends with the one that failed."""

    object_id: str
    action: Action
    outcome: Outcome
    code: str | None = None
    status: int | None = None
    detail: str = ""
    steps: tuple[str, ...] = ()
    is_reference: bool = False


@dataclass(frozen=True)
class Stop:
    """Why a run ended before its time."""

    reason: str
    code: str
    detail: str


@dataclass
class Report:
    """One run. `requests` counts by method, probes included."""

    kind: str
    requests: Counter[str] = field(default_factory=Counter)
    entries: list[Entry] = field(default_factory=list)
    writes: list[Written] = field(default_factory=list)
    stop: Stop | None = None

    @property
    def ok(self) -> bool:
        return self.stop is None and not self.failed

    @property
    def created(self) -> int:
        return self._count("success", "Create")

    @property
    def updated(self) -> int:
        """Updates, those of managers included."""
        return self._count("success", "Update")

    @property
    def disabled(self) -> int:
        return self._count("success", "Disable")

    @property
    def deleted(self) -> int:
        return self._count("success", "Delete")

    @property
    def skipped(self) -> int:
        return sum(entry.outcome == "skipped" for entry in self.entries)

    @property
    def failures(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.outcome == "failure"]

    @property
    def failed(self) -> int:
        return len(self.failures)

    def _count(self, outcome: Outcome, action: Action) -> int:
        return sum((entry.outcome, entry.action) == (outcome, action) for entry in self.entries)
