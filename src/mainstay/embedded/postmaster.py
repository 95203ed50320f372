"""One server process: its settings, its start under watch, and the way out of what an earlier one left behind."""

import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from mainstay.embedded import cluster
from mainstay.embedded.account import Account
from mainstay.embedded.binaries import Binaries
from mainstay.embedded.directory import Directory
from mainstay.embedded.errors import AlreadyRunning, EmbeddedError, StartFailed, explained, of_log
from mainstay.embedded.processes import end, kind_of, launch

# Replaying 2 GB of WAL after a crash may take minutes on a slow disk.
READY_TIMEOUT_SECONDS = 300.0
EARLIER_SERVER_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.02
# Below the ports that systems hand out to outgoing connections, so that a remembered one stays free.
PORTS = range(20_000, 32_000)

DEFAULTS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "wal_compression": "on",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    "cluster_name": "mainstay",
}
THROWAWAY: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
OURS = frozenset(
    {"port", "listen_addresses", "data_directory", "unix_socket_directories", "external_pid_file", "logging_collector"}
)


def settings_of(wished: Mapping[str, str], *, durable: bool) -> dict[str, str]:
    """The defaults with what the caller wishes on top; EmbeddedError for those the supervisor needs itself."""
    for name, value in wished.items():
        if not re.fullmatch(r"[a-z_][a-z0-9_.]*", name.lower()) or "\0" in value:
            raise EmbeddedError(f"{name!r} is no setting of PostgreSQL")
        if name.lower() in OURS:
            raise EmbeddedError(f"the setting {name} is chosen by the embedded server itself: leave it out")
    return {**DEFAULTS, **({} if durable else THROWAWAY), **{name.lower(): value for name, value in wished.items()}}


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of 127.0.0.1 and we may."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on now."""
    for _ in range(100):
        if is_free(port := secrets.choice(PORTS)):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settle(directory: Directory, last_server_pid: int) -> None:
    """No earlier server is alive on the data; ours that was orphaned is stopped, a stale `postmaster.pid` defused.

    AlreadyRunning for a server that we did not start, or one that does not end within 15 s.
    """
    deadline = time.monotonic() + EARLIER_SERVER_TIMEOUT_SECONDS
    is_asked = False
    while True:
        with explained(directory.root):
            pid, _ = cluster.postmaster_pid(directory.pg)
            if pid == 0:
                _remove_torn(directory.pg)
        kind = kind_of(pid, directory.pg) if pid else "gone"
        if kind == "other":
            cluster.mark_stale(directory.pg)
        if kind != "server":
            return
        if pid == last_server_pid and not is_asked:
            os.kill(pid, signal.SIGINT)
            is_asked = True
        if time.monotonic() > deadline:
            raise AlreadyRunning(f"PostgreSQL process {pid} is running on {directory.pg}: stop it (kill -INT {pid})")
        time.sleep(POLL_SECONDS)


def _remove_torn(pg: Path) -> None:
    """A `postmaster.pid` without a process id is gone: PostgreSQL refuses to start over it."""
    if (pg / "postmaster.pid").exists():
        time.sleep(10 * POLL_SECONDS)
        if cluster.postmaster_pid(pg) == (0, ""):
            (pg / "postmaster.pid").unlink(missing_ok=True)


def run(
    directory: Directory, binaries: Binaries, account: Account, port: int, settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """The server accepts connections on the port; otherwise it is gone and the error ends with its last words."""
    sockets = directory.socket_directory(port)
    _clear_sockets(directory)
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": '"{}"'.format(str(sockets).replace('"', '""')) if sockets else "",
        "logging_collector": "off",
        **settings,
    }
    command = [binaries.program("postgres"), "-D", str(directory.pg), "-p", str(port)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    with os.fdopen(directory.open_log(), "ab") as log:
        begin = os.fstat(log.fileno()).st_size
        process = launch(command, account, log, signal.SIGINT)
    try:
        _wait_ready(process, directory, begin)
    except BaseException:
        end(process, 10)
        raise
    return process


def _wait_ready(process: subprocess.Popen[bytes], directory: Directory, begin: int) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while cluster.postmaster_pid(directory.pg) != (process.pid, "ready"):
        if process.poll() is not None:
            raise of_log(cluster.log_tail(directory.log, begin), directory.root)
        if time.monotonic() > deadline:
            raise StartFailed(
                f"PostgreSQL was not ready within {READY_TIMEOUT_SECONDS:.0f} s on {directory.root}. Its last words:\n"
                + cluster.log_tail(directory.log, begin)
            )
        time.sleep(POLL_SECONDS)


def _clear_sockets(directory: Directory) -> None:
    """Socket locks name a process as `postmaster.pid` does, and would mislead in the same way."""
    with explained(directory.root):
        for leftover in Path(directory.ground / "run").glob(".s.PGSQL.*"):
            leftover.unlink(missing_ok=True)
