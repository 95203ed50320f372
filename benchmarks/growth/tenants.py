"""How long another tenant's next job waits while one tenant's flood drains."""

import asyncio
import time
from dataclasses import dataclass, field

import asyncpg

from benchmarks.growth.filling import KIND, QUEUE
from mainstay import jobs
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Task

SLOTS, WORK_SECONDS = 200, 0.02
_EVERY_SECONDS = 0.02
_ONE = "select mainstay.enqueue('bench.nothing', '0', lane => 'quiet')"
_FLOOD = """select count(*) from mainstay.enqueue_many('bench.nothing',
  (select array_agg(to_jsonb(n)) from generate_series(1, $1::int) n), lane => 'flood')"""


@dataclass
class Seen:
    """From the call that puts the quiet tenant's job in line to its start, in ms; and how long the flood took."""

    waits_ms: list[float] = field(default_factory=list)
    flood: int = 0
    flood_seconds: float = 0.0


async def measure(url: str, flood: int, seconds: float) -> Seen:
    """A worker of 200 slots runs jobs of 20 ms: so many of one tenant, and one of another every 20 ms, until the flood
    is over, or without a flood for so many seconds."""
    seen = Seen()
    asked: asyncio.Queue[float] = asyncio.Queue()
    db = Database(url, size=8)

    async def act(job: Job) -> None:
        if job.lane == "quiet":
            seen.waits_ms.append((time.perf_counter() - asked.get_nowait()) * 1_000)
        else:
            seen.flood += 1
        await asyncio.sleep(WORK_SECONDS)

    task = Task(kind=KIND, queue=QUEUE, run=act, is_public=True)
    worker = jobs.Worker(db, [task], queues=[jobs.QueueConfig(QUEUE, SLOTS)], listen_url=url)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    while not worker.listener.is_hearing:
        await asyncio.sleep(0.01)
    host = await asyncpg.connect(url)
    if flood:
        await host.fetchval(_FLOOD, flood)
    started = time.perf_counter()
    while seen.flood < flood or (not flood and time.perf_counter() - started < seconds):
        asked.put_nowait(time.perf_counter())
        await host.fetchval(_ONE)
        await asyncio.sleep(_EVERY_SECONDS)
    seen.flood_seconds = time.perf_counter() - started
    while not asked.empty():
        await asyncio.sleep(0.01)
    stop.set()
    await running
    await host.close()
    await db.close()
    return seen
