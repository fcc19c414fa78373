"""How far long work is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

Report = Callable[[int, int | None], None]
"""Called with what is done, and all there is; None if nobody knows."""

_EVERY = 5.0  # seconds


@contextmanager
def progress(what: str, unit: str) -> Iterator[Report]:
    """A function to call with what is done and all there is; writes on standard error."""
    if sys.stderr.isatty():
        with _bar(what, unit) as report:
            yield report
    else:
        yield _lines(what, unit)


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Report]:
    """It goes away when all is done, for whoever called has more to say then."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, told="")
        tell = _teller(unit)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, told=tell(done, total))

        yield report


def _lines(what: str, unit: str) -> Report:
    tell, last = _teller(unit), time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal last
        told = tell(done, total)
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            sys.stderr.write(f"{what}: {told}\n")
            sys.stderr.flush()

    return report


def _teller(unit: str) -> Callable[[int, int | None], str]:
    """What there is to say of done and total. Work that is resumed begins in the middle, and its rate there."""
    begun: tuple[float, int] | None = None

    def tell(done: int, total: int | None) -> str:
        nonlocal begun
        begun = begun or (time.monotonic(), done)
        started, first = begun
        said = f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"
        if done == first:
            return said
        rate = (done - first) / max(time.monotonic() - started, 0.001)
        left = "" if total is None else f", {_duration(max(total - done, 0) / rate)} left"
        return f"{said}, {rate:,.0f}/s{left}"

    return tell


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
