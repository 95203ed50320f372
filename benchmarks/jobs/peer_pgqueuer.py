"""PgQueuer on the same work, in its own environment: `fill|drain URL COUNT BATCH CAP`, where a CAP of 0 is none."""

import asyncio
import sys
import time

import asyncpg
import uvloop
from pgqueuer import PgQueuer, types
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

_PAYLOAD = b'{"to": "someone@example.com", "template": "welcome", "note": "%s"}' % (b"x" * 140)
_CHUNK = 1_000


async def fill(url: str, count: int) -> None:
    """A new installation holds that many waiting jobs, and fresh statistics."""
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()
        for start in range(0, count, _CHUNK):
            size = min(_CHUNK, count - start)
            await queries.enqueue(["nothing"] * size, [_PAYLOAD] * size, [0] * size)
        await pool.execute("vacuum analyze")


async def drain(url: str, count: int, batch: int, cap: int | None) -> None:
    """The queue is empty; prints the jobs run, the seconds and the CPU seconds it took."""
    acted = 0
    async with asyncpg.create_pool(url, min_size=4, max_size=4) as pool:
        engine = PgQueuer(AsyncpgPoolDriver(pool))

        @engine.entrypoint("nothing")
        async def nothing(_: Job) -> None:
            nonlocal acted
            acted += 1

        cpu, started = time.process_time(), time.perf_counter()
        await engine.run(batch_size=batch, max_concurrent_tasks=cap, mode=types.QueueExecutionMode.drain)
        seconds, spent = time.perf_counter() - started, time.process_time() - cpu
        left = await pool.fetchval("select count(*) from pgqueuer")
    if acted != count or left:
        raise SystemExit(f"{acted} of {count} jobs ran, {left} are left")
    print(acted, seconds, spent)


if __name__ == "__main__":
    mode, address, jobs, taken, most = sys.argv[1:]
    if mode == "fill":
        asyncio.run(fill(address, int(jobs)))
    else:
        uvloop.run(drain(address, int(jobs), int(taken), int(most) or None))
