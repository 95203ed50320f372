"""Workers die, hang and come back late: no job is lost, none counts twice."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs.leases import Promoter
from mainstay.jobs.queries import lines, planning
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Batch, Job, Outcome, Task
from tests.jobs.conftest import QUEUE, QUICK, add, all_of, one, state_of, task, until, working

_ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def victim(db: Database, how: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.jobs.victim", db.dsn, how, cwd=_ROOT, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.contract("NP-Q-26")
@pytest.mark.contract("NP-Q-27")
async def test_what_a_killed_worker_held_is_finished_by_another_that_never_paused(db: Database) -> None:
    done: list[tuple[Any, int]] = []

    async def run(job: Job) -> None:
        await asyncio.sleep(0.01)
        done.append((job.payload, job.attempt))

    for n in range(5):
        await add(db, "test.kind", n)
    async with victim(db, "hang") as process:
        await until(lambda: _active_is(db, 5))
        async with working(db, [task(run)]):
            await _feed(db, range(5, 25), done)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await _feed(db, range(25, 105), done)
            await until(lambda: len(done) == 105)
    assert sorted(payload for payload, _ in done) == list(range(105))
    assert {payload for payload, attempt in done if attempt == 2} == set(range(5))
    back = min(place for place, (_, attempt) in enumerate(done) if attempt == 2)
    assert back > 25, "jobs went on between the death of one worker and the end of its lease"
    lost = await all_of(db, "select outcome, error, attempt from mainstay.job_attempts")
    assert [tuple(row) for row in lost] == [("lost", "worker lost", 1)] * 5


async def _feed(db: Database, payloads: Sequence[int], done: list[tuple[Any, int]]) -> None:
    """One job after the other, each when the one before has run."""
    for n in payloads:
        await add(db, "test.kind", n)
        await until(lambda: (n, 1) in done)  # noqa: B023


async def _active_is(db: Database, count: int) -> bool:
    return await one(db, "select count(*) from mainstay.jobs where state = 'active'") == count


async def test_a_job_that_kills_its_worker_dies_after_its_attempts(db: Database) -> None:
    job = await add(db, "test.kind", {"keep": "me"}, attempts=2)
    async with working(db, [], queues=[jobs.QueueConfig("test:elsewhere", 1)]):
        for _ in range(2):
            async with victim(db, "poison") as process:
                assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
            await until(lambda: _is_not_active(db, job))
        await until(lambda: _is(db, job, "dead"))
    (row,) = await all_of(db, "select reason, error, attempt, payload::text from mainstay.dead_jobs")
    assert tuple(row) == ("lost", "worker lost", 2, '{"keep": "me"}')
    assert await one(db, "select count(*) from mainstay.job_attempts where outcome = 'lost'") == 2
    assert await one(db, "select count(*) from mainstay.announcements where name = 'job.died'") == 1


async def _is(db: Database, job: int, state: str) -> bool:
    return await state_of(db, job) == state


async def _is_not_active(db: Database, job: int) -> bool:
    return await state_of(db, job) != "active"


async def _steal(db: Database, job: int) -> None:
    """What the reaper and another worker's claim do to a job whose first worker only seemed dead."""
    await one(
        db,
        """update mainstay.jobs set epoch = epoch + 1, attempt = attempt + 1, worker_id = 0
           where id = $1 returning id""",
        job,
    )


@pytest.mark.contract("NP-Q-27")
async def test_a_late_acknowledgement_is_refused_and_its_effect_rolled_back(db: Database) -> None:
    await one(db, "create table mainstay.effects (n int)")
    has_begun, is_let = asyncio.Event(), asyncio.Event()

    async def run(tx: Tx, _: Job) -> None:
        await one(tx, "insert into mainstay.effects values (1)")
        has_begun.set()
        await is_let.wait()

    job = await add(db, "test.kind")
    async with working(db, [Task(kind="test.kind", queue=QUEUE, run_in_tx=run)]) as worker:
        await has_begun.wait()
        await _steal(db, job)
        is_let.set()
        await until(lambda: not worker.runner.running)
    assert await one(db, "select count(*) from mainstay.effects") == 0
    assert await state_of(db, job) == "active"
    assert await one(db, "select count(*) from mainstay.finished_jobs") == 0


