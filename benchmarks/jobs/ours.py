"""The engine on the same work: 50 lanes, trace ids carried, one history row a job."""

import asyncio

from mainstay import jobs
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.work import Job, Task

QUEUE, KIND, LANES = "bench", "bench.nothing", 50
SLOTS = 2_000
_COUNT = Sql("bench.count", "select coalesce(sum(completed), 0)::bigint from mainstay.queue_tallies where queue = $1")
_CHUNK = 5_000


async def fill(url: str, payload: object, count: int, *, vacuum: bool = True) -> None:
    """The queue has that many waiting jobs more, spread over the lanes."""
    db = Database(url, size=1)
    telemetry.enter_trace(telemetry.start_trace(None, None))
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        async with db.begin() as tx:
            lanes = [f"lane-{n % LANES}" for n in range(size)]
            await jobs.enqueue_many(tx, KIND, [payload] * size, queue=QUEUE, lanes=lanes)
    if vacuum:
        async with db.connection() as connection:
            await connection.execute("vacuum analyze mainstay.jobs")
    await db.close()


async def drain(url: str, count: int) -> int:
    """That many jobs have completed; how many did."""
    db = Database(url, size=6)
    acted = 0
    enough = asyncio.Event()

    async def nothing(_: Job) -> None:
        nonlocal acted
        acted += 1
        if acted >= count:
            enough.set()

    task = Task(kind=KIND, queue=QUEUE, run=nothing)
    worker = jobs.Worker(db, [task], queues=[jobs.QueueConfig(QUEUE, SLOTS)], listen_url=url)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    await enough.wait()
    stop.set()
    await running
    await db.close()
    return acted


async def completed(url: str) -> int:
    """How many jobs of the queue the database counts as completed."""
    db = Database(url, size=1)
    found: int = await db.value(_COUNT, QUEUE)
    await db.close()
    return found
