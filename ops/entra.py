"""A simulated Entra provisioning job: reads the directory, asks and writes over HTTP, and reports what came of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from random import Random
from types import TracebackType
from typing import Self
from uuid import UUID

import aiohttp

from ops import entra_groups as groups
from ops.directory import Directory, Person
from ops.entra_answer import INVALID_CREDENTIALS, TRANSIENT, ExchangeError
from ops.entra_groups import GroupLinks, GroupProvisioner
from ops.entra_mapping import Dialect, Options, by_precedence
from ops.entra_payload import filter_query
from ops.entra_provisioner import Links, Provisioner
from ops.entra_report import Entry, Report, Stop
from ops.entra_retries import QUARANTINE, Escrow, Quarantine, next_attempt, too_many_failures
from ops.entra_wire import Wire

HALTED = "EncounteredQuarantineException"
OVERFLOWING = "EncounteredEscrowProportionThreshold"


class EntraJob:
    """What Entra does with one app, as an async context manager. A session that is handed in stays open.

    The clock tells when escrow and quarantine are due; the caller says when a cycle runs.
    """

    def __init__(  # noqa: PLR0913, the parts of a job, each handed in
        self,
        base_url: str,
        token: str,
        directory: Directory,
        options: Options,
        rng: Random,
        *,
        session: aiohttp.ClientSession | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base_url = base_url
        self._token = token
        self._directory = directory
        self._options = options
        # A stream apart, or the probes of a job would find people who were made from the same seed.
        self._rng = Random(f"probes {rng.getrandbits(64)}")  # noqa: S311, guesses of a simulation
        self._session = session
        self._owns_session = session is None
        self._clock = clock
        self._links = Links()
        self._group_links = GroupLinks()
        self._watermark = 0
        self.escrow = Escrow()
        self.quarantine: Quarantine | None = None

    async def __aenter__(self) -> Self:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._options.concurrency)
            self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None and self._owns_session:
            await self._session.close()
            self._session = None

    async def test_connection(self) -> Report:
        """The portal's button. `report.stop` says what is wrong; nothing is put into quarantine."""
        run = self._run("test connection", self._options.dialect)
        await run.probe()
        return run.report

    async def initial_cycle(self) -> Report:
        """Reads everyone, not only who changed."""
        self._watermark = 0
        return await self._cycle("initial")

    async def incremental_cycle(self) -> Report:
        """Who changed since the last whole cycle, and who is due from escrow. The first one is an initial cycle."""
        return await self._cycle("incremental" if self._watermark else "initial")

    async def provision_on_demand(self, person: Person) -> Report:
        """One person, at once, always in the classic dialect. Escrow and quarantine stay as they are."""
        run = self._run("on demand", "classic")
        await self._pass(run, [person.object_id])
        return run.report

    def restart(self) -> None:
        """Clears watermark, escrow and quarantine. Ids stay, but for those that the app no longer knows."""
        self._watermark = 0
        self.escrow = Escrow()
        self.quarantine = None
        self._links.forget_broken()

    def reset(self) -> None:
        """A restart with the reset scope Full: forgets the ids too, so that everyone is matched anew."""
        self.restart()
        self._links = Links()
        self._group_links = GroupLinks()

    def target_id(self, person: Person) -> str | None:
        """The app's id of the person, as far as the job knows."""
        return self._links.anchors.get(person.object_id)

    async def _cycle(self, kind: str) -> Report:
        run = self._run(kind, self._options.dialect)
        if self.quarantine and not self.quarantine.lets_through(self._clock()):
            held = self.quarantine
            run.report.stop = Stop(held.reason, held.code, held.detail)
            return run.report
        seen = self._directory.watermark
        changed_groups = groups.changed(self._directory, self._watermark, self.escrow.due(self._clock()))
        await self._pass(run, self._changed())
        if self._options.groups:  # when all the people are there
            await run.each(changed_groups, run.groups.synchronise)
        self._keep_escrow(run.report.entries)
        self._judge(run.report)
        if run.report.stop is None:
            self._watermark = seen
        return run.report

    async def _pass(self, run: "_Run", object_ids: list[str]) -> None:
        """Objects first, then what refers to them."""
        await run.probe()
        await run.each(object_ids, run.provisioner.synchronise)
        failed = {entry.object_id for entry in run.report.failures}
        await run.each([each for each in object_ids if each not in failed], run.provisioner.refer)

    def _changed(self) -> list[str]:
        changed = self._directory.changed_since(self._watermark)
        due = [*sorted(self._links.incomplete), *self.escrow.due(self._clock())]
        return [each for each in dict.fromkeys([*changed, *due]) if self._concerns(each)]

    def _concerns(self, object_id: str) -> bool:
        """Who is neither assigned nor known is never looked at."""
        return self._directory.is_assigned(object_id) or object_id in self._links.anchors

    def _keep_escrow(self, entries: Iterable[Entry]) -> None:
        now = self._clock()
        for entry in entries:
            if entry.outcome != "failure":
                self.escrow.cleared(entry.object_id)
            elif entry.code in TRANSIENT:
                self.escrow.postponed(entry.object_id, now)
            else:
                self.escrow.failed(entry.object_id, now)

    def _judge(self, report: Report) -> None:
        """Puts the job into quarantine, keeps it there, or lifts it."""
        references = sum(entry.is_reference for entry in report.failures)
        if too_many_failures(len(report.entries), report.failed - references, references):
            report.stop = Stop(OVERFLOWING, OVERFLOWING, f"{report.failed} of {len(report.entries)} objects failed.")
        if report.stop is None:
            self.quarantine = None
            return
        now = self._clock()
        since = self.quarantine.since if self.quarantine else now
        due = next_attempt(since, now, QUARANTINE)
        self.quarantine = Quarantine(report.stop.reason, report.stop.code, report.stop.detail, since, due)

    def _run(self, kind: str, dialect: Dialect) -> "_Run":
        if self._session is None:
            raise RuntimeError("enter the job first, or hand it a session")
        report = Report(kind)
        wire = Wire(self._session, self._base_url, self._token, report)
        provisioner = Provisioner(self._directory, self._options, dialect, self._links, wire)
        links, people = self._group_links, self._links.anchors
        groups_ = GroupProvisioner(self._directory, dialect, links, people, wire)
        return _Run(report, wire, provisioner, groups_, self._options, self._rng)


