"""Our side: events in, runs of three steps to their end, one worker process."""

import asyncio

from mainstay import functions, jobs
from mainstay.functions import Event, Function, Received, Registry, Steps
from mainstay.kernel.db import Database, Sql

_DONE = Sql("bench.done", "select count(*) from mainstay.function_runs where state = 'completed' and function_id = $1")
_CHUNK = 500
NAME = "bench.three"


async def run(url: str, count: int, at_once: int) -> int:
    """So many runs have ended; how many did."""
    db, engine = Database(url, size=6), Database(url, size=6)
    ended, enough = 0, asyncio.Event()

    async def nothing() -> int:
        return 1

    async def three(step: Steps, _: Received) -> int:
        nonlocal ended
        done = [await step.run(name, nothing) for name in ("first", "second", "third")]
        ended += 1
        if ended >= count:
            enough.set()
        return sum(done)

    registry = Registry([Function(id=NAME, run=three, triggers=[Event("bench/three")])])
    queues = [jobs.QueueConfig(jobs.WORKFLOW, at_once), jobs.QueueConfig(jobs.FUNCTIONS, 200)]
    worker = jobs.Worker(db, functions.tasks(db, registry), queues=queues, engine_db=engine, listen_url=url)
    before: int = await db.value(_DONE, NAME)
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(stop))
    for start in range(0, count, _CHUNK):
        async with db.begin() as tx:
            await functions.send(tx, [{"name": "bench/three", "data": {}}] * min(_CHUNK, count - start))
    await enough.wait()
    stop.set()
    await working
    after: int = await db.value(_DONE, NAME)
    await db.close()
    await engine.close()
    if after - before != count:
        raise SystemExit(f"{after - before} of {count} runs ended")
    return count