async def test_a_batch_records_only_what_it_still_holds(db: Database) -> None:
    recorded: list[int] = []
    has_begun, is_let = asyncio.Event(), asyncio.Event()

    async def load(batch: Sequence[Job]) -> dict[int, str]:
        return {job.id: "context" for job in batch if job.payload != "nothing"}

    async def act(job: Job, context: str) -> tuple[Outcome, str]:
        assert context == "context"
        has_begun.set()
        await is_let.wait()
        return None, f"result {job.payload}"

    async def record(tx: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        assert all(result == f"result {job.payload}" for job, result, _ in results)
        recorded.extend(job.id for job, _, _ in results)

    kept, stolen, void = [await add(db, "test.kind", payload) for payload in ("kept", "stolen", "nothing")]
    async with working(db, [Task(kind="test.kind", queue=QUEUE, batch=Batch(load, act, record))]) as worker:
        await has_begun.wait()
        await until(lambda: _is(db, void, "dead"))
        await _steal(db, stolen)
        is_let.set()
        await until(lambda: not worker.runner.running and worker.finisher.is_idle)
    assert recorded == [kept]
    assert [await state_of(db, job) for job in (kept, stolen)] == ["completed", "active"]


async def test_a_record_that_fails_for_one_job_fails_that_one_alone(db: Database) -> None:
    async def load(batch: Sequence[Job]) -> dict[int, None]:
        return {job.id: None for job in batch}

    async def act(job: Job, _: None) -> tuple[Outcome, Any]:
        return None, job.payload

    async def record(tx: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        for _, result, _ in results:
            await one(tx, "select 1 / $1::int", result)

    made = [await add(db, "test.kind", payload, attempts=1) for payload in (1, 0, 2)]
    async with working(db, [Task(kind="test.kind", queue=QUEUE, batch=Batch(load, act, record))]):
        await until(lambda: _is(db, made[1], "dead"))
        await until(lambda: _is(db, made[2], "completed"))
    assert await state_of(db, made[0]) == "completed"
    assert "division by zero" in await one(db, "select error from mainstay.dead_jobs")


@pytest.mark.contract("NP-Q-28")
async def test_two_workers_run_two_hundred_jobs_once_each(db: Database, other_db: Database) -> None:
    runs: Counter[int] = Counter()
    by: Counter[int] = Counter()

    def runner(who: int) -> Any:
        async def run(job: Job) -> None:
            runs[job.payload] += 1
            by[who] += 1
            await until(lambda: min(by[1], by[2]) >= 8)  # each has its slots full once before any job ends
            await asyncio.sleep(0.005)

        return run

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(200), queue=QUEUE, lanes=[f"l{n % 7}" for n in range(200)])
    async with working(db, [task(runner(1))], slots=8), working(other_db, [task(runner(2))], slots=8):
        await until(lambda: _finished_is(db, 200))
    assert runs == Counter(range(200))
    assert by.total() == 200


async def _finished_is(db: Database, count: int) -> bool:
    return await one(db, "select count(*) from mainstay.finished_jobs") == count


async def test_a_worker_declared_lost_drops_its_claims_and_goes_on_under_a_new_id(db: Database) -> None:
    began: list[int] = []
    cancelled: list[int] = []
    is_good = False

    async def run(job: Job) -> None:
        if is_good:
            return
        began.append(job.epoch)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(job.epoch)
            raise

    job = await add(db, "test.kind")
    async with working(db, [task(run)]) as worker:
        await until(lambda: began)
        first = worker.lease.id
        is_good = True
        async with db.begin() as tx:
            await one(tx, "update mainstay.workers set ended_at = now(), end_reason = 'lost' where id = $1", first)
            await one(
                tx,
                """update mainstay.jobs set state = 'waiting', worker_id = null, epoch = epoch + 1,
                   pos = nextval('mainstay.jobs_pos_seq') where id = $1""",
                job,
            )
        await until(lambda: _is(db, job, "completed"))
        assert worker.lease.id != first
    assert cancelled == [1]


async def test_nobody_is_declared_lost_by_one_who_was_away_himself(db: Database) -> None:
    async def run(_: Job) -> None:
        await asyncio.sleep(600)

    job = await add(db, "test.kind")
    patient = replace(QUICK, lease=60.0)
    async with working(db, [task(run)], shutdown_seconds=0.1, timing=patient) as worker:
        await until(lambda: _is(db, job, "active"))
        stranger = await one(
            db,
            """insert into mainstay.workers (name, queues, started_at, heartbeat_at)
               values ('slow', '{}', now(), clock_timestamp() - interval '1 hour') returning id""",
        )
        assert await worker.reaper.run_once() == 0
        ended = "select end_reason from mainstay.workers where id = $1"
        assert await one(db, ended, stranger) is None
        worker.lease._healthy_since -= patient.lease
        await until(lambda: one(db, ended, stranger))
        assert await one(db, ended, worker.lease.id) is None
        assert await state_of(db, job) == "active"


@asynccontextmanager
async def _full(db: Database, ran: list[tuple[Any, int]]) -> AsyncIterator[tuple[jobs.Worker, asyncio.Event]]:
    """A worker whose only slot waits for the event: till then no claim of its is under way, and none can begin."""
    has_begun, is_let = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        if job.payload == "first":
            has_begun.set()
            await is_let.wait()
        else:
            ran.append((job.id, job.attempt))

    await add(db, "test.kind", "first")
    async with working(db, [task(run)], slots=1) as worker:
        await has_begun.wait()
        yield worker, is_let


async def _has_turned(worker: jobs.Worker) -> None:
    """A whole round of claiming has begun and ended since, in a worker whose rounds do not wait for the database."""
    worker._wake.set()
    await until(lambda: not worker._wake.is_set())


_STRAY = """insert into mainstay.jobs (queue, kind, payload, state, worker_id, attempt, epoch, started_at)
            values ($1, 'test.kind', '1', 'active', $2, 1, 1, now()) returning id"""


async def test_a_worker_without_a_heartbeat_claims_nothing(db: Database) -> None:
    ran: list[tuple[Any, int]] = []
    async with _full(db, ran) as (worker, is_let):
        worker.lease.lease_seconds = 0.0
        job = await add(db, "test.kind")
        is_let.set()
        await until(lambda: not worker._held)
        for _ in range(5):
            await _has_turned(worker)
        assert await state_of(db, job) == "waiting"
        worker.lease.lease_seconds = QUICK.lease
        await until(lambda: ran == [(job, 1)])


async def test_jobs_of_a_claim_whose_commit_is_in_doubt_are_handed_back(db: Database) -> None:
    ran: list[tuple[Any, int]] = []
    async with _full(db, ran) as (worker, is_let):
        job = await one(db, _STRAY, QUEUE, worker.lease.id)
        worker.claimer._is_in_doubt = True
        is_let.set()
        await until(lambda: _is(db, job, "completed"))
    assert ran == [(job, 1)]


async def test_a_stop_hands_back_what_a_claim_in_doubt_brought(db: Database) -> None:
    ran: list[tuple[Any, int]] = []
    async with _full(db, ran) as (worker, is_let):
        worker.lease.lease_seconds = 0.0  # so that no further claim clears the doubt
        job = await one(db, _STRAY, QUEUE, worker.lease.id)
        worker.claimer._is_in_doubt = True
        is_let.set()
    (row,) = await all_of(db, "select id, state, attempt, epoch, worker_id from mainstay.jobs")
    assert tuple(row) == (job, "waiting", 0, 2, None)
    assert ran == []
    assert await one(db, "select count(*) from mainstay.workers where ended_at is null") == 0


@pytest.mark.contract("NP-Q-31")
async def test_sigterm_lets_running_jobs_end_and_a_restart_does_the_rest(db: Database) -> None:
    for n in range(12):
        await add(db, "test.kind", n)
    async with victim(db, "steady") as process:
        await until(lambda: _active_is(db, 5))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert await one(db, "select count(*) from mainstay.finished_jobs where attempt = 1") == 5
    assert await one(db, "select count(*) from mainstay.jobs where state = 'waiting' and attempt = 0") == 7
    assert await one(db, "select count(*) from mainstay.workers where ended_at is null") == 0
    async with victim(db, "quick"):
        await until(lambda: _finished_is(db, 12))


async def test_at_a_stop_what_cannot_end_is_handed_back_with_its_attempt(db: Database) -> None:
    async def run(_: Job) -> None:
        await asyncio.sleep(60)

    job = await add(db, "test.kind")
    async with working(db, [task(run)], shutdown_seconds=0.1):
        await until(lambda: _is(db, job, "active"))
    (row,) = await all_of(db, "select state, attempt, epoch, worker_id from mainstay.jobs")
    assert tuple(row) == ("waiting", 0, 2, None)


async def test_a_claim_takes_nothing_from_a_paused_queue_or_for_a_worker_struck_off(db: Database) -> None:
    await add(db, "test.kind")
    async with working(db, [], queues=[jobs.QueueConfig("test:elsewhere", 1)]) as worker:
        mine = await until(lambda: worker.lease.worker_id)
        ghost = await one(
            db,
            """insert into mainstay.workers (name, queues, started_at, heartbeat_at, ended_at)
               values ('ghost', '{}', now(), now(), now()) returning id""",
        )
        await one(db, "insert into mainstay.queues values ($1, 5, now(), 'test') returning 1", QUEUE)
        takes = [[5], [""], [0], [10]]
        async with planning.begin_by_line(db) as tx:
            assert await lines.claim_everywhere(tx, QUEUE, mine, takes) == []
            await one(tx, "update mainstay.queues set paused_at = null where name = $1 returning 1", QUEUE)
            assert await lines.claim_everywhere(tx, QUEUE, ghost, takes) == []
            assert len(await lines.claim_everywhere(tx, QUEUE, mine, takes)) == 1


async def test_a_delayed_job_that_was_committed_long_after_its_time_is_found(db: Database) -> None:
    promoter = Promoter(db)
    assert await promoter.run_once() == 0
    late = """insert into mainstay.jobs (queue, kind, payload, state, due_at)
              values ('q', 'k', '1', 'delayed', now() - $1::text::interval) returning 1"""
    await one(db, late, "20 seconds")
    assert await promoter.run_once() == 1
    await one(db, late, "1 hour")
    assert await promoter.run_once() == 0
    promoter._all_due = 0.0
    assert await promoter.run_once() == 1
