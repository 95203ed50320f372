"""What becomes of a job: done, tried again, put off, dead, and back."""

import asyncio
import time
from datetime import timedelta

import orjson
import pytest

from mainstay import jobs
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Discard, Job, Outcome, Retry, Snooze, Task
from tests.conftest import SqlClock
from tests.jobs.conftest import OPERATOR, QUEUE, add, all_of, one, state_of, task, until, working

SECOND = timedelta(seconds=1)


@pytest.mark.contract("NP-Q-24")
async def test_a_job_that_succeeds_writes_one_row_with_start_end_outcome_and_worker(db: Database) -> None:
    async def run(_: Job) -> None:
        await asyncio.sleep(0.05)

    job = await add(db, "test.kind", {"a": 1}, lane="l")
    begun = time.monotonic()
    async with working(db, [task(run)]) as worker:
        await until(lambda: one(db, "select 1 from mainstay.finished_jobs"))
        worker_id = worker.lease.id
    took_ms = (time.monotonic() - begun) * 1000
    (row,) = await all_of(db, "select * from mainstay.finished_jobs")
    assert (row["id"], row["worker_id"], row["attempt"], row["outcome"]) == (job, worker_id, 1, "completed")
    assert row["enqueued_at"] <= row["started_at"] <= row["finished_at"]
    assert 40 < row["duration_ms"] < took_ms
    assert orjson.loads(row["payload"]) == {"a": 1}
    assert await one(db, "select count(*) from mainstay.job_attempts") == 0
    assert await one(db, "select count(*) from mainstay.jobs") == 0


async def test_work_with_a_ledger_of_its_own_leaves_no_row_and_is_counted(db: Database) -> None:
    async def run(_: Job) -> None: ...

    await add(db, "test.kind")
    async with working(db, [task(run, history="failures")]):
        await until(lambda: one(db, "select sum(completed) from mainstay.queue_tallies where queue = $1", QUEUE))
    assert await one(db, "select count(*) from mainstay.finished_jobs") == 0


@pytest.mark.contract("NP-Q-22")
@pytest.mark.contract("NP-Q-23")
async def test_a_failing_job_is_seen_in_every_state_and_ends_dead_and_can_be_redriven(
    db: Database, sql_clock: SqlClock
) -> None:
    is_let, is_good = asyncio.Event(), asyncio.Event()

    async def run(_: Job) -> None:
        await is_let.wait()
        is_let.clear()
        if not is_good.is_set():
            raise ValueError("no such address")

    await sql_clock.stop()
    job = await add(db, "test.kind", {"to": "a"}, delay=2 * SECOND, attempts=2)
    assert await state_of(db, job) == "delayed"
    await sql_clock.move(2 * SECOND)
    async with working(db, [task(run)]):
        await until(lambda: _is(db, job, "active"))
        assert (await jobs.stats(db))[QUEUE].active == 1
        is_let.set()
        await until(lambda: _is(db, job, "retrying"))
        assert (await jobs.stats(db))[QUEUE].retrying == 1
        await sql_clock.move(2 * SECOND)
        await until(lambda: _is(db, job, "active"))
        is_let.set()
        await until(lambda: _is(db, job, "dead"))
        assert (await jobs.stats(db))[QUEUE].dead == 1
        async with db.begin() as tx:
            (dead,) = await jobs.list_dead(tx, jobs.Match(QUEUE))
            attempts = await jobs.attempts_of_job(tx, job)
            await jobs.redrive(tx, job)
        assert (dead.id, dead.payload, dead.error, dead.attempt) == (job, {"to": "a"}, "ValueError: no such address", 2)
        assert [(each.attempt, each.outcome, each.error) for each in attempts] == [
            (1, "failed", "ValueError: no such address"),
            (2, "failed", "ValueError: no such address"),
        ]
        assert all(each.started_at <= each.finished_at and each.worker_id for each in attempts)
        is_good.set()
        await until(lambda: _is(db, job, "active"))
        is_let.set()
        await until(lambda: _is(db, job, "completed"))
    died = await all_of(db, "select data from mainstay.announcements where name = 'job.died'")
    assert [orjson.loads(row["data"])["id"] for row in died] == [job]


async def test_a_job_is_waiting_while_nothing_runs(db: Database) -> None:
    assert await state_of(db, await add(db, "test.kind")) == "waiting"


async def _is(db: Database, job: int, state: str) -> bool:
    return await state_of(db, job) == state


async def _gaps(db: Database, sql_clock: SqlClock, failing: Task, **more: object) -> list[float]:
    """The gaps between the starts of a job that always fails, told by a clock that is moved to each due time."""
    await sql_clock.stop()
    job = await add(db, failing, **more)  # type: ignore[arg-type]
    gaps = []
    async with working(db, [failing], queues=[jobs.QueueConfig(failing.queue, 5)]) as worker:
        while True:
            state = await until(lambda: _settled(db, job))
            if state == "dead":
                return gaps
            due = """select extract(epoch from j.due_at - (select max(finished_at) from mainstay.job_attempts a
                     where a.job_id = j.id))::float8 from mainstay.jobs j where id = $1"""
            gaps.append(round(await one(db, due, job), 3))
            await sql_clock.move(timedelta(seconds=gaps[-1] - 0.001))
            assert await worker.promoter.run_once() == 0
            assert await state_of(db, job) == "retrying", "it was tried before its time"
            await sql_clock.move(timedelta(seconds=0.001))
            tries = len(gaps)
            await until(lambda: _has_tried(db, job, tries + 1))  # noqa: B023


