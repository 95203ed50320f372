"""BullMQ's Python package on Redis on the same work, run by its own environment: `fill|drain URL COUNT CONCURRENCY`."""

import asyncio
import sys
import time

import redis.asyncio as redis
import uvloop
from bullmq import Job, Queue, Worker

_PAYLOAD = {"to": "someone@example.com", "template": "welcome", "data": {"name": "Someone", "note": "x" * 120}}
_CHUNK = 500


async def fill(url: str, count: int) -> None:
    """An empty Redis holds that many waiting jobs, which are removed when they complete."""
    client = redis.from_url(url)
    await client.flushall()
    await client.aclose()
    queue = Queue("bench", {"connection": url})
    one = {"name": "nothing", "data": _PAYLOAD, "opts": {"removeOnComplete": True}}
    for start in range(0, count, _CHUNK):
        await queue.addBulk([one] * min(_CHUNK, count - start))
    await queue.close()


async def drain(url: str, count: int, concurrency: int) -> None:
    """Every job has completed; prints the jobs run, the seconds and the CPU seconds it took."""
    completed = 0
    enough = asyncio.Event()

    async def nothing(_: Job, __: str) -> None:
        return None

    def note(_: Job, __: object) -> None:
        nonlocal completed
        completed += 1
        if completed >= count:
            enough.set()

    cpu, started = time.process_time(), time.perf_counter()
    worker = Worker("bench", nothing, {"connection": url, "concurrency": concurrency})
    worker.on("completed", note)
    await enough.wait()
    print(completed, time.perf_counter() - started, time.process_time() - cpu)
    await worker.close(force=True)


if __name__ == "__main__":
    mode, address, jobs, at_once = sys.argv[1:]
    uvloop.run(fill(address, int(jobs)) if mode == "fill" else drain(address, int(jobs), int(at_once)))
