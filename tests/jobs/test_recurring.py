"""What operators see of schedules: next and last runs, what is late, missed or overlapping, and a run by hand."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from mainstay import jobs
from mainstay.jobs import recurring
from mainstay.jobs.scheduling import Scheduler
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database
from mainstay.kernel.work import Cron, Daily, Discard, Every, Job, Schedule, Task
from tests.architecture.sources import ROOT
from tests.conftest import SqlClock
from tests.jobs.conftest import OPERATOR, QUEUE, all_of, one, task, until, working

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DAY = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), time(), tzinfo=UTC)
START = DAY + 12 * HOUR + 30 * MINUTE
HOURLY = Schedule(name="s.hourly", slots=Every(HOUR), kind="test.kind", payload={"a": 1})


async def _run(_: Job) -> None: ...


def scheduler_of(db: Database, *schedules: Schedule, kinds: Sequence[str] = ("test.kind",)) -> Scheduler:
    """A scheduler whose tasks do nothing."""
    return Scheduler(db, schedules or [HOURLY], {kind: task(_run, kind=kind) for kind in kinds})


async def go_to(db: Database, clock: SqlClock, moment: datetime) -> None:
    """The clock of SQL stands at the moment, which lies ahead."""
    await clock.stop()
    await clock.move(moment - await one(db, "select mainstay.now()"))


async def announced(db: Database, name: str) -> list[dict[str, Any]]:
    rows = await all_of(db, "select data from mainstay.announcements where name = $1 order by id", name)
    return [json.loads(row["data"]) for row in rows]


@asynccontextmanager
async def done(db: Database, *schedules: Schedule, run: Any = _run, tasks: Sequence[Task] = ()) -> Any:
    """A worker with these schedules that have been seen once, so that their next slot runs."""
    await scheduler_of(db, *schedules, kinds=[one.kind for one in tasks] or ["test.kind"]).run_once()
    async with working(db, tasks or [task(run)], schedules=schedules or [HOURLY]) as worker:
        yield worker


async def test_a_schedule_is_listed_with_its_slots_and_its_last_run(db: Database, sql_clock: SqlClock) -> None:
    daily = Schedule(name="s.daily", slots=Daily(time(2)), kind="test.kind", title="Rollover", family="audit")
    cron = Schedule(name="s.cron", slots=Cron("30 6,18 * * *"), kind="test.kind", missed="skip")
    await go_to(db, sql_clock, START)
    async with done(db, HOURLY, daily, cron):
        assert [(one.family, one.name) for one in await recurring.list_schedules(db)] == [
            ("audit", "s.daily"), ("s", "s.cron"), ("s", "s.hourly"),
        ]  # fmt: skip
        (listed,) = await recurring.list_schedules(db, family="audit")
        assert (listed.title, listed.slots, listed.cron) == ("Rollover", "daily at 02:00", "0 2 * * *")
        assert (listed.next_at, listed.last_run) == (DAY + 26 * HOUR, None)
        assert listed.last_slot_at == DAY + 2 * HOUR
        other = await recurring.get_schedule(db, "s.cron")
        assert (other.title, other.missed, other.slots) == ("s.cron", "skip", "at 30 6,18 * * *")
        assert other.next_at == DAY + 18 * HOUR + 30 * MINUTE
        await sql_clock.move(30 * MINUTE)
        listed = await until(lambda: _ended(db, "s.hourly"))
    last = listed.last_run
    assert last is not None
    assert last.lateness is not None
    assert (last.due_at, last.state, last.attempt, last.asked_by) == (
        DAY + 13 * HOUR,
        "completed",
        1,
        None,
    )
    assert timedelta(0) <= last.lateness < timedelta(seconds=30)
    assert last.duration is not None
    assert last.duration < timedelta(seconds=30)
    assert (listed.concerns, listed.next_at) == ((), DAY + 14 * HOUR)
    with pytest.raises(jobs.ScheduleNotFound):
        await recurring.get_schedule(db, "nobody")


async def _ended(db: Database, name: str) -> recurring.ListedSchedule | None:
    found = await recurring.get_schedule(db, name)
    return found if found.last_run is not None and found.last_run.ended_at is not None else None


@pytest.mark.contract("HL-J-13")
async def test_each_run_that_ends_is_one_line_in_the_logs(db: Database, sql_clock: SqlClock) -> None:
    async def fail(_: Job) -> Discard:
        return Discard("no")

    failing = Schedule(name="s.failing", slots=Every(HOUR), kind="test.failing")
    await go_to(db, sql_clock, START)
    tasks = [task(_run), task(fail, kind="test.failing")]
    with capture_logs() as lines:
        async with done(db, HOURLY, failing, tasks=tasks):
            await sql_clock.move(30 * MINUTE)
            await until(lambda: _ended(db, "s.hourly"))
            bad = await until(lambda: _ended(db, "s.failing"))
    assert (bad.concerns, bad.last_run.state) == (("failing",), "dead")
    told = {line["schedule"]: line for line in lines if line["event"] == "a scheduled run ended"}
    assert len([line for line in lines if line["event"] == "a scheduled run ended"]) == 2
    assert {name: line["outcome"] for name, line in told.items()} == {"s.hourly": "completed", "s.failing": "dead"}
    for line in told.values():
        assert line["due_at"] == iso(DAY + 13 * HOUR)
        assert line["due_at"] <= line["started_at"] <= line["ended_at"]
        assert (line["log_level"], line["attempt"], line["duration_ms"] >= 0) == ("info", 1, True)


async def test_a_run_by_hand_is_one_job_and_no_slot(db: Database, sql_clock: SqlClock) -> None:
    await go_to(db, sql_clock, START)
    scheduler = scheduler_of(db)
    await scheduler.run_once()
    for _ in range(2):
        async with db.begin() as tx:
            asked = await recurring.run_now(tx, OPERATOR, "s.hourly")
    (job,) = await all_of(db, "select id, queue, payload, max_attempts from mainstay.jobs")
    assert (asked.job_id, asked.is_new, job["queue"], json.loads(job["payload"])) == (job["id"], False, QUEUE, {"a": 1})
    assert await announced(db, "schedule.run_by_hand") == [{"schedule": "s.hourly", "jobId": str(job["id"])}]
    (run,) = await recurring.list_runs(db, "s.hourly")
    assert (run.job_id, run.due_at, run.asked_by, run.state, run.lateness) == (job["id"], None, "Olga", "waiting", None)
    listed = await recurring.get_schedule(db, "s.hourly")
    assert (listed.last_run, listed.last_slot_at) == (None, DAY + 12 * HOUR)
    assert await recurring.is_unfinished(db, "s.hourly")
    await sql_clock.move(30 * MINUTE)
    assert await scheduler.run_once() == 0
    assert [run.covered for run in await recurring.list_runs(db, "s.hourly")] == [1]
    async with working(db, [task(_run)], schedules=[HOURLY]):
        await until(lambda: _state_is(db, "completed"))
    assert not await recurring.is_unfinished(db, "s.hourly")
    with pytest.raises(jobs.ScheduleNotFound):
        async with db.begin() as tx:
            await recurring.run_now(tx, OPERATOR, "nobody")


async def _state_is(db: Database, state: str) -> bool:
    return (await recurring.list_runs(db, "s.hourly"))[0].state == state


async def test_a_run_that_does_not_begin_is_late_once(db: Database, sql_clock: SqlClock) -> None:
    await go_to(db, sql_clock, START)
    scheduler = scheduler_of(db)
    await scheduler.run_once()
    await sql_clock.move(30 * MINUTE + timedelta(seconds=60))
    await scheduler.run_once()
    await scheduler.watch()
    assert await announced(db, "schedule.late") == []
    await sql_clock.move(timedelta(seconds=1))
    for _ in range(2):
        await scheduler.watch()
    (job,) = await all_of(db, "select id from mainstay.jobs")
    late = {"schedule": "s.hourly", "dueAt": iso(DAY + 13 * HOUR), "startedAt": None, "jobId": str(job["id"])}
    assert await announced(db, "schedule.late") == [late]
    assert (await recurring.get_schedule(db, "s.hourly")).concerns == ("late",)
    async with working(db, [task(_run)], schedules=[HOURLY]):
        listed = await until(lambda: _ended(db, "s.hourly"))
    assert listed.last_run.lateness >= timedelta(seconds=61)
    assert len(await announced(db, "schedule.late")) == 1


async def test_a_run_that_began_late_is_announced_with_its_end(db: Database, sql_clock: SqlClock) -> None:
    await go_to(db, sql_clock, START)
    scheduler = scheduler_of(db)
    await scheduler.run_once()
    await sql_clock.move(2 * HOUR)
    await scheduler.run_once()
    async with working(db, [task(_run)], schedules=[HOURLY]):
        await until(lambda: _ended(db, "s.hourly"))
    (late,) = await announced(db, "schedule.late")
    assert late["dueAt"] == iso(DAY + 14 * HOUR)


async def test_slots_missed_while_nothing_ran_are_announced_together_and_shown(
    db: Database, sql_clock: SqlClock
) -> None:
    minutely = Schedule(name="s.minutely", slots=Every(MINUTE), kind="test.minutely", missed="skip")
    await go_to(db, sql_clock, START)
    kinds = ["test.kind", "test.minutely"]
    await scheduler_of(db, HOURLY, minutely, kinds=kinds).run_once()
    await sql_clock.move(timedelta(seconds=119))
    assert (await recurring.get_schedule(db, "s.minutely")).concerns == ()
    await sql_clock.move(5 * HOUR)
    assert [one.concerns for one in await recurring.list_schedules(db)] == [("missing",)] * 2
    for _ in range(2):
        await scheduler_of(db, HOURLY, minutely, kinds=kinds).run_once()
    assert await announced(db, "schedule.missed") == [
        {"schedule": "s.hourly", "slots": 4, "firstDueAt": iso(DAY + 13 * HOUR)},
        {"schedule": "s.minutely", "slots": 300, "firstDueAt": iso(DAY + 12 * HOUR + 31 * MINUTE)},
    ]
    hourly, minute = await recurring.list_schedules(db)
    assert (hourly.missed_slots, hourly.missed_before) == (4, DAY + 17 * HOUR)
    assert (minute.missed_slots, minute.missed_before) == (300, DAY + 17 * HOUR + 31 * MINUTE)
    assert [one.concerns for one in (hourly, minute)] == [("late",), ()]


async def test_a_run_that_goes_on_over_slots_is_told_once(db: Database, sql_clock: SqlClock) -> None:
    await go_to(db, sql_clock, START)
    scheduler = scheduler_of(db)
    await scheduler.run_once()
    for _ in range(3):
        await sql_clock.move(HOUR)
        await scheduler.run_once()
    (job,) = await all_of(db, "select id from mainstay.jobs")
    (told,) = await announced(db, "schedule.overlapped")
    assert (told["dueAt"], told["jobId"]) == (iso(DAY + 14 * HOUR), str(job["id"]))
    assert "overlapping" in (await recurring.get_schedule(db, "s.hourly")).concerns
    assert [(run.job_id, run.covered) for run in await recurring.list_runs(db, "s.hourly")] == [(job["id"], 2)]
    async with db.begin() as tx:
        await jobs.cancel(tx, job["id"])
    await scheduler.watch()
    assert [run.state for run in await recurring.list_runs(db, "s.hourly")] == ["cancelled"]


@pytest.mark.parametrize("history", ["all", "failures"])
async def test_a_run_that_ended_under_a_worker_that_knows_no_schedule_is_no_cancelled_one(
    db: Database, sql_clock: SqlClock, history: Literal["all", "failures"]
) -> None:
    await go_to(db, sql_clock, START)
    scheduler = scheduler_of(db)
    await scheduler.run_once()
    await sql_clock.move(HOUR)
    await scheduler.run_once()
    await one(db, "delete from mainstay.schedules returning 1")
    async with working(db, [task(_run, history=history)]):
        await until(lambda: _is_empty(db))
    await scheduler.watch()
    (run,) = await recurring.list_runs(db, "s.hourly")
    assert (run.state, run.attempt) == ("completed", 1 if history == "all" else None)
    assert (run.ended_at is not None, run.started_at is not None) == (True, history == "all")


async def _is_empty(db: Database) -> bool:
    return bool(await one(db, "select not exists (select from mainstay.jobs)"))


async def test_runs_are_paged_newest_first(db: Database, sql_clock: SqlClock) -> None:
    await go_to(db, sql_clock, START)
    scheduler = scheduler_of(db)
    await scheduler.run_once()
    for _ in range(5):
        await sql_clock.move(HOUR)
        await scheduler.run_once()
        await one(db, "delete from mainstay.jobs returning 1")
    seen: list[int] = []
    while page := await recurring.list_runs(db, "s.hourly", before_id=seen[-1] if seen else None, limit=2):
        seen += [run.job_id for run in page]
    assert (len(seen), seen) == (5, sorted(seen, reverse=True))


async def test_a_schedule_waits_for_the_run_that_goes_first(db: Database, sql_clock: SqlClock) -> None:
    second = Schedule(name="s.second", slots=Every(HOUR), kind="test.second", after="s.hourly")
    await go_to(db, sql_clock, START)
    scheduler = scheduler_of(db, second, HOURLY, kinds=["test.kind", "test.second"])
    await scheduler.run_once()
    kinds = "select array_agg(kind order by id) from mainstay.jobs"
    await sql_clock.move(30 * MINUTE)
    assert [await scheduler.run_once() for _ in range(2)] == [1, 0]
    assert await one(db, kinds) == ["test.kind"]
    await one(db, "delete from mainstay.jobs returning 1")
    assert await scheduler.run_once() == 1
    assert await one(db, kinds) == ["test.second"]
    await one(db, "delete from mainstay.jobs returning 1")
    await sql_clock.move(HOUR)
    assert await scheduler.run_once() == 1
    await sql_clock.move(timedelta(seconds=30))
    assert await scheduler.run_once() == 1
    assert await one(db, kinds) == ["test.kind", "test.second"]
    with pytest.raises(ValueError, match="comes after one that is not here"):
        scheduler_of(db, second, kinds=["test.second"])


@pytest.mark.contract("HL-J-14")
async def test_many_slots_of_many_schedules_run_once_over_three_schedulers(
    db: Database, other_db: Database, sql_clock: SqlClock
) -> None:
    schedules = [
        Schedule(name=f"s.{n}", slots=Cron(f"{n % 7}-59/7 * * * *") if n % 2 else Every(n * MINUTE), kind="test.kind")
        for n in range(1, 13)
    ]
    await go_to(db, sql_clock, DAY)
    fleet = [scheduler_of(each, *schedules) for each in (db, other_db, db)]
    await asyncio.gather(*(each.run_once() for each in fleet))
    assert {one.name for one in await recurring.list_schedules(db)} == {schedule.name for schedule in schedules}
    started = 0
    for _ in range(15):
        await sql_clock.move(MINUTE)
        started += sum(await asyncio.gather(*(each.run_once() for each in fleet)))
        started += sum(await asyncio.gather(*(each.run_once() for each in fleet)))
        await one(db, "delete from mainstay.jobs returning 1")
    expected = sum(15 // n if n % 2 == 0 else len(range(n % 7 or 7, 16, 7)) for n in range(1, 13))
    assert started == await one(db, "select count(*) from mainstay.schedule_jobs") == expected
    assert await one(db, "select count(distinct job_id) from mainstay.schedule_runs") == expected


_LEADER = """
import asyncio, sys
from datetime import timedelta
from mainstay.jobs import scheduling
from mainstay.kernel.db import Database
from mainstay.kernel.work import Every, Schedule, Task

