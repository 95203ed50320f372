"""Caches over each kind of store, beside a clock that stands until it is moved."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mainstay.kernel.cache import Cache, Family
from mainstay.kernel.cache_stores import InRedis, Memory, Store
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.redis import Redis
from tests.limits.stores import PATIENT_SECONDS, Server, redis_server

THING = Family("thing", "figure", timedelta(seconds=60))
OTHER = Family("other", "list", timedelta(seconds=300))


@pytest.fixture(scope="session")
def redis() -> Iterator[Server]:
    """A redis-server that tests share, each emptying it first."""
    with redis_server() as server:
        yield server


@pytest.fixture
def clock() -> MovableClock:
    """The clock of caches."""
    return MovableClock(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store."""
    if request.param == "memory":
        yield Memory()
        return
    client = Redis(request.getfixturevalue("redis").url, use="tests", timeout_seconds=PATIENT_SECONDS)
    await client.ask("FLUSHALL")
    yield InRedis(client)
    await client.close()


@pytest.fixture
def cache(store: Store, clock: MovableClock) -> Cache:
    """A cache of nobody else's."""
    return Cache(store, [THING, OTHER], clock=clock)


class Source:
    """Something to load that counts how often it was asked; `wait` holds loads back."""

    def __init__(self, text: str = "0") -> None:
        self.text = text
        self.loads = 0
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self) -> bytes:
        """What it is at this moment, once it may be told."""
        self.loads += 1
        value = self.text.encode()
        await self.free.wait()
        return value


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Returns once that holds; fails after 20 s."""
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.01)
