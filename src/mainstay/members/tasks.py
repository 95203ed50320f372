"""What this room does by itself: no invitation stays for ever."""

from datetime import time

from mainstay import jobs
from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Job, Outcome, Schedule, Task
from mainstay.members import inviting

PRUNE = "members.prune_invitations"


def tasks(home: Database) -> list[Task]:
    """The room's kinds of job, on the home database."""

    async def prune(_: Job) -> Outcome:
        await inviting.prune(home)
        return None

    return [Task(kind=PRUNE, queue=jobs.UPKEEP, run=prune)]


def schedules() -> list[Schedule]:
    """When they run."""
    return [Schedule(name=PRUNE, slots=Daily(time(4, 20)), kind=PRUNE)]
