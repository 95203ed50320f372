"""Mainstay's commands as processes that begin where everything is loaded, for tests whose subject is not the start.

An interpreter with all modules takes a second of a core; a fork of one that has loaded them takes milliseconds. The
process is otherwise like any other: environment, directory and streams are its own, it ends by signals and exit codes.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

_turn = threading.Lock()
_parent: socket.socket | None = None


class Warm:
    """A command that runs; what is used of `subprocess.Popen` is here under the same names."""

    def __init__(self, *arguments: str, env: Mapping[str, str], stdout: Any, stderr: Any, stdin: Any = None) -> None:
        self.returncode: int | None = None
        self.args = arguments
        self._reading = threading.RLock()
        self._told = b""
        self._line, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.enter_context(theirs)
            given = stdin or stack.enter_context(open(os.devnull, "rb"))
            streams = [one.fileno() for one in (theirs, given, stdout, stderr)]
            with _turn:
                socket.send_fds(_ready(), [b"!"], streams)
        self._line.sendall(json.dumps([arguments, dict(env), os.getcwd()]).encode() + b"\n")
        self.pid = self._next(60)
        assert self.pid is not None, "no process was started"

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        # Where another thread waits for the end, that thread will know first.
        if self._reading.acquire(blocking=False):
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.wait(0)
            finally:
                self._reading.release()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        with self._reading:
            if self.returncode is None:
                self.returncode = self._next(timeout)
                if self.returncode is None:
                    assert timeout is not None
                    raise subprocess.TimeoutExpired(self.args, timeout)
                self._line.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """The signal was sent, unless it has ended."""
        if self.poll() is None:
            assert self.pid is not None
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """It was asked to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """It has no chance to tidy up."""
        self.send_signal(signal.SIGKILL)

    def _next(self, seconds: float | None) -> int | None:
        """The next number that the parent of all tells of this process; None where none comes in time."""
        while b"\n" not in self._told:
            if not select.select([self._line], [], [], seconds)[0]:
                return None
            piece = self._line.recv(64)
            assert piece, "the process that all others are forked from has ended"
            self._told += piece
        number, _, self._told = self._told.partition(b"\n")
        return int(number)


def _ready() -> socket.socket:
    """The line to the process that has everything loaded; it ends with this one."""
    global _parent
    if _parent is None:
        _parent, theirs = socket.socketpair()
        with theirs:
            least = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            process = subprocess.Popen(
                command, env=least, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        atexit.register(_end, _parent, process)
    return _parent


def _end(line: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    line.close()
    process.wait(60)


def _fork_for_ever(line: socket.socket) -> None:
    """Forks a process for each four streams that come; returns in each, and ends where the other end is gone."""
    awake, wake = socket.socketpair()
    wake.setblocking(False)
    awake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: dict[int, socket.socket] = {}
    while True:
        ready = select.select([line, awake], [], [])[0]
        if awake in ready:
            with contextlib.suppress(BlockingIOError):
                awake.recv(4_096)
            _tell_of_ends(running)
        if line in ready:
            word, streams, _, _ = socket.recv_fds(line, 1, 4)
            if not word:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                _become(socket.socket(fileno=streams[0]), streams[1:])
                return
            running[pid] = socket.socket(fileno=streams[0])
            for one in streams[1:]:
                os.close(one)
            _tell(running[pid], pid)


def _tell_of_ends(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as line:
            _tell(line, os.waitstatus_to_exitcode(status))


def _tell(line: socket.socket, number: int) -> None:
    # Who asked may be gone; the process goes on all the same, as any other would.
    with contextlib.suppress(OSError):
        line.sendall(b"%d\n" % number)


def _become(line: socket.socket, streams: list[int]) -> None:
    """This process is the command that the line tells."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
    told = b""
    while not told.endswith(b"\n"):
        piece = line.recv(65_536)
        if not piece:
            os._exit(1)
        told += piece
    arguments, env, directory = json.loads(told)
    line.detach()
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if sys.platform == "darwin" else 65_536)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [one for one in env.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.argv[1:] = arguments


def _load() -> Any:
    """Everything that a command may need is loaded; the command line."""
    cli = importlib.import_module("mainstay.cli")
    for module, _ in cli._COMMANDS.values():
        importlib.import_module(f"mainstay.cli.{module}")
    importlib.import_module("alembic.command")
    for module in ("loops.uvloop", "lifespan.on", "protocols.http.httptools_impl"):
        importlib.import_module(f"uvicorn.{module}")
    gc.collect()
    gc.freeze()
    return cli


if __name__ == "__main__":
    loaded = _load()
    _fork_for_ever(socket.socket(fileno=int(sys.argv[1])))
    loaded.main()
