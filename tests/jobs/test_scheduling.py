"""Recurring jobs: one run a slot, whoever is there to start it."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone

import pytest

from mainstay import jobs
from mainstay.jobs.scheduling import Scheduler
from mainstay.jobs.timetable import as_cron, count_between, in_words, last_slot, next_slot, read, write
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.partitions import Partitioned
from mainstay.kernel.work import Cron, Daily, Every, Job, Schedule, Slots, Weekly
from tests.conftest import SqlClock
from tests.jobs.conftest import all_of, one, task, until, working

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("slots", "now", "last", "following"),
    [
        (Every(HOUR), "2026-11-21T05:16:07", "2026-11-21T05:00", "2026-11-21T06:00"),
        (Every(HOUR), "2026-11-21T05:00:00", "2026-11-21T05:00", "2026-11-21T06:00"),
        (Every(timedelta(minutes=7)), "1970-01-01T00:06:59", "1970-01-01T00:00", "1970-01-01T00:07"),
        (Every(DAY), "2026-03-29T23:59:59", "2026-03-29T00:00", "2026-03-30T00:00"),
        (Daily(time(0, 30)), "2026-11-21T00:29:59", "2026-11-20T00:30", "2026-11-21T00:30"),
        (Daily(time(0, 30)), "2026-11-21T00:30:00", "2026-11-21T00:30", "2026-11-22T00:30"),
        (Daily(time(23, 59)), "2027-01-01T00:00:00", "2026-12-31T23:59", "2027-01-01T23:59"),
        (Weekly(6, time(5)), "2026-11-21T23:59:59", "2026-11-15T05:00", "2026-11-22T05:00"),
        (Weekly(6, time(5)), "2026-11-22T04:59:59", "2026-11-15T05:00", "2026-11-22T05:00"),
        (Weekly(6, time(5)), "2026-11-22T05:00:00", "2026-11-22T05:00", "2026-11-29T05:00"),
        (Weekly(0, time(0)), "2027-01-03T12:00:00", "2026-12-28T00:00", "2027-01-04T00:00"),
        (Cron("0 5 * * sun"), "2026-11-22T04:59:59", "2026-11-15T05:00", "2026-11-22T05:00"),
    ],
)
def test_slots(slots: Slots, now: str, last: str, following: str) -> None:
    assert last_slot(slots, _at(now)) == _at(last)
    assert next_slot(slots, _at(now)) == _at(following)


@pytest.mark.parametrize(
    ("slots", "words", "fields"),
    [
        (Every(timedelta(seconds=1)), "every second", None),
        (Every(timedelta(seconds=90)), "every 90 seconds", None),
        (Every(timedelta(minutes=1)), "every minute", "* * * * *"),
        (Every(timedelta(minutes=5)), "every 5 minutes", "*/5 * * * *"),
        (Every(timedelta(minutes=7)), "every 7 minutes", None),
        (Every(HOUR), "every hour", "0 * * * *"),
        (Every(6 * HOUR), "every 6 hours", "0 */6 * * *"),
        (Every(DAY), "every day", "0 0 * * *"),
        (Every(10 * DAY), "every 10 days", None),
        (Every(timedelta(seconds=1_234_567)), "every 1234567 seconds", None),
        (Daily(time(2)), "daily at 02:00", "0 2 * * *"),
        (Daily(time(2, 0, 5)), "daily at 02:00:05", None),
        (Weekly(6, time(5)), "Sundays at 05:00", "0 5 * * 0"),
        (Cron("0  5 * * sun"), "at 0 5 * * sun", "0 5 * * sun"),
    ],
)
def test_slots_are_said_in_words_and_as_five_fields(slots: Slots, words: str, fields: str | None) -> None:
    assert (in_words(slots), as_cron(slots), read(write(slots))) == (words, fields, slots)
    now = _at("2026-11-21T05:16:07")
    for _ in range(30 if fields else 0):
        assert next_slot(slots, now) == next_slot(Cron(fields or ""), now)
        assert last_slot(slots, now) == last_slot(Cron(fields or ""), now)
        now = next_slot(slots, now)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Every(timedelta(milliseconds=999)),
        lambda: Every(timedelta(days=3650, microseconds=1)),
        lambda: Daily(time(2, tzinfo=timezone(HOUR))),
        lambda: Weekly(0, time(2, tzinfo=UTC)),
        lambda: Weekly(7, time(2)),
        lambda: Weekly(-1, time(2)),
    ],
)
def test_slots_that_nobody_can_mean_are_refused_where_they_are_written(made: Callable[[], Slots]) -> None:
    with pytest.raises(ValueError, match=r"period|zone|weekday"):
        made()


@pytest.mark.parametrize("text", ["* * * * *", "*/7 3,22 * * *", "59 23 13 * fri", "0 0 29 2 *"])
@pytest.mark.parametrize(("start", "days"), [("2027-12-30T22:45:10", 0.9), ("2028-02-27T00:00:00", 7.0)])
def test_slots_that_were_missed_are_counted_to_the_last_one(text: str, start: str, days: float) -> None:
    after, slots = _at(start), Cron(text)
    before = after + timedelta(days=days)
    count, slot = 0, next_slot(slots, after)
    while slot < before:
        count, slot = count + 1, next_slot(slots, slot)
    assert count_between(slots, after, before) == count


async def _run(_: Job) -> None: ...


def _scheduler(db: Database, missed: str = "latest") -> Scheduler:
    each = task(_run)
    schedule = Schedule(name="s", slots=Every(HOUR), kind=each.kind, payload={"a": 1}, missed=missed)  # type: ignore[arg-type]
    return Scheduler(db, [schedule], {each.kind: each})


async def test_three_schedulers_start_one_run_a_slot(db: Database, other_db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    schedulers = [_scheduler(each) for each in (db, other_db, db)]
    assert await asyncio.gather(*(each.run_once() for each in schedulers)) == [0, 0, 0]
    for slot in range(1, 4):
        await sql_clock.move(HOUR)
        assert sum(await asyncio.gather(*(each.run_once() for each in schedulers))) == 1
        assert sum(await asyncio.gather(*(each.run_once() for each in schedulers))) == 0
        assert await one(db, "select count(*) from mainstay.schedule_runs where job_id is not null") == slot
        await one(db, "delete from mainstay.jobs returning 1")
    rows = await all_of(db, "select due_at, job_id from mainstay.schedule_runs order by 1")
    assert len({row["job_id"] for row in rows}) == 4
    assert {after["due_at"] - before["due_at"] for before, after in itertools.pairwise(rows)} == {HOUR}


async def test_slots_that_pass_while_a_run_has_not_ended_do_not_pile_up_behind_it(
    db: Database, sql_clock: SqlClock
) -> None:
    await sql_clock.stop()
    scheduler = _scheduler(db)
    await scheduler.run_once()
    started = []
    for _ in range(3):
        await sql_clock.move(HOUR)
        started.append(await scheduler.run_once())
    assert started == [1, 0, 0]
    (job,) = [row["id"] for row in await all_of(db, "select id from mainstay.jobs")]
    assert await one(db, "select array_agg(job_id) from mainstay.schedule_runs where job_id is not null") == [job] * 3
    await one(db, "delete from mainstay.jobs returning 1")
    await sql_clock.move(HOUR)
    assert await scheduler.run_once() == 1


@pytest.mark.parametrize(("missed", "runs"), [("latest", 1), ("skip", 0)])
async def test_slots_that_passed_while_nothing_ran(db: Database, sql_clock: SqlClock, missed: str, runs: int) -> None:
    await sql_clock.stop()
    await _scheduler(db, missed).run_once()
    slot = last_slot(Every(HOUR), await one(db, "select mainstay.now()"))
    moved = slot + 5 * HOUR + timedelta(minutes=30) - await one(db, "select mainstay.now()")
    await sql_clock.move(moved)
    assert await _scheduler(db, missed).run_once() == runs
    assert await one(db, "select count(*) from mainstay.schedule_runs") == 2
    await one(db, "delete from mainstay.jobs returning 1")
    await sql_clock.move(timedelta(minutes=30, seconds=5))
    assert await _scheduler(db, missed).run_once() == 1


async def test_a_slot_and_its_job_are_one_commit(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    await _scheduler(db).run_once()
    await sql_clock.move(HOUR)
    await one(db, "alter table mainstay.jobs rename to hidden")
    scheduler = _scheduler(db)
    with pytest.raises(Exception, match="does not exist"):
        await scheduler.run_once()
    await one(db, "alter table mainstay.hidden rename to jobs")
    assert await scheduler.run_once() == 1


async def test_a_worker_runs_what_is_scheduled(db: Database, sql_clock: SqlClock) -> None:
    ran = []

    async def run(job: Job) -> None:
        ran.append((job.payload, len(job.trace_id)))

    await sql_clock.stop()
    schedule = Schedule(name="s", slots=Every(HOUR), kind="test.kind", payload={"a": 1})
    async with working(db, [task(run)], schedules=[schedule]):
        await until(lambda: one(db, "select count(*) from mainstay.schedule_runs"))
        assert ran == []
        await sql_clock.move(HOUR)
        await until(lambda: ran)
    assert ran == [({"a": 1}, 32)]


async def test_the_engine_keeps_its_own_tables_small(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    specs = [
        Partitioned("finished_jobs", "time", "week", ahead=4, keep=timedelta(days=30)),
        Partitioned("job_attempts", "time", "week", ahead=4, keep=timedelta(days=60)),
    ]
    assert specs == jobs.PARTITIONED
    dead = """insert into mainstay.dead_jobs (id, enqueued_at, died_at, epoch, priority, attempt, max_attempts, reason,
                queue, kind, lane, trace_id, error, payload)
              select n, mainstay.now(), mainstay.now() - make_interval(days => n), 1, 5, 1, 1, 'failed', 'q', 'k', '',
                     '', 'e', '1'
              from unnest(array[13, 15]) n returning 1"""
    await one(db, dead)
    await one(db, "insert into mainstay.queue_tallies select 'q', (mainstay.now() at time zone 'UTC')::date - n / 5, 1 from generate_series(0, 199) n returning 1")  # fmt: skip  # noqa: E501
    await one(db, "insert into mainstay.workers (name, queues, started_at, heartbeat_at, ended_at) values ('w', '{}', mainstay.now(), mainstay.now(), mainstay.now() - interval '31 days') returning 1")  # fmt: skip  # noqa: E501
    await one(db, "insert into mainstay.schedule_runs select 's', mainstay.now() - make_interval(days => n) from unnest(array[40, 35, 1]) n returning 1")  # fmt: skip  # noqa: E501
    await one(db, "insert into mainstay.queue_minutes select 'q', date_trunc('minute', mainstay.now()) - make_interval(hours => n), 1, 1, 1, 1 from unnest(array[1, 47, 49, 100]) n returning 1")  # fmt: skip  # noqa: E501
    await one(db, "insert into mainstay.schedule_runs select 'yearly', mainstay.now() - interval '90 days' returning 1")
    runs = {each.kind: each.run for each in jobs.tasks(db, specs)}
    bodies = {schedule.kind: runs[schedule.kind] for schedule in jobs.schedules()}
    for run in bodies.values():
        assert run is not None
        await run(None)  # type: ignore[arg-type]
    assert [row["id"] for row in await all_of(db, "select id from mainstay.dead_jobs")] == [13]
    assert await one(db, "select count(*) from mainstay.queue_tallies") == 31
    assert await one(db, "select sum(completed) from mainstay.queue_tallies") == 155
    assert await one(db, "select count(*) from mainstay.workers") == 0
    assert await one(db, "select count(*) from mainstay.queue_minutes") == 2
    left = await all_of(db, "select schedule from mainstay.schedule_runs order by 1")
    assert [row["schedule"] for row in left] == ["s", "yearly"]
    parts = Sql("test", "select array_agg(inhrelid::regclass::text order by 1) from pg_inherits where inhparent = $1::text::regclass")  # fmt: skip  # noqa: E501
    before = {spec.table: await db.value(parts, f"mainstay.{spec.table}") for spec in specs}
    await sql_clock.move(timedelta(days=42))
    for run in bodies.values():
        await run(None)  # type: ignore[arg-type, misc]
    after = {spec.table: await db.value(parts, f"mainstay.{spec.table}") for spec in specs}
    assert before["finished_jobs"][0] not in after["finished_jobs"]
    assert after["job_attempts"][: len(before["job_attempts"])] == before["job_attempts"]
    assert [len(names) - names.index(before[table][-1]) for table, names in after.items()] == [7, 7]
