"""A team's module, as MODULES names it: what it keeps are the jobs that it has run."""

from collections.abc import Sequence
from datetime import timedelta

from mainstay.functions import Event, Function
from mainstay.kernel.db import Sql, Tx
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Task

QUEUE = "shop:images"
_KEEP = Sql("shop.keep", "insert into shop.images (image, kind) values ($1, $2)")


async def resize(tx: Tx, job: Job) -> Outcome:
    """The image is on record with the acknowledgement of its job."""
    await tx.run(_KEEP, str(job.payload["image"]), job.kind)
    return None


async def tidy(_: Job) -> Outcome:
    """Nothing to do."""
    return None


def tasks() -> Sequence[Task]:
    """Made when they are asked for."""
    return [
        Task(kind="shop.resize", queue=QUEUE, run_in_tx=resize, attempts=4, priority=3),
        Task(kind="shop.tidy", queue=QUEUE, run=tidy),
    ]


async def welcome(*_: object) -> str:
    """Greets."""
    return "welcome"


functions = [Function(id="shop.welcome", run=welcome, triggers=[Event("shop/opened")])]
schedules = [Schedule(name="shop.tidy", slots=Every(timedelta(hours=1)), kind="shop.tidy")]
