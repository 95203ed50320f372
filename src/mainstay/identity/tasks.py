"""The room's upkeep as jobs and schedules."""

from datetime import time

from mainstay import jobs
from mainstay.identity import key_use, sessions
from mainstay.kernel import once
from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Job, Outcome, Schedule, Task

PRUNE = "identity.prune_key_uses"
PRUNE_SESSIONS = "identity.prune_sessions"
PRUNE_REQUESTS = "identity.prune_requests"


def tasks(db: Database) -> list[Task]:
    """The room's kinds of job."""

    async def prune(_: Job) -> Outcome:
        await key_use.prune_key_uses(db)
        return None

    async def prune_sessions(_: Job) -> Outcome:
        await sessions.prune(db)
        return None

    async def prune_requests(_: Job) -> Outcome:
        await once.prune_everywhere(db)
        return None

    return [
        Task(kind=PRUNE, queue=jobs.UPKEEP, run=prune),
        Task(kind=PRUNE_SESSIONS, queue=jobs.UPKEEP, run=prune_sessions),
        Task(kind=PRUNE_REQUESTS, queue=jobs.UPKEEP, run=prune_requests),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [
        Schedule(name=PRUNE, slots=Daily(time(3, 40)), kind=PRUNE),
        Schedule(name=PRUNE_SESSIONS, slots=Daily(time(3, 50)), kind=PRUNE_SESSIONS),
        Schedule(name=PRUNE_REQUESTS, slots=Daily(time(3, 55)), kind=PRUNE_REQUESTS),
    ]
