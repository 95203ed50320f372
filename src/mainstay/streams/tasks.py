"""What this room does by itself: each 2 s it looks for streams that have something to send, and turns them; each minute
it takes their figures."""

from datetime import timedelta

from mainstay import jobs
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Task
from mainstay.streams import figures, probing, pumping, resending
from mainstay.streams.pumping import QUEUE, Pump

LOOK = "streams.look"
MEASURE = "streams.measure"
LOOK_EVERY = timedelta(seconds=2)
_TURN_TIMEOUT = timedelta(minutes=5)


def tasks(db: Database, outbound: Outbound, keyring: Keyring, brand: str, name: str = "home") -> list[Task]:
    """The room's kinds of job, on the database of that name."""
    pump = Pump(db, outbound, keyring, brand)

    async def look(tx: Tx, _: Job) -> Outcome:
        await pumping.look(tx)
        await resending.look(tx)
        return None

    async def turn(job: Job) -> Outcome:
        await pump.turn(job)
        return None

    async def probe(job: Job) -> Outcome:
        await probing.run(db, pump, job)
        return None

    async def again(job: Job) -> Outcome:
        await resending.run(db, pump, job)
        return None

    async def measure(_: Job) -> Outcome:
        await figures.measure(db, name)
        return None

    return [
        Task(kind=LOOK, queue=jobs.UPKEEP, run_in_tx=look, history="failures"),
        Task(kind=pumping.TURN, queue=QUEUE, run=turn, history="failures", timeout=_TURN_TIMEOUT, lane_limit=1),
        Task(kind=probing.KIND, queue=QUEUE, run=probe, history="failures", lane_limit=1),
        Task(kind=resending.KIND, queue=QUEUE, run=again, history="failures", timeout=_TURN_TIMEOUT, lane_limit=1),
        Task(kind=MEASURE, queue=jobs.UPKEEP, run=measure, history="failures"),
    ]


def schedules() -> list[Schedule]:
    """When they run."""
    return [
        Schedule(name=LOOK, slots=Every(LOOK_EVERY), kind=LOOK, missed="skip"),
        Schedule(name=MEASURE, slots=Every(figures.EVERY), kind=MEASURE, missed="skip"),
    ]
