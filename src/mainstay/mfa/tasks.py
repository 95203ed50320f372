"""The room's upkeep as jobs and schedules."""

from datetime import time

from mainstay import jobs
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Job, Outcome, Schedule, Task
from mainstay.mfa import challenges, resealing

PRUNE = "mfa.prune_challenges"
RESEAL = "mfa.reseal"


def tasks(db: Database, keyring: Keyring) -> list[Task]:
    """The room's kinds of job."""

    async def prune(_: Job) -> Outcome:
        await challenges.prune(db)
        return None

    async def reseal(_: Job) -> Outcome:
        await resealing.reseal(db, keyring)
        return None

    return [
        Task(kind=PRUNE, queue=jobs.UPKEEP, run=prune),
        Task(kind=RESEAL, queue=jobs.UPKEEP, run=reseal),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [
        Schedule(name=PRUNE, slots=Daily(time(3, 52)), kind=PRUNE),
        Schedule(name=RESEAL, slots=Daily(time(4, 5)), kind=RESEAL),
    ]
