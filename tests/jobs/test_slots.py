"""Slots of a queue: when one is free again, and what bounds the jobs that wait to be acknowledged."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs.claiming import WIDE, Station
from mainstay.jobs.lanes import LaneBook, Pace
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Batch, Job, Outcome, Task
from tests.jobs.conftest import QUEUE, add, one, task, until, working


class Slow:
    """A batch task whose handlers end at once, and whose record waits until it is let."""

    def __init__(self) -> None:
        self.acted: Counter[str] = Counter()
        self.recorded: Counter[int] = Counter()
        self.is_let = asyncio.Event()

    @asynccontextmanager
    async def working(self, db: Database, *, slots: int, lane_limit: int | None = None) -> AsyncIterator[jobs.Worker]:
        batch = Batch(self._load, self._act, self._record)
        kind = Task(kind="test.kind", queue=QUEUE, batch=batch, lane_limit=lane_limit)
        async with working(db, [kind], slots=slots) as worker:
            try:
                yield worker
            finally:
                self.is_let.set()

    async def until_stuck(self, worker: jobs.Worker, acted: int) -> Station:
        """So many handlers have ended, none of their jobs is acknowledged, and a look at the queue has been taken."""
        (station,) = worker.claimer.stations
        await until(lambda: self.acted.total() >= acted and not worker.runner.running)
        return station

    @staticmethod
    async def _load(batch: Sequence[Job]) -> Mapping[int, Any]:
        return {job.id: None for job in batch}

    async def _act(self, job: Job, _: Any) -> tuple[Outcome, Any]:
        self.acted[job.lane] += 1
        return None, None

    async def _record(self, _: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        await self.is_let.wait()
        self.recorded.update(job.id for job, _, _ in results)


async def _add(db: Database, count: int, lanes: int) -> None:
    async with db.begin() as tx:
        await jobs.enqueue_many(
            tx, "test.kind", range(count), queue=QUEUE, lanes=[f"l{n % lanes}" for n in range(count)]
        )


async def test_in_a_wide_queue_as_many_jobs_again_as_slots_may_wait_to_be_acknowledged(db: Database) -> None:
    slow = Slow()
    await _add(db, 3 * WIDE, 3 * WIDE)
    async with slow.working(db, slots=WIDE) as worker:
        station = await slow.until_stuck(worker, 2 * WIDE)
        assert (slow.acted.total(), station.held, station.free) == (2 * WIDE, 2 * WIDE, 0)
        slow.is_let.set()
        await until(lambda: one(db, "select not exists (select from mainstay.jobs)"))
        await until(lambda: (station.held, station.ended) == (0, 0))
    assert (len(slow.recorded), slow.recorded.total()) == (3 * WIDE, 3 * WIDE)


async def test_in_a_narrower_queue_a_job_keeps_its_slot_until_it_is_acknowledged(db: Database) -> None:
    slow = Slow()
    await _add(db, 2 * WIDE, 2 * WIDE)
    async with slow.working(db, slots=WIDE - 1) as worker:
        station = await slow.until_stuck(worker, WIDE - 1)
        assert (slow.acted.total(), station.held, station.free) == (WIDE - 1, WIDE - 1, 0)


async def test_of_a_lane_no_more_than_its_limit_wait_to_be_acknowledged(db: Database) -> None:
    slow = Slow()
    await _add(db, 60, 2)
    async with slow.working(db, slots=WIDE, lane_limit=10) as worker:
        station = await slow.until_stuck(worker, 20)
        await until(lambda: not station.book.has_turn)
        assert slow.acted == {"l0": 10, "l1": 10}
        slow.is_let.set()
        await until(lambda: slow.recorded.total() == 60)


async def test_a_worker_that_is_full_of_unacknowledged_jobs_goes_on_once_they_are(db: Database) -> None:
    slow = Slow()
    await _add(db, 5 * WIDE, 50)
    async with slow.working(db, slots=WIDE, lane_limit=10) as worker:
        await slow.until_stuck(worker, 2 * WIDE)
        slow.is_let.set()
        await until(lambda: slow.recorded.total() == 5 * WIDE)


async def test_no_more_handlers_than_slots_run_at_once(db: Database) -> None:
    running = most = 0

    async def act(job: Job, _: Any) -> tuple[Outcome, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (job.payload % 5))
        running -= 1
        return None, None

    async def record(_: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        done.extend(results)

    done: list[Any] = []
    await _add(db, 5 * WIDE, 5 * WIDE)
    kind = Task(kind="test.kind", queue=QUEUE, batch=Batch(Slow._load, act, record))
    async with working(db, [kind], slots=WIDE):
        await until(lambda: len(done) == 5 * WIDE)
    assert most <= WIDE


async def test_a_job_that_settles_in_its_own_transaction_frees_one_slot(db: Database) -> None:
    async def run(_: Tx, job: Job) -> None:
        pass

    kind = Task(kind="test.kind", queue=QUEUE, run_in_tx=run)
    async with working(db, [kind], slots=WIDE) as worker:
        (station,) = worker.claimer.stations
        for _ in range(3):
            await add(db, kind)
        await until(lambda: one(db, "select count(*) = 3 from mainstay.finished_jobs"))
        await until(lambda: (station.held, station.ended, station.free) == (0, 0, WIDE))


async def test_a_job_without_a_task_frees_its_slot(db: Database) -> None:
    async with working(db, [task(_nothing)], slots=WIDE) as worker:
        (station,) = worker.claimer.stations
        await add(db, "test.unknown")
        await until(lambda: one(db, "select exists (select from mainstay.jobs where state = 'delayed')"))
        await until(lambda: (station.held, station.ended, station.free) == (0, 0, WIDE))


async def _nothing(_: Job) -> None:
    return None


@pytest.mark.parametrize(
    ("slots", "held", "ended", "ahead", "free"),
    [
        (WIDE, 0, 0, 0, WIDE),
        (WIDE, WIDE, 0, 0, 0),
        (WIDE, WIDE, 30, 0, 30),
        (WIDE, 2 * WIDE - 10, WIDE, 0, 10),
        (WIDE, 2 * WIDE, WIDE, 0, 0),
        (WIDE, 2 * WIDE, 2 * WIDE, 0, 0),
        (WIDE, WIDE, 0, 40, 40),
        (WIDE, 2 * WIDE, 2 * WIDE, 40, 40),
        (WIDE, 2 * WIDE + 40, 2 * WIDE, 40, 0),
        (WIDE - 1, WIDE - 1, 30, 0, 0),
        (5, 3, 3, 0, 2),
    ],
)
def test_what_is_free(slots: int, held: int, ended: int, ahead: int, free: int) -> None:
    station = Station(jobs.QueueConfig(QUEUE, slots), LaneBook(), held=held, ended=ended, ahead=ahead)
    assert station.free == free


@pytest.mark.parametrize(
    ("left", "now", "soon"),
    [
        ([], 10.0, 0),
        ([(100, 10.0)], 10.0, 60),
        ([(100, 10.0), (50, 10.04)], 10.049, 90),
        ([(100, 10.0), (10, 10.06)], 10.06, 60),
        ([(100, 10.0), (10, 10.06)], 10.12, 6),
        ([(100, 10.0)], 10.11, 0),
    ],
)
def test_how_many_jobs_leave_soon_is_told_by_how_many_just_left(
    left: list[tuple[int, float]], now: float, soon: int
) -> None:
    pace = Pace()
    for count, moment in left:
        pace.left(count, moment)
    assert pace.soon(now) == soon


class Steady(Pace):
    """A pace that stays as it is."""

    def soon(self, now: float) -> int:
        return 50


async def _ahead(worker: jobs.Worker, db: Database) -> Station:
    """Every slot is taken by a handler that does not end, and fifty jobs more are loaded and wait for one."""
    (station,) = worker.claimer.stations
    station.pace = Steady()
    await _add(db, 2 * WIDE, 2 * WIDE)
    await until(lambda: (station.held, station.acting, len(station.parked)) == (WIDE + 50, WIDE, 50))
    return station


def _stuck(is_let: asyncio.Event, started: list[int]) -> Task:
    async def act(job: Job, _: Any) -> tuple[Outcome, Any]:
        started.append(job.payload)
        await is_let.wait()
        return None, None

    async def record(_: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        pass

    return Task(kind="test.kind", queue=QUEUE, batch=Batch(Slow._load, act, record))


async def test_jobs_claimed_ahead_start_in_their_order_as_slots_come_free(db: Database) -> None:
    is_let, started = asyncio.Event(), list[int]()
    async with working(db, [_stuck(is_let, started)], slots=WIDE) as worker:
        station = await _ahead(worker, db)
        parked = [held.job.payload for held in station.parked]
        is_let.set()
        await until(lambda: one(db, "select not exists (select from mainstay.jobs)"))
        await until(lambda: (station.held, station.ended, station.acting) == (0, 0, 0))
    assert started[WIDE : WIDE + 50] == parked
    assert sorted(started) == list(range(2 * WIDE))


async def test_a_worker_that_stops_hands_back_what_it_claimed_ahead(db: Database) -> None:
    started: list[int] = []
    async with working(db, [_stuck(asyncio.Event(), started)], slots=WIDE, shutdown_seconds=0.0) as worker:
        station = await _ahead(worker, db)
    assert (len(started), station.acting, len(station.parked)) == (WIDE, 0, 0)
    assert await one(db, "select bool_and(state = 'waiting' and attempt = 0) from mainstay.jobs")
    assert await one(db, "select count(*) from mainstay.jobs") == 2 * WIDE


async def test_who_waits_a_second_for_a_slot_is_put_back_for_other_workers(db: Database) -> None:
    is_let, started = asyncio.Event(), list[int]()
    async with working(db, [_stuck(is_let, started)], slots=WIDE) as worker:
        station = await _ahead(worker, db)
        station.pace = None
        station.ahead = 0
        for held in station.parked:
            held.started -= 1.0
        await until(lambda: one(db, "select count(*) = 100 from mainstay.jobs where state = 'waiting' and attempt = 0"))
        assert (station.held, len(station.parked), len(started)) == (WIDE, 0, WIDE)
        is_let.set()
        await until(lambda: one(db, "select not exists (select from mainstay.jobs)"))
    assert sorted(started) == list(range(2 * WIDE))


async def test_a_worker_that_was_declared_lost_forgets_what_it_claimed_ahead(db: Database) -> None:
    is_let, started = asyncio.Event(), list[int]()
    async with working(db, [_stuck(is_let, started)], slots=WIDE) as worker:
        station = await _ahead(worker, db)
        lost = worker.lease.id
        station.pace = None
        await one(db, "update mainstay.workers set ended_at = now() where id = $1 returning id", lost)
        await until(lambda: worker.lease.id != lost and (station.held, station.acting) == (50, 50))
        assert len(station.parked) == 0
        is_let.set()
