"""What this room does by itself: it signs where every chain stands, each hour."""

from datetime import timedelta

from mainstay.events.sealing import Sealer
from mainstay.kernel.db import Tx
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Snooze, Task

SEAL = "events.seal"
UPKEEP_QUEUE = "mainstay:upkeep"


def tasks(sealer: Sealer) -> list[Task]:
    """The room's kinds of job."""

    async def seal(tx: Tx, _: Job) -> Outcome:
        more = await sealer.seal_all(tx)
        return Snooze(timedelta(0), "more chains to sign") if more else None

    return [Task(kind=SEAL, queue=UPKEEP_QUEUE, run_in_tx=seal)]


def schedules() -> list[Schedule]:
    """When they run."""
    return [Schedule(name=SEAL, slots=Every(timedelta(hours=1)), kind=SEAL)]
