"""Our worker with schedules that are due each second: prints every lateness in milliseconds."""

import asyncio
import gc
import time
from datetime import timedelta

from mainstay import jobs
from mainstay.kernel.db import Database
from mainstay.kernel.work import Every, Job, Schedule, Task

QUEUE, KIND = "bench:schedules", "bench.tick"


async def measure(url: str, schedules: int, seconds: float) -> list[float]:
    """The moments at which runs began, of a worker that was at it for so long."""
    db, engine = Database(url, size=4), Database(url, size=5)
    moments: list[float] = []

    async def tick(_: Job) -> None:
        moments.append(time.time())

    each = timedelta(seconds=1)
    worker = jobs.Worker(
        db,
        [Task(kind=KIND, queue=QUEUE, run=tick, history="failures")],
        queues=[jobs.QueueConfig(QUEUE, schedules * 2)],
        schedules=[Schedule(name=f"bench.{n}", slots=Every(each), kind=KIND) for n in range(schedules)],
        engine_db=engine,
        listen_url=url,
    )
    gc.collect()
    gc.freeze()
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    await asyncio.sleep(seconds)
    stop.set()
    await running
    await engine.close()
    await db.close()
    return moments


async def bare(schedules: int, seconds: float) -> list[float]:
    """The same of a loop that sleeps until the next second, starts a task for each, and keeps nothing."""
    moments: list[float] = []

    async def tick() -> None:
        moments.append(time.time())

    ends = time.time() + seconds
    async with asyncio.TaskGroup() as group:
        while (now := time.time()) < ends:
            await asyncio.sleep(int(now) + 1 - now)
            for _ in range(schedules):
                group.create_task(tick())
    return moments
