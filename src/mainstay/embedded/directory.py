"""The data directory: what lies where, who holds it, and the small files beside the data."""

import os
import secrets
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mainstay.embedded.account import Account
from mainstay.embedded.errors import AlreadyRunning, EmbeddedError, NotWritable, explained

SYSTEM_STATE = Path("/var/lib/mainstay")
LOG_ROTATED_BYTES = 10 * 1024 * 1024
# sun_path holds 108 bytes with the closing NUL on Linux, 104 on macOS.
SOCKET_PATH_BYTES = 107 if sys.platform.startswith("linux") else 103
ORIGIN = "origin"


@dataclass(frozen=True, slots=True)
class Directory:
    """`root` is what the caller named; `ground` holds `pg/` and `run/`, and is `root` unless that is unreachable."""

    root: Path
    ground: Path

    @property
    def pg(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.ground / "pg"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.root / "pg.log"

    def socket_directory(self, port: int) -> Path | None:
        """`run/`, or nothing when the path of the socket in it would be too long for the system."""
        run = self.ground / "run"
        return run if len(os.fsencode(run / f".s.PGSQL.{port}")) <= SOCKET_PATH_BYTES else None

    def read(self, name: str) -> str | None:
        """The content of a small file of ours, nothing when it is missing or empty."""
        with explained(self.root):
            try:
                handle = os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            with os.fdopen(handle) as file:
                return file.read().strip() or None

    def write(self, name: str, content: str) -> None:
        """The file of mode 0600 holds the content, wholly or as before."""
        with explained(self.root):
            handle, unfinished = tempfile.mkstemp(prefix=f"{name}.new-", dir=self.root)
            with os.fdopen(handle, "w") as file:
                _own_like(self.root, handle)
                file.write(content + "\n")
                file.flush()
                os.fsync(handle)
            os.replace(unfinished, self.root / name)

    def open_log(self) -> int:
        """A descriptor that appends to the log; a log of more than 10 MB has become `pg.log.1` before."""
        with explained(self.root):
            if self.log.exists() and self.log.stat().st_size > LOG_ROTATED_BYTES:
                self.log.replace(self.root / "pg.log.1")
            handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            _own_like(self.root, handle)
            return handle


class Lock:
    """The right to use one data directory, held until released or until this process ends."""

    def __init__(self, root: Path) -> None:
        """The lock is ours; AlreadyRunning names the process that has it otherwise."""
        import fcntl  # noqa: PLC0415 - missing on Windows, where `start` has refused before

        with explained(root):
            self._handle = os.open(root / "pg.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            _own_like(root, self._handle)
        holder, self.last_server_pid = self._read()
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            who = "this process" if holder == os.getpid() else f"process {holder}" if holder else "another process"
            raise AlreadyRunning(
                f"{who} is already running the embedded PostgreSQL on {root}:"
                " stop it first, or choose another data directory"
            ) from None
        self.record(self.last_server_pid)

    def record(self, server_pid: int) -> None:
        """The lock file tells our process id and the server's (0: none)."""
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()} {server_pid}\n".encode(), 0)

    def release(self) -> None:
        """The directory is free for others; releasing twice is harmless."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _read(self) -> tuple[int, int]:
        numbers = os.pread(self._handle, 64, 0).split()
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            return int(numbers[0]), int(numbers[1])
        return 0, 0


def make_root(data_dir: Path) -> Path:
    """The directory exists and we may write in it; the path without links."""
    root = Path(os.path.realpath(data_dir))
    with explained(root):
        root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    return root


def choose_ground(root: Path, account: Account, *, durable: bool) -> Directory:
    """Where the data is or shall be; `root` itself unless the server's account cannot reach it.

    That happens to root below a private directory such as /root. The data then lies in a directory of its own below
    /var/lib/mainstay (not durable: below the system's temporary directory), and `pg` in `root` is a link to it.
    """
    pg = root / "pg"
    with explained(root):
        if pg.is_symlink() and pg.lstat().st_uid not in (0, os.geteuid()):
            raise NotWritable(f"{pg} is a link made by another user: remove it, or choose another data directory")
        if account.is_dropped and root.stat().st_uid == 0:
            root.chmod(root.stat().st_mode & 0o7777 | 0o001)
        ground = Path(os.path.realpath(pg)).parent
        if not ground.is_dir():
            raise EmbeddedError(
                f"{pg} is a link to {os.readlink(pg)}, which is gone: bring it back, or remove the link to begin anew"
            )
        if not pg.is_symlink() and not pg.exists() and not account.can_enter(root):
            ground = _make_ground(root, durable=durable)
            pg.symlink_to(ground / "pg")
        if not account.can_enter(ground):
            raise NotWritable(
                f"uid {account.uid}, which runs the server, cannot enter {ground}: open its parents to it"
            )
        run = ground / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        account.own(run)
    return Directory(root, ground)


def make_password() -> str:
    """A password of 192 random bits that needs no quoting anywhere."""
    return secrets.token_urlsafe(24)


def _make_ground(root: Path, *, durable: bool) -> Path:
    base = SYSTEM_STATE if durable else Path(tempfile.gettempdir())
    if durable:
        base.mkdir(mode=0o755, parents=True, exist_ok=True)
    else:
        _sweep_throwaways(base)
    ground = Path(tempfile.mkdtemp(prefix=f"mainstay-{root.name[:32]}-", dir=base))
    ground.chmod(0o711)
    (ground / ORIGIN).write_text(str(root))
    return ground


def _sweep_throwaways(base: Path) -> None:
    for ground in base.glob("mainstay-*-*"):
        origin = ground / ORIGIN
        if ground.lstat().st_uid == os.geteuid() and origin.is_file() and not Path(origin.read_text()).exists():
            shutil.rmtree(ground, ignore_errors=True)


def _own_like(root: Path, handle: int) -> None:
    if os.geteuid() == 0:
        owner = root.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
