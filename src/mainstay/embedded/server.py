"""Starting and stopping the embedded server: the room's public verbs."""

import atexit
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mainstay.embedded import binaries as programs
from mainstay.embedded import cluster, postmaster
from mainstay.embedded.account import Account, choose_account
from mainstay.embedded.binaries import Binaries
from mainstay.embedded.directory import Directory, Lock, choose_ground, make_root
from mainstay.embedded.errors import AlreadyRunning, EmbeddedError, PortBusy, UnsupportedPlatform
from mainstay.embedded.processes import IS_LINUX, end

PORT_ATTEMPTS = 5
NO_SETTINGS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL of ours; `dsn` holds its password, `notices` what the person at the terminal should know."""

    data_dir: Path
    port: int
    dsn: str = field(repr=False)
    pid: int
    version: str
    socket_dir: Path | None
    log_path: Path
    notices: tuple[str, ...]
    _process: subprocess.Popen[bytes] = field(repr=False, compare=False)
    _lock: Lock = field(repr=False, compare=False)

    def stop(self, timeout_seconds: float = 10) -> None:
        """The server has shut down and the directory is free; open transactions are rolled back.

        Past the timeout it is stopped hard and recovers at its next start. Repeating it is harmless; in a forked
        child it leaves the parent's server alone.
        """
        end(self._process, timeout_seconds)
        self._lock.release()

    def is_running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process.poll() is None


@dataclass(frozen=True, slots=True)
class _Plan:
    directory: Directory
    binaries: Binaries
    account: Account
    settings: Mapping[str, str]
    port: int | None


def start(
    data_dir: Path,
    *,
    port: int | None = None,
    database: str = "mainstay",
    settings: Mapping[str, str] = NO_SETTINGS,
    durable: bool = True,
) -> Server:
    """A PostgreSQL runs on `data_dir`, made if empty, and has the database; EmbeddedError says what to do if not.

    Without `port` it is the one of the last time, or another while that is busy. Not `durable`: a crash of the machine
    may destroy the data, for tests. Call it from the main thread: the server ends when the thread that started it does.
    """
    _check_call(port, database)
    wished = postmaster.settings_of(settings, durable=durable)
    found = programs.locate()
    root = make_root(data_dir)
    lock = Lock(root)
    try:
        account = choose_account(root)
        directory = choose_ground(root, account, durable=durable)
        runnable = programs.reachable(found, account, directory.ground)
        if not cluster.is_empty(directory.pg):
            postmaster.settle(directory, lock.last_server_pid)
        password = cluster.ensure(directory, runnable, account, durable=durable)
        password = password or cluster.reset_password(directory, runnable, account)
        server = _run(_Plan(directory, runnable, account, wished, port), lock, password, database)
    except BaseException:
        lock.release()
        raise
    if not IS_LINUX:
        atexit.register(server.stop)
    return server


def _check_call(port: int | None, database: str) -> None:
    if sys.platform == "win32":
        raise UnsupportedPlatform("there is no embedded PostgreSQL on Windows: set DATABASE_URL to one of your own")
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError(
            "start the embedded PostgreSQL from the main thread: it ends with the thread that starts it"
        )
    if port is not None and not 1 <= port <= 65_535:
        raise EmbeddedError(f"{port} is no port: choose one from 1 to 65535")
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", database):
        raise EmbeddedError(f"{database!r} is no name for a database: up to 63 of a-z, 0-9 and _, no digit first")


def _run(plan: _Plan, lock: Lock, password: str, database: str) -> Server:
    directory = plan.directory
    port, notices = _choose_port(plan)
    port, process = _launch(plan, port, notices)
    try:
        lock.record(process.pid)
        cluster.create_database(plan.binaries, port, password, database)
        directory.write("pg.port", str(port))
    except BaseException:
        end(process, 10)
        raise
    socket_dir = directory.socket_directory(port)
    if socket_dir is None:
        notices.append(f"{directory.root} is too deep for a Unix socket: the server listens on 127.0.0.1 only")
    if directory.ground != directory.root:
        notices.append(f"uid {plan.account.uid} cannot enter {directory.root}: the data lies in {directory.ground}")
    return Server(
        data_dir=directory.root,
        port=port,
        dsn=f"postgresql://postgres:{password}@127.0.0.1:{port}/{database}",
        pid=process.pid,
        version=plan.binaries.version,
        socket_dir=socket_dir,
        log_path=directory.log,
        notices=tuple(notices),
        _process=process,
        _lock=lock,
    )


def _choose_port(plan: _Plan) -> tuple[int, list[str]]:
    if plan.port is not None:
        if not postmaster.is_free(plan.port):
            raise PortBusy(f"port {plan.port} is not to be had: choose another, or leave the choice to Mainstay")
        return plan.port, []
    remembered = plan.directory.read("pg.port")
    if remembered is None or not remembered.isdigit() or not 1 <= int(remembered) <= 65_535:
        return postmaster.free_port(), []
    if postmaster.is_free(int(remembered)):
        return int(remembered), []
    port = postmaster.free_port()
    return port, [f"port {remembered} of the last time is busy: the server listens on {port}"]


def _launch(plan: _Plan, port: int, notices: list[str]) -> tuple[int, subprocess.Popen[bytes]]:
    deadline = time.monotonic() + postmaster.EARLIER_SERVER_TIMEOUT_SECONDS
    attempts = 0
    while True:
        try:
            return port, postmaster.run(plan.directory, plan.binaries, plan.account, port, plan.settings)
        except PortBusy:
            attempts += 1
            if plan.port is not None or attempts >= PORT_ATTEMPTS:
                raise
            taken, port = port, postmaster.free_port()
            notices.append(f"port {taken} was taken meanwhile: the server listens on {port}")
        except AlreadyRunning:
            # Processes of a killed server need a moment to notice that it is gone.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
