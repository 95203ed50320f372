"""Queues: how many run at once, which goes first, what is in them."""

import asyncio
from datetime import timedelta

import pytest

from mainstay import jobs
from mainstay.jobs.queues import concurrency_of
from mainstay.kernel.db import Database
from mainstay.kernel.work import Discard, Job, Outcome, Retry
from tests.jobs.conftest import OPERATOR, add, one, task, until, working


@pytest.mark.parametrize(
    ("base", "email", "webhook", "workflow", "report"),
    [
        (None, 20, 200, 10, 2),
        (5, 5, 10, 3, 2),
        (1, 1, 2, 1, 1),
        (2, 2, 4, 1, 1),
        (10, 10, 20, 6, 4),
        (100, 100, 200, 60, 40),
    ],
)
def test_the_base_is_shared_out_1_2_06_04(
    base: int | None, email: int, webhook: int, workflow: int, report: int
) -> None:
    queues = (jobs.EMAIL, jobs.WEBHOOK, jobs.WORKFLOW, jobs.REPORT)
    assert [concurrency_of(queue, base, {}) for queue in queues] == [email, webhook, workflow, report]
    assert concurrency_of(jobs.UPKEEP, base, {}) == 4
    assert concurrency_of(jobs.EMAIL, base, {jobs.EMAIL: 7}) == 7


def test_every_documented_queue_is_served_with_its_priority() -> None:
    served = {config.name: config.priority for config in jobs.queue_configs(5, {}, extra=["mine"])}
    assert served == {
        jobs.EMAIL: 1, jobs.WEBHOOK: 5, jobs.WORKFLOW: 5, jobs.REPORT: 10, jobs.UPKEEP: 5, "mainstay:archive": 10,
        "mainstay:streams": 5, jobs.FUNCTIONS: 5,
        "mine": 5,
    }  # fmt: skip


async def _most_active(db: Database, queue: str, base: int | None, count: int, wanted: int) -> int:
    """How many of `count` slow jobs were active at once, as the job table and as the handlers saw it."""
    active = most = 0
    is_let = asyncio.Event()

    async def run(_: Job) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await is_let.wait()
        await asyncio.sleep(0.02)
        active -= 1

    async def count_active() -> int:
        return await one(db, "select count(*) from mainstay.jobs where state = 'active'")

    async def is_full() -> bool:
        return await count_active() >= wanted and active >= wanted

    slow = task(run, queue=queue)
    async with db.begin() as tx:
        await jobs.enqueue_many(tx, slow, range(count))
    in_table = 0
    async with working(db, [slow], queues=jobs.queue_configs(base)):
        await until(is_full)
        in_table = await count_active()
        is_let.set()
        while await one(db, "select count(*) from mainstay.finished_jobs") < count:
            in_table = max(in_table, await count_active())
            await asyncio.sleep(0.002)
    assert in_table == most
    return most


@pytest.mark.contract("NP-Q-03")
async def test_twenty_slow_emails_never_more_than_five_active(db: Database) -> None:
    assert await _most_active(db, jobs.EMAIL, 5, 20, 5) == 5


@pytest.mark.contract("NP-Q-07")
async def test_forty_slow_webhook_jobs_at_most_ten_active(db: Database) -> None:
    assert await _most_active(db, jobs.WEBHOOK, 5, 40, 10) == 10


@pytest.mark.contract("NP-Q-11")
async def test_workflow_jobs_at_most_three_active(db: Database) -> None:
    assert await _most_active(db, jobs.WORKFLOW, 5, 10, 3) == 3


@pytest.mark.contract("NP-Q-15")
async def test_report_jobs_at_most_two_active(db: Database) -> None:
    assert await _most_active(db, jobs.REPORT, 5, 8, 2) == 2


@pytest.mark.contract("NP-Q-20", "NP-C-02")
@pytest.mark.parametrize("base", [2, 8])
async def test_changing_the_base_changes_how_many_are_active(db: Database, base: int) -> None:
    assert await _most_active(db, jobs.EMAIL, base, 20, base) == base


