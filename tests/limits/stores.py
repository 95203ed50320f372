"""The three stores as tests open them: each beside a clock that the test moves, and anew for a second opener."""

import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mainstay.kernel.db import Database
from mainstay.kernel.redis import Redis
from mainstay.limits.memory import Memory
from mainstay.limits.postgres import PostgreSQL
from mainstay.limits.redis_store import RedisStore
from mainstay.limits.store import Store

PATIENT_SECONDS = 30.0
"""What tests of counting give Redis, where a slow machine is no failure."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running redis-server."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """It is gone between two instructions."""
        self.process.kill()
        self.process.wait(20)


@contextmanager
def redis_server(*options: str, port: int | None = None) -> Iterator[Server]:
    """A server of the test's own on loopback that keeps nothing; the test is skipped where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with TemporaryDirectory(prefix="mainstay-redis-") as place:
        port = port or free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", place, "--save", "", *options]
        with (Path(place) / "log").open("wb") as log:
            server = Server(f"redis://127.0.0.1:{port}/0", subprocess.Popen(command, stdout=log, stderr=log))
        try:
            _await_port(port)
            yield server
        finally:
            server.kill()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _await_port(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("redis-server did not start")


class Hands:
    """A reading of monotonic time that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def move(self, by: timedelta) -> None:
        """It reads that much later."""
        self.seconds += by.total_seconds()
