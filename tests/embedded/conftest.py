"""Directories anybody may enter, servers that are stopped afterwards, children to kill or to run as someone else."""

import asyncio
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mainstay import embedded
from mainstay.embedded.processes import kind_of

ORDINARY_UID = pwd.getpwnam("daemon").pw_uid
NAMELESS_UID = 54_321


def make_place() -> Path:
    """An empty directory that every account can enter, in memory where there is room; pytest's own is private."""
    memory = Path("/dev/shm")
    is_fit = (
        sys.platform.startswith("linux")
        and os.access(memory, os.W_OK)
        and shutil.disk_usage(memory).free > 1 << 30
        and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    )
    path = Path(tempfile.mkdtemp(prefix="mstest-", dir=memory if is_fit else "/tmp"))
    path.chmod(0o755)
    return path


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the test's own."""
    path = make_place()
    yield path
    for link in path.rglob("pg"):
        if link.is_symlink():
            shutil.rmtree(Path(os.readlink(link)).parent, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def made() -> Iterator[Path]:
    """Data of a server that was made once and stopped, to copy."""
    path = make_place()
    embedded.start(path / "data", durable=False).stop()
    yield path / "data"
    shutil.rmtree(path)


@pytest.fixture
def data(place: Path, made: Path) -> Path:
    """A data directory of the test's own that was used before."""
    subprocess.run(["cp", "-a", str(made), str(place / "data")], check=True)
    (place / "data" / "pg.port").unlink()
    return place / "data"


class Starter:
    """Starts servers as `embedded.start` does and remembers them."""

    def __init__(self) -> None:
        self.servers: list[embedded.Server] = []

    def __call__(self, data_dir: Path, **options: Any) -> embedded.Server:
        server = embedded.start(data_dir, **{"durable": False, **options})
        self.servers.append(server)
        return server


@pytest.fixture
def start() -> Iterator[Starter]:
    """`embedded.start`, not durable unless asked, with a stop at the end of the test."""
    starter = Starter()
    yield starter
    for server in starter.servers:
        server.stop()


def ask(dsn: str, *statements: str, **options: Any) -> Any:
    """The first value of the last statement."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn, timeout=60, **options)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


class Child:
    """A forked process, as another user if asked, that answers one value and then waits to be killed."""

    def __init__(self, act: Callable[[], Any], uid: int | None = None) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._ours = ours
        self._answer: Any = None
        self.pid = os.fork()
        if self.pid == 0:
            self._live(act, uid, theirs)
        theirs.close()

    @staticmethod
    def _live(act: Callable[[], Any], uid: int | None, pipe: Connection) -> None:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            if uid is not None and os.geteuid() == 0:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            pipe.send(("answer", act()))
            signal.pause()
        except embedded.EmbeddedError as refusal:
            pipe.send(("refusal", (type(refusal).__name__, str(refusal))))
        except BaseException:
            pipe.send(("crash", traceback.format_exc()))
        finally:
            os._exit(0)

    def answer(self) -> Any:
        """What the child's function returned, or (class name, message) of its refusal."""
        assert self._ours.poll(90), "the child did not answer"
        kind, value = self._ours.recv()
        assert kind != "crash", value
        return value

    def kill(self, number: int = signal.SIGKILL) -> None:
        """The child is gone and reaped."""
        if self.pid:
            os.kill(self.pid, number)
            os.waitpid(self.pid, 0)
            self.pid = 0
            self._ours.close()


@pytest.fixture
def fork() -> Iterator[Callable[..., Child]]:
    """Makes children that do not outlive the test."""
    children: list[Child] = []

    def make(act: Callable[[], Any], uid: int | None = None) -> Child:
        children.append(Child(act, uid))
        return children[-1]

    yield make
    for child in children:
        child.kill()


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """The condition holds; the test fails if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int, pg: Path) -> bool:
    """Whether a server with that process id is alive on `pg`."""
    return kind_of(pid, pg) == "server"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another account or mount")
