"""Rebuilds projections from the log, beside the live ones, while the service runs.

Build beside → catch up → compare with the live ones, within one snapshot → swap in a transaction that writers wait for,
after a last catch-up → drop the old ones. An interrupted rebuild leaves the live tables as they were, and can resume.
"""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

import asyncpg
from msgspec import Struct

from projections.batch import read_batch
from projections.build import CannotApplyError
from projections.checks import note_replay
from projections.claim import AlreadyRunningError, Claim, claimed, taken_for_dead
from projections.comparison import Difference, compare, pass_over_erased, read_differences
from projections.connections import connected
from projections.poison import is_poison
from projections.shadow import Heads, Shadow, use
from projections.swap import (
    dependents,
    keep_vacuum_away,
    lock_tables,
    note_swap,
    replace_rows,
    replace_tables,
    stop_writers,
)
from projections.target import Target
from projections.workers import build

BATCH = 1_000  # events, in catching up
NEARLY = 50  # events that may be left when the swap begins; appends wait while they are applied
SWAP_ATTEMPTS = 100
SWAP_PAUSE = 0.5  # seconds; whoever waited behind us goes first

Progress = Callable[[int, int], None]
"""Called with the number of events that are built, and of all, about."""


class TablesInUseError(Exception):
    """Somebody reads the live tables for so long that they cannot be replaced."""


class TablesNeededError(Exception):
    """Something that others made depends on the live tables, which can neither be dropped nor left to it."""


class OtherVersionError(Exception):
    """The live tables are of another version, so that they can only be replaced as a whole."""


class Summary(Struct, frozen=True):
    """What a rebuild did. `more` is how many differences there are besides the first ones.

    `is_compared` is false if the live tables are of another version, or far behind: there is nothing to compare then.
    `pause` is for how many seconds writers had to wait at most; None without a swap.
    """

    names: tuple[str, ...]
    events: int
    differences: list[Difference]
    more: int
    is_compared: bool
    is_resumed: bool
    build_seconds: float
    pause: float | None


async def rebuild(  # noqa: PLR0913  what an operator can choose
    owner_url: str,
    target: Target,
    *,
    tenant_id: UUID | None = None,
    swap: bool = True,
    resume: bool = False,
    jobs: int = 1,
    progress: Progress = lambda *_: None,
) -> Summary:
    """Rebuild a target for all tenants, or one, compare it with the live tables, and replace those if `swap`.

    The role must be able to act as the store's owner. Raises AlreadyRunningError, TablesInUseError, TablesNeededError,
    OtherVersionError, WorkerDiedError, and CannotApplyError.
    """
    async with connected(owner_url) as connection, claimed(owner_url, target) as claim:
        shadow = Shadow(connection, target, tenant_id)
        rebuilding = _Rebuild(connection, target, tenant_id, shadow)
        await rebuilding.find_whether_to_compare(swap=swap)
        if swap:
            await rebuilding.check_dependents()
        is_resumed = await _opened(shadow, resume=resume, is_compared=rebuilding.is_compared)
        await rebuilding.build(owner_url, jobs, claim, progress, is_resumed=is_resumed)
        built = time.monotonic()
        if rebuilding.is_compared:
            await rebuilding.compare()
        found, more = await read_differences(connection)
        pause = await rebuilding.swap(claim) if swap else None
        events = sum((await shadow.places()).values())
        await claim.check(connection)
        if not swap:
            seconds = time.monotonic() - claim.started
            await note_replay(connection, target.wanted_by_name, seconds, is_of_all=tenant_id is None)
        await shadow.drop()
        return Summary(
            names=tuple(sorted(target.names)),
            events=events,
            differences=found,
            more=more,
            is_compared=rebuilding.is_compared,
            is_resumed=is_resumed,
            build_seconds=built - claim.started,
            pause=pause,
        )


async def _opened(shadow: Shadow, *, resume: bool, is_compared: bool) -> bool:
    try:
        return await shadow.open(resume=resume, is_compared=is_compared)
    except asyncpg.DependentObjectsStillExistError as error:
        raise TablesNeededError(
            f"Tables that an earlier replay replaced cannot be dropped: {' '.join(str(error.detail).split())}. Drop "
            f"what depends on them, and replay again."
        ) from None


