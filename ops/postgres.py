"""The embedded PostgreSQL: one server for a data folder, shared by all Rollbook processes, stopped by the last of them.

Who uses it is known by locks that the kernel drops when a process dies, so that nothing goes stale: `start.lock` is
held alone while somebody starts or stops the server, `use.lock` is shared by all who use it, and `server.lock` is held
by the processes of the server itself.
"""

import fcntl
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from ops.postgres_cluster import PORT, SOCKET, Cluster, PostgresTrouble, Postmaster, cause
from ops.system_user import SystemUserError

__all__ = ["EmbeddedPostgres", "PostgresTrouble", "server_version_trouble", "temporary_postgres"]

OLDEST_SUPPORTED = 16

READY_WITHIN = 60  # seconds that a server found starting or stopping is waited for
GONE_AFTER = 45  # seconds that a server may take to stop, before it is ended the hard way
GONE_WITHIN = 10  # seconds that the children of a killed server are waited for

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


class EmbeddedPostgres:
    """A PostgreSQL of our own in a data folder, shared by all Rollbook processes that use it, stopped by the last one.

    All methods block, and may be called from several threads. `durable=False` is for data that may be lost.
    """

    def __init__(self, data: Path, *, durable: bool = True) -> None:
        self._cluster = Cluster(data)
        self._durable = durable
        self._use: int | None = None  # the descriptor that holds our share of use.lock

    def start(self) -> None:
        """Start the server, or join the one that runs. Raises PostgresTrouble; then nothing of ours is left running."""
        with self._told_in_one_line():
            self._cluster.make_data_folder()
            with self._transition():
                if self._use is None:
                    self._join()

    def stop(self) -> None:
        """Release the server, and stop it if nobody else uses it. Raises PostgresTrouble if it does not stop."""
        if self._use is not None:
            with self._told_in_one_line(), self._transition():
                self._release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_alive(self) -> bool:
        return Postmaster.of(self._cluster) is not None

    def restart_if_dead(self) -> bool:
        """True if it was dead and is started again; False also after stop(). Raises PostgresTrouble."""
        return self._use is not None and not self.is_alive() and self._restart()

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        """A DSN over the Unix socket, without a password: the socket's folder is what keeps others out."""
        postmaster = Postmaster.of(self._cluster)
        folder = postmaster.socket_folder if postmaster else str(self._cluster.socket_folder())
        port = postmaster.port if postmaster else PORT
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={quote(folder)}&port={port}"

    @contextmanager
    def _transition(self) -> Iterator[None]:
        descriptor = self._lock("start.lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock(self, name: str, how: int) -> int:
        """Python opens files close-on-exec, so the server does not inherit our locks and keep them for ever."""
        path = self._cluster.data / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._cluster.user.take(path)
            fcntl.flock(descriptor, how)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _restart(self) -> bool:
        with self._told_in_one_line(), self._transition():
            return self._use is not None and self._bring_up()

    # From here on, start.lock is held.

    def _join(self) -> None:
        self._use = self._lock("use.lock", fcntl.LOCK_SH)
        try:
            self._bring_up()
        except BaseException:
            self._release()
            raise

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

    def _bring_up(self) -> bool:
        """False if a server runs already, True if it had to be started. One on its way down is waited for."""
        deadline = time.monotonic() + READY_WITHIN
        while (postmaster := Postmaster.of(self._cluster)) is not None:
            if postmaster.status == "ready":
                return False
            if time.monotonic() > deadline:
                raise PostgresTrouble(
                    f"Postgres in {self._cluster.folder} has been {postmaster.status or 'starting'} for {READY_WITHIN} "
                    f"s: wait, or end it with kill -INT {postmaster.pid}, and try again (more in {self._cluster.log})."
                )
            time.sleep(0.05)
        self._cluster.make(durable=self._durable)
        self._launch()
        return True

    def _launch(self) -> None:
        socket_folder = self._cluster.make_socket_folder()
        server_lock = self._lock_for_server()
        try:
            self._remove_stale_pids(socket_folder)
            failure = self._try_to_launch(socket_folder, server_lock)
        finally:
            os.close(server_lock)
        if failure:
            raise PostgresTrouble(f"Postgres does not start: {failure} (more in {self._cluster.log}).")

    def _lock_for_server(self) -> int:
        """Wait for the children of a killed server to go. Also keeps us from starting a second server where we see no
        pids of the first, in another container with the same data folder: the two would destroy the data.
        """
        deadline = time.monotonic() + GONE_WITHIN
        while True:
            try:
                return self._lock("server.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PostgresTrouble(
                        f"An earlier Postgres still works in {self._cluster.folder}, perhaps in another container: run "
                        f"this command there, or end what `fuser {self._cluster.data / 'server.lock'}` lists."
                    ) from None
            time.sleep(0.05)

    def _remove_stale_pids(self, socket_folder: Path) -> None:
        """After a crash and a reboot another process may have the server's old pid; Postgres would refuse to start.

        No server of this cluster lives: Postmaster.of() and server.lock have said so.
        """
        for stale in (self._cluster.folder / "postmaster.pid", socket_folder / f"{SOCKET}.lock"):
            stale.unlink(missing_ok=True)

    def _try_to_launch(self, socket_folder: Path, server_lock: int) -> str | None:
        """The reason if it fails. pg_ctl gives the server a session of its own, which Ctrl-C here does not reach."""
        settings = SETTINGS | (DURABLE if self._durable else NOT_DURABLE)
        settings["unix_socket_directories"] = str(socket_folder)
        # -D among them, because pg_ctl hands all to a shell, and would not quote what is special to one in its own -D.
        options = ["-D", str(self._cluster.folder), *(f"--{name}={value}" for name, value in settings.items())]
        arguments = ["start", "--silent", "--wait", "--timeout=300", f"--options={shlex.join(options)}"]
        with self._cluster.open_log() as log:
            start = log.seek(0, os.SEEK_END)
            done = self._cluster.run("pg_ctl", *arguments, stdout=log, pass_fds=[server_lock])
            log.seek(start)
            return None if done.returncode == 0 else cause(log.read().decode(errors="replace") or done.stderr)

    def _shut_down(self) -> None:
        if (postmaster := Postmaster.of(self._cluster)) is None:
            return
        # What one connection holds up is ended without it: what was acknowledged is in the log of Postgres.
        for mode, patience in (("fast", GONE_AFTER), ("immediate", 30)):
            done = self._cluster.run("pg_ctl", "stop", "--silent", "--wait", f"--mode={mode}", f"--timeout={patience}")
            if done.returncode == 0 or not self.is_alive():
                break
        else:
            raise PostgresTrouble(
                f"Postgres (pid {postmaster.pid}) does not stop ({cause(done.stderr)}): see {self._cluster.log}."
            )
        with suppress(OSError):
            Path(postmaster.socket_folder).rmdir()

    @contextmanager
    def _told_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except SystemUserError as error:
            raise PostgresTrouble(str(error)) from error
        except OSError as error:
            what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
            raise PostgresTrouble(
                f"Postgres cannot use the folder {self._cluster.data} ({what}): mend that, "
                f"run as the user that owns it, or choose another folder with --data."
            ) from error


@contextmanager
def temporary_postgres() -> Iterator[EmbeddedPostgres]:
    """A server for tests and demos, in a folder of its own that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rollbook-"))
    try:
        with EmbeddedPostgres(folder, durable=False) as postgres:
            yield postgres
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def server_version_trouble(version_num: int) -> str | None:
    """What to tell the operator of an external server, by its `server_version_num`; None if it will do."""
    major = version_num // 10_000
    if major >= OLDEST_SUPPORTED:
        return None
    return (
        f"This server is PostgreSQL {major}, and Rollbook needs {OLDEST_SUPPORTED} or newer: upgrade it, or name no "
        f"server, to use the embedded one."
    )
