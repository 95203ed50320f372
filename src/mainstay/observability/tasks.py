"""What this room does by itself: it takes the figures of each database every minute."""

from datetime import timedelta

from mainstay.kernel.db import Database
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Task
from mainstay.observability import figures

AGGREGATE = "observability.aggregate"
_UPKEEP_QUEUE = "mainstay:upkeep"


def tasks(db: Database) -> list[Task]:
    """The room's kinds of job."""

    async def aggregate(_: Job) -> Outcome:
        await figures.aggregate(db)
        return None

    return [Task(kind=AGGREGATE, queue=_UPKEEP_QUEUE, run=aggregate, history="failures")]


def schedules() -> list[Schedule]:
    """When they run."""
    return [
        Schedule(
            name=AGGREGATE,
            slots=Every(timedelta(minutes=1)),
            kind=AGGREGATE,
            title="Metrics aggregator",
            family="audit",
        )
    ]