async def _settled(db: Database, job: int) -> str | None:
    state = await state_of(db, job)
    return state if state in ("retrying", "dead") else None


async def _has_tried(db: Database, job: int, tries: int) -> bool:
    return await one(db, "select count(*) from mainstay.job_attempts where job_id = $1", job) >= tries


async def _fail(_: Job) -> Outcome:
    return Retry("it always fails")


@pytest.mark.contract("NP-Q-18")
async def test_five_attempts_wait_2_4_8_and_16_seconds(db: Database, sql_clock: SqlClock) -> None:
    given = Backoff("exponential", timedelta(milliseconds=2_000))
    assert await _gaps(db, sql_clock, task(_fail, attempts=1), attempts=5, backoff=given) == [2, 4, 8, 16]


@pytest.mark.contract("NP-Q-04")
@pytest.mark.contract("NP-Q-08")
@pytest.mark.contract("NP-Q-12")
@pytest.mark.contract("NP-Q-16")
@pytest.mark.parametrize(
    ("queue", "gaps"),
    [(jobs.EMAIL, [2, 4, 8, 16]), (jobs.WORKFLOW, [2, 4]), (jobs.WEBHOOK, [2, 4]), (jobs.REPORT, [5])],
)
async def test_each_queue_has_its_attempts_and_gaps(
    db: Database, sql_clock: SqlClock, queue: str, gaps: list[float]
) -> None:
    assert await _gaps(db, sql_clock, task(_fail, queue=queue)) == gaps


async def test_a_fixed_gap_stays_the_same(db: Database, sql_clock: SqlClock) -> None:
    failing = task(_fail, queue=jobs.REPORT, attempts=4)
    assert await _gaps(db, sql_clock, failing) == [5, 5, 5]


async def test_jitter_shortens_a_gap_within_its_bounds() -> None:
    gaps = {Backoff("fixed", timedelta(seconds=10), 0.5).after(1).total_seconds() for _ in range(200)}
    assert len(gaps) > 100
    assert min(gaps) >= 5
    assert max(gaps) <= 10
    assert Backoff.parse(Backoff("fixed", timedelta(seconds=10), 0.5).text) == Backoff("fixed", 10 * SECOND, 0.5)


async def test_max_attempts_means_total_runs(db: Database) -> None:
    starts = []

    async def run(job: Job) -> None:
        starts.append(job.attempt)
        raise Retry("again", after=timedelta(0))

    job = await add(db, "test.kind", attempts=3)
    async with working(db, [task(run)]):
        await until(lambda: _is(db, job, "dead"))
    assert starts == [1, 2, 3]


async def test_a_snooze_gives_the_attempt_back(db: Database) -> None:
    starts = []

    async def run(job: Job) -> Outcome:
        starts.append(job.attempt)
        return Snooze(timedelta(milliseconds=10)) if len(starts) < 4 else None

    job = await add(db, "test.kind", attempts=1)
    async with working(db, [task(run)]):
        await until(lambda: _is(db, job, "completed"))
    assert starts == [1, 1, 1, 1]
    assert await one(db, "select count(*) from mainstay.job_attempts") == 0


async def test_a_discard_is_dead_at_once(db: Database) -> None:
    async def run(_: Job) -> Outcome:
        return Discard("the account\0 is gone \ud800")

    job = await add(db, "test.kind", attempts=5)
    async with working(db, [task(run)]):
        await until(lambda: _is(db, job, "dead"))
    (row,) = await all_of(db, "select reason, error, attempt from mainstay.dead_jobs")
    assert tuple(row) == ("discarded", "the account is gone ?", 1)


async def test_a_handler_over_its_time_is_stopped_and_counts_as_failed(db: Database) -> None:
    async def run(_: Job) -> None:
        await asyncio.sleep(60)

    job = await add(db, "test.kind", attempts=1)
    async with working(db, [task(run, timeout=timedelta(milliseconds=100))]):
        await until(lambda: _is(db, job, "dead"))
    assert await one(db, "select error from mainstay.dead_jobs where reason = 'timeout'") == "timed out after 0.1 s"


async def test_effect_and_acknowledgement_commit_together(db: Database) -> None:
    await one(db, "create table mainstay.effects (n int)")

    async def run(tx: Tx, job: Job) -> Outcome:
        await one(tx, "insert into mainstay.effects values ($1)", job.payload)
        if job.payload == 2:
            raise Retry("undone")
        return Discard("kept") if job.payload == 3 else None

    made = [await add(db, "test.kind", n, attempts=1) for n in (1, 2, 3)]
    async with working(db, [Task(kind="test.kind", queue=QUEUE, run_in_tx=run)]):
        await until(lambda: _is(db, made[0], "completed"))
        await until(lambda: _is(db, made[1], "dead"))
        await until(lambda: _is(db, made[2], "dead"))
    assert [row["n"] for row in await all_of(db, "select n from mainstay.effects order by n")] == [1, 3]