@pytest.mark.contract("NP-Q-02")
@pytest.mark.contract("NP-Q-06")
@pytest.mark.contract("NP-Q-10")
@pytest.mark.contract("NP-Q-14")
async def test_with_one_slot_email_starts_before_webhook_and_workflow_and_those_before_report(db: Database) -> None:
    order: list[str] = []

    is_late_in_line = asyncio.Event()

    async def run(job: Job) -> None:
        order.append(job.queue)
        if len(order) == 4:
            await is_late_in_line.wait()

    queues = (jobs.REPORT, jobs.WORKFLOW, jobs.WEBHOOK, jobs.EMAIL)
    tasks = [task(run, kind=queue, queue=queue) for queue in queues]
    for each in tasks:
        for _ in range(2):
            await add(db, each)
    async with working(db, tasks, queues=jobs.queue_configs()[::-1], total_slots=1):
        await until(lambda: len(order) == 4)
        await add(db, tasks[-1])
        is_late_in_line.set()
        await until(lambda: len(order) == 9)
    assert order[:2] == [jobs.EMAIL] * 2
    assert order[4] == jobs.EMAIL
    rest = order[2:4] + order[5:]
    assert set(rest[:4]) == {jobs.WEBHOOK, jobs.WORKFLOW}
    assert rest[4:] == [jobs.REPORT] * 2


async def test_queues_of_one_priority_share_the_slots(db: Database) -> None:
    order: list[str] = []

    async def run(job: Job) -> None:
        order.append(job.queue)
        await asyncio.sleep(0.01)

    tasks = [task(run, kind=queue, queue=queue) for queue in (jobs.WEBHOOK, jobs.WORKFLOW)]
    async with db.begin() as tx:
        for each in tasks:
            await jobs.enqueue_many(tx, each, range(20))
    async with working(db, tasks, queues=jobs.queue_configs(), total_slots=2):
        await until(lambda: len(order) == 40)
    # Ends are told in the order in which they come, so a queue may be a job or two ahead of the other.
    assert min(order[:20].count(queue) for queue in (jobs.WEBHOOK, jobs.WORKFLOW)) >= 7


@pytest.mark.contract("NP-Q-01")
async def test_an_email_job_shows_in_its_queue_only(db: Database) -> None:
    await add(db, "mail", queue=jobs.EMAIL)
    stats = await jobs.stats(db)
    assert {name: each.waiting for name, each in stats.items() if each.waiting} == {jobs.EMAIL: 1}


async def test_stats_match_what_was_queued_and_done(db: Database) -> None:
    is_let = asyncio.Event()

    async def run(job: Job) -> Outcome:
        if job.payload == "hold":
            await is_let.wait()
        if job.payload == "retry":
            raise Retry(after=timedelta(hours=1))
        return Discard("dead") if job.payload == "dead" else None

    each = task(run, queue=jobs.EMAIL)
    for payload, count in (("ok", 3), ("hold", 2), ("retry", 4), ("dead", 5)):
        for _ in range(count):
            await add(db, each, payload)
    async with working(db, [each], queues=[jobs.QueueConfig(jobs.EMAIL, 50)]):
        await until(lambda: _settled(db, 3, 9))
        async with db.begin() as tx:
            await jobs.pause(tx, OPERATOR, jobs.EMAIL)
        for _ in range(6):
            await add(db, each, "wait")
            await add(db, each, "later", delay=timedelta(hours=1))
        stats = (await jobs.stats(db))[jobs.EMAIL]
        counts = (stats.waiting, stats.delayed, stats.active, stats.retrying, stats.completed, stats.dead, stats.paused)
        assert counts == (6, 6, 2, 4, 3, 5, True)
        assert (await jobs.stats(db, bound=4))[jobs.EMAIL].waiting == 4
        is_let.set()


async def _settled(db: Database, completed: int, others: int) -> bool:
    stats = (await jobs.stats(db))[jobs.EMAIL]
    return stats.completed == completed and stats.retrying + stats.dead == others


async def test_stats_count_no_further_than_their_bound(db: Database) -> None:
    await one(
        db,
        """insert into mainstay.jobs (queue, kind, payload)
           select 'nova:email', 'k', '1' from generate_series(1, 100001) returning 1""",
    )
    assert (await jobs.stats(db))[jobs.EMAIL].waiting == 100_000


def test_a_worker_refuses_what_makes_no_sense(db: Database) -> None:
    async def run(_: Job) -> None: ...

    some = jobs.QueueConfig("q", 1)
    for wrong in (
        {"tasks": [task(run), task(run)], "queues": [some]},
        {"tasks": [], "queues": []},
        {"tasks": [], "queues": [some, some]},
        {"tasks": [], "queues": [some], "total_slots": 0},
        {"tasks": [], "queues": [some], "schedules": jobs.schedules()},
    ):
        with pytest.raises(ValueError, match=r"needs|name kinds"):
            jobs.Worker(db, wrong.pop("tasks"), **wrong)  # type: ignore[arg-type]
    for wrong_queue in (("", 1), ("x" * 101, 1), ("q", 0)):
        with pytest.raises(ValueError, match="needs a name"):
            jobs.QueueConfig(*wrong_queue)
    with pytest.raises(ValueError, match="two heartbeats"):
        jobs.Timing(heartbeat=4, lease=6)
