"""A worker beside the test, with periods short enough to wait for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mainstay import jobs
from mainstay.kernel.db import Database, Record, Sql, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Task

QUEUE = "test:queue"
OPERATOR = Actor(kind="person", id="p-1", name="Olga")
QUICK = jobs.Timing(heartbeat=0.2, lease=1.5, reap=0.1, promote=0.02, schedule=0.05, watch=0.02, gauge=0.5)


async def until(is_so: Callable[[], Awaitable[Any] | Any], seconds: float = 30.0) -> Any:
    """What `is_so` gave once it gave something true; fails after so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer = is_so()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, "it did not become so in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def working(
    db: Database, tasks: Sequence[Task], *, slots: int = 10, queues: Sequence[jobs.QueueConfig] = (), **more: Any
) -> AsyncIterator[jobs.Worker]:
    """A worker runs while the block does, and is stopped in order at its end."""
    engine = Database(db.dsn, size=6)
    more = {"timing": QUICK, "shutdown_seconds": 5.0, **more}
    worker = jobs.Worker(db, tasks, queues=queues or [jobs.QueueConfig(QUEUE, slots)], engine_db=engine, **more)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await running
        await engine.close()


async def add(db: Database, kind: str | Task, payload: Any = None, **more: Any) -> int:
    """One job in line, in a transaction of its own; its id."""
    if not isinstance(kind, Task):
        more.setdefault("queue", QUEUE)
    async with db.begin() as tx:
        return (await jobs.enqueue(tx, kind, payload, **more)).id


async def one(db: Database | Tx, text: str, *args: Any) -> Any:
    """The first value of a statement."""
    return await db.value(Sql("test", text), *args)


async def all_of(db: Database, text: str, *args: Any) -> list[Record]:
    """The rows of a statement."""
    return await db.rows(Sql("test", text), *args)


async def state_of(db: Database, job_id: int) -> str:
    """Where the job is: its state, or the table that it ended in."""
    return await one(
        db,
        """select coalesce((select state from mainstay.jobs where id = $1),
                           (select outcome from mainstay.finished_jobs where id = $1),
                           (select 'dead' from mainstay.dead_jobs where id = $1), 'gone')""",
        job_id,
    )


def task(run: Any, *, kind: str = "test.kind", queue: str = QUEUE, **more: Any) -> Task:
    """A task on the test's queue."""
    return Task(kind=kind, queue=queue, run=run, **more)


@pytest.fixture
async def other_db(fresh_url: str) -> AsyncIterator[Database]:
    """A second pool on the same database, as another process has it."""
    database = Database(fresh_url, size=8)
    yield database
    await database.close()
