"""The system user that Postgres runs as: ourselves, or, since Postgres refuses to be root, one of its own.

That user must get to the data folder and to the binaries, though either may lie in a folder that only root may enter
(/root, `mktemp -d`). It alone is let through, by an entry in the folder's access list (acl(5)): the folder's mode, and
what anybody else may do there, stay as they are.
"""

import errno
import os
import pwd
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SEARCH, READ_AND_SEARCH = 0o1, 0o5

_NAME = "rollbook"
_ACL = "system.posix_acl_access"

# The format of that attribute (linux/posix_acl_xattr.h): a version, then entries of tag, permissions and id.
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_MASKED = (_USER, _GROUP_OBJ, _GROUP)
_NO_ID = 0xFFFFFFFF

Acl = dict[tuple[int, int], int]  # (tag, id) to permissions


class SystemUserError(Exception):
    """The message is one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class SystemUser:
    name: str
    uid: int
    gid: int

    @classmethod
    def that_owns(cls, folder: Path) -> Self:
        """Ourselves, unless we are root: then the folder's owner, and `rollbook` if it has none or belongs to root.

        Raises SystemUserError if that user is missing and cannot be created.
        """
        if os.geteuid() != 0:
            return cls(_name_of(os.geteuid()), os.geteuid(), os.getegid())
        found = folder.stat() if folder.is_dir() else None
        if found and found.st_uid != 0:
            return cls(_name_of(found.st_uid), found.st_uid, found.st_gid)
        account = _account()
        return cls(account.pw_name, account.pw_uid, account.pw_gid)

    @property
    def is_me(self) -> bool:
        return self.uid == os.geteuid()

    def popen_options(self) -> dict[str, Any]:
        """What makes a child process run as this user, in a folder that it may be in."""
        switch = {} if self.is_me else {"user": self.uid, "group": self.gid, "extra_groups": []}
        return {"cwd": "/", "umask": 0o077, **switch}

    def take(self, path: Path) -> None:
        """Own this file or folder. A symbolic link is never followed: it may be a trap set by that very user."""
        if not self.is_me and path.lstat().st_uid != self.uid:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def take_all(self, folder: Path) -> None:
        """Own a folder with everything in it, such as one that root has restored from a backup.

        The folder itself comes last, so that its owner tells whether all is done.
        """
        if self.is_me or folder.lstat().st_uid == self.uid:
            return
        for parent, folders, files in os.walk(folder):
            for name in folders + files:
                self.take(Path(parent, name))
        self.take(folder)

    def enter(self, folder: Path) -> None:
        """See to it that this user may pass through all folders down to this one, and through this one.

        Raises SystemUserError if a file system on the way takes no access lists.
        """
        if self.is_me or self._may("-x", folder):
            return
        for each in [*reversed(folder.parents), folder]:
            if not self._may("-x", each):
                self._let(each, SEARCH)

    def read_all(self, folder: Path) -> None:
        """See to it that this user may read and run what is in there, though it was installed with a strict umask.

        The folder comes last: whether it can be read tells whether all can.
        """
        self.enter(folder)
        if self.is_me or self._may("-r", folder):
            return
        for parent, folders, files in os.walk(folder):
            for name in folders + files:
                if not Path(parent, name).is_symlink():
                    self._let(Path(parent, name), READ_AND_SEARCH)
        self._let(folder, READ_AND_SEARCH)

    def _may(self, right: str, path: Path) -> bool:
        """Asked of the kernel as that user: groups, access lists and security modules all have a say."""
        question = ["/bin/sh", "-c", 'test "$1" "$2"', "sh", right, str(path)]
        return subprocess.run(question, check=False, **self.popen_options()).returncode == 0  # noqa: S603  our own words

    def _let(self, path: Path, right: int) -> None:
        try:
            os.setxattr(path, _ACL, encode(with_right(read_acl(path), self.uid, right)))
        except OSError as error:
            raise SystemUserError(
                f"Postgres cannot be root, and the system user {self.name}, as whom it runs instead, can neither enter "
                f"{path} nor be let in ({error.strerror}): move the data elsewhere with --data, or run Rollbook as an "
                f"ordinary user."
            ) from error


def read_acl(path: Path) -> Acl:
    """The access list, or, where there is none, the one that the mode amounts to (acl(5), minimal ACL)."""
    try:
        raw = os.getxattr(path, _ACL)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        mode = path.stat().st_mode
        return {(_USER_OBJ, _NO_ID): mode >> 6 & 7, (_GROUP_OBJ, _NO_ID): mode >> 3 & 7, (_OTHER, _NO_ID): mode & 7}
    return {(tag, id_): right for tag, right, id_ in _ENTRY.iter_unpack(raw[_VERSION.size :])}


def with_right(acl: Acl, uid: int, right: int) -> Acl:
    """The list with a right more for one user. The mask has to grow for it; so that nobody else gains by that, what the
    mask had withheld from others is first taken out of their entries."""
    mask = acl.get((_MASK, _NO_ID), 7)
    grown = {(tag, id_): held & mask if tag in _MASKED else held for (tag, id_), held in acl.items()}
    grown[_USER, uid] = grown.get((_USER, uid), 0) | right
    grown[_MASK, _NO_ID] = 0
    for (tag, _), held in list(grown.items()):
        grown[_MASK, _NO_ID] |= held if tag in _MASKED else 0
    return grown


def encode(acl: Acl) -> bytes:
    """The kernel wants the entries in the order of their tags."""
    return _VERSION.pack(2) + b"".join(_ENTRY.pack(tag, right, id_) for (tag, id_), right in sorted(acl.items()))


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_NAME)
    except KeyError:
        refusal = _create_account()
    try:
        return pwd.getpwnam(_NAME)
    except KeyError:
        raise SystemUserError(
            f"Postgres cannot be root, and the system user {_NAME}, as whom it would run instead, cannot be created "
            f"({refusal}): create it yourself, or run Rollbook as an ordinary user."
        ) from None


def _create_account() -> str:
    """The reason if it could not be done."""
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _NAME]
    try:
        made = subprocess.run(  # noqa: S603  our own words
            command, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"useradd: {error.strerror}"
    return " ".join(made.stderr.split())
