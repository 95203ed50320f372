"""Which operating-system account the server runs under: PostgreSQL refuses to run as root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

NOBODY = 65534


class DropOptions(TypedDict, total=False):
    """The arguments of `subprocess` that make a child give up root."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The owner of the server's processes and files; `is_dropped` when this process is root and they are not."""

    uid: int
    gid: int
    is_dropped: bool

    @property
    def options(self) -> DropOptions:
        """What to pass to `subprocess` so that the child runs under this account."""
        if not self.is_dropped:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """The file or directory itself belongs to the account; a link is not followed."""
        if self.is_dropped:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, directory: Path) -> bool:
        """Whether the account may reach what lies in `directory`, asked of the kernel under that account."""
        if not self.is_dropped:
            return os.access(directory, os.X_OK)
        asked = subprocess.run(  # noqa: S603 - fixed program; the path is an argument, not shell text
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            **self.options,
        )
        return asked.returncode == 0


def choose_account(data_dir: Path) -> Account:
    """Ourselves; as root the owner of the existing data, else of the directory if named, else nobody (65534)."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), is_dropped=False)
    pg = data_dir / "pg"
    if pg.exists() and pg.stat().st_uid != 0:
        uid = pg.stat().st_uid
    else:
        uid = data_dir.stat().st_uid
        uid = uid if uid != 0 and has_name(uid) else NOBODY
    return Account(uid, pwd.getpwuid(uid).pw_gid if has_name(uid) else uid, is_dropped=True)


def has_name(uid: int) -> bool:
    """Whether the system's user database knows the uid, which initdb insists on and the server does not."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
