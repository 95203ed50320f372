"""Starting PostgreSQL's programs so that none outlives us, and telling what a process id is."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Literal

from mainstay.embedded.account import Account

IS_LINUX = sys.platform.startswith("linux")
PR_SET_PDEATHSIG = 1
HARD_STOP_SECONDS = 5.0

# Ours alone: PGPORT, PGDATA, LANG or TZ of the surroundings must not reach the server.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

Kind = Literal["gone", "other", "server"]


def launch(command: Sequence[str], account: Account, output: IO[bytes], death_signal: int) -> subprocess.Popen[bytes]:
    """The program runs under `account`, apart from our terminal, and gets `death_signal` if we die (Linux)."""
    return subprocess.Popen(  # noqa: S603 - programs of the wheel, arguments as a list
        command,
        cwd="/",
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        umask=0o077,
        start_new_session=True,
        # subprocess runs this after it changed the uid, which would have cleared the death signal.
        preexec_fn=_bind_to_parent(death_signal) if IS_LINUX else None,  # noqa: PLW1509 - one prctl, resolved before the fork
        **account.options,
    )


def _bind_to_parent(death_signal: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def end(process: subprocess.Popen[bytes], timeout_seconds: float) -> None:
    """The server has ended: asked by SIGINT, after the timeout by SIGQUIT, five seconds later by SIGKILL."""
    for number, patience in (
        (signal.SIGINT, timeout_seconds),
        (signal.SIGQUIT, HARD_STOP_SECONDS),
        (signal.SIGKILL, None),
    ):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def kind_of(pid: int, pg: Path) -> Kind:
    """Whether `pid` is a live postmaster of `pg`, some other process (or a zombie), or nothing; in doubt a server."""
    if not _exists(pid):
        return "gone"
    return _kind_on_linux(pid, pg) if IS_LINUX else _kind_by_ps(pid, pg)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _kind_on_linux(pid: int, pg: Path) -> Kind:
    process = Path("/proc") / str(pid)
    try:
        name, _, rest = (process / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return "gone"
    except OSError:
        return "server"
    if rest.split()[0] in "ZX" or name != "postgres" or arguments[0].startswith(b"postgres: "):
        return "other"
    try:
        return "server" if os.path.samefile(process / "cwd", pg) else "other"
    except OSError:
        # Root without CAP_SYS_PTRACE may not look at the working directory of another uid's process.
        return "other" if b"-D" in arguments and os.fsencode(pg) not in arguments else "server"


def _kind_by_ps(pid: int, pg: Path) -> Kind:
    told = subprocess.run(  # noqa: S603 - fixed program and options
        ["/bin/ps", "-p", str(pid), "-o", "stat=,command="], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not told:
        return "gone"
    return "server" if not told.startswith("Z") and "postgres" in told and str(pg) in told else "other"