class _Rebuild:
    """One rebuild, through the connection whose search path leads to the rebuilt tables."""

    def __init__(self, connection: asyncpg.Connection, target: Target, tenant_id: UUID | None, shadow: Shadow) -> None:
        self._connection = connection
        self._target = target
        self._tenant_id = tenant_id
        self._shadow = shadow
        self.is_compared = True

    async def find_whether_to_compare(self, *, swap: bool) -> None:
        """Tables of another version cannot be compared; and those of a follower that has hardly begun are better built
        up to the end of the log, which is faster than following."""
        is_same = await self.is_same_version()
        is_whole = swap and self._tenant_id is None
        if not is_same and not is_whole:
            raise OtherVersionError(
                f"The rows of {self._target.name} are of another version than this program's, and can neither be "
                f"compared nor replaced for one tenant. Replay them as a whole: rollbook replay {self._target.name}"
            )
        self.is_compared = is_same and not (is_whole and self._target.is_follower and await self._is_young())

    async def is_same_version(self) -> bool:
        """Raises OtherVersionError if a newer program made the tables."""
        rows = await self._connection.fetch("SELECT name, version FROM rollbook.projections")
        installed = {row["name"]: row["version"] for row in rows}
        if newer := [name for name, version in self._target.versions.items() if installed.get(name, 0) > version]:
            raise OtherVersionError(f"A newer Rollbook made the tables of {newer[0]}. Run that one.")
        return all(installed.get(name) == version for name, version in self._target.versions.items())

    async def _is_young(self) -> bool:
        return bool(await self._connection.fetchval(_IS_YOUNG, self._target.name))

    async def check_dependents(self) -> None:
        """Raises TablesNeededError if others have made views of tables that are to be replaced."""
        found = [] if self._tenant_id else await dependents(self._connection, self._target)
        if found:
            raise TablesNeededError(
                f"The live tables cannot be replaced, because others depend on them: {', '.join(found)}. Drop that, "
                f"replay, and make it anew; or replay one tenant at a time, which leaves the tables in place."
            )

    async def _live(self) -> Heads:
        """How far the live tables are or, if they are not compared, how far the log is."""
        is_behind = self._target.is_follower and self.is_compared
        values: list[object] = [self._target.name] if is_behind else []
        query = _PLACES if is_behind else _HEADS
        if self._tenant_id is not None:
            values.append(self._tenant_id)
            query += f" AND tenant_id = ${len(values)}"
        rows = await self._connection.fetch(query, *values)
        return {row["tenant_id"]: row["seq"] for row in rows}

    async def build(self, owner_url: str, jobs: int, claim: Claim, progress: Progress, *, is_resumed: bool) -> None:
        if not is_resumed:
            await self._shadow.cut(await self._live())
        left, claim.total = await self._shadow.left_to_do()
        claim.done = claim.total - left
        progress(claim.done, claim.total)

        def report(events: int) -> None:
            claim.done += events
            progress(min(claim.done, claim.total), claim.total)

        while not await self._shadow.is_built():  # a slice that somebody held is passed over
            await build(owner_url, self._target, self._shadow.schema, jobs, report)
        await self._make_indexes(owner_url, jobs)
        progress(claim.total, claim.total)
        # Plans are right from the first query on, whether it compares or, after the swap, is a directory's.
        await self._connection.execute(f"ANALYZE {', '.join(each.name for each in self._target.wanted_tables)}")

    async def _make_indexes(self, owner_url: str, jobs: int) -> None:
        missing = asyncio.Queue[str]()
        for statement in await self._shadow.missing_indexes():
            missing.put_nowait(statement)

        async def make_some() -> None:
            async with connected(owner_url) as connection:
                await use(connection, self._shadow.schema)
                while not missing.empty():
                    await self._make_index(connection, missing.get_nowait())

        await asyncio.gather(*(make_some() for _ in range(jobs)))

    async def _make_index(self, connection: asyncpg.Connection, statement: str) -> None:
        try:
            await connection.execute(statement)
        except asyncpg.UniqueViolationError as error:
            raise CannotApplyError(
                f"{self._target.name} cannot be rebuilt: the log breaks {error.constraint_name}: {error.detail}"
            ) from None

    async def _catch_up(self) -> int:
        """Apply what the live tables have and the rebuilt ones have not, by the snapshot of the transaction that is
        under way, if one is. The number of events."""
        live, rebuilt = await self._live(), await self._shadow.places()
        behind = {tenant_id: seq for tenant_id, seq in live.items() if seq > rebuilt.get(tenant_id, 0)}
        for tenant_id, seq in behind.items():
            place = rebuilt.get(tenant_id, 0)
            while place < seq:
                place = await self._apply(tenant_id, place, min(BATCH, seq - place))
        return sum(seq - rebuilt.get(tenant_id, 0) for tenant_id, seq in behind.items())

    async def _apply(self, tenant_id: UUID, place: int, limit: int) -> int:
        try:
            return await self._apply_events(tenant_id, place, limit)
        except Exception as error:
            if isinstance(error, AlreadyRunningError) or not is_poison(error):
                raise
            raise CannotApplyError(
                f"{self._target.name} cannot be rebuilt: an event of tenant {tenant_id}, from seq {place + 1} to "
                f"{place + limit}, raises {type(error).__name__}: {error}"
            ) from None

    async def _apply_events(self, tenant_id: UUID, place: int, limit: int) -> int:
        batch = await read_batch(self._connection, tenant_id, place, limit, reads_headers=self._target.reads_headers)
        to_seq = place + len(batch.found)
        async with self._connection.transaction():
            if not await self._connection.fetch(_NOTE_PLACE, tenant_id, place, to_seq):
                raise taken_for_dead()
            await self._target.apply(batch)
            await self._connection.execute(_NOTE_TOUCHED, list({each.stream_id for each in batch.found} | {tenant_id}))
        return to_seq

    async def compare(self) -> None:
        await self._catch_up()
        async with self._connection.transaction(isolation="repeatable_read"):
            await self._catch_up()
            await compare(self._connection, self._target.wanted_tables, self._tenant_id)
            if self._target.is_follower:
                await pass_over_erased(self._connection, self._target.name)
            await self._connection.execute("TRUNCATE _touched")

    async def swap(self, claim: Claim) -> float:
        """For how many seconds writers had to wait.

        Raises TablesInUseError if the locks cannot be had, TablesNeededError if others depend on views of auditors that
        have to be dropped.
        """
        for _ in range(SWAP_ATTEMPTS):
            await self._catch_up_nearly()
            try:
                async with self._connection.transaction():
                    await keep_vacuum_away(self._connection, self._target, self._tenant_id)
                    await self._catch_up_nearly()
                    started = time.monotonic()
                    await self._swap(claim)
            except asyncpg.LockNotAvailableError:
                await asyncio.sleep(SWAP_PAUSE)
            except asyncpg.DependentObjectsStillExistError as error:
                raise TablesNeededError(
                    f"The views of auditors get other columns, and others depend on them: "
                    f"{' '.join(str(error.detail).split())}. Drop that, and replay."
                ) from None
            else:
                return time.monotonic() - started
        raise TablesInUseError(
            "The live tables cannot be replaced, because somebody keeps reading them. End long queries "
            "(pg_stat_activity lists them) and replay again."
        )

    async def _catch_up_nearly(self) -> None:
        """Writers wait for the rest only."""
        while await self._catch_up() > NEARLY:
            pass

    async def _swap(self, claim: Claim) -> None:
        lock = await stop_writers(self._connection, self._target, self._tenant_id)
        await claim.check(self._connection)
        await self._catch_up()
        if self._tenant_id is None:
            is_new = not await self.is_same_version()
            await lock_tables(self._connection, lock, self._target)
            await self.check_dependents()
            await replace_tables(self._connection, self._target, self._shadow.schema, functions=is_new)
            await note_swap(self._connection, self._target)
        else:
            await replace_rows(self._connection, self._target, self._tenant_id)
        await self._connection.execute("DELETE FROM _run")  # nothing is left to resume


_HEADS = "SELECT tenant_id, seq FROM rollbook.heads WHERE true"

_PLACES = "SELECT tenant_id, seq FROM rollbook.places WHERE follower = $1"

# More is waiting than was ever applied.
_IS_YOUNG = """
    SELECT sum(heads.seq) > 2 * coalesce(sum(places.seq), 0)
    FROM rollbook.heads
    LEFT JOIN rollbook.places ON places.tenant_id = heads.tenant_id AND places.follower = $1
"""

_NOTE_PLACE = """
    INSERT INTO _places AS place
    VALUES ($1, $3)
    ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq WHERE place.seq = $2
    RETURNING seq
"""

_NOTE_TOUCHED = "INSERT INTO _touched SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING"
