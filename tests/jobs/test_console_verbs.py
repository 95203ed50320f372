"""What pages about queues read: depths by the minute, lists of jobs, and who stopped what."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from mainstay import jobs
from mainstay.jobs.queries import lines
from mainstay.jobs.stats import Gauge
from mainstay.kernel.clock import MovableClock, SystemClock
from mainstay.kernel.db import Database, Sql
from tests.conftest import SqlClock
from tests.jobs.conftest import OPERATOR, QUEUE, all_of, one, until, working

MINUTE = timedelta(minutes=1)
_FILL = """insert into mainstay.jobs (queue, kind, lane, payload, state, due_at)
           select $1, 'k', 'l' || n % 9, '1', $2, now() + interval '1 day' from generate_series(1, $3) n returning 1"""


async def test_depths_are_written_once_a_minute_a_queue_by_whoever_comes_first(
    db: Database, other_db: Database, sql_clock: SqlClock
) -> None:
    for state, count in (("waiting", 3), ("active", 2), ("retrying", 4), ("delayed", 9)):
        await one(db, _FILL, jobs.EMAIL, state, count)
    assert await jobs.depths(db) == {}
    now = await sql_clock.stop()
    await sql_clock.move(timedelta(seconds=61 - now.second))
    for _ in range(3):
        await Gauge(db, SystemClock()).run_once()
        await one(db, _FILL, jobs.EMAIL, "waiting", 1)
        await Gauge(other_db, SystemClock()).run_once()
        await sql_clock.move(MINUTE)
    async with db.begin() as tx:
        found = await jobs.depths(tx)
    assert set(found) == {jobs.EMAIL, jobs.WEBHOOK, jobs.WORKFLOW, jobs.REPORT, jobs.UPKEEP}
    assert [tuple(counts) for _, *counts in found[jobs.EMAIL]] == [(3, 2, 4, 0), (4, 2, 4, 0), (5, 2, 4, 0)]
    minutes = [minute for minute, *_ in found[jobs.EMAIL]]
    assert [after - before for before, after in itertools.pairwise(minutes)] == [MINUTE] * 2
    assert minutes[0].second == 0
    assert len((await jobs.depths(db, minutes=2))[jobs.EMAIL]) == 1
    assert await one(db, "select count(*) from mainstay.queue_minutes") == 3 * len(found)


async def test_a_gauge_writes_no_minute_twice(db: Database) -> None:
    clock = MovableClock(datetime(2026, 11, 21, 10, 30, 5, tzinfo=UTC))
    gauge = Gauge(db, clock)
    await gauge.run_once()
    await one(db, "delete from mainstay.queue_minutes returning 1")
    await gauge.run_once()
    assert await one(db, "select count(*) from mainstay.queue_minutes") == 0
    clock.move(MINUTE)
    await gauge.run_once()
    assert await one(db, "select count(*) from mainstay.queue_minutes") == 5


async def test_a_worker_writes_the_depths_down(db: Database) -> None:
    async with working(db, [], queues=[jobs.QueueConfig(QUEUE, 1)]):
        await until(lambda: one(db, "select count(*) from mainstay.queue_minutes where queue = $1", jobs.EMAIL))


@pytest.mark.parametrize("state", ["waiting", "active", "delayed", "retrying"])
async def test_jobs_of_a_queue_are_listed_by_state_from_the_newest_down(db: Database, state: Any) -> None:
    for other in ("waiting", "active", "delayed", "retrying"):
        await one(db, _FILL, QUEUE, other, 25)
        await one(db, _FILL, jobs.EMAIL, other, 25)
    ids = "select array_agg(id order by id desc) from mainstay.jobs where queue = $1 and state = $2"
    wanted = await one(db, ids, QUEUE, state)
    seen: list[int] = []
    while page := await jobs.list_jobs(db, queue=QUEUE, state=state, before_id=seen[-1] if seen else None, limit=10):
        assert len(page) <= 10
        seen += [job.id for job in page]
    assert seen == wanted
    assert len(wanted) == 25
    assert len(await jobs.list_jobs(db, queue=QUEUE, state=state, limit=0)) == 1
    with pytest.raises(ValueError, match="no list"):
        await jobs.list_jobs(db, queue=QUEUE, state="dead")  # type: ignore[arg-type]


async def test_the_bounds_of_lists_and_depths(db: Database) -> None:
    await one(db, _FILL, QUEUE, "waiting", 10_001)
    first = await one(db, "select min(id) from mainstay.jobs")
    (last,) = await jobs.list_jobs(db, queue=QUEUE, state="waiting", before_id=first + 2)
    assert last.id == first + 1
    assert len(await jobs.list_jobs(db, queue=QUEUE, state="waiting", limit=5_000)) == 1_000
    minutes = """insert into mainstay.queue_minutes select 'q', mainstay.now() - n, 1, 1, 1, 1
                 from unnest('{1 second,60 minutes,47:59:00,48:00:00}'::interval[]) n returning 1"""
    await one(db, minutes)
    assert [len((await jobs.depths(db, minutes=n))["q"]) for n in (0, 60, 61, 9_999)] == [1, 1, 2, 3]


async def test_lists_and_counts_read_little_of_a_large_table(db: Database) -> None:
    """A hundred thousand jobs of another queue and state lie beside the few that are asked for."""
    for state in ("waiting", "retrying"):
        await one(db, _FILL, jobs.WEBHOOK, state, 100_000)
        await one(db, _FILL, QUEUE, state, 5)
    for state in ("active", "delayed"):
        await one(db, _FILL, QUEUE, state, 5)
    async with db.connection() as connection:
        await connection.execute("analyze mainstay.jobs")
    used = {"waiting": "jobs_arrival_idx", "active": "jobs_active_idx", "delayed": "jobs_resting_idx"}
    for state in ("waiting", "active", "delayed", "retrying"):
        for queue in (QUEUE, jobs.WEBHOOK):
            explain = Sql("test", f"explain (analyze, buffers, format json) {lines._LIST[state].text}")
            plan = orjson.loads(await db.value(explain, queue, None, 50))[0]["Plan"]
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 12_000
            text = str(plan)
            assert used.get(state, "jobs_resting_idx") in text
            assert "Seq Scan" not in text
    stats = await jobs.stats(db, bound=1_000)
    assert (stats[jobs.WEBHOOK].retrying, stats[jobs.WEBHOOK].waiting) == (1_000, 1_000)


async def test_a_crowd_of_retries_in_one_queue_hides_none_in_another(db: Database) -> None:
    await one(db, _FILL, jobs.WEBHOOK, "retrying", 200)
    await one(db, _FILL, jobs.EMAIL, "retrying", 3)
    await one(db, _FILL, jobs.EMAIL, "delayed", 2)
    stats = await jobs.stats(db, bound=100)
    assert [stats[name].retrying for name in (jobs.WEBHOOK, jobs.EMAIL)] == [100, 3]
    assert stats[jobs.EMAIL].delayed == 2


async def test_pausing_and_resuming_are_announced_with_who_did_it_and_only_when_they_change_something(
    db: Database,
) -> None:
    async with db.begin() as tx:
        await jobs.pause(tx, OPERATOR, jobs.EMAIL)
        await jobs.pause(tx, OPERATOR, jobs.EMAIL)
        assert await one(tx, "select paused_by from mainstay.queues where name = $1", jobs.EMAIL) == "Olga"
        await jobs.resume(tx, OPERATOR, jobs.EMAIL)
        await jobs.resume(tx, OPERATOR, jobs.EMAIL)
    rows = await all_of(db, "select name, company_id, actor, data from mainstay.announcements order by id")
    assert [(row["name"], row["company_id"]) for row in rows] == [("queue.paused", None), ("queue.resumed", None)]
    assert all(orjson.loads(row["actor"])["id"] == OPERATOR.id for row in rows)
    assert all(orjson.loads(row["data"]) == {"queue": jobs.EMAIL} for row in rows)
