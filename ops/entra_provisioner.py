"""Brings one object of the app in step with its person: finds it, creates it, changes what differs, or ends it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ops.directory import Directory
from ops.entra_answer import INVALID_ANCHOR, ExchangeError, HaltedError
from ops.entra_mapping import Dialect, Options, Row, Source, by_precedence
from ops.entra_payload import create_body, differences, disables, filter_query, manager_body, patch_body, wanted
from ops.entra_report import Action, Entry, Outcome
from ops.entra_wire import Wire

SKIPPED = "EntrySynchronizationSkipped"
MISSING_VALUES = "MissingValues"
DUPLICATES = "DuplicateTargetEntries"


@dataclass
class Links:
    """What the job remembers of its objects between cycles.

    `anchors`: the app's id of each object. `broken`: those whose id the app no longer knows. `released`: disabled as
    out of scope, so no longer managed. `incomplete`: created without their custom attributes.
    """

    anchors: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    incomplete: set[str] = field(default_factory=set)

    def forget_broken(self) -> None:
        for object_id in self.broken:
            self.anchors.pop(object_id, None)
        self.broken.clear()


@dataclass
class _Work:
    """One object on its way through Import, Scope, Match and Action."""

    source: Source
    action: Action = "Other"
    steps: list[str] = field(default_factory=lambda: ["Import"])
    is_reference: bool = False

    @property
    def object_id(self) -> str:
        return self.source.person.object_id

    def done(self, status: int) -> Entry:
        return self._entry("success", None, status, "")

    def skipped(self, detail: str, code: str = SKIPPED) -> Entry:
        return self._entry("skipped", code, None, detail)

    def failed(self, error: ExchangeError) -> Entry:
        return self._entry("failure", error.code, error.status, error.detail)

    def _entry(self, outcome: Outcome, code: str | None, status: int | None, detail: str) -> Entry:
        steps = tuple(self.steps)
        return Entry(self.object_id, self.action, outcome, code, status, detail, steps, self.is_reference)


class Provisioner:
    """One run's way with objects. Its two methods raise HaltedError; any other error is the entry's."""

    def __init__(self, directory: Directory, options: Options, dialect: Dialect, links: Links, wire: Wire) -> None:
        self._directory = directory
        self._options = options
        self._dialect = dialect
        self._links = links
        self._wire = wire
        self._values = [row for row in options.mapping if not row.is_reference]
        self._references = [row for row in options.mapping if row.is_reference]
        self._active = [row for row in self._values if row.target.is_active]

    async def synchronise(self, object_id: str) -> Entry:
        """The first pass: everything but references."""
        work = _Work(self._source(object_id))
        try:
            return await self._synchronise(work)
        except HaltedError:
            raise
        except ExchangeError as error:
            return self._failed(work, error)

    async def refer(self, object_id: str) -> Entry | None:
        """The second pass, when all objects exist. None if there was nothing to write."""
        work = _Work(self._source(object_id), action="Update", is_reference=True)
        try:
            return await self._refer(work)
        except HaltedError:
            raise
        except ExchangeError as error:
            return self._failed(work, error)

    async def _synchronise(self, work: _Work) -> Entry:
        work.steps.append("Scope")
        if work.source.person.purged:
            return await self._purge(work)
        if not self._is_in_scope(work.source):
            return await self._retire(work)
        self._links.released.discard(work.object_id)
        work.steps.append("Match")
        if work.object_id not in self._links.anchors and not self._matching_values(work.source):
            return work.skipped("The source has no value for a matching attribute.", MISSING_VALUES)
        found = await self._find(work)
        if found is not None:
            return await self._update(work, found, self._values)
        if work.source.is_soft_deleted:
            return work.skipped("A disabled person is not created.")
        return await self._create(work)

    async def _find(self, work: _Work) -> dict[str, Any] | None:
        if anchor := self._links.anchors.get(work.object_id):
            return await self._wire.read(anchor)
        for row, value in self._matching_values(work.source):
            hits = await self._wire.search(f"/Users?{filter_query(row.target, value)}")
            if len(hits) > 1:
                raise ExchangeError(DUPLICATES, f"{len(hits)} users match {row.target.name}.", 200)
            if hits:
                self._links.anchors[work.object_id] = hits[0]["id"]
                return hits[0]
        return None

    async def _create(self, work: _Work) -> Entry:
        work.steps.append("Action")
        work.action = "Create"
        nested = self._options.custom_on_create == "nested"
        values = wanted(self._values, work.source)
        status, anchor = await self._wire.create(create_body(values, with_custom=nested))
        self._links.anchors[work.object_id] = anchor
        if not nested and any(target.is_custom for target, _ in values):
            self._links.incomplete.add(work.object_id)
        return work.done(status)

    async def _update(self, work: _Work, found: dict[str, Any], rows: Iterable[Row]) -> Entry:
        work.steps.append("Action")
        changes = differences(found, wanted(rows, work.source))
        work.action = "Disable" if disables(changes) else "Update"
        self._links.incomplete.discard(work.object_id)
        if not changes:
            return work.skipped("The app has it all.")
        return work.done(await self._wire.change(found["id"], patch_body(changes, self._dialect)))

    async def _retire(self, work: _Work) -> Entry:
        """Out of scope, or in the recycle bin: only `active` is written, and nothing is created."""
        anchor = self._links.anchors.get(work.object_id)
        if anchor is None or work.object_id in self._links.released:
            return work.skipped("The person is not in scope.")
        if not self._active:
            return await self._delete(work, anchor)
        work.steps.append("Match")
        entry = await self._update(work, await self._wire.read(anchor), self._active)
        if not self._directory.is_assigned(work.object_id):
            self._links.released.add(work.object_id)
        return entry

    async def _purge(self, work: _Work) -> Entry:
        anchor = self._links.anchors.get(work.object_id)
        if anchor is None or not self._directory.is_assigned(work.object_id):
            self._forget(work.object_id)
            return work.skipped("The person was not managed any more.")
        return await self._delete(work, anchor)

    async def _delete(self, work: _Work, anchor: str) -> Entry:
        work.steps.append("Action")
        work.action = "Delete"
        status = await self._wire.delete(anchor)
        self._forget(work.object_id)
        return work.done(status)

    async def _refer(self, work: _Work) -> Entry | None:
        anchors = self._links.anchors
        anchor = anchors.get(work.object_id)
        known = [(target, anchors[it]) for target, it in wanted(self._references, work.source) if it in anchors]
        if not known or anchor is None or work.source.is_soft_deleted:
            return None
        entry = None
        for change in differences(await self._wire.read(anchor), known):
            location = self._wire.location(change.value)
            body = manager_body(change, self._dialect, self._options.manager_form, location)
            entry = work.done(await self._wire.change(anchor, body))
        return entry

    def _failed(self, work: _Work, error: ExchangeError) -> Entry:
        if error.code == INVALID_ANCHOR:
            self._links.broken.add(work.object_id)
        return work.failed(error)

    def _forget(self, object_id: str) -> None:
        self._links.anchors.pop(object_id, None)
        self._links.released.discard(object_id)
        self._links.incomplete.discard(object_id)

    def _matching_values(self, source: Source) -> list[tuple[Row, str]]:
        rows = by_precedence(self._options.mapping)
        return [(row, value) for row in rows if (value := row.value(source))]

    def _is_in_scope(self, source: Source) -> bool:
        return self._directory.is_assigned(source.person.object_id) and not source.person.soft_deleted

    def _source(self, object_id: str) -> Source:
        person = self._directory.person(object_id)
        is_assigned = self._directory.is_assigned(object_id)
        is_soft_deleted = person.soft_deleted or not person.account_enabled or not is_assigned
        return Source(person, is_soft_deleted, self._role(object_id))

    def _role(self, object_id: str) -> str | None:
        role = self._directory.role_of(object_id)
        if role is not None:
            return role.value if self._options.role_source == "value" else role.display_name
        return "User" if self._options.default_access else None
