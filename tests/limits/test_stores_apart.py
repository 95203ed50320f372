"""What each store does in its own way: rows, keys, expiries, memory's bounds, real clocks, moves between them."""

import asyncio
import re
from datetime import timedelta

import pytest

from mainstay.kernel.db import Database
from mainstay.kernel.redis import Redis
from mainstay.limits import Rule
from mainstay.limits.memory import EVICTED, Memory
from mainstay.limits.postgres import PostgreSQL, carry, prune, take_away
from mainstay.limits.redis_store import RedisStore
from mainstay.limits.store import Store
from tests.conftest import SqlClock
from tests.limits.stores import PATIENT_SECONDS, Hands, Server, postgresql_bench, redis_bench

MINUTE = timedelta(minutes=1)
FIVE = Rule("five", 5, MINUTE)
MANY = Rule("many", 1_000, MINUTE)
DOCUMENTED = re.compile(r"throttle:([^:]+:[^:]+:/.*|user:.+|ip:.+)")


async def rows(db: Database, columns: str) -> list[tuple[object, ...]]:
    """What the table of counters holds."""
    async with db.connection() as connection:
        return [
            tuple(one) for one in await connection.fetch(f"select {columns} from mainstay.rate_limits order by key")
        ]


def table(db: Database) -> PostgreSQL:
    """The table with no hurry."""
    return PostgreSQL(db, timeout_seconds=PATIENT_SECONDS)


