"""What this room does by itself: it forgets counters that expired, what was refused long ago, and what ended."""

from datetime import time, timedelta

from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Every, Job, Outcome, Schedule, Task
from mainstay.limits import overrides, postgres, report

PRUNE = "limits.prune_refusals"
PRUNE_COUNTERS = "limits.prune_counters"
UPKEEP_QUEUE = "mainstay:upkeep"


def tasks(db: Database) -> list[Task]:
    """The room's kinds of job."""

    async def prune(_: Job) -> Outcome:
        await report.prune(db)
        await overrides.prune(db)
        return None

    async def prune_counters(_: Job) -> Outcome:
        await postgres.prune(db)
        return None

    return [
        Task(kind=PRUNE, queue=UPKEEP_QUEUE, run=prune),
        Task(kind=PRUNE_COUNTERS, queue=UPKEEP_QUEUE, run=prune_counters, history="failures"),
    ]


def schedules() -> list[Schedule]:
    """When they run (UTC)."""
    return [
        Schedule(name=PRUNE, slots=Daily(time(4, 10)), kind=PRUNE),
        Schedule(name=PRUNE_COUNTERS, slots=Every(timedelta(minutes=5)), kind=PRUNE_COUNTERS),
    ]
