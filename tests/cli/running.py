"""Runs the command line as its users do: a process, its output, its exit code."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from typer.testing import CliRunner

from mainstay.cli import app
from tests.warm import Warm

MAINSTAY = [sys.executable, "-P", "-c", "from mainstay.cli import main; main()"]
SECRETS = {
    "MAINSTAY_SECRET": "a-test-secret-of-forty-characters-or-so-1",
    "JWT_ACCESS_SECRET": "a-test-secret-of-forty-characters-or-so-2",
    "JWT_REFRESH_SECRET": "a-test-secret-of-forty-characters-or-so-4",
    "PROFILE": "development",
}
_LISTENS = re.compile(r"listens on (http://\S+)|listening on (http://\S+)/ ")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """The variables of a command: only what it needs, nothing of ours."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **more}


def mainstay(*arguments: str, env: Mapping[str, str] | None = None, given: bytes = b"", seconds: float = 100) -> Ran:
    """The command has ended."""
    with TemporaryFile() as stdin, TemporaryFile() as out, TemporaryFile() as err:
        stdin.write(given)
        stdin.seek(0)
        process = Warm(*arguments, env=environment(**(env or {})), stdin=stdin, stdout=out, stderr=err)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        for stream in (out, err):
            stream.seek(0)
        return Ran(code, out.read().decode(), err.read().decode())


def called(*arguments: str, env: Mapping[str, str] | None = None) -> Ran:
    """The command has ended, run in this process: quicker, for what needs no process of its own."""
    ours: dict[str, str | None] = dict.fromkeys(("DATABASE_URL", "MAINSTAY_KEY", "MAINSTAY_URL", "MAINSTAY_SECRET"))
    result = CliRunner().invoke(app, arguments, env={**ours, **(env or {})}, prog_name="mainstay", input="")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True, slots=True)
class Running:
    """A command that goes on: its process, the address that it told, and its log."""

    process: Warm
    url: str
    log: Path


@contextmanager
def running(*arguments: str, env: Mapping[str, str], log: Path, until: re.Pattern[str] = _LISTENS) -> Iterator[Running]:
    """The command runs and has told that it is ready; afterwards it has ended."""
    with log.open("wb") as target:
        process = Warm(*arguments, env=environment(**env), stdout=target, stderr=target)
    try:
        deadline = time.monotonic() + 90
        while not (found := until.search(log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield Running(process, next((group for group in found.groups() if group), ""), log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