class _Run:
    """One pass over the app with its report. Once stopped, it does nothing more."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts of a run
        self,
        report: Report,
        wire: Wire,
        provisioner: Provisioner,
        groups_: GroupProvisioner,
        options: Options,
        rng: Random,
    ) -> None:
        self.report = report
        self.provisioner = provisioner
        self.groups = groups_
        self._wire = wire
        self._options = options
        self._rng = rng

    async def probe(self) -> None:
        """Asks for users and a group that cannot exist: anything but an empty list stops the run."""
        first = by_precedence(self._options.mapping)[0]
        try:
            for _ in range(self._rng.randint(2, 3)):
                await self._expect_nobody(f"/Users?{filter_query(first.target, self._guid())}")
            await self._expect_nobody(f"/Groups?excludedAttributes=members&{filter_query('displayName', self._guid())}")
        except ExchangeError as error:
            code = INVALID_CREDENTIALS if error.status == HTTPStatus.FORBIDDEN else error.code
            self.report.stop = Stop(HALTED, code, error.detail)

    async def each(self, object_ids: Iterable[str], step: Callable[[str], Awaitable[Entry | None]]) -> None:
        """Takes the objects in order, as many at a time as the options say."""
        remaining = iter(object_ids)
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._options.concurrency):
                workers.create_task(self._work(remaining, step))

    async def _work(self, remaining: Iterator[str], step: Callable[[str], Awaitable[Entry | None]]) -> None:
        for object_id in remaining:
            if self.report.stop:
                return
            try:
                entry = await step(object_id)
            except ExchangeError as error:  # only those that halt the job come this far
                self.report.stop = Stop(HALTED, error.code, error.detail)
                return
            if entry:
                self.report.entries.append(entry)

    async def _expect_nobody(self, address: str) -> None:
        if await self._wire.search(address):
            raise ExchangeError("DuplicateTargetEntries", f"{address} finds what cannot exist", HTTPStatus.OK)

    def _guid(self) -> str:
        return str(UUID(int=self._rng.getrandbits(128), version=4))