async def test_the_table_has_the_documented_keys_and_a_bounded_row_each(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    store = table(db)
    for _ in range(140):
        await store.take("throttle:c:10.0.0.1:/api/v1/a", MANY)
        await sql_clock.move(timedelta(seconds=0.45))
    await store.take("throttle:c:10.0.0.1:/api/v1/b", FIVE)
    found = await rows(db, "key, cardinality(hits_us) as hits, pg_column_size(rate_limits.*)")
    assert [key for key, _, _ in found] == ["throttle:c:10.0.0.1:/api/v1/a", "throttle:c:10.0.0.1:/api/v1/b"]
    assert found[0][1] in (128, 129, 130)
    assert found[0][2] < 2_000


async def test_refused_calls_and_peeks_write_no_row(db: Database) -> None:
    store = table(db)
    await store.take("a", FIVE, peek=True)
    await store.take("b", FIVE, 6)
    assert await rows(db, "key") == []
    await store.take("a", FIVE, 5)
    before = await rows(db, "key, ctid, expires_at, hits_us")
    await store.take("a", FIVE)
    assert await rows(db, "key, ctid, expires_at, hits_us") == before


async def test_expired_counters_are_pruned(db: Database, sql_clock: SqlClock) -> None:
    store = table(db)
    await store.take("a", FIVE)
    await sql_clock.move(timedelta(seconds=30))
    await store.take("b", FIVE)
    await sql_clock.move(timedelta(seconds=45))
    assert await prune(db) == 1
    assert await rows(db, "key") == [("b",)]


async def test_a_table_that_a_crash_emptied_counts_anew(db: Database) -> None:
    """An unlogged table is empty after its server crashed: for that moment calls pass again."""
    async with db.connection() as connection:
        kept = await connection.fetchval(
            "select relpersistence::text from pg_class where oid = 'mainstay.rate_limits'::regclass"
        )
        assert kept == "u"
        store = table(db)
        await store.take("a", FIVE, 5)
        await connection.execute("truncate mainstay.rate_limits")
    assert (await store.take("a", FIVE)).remaining == 4


async def test_every_key_in_redis_expires_and_refused_calls_keep_none_alive(redis: Server) -> None:
    client = Redis(redis.url, use="tests", timeout_seconds=PATIENT_SECONDS)
    await client.ask("FLUSHALL")
    store = RedisStore(client)
    keys = ["throttle:anon:10.0.0.1:/api/v1/auth/login", "throttle:user:u1:purge", "throttle:ip:10.0.0.1:letters"]
    for key, rule in zip(keys, (FIVE, MANY, Rule("hour", 3, timedelta(hours=1))), strict=True):
        for _ in range(3):
            await store.take(key, rule)
    await store.take("peeked", FIVE, peek=True)
    await store.take("refused", FIVE, 6)
    found = sorted(one.decode() for one in await client.ask("KEYS", "*"))
    assert found == sorted(keys)
    assert all(DOCUMENTED.fullmatch(key) for key in found)
    left = [await client.ask("PTTL", key) for key in keys]
    assert [0 < ms <= most for ms, most in zip(left, (60_001, 60_500, 3_600_001), strict=True)] == [True] * 3
    await store.take(keys[2], Rule("hour", 3, timedelta(hours=1)))
    await store.give_back(keys[1], MANY, 1, held_seconds=0.1)
    again = [await client.ask("PTTL", key) for key in keys]
    assert again[2] <= left[2]
    assert 0 < again[1] <= 60_500
    await store.give_back(keys[0], FIVE, 3, held_seconds=0.1)
    assert await client.ask("EXISTS", keys[0]) == 0
    await client.close()


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
async def test_by_a_real_clock_no_window_lets_more_pass(kind: str, db: Database, redis: Server) -> None:
    """Two openers hammer one key over several windows; whatever passed is counted in each window that there was."""
    rule = Rule("r", 10, timedelta(milliseconds=150))
    pools, clients = [db, Database(db.dsn, size=4)], [Redis(redis.url, use="t", timeout_seconds=30) for _ in range(2)]
    stores: list[Store] = (
        [table(one) for one in pools] if kind == "postgresql" else [RedisStore(one) for one in clients]
    )
    loop = asyncio.get_running_loop()
    passed: list[tuple[float, float]] = []
    ends = loop.time() + 20

    async def hammer(store: Store) -> None:
        while len(passed) < 25 and loop.time() < ends:
            asked = loop.time()
            if (await store.take(f"real-{kind}", rule)).allowed:
                passed.append((asked, loop.time()))

    await asyncio.gather(*(hammer(store) for store in stores for _ in range(3)))
    await asyncio.gather(pools[1].close(), *(one.close() for one in clients))
    # A call was counted somewhere between its question and its answer: only windows that hold both are sure of it.
    asked = sorted(begin for begin, _ in passed)
    most = max(sum(begin <= b and e < begin + 0.15 for b, e in passed) for begin in asked)
    assert most <= 10
    assert len(passed) >= 25


async def test_memory_holds_so_many_keys_and_drops_expired_ones_first() -> None:
    hands = Hands()
    store = Memory(monotonic=hands, most_keys=100)
    for n in range(60):
        await store.take(f"old{n}", FIVE)
    hands.move(MINUTE)
    for n in range(40):
        await store.take(f"new{n}", FIVE, 5)
    dropped = EVICTED._value.get()
    await store.take("one more", FIVE)
    assert (len(store), EVICTED._value.get()) == (41, dropped)
    for n in range(59):
        await store.take(f"newer{n}", FIVE, 5)
    await store.take("new0", FIVE, 5)
    await store.take("too many", FIVE)
    assert (len(store), EVICTED._value.get()) == (91, dropped + 10)
    # Those hit longest ago began anew, and no other.
    left = [(await store.take(f"new{n}", FIVE, peek=True)).remaining for n in range(40)]
    assert left == [5] * 10 + [0] * 30


async def test_a_flood_of_addresses_pushes_no_counter_of_a_person_out_of_memory() -> None:
    store = Memory(monotonic=Hands(), most_keys=100)
    for key in ("throttle:user:ada:codes", "throttle:key:k1"):
        await store.take(key, FIVE, 5)
    for n in range(1_000):
        await store.take(f"throttle:anon:2001:db8:0:{n}::/64:/api/v1/auth/login:POST", FIVE)
    assert len(store) <= 100
    assert [(await store.take(key, FIVE)).allowed for key in ("throttle:user:ada:codes", "throttle:key:k1")] == [
        False
    ] * 2
    # Nor does a move to the table take an address along in a person's place.
    assert [one.key for one in store.counted(3)][:2] == ["throttle:user:ada:codes", "throttle:key:k1"]
    assert len(store.counted(3)) == 3
    for n in range(1_000):
        await store.take(f"throttle:user:{n}:codes", FIVE)
    assert len(store) <= 100


async def test_memory_and_table_take_over_from_each_other(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    hands = Hands()
    memory, store = Memory(monotonic=hands), table(db)
    await memory.take("a", FIVE, 2)
    await memory.take("gone", Rule("s", 5, timedelta(seconds=1)))
    hands.move(timedelta(seconds=20))
    await memory.take("a", FIVE, 1)
    await memory.take("m", MANY, 600)
    await store.take("a", FIVE, 1)
    async with db.begin() as tx:
        await carry(tx, memory.counted())
    assert [one for (one,) in await rows(db, "key")] == ["a", "m"]
    there = await store.take("a", FIVE, peek=True)
    assert (there.remaining, there.reset_seconds) == (1, 60.0)
    assert (await store.take("m", MANY, peek=True)).remaining == 400
    await sql_clock.move(timedelta(seconds=40))
    assert (await store.take("a", FIVE, peek=True)).remaining == 3

    memory.forget()
    async with db.begin() as tx:
        assert await take_away(tx, 1) is None
        memory.carry(await take_away(tx, 2) or [])
    assert await rows(db, "key") == []
    assert (await memory.take("a", FIVE, peek=True)).remaining == 3
    assert (await memory.take("m", MANY, peek=True)).remaining == 400
    hands.move(timedelta(seconds=20))
    assert (await memory.take("a", FIVE, peek=True)).remaining == 5


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
async def test_calls_of_one_moment_on_many_keys_and_rules_share_a_round_trip(
    kind: str, db: Database, redis: Server
) -> None:
    """Each is held to its own rule, in the order in which they came, and is answered as if it were alone."""
    client = Redis(redis.url, use="tests", timeout_seconds=PATIENT_SECONDS)
    await client.ask("FLUSHALL")
    store: Store = RedisStore(client) if kind == "redis" else table(db)
    await store.take("b", FIVE, 4)
    asked = [("b", FIVE, 2), ("a", MANY, 600), ("b", FIVE, 1), ("c", FIVE, 6), ("a", MANY, 600), ("b", FIVE, 1)]
    taken = await asyncio.gather(*(store.take(key, rule, cost) for key, rule, cost in asked))
    assert [one.allowed for one in taken] == [False, True, True, False, False, False]
    assert [one.remaining for one in taken] == [1, 400, 0, 5, 400, 0]
    assert [one.allowance for one in taken] == [5, 1_000, 5, 5, 1_000, 5]
    peeks = await asyncio.gather(*(store.take("a", MANY, peek=True) for _ in range(3)))
    assert [one.remaining for one in peeks] == [400] * 3
    await client.close()


async def test_what_is_no_counter_in_redis_counts_as_nothing_and_harms_nobody(redis: Server) -> None:
    client = Redis(redis.url, use="tests", timeout_seconds=PATIENT_SECONDS)
    await client.ask("FLUSHALL")
    await client.ask("LPUSH", "list", "x")
    await client.ask("SET", "text", "x")
    store = RedisStore(client)
    taken = await asyncio.gather(*(store.take(key, FIVE) for key in ("list", "text", "other")))
    assert [one.remaining for one in taken] == [4] * 3
    assert (await store.take("list", FIVE)).remaining == 3
    await client.close()


async def test_statements_on_the_same_keys_in_opposite_order_wait_for_each_other_in_turn(db: Database) -> None:
    """No two nodes lock each other out, and of both together exactly the allowance passes on each key."""
    other = Database(db.dsn, size=4)
    keys = [f"k{n}" for n in range(12)]
    calls = [
        (store, key)
        for _ in range(4)
        for store, order in ((table(db), keys), (table(other), keys[::-1]))
        for key in order
    ]
    taken = await asyncio.gather(*(store.take(key, FIVE) for store, key in calls))
    assert sum(one.allowed for one in taken) == 5 * len(keys)
    await other.close()


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
async def test_a_clock_that_is_set_back_locks_nobody_out(kind: str, redis: Server, fresh_url: str) -> None:
    opened = postgresql_bench(fresh_url) if kind == "postgresql" else redis_bench(redis.url)
    async with opened as bench:
        await bench.store.take("k", FIVE, 5)
        await bench.move(-timedelta(hours=3))
        refused = await bench.store.take("k", FIVE)
        assert (refused.allowed, refused.retry_after_seconds, refused.reset_seconds) == (False, 60.0, 60.0)
        # What is taken dates all of it anew; what was set back by less than a window is waited for.
        assert (await bench.store.take("k", Rule("five", 6, MINUTE))).remaining == 0
        await bench.move(MINUTE)
        assert (await bench.store.take("k", FIVE)).remaining == 4
        await bench.move(-timedelta(seconds=30))
        assert (await bench.store.take("k", FIVE, 5)).retry_after_seconds == 90.0
