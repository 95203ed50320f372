"""What one process changes, others stop serving: by notices, by Redis, and by time where neither can be known."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import pytest

from mainstay.kernel import cache as caches
from mainstay.kernel.cache import REQUESTS, Cache
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.db import Database
from mainstay.kernel.regions import Regions
from tests.cache.conftest import OTHER, THING, Source, until
from tests.limits.stores import free_port, redis_server
from tests.tenancy import test_settings


@dataclass
class Node:
    """A process, as far as the cache goes."""

    cache: Cache
    db: Database

    async def hears(self, source: Source) -> None:
        """It hears what others clear."""
        await self.cache.get(OTHER, "begin", source)
        await until(lambda: _is(self.cache.hears))

    async def change(self, *keys: str) -> None:
        """A transaction of this node that makes these keys old."""
        async with self.db.begin() as tx:
            await caches.clear_later(tx, keys)


@asynccontextmanager
async def node(url: str, clock: MovableClock, **settings: str) -> AsyncIterator[Node]:
    """A node on that database."""
    given = test_settings(url, **settings)
    regions = Regions.connect(given, size=2, name="test")
    cache, stop = Cache.of(given, regions, [THING, OTHER], clock), asyncio.Event()
    running = asyncio.create_task(cache.run(stop))
    yield Node(cache, regions.home)
    stop.set()
    await running
    await regions.close()


async def test_a_commit_clears_every_node_and_a_rollback_none(fresh_url: str, clock: MovableClock) -> None:
    source = Source("old")
    async with node(fresh_url, clock) as here, node(fresh_url, clock) as there:
        for one in (here, there):
            await one.hears(Source())
            assert await one.cache.get(THING, "a", source) == b"old"
        source.text = "new"
        with suppress(LookupError):
            async with here.db.begin() as tx:
                await caches.clear_later(tx, [THING.key("a")])
                raise LookupError
        async with here.db.begin() as tx:
            await caches.clear_later(tx, [THING.key("a")])
            assert await there.cache.get(THING, "a", source) == b"old"
            assert await here.cache.get(THING, "a", source) == b"old"
        assert await here.cache.get(THING, "a", source) == b"new", "at once, where it was changed"
        await until(lambda: _has(there, source, b"new"))
        many = [THING.key(f"{number:036d}") for number in range(500)]
        for number in (0, 499):
            await there.cache.get(THING, f"{number:036d}", source)
        loads = source.loads
        await here.change(*many)
        source.text = "newer"
        await until(lambda: _has(there, source, b"newer", f"{0:036d}"))
        await until(lambda: _has(there, source, b"newer", f"{499:036d}"))
        assert source.loads >= loads + 2
        await here.change("cache:thing:*")
        await until(lambda: _has(there, source, b"newer"))


async def test_a_node_that_cannot_hear_serves_an_entry_for_a_second(fresh_url: str, clock: MovableClock) -> None:
    source = Source("old")
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    async with node(fresh_url, clock, DATABASE_DIRECT_URL=nowhere) as deaf:
        await deaf.cache.get(THING, "a", source)
        source.text = "new"
        clock.move(timedelta(milliseconds=999))
        assert await deaf.cache.get(THING, "a", source) == b"old"
        assert not deaf.cache.hears
        clock.move(timedelta(milliseconds=1))
        assert await deaf.cache.get(THING, "a", source) == b"new"


async def test_what_was_kept_before_the_connection_was_lost_is_read_anew(fresh_url: str, clock: MovableClock) -> None:
    source = Source("old")
    async with node(fresh_url, clock) as here:
        await here.hears(Source())
        await here.cache.get(THING, "a", source)
        (listening,) = here.cache._hearing
        first = listening.since
        assert first is not None
        clock.move(timedelta(seconds=2))
        assert await here.cache.get(THING, "a", source) == b"old"
        source.text = "new"
        async with here.db.connection() as connection:
            ended = await connection.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like 'LISTEN%'"
                " and datname = current_database()"
            )
        assert ended == 1
        await until(lambda: _is((listening.since or first) > first))
        assert await here.cache.get(THING, "a", source) == b"new", "also once it hears again"


@pytest.mark.contract("NP-CA-07")
async def test_a_redis_that_dies_fails_no_read_and_keeps_nothing_old(fresh_url: str, clock: MovableClock) -> None:
    source = Source("1")
    port = free_port()
    with redis_server(port=port) as server:
        async with node(fresh_url, clock, REDIS_URL=server.url) as here:
            await here.hears(Source())
            await until(lambda: _kept(here, source, clock))
            bypassed = REQUESTS.labels("thing_figure", "bypass")._value.get()
            server.process.send_signal(signal.SIGSTOP)
            assert await here.cache.get(THING, "b", source) == b"1"
            source.text = "2"
            await here.change(THING.key("a"))
            assert await here.cache.get(THING, "a", source) == b"2", "from the database"
            assert REQUESTS.labels("thing_figure", "bypass")._value.get() > bypassed
            server.process.send_signal(signal.SIGCONT)
            await until(lambda: _kept(here, source, clock, moved_ms=0))
            assert await here.cache.get(THING, "a", source) == b"2", "what could not be cleared was, before any read"
            reads = [asyncio.create_task(here.cache.get(THING, str(one), source)) for one in range(50)]
            await asyncio.sleep(0)
            server.kill()
            reads += [asyncio.create_task(here.cache.get(THING, str(one), source)) for one in range(50, 100)]
            assert await asyncio.gather(*reads) == [b"2"] * 100
            with redis_server(port=port):
                await until(lambda: _kept(here, source, clock))


async def _kept(one: Node, source: Source, clock: MovableClock, *, moved_ms: int = 1_001) -> bool:
    """Whether a second read needs no load, more than a second after the node began to hear."""
    clock.move(timedelta(milliseconds=moved_ms))
    await one.cache.get(THING, "a", source)
    loads = source.loads
    await one.cache.get(THING, "a", source)
    return source.loads == loads


async def _has(one: Node, source: Source, value: bytes, identifier: str = "a") -> bool:
    return await one.cache.get(THING, identifier, source) == value


async def _is(value: bool) -> bool:
    return value
