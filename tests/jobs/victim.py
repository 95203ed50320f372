"""A worker process to be killed: `python -m tests.jobs.victim URL poison|hang|steady|quick`."""

import asyncio
import os
import signal
import sys

from mainstay import jobs
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job
from tests.jobs.conftest import QUEUE, QUICK, task


async def _poison(_: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _hang(_: Job) -> None:
    await asyncio.sleep(600)


async def _quick(_: Job) -> None: ...


async def main() -> None:
    """Works until SIGTERM, or until it is killed."""
    url, how = sys.argv[1:]
    db = Database(url, size=8)
    stop = asyncio.Event()

    async def steady(_: Job) -> None:
        await stop.wait()
        await asyncio.sleep(0.3)

    body = {"poison": _poison, "hang": _hang, "steady": steady, "quick": _quick}[how]
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker = jobs.Worker(db, [task(body)], queues=[jobs.QueueConfig(QUEUE, 5)], timing=QUICK, shutdown_seconds=20.0)
    await worker.run(stop)
    await db.close()


if __name__ == "__main__":
    asyncio.run(main())
