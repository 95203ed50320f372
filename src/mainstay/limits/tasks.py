"""What this room does by itself: it forgets what was refused long ago, and what operators set that ended."""

from datetime import time

from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Job, Outcome, Schedule, Task
from mainstay.limits import overrides, report

PRUNE = "limits.prune_refusals"
UPKEEP_QUEUE = "mainstay:upkeep"


def tasks(db: Database) -> list[Task]:
    """The room's kinds of job."""

    async def prune(_: Job) -> Outcome:
        await report.prune(db)
        await overrides.prune(db)
        return None

    return [Task(kind=PRUNE, queue=UPKEEP_QUEUE, run=prune)]


def schedules() -> list[Schedule]:
    """When they run (UTC)."""
    return [Schedule(name=PRUNE, slots=Daily(time(4, 10)), kind=PRUNE)]
