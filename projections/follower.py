"""What a follower is: a projection that is kept up to date after the commit.

To add one, put a module into `projections/background/`, with a FOLLOWER in it, and its tables' DDL beside it. It is
found there, its tables are made at the next start, and it works its way through the log from the first event on.
"""

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from pathlib import Path

from projections.batch import Batch
from projections.table import Table

_FOLDER = Path(__file__).with_name("background")


class Follower(ABC):
    """A projection that is kept up to date after the commit.

    `version` goes up whenever the same events make other rows, or the tables change: it is then rebuilt.
    `by_stream` says that a row is made of the events of one stream alone, so that a rebuild may take the streams one
    after the other, or several at once, instead of the tenant's log in its order. `reads_headers` says that it needs
    the events' headers only, in the log's order: nothing is decoded for it, and what was erased is no matter to it.
    """

    name: str
    version: int
    tables: tuple[Table, ...]
    by_stream = False
    reads_headers = False

    @property
    def ddl(self) -> str:
        """The SQL that makes the tables in the schema that is first on the search path."""
        return Path(inspect.getfile(type(self))).with_suffix(".sql").read_text()

    @abstractmethod
    async def apply(self, batch: Batch) -> None:
        """Write to the tables what the events bring about; whatever it raises, nothing of the batch took effect."""


def find_followers() -> tuple[Follower, ...]:
    modules = sorted(each.name for each in pkgutil.iter_modules([str(_FOLDER)]))
    return tuple(importlib.import_module(f"projections.background.{each}").FOLLOWER for each in modules)


FOLLOWERS = find_followers()
