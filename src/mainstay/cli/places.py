"""Where `mainstay up` keeps its data, who holds that directory, and the small private files in it."""

import errno
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNNING = "up.json"
SECRETS = "secrets.json"
DEMO = "demo.json"
LOCK = "up.lock"
LOGS = "logs"
OWN_SECRETS = ("MAINSTAY_SECRET", "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET", "INTERNAL_TOKEN")
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)


class UpRefused(Exception):
    """`mainstay up` cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """The data directory, and what the person at the terminal should know about its choice."""

    directory: Path
    note: str | None = None

    @property
    def logs(self) -> Path:
        """Where the processes write what they say."""
        return self.directory / LOGS

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a small file of ours; None where it is missing or not ours to understand."""
        try:
            found = json.loads((self.directory / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return None
        except OSError as error:
            raise _explained(error, self.directory) from error
        return found if isinstance(found, dict) else None

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """The file of mode 0600 holds the content, wholly or as before."""
        with explained(self.directory):
            handle, unfinished = tempfile.mkstemp(prefix=f"{name}.new-", dir=self.directory)
            with os.fdopen(handle, "w") as file:
                own_like(self.directory, handle)
                json.dump(content, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(handle)
            os.replace(unfinished, self.directory / name)

    def remove(self, name: str) -> None:
        """The file is gone."""
        with explained(self.directory):
            (self.directory / name).unlink(missing_ok=True)


def choose(given: Path | None) -> Place:
    """A directory that we can write in: the given one, else `.mainstay` here, a per-user one, or a temporary one."""
    if given is not None:
        with explained(given):
            return Place(_usable(given))
    refused: list[str] = []
    for candidate, remark in _candidates():
        try:
            directory = _usable(candidate)
        except OSError as error:
            if error.errno not in _UNUSABLE:
                raise _explained(error, candidate) from error
            refused.append(f"{candidate}: {error.strerror}")
            continue
        note = f"{'; '.join(refused)}. Data goes to {directory}{remark}" if refused else None
        return Place(directory, note)
    raise UpRefused(f"no directory to keep data in ({'; '.join(refused)}): name one with --data")


def find(given: Path | None) -> Place | None:
    """The directory that `choose` would take, if a `mainstay up` has used it; nothing is made."""
    for directory in [given] if given is not None else [candidate for candidate, _ in _candidates()]:
        try:
            if (directory / LOCK).is_file():
                return Place(Path(os.path.realpath(directory)))
        except OSError:
            continue
    return None


def _candidates() -> list[tuple[Path, str]]:
    uid = os.getuid() if hasattr(os, "getuid") else 0
    return [
        (Path.cwd() / ".mainstay", ""),
        (_state_directory(), ""),
        (Path(tempfile.gettempdir()) / f"mainstay-up-{uid}", ", which the system may empty at its next start"),
    ]


def _state_directory() -> Path:
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given) / "mainstay"
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "mainstay"
    return home / ".local" / "state" / "mainstay"


def _usable(path: Path) -> Path:
    directory = Path(os.path.realpath(path))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0 and directory.stat().st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "belongs to another user", str(directory))
    with tempfile.TemporaryFile(dir=directory) as probe:
        probe.write(b"\0")
        probe.flush()
    return directory


class Lock:
    """The right to run `mainstay up` on one directory, held until released or until this process ends."""

    def __init__(self, place: Place) -> None:
        """The lock is ours; UpRefused names the process that has it otherwise."""
        import fcntl  # noqa: PLC0415 - missing on Windows, where there is no `up`

        with explained(place.directory):
            self._handle = os.open(place.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            own_like(place.directory, self._handle)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            running = place.read(RUNNING) or {}
            who = f"process {running['pid']}" if "pid" in running else "another process"
            where = f" ({running['url']})" if "url" in running else ""
            raise UpRefused(
                f"{who} already runs `mainstay up` on {place.directory}{where}:"
                " stop it first, or choose another directory with --data"
            ) from None

    def release(self) -> None:
        """The directory is free for others."""
        os.close(self._handle)


def secrets_of(place: Place) -> dict[str, str]:
    """The secrets of this installation: those of the environment, the others made once and kept in the directory."""
    kept = place.read(SECRETS) or {}
    made = {name: str(kept.get(name) or secrets.token_urlsafe(36)) for name in OWN_SECRETS}
    if made != kept:
        place.write(SECRETS, made)
    return {name: os.environ.get(name, "").strip() or made[name] for name in OWN_SECRETS}


def environment_of_running(place: Place) -> dict[str, str] | None:
    """What the processes of the `up` that runs on this directory got as their settings; None when none runs."""
    running = place.read(RUNNING)
    if running is None or not _is_alive(int(running.get("pid", 0))):
        return None
    return {str(name): str(value) for name, value in running.get("environment", {}).items()}


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def own_like(directory: Path, handle: int) -> None:
    """A file that root makes belongs to the owner of the directory, who may be somebody else tomorrow."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of the file system below `path` leave the block as UpRefused."""
    try:
        yield
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> UpRefused:
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UpRefused(f"no space left for {where}: free some, or choose a directory on another disk with --data")
    if error.errno == errno.EROFS:
        return UpRefused(f"{where} is on a read-only file system: choose another directory with --data")
    if error.errno in (errno.EACCES, errno.EPERM):
        return UpRefused(
            f"no permission for {where}: choose another directory with --data, or make it writable for this user"
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
        return UpRefused(f"{where} is in the way: {path} must be a directory that only Mainstay uses")
    return UpRefused(f"{where}: {error.strerror or error}")
