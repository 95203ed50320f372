"""`mainstay up` as a process of its own, watched from outside: what it says, what it started, how it ends."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

COMMAND = [sys.executable, "-P", "-c", "from mainstay.cli import main; main()"]
_OURS = ("DATABASE_URL", "DATABASE_DIRECT_URL", "PORT", "HOST", "PROFILE", "OUTBOUND_ALLOW", "MAINSTAY_SECRET",
         "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET", "INTERNAL_TOKEN", "XDG_STATE_HOME")  # fmt: skip


def environment(**given: str) -> dict[str, str]:
    """The surroundings without any setting of Mainstay but the given ones."""
    return {name: value for name, value in os.environ.items() if name not in _OURS} | given


def wait_until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """What the condition gives once it is true; the test fails if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
    return found


class Up:
    """One running `mainstay up --plain`."""

    def __init__(self, data: Path, *options: str, **settings: str) -> None:
        self.data = data
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*COMMAND, "up", "--plain", "--data", str(data), "--every", "1", *options],
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.family: set[psutil.Process] = set()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        """All that it said so far."""
        return "\n".join(self.lines)

    def started(self) -> "Up":
        """Itself, once everything runs."""
        self.said(r"Ctrl-C stops everything", seconds=100)
        self.remember()
        return self

    def said(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """The first match in what it says, now or in time."""

        def search() -> re.Match[str] | None:
            found = re.search(pattern, self.output)
            if found is None and self._process.poll() is not None:
                self._reader.join()
                found = re.search(pattern, self.output)
                assert found, f"ended with {self._process.returncode} and said:\n{self.output}"
            return found

        try:
            match: re.Match[str] = wait_until(search, seconds)
        except AssertionError:
            raise AssertionError(f"{pattern!r} was not said in time:\n{self.output}") from None
        return match

    def remember(self) -> None:
        """Its processes of now are known, to look for them later."""
        self.family |= set(psutil.Process(self.pid).children(recursive=True))

    def child(self, name: str) -> psutil.Process:
        """The process that runs one of the commands, or `postgres`."""

        def search() -> psutil.Process | None:
            for process in psutil.Process(self.pid).children():
                try:
                    if process.cmdline()[-1:] == [name] or process.name() == name:
                        return process
                except psutil.Error:
                    continue
            return None

        found: psutil.Process = wait_until(search)
        return found

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGINT, seconds: float = 60) -> int:
        """Its exit code after the signal; the test fails if it takes longer."""
        self.remember()
        self._process.send_signal(number)
        return self.code(seconds)

    def code(self, seconds: float = 60) -> int:
        """Its exit code, within that time."""
        code = self._process.wait(seconds)
        self._reader.join(30)
        return code

    def left_over(self) -> list[psutil.Process]:
        """Those of its processes that still run."""
        return [process for process in self.family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def clean_up(self) -> None:
        """Nothing of it is left, however the test ended."""
        if self._process.poll() is None:
            self.remember()
            self._process.kill()
            self._process.wait()
        self._reader.join(30)
        for process in self.left_over():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def url(self) -> str:
        """Where its API is."""
        return self.said(r"Mainstay is up: (\S+)").group(1)

    def curl(self) -> list[str]:
        """The arguments of the line that it offers."""
        return shlex.split(self.said(r"(?m)^  (curl .*)$").group(1))

    def figures(self) -> dict[str, int]:
        """The figures of the newest line."""
        for line in reversed(self.lines):
            if re.match(r"\d\d:\d\d:\d\d  events in ", line):
                return {
                    name.strip(): int(value.replace(",", ""))
                    for name, value in re.findall(r"([a-z ]+) ([\d,]*\d)", line[10:])
                }
        return {}

    def demo(self) -> dict[str, Any]:
        """What it keeps of the demonstration company."""
        found: dict[str, Any] = json.loads((self.data / "demo.json").read_text())
        return found

    def events_in_production(self) -> int:
        """How many events the first workspace has; -1 while the service cannot tell."""
        key = self.demo()["workspaces"][0]["key"]
        try:
            status, body = call(f"{self.url}/v1/key/workspace/events?limit=1", key=key)
        except OSError:
            return -1
        assert status in (200, 503), body
        return int(body["meta"]["total"]) if status == 200 else -1


def call(url: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
    """Status and JSON of one request; a POST where there is a body."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
