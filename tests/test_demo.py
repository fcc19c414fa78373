"""`rollbook demo` shows the main job on a screen of usual width."""

import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_shows_seats_the_overwrite_and_that_nothing_differs() -> None:
    rollbook = Path(sys.prefix) / "bin" / "rollbook"
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([rollbook, "demo"], capture_output=True, text=True, env=environment, check=True)  # noqa: S603  ours

    assert "200 created, 0 updated, 0 disabled, 0 failed" in done.stdout
    assert "nothing was written again: 0 writes" in done.stdout
    assert "193 active, 7 inactive" in done.stdout
    assert "overwrote the local edit of title" in done.stdout
    assert "nothing differs" in done.stdout
    assert done.stderr == ""
