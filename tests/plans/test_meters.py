"""Meters: exact under concurrency, undone with their transaction, one row a workspace and month."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import asyncpg
import pytest

from mainstay import plans
from mainstay.kernel import ids
from mainstay.kernel.db import Database, Sql
from tests.conftest import SqlClock

_NOW = Sql("test.now", "select mainstay.now()")


async def test_a_meter_counts_by_workspace_and_month(db: Database, sql_clock: SqlClock) -> None:
    company, first, second = ids.new_id(), ids.new_id(), ids.new_id()
    now = await sql_clock.stop()
    next_month = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await sql_clock.move(next_month - now - timedelta(minutes=5))
    async with db.begin() as tx:
        await plans.meter(tx, company, first, name="events", quantity=3)
        await plans.meter(tx, company, first, name="events", quantity=7)
        await plans.meter(tx, company, second, name="events", quantity=1)
        await plans.meter(tx, company, first, name="exports", quantity=100)
        await plans.meter(tx, ids.new_id(), ids.new_id(), name="events", quantity=50)
    await sql_clock.move(timedelta(minutes=10))
    async with db.begin() as tx:
        await plans.meter(tx, company, first, name="events", quantity=2)
    month = (next_month - timedelta(days=1)).replace(day=1).date()
    newest, *older = await plans.usage(db, company, "events")
    assert newest == plans.Usage(next_month.date(), first, 2)
    assert sorted(older, key=lambda one: one.quantity) == [
        plans.Usage(month, second, 1),
        plans.Usage(month, first, 10),
    ]
    assert await plans.usage(db, ids.new_id(), "events") == []


async def test_a_month_begins_in_utc_whatever_the_session_says(db: Database, sql_clock: SqlClock) -> None:
    company, workspace = ids.new_id(), ids.new_id()
    now = await sql_clock.stop()
    turn = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await sql_clock.move(turn - now + timedelta(minutes=5))
    async with db.begin() as tx:
        await tx.connection.execute("set local time zone 'America/Los_Angeles'")
        await plans.meter(tx, company, workspace, name="events", quantity=1)
    assert [one.period_start for one in await plans.usage(db, company, "events")] == [turn.date()]


async def test_many_writers_lose_no_count(db: Database) -> None:
    company, workspace = ids.new_id(), ids.new_id()

    async def use() -> None:
        for _ in range(10):
            async with db.begin() as tx:
                await plans.meter(tx, company, workspace, name="events", quantity=2)

    await asyncio.gather(*(use() for _ in range(8)))
    assert [one.quantity for one in await plans.usage(db, company, "events")] == [160]


async def test_a_count_rolls_back_with_what_it_counts(db: Database) -> None:
    company = ids.new_id()
    with suppress(ZeroDivisionError):
        async with db.begin() as tx:
            await plans.meter(tx, company, ids.new_id(), name="events", quantity=2)
            assert [one.quantity for one in await plans.usage(tx, company, "events")] == [2]
            raise ZeroDivisionError
    assert await plans.usage(db, company, "events") == []


async def test_a_meter_never_goes_below_zero(db: Database) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with db.begin() as tx:
            await plans.meter(tx, ids.new_id(), ids.new_id(), name="events", quantity=-1)
