"""What this room does by itself: it counts the letters that wait, and forgets old letters and links."""

from datetime import time, timedelta

from mainstay import jobs
from mainstay.accounts import letters, links
from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Every, Job, Outcome, Schedule, Task

MEASURE = "accounts.measure_letters"
PRUNE = "accounts.prune_letters"
MEASURE_EVERY = timedelta(minutes=1)


def tasks(home: Database) -> list[Task]:
    """The room's kinds of job, all on the home database."""

    async def measure(_: Job) -> Outcome:
        await letters.measure(home)
        return None

    async def prune(_: Job) -> Outcome:
        await letters.prune(home)
        await links.prune(home)
        return None

    return [
        Task(kind=MEASURE, queue=jobs.UPKEEP, run=measure, history="failures"),
        Task(kind=PRUNE, queue=jobs.UPKEEP, run=prune),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [
        Schedule(name=MEASURE, slots=Every(MEASURE_EVERY), kind=MEASURE, missed="skip"),
        Schedule(name=PRUNE, slots=Daily(time(4, 0)), kind=PRUNE),
    ]
