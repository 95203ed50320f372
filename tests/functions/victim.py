"""A worker process to be killed: `python -m tests.functions.victim URL`. Each step leaves a row in `public.effects`."""

import asyncio
import random
import signal
import sys
from datetime import timedelta

from mainstay import functions, jobs
from mainstay.functions import Received, Registry, Steps
from mainstay.kernel.db import Database, Sql
from tests.functions.conftest import function
from tests.jobs.conftest import QUICK

STEPS = ("a", "b", "c", "d")
_LEAVE = Sql("test.effect", "insert into public.effects (run, step) values ($1, $2)")


async def main() -> None:
    """Works until SIGTERM, or until it is killed."""
    db = Database(sys.argv[1], size=8)
    stop = asyncio.Event()

    async def effect(run_id: str, step: str) -> None:
        await asyncio.sleep(random.random() * 0.02)
        await db.run(_LEAVE, run_id, step)
        await asyncio.sleep(random.random() * 0.02)

    async def run(step: Steps, _: Received) -> None:
        for name in STEPS:
            await step.run(name, effect, step.run_id, name)
            if name == "b":
                await step.sleep("nap", timedelta(milliseconds=20))

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    registry = Registry([function("chaos.f", run, attempts=20)])
    queues = [jobs.QueueConfig(jobs.WORKFLOW, 10), jobs.QueueConfig(jobs.FUNCTIONS, 200)]
    await jobs.Worker(db, functions.tasks(db, registry), queues=queues, timing=QUICK).run(stop)


if __name__ == "__main__":
    asyncio.run(main())
