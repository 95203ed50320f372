"""The room's upkeep as jobs and schedules."""

from datetime import time

from mainstay import jobs
from mainstay.incidents import auth_log
from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Job, Outcome, Schedule, Task

PRUNE = "incidents.prune_auth_log"


def tasks(home: Database) -> list[Task]:
    """The room's kinds of job."""

    async def prune(_: Job) -> Outcome:
        await auth_log.prune(home)
        return None

    return [Task(kind=PRUNE, queue=jobs.UPKEEP, run=prune)]


def schedules() -> list[Schedule]:
    """When they run."""
    return [Schedule(name=PRUNE, slots=Daily(time(4, 5)), kind=PRUNE)]
