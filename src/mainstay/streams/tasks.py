"""What this room does by itself: each 2 s it looks for streams that have something to send, and turns them."""

from datetime import timedelta

from mainstay import jobs
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Task
from mainstay.streams import probing, pumping
from mainstay.streams.pumping import QUEUE, Pump

LOOK = "streams.look"
LOOK_EVERY = timedelta(seconds=2)
_TURN_TIMEOUT = timedelta(minutes=5)


def tasks(db: Database, outbound: Outbound, keyring: Keyring, brand: str) -> list[Task]:
    """The room's kinds of job, on one database."""
    pump = Pump(db, outbound, keyring, brand)

    async def look(tx: Tx, _: Job) -> Outcome:
        await pumping.look(tx)
        return None

    async def turn(job: Job) -> Outcome:
        await pump.turn(job)
        return None

    async def probe(job: Job) -> Outcome:
        await probing.run(db, pump, job)
        return None

    return [
        Task(kind=LOOK, queue=jobs.UPKEEP, run_in_tx=look, history="failures"),
        Task(kind=pumping.TURN, queue=QUEUE, run=turn, history="failures", timeout=_TURN_TIMEOUT, lane_limit=1),
        Task(kind=probing.KIND, queue=QUEUE, run=probe, history="failures", lane_limit=1),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [Schedule(name=LOOK, slots=Every(LOOK_EVERY), kind=LOOK, missed="skip")]
