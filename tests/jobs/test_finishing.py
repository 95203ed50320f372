"""Acknowledging: what cannot be written is one job's trouble, and what passes by itself is nobody's."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from mainstay import jobs
from mainstay.jobs import finishing
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Batch, Hold, Job, Outcome, Retry, Snooze, Task
from tests.jobs.conftest import OPERATOR, QUEUE, add, all_of, one, state_of, task, until, working


async def _is(db: Database, job: int, state: str) -> bool:
    return await state_of(db, job) == state


@pytest.mark.parametrize("word", [Snooze(None), Hold(None), Retry(5)], ids=["snooze", "hold", "retry"])  # type: ignore[arg-type]
async def test_a_word_that_cannot_be_written_is_the_trouble_of_its_own_job(db: Database, word: Outcome) -> None:
    starts: list[int] = []

    async def run(job: Job) -> Outcome:
        if job.payload != "odd":
            return None
        starts.append(job.attempt)
        return word

    lane = "" if isinstance(word, Hold) else "l"
    odd = await add(db, "test.kind", "odd", attempts=1, lane=lane)
    made = [await add(db, "test.kind", n) for n in range(5)]
    async with working(db, [task(run)]):
        for job in made:
            await until(lambda: _is(db, job, "completed"))  # noqa: B023
        await until(lambda: _is(db, odd, "dead"))
        later = await add(db, "test.kind", "later")
        await until(lambda: _is(db, later, "completed"))
    assert starts == [1]
    assert "Error" in await one(db, "select error from mainstay.dead_jobs")


async def test_a_retry_that_cannot_be_written_is_dead_of_it(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object) -> timedelta:
        raise ArithmeticError("no such gap")

    async def run(job: Job) -> Outcome:
        return Retry("again") if job.payload else None

    monkeypatch.setattr(finishing, "_bounded", never)
    odd, good = await add(db, "test.kind", 1), await add(db, "test.kind", 0)
    async with working(db, [task(run)]):
        await until(lambda: _is(db, good, "completed"))
        await until(lambda: _is(db, odd, "dead"))
    assert "no such gap" in await one(db, "select error from mainstay.dead_jobs")


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.SerializationError("raced"),
        asyncpg.DeadlockDetectedError("raced"),
        asyncpg.DiskFullError("53100"),
        asyncpg.QueryCanceledError("57014"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_record_that_met_what_passes_is_tried_again_with_what_the_act_gave(
    db: Database, error: Exception
) -> None:
    acted: list[int] = []
    recorded: list[tuple[int, str, Outcome]] = []
    failures = [error] * 3

    async def load(batch: Sequence[Job]) -> Mapping[int, Any]:
        return {job.id: None for job in batch}

    async def act(job: Job, _: Any) -> tuple[Outcome, Any]:
        acted.append(job.payload)
        return None, "delivered"

    async def record(_: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        if failures:
            raise failures.pop()
        recorded.extend((job.payload, result, outcome) for job, result, outcome in results)

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(5), queue=QUEUE, attempts=1)
    async with working(db, [Task(kind="test.kind", queue=QUEUE, batch=Batch(load, act, record))]):
        await until(lambda: one(db, "select count(*) = 5 from mainstay.finished_jobs"))
    assert sorted(acted) == list(range(5))
    assert sorted(recorded) == [(n, "delivered", None) for n in range(5)]
    assert await one(db, "select count(*) from mainstay.job_attempts") == 0


async def test_claims_of_a_lease_that_was_lost_are_not_started_under_the_next(db: Database) -> None:
    ran: list[int] = []

    async def run(job: Job) -> None:
        ran.append(job.id)

    worker = jobs.Worker(db, [task(run)], queues=[jobs.QueueConfig(QUEUE, 5)])
    await worker.lease.run_once()
    await add(db, "test.kind")
    claimed = await worker.claimer.run_once()
    (station,) = worker.claimer.stations
    assert station.held == 1
    await one(db, "update mainstay.workers set ended_at = now() where id = $1 returning 1", worker.lease.id)
    await worker._beat()
    await worker._start(claimed)
    await asyncio.sleep(0.05)
    assert (ran, station.held, worker._held) == ([], 0, {})


async def test_of_two_dead_jobs_with_one_key_the_older_goes_and_the_rest_with_it(db: Database) -> None:
    dead = """insert into mainstay.dead_jobs (id, enqueued_at, died_at, epoch, priority, attempt, max_attempts, reason,
                queue, kind, lane, trace_id, dedupe_key, error, payload)
              select n, now(), now() - make_interval(hours => 10 - n), 1, 5, 1, 1, 'failed', $1, 'k', '', '',
                     case when n <= 2 then 'twice' end, 'e', '1' from generate_series(1, 4) n returning 1"""
    await one(db, dead, QUEUE)
    async with db.begin() as tx:
        assert await jobs.redrive_matching(tx, jobs.Match(QUEUE)) == 3
        assert [each.id for each in await jobs.list_dead(tx, jobs.Match(QUEUE))] == [2]
        assert await jobs.redrive_matching(tx, jobs.Match(QUEUE)) == 0
        with pytest.raises(jobs.RedriveRefused):
            await jobs.redrive(tx, 2)
    assert [row["id"] for row in await all_of(db, "select id from mainstay.jobs order by pos")] == [1, 3, 4]


async def test_a_pause_waits_for_the_claim_under_way_and_then_nothing_is_claimed(
    db: Database, other_db: Database
) -> None:
    worker = jobs.Worker(db, [], queues=[jobs.QueueConfig(QUEUE, 5)])
    await worker.lease.run_once()
    await add(db, "test.kind")
    locked, is_let = asyncio.Event(), asyncio.Event()
    look = worker.claimer._look

    async def slow_look(*args: Any) -> None:
        await look(*args)
        locked.set()
        await is_let.wait()

    worker.claimer._look = slow_look  # type: ignore[method-assign]
    claiming = asyncio.create_task(worker.claimer.run_once())
    await locked.wait()

    async def pause() -> None:
        async with other_db.begin() as tx:
            await jobs.pause(tx, OPERATOR, QUEUE)

    pausing = asyncio.create_task(pause())
    await asyncio.sleep(0.1)
    assert not pausing.done()
    is_let.set()
    await pausing
    active = await one(db, "select count(*) from mainstay.jobs where state = 'active'")
    assert sum(len(rows) for _, rows in (await claiming).by_station) == active == 1


async def test_a_pause_that_has_not_committed_holds_up_no_other_queue(db: Database, other_db: Database) -> None:
    async def run(_: Job) -> None: ...

    tasks = [task(run), task(run, kind="test.other", queue="test:other")]
    queues = [jobs.QueueConfig(QUEUE, 5), jobs.QueueConfig("test:other", 5)]
    async with working(db, tasks, queues=queues) as worker:
        await until(lambda: worker.lease.worker_id)
        async with other_db.begin() as tx:
            await jobs.pause(tx, OPERATOR, QUEUE)
            paused, other = await add(db, tasks[0]), await add(db, tasks[1])
            await until(lambda: _is(db, other, "completed"))
            assert await state_of(db, paused) == "waiting"
        await asyncio.sleep(0.1)
        assert await state_of(db, paused) == "waiting"
