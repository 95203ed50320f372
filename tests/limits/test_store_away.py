"""A store that is away, slow or broken: calls pass and are told of, closed limits refuse, and it all ends by itself."""

import asyncio
import multiprocessing
import time
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection

import pytest

from mainstay.kernel.db import Database
from mainstay.kernel.redis import Redis
from mainstay.kernel.telemetry import REGISTRY
from mainstay.limits import Keeping, Limits, Rule, policies_of, set_mode
from mainstay.limits.errors import StoreAway
from mainstay.limits.redis_store import RedisStore
from mainstay.limits.standing import Standing
from mainstay.web.limiting import Whose
from tests.limits.stores import Server, free_port, redis_server
from tests.limits.test_nodes import PACE, limits_of
from tests.tenancy import OPERATOR, open_tenancy, test_settings

FIVE = Rule("five", 5, timedelta(minutes=1))
HASTY = replace(PACE, answer=timedelta(seconds=0.25))
PURGE = Rule("purge", 3, timedelta(hours=1))


def passed_uncounted(policy: str) -> float:
    """The counter of calls that passed because the store was away."""
    return REGISTRY.get_sample_value("rate_limit_fail_open_total", {"policy": policy}) or 0.0


async def announced(db: Database) -> list[str]:
    """What was announced of the store, oldest first."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select name from mainstay.announcements where name like 'limit.store%' and company_id is null order by id"
        )
        return [row["name"] for row in rows]


def test_a_store_that_fails_now_and_then_is_away_once() -> None:
    standing = Standing(5.0)
    steps = [(True, 0.0), (False, 1.0), (True, 2.0), (False, 3.0), (True, 7.9), (True, 8.0), (True, 9.0), (False, 9.5)]
    assert [standing.after(*step) for step in steps] == [None, "away", None, None, None, "back", None, "away"]


@pytest.mark.contract("DR-C-11")
async def test_the_redis_of_limits_comes_before_the_one_for_all(db: Database, redis: Server) -> None:
    other = redis.url.replace("/0", "/1")
    one = limits_of(db, REDIS_URL=redis.url, RATE_LIMIT_REDIS_URL=other)
    await one.open()
    key = "throttle:user:u1:redis-choice"
    while not (await one.take(key, FIVE)).is_counted:
        await asyncio.sleep(0.1)
    found = []
    for url in (redis.url, other):
        client = Redis(url, use="tests", timeout_seconds=30)
        found.append(await client.ask("EXISTS", key))
        await client.close()
    assert found == [0, 1]
    await one.close()


async def test_nobody_is_refused_while_redis_is_away_but_by_what_is_closed(db: Database) -> None:
    one = limits_of(
        db, RATE_LIMIT_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", RATE_LIMIT_CLOSED="PURGE,credit_charge"
    )
    await one.open()
    before = passed_uncounted("five")
    taken = [await one.take("k", FIVE) for _ in range(7)]
    assert {(each.allowed, each.is_counted, each.remaining) for each in taken} == {(True, False, 5)}
    assert passed_uncounted("five") == before + 7
    with pytest.raises(StoreAway) as refused:
        await one.take("k", PURGE)
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    await one.give_back("k", FIVE, 1, held_seconds=0.1)
    assert one.is_away
    for _ in range(3):
        await one.run_once()
    assert await announced(db) == ["limit.store_away"]
    await one.close()


@pytest.mark.parametrize("broken", ["locked", "gone"])
async def test_a_table_that_is_slow_or_broken_lets_calls_pass(db: Database, broken: str) -> None:
    one = limits_of(db, HASTY, RATE_LIMIT_STORE="postgresql")
    while not (await one.take("k", FIVE)).is_counted:
        await asyncio.sleep(0.1)
    async with db.connection() as connection:
        await connection.execute("begin")
        if broken == "locked":
            await connection.execute("select 1 from mainstay.rate_limits for update")
        else:
            await connection.execute("drop table mainstay.rate_limits")
            await connection.execute("commit")
        began = time.monotonic()
        taken = [await one.take("k", FIVE) for _ in range(50)]
        assert [each.allowed for each in taken] == [True] * 50
        assert not taken[0].is_counted
        assert time.monotonic() - began < 5
        if broken == "locked":
            await connection.execute("rollback")
            async with asyncio.timeout(20):
                while not (await one.take("k", FIVE)).is_counted:
                    await asyncio.sleep(0.05)
    await one.close()


async def test_redis_killed_under_load_fails_no_call_and_comes_back(db: Database) -> None:
    slowest = 0.0
    counted = uncounted = 0
    is_over = False

    async def hammer(one: Limits, name: int) -> None:
        nonlocal slowest, counted, uncounted
        while not is_over:
            began = time.monotonic()
            taken = await one.take(f"k{name}", Rule("load", 1_000_000, timedelta(minutes=1)))
            slowest = max(slowest, time.monotonic() - began)
            assert taken.allowed
            counted, uncounted = counted + taken.is_counted, uncounted + (not taken.is_counted)
            await asyncio.sleep(0)

    async def until(condition: object) -> None:
        async with asyncio.timeout(30):
            while not condition():  # type: ignore[operator]
                await asyncio.sleep(0.01)

    with redis_server() as server:
        one = limits_of(db, HASTY, RATE_LIMIT_REDIS_URL=server.url)
        await one.open()
        calls = [asyncio.create_task(hammer(one, n)) for n in range(20)]
        await until(lambda: counted > 200)
        server.kill()
        await until(lambda: uncounted > 1_000)
        with redis_server(port=int(server.url.rpartition(":")[2].partition("/")[0])):
            seen = counted
            await until(lambda: counted > seen + 200)
            is_over = True
            await asyncio.gather(*calls)
            await one.run_once()
    assert slowest < 5
    names = await announced(db)
    assert names[:2] == ["limit.store_away", "limit.store_back"]
    assert len(names) < 20
    assert not one.is_away
    await one.close()


def _take_forty(url: str, told: Connection) -> None:
    async def take() -> tuple[int, bool]:
        client = Redis(url, use="tests", timeout_seconds=30)
        store, key = RedisStore(client), "throttle:ip:10.0.0.1:two"
        taken = [await store.take(key, Rule("r", 50, timedelta(minutes=1))) for _ in range(40)]
        left = await client.ask("PTTL", key)
        await client.close()
        return sum(one.allowed for one in taken), 0 < left <= 60_001

    told.send(asyncio.run(take()))


@pytest.mark.contract("DR-RL-11")
def test_two_processes_share_one_counter_that_always_expires(redis: Server) -> None:
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe(duplex=False) for _ in range(2)]
    both = [fork.Process(target=_take_forty, args=(redis.url, told)) for _, told in pipes]
    for one in both:
        one.start()
    found = [heard.recv() if heard.poll(60) else None for heard, _ in pipes]
    for one in both:
        one.join(20)
    assert sum(passed for passed, _ in found) == 50
    assert [expires for _, expires in found] == [True, True]


async def test_what_is_closed_refuses_nobody_in_shadow_mode(db: Database) -> None:
    settings = test_settings(
        db.dsn, RATE_LIMITS="", RATE_LIMIT_STORE="redis", RATE_LIMIT_CLOSED="refund,key_growth",
        REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
    )  # fmt: skip
    tenancy = await open_tenancy(db)
    for mode in ("enforced", "shadow"):
        async with db.begin() as tx:
            for policy in ("refund", "key_growth"):
                await set_mode(tx, OPERATOR, policies_of(settings)[policy], mode=mode, reason="a try")
        keeping = Keeping.of(settings, db)
        whose = Whose("192.0.2.1", "/refunds", tenancy.company_id, "ada")
        calls = (keeping.limiter.take("refund", whose), keeping.rates.lease("k", tenancy.company_id))
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in found] == [StoreAway if mode == "enforced" else type(None)] * 2
        await keeping.rates.close()
        await keeping.counting.close()


async def test_a_redis_that_takes_nothing_in_is_not_back_because_it_answers(db: Database) -> None:
    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as full:
        one = limits_of(db, RATE_LIMIT_REDIS_URL=full.url)
        await one.open()
        assert [(await one.take("k", FIVE)).is_counted for _ in range(2)] == [False, False]
        for _ in range(3):
            one._store._redis._breaker.succeeded()  # type: ignore[attr-defined]
            await one.run_once()
        assert one.is_away
        assert await announced(db) == ["limit.store_away"]
        client = Redis(full.url, use="tests", timeout_seconds=30)
        await client.ask("CONFIG", "SET", "maxmemory", "0")
        await client.close()
        async with asyncio.timeout(20):
            while one.is_away:
                await one.run_once()
                await asyncio.sleep(0.05)
        assert (await one.take("k", FIVE)).is_counted
        await one.close()
