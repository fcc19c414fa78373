"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ops.trouble import Trouble


@contextmanager
def new_file(into: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole."""
    if into.exists():
        raise Trouble(f"{into} exists already. Choose another name, or remove it.")
    unfinished = into.with_name(f".{into.name}.{os.getpid()}")
    try:
        with unfinished.open("xb") as file:
            yield file
        unfinished.rename(into)
    except OSError as error:
        raise Trouble(f"Cannot write {into} ({error.strerror or error}).") from None
    finally:
        unfinished.unlink(missing_ok=True)