async def test_a_kind_that_nobody_here_knows_waits_for_someone_who_does(db: Database) -> None:
    job = await add(db, "test.new", attempts=1)
    async with working(db, [task(_fail)]):
        await until(lambda: _is(db, job, "delayed"))
    assert await one(db, "select attempt from mainstay.jobs where id = $1", job) == 0


async def test_a_paused_queue_starts_nothing_once_the_pause_has_committed(db: Database) -> None:
    started = []

    async def run(job: Job) -> None:
        started.append(job.id)

    async with working(db, [task(run)]):
        await until(lambda: one(db, "select 1 from mainstay.queues where name = $1", QUEUE))
        async with db.begin() as tx:
            await jobs.pause(tx, OPERATOR, QUEUE)
        job = await add(db, "test.kind")
        await asyncio.sleep(0.3)
        assert started == []
        stats = (await jobs.stats(db))[QUEUE]
        assert (stats.paused, stats.paused_by, stats.waiting) == (True, "Olga", 1)
        async with db.begin() as tx:
            await jobs.resume(tx, OPERATOR, QUEUE)
        await until(lambda: _is(db, job, "completed"))
        async with db.begin() as tx:
            with pytest.raises(jobs.QueueNotFound):
                await jobs.pause(tx, OPERATOR, "no:such")
            with pytest.raises(jobs.QueueNotFound):
                await jobs.resume(tx, OPERATOR, "no:such")


async def test_lower_priority_numbers_run_first_then_the_order_of_arrival(db: Database) -> None:
    order = []

    async def run(job: Job) -> None:
        order.append(job.payload)

    for payload, priority in ((1, 9), (2, 5), (3, 0), (4, 5), (5, 10), (6, 0)):
        await add(db, "test.kind", payload, priority=priority)
    async with working(db, [task(run)], slots=1):
        await until(lambda: len(order) == 6)
    assert order == [3, 6, 2, 4, 1, 5]


async def test_dead_jobs_are_cleared_and_redriven_by_queue_alone(db: Database) -> None:
    async def run(_: Job) -> Outcome:
        return Discard("no")

    queues = [jobs.QueueConfig(name, 5) for name in (jobs.EMAIL, jobs.WEBHOOK)]
    tasks = [task(run, kind="mail", queue=jobs.EMAIL), task(run, kind="hook", queue=jobs.WEBHOOK)]
    async with working(db, tasks, queues=queues):
        for each in tasks:
            for lane in ("a", "b"):
                await add(db, each, lane=lane)
        await until(lambda: _count_is(db, "dead_jobs", 4))
    waiting = await add(db, "mail", queue=jobs.EMAIL)
    async with db.begin() as tx:
        assert await jobs.clear_matching(tx, jobs.Match(jobs.EMAIL)) == 2
        assert await jobs.list_dead(tx, jobs.Match(jobs.EMAIL)) == []
        assert len(await jobs.list_dead(tx, jobs.Match(jobs.WEBHOOK))) == 2
        assert await jobs.redrive_matching(tx, jobs.Match(jobs.WEBHOOK, lane="a")) == 1
        (left,) = await jobs.list_dead(tx, jobs.Match(jobs.WEBHOOK))
        await jobs.clear(tx, left.id)
        with pytest.raises(jobs.JobNotFound):
            await jobs.clear(tx, left.id)
        await jobs.cancel(tx, waiting)
        with pytest.raises(jobs.JobNotFound):
            await jobs.cancel(tx, waiting)
    assert await state_of(db, waiting) == "cancelled"
    assert await one(db, "select count(*) from mainstay.jobs where queue = $1", jobs.WEBHOOK) == 1


async def _count_is(db: Database, table: str, count: int) -> bool:
    return await one(db, f"select count(*) from mainstay.{table}") == count


async def test_a_redrive_whose_key_is_taken_is_refused_and_the_transaction_lives_on(db: Database) -> None:
    async def run(_: Job) -> Outcome:
        return Discard("no")

    job = await add(db, "test.kind", dedupe_key="k")
    async with working(db, [task(run)]):
        await until(lambda: _is(db, job, "dead"))
    other = await add(db, "test.kind", dedupe_key="k")
    async with db.begin() as tx:
        with pytest.raises(jobs.RedriveRefused):
            await jobs.redrive(tx, job)
        with pytest.raises(jobs.JobNotFound):
            await jobs.redrive(tx, 999_999)
        assert await jobs.redrive_matching(tx, jobs.Match(QUEUE)) == 0
        await jobs.cancel(tx, other)
        await jobs.redrive(tx, job)
    assert await state_of(db, job) == "waiting"
