"""What this room does by itself: each morning it checks stored events against the templates of their workspaces."""

from datetime import time, timedelta

from mainstay.kernel.db import Database
from mainstay.kernel.work import Daily, Job, Outcome, Schedule, Task
from mainstay.templates import reports
from mainstay.templates.reports import ReadOn

CHECK = "templates.check"
_LONG = timedelta(minutes=30)


def tasks(db: Database, read_on: ReadOn) -> list[Task]:
    """The room's kinds of job, on one database; `read_on` reads the chains of it."""

    async def check(_: Job) -> Outcome:
        await reports.start(db)
        return None

    async def check_workspace(job: Job) -> Outcome:
        await reports.run(db, read_on, job)
        return None

    return [
        Task(kind=CHECK, queue=reports.QUEUE, run=check, timeout=_LONG),
        Task(kind=reports.CHECK_WORKSPACE, queue=reports.QUEUE, run=check_workspace, history="failures", timeout=_LONG),
    ]


def schedules() -> list[Schedule]:
    """When they run (UTC, C-17): daily at 06:00."""
    return [Schedule(name=CHECK, slots=Daily(time(6)), kind=CHECK, title="Template enforcer", family="audit")]
