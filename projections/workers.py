"""The processes of a rebuild: started by it, told what to do on standard input, ended with it.

A worker writes a line for each page that it has done, and one with the error if it fails. Its standard input stays open
for as long as its parent lives, and it ends when that does.
"""

import asyncio
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process

import asyncpg
import msgspec
import uvloop
from msgspec import Struct

from projections.build import CannotApplyError, Report, build_slices
from projections.target import Target, targets


class WorkerDiedError(Exception):
    """A process that was building was ended from outside."""


class Order(Struct, frozen=True):
    """What a worker is to do."""

    owner_url: str
    names: list[str]
    schema: str


class Line(Struct, frozen=True, omit_defaults=True):
    """What a worker says: how many events it has built since the last line, or why it cannot."""

    events: int = 0
    error: str | None = None


async def build(owner_url: str, target: Target, schema: str, jobs: int, report: Report) -> None:
    """Build all slices that are left: here, or in so many processes. Raises CannotApplyError or WorkerDiedError."""
    if jobs == 1:
        await build_slices(owner_url, target, schema, report)
        return
    order = msgspec.json.encode(Order(owner_url, sorted(target.names), schema))
    workers = [await _start(order) for _ in range(jobs)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for worker in workers:
                tasks.create_task(_listen(worker, report))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for worker in workers:
            await _end(worker)


async def _start(order: bytes) -> Process:
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE)
    assert worker.stdin is not None  # noqa: S101  it is a pipe
    worker.stdin.write(order + b"\n")
    return worker


async def _listen(worker: Process, report: Report) -> None:
    assert worker.stdout is not None  # noqa: S101  it is a pipe
    async for text in worker.stdout:
        line = msgspec.json.decode(text, type=Line)
        if line.error is not None:
            raise CannotApplyError(line.error)
        report(line.events)
    if await worker.wait():
        raise WorkerDiedError(
            "A process that was rebuilding was killed, or lost the database. The live tables are as they were; go on "
            "with --resume."
        )


async def _end(worker: Process) -> None:
    if worker.returncode is None:
        worker.kill()
    await worker.wait()


def main() -> None:
    """Be a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, to all; the parent decides
    line = sys.stdin.buffer.readline()
    if not line:  # the parent was killed before it could say what to do
        return
    order = msgspec.json.decode(line, type=Order)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    [target] = targets(order.names)
    try:
        uvloop.run(build_slices(order.owner_url, target, order.schema, lambda events: _say(Line(events))))
    except CannotApplyError as error:
        _say(Line(error=str(error)))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        sys.exit(1)  # the parent says what there is to say


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not by the buffer, whose lock would keep the interpreter from its end
        pass
    os._exit(1)


def _say(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
