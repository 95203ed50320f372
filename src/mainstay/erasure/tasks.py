"""The jobs of this room: erasures, gatherings of a person's events, and the end of their files each hour."""

from datetime import timedelta

from mainstay import jobs
from mainstay.erasure import company_jobs, erasing, gdpr
from mainstay.erasure.erasures import QUEUE, RUN
from mainstay.erasure.ground import Ground
from mainstay.kernel.db import Database
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Task

EXPIRE = "erasure.expire_files"
_LONG = timedelta(hours=6)
_ATTEMPTS = 10
_BACKOFF = Backoff("exponential", timedelta(seconds=30))


def tasks(ground: Ground, db: Database) -> list[Task]:
    """The room's kinds of job, on one database."""

    async def erase(job: Job) -> Outcome:
        return await erasing.run(ground, db, job)

    async def gather(job: Job) -> Outcome:
        return await gdpr.run(ground, db, job)

    async def expire(_: Job) -> Outcome:
        await company_jobs.expire(db, ground.stores)
        return None

    return [
        Task(kind=RUN, queue=QUEUE, run=erase, timeout=_LONG, attempts=_ATTEMPTS, backoff=_BACKOFF),
        Task(kind=gdpr.RUN, queue=QUEUE, run=gather, timeout=_LONG, attempts=_ATTEMPTS, backoff=_BACKOFF),
        Task(kind=EXPIRE, queue=jobs.UPKEEP, run=expire, history="failures"),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [Schedule(name=EXPIRE, slots=Every(timedelta(hours=1)), kind=EXPIRE)]
