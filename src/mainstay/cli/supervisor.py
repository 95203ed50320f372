"""The processes that `mainstay up` starts: each watched, started again when it ends, stopped with us however we end.

starting --healthy--> running --ends by itself--> waiting (0.5 s, doubling to 10 s) --> running
    | ends, or not healthy in time                 | hangs: killed, then as above
    v                                              v
  failed, with its last lines                    stopped, when asked
"""

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import IO

from mainstay.cli.places import Place, UpRefused, explained, own_like

Say = Callable[[str], None]
Check = Callable[[], Awaitable[bool]]

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 30.0
READY_SECONDS = 60.0
CHECK_SECONDS = 5.0
HARD_STOP_SECONDS = 5.0
CHECKS_FAILED_AT_MOST = 6
LOG_BYTES_AT_MOST = 10 * 1024 * 1024
TAIL_LINES = 15
_POLL_SECONDS = 0.05
_TAIL_BYTES = 16_384
_PR_SET_PDEATHSIG = 1


class Leash:
    """A pipe that only we hold open: its readers learn of our end, whatever ended us."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def close(self) -> None:
        """Whoever still reads is told to end."""
        os.close(self.reader)
        os.close(self._writer)


class Child:
    """One process of ours and the file that it writes to."""

    def __init__(
        self,
        name: str,
        place: Place,
        environment: Mapping[str, str],
        *,
        leash: Leash,
        is_well: Check,
        say: Say,
        command: list[str] | None = None,
    ) -> None:
        """`command` is for others than `mainstay NAME`; `is_well` tells whether the process does its work."""
        self.name = name
        self.environment = dict(environment)
        self.log_path = place.logs / f"{name}.log"
        self._place = place
        self._leash = leash
        self._is_well = is_well
        self._say = say
        self._command = command or [
            sys.executable, "-P", "-m", "mainstay.cli.child", str(leash.reader), name,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    @property
    def pid(self) -> int | None:
        """The process id; None before the first start."""
        return None if self._process is None else self._process.pid

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """The process runs in a group of its own, so that the terminal's Ctrl-C reaches us alone."""
        with self._open_log() as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(self._leash.reader,),
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one prctl, resolved before the fork
            )

    async def until_well(self, seconds: float = READY_SECONDS) -> None:
        """The process does its work; UpRefused with its last lines if it ends or is not there in time."""
        deadline = time.monotonic() + seconds
        while not await self._is_well():
            if not self.is_alive():
                raise UpRefused(f"the {self.name} ended {self._how()} while starting. {self.tail()}")
            if time.monotonic() > deadline:
                raise UpRefused(f"the {self.name} was not ready within {seconds:.0f} s. {self.tail()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def keep(self) -> None:
        """The process is started again whenever it ends or hangs, until `stop`; cancel this first."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            await self._until_ended()
            if self._is_stopping:
                return
            if time.monotonic() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._say(f"the {self.name} ended {self._how()}; it starts again in {pause:.1f} s. {self.tail()}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                self.start()
            except (OSError, UpRefused) as error:
                self._say(f"the {self.name} does not start: {error}")

    async def _until_ended(self) -> None:
        failed, next_check = 0, time.monotonic() + CHECK_SECONDS
        while self.is_alive():
            await asyncio.sleep(_POLL_SECONDS)
            if time.monotonic() < next_check:
                continue
            self._bound_log()
            failed = 0 if await self._is_well() else failed + 1
            next_check = time.monotonic() + CHECK_SECONDS
            if failed >= CHECKS_FAILED_AT_MOST and self.is_alive():
                self._say(f"the {self.name} has not answered for {failed * CHECK_SECONDS:.0f} s and is killed")
                self.kill()

    def ask_to_end(self) -> None:
        """The process has SIGTERM, if it runs."""
        self._is_stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    async def stop(self, seconds: float) -> None:
        """The process has ended, asked by SIGTERM; killed past the time."""
        self.ask_to_end()
        deadline = time.monotonic() + seconds
        await self._gone_by(deadline)
        if self.is_alive():
            self._say(f"the {self.name} took more than {seconds:.0f} s to end and is killed")
            self.kill()
            await self._gone_by(deadline + HARD_STOP_SECONDS)

    async def _gone_by(self, deadline: float) -> None:
        while self.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - a process has no event to wait for
            await asyncio.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """The process and all that it started have SIGKILL."""
        if self._process is not None and self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def tail(self) -> str:
        """The last lines that the process wrote, each after its name, and where the rest is."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(self.log_path.stat().st_size - _TAIL_BYTES, 0))
                lines = file.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
        except OSError:
            lines = []
        shown = "\n".join(f"  {self.name} | {line}" for line in lines)
        return f"Its last lines ({self.log_path}):\n{shown}" if shown else f"It wrote nothing to {self.log_path}."

    def _how(self) -> str:
        code = None if self._process is None else self._process.returncode
        if code is not None and code < 0:
            return f"by {signal.Signals(-code).name}"
        return f"with code {code}"

    def _open_log(self) -> IO[bytes]:
        with explained(self._place.directory):
            self._place.logs.mkdir(mode=0o700, exist_ok=True)
            self._bound_log()
            handle = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            own_like(self._place.directory, handle)
            return os.fdopen(handle, "ab")

    def _bound_log(self) -> None:
        """A log of more than 10 MB is moved to `NAME.log.1`; its writer appends, so the file itself stays."""
        try:
            if self.log_path.stat().st_size > LOG_BYTES_AT_MOST:
                shutil.copyfile(self.log_path, self.log_path.with_suffix(".log.1"))
                os.truncate(self.log_path, 0)
        except FileNotFoundError:
            return
        except OSError as error:
            self._say(f"{self.log_path} cannot be cut: {error.strerror}")


def _die_with_parent() -> Callable[[], None] | None:
    """What the forked child calls so that the system kills it when we die (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind
