"""Where a process counts as others come and go: memory while it is alone, the table as soon as it is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from mainstay.kernel.db import Database
from mainstay.kernel.telemetry import REGISTRY
from mainstay.limits import Limits, Rule, nodes
from mainstay.limits.choosing import Pace, kind_wanted
from tests.limits.stores import free_port
from tests.tenancy import test_settings

HUNDRED = Rule("general", 100, timedelta(minutes=1))
PACE = Pace(answer=timedelta(seconds=30), beat=timedelta(milliseconds=20), alone=timedelta(0), settled=timedelta(0))


def limits_of(db: Database, pace: Pace = PACE, **settings: str) -> Limits:
    """What one process would make of these settings."""
    return Limits(test_settings(db.dsn, **{"RATE_LIMIT_STORE": "auto"} | settings), db, pace=pace)


@asynccontextmanager
async def beating(one: Limits) -> AsyncIterator[Limits]:
    """The process runs; at the end it leaves in order."""
    stop = asyncio.Event()
    await one.open()
    runs = asyncio.create_task(one.run(stop))
    try:
        yield one
    finally:
        stop.set()
        await runs


async def passes(one: Limits, number: int, key: str = "k") -> int:
    """How many of so many calls pass."""
    return sum([(await one.take(key, HUNDRED)).allowed for _ in range(number)])


async def counted_in(one: Limits, kind: str) -> None:
    """The process counts there by now."""
    async with asyncio.timeout(20):
        while one.kind != kind:
            await asyncio.sleep(0.005)


async def values(db: Database, query: str) -> list[Any]:
    """The first column."""
    async with db.connection() as connection:
        return [row[0] for row in await connection.fetch(query)]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "by_nodes"),
        ({"REDIS_URL": "redis://a"}, "redis"),
        ({"RATE_LIMIT_REDIS_URL": "rediss://a"}, "redis"),
        ({"REDIS_URL": "redis://a", "RATE_LIMIT_STORE": "memory"}, "memory"),
        ({"REDIS_URL": "redis://a", "RATE_LIMIT_STORE": "postgresql"}, "postgresql"),
    ],
)
def test_settings_say_where_limits_are_counted(settings: dict[str, str], kind: str) -> None:
    assert kind_wanted(test_settings("postgresql://db", **{"RATE_LIMIT_STORE": "auto"} | settings)) == kind


@pytest.mark.contract("DR-RL-10")
async def test_one_node_counts_in_memory_and_touches_no_table_of_counters(db: Database) -> None:
    statements = "db_query_duration_seconds_count"
    before = REGISTRY.get_sample_value(statements, {"operation": "limits.take"})
    async with beating(limits_of(db)) as one:
        assert await passes(one, 101) == 100
        await asyncio.sleep(0.1)
        assert (one.kind, one._pool._pool) == ("memory", None)
    assert REGISTRY.get_sample_value("rate_limit_store", {"kind": "memory"}) == 1
    assert REGISTRY.get_sample_value(statements, {"operation": "limits.take"}) == before
    assert await values(db, "select key from mainstay.rate_limits") == []


async def test_a_second_node_begins_with_what_the_first_counted(db: Database) -> None:
    async with beating(limits_of(db)) as one:
        assert await passes(one, 60) == 60
        async with beating(limits_of(db)) as other:
            assert (one.kind, other.kind) == ("postgresql", "postgresql")
            assert await passes(other, 41) == 40
            assert await passes(one, 1) == 0
            assert await values(db, "select key from mainstay.rate_limits") == ["k"]
        await counted_in(one, "memory")
        assert await values(db, "select key from mainstay.rate_limits") == []
        assert await passes(one, 1) == 0


async def test_calls_that_come_while_counters_are_moved_are_counted_once(db: Database) -> None:
    """The first node is called without a pause while others come and go."""
    rule = Rule("r", 100_000, timedelta(hours=1))
    taken = 0
    is_over = False

    async def hammer(one: Limits) -> None:
        nonlocal taken
        while not is_over:
            result = await one.take("k", rule)
            assert result.allowed
            taken += result.is_counted
            await asyncio.sleep(0)

    async with beating(limits_of(db)) as one:
        calls = [asyncio.create_task(hammer(one)) for _ in range(4)]
        for _ in range(3):
            async with beating(limits_of(db)):
                await counted_in(one, "postgresql")
            await counted_in(one, "memory")
        is_over = True
        await asyncio.gather(*calls)
        assert (await one.take("k", rule, peek=True)).remaining == 100_000 - taken


async def test_the_table_is_left_when_calls_under_way_have_ended(db: Database) -> None:
    """More of them than there are connections, so that some have not reached the table when it would be left."""
    one, other = limits_of(db), limits_of(db)
    await other.open()
    await one.open()
    await other.close()
    await passes(one, 1)
    async with db.connection() as connection:
        await connection.execute("begin")
        await connection.execute("select 1 from mainstay.rate_limits for update")
        calls = [asyncio.create_task(one.take("k", HUNDRED)) for _ in range(8)]
        await asyncio.sleep(0)
        leaves = asyncio.create_task(one._leave_the_table())
        await asyncio.wait({leaves}, timeout=0.1)
        await connection.execute("rollback")
    await asyncio.gather(leaves, *calls)
    assert (one.kind, (await one.take("k", HUNDRED, peek=True)).remaining) == ("memory", 91)
    await one.close()


async def test_two_nodes_that_start_at_once_share_from_their_first_call(db: Database) -> None:
    one, other = limits_of(db), limits_of(db)
    async with beating(one), beating(other):
        await counted_in(one, "postgresql")
        assert sum(await asyncio.gather(passes(one, 80), passes(other, 80))) == 100


async def test_a_node_that_is_silent_is_waited_for_two_seconds_and_then_lives_no_more(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_KNOWN_WITHIN_SECONDS", 0.2)
    silent = limits_of(db)
    await silent.open()
    loop = asyncio.get_running_loop()
    began = loop.time()
    other = limits_of(db)
    await other.open()
    assert 0.2 <= loop.time() - began < 10
    assert (silent.kind, other.kind) == ("memory", "postgresql")
    async with db.connection() as connection:
        await connection.execute(
            "update mainstay.api_nodes set seen_at = seen_at - interval '5 seconds' where store = 'memory'"
        )
    await other.run_once()
    assert other.kind == "memory"
    # Once it speaks again both find out, each by its next beat.
    await silent.run_once()
    await other.run_once()
    assert (silent.kind, other.kind) == ("postgresql", "postgresql")
    await silent.close()
    await other.close()
    assert await values(db, "select id from mainstay.api_nodes") == []


async def test_a_node_stays_with_the_table_for_a_minute_after_it_was_left_alone(db: Database) -> None:
    one = limits_of(db, Pace())
    async with beating(limits_of(db)):
        await one.open()
    for _ in range(3):
        await one.run_once()
    assert one.kind == "postgresql"
    await one.close()


async def test_without_a_database_a_node_counts_in_memory() -> None:
    nowhere = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    one = limits_of(nowhere)
    await one.open()
    await one._round()
    assert (one.kind, await passes(one, 101)) == ("memory", 100)
    await one.close()
