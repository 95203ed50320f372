"""What this room does by itself: it signs every chain each hour, counts events per minute, clears lost tails."""

from datetime import timedelta

from mainstay.events import minutes, tailing
from mainstay.events.sealing import Sealer
from mainstay.kernel.db import Tx
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Snooze, Task

SEAL = "events.seal"
SAMPLE = "events.sample"
CLEAN_TAILS = "events.clean_tails"
SAMPLE_EVERY = timedelta(seconds=10)
CLEAN_TAILS_EVERY = timedelta(minutes=5)
UPKEEP_QUEUE = "mainstay:upkeep"


def tasks(sealer: Sealer) -> list[Task]:
    """The room's kinds of job."""

    async def seal(tx: Tx, _: Job) -> Outcome:
        more = await sealer.seal_all(tx)
        return Snooze(timedelta(0), "more chains to sign") if more else None

    async def sample(tx: Tx, _: Job) -> Outcome:
        await minutes.sample(tx)
        return None

    async def clean_tails(tx: Tx, _: Job) -> Outcome:
        await tailing.clean(tx)
        return None

    return [
        Task(kind=SEAL, queue=UPKEEP_QUEUE, run_in_tx=seal),
        Task(kind=SAMPLE, queue=UPKEEP_QUEUE, run_in_tx=sample, history="failures"),
        Task(kind=CLEAN_TAILS, queue=UPKEEP_QUEUE, run_in_tx=clean_tails, history="failures"),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [
        Schedule(name=SEAL, slots=Every(timedelta(hours=1)), kind=SEAL),
        Schedule(name=SAMPLE, slots=Every(SAMPLE_EVERY), kind=SAMPLE),
        Schedule(
            name=CLEAN_TAILS, slots=Every(CLEAN_TAILS_EVERY), kind=CLEAN_TAILS, title="Tail cleaner", family="audit"
        ),
    ]
