"""The cache over each store: one load at a time, for as long as told, and never an older value after a clearing."""

import asyncio
from datetime import timedelta

import pytest

from mainstay.kernel.cache import Cache
from mainstay.kernel.cache_stores import MOST_VALUE_BYTES, InRedis, Memory, Store
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.redis import Redis
from tests.cache.conftest import OTHER, THING, Source, until
from tests.limits.stores import PATIENT_SECONDS, Server

TICK = timedelta(milliseconds=1)


@pytest.mark.contract("NP-CA-05")
async def test_a_value_is_kept_for_its_time_and_gone_at_the_end_of_it(cache: Cache, clock: MovableClock) -> None:
    source = Source()
    assert [await cache.get(THING, "a", source) for _ in range(3)] == [b"0"] * 3
    source.text = "1"
    clock.move(THING.ttl - TICK)
    assert await cache.get(THING, "A", source) == b"0"
    assert source.loads == 1
    clock.move(TICK)
    if cache.kind == "memory":
        assert (await cache.figures())["thing_figure"].entries == 0
    assert await cache.get(THING, "a", source) == b"1"
    assert source.loads == 2
    clock.move(-timedelta(hours=1))
    assert await cache.get(THING, "a", source) == b"1"
    assert source.loads == 3, "a clock that was set back lengthens no entry's life"


async def test_entries_are_apart_by_family_id_and_scope(cache: Cache) -> None:
    first, second = Source("first"), Source("second")
    assert await cache.get(THING, "a", first, scope="x") == b"first"
    for family, identifier, scope in ((OTHER, "a", "x"), (THING, "b", "x"), (THING, "a", "y")):
        assert await cache.get(family, identifier, second, scope=scope) == b"second"
    assert second.loads == 3
    first.free.clear()
    held = asyncio.create_task(cache.get(THING, "a", first, scope="x"))
    assert await cache.get(THING, "a", second, scope="y") == b"second", "nobody waits for another scope's load"
    first.free.set()
    await held


async def test_a_hundred_callers_share_one_load(cache: Cache) -> None:
    source = Source()
    source.free.clear()
    callers = [asyncio.create_task(cache.get(THING, "a", source)) for _ in range(100)]
    await until(lambda: _is(source.loads == 1))
    callers[0].cancel()
    source.free.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [b"0"] * 99
    assert source.loads == 1
    assert (await cache.figures())["thing_figure"].outcomes == {"hit": 0, "miss": 1, "shared": 99, "bypass": 0}
    await cache.get(THING, "a", source)
    assert (await cache.figures())["thing_figure"].outcomes["hit"] == 1


async def test_a_load_that_fails_reaches_all_who_wait_and_is_not_kept(cache: Cache) -> None:
    loads, free = [], asyncio.Event()

    async def fail() -> bytes:
        loads.append(1)
        await free.wait()
        raise LookupError("gone")

    callers = [asyncio.create_task(cache.get(THING, "a", fail)) for _ in range(10)]
    await until(lambda: _is(bool(loads)))
    free.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(one) for one in found] == [LookupError] * 10
    assert len(loads) == 1
    assert await cache.get(THING, "a", Source()) == b"0"


async def test_a_load_that_a_clearing_overtook_is_given_to_whom_it_was_for_and_not_kept(cache: Cache) -> None:
    source = Source("old")
    source.free.clear()
    before = asyncio.create_task(cache.get(THING, "a", source))
    await until(lambda: _is(source.loads == 1))
    source.text = "new"
    await cache.clear([THING.key("a")])
    after = asyncio.create_task(cache.get(THING, "a", source))
    await until(lambda: _is(source.loads == 2))
    source.free.set()
    assert (await before, await after) == (b"old", b"new")
    assert await cache.get(THING, "a", source) == b"new"
    assert source.loads == 2
    source.free.clear()
    alone = asyncio.create_task(cache.get(THING, "b", source))
    await until(lambda: _is(source.loads == 3))
    await cache.clear(["cache:thing:*"])
    source.free.set()
    await alone
    await cache.get(THING, "b", source)
    assert source.loads == 4, "what was read before the clearing is not kept"


