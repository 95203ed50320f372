"""The engine's own upkeep: partitions, expiry, folding."""

from collections.abc import Sequence
from datetime import timedelta

from mainstay.jobs import bulk, kinds
from mainstay.jobs.dead import KEPT
from mainstay.jobs.queries import bulk as bulk_rows
from mainstay.jobs.queries import by_hand
from mainstay.jobs.queries import dead as dead_rows
from mainstay.jobs.queries import queues as queue_rows
from mainstay.jobs.queries import schedules as schedule_rows
from mainstay.jobs.queries import workers as worker_rows
from mainstay.jobs.queues import UPKEEP
from mainstay.jobs.stats import DEPTHS_KEPT
from mainstay.kernel import partitions
from mainstay.kernel.db import Database
from mainstay.kernel.partitions import Partitioned
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Task

PARTITIONED = [
    Partitioned("finished_jobs", "time", "week", ahead=4, keep=timedelta(days=30)),
    Partitioned("job_attempts", "time", "week", ahead=4, keep=timedelta(days=60)),
]
_HISTORY_KEPT = timedelta(days=30)
_RUNS_KEPT, _RUNS_KEPT_MOST = timedelta(days=2), 1_000
_SCHEDULES_KEPT = timedelta(days=1)
_BATCH = 1_000
_PERIODS = {
    "jobs.partitions": timedelta(hours=1),
    "jobs.expire": timedelta(hours=1),
    "jobs.fold": timedelta(minutes=1),
}


def tasks(db: Database, specs: Sequence[Partitioned]) -> list[Task]:
    """The tasks that keep the given tables partitioned and the engine's own tables small."""

    async def keep_partitions(_: Job) -> None:
        async with db.begin() as tx:
            await partitions.ensure(tx, list(specs))
        for spec in specs:
            async with db.begin() as tx:
                await partitions.drop_expired(tx, spec)

    async def expire(_: Job) -> None:
        while await dead_rows.expire_dead_everywhere(db, KEPT, _BATCH) == _BATCH:
            pass
        await schedule_rows.prune_history_everywhere(db, _HISTORY_KEPT, _RUNS_KEPT, _RUNS_KEPT_MOST)
        await schedule_rows.prune_schedules_everywhere(db, _SCHEDULES_KEPT)
        await queue_rows.cut_minutes_everywhere(db, DEPTHS_KEPT)
        await worker_rows.prune_workers_everywhere(db, _HISTORY_KEPT)
        await bulk_rows.prune_acts_everywhere(db, bulk.KEPT)
        await by_hand.prune_everywhere(db, _HISTORY_KEPT)

    async def fold(_: Job) -> None:
        await queue_rows.fold_tallies_everywhere(db, _HISTORY_KEPT)
        await kinds.unpark(db)

    async def work_on(job: Job) -> Outcome:
        return await bulk.work(db, job)

    bodies = {"jobs.partitions": keep_partitions, "jobs.expire": expire, "jobs.fold": fold}
    return [
        *(Task(kind=kind, queue=UPKEEP, run=body, history="failures") for kind, body in bodies.items()),
        Task(kind=bulk.KIND, queue=UPKEEP, run=work_on, attempts=bulk.ATTEMPTS),
        kinds.unpark_task(db),
    ]


def schedules() -> list[Schedule]:
    """When the engine's tasks run."""
    return [Schedule(name=kind, slots=Every(period), kind=kind) for kind, period in _PERIODS.items()]