async def hang(*_):
    print("leads", flush=True)
    await asyncio.sleep(600)

scheduling.rows.take_slots_everywhere = hang
schedule = Schedule(name="s.hourly", slots=Every(timedelta(hours=1)), kind="test.kind", payload={"a": 1})
tasks = {"test.kind": Task(kind="test.kind", queue="test:queue", run=hang)}
asyncio.run(scheduling.Scheduler(Database(sys.argv[1], size=2), [schedule], tasks).run_once())
"""


@pytest.mark.contract("HL-J-14")
async def test_a_leader_that_is_killed_at_the_slot_leaves_it_to_another(db: Database, sql_clock: SqlClock) -> None:
    """Its process is killed when the job is in line but nothing has committed."""
    await go_to(db, sql_clock, START)
    follower = scheduler_of(db)
    await follower.run_once()
    await sql_clock.move(30 * MINUTE)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LEADER, db.dsn, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"leads\n"
    assert await follower.run_once() == 0
    process.kill()
    await process.wait()
    assert await until(follower.run_once) == 1
    assert await follower.run_once() == 0
    assert await one(db, "select count(*) from mainstay.jobs") == 1
    assert [run.due_at for run in await recurring.list_runs(db, "s.hourly")] == [DAY + 13 * HOUR]


async def test_a_leader_that_stands_still_in_its_transaction_is_cut_off(
    db: Database, other_db: Database, sql_clock: SqlClock
) -> None:
    """Abandoned in the middle of a slot: another scheduler settles it as soon as the transaction has gone."""
    await go_to(db, sql_clock, START)
    await scheduler_of(db).run_once()
    await sql_clock.move(30 * MINUTE)
    leader, follower = scheduler_of(db), scheduler_of(other_db)
    async with db.connection() as connection:
        begun = connection.transaction()
        await begun.start()
        await connection.execute("select pg_advisory_xact_lock(hashtextextended('mainstay.schedules.slots', 0))")
        await connection.execute("insert into mainstay.schedule_runs (schedule, due_at) values ('s.hourly', $1)", DAY + 13 * HOUR)  # fmt: skip  # noqa: E501
        assert [await each.run_once() for each in (leader, follower, follower)] == [0, 0, 0]
        connection.terminate()
    assert await until(follower.run_once) == 1
    assert await leader.run_once() == 0
    assert await one(db, "select count(*) from mainstay.jobs") == 1