async def test_prefixes_clear_what_begins_so(cache: Cache) -> None:
    source = Source()
    wanted = [(THING, "a"), (THING, "b"), (OTHER, "a")]
    for family, identifier in wanted:
        await cache.get(family, identifier, source)
    assert await cache.clear(["cache:thing:*"]) == 2
    assert [one.entries for one in (await cache.figures()).values()] == [0, 1]
    assert await cache.clear(["cache:*"]) == 1
    assert await cache.clear(["cache:*"]) == 0


@pytest.mark.parametrize(("size", "loads"), [(MOST_VALUE_BYTES, 1), (MOST_VALUE_BYTES + 1, 2)])
async def test_values_past_256_kib_are_not_kept(cache: Cache, size: int, loads: int) -> None:
    source = Source("x" * size)
    for _ in range(2):
        assert len(await cache.get(THING, "a", source)) == size
    assert source.loads == loads


async def test_reads_never_go_back_behind_a_change(cache: Cache) -> None:
    version = 0

    async def load() -> bytes:
        seen = version
        await asyncio.sleep(0)
        await asyncio.sleep(0.0005 * (seen % 3))
        return str(seen).encode()

    async def read() -> None:
        while version < 60:
            least = version if settled else 0
            assert int(await cache.get(THING, "a", load)) >= least
            await asyncio.sleep(0)

    settled = True
    readers = [asyncio.create_task(read()) for _ in range(8)]
    while version < 60:
        settled = False
        version += 1
        await asyncio.sleep(0.0003 * (version % 4))
        await cache.clear([THING.key("a")])
        settled = True
        await asyncio.sleep(0.001)
    await asyncio.gather(*readers)
    assert await cache.get(THING, "a", load) == b"60"


async def test_the_least_recently_used_entry_goes_first() -> None:
    source = Source("x" * 100)
    by_number = Cache(Memory(most_entries=3), [THING])
    for identifier in ("a", "b", "c", "a", "d"):
        await by_number.get(THING, identifier, source)
    assert source.loads == 4
    await by_number.get(THING, "a", source)
    assert source.loads == 4
    await by_number.get(THING, "b", source)
    assert source.loads == 5
    by_bytes = Cache(Memory(most_bytes=1_000), [THING])
    for identifier in ("a", "b", "c"):
        await by_bytes.get(THING, identifier, source)
    assert (await by_bytes.figures())["thing_figure"].entries == 2


async def test_another_process_keeps_no_older_value_in_redis(redis: Server, clock: MovableClock) -> None:
    clients = [Redis(redis.url, use="tests", timeout_seconds=PATIENT_SECONDS) for _ in range(2)]
    await clients[0].ask("FLUSHALL")
    here, there = (Cache(InRedis(client), [THING], clock=clock) for client in clients)
    source = Source("old")
    source.free.clear()
    slow = asyncio.create_task(there.get(THING, "a", source))
    await until(lambda: _is(source.loads == 1))
    source.text = "new"
    await here.clear([THING.key("a")])
    source.free.set()
    assert await slow == b"old"
    assert [await one.get(THING, "a", source) for one in (here, there)] == [b"new"] * 2
    assert source.loads == 2
    assert await clients[0].ask("KEYS", "*") == [b"cache:thing:a:figure"]
    assert 0 < await clients[0].ask("PTTL", "cache:thing:a:figure") <= 60_000
    for client in clients:
        await client.close()


async def test_what_is_no_entry_is_none(redis: Server, store: Store, cache: Cache) -> None:
    if isinstance(store, Memory):
        return
    client = Redis(redis.url, use="tests", timeout_seconds=PATIENT_SECONDS)
    for junk in (b"", b"1 x y z\nv", b"2 1.0 2.0 \nv", b"\xff\xfe\n"):
        await client.ask("HSET", THING.key("a"), "entry", junk)
        assert await cache.get(THING, "a", Source("good")) == b"good"
    await client.close()


async def _is(value: bool) -> bool:
    return value
