"""What operators set while workers run: slots."""

import asyncio

import pytest

from mainstay import jobs
from mainstay.jobs.claiming import WIDE
from mainstay.jobs.errors import FigureRefused, QueueNotFound
from mainstay.jobs.memory import share, share_of_machine
from mainstay.jobs.queues import set_concurrency
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Batch, Job, Outcome, Task
from tests.jobs.conftest import OPERATOR, QUEUE, all_of, one, task, until, working


class Gated:
    """A handler that lets jobs through one by one, and how many of them act."""

    def __init__(self) -> None:
        self.acting = 0
        self.done: list[int] = []
        self.gate = asyncio.Semaphore(0)

    async def run(self, job: Job) -> None:
        self.acting += 1
        await self.gate.acquire()
        self.acting -= 1
        self.done.append(job.id)

    async def act(self, job: Job, _: object) -> tuple[Outcome, None]:
        await self.run(job)
        return None, None

    def let(self, count: int) -> None:
        for _ in range(count):
            self.gate.release()


async def _set(db: Database, slots: int | None) -> None:
    async with db.begin() as tx:
        await set_concurrency(tx, OPERATOR, QUEUE, slots)


@pytest.mark.contract("DR-Q-13")
async def test_slots_are_raised_and_lowered_while_jobs_run_and_none_is_lost(db: Database) -> None:
    gated = Gated()
    async with db.begin() as tx:
        ids = await jobs.enqueue_many(tx, "test.kind", [None] * 30, queue=QUEUE)
    async with working(db, [task(gated.run)], slots=2):
        await until(lambda: gated.acting == 2)
        await _set(db, 6)
        await until(lambda: gated.acting == 6)
        assert (await jobs.stats(db))[QUEUE].concurrency == 6
        await _set(db, 3)
        beat = await one(db, "select heartbeat_at from mainstay.workers")
        await until(lambda: _has_beaten(db, beat))
        assert gated.acting == 6
        gated.let(3)
        await until(lambda: len(gated.done) == 3)
        assert gated.acting == 3
        gated.let(2)
        await until(lambda: len(gated.done) == 5 and gated.acting == 3)
        await _set(db, None)
        gated.let(25)
        await until(lambda: len(gated.done) == 30)
        assert (await jobs.stats(db))[QUEUE].concurrency is None
    assert sorted(gated.done) == ids
    facts = await all_of(db, "select name, data->>'concurrency' as slots from mainstay.announcements order by id")
    assert {row["name"] for row in facts} == {"queue.concurrency_changed"}
    assert [row["slots"] for row in facts] == ["6", "3", None]


async def _has_beaten(db: Database, before: object) -> bool:
    """A whole heartbeat began and ended since."""
    later = await one(db, "select heartbeat_at from mainstay.workers where heartbeat_at > $1::timestamptz + interval '0.3 s'", before)  # fmt: skip  # noqa: E501
    return later is not None


async def test_a_wide_queue_made_narrow_and_wide_again_loses_nobody(db: Database) -> None:
    gated = Gated()

    async def load(loaded: list[Job]) -> dict[int, None]:
        return {job.id: None for job in loaded}

    async def record(_: Tx, __: object) -> None:
        return None

    batch = Batch(load=load, act=gated.act, record=record)  # type: ignore[arg-type]
    async with db.begin() as tx:
        ids = await jobs.enqueue_many(tx, "test.kind", [None] * 600, queue=QUEUE)
    async with working(db, [Task(kind="test.kind", queue=QUEUE, batch=batch)], slots=WIDE) as worker:
        (station,) = worker.claimer.stations
        await until(lambda: gated.acting == WIDE)
        assert station.pace is not None
        await _set(db, 5)
        await until(lambda: station.config.concurrency == 5)
        assert station.pace is None
        gated.let(WIDE)
        await until(lambda: len(gated.done) >= WIDE and gated.acting == 5)
        await _set(db, 2 * WIDE)
        await until(lambda: gated.acting == 2 * WIDE)
        assert station.pace is not None
        gated.let(600)
        await until(lambda: len(gated.done) == 600)
    assert sorted(gated.done) == ids


@pytest.mark.parametrize("slots", [-1, 0, 10_001])
async def test_slots_outside_their_bounds_are_refused(db: Database, slots: int) -> None:
    with pytest.raises(FigureRefused):
        await _set(db, slots)


async def test_slots_are_for_queues_that_there_are_and_at_most_ten_thousand(db: Database) -> None:
    with pytest.raises(QueueNotFound):
        await _set(db, 1)
    async with db.begin() as tx:
        for slots in (10_000, 10_000, 1):
            await set_concurrency(tx, OPERATOR, jobs.EMAIL, slots)
    email = (await jobs.stats(db))[jobs.EMAIL]
    assert (email.concurrency, email.concurrency_by) == (1, "Olga")
    assert email.concurrency_at is not None
    assert await one(db, "select count(*) from mainstay.announcements") == 2


def test_how_full_memory_is_comes_from_the_machine() -> None:
    assert share_of_machine("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n") == 0.75
    assert share_of_machine("MemFree: 1 kB\n") is None
    assert 0 < (share() or 0) <= 1
