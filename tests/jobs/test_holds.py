"""Hold: a job goes back to its own place, and this worker leaves its lane alone for the time given."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs.lanes import LINES_PER_PLAN, LaneBook, Take
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Batch, Hold, Job, Outcome, Task
from tests.jobs.conftest import QUEUE, add, all_of, one, state_of, task, until, working

MS = timedelta(milliseconds=1)


def test_a_lane_on_hold_is_not_planned_before_its_time_and_keeps_what_is_learnt() -> None:
    book = LaneBook()
    book.learn(5, "a", 4)
    book.learn(9, "a", 6)
    book.hold("a", until=10.0)
    book.learn(5, "b", 7)
    book.learn(5, "a", 2)
    assert book.plan(2, 9.9) == [Take(5, "b", 7, 2)]
    assert book.end_holds(9.5) == 0.5
    assert book.end_holds(10.0) == 0.0
    assert book.plan(3, 10.0) == [Take(5, "b", 7, 2), Take(5, "a", 2, 1)]
    assert len(book) == 3


def test_a_later_hold_replaces_an_earlier_one() -> None:
    book = LaneBook()
    book.learn(5, "a", 1)
    book.hold("a", until=10.0)
    book.hold("a", until=20.0)
    assert book.plan(1, 15.0) == []
    book.hold("a", until=16.0)
    assert book.plan(1, 16.0) == [Take(5, "a", 1, 1)]


def test_a_job_that_ends_does_not_end_the_hold_of_its_lane() -> None:
    book = LaneBook(lane_limit=1)
    book.learn(5, "a", 1)
    book.claimed(book.plan(1), {(5, "a"): (1, 1)})
    assert book.plan(1) == []
    book.hold("a", until=10.0)
    book.ended("a")
    assert book.plan(1, 5.0) == []
    assert book.plan(1, 10.0) == [Take(5, "a", 2, 1)]


def test_a_thousand_lanes_on_hold_are_not_in_the_way() -> None:
    book = LaneBook()
    for lane in range(1000):
        book.learn(5, f"held{lane}", 1)
        book.hold(f"held{lane}", until=10.0)
    book.learn(5, "new", 1)
    assert book.plan(LINES_PER_PLAN, 1.0) == [Take(5, "new", 1, LINES_PER_PLAN)]
    assert book.has_turn
    book.claimed([Take(5, "new", 1, 10)], {})
    assert not book.has_turn


def test_holds_that_are_replaced_again_and_again_take_no_room() -> None:
    book = LaneBook()
    for n in range(10_000):
        book.hold("a", until=1_000.0 + n)
    assert len(book._hold_ends) < 200
    book.learn(5, "a", 1)
    assert book.plan(1, 10_998.0) == []
    assert book.plan(1, 10_999.0) == [Take(5, "a", 1, 1)]


def test_a_lower_place_learnt_while_a_claim_was_under_way_is_kept() -> None:
    for count in (0, 1):
        book = LaneBook()
        book.learn(5, "a", 9)
        takes = book.plan(1)
        book.learn(5, "a", 3)
        book.claimed(takes, {(5, "a"): (count, 9)} if count else {})
        assert book.plan(1) == [Take(5, "a", 3, 1)]


def test_a_limit_that_is_asked_for_is_asked_by_lane_and_again_when_it_said_none() -> None:
    limits = {"a": 2, "b": 0}
    book = LaneBook(lambda lane: limits[lane])
    for lane in ("a", "b", ""):
        book.learn(5, lane, 1)
    assert book.plan(10, 1.0) == [Take(5, "a", 1, 2), Take(5, "", 1, 8)]
    limits["b"] = -1
    assert Take(5, "b", 1, 1) not in book.plan(3, 5.0)
    limits["b"] = 1
    assert Take(5, "b", 1, 1) not in book.plan(3, 5.1)
    assert Take(5, "b", 1, 1) in book.plan(3, 5.3)


def test_a_limit_that_is_asked_for_frees_its_lane_at_once_when_a_job_ends() -> None:
    book = LaneBook(lambda _: 1)
    book.learn(5, "a", 1)
    book.claimed(book.plan(5, 1.0), {(5, "a"): (1, 1)})
    assert book.plan(5, 1.0) == []
    book.ended("a")
    assert book.plan(5, 1.0) == [Take(5, "a", 2, 1)]


async def test_a_held_job_keeps_its_place_and_its_attempt_and_its_lane_rests(db: Database) -> None:
    starts: list[tuple[int, int, int]] = []

    async def run(job: Job) -> Outcome:
        starts.append((job.payload, job.attempt, job.epoch))
        if len(starts) == 1:
            raise Hold(timedelta(hours=1), "too fast")
        return None

    made = [await add(db, "test.kind", n, lane="l", attempts=1) for n in range(3)]
    before = await all_of(db, "select id, pos from mainstay.jobs order by id")
    async with working(db, [task(run, lane_limit=1)]) as worker:
        await until(lambda: _back(db, made[0]))
        await until(lambda: not worker._held)
        (row,) = await all_of(db, "select state, attempt, epoch, worker_id, started_at from mainstay.jobs where id = $1", made[0])  # fmt: skip  # noqa: E501
        assert tuple(row) == ("waiting", 0, 2, None, None)
        assert await all_of(db, "select id, pos from mainstay.jobs order by id") == before
        assert len(starts) == 1
        worker.claimer.stations[0].book.hold("l", until=time.monotonic())
        worker._wake.set()
        await until(lambda: _done(db, 3))
    assert [payload for payload, _, _ in starts] == [0, 0, 1, 2]
    assert [(attempt, epoch) for _, attempt, epoch in starts[:2]] == [(1, 1), (1, 3)]
    assert await one(db, "select count(*) from mainstay.job_attempts") == 0


async def _back(db: Database, job: int) -> bool:
    return bool(await one(db, "select 1 from mainstay.jobs where id = $1 and epoch = 2", job))


async def _done(db: Database, count: int) -> bool:
    return await one(db, "select count(*) from mainstay.finished_jobs") == count


async def test_other_lanes_and_other_workers_go_on(db: Database, other_db: Database) -> None:
    seen: list[tuple[str, str]] = []

    def runner(who: str) -> Any:
        async def run(job: Job) -> Outcome:
            seen.append((who, job.lane))
            return Hold(timedelta(minutes=5)) if (who, job.lane) == ("first", "held") else None

        return run

    job = await add(db, "test.kind", lane="held")
    async with working(db, [task(runner("first"))]):
        await until(lambda: ("first", "held") in seen)
        for n in range(20):
            await add(db, "test.kind", lane=f"l{n % 4}")
        await until(lambda: _done(db, 20))
        await asyncio.sleep(1.3)
        assert seen.count(("first", "held")) == 1
        async with working(other_db, [task(runner("second"))]):
            await until(lambda: _is(db, job, "completed"))
    assert ("second", "held") in seen


async def _is(db: Database, job: int, state: str) -> bool:
    return await state_of(db, job) == state


async def test_a_hold_ends_in_time_though_nothing_wakes_the_worker(db: Database) -> None:
    starts: list[float] = []

    async def run(_: Job) -> Outcome:
        starts.append(time.monotonic())
        return Hold(150 * MS) if len(starts) == 1 else None

    timing = jobs.Timing(busy_for=0.01, poll_idle=30.0, poll_deaf=30.0, promote=20.0)
    async with working(db, [task(run)], timing=timing) as worker:
        await until(lambda: worker.lease.worker_id)
        await add(db, "test.kind", lane="l")
        worker._wake.set()
        await until(lambda: len(starts) == 2)
    assert starts[1] - starts[0] >= 0.15


async def test_in_no_lane_a_hold_is_a_snooze(db: Database) -> None:
    ran = []

    async def run(job: Job) -> Outcome:
        ran.append(job.payload)
        return Hold(timedelta(hours=1)) if job.payload == "held" else None

    held = await add(db, "test.kind", "held")
    async with working(db, [task(run)]):
        await until(lambda: _is(db, held, "delayed"))
        free = await add(db, "test.kind", "free")
        await until(lambda: _is(db, free, "completed"))
    assert await one(db, "select attempt from mainstay.jobs where id = $1", held) == 0


async def test_a_batch_records_what_was_held_and_acknowledges_it_with_the_rest(db: Database) -> None:
    held: set[int] = set()
    recorded: list[tuple[int, str, str]] = []

    async def load(batch: Sequence[Job]) -> Mapping[int, Any]:
        return {job.id: None for job in batch}

    async def act(job: Job, _: Any) -> tuple[Outcome, Any]:
        if job.payload % 2 and job.id not in held:
            held.add(job.id)
            return Hold(50 * MS), "held"
        return None, "sent"

    async def record(_: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        recorded.extend((job.payload, result, type(outcome).__name__) for job, result, outcome in results)

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(20), queue=QUEUE, lanes=[f"l{n % 5}" for n in range(20)])
    async with working(db, [Task(kind="test.kind", queue=QUEUE, batch=Batch(load, act, record))], slots=20):
        await until(lambda: _done(db, 20))
    assert sorted(recorded) == sorted(
        [(n, "sent", "NoneType") for n in range(20)] + [(n, "held", "Hold") for n in range(1, 20, 2)]
    )


@pytest.mark.parametrize("is_raised", [True, False])
async def test_a_handler_in_a_transaction_may_hold(db: Database, is_raised: bool) -> None:
    await one(db, "create table mainstay.effects (n int)")
    starts: list[float] = []

    async def run(tx: Tx, _: Job) -> Outcome:
        starts.append(time.monotonic())
        await one(tx, "insert into mainstay.effects values ($1)", len(starts))
        if len(starts) == 1 and is_raised:
            raise Hold(300 * MS)
        return Hold(300 * MS) if len(starts) == 1 else None

    await add(db, "test.kind", lane="l")
    async with working(db, [Task(kind="test.kind", queue=QUEUE, run_in_tx=run)]):
        await until(lambda: _done(db, 1))
    assert starts[1] - starts[0] >= 0.3
    effects = [row["n"] for row in await all_of(db, "select n from mainstay.effects order by n")]
    assert effects == ([2] if is_raised else [1, 2])


async def test_a_worker_asks_each_lane_for_its_limit(db: Database) -> None:
    limits = {"one": 1, "three": 3, "none": 0}
    active = dict.fromkeys(limits, 0)
    most = dict.fromkeys(limits, 0)

    async def run(job: Job) -> None:
        active[job.lane] += 1
        most[job.lane] = max(most[job.lane], active[job.lane])
        await asyncio.sleep(0.01)
        active[job.lane] -= 1

    async def never(_: Job) -> None: ...

    lanes = [lane for lane in limits for _ in range(8)]
    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(24), queue=QUEUE, lanes=lanes)
    tasks = [
        task(run, lane_limit=lambda lane: limits[lane] if lane == "one" else 9),
        task(never, kind="test.other", lane_limit=lambda lane: limits[lane]),
        task(never, kind="test.third", lane_limit=5),
    ]
    async with working(db, tasks, slots=20):
        await until(lambda: _done(db, 16))
        await asyncio.sleep(0.3)
        assert most == {"one": 1, "three": 3, "none": 0}
        limits["none"] = 2
        await until(lambda: _done(db, 24))
    assert most["none"] == 2


async def test_what_a_handler_writes_after_a_lost_lease_does_not_commit(db: Database) -> None:
    await one(db, "create table mainstay.effects (n int)")
    lost: list[BaseException] = []
    is_stolen = asyncio.Event()

    async def run(job: Job) -> None:
        if job.epoch > 1:
            return
        for n in (1, 2):
            async with db.begin() as tx:
                await one(tx, "insert into mainstay.effects values ($1)", n)
                try:
                    await jobs.confirm(tx, job)
                except jobs.LeaseLost as error:
                    lost.append(error)
                    raise
            await is_stolen.wait()

    job = await add(db, "test.kind", lane="l")
    async with working(db, [task(run)]):
        await until(lambda: one(db, "select 1 from mainstay.effects"))
        await one(
            db, "update mainstay.jobs set epoch = epoch + 1, state = 'waiting', worker_id = null where id = $1", job
        )
        is_stolen.set()
        await until(lambda: _is(db, job, "completed"))
        await until(lambda: lost)
    assert len(lost) == 1
    assert [row["n"] for row in await all_of(db, "select n from mainstay.effects")] == [1]
    assert await one(db, "select count(*) from mainstay.job_attempts") == 0


async def test_nobody_takes_a_job_away_between_its_confirmation_and_the_commit(
    db: Database, other_db: Database
) -> None:
    is_let, has_confirmed = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        async with db.begin() as tx:
            await jobs.confirm(tx, job)
            has_confirmed.set()
            await is_let.wait()

    job = await add(db, "test.kind")
    async with working(db, [task(run)]):
        await has_confirmed.wait()
        take = (
            "update mainstay.jobs set epoch = epoch + 1, state = 'waiting', worker_id = null where id = $1 returning 1"
        )
        taking = asyncio.create_task(one(other_db, take, job))
        await asyncio.sleep(0.1)
        assert not taking.done()
        assert await one(db, "select epoch from mainstay.jobs where id = $1", job) == 1
        is_let.set()
        assert await taking == 1 or await _is(db, job, "completed")
        await until(lambda: _is(db, job, "completed"))


async def test_a_confirmed_transaction_may_not_stand_idle_for_ever(db: Database) -> None:
    async def run(job: Job) -> None:
        async with db.begin() as tx:
            seen.append(await one(tx, "show idle_in_transaction_session_timeout"))
            await jobs.confirm(tx, job)
            seen.append(await one(tx, "show idle_in_transaction_session_timeout"))
        seen.append(await one(db, "show idle_in_transaction_session_timeout"))

    seen: list[str] = []
    job = await add(db, "test.kind")
    async with working(db, [task(run)]):
        await until(lambda: _is(db, job, "completed"))
    assert seen == ["0", "10s", "0"]
