"""Pausing a kind of job while the others of its line run, and resuming it by and by."""

import asyncio
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs import kinds
from mainstay.jobs.errors import FigureRefused, KindNotFound
from mainstay.jobs.lanes import LaneBook, Take
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Task
from tests.jobs.conftest import OPERATOR, QUEUE, add, all_of, one, state_of, task, until, working

PAUSED, OTHER = "test.paused", "test.other"


class Two:
    """Two kinds in one queue, and what of them ran, in the order in which it began."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ran: list[tuple[str, int]] = []
        self.tasks: list[Task] = [task(self._run, kind=PAUSED), task(self._run, kind=OTHER), kinds.unpark_task(db)]
        self.queues = [jobs.QueueConfig(QUEUE, 10), jobs.QueueConfig(jobs.UPKEEP, 4)]

    async def _run(self, job: Job) -> None:
        self.ran.append((job.kind, job.id))

    def of(self, kind: str) -> list[int]:
        return [job for each, job in self.ran if each == kind]

    def working(self, **more: Any) -> Any:
        return working(self.db, self.tasks, queues=self.queues, **more)

    async def known(self) -> None:
        """The kinds have been told by a worker."""
        for each in (PAUSED, OTHER):
            await one(
                self.db,
                "insert into mainstay.job_kinds values ($1, $2, 5, 3, null, false, mainstay.now()) returning 1",
                each,
                QUEUE,
            )

    async def pause(self) -> None:
        async with self.db.begin() as tx:
            await kinds.pause_kind(tx, OPERATOR, PAUSED)

    async def resume(self, share: int = 100) -> None:
        async with self.db.begin() as tx:
            await kinds.resume_kind(tx, OPERATOR, PAUSED, share)

    async def fill(self, kind: str, count: int) -> list[int]:
        async with self.db.begin() as tx:
            return await jobs.enqueue_many(tx, kind, [None] * count, queue=QUEUE)


@pytest.fixture
async def two(db: Database) -> Two:
    found = Two(db)
    await found.known()
    return found


async def _counts(db: Database) -> dict[str, int]:
    return {
        row["state"]: row["jobs"]
        for row in await all_of(
            db, "select state, count(*) as jobs from mainstay.jobs where queue = $1 group by state", QUEUE
        )
    }


@pytest.mark.contract("DR-Q-12")
async def test_a_paused_kind_stays_waiting_while_others_run_and_resumes_at_a_tenth_and_then_whole(two: Two) -> None:
    await two.pause()
    first = await two.fill(PAUSED, 300)
    await two.fill(OTHER, 20)
    async with two.working():
        await until(lambda: len(two.of(OTHER)) == 20)
        assert two.of(PAUSED) == []
        assert (await jobs.stats(two.db))[QUEUE].waiting == 300
        assert await one(two.db, "select max(attempt) from mainstay.jobs where kind = $1", PAUSED) == 0

        await two.resume(10)
        later = await two.fill(PAUSED, 100)
        await two.fill(OTHER, 1)
        await until(lambda: len(two.of(PAUSED)) >= 38 and len(two.of(OTHER)) == 21)
        await until(lambda: _settled(two, 400))
        tenth = two.of(PAUSED)
        assert 38 <= len(tenth) <= 42
        assert {job for job in first + later if _bucket(job) < 10} == set(tenth)
        assert {job for job in later if job in tenth}

        await two.resume()
        await until(lambda: len(two.of(PAUSED)) == 400)
    left = [job for job in first + later if job not in tenth]
    assert [job for job in two.of(PAUSED) if job not in tenth] == left
    facts = await all_of(two.db, "select name, actor->>'name' as who, data from mainstay.announcements order by id")
    assert [(row["name"], row["who"]) for row in facts] == [
        ("kind.paused", "Olga"), ("kind.resumed", "Olga"), ("kind.resumed", "Olga")
    ]  # fmt: skip
    assert '"share": 10' in facts[1]["data"]
    assert await kinds.list_kind_pauses(two.db) == []


async def _settled(two: Two, count: int) -> bool:
    states = await _counts(two.db)
    return len(two.of(PAUSED)) + states.get("parked", 0) == count


def _bucket(job_id: int) -> int:
    return (((job_id & 0x7FFFFFFF) * 2654435761 & 0xFFFFFFFF) * 100) >> 32


async def test_those_behind_many_paused_ones_run_at_once_and_each_is_set_aside_once(two: Two) -> None:
    await two.pause()
    await one(two.db, """with n as (insert into mainstay.jobs (queue, kind, payload, lane)
                           select $1, $2, '1', case when g % 2 = 0 then 'a' else '' end from generate_series(1, 10000) g
                           returning 1) select count(*) from n""", QUEUE, PAUSED)  # fmt: skip
    behind = await two.fill(OTHER, 3)
    async with two.working(slots=2):
        await until(lambda: len(two.of(OTHER)) == 3)
        ends = await all_of(
            two.db, "select id, xmin::text from mainstay.jobs where state = 'parked' order by id limit 5"
        )
        listed = await jobs.list_jobs(two.db, queue=QUEUE, state="waiting", limit=5)
        await two.fill(OTHER, 1)
        await until(lambda: len(two.of(OTHER)) == 4)
        again = await all_of(
            two.db, "select id, xmin::text from mainstay.jobs where state = 'parked' order by id limit 5"
        )
    assert two.of(OTHER)[:3] == behind
    assert two.of(PAUSED) == []
    assert ends == again
    assert len(ends) == 5
    assert [job.kind for job in listed] == [PAUSED] * 5


async def _parked(db: Database) -> list[Any]:
    return await all_of(db, "select id, xmin::text from mainstay.jobs where state = 'parked' order by id limit 5")


async def test_a_pause_waits_for_claims_under_way_and_none_starts_after_its_commit(two: Two) -> None:
    await two.fill(PAUSED, 500)
    async with two.working():
        await until(lambda: len(two.of(PAUSED)) >= 50)
        await two.pause()
        started = await one(two.db, "select coalesce(max(epoch), 0) from mainstay.jobs where state = 'waiting'")
        ids = {
            row["id"]
            for row in await all_of(two.db, "select id from mainstay.jobs where state in ('waiting', 'parked')")
        }
        await add(two.db, OTHER)
        await until(lambda: two.of(OTHER))
    assert ids
    assert not ids.intersection(two.of(PAUSED))
    assert started == 0


async def test_while_a_pause_is_being_made_the_kind_rests_and_others_run(two: Two, other_db: Database) -> None:
    async with two.working():
        async with other_db.begin() as tx:
            await kinds.pause_kind(tx, OPERATOR, PAUSED)
            held = await add(two.db, PAUSED)
            await add(two.db, OTHER)
            await until(lambda: two.of(OTHER))
            assert await state_of(two.db, held) == "waiting"
        await add(two.db, OTHER)
        await until(lambda: len(two.of(OTHER)) == 2)
        await until(lambda: state_is(two.db, held, "parked"))
        async with other_db.begin() as tx:
            await kinds.resume_kind(tx, OPERATOR, PAUSED)
            await add(two.db, OTHER)
            await until(lambda: len(two.of(OTHER)) == 3)
        await until(lambda: two.of(PAUSED) == [held])


async def state_is(db: Database, job_id: int, state: str) -> bool:
    return await state_of(db, job_id) == state


async def test_what_a_broken_off_resume_left_parked_comes_back_and_paused_ones_stay(two: Two) -> None:
    parked, kept = await add(two.db, OTHER), await add(two.db, PAUSED)
    await two.pause()
    await one(two.db, "with p as (update mainstay.jobs set state = 'parked' returning 1) select count(*) from p")
    assert await kinds.unpark(two.db) == 1
    assert (await state_of(two.db, parked), await state_of(two.db, kept)) == ("waiting", "parked")
    async with two.db.begin() as tx:
        await jobs.cancel(tx, kept)
    assert await state_of(two.db, kept) == "cancelled"


@pytest.mark.parametrize("share", [-1, 0, 101])
async def test_a_share_is_one_to_a_hundred_and_the_kind_is_known(two: Two, share: int) -> None:
    async with two.db.begin() as tx:
        with pytest.raises(FigureRefused):
            await kinds.resume_kind(tx, OPERATOR, PAUSED, share)
        with pytest.raises(KindNotFound):
            await kinds.pause_kind(tx, OPERATOR, "nobody.knows")
        with pytest.raises(FigureRefused):
            await kinds.pause_kind(tx, OPERATOR, "jobs.unpark")


async def test_pausing_twice_and_resuming_what_runs_is_told_of_once(two: Two) -> None:
    await two.resume()
    await asyncio.gather(two.pause(), two.pause())
    assert [(each.kind, each.share, each.paused_by) for each in await kinds.list_kind_pauses(two.db)] == [
        (PAUSED, 0, "Olga")
    ]
    assert await one(two.db, "select array_agg(name) from mainstay.announcements") == ["kind.paused"]


def test_a_line_is_passed_over_as_far_as_it_was_looked_at() -> None:
    book = LaneBook()
    for lane, pos in (("in", 5), ("before", 1), ("behind", 9)):
        book.learn(5, lane, pos)
    for lane in ("in", "before", "behind", "unknown"):
        book.pass_over(5, lane, 3, 8)
    assert book.plan(3) == [Take(5, "in", 8, 1), Take(5, "before", 1, 1), Take(5, "behind", 9, 1)]
    book.claimed([Take(5, "in", 8, 3)], {(5, "in"): (3, 10)}, {(5, "in"): 2})
    assert book.running("in") == 1
