"""A real worker that works only when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from mainstay import jobs, webhooks
from mainstay.kernel.db import Database
from mainstay.kernel.work import Task

_DUE = """select count(*) from mainstay.jobs where queue = 'nova:webhook'
          and (state in ('waiting', 'active') or due_at <= mainstay.now())"""


class Line:
    """The queue of deliveries, and the worker that serves it between start and stop."""

    def __init__(self, db: Database, tasks: Sequence[Task]) -> None:
        self._db = db
        self._tasks = {task.kind: task for task in tasks}

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker runs inside the block and has stopped after it."""
        worker = jobs.Worker(
            self._db,
            list(self._tasks.values()),
            queues=[jobs.QueueConfig(webhooks.QUEUE, 200)],
            timing=jobs.Timing(promote=0.01, poll_deaf=0.02),
            shutdown_seconds=10.0,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running

    async def drain(self) -> None:
        """Every delivery that was due has been tried, and no worker runs."""
        async with self.working(), asyncio.timeout(60):
            while await self.due():
                await asyncio.sleep(0.01)

    async def due(self) -> int:
        """How many jobs could run now or do."""
        async with self._db.connection() as connection:
            return int(await connection.fetchval(_DUE))

    @staticmethod
    async def until(condition: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
        """The condition holds."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                await asyncio.sleep(0.005)

    async def sweep(self) -> None:
        """The sweep ran once, as its schedule has it run."""
        run = self._tasks["webhooks.sweep"].run_in_tx
        assert run is not None
        async with self._db.begin() as tx:
            await run(tx, None)  # type: ignore[arg-type]

    async def redrive(self) -> None:
        """Every dead job is in line again."""
        async with self._db.begin() as tx:
            await jobs.redrive_matching(tx, jobs.Match(queue=webhooks.QUEUE))
