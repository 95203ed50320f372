"""What this room does by itself: letters to those who forgot their password, and no letter or link for ever."""

from datetime import time, timedelta

from mainstay import jobs
from mainstay.accounts import letters, links, resetting
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Daily, Every, Job, Outcome, Schedule, Task

MEASURE = "accounts.measure_letters"
PRUNE = "accounts.prune_letters"
MEASURE_EVERY = timedelta(minutes=1)


def tasks(home: Database, keyring: Keyring) -> list[Task]:
    """The room's kinds of job, all on the home database."""

    async def send_reset(tx: Tx, job: Job) -> Outcome:
        await resetting.send_reset(tx, keyring, job)
        return None

    async def measure(_: Job) -> Outcome:
        await letters.measure(home)
        return None

    async def prune(_: Job) -> Outcome:
        await letters.prune(home)
        await links.prune(home)
        return None

    return [
        Task(kind=resetting.FORGOT, queue=resetting.QUEUE, run_in_tx=send_reset, priority=0, history="failures"),
        Task(kind=MEASURE, queue=jobs.UPKEEP, run=measure, history="failures"),
        Task(kind=PRUNE, queue=jobs.UPKEEP, run=prune),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [
        Schedule(name=MEASURE, slots=Every(MEASURE_EVERY), kind=MEASURE, missed="skip"),
        Schedule(name=PRUNE, slots=Daily(time(4, 0)), kind=PRUNE),
    ]
