"""Processes of ours that end with their parent, whatever ends it."""

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """End this process, as by SIGTERM, once its parent is gone; it would work on, for nobody."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch_parent, daemon=True).start()
