"""The three stores as tests open them: each beside a clock that the test moves, and anew for a second opener."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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
from tests.conftest import SqlClock

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
        if os.environ.get("MAINSTAY_REQUIRE_PEERS") == "1":
            pytest.fail("MAINSTAY_REQUIRE_PEERS=1, but redis-server is not installed")
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
        self._us = 1_000_000_000_000

    def __call__(self) -> float:
        return self._us / 1_000_000

    def move(self, by: timedelta) -> None:
        """It reads that much later."""
        self._us += by // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Bench:
    """A store beside its clock; `other` counts in the same place through connections of its own (memory has none)."""

    store: Store
    other: Store
    move: Callable[[timedelta], Awaitable[None]]


@asynccontextmanager
async def memory_bench(_: str = "") -> AsyncIterator[Bench]:
    """Memory, whose clock stands."""
    hands = Hands()
    store = Memory(monotonic=hands)

    async def move(by: timedelta) -> None:
        hands.move(by)

    yield Bench(store, store, move)


@asynccontextmanager
async def postgresql_bench(url: str) -> AsyncIterator[Bench]:
    """Two pools on one table, whose clock stands."""
    pools = [Database(url, size=6), Database(url, size=6)]
    clock = SqlClock(pools[0])
    await clock.stop()
    one, other = (PostgreSQL(pool, timeout_seconds=PATIENT_SECONDS) for pool in pools)
    yield Bench(one, other, clock.move)
    for pool in pools:
        await pool.close()


@asynccontextmanager
async def redis_bench(url: str) -> AsyncIterator[Bench]:
    """Two clients of one Redis, emptied before, whose clock stands."""
    clients = [Redis(url, use="tests", timeout_seconds=PATIENT_SECONDS) for _ in range(2)]
    await clients[0].ask("FLUSHALL")
    stores = [RedisStore(client, at_us=1_700_000_000_000_000) for client in clients]

    async def move(by: timedelta) -> None:
        for store in stores:
            store.at_us += by // timedelta(microseconds=1)

    yield Bench(stores[0], stores[1], move)
    for client in clients:
        await client.close()
