"""Handlers side by side: what never waits shares a task and notices nothing of it; the rest have one each."""

import asyncio
import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from mainstay import jobs
from mainstay.jobs.claiming import Station
from mainstay.jobs.held import Held
from mainstay.jobs.lanes import LaneBook
from mainstay.jobs.running import Runner
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Retry
from tests.jobs.conftest import QUEUE, add, one, task, until, working

_TRADE: ContextVar[str] = ContextVar("trade", default="none")


async def _add_many(db: Database, payloads: range) -> None:
    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", payloads, queue=QUEUE)


async def _is_empty(db: Database) -> bool:
    return await one(db, "select not exists (select from mainstay.jobs)")


async def test_what_a_handler_leaves_in_its_context_no_other_meets(db: Database) -> None:
    met: list[str] = []

    async def run(job: Job) -> None:
        met.append(_TRADE.get())
        _TRADE.set(f"{job.payload}")

    await _add_many(db, range(20))
    async with working(db, [task(run)], slots=20):
        await until(lambda: _is_empty(db))
    assert met == ["none"] * 20


async def test_each_handler_works_under_the_trace_of_its_own_job(db: Database) -> None:
    met: dict[str, str] = {}

    async def run(job: Job) -> None:
        met[job.trace_id] = telemetry.current_trace().trace_id

    for n in range(10):
        telemetry.enter_trace(telemetry.Trace(f"{n + 1:032x}", "1" * 16, ""))
        await add(db, "test.kind", n)
    async with working(db, [task(run)], slots=10):
        await until(lambda: _is_empty(db))
    assert met == {f"{n + 1:032x}": f"{n + 1:032x}" for n in range(10)}


async def test_handlers_that_wait_hold_up_none_of_those_claimed_with_them(db: Database) -> None:
    """All hundred wait for each other, every second one after some that did not wait at all."""
    here = 0
    everyone = asyncio.Event()

    async def run(job: Job) -> None:
        nonlocal here
        if job.payload % 2:
            return
        here += 1
        if here == 50:
            everyone.set()
        await everyone.wait()

    await _add_many(db, range(100))
    async with working(db, [task(run)], slots=100):
        await until(lambda: _is_empty(db))
    assert everyone.is_set()
    assert await one(db, "select count(*) from mainstay.finished_jobs where attempt = 1") == 100


async def test_a_cancellation_meets_the_job_that_it_was_meant_for_alone(db: Database) -> None:
    """One job cancels itself and ends without noticing; those that follow it then wait, and are not cancelled."""
    cancelled = asyncio.Event()

    async def run(job: Job) -> None:
        if job.payload == 0:
            handle = asyncio.current_task()
            assert handle is not None
            handle.cancel()
            cancelled.set()
        elif job.payload > 5:
            await asyncio.sleep(0.01)

    await _add_many(db, range(20))
    async with working(db, [task(run)], slots=20):
        await until(lambda: _is_empty(db))
    assert cancelled.is_set()
    assert await one(db, "select count(*) from mainstay.job_attempts") == 0
    assert await one(db, "select count(*) from mainstay.finished_jobs") == 20


async def test_jobs_that_never_wait_leave_the_loop_its_turns(db: Database) -> None:
    """Hundreds of handlers that keep the processor for a millisecond each: in between, the worker's loops come up."""
    ran, seen = 0, [0]

    async def run(_: Job) -> None:
        nonlocal ran
        ran += 1
        asyncio.get_running_loop().call_soon(lambda: seen.append(ran))
        time.sleep(0.001)

    await _add_many(db, range(300))
    async with working(db, [task(run)], slots=300):
        await until(lambda: _is_empty(db))
    assert ran == 300
    assert max(after - before for before, after in pairwise(seen)) < 50


async def test_a_job_in_line_is_not_late_before_it_has_begun() -> None:
    async def run(_: Job) -> None:
        await asyncio.Event().wait()

    ended: list[Held] = []
    body = task(run, timeout=timedelta(0))
    runner = Runner(
        Database("postgresql://nobody@127.0.0.1:1/none"),
        {body.kind: body},
        ended=ended.append,
        settle=lambda tx, helds: asyncio.sleep(0, set()),
        release=lambda helds: None,
        connections=1,
    )
    row = (1, body.kind, "null", 1, 3, 1, "", None, "", datetime.now(UTC), 5, 1, None)
    runner.start(Station(jobs.QueueConfig(QUEUE, 1), LaneBook()), [row])  # type: ignore[list-item]
    assert await runner.watch_once() == 0
    await asyncio.sleep(0.01)
    assert await runner.watch_once() == 1
    await until(lambda: ended)
    assert ended[0].failure == "timeout"


async def test_every_end_is_in_the_metrics(db: Database) -> None:
    """Times are counted by bucket, and only those above a second in the last ones."""

    def sample(name: str, **labels: str) -> float:
        return telemetry.REGISTRY.get_sample_value(name, {"queue": QUEUE, **labels}) or 0.0

    async def run(job: Job) -> None | Retry:
        if job.payload >= 8:
            await asyncio.sleep(0.03)
            return Retry("not now")
        return None

    names = ("queue_job_duration_seconds_count", "queue_job_duration_seconds_sum", "queue_job_errors_total")
    before = [sample(name) for name in names]
    completed = sample("queue_jobs_total", outcome="completed")
    quick = sample("queue_job_duration_seconds_bucket", le="0.025")
    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(10), queue=QUEUE, attempts=1)
    async with working(db, [task(run)]):
        await until(lambda: _is_empty(db))
        await until(lambda: sample(names[0]) - before[0] == 10)
    _, seconds, errors = (sample(name) - was for name, was in zip(names, before, strict=True))
    assert errors == 2
    assert seconds >= 0.06
    assert sample("queue_jobs_total", outcome="completed") - completed == 8
    assert sample("queue_job_duration_seconds_bucket", le="0.025") - quick <= 8
