"""Events per minute: counted once, whoever counts and whenever it is killed."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import events, jobs, reactions
from mainstay.events import minutes
from mainstay.kernel import outbox, partitions
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.errors import Invalid, Unavailable
from tests.tenancy import Tenancy, open_tenancy

EVENTS = "/v1/key/workspace/events"


async def send(api: httpx.AsyncClient, key: str, count: int) -> None:
    headers = {"authorization": f"Bearer {key}"}
    body = {"events": [{"action": "a"} for _ in range(count)]}
    assert (await api.post(f"{EVENTS}/batch", json=body, headers=headers)).status_code == 200


async def sample(db: Database) -> None:
    async with db.begin() as tx:
        await minutes.sample(tx)


async def counts(db: Database, tenancy: Tenancy, newest: int = 5) -> list[int]:
    return [count for _, count in await events.per_minute(db, company_id=tenancy.company_id, minutes=newest)]


@pytest.fixture
async def at_minute_start(sql_clock: Any, db: Database) -> None:
    """The database's clock stands still just behind a full minute."""
    now = await sql_clock.stop()
    await sql_clock.move(timedelta(seconds=61 - now.second))


async def test_minutes_hold_what_was_stored_in_them(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, at_minute_start: None, sql_clock: Any
) -> None:
    stranger = await open_tenancy(db)
    await send(api, stranger.key, 2)
    assert await counts(db, tenancy) == [0, 0, 0, 0, 0]
    await send(api, tenancy.key, 3)
    await send(api, tenancy.other_key, 4)
    await sample(db)
    await sample(db)
    assert await counts(db, tenancy) == [0, 0, 0, 0, 7]
    await send(api, tenancy.key, 5)
    await sample(db)
    assert await counts(db, tenancy) == [0, 0, 0, 0, 12]
    await send(api, tenancy.key, 1)
    await sql_clock.move(timedelta(minutes=1))
    await send(api, tenancy.other_key, 2)
    await sample(db)
    await sql_clock.move(timedelta(minutes=1))
    assert await counts(db, tenancy) == [0, 0, 13, 2, 0]
    assert await counts(db, stranger) == [0, 0, 2, 0, 0]
    series = await events.per_minute(db, company_id=tenancy.company_id)
    assert len(series) == 60
    assert {later[0] - earlier[0] for earlier, later in itertools.pairwise(series)} == {timedelta(minutes=1)}
    assert all(minute.second == minute.microsecond == 0 for minute, _ in series)


async def test_a_sample_that_is_killed_counts_nothing(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    await send(api, tenancy.key, 3)

    async def sample_and_die() -> None:
        async with db.begin() as tx:
            await minutes.sample(tx)
            await db.run(Sql("test.kill", "select pg_terminate_backend($1)"), tx.connection.get_server_pid())

    with pytest.raises(Unavailable):
        await sample_and_die()
    assert sum(await counts(db, tenancy)) == 0
    await sample(db)
    assert sum(await counts(db, tenancy)) == 3


async def test_counters_at_once_and_writers_meanwhile_count_each_event_once(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    async def write(key: str) -> None:
        for _ in range(15):
            await send(api, key, 2)

    async def count() -> None:
        for _ in range(15):
            await sample(db)

    await asyncio.gather(write(tenancy.key), write(tenancy.other_key), count(), count(), count())
    await sample(db)
    assert sum(await counts(db, tenancy)) == 60


async def test_a_counter_waits_for_the_one_before_it(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    await send(api, tenancy.key, 3)
    async with db.begin() as tx:
        await minutes.sample(tx)
        second = asyncio.create_task(sample(db))
        await asyncio.sleep(0.3)
        assert not second.done()
    await second
    assert sum(await counts(db, tenancy)) == 3


async def test_what_waited_long_for_a_worker_is_counted_in_the_oldest_kept_minutes(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: Any
) -> None:
    """A count that is older than every partition would never be stored and stop all others."""
    await send(api, tenancy.key, 2)
    await sql_clock.move(timedelta(days=30))
    async with db.begin() as tx:
        await partitions.ensure(tx, events.PARTITIONED)
        for spec in events.PARTITIONED:
            await partitions.drop_expired(tx, spec)
    await sample(db)
    await sql_clock.move(timedelta(minutes=-2))
    assert sum(await counts(db, tenancy, minutes.MOST_MINUTES)) == 2


async def test_our_own_acts_are_not_counted(db: Database, tenancy: Tenancy) -> None:
    assert await outbox.Relay(db, reactions.reactions_on(db, db), reactions.record).run_once() > 0
    await sample(db)
    assert sum(await counts(db, tenancy)) == 0


@pytest.mark.parametrize("number", [0, 2_881])
async def test_minutes_are_bounded(db: Database, tenancy: Tenancy, number: int) -> None:
    with pytest.raises(Invalid):
        await events.per_minute(db, company_id=tenancy.company_id, minutes=number)


def test_a_worker_samples_each_ten_seconds() -> None:
    (schedule,) = (one for one in events.schedules() if one.name == "events.sample")
    assert getattr(schedule.slots, "period", None) == timedelta(seconds=10)
    (task,) = (one for one in events.tasks(events.Sealer(None)) if one.kind == schedule.kind)  # type: ignore[arg-type]
    assert task.queue == jobs.UPKEEP
    assert task.run_in_tx is not None
