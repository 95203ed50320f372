"""A worker that runs functions beside the test."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson

from mainstay import functions, jobs
from mainstay.functions import Function, Registry
from mainstay.kernel.db import Database, Record, Sql
from mainstay.kernel.retry import Backoff
from tests.jobs.conftest import QUICK, until

SOON = Backoff("fixed", timedelta(milliseconds=10))


def function(identifier: str, run: Any, event: str | None = None, **more: Any) -> Function:
    """A function that the event of that name (its own id by default) starts, with short gaps between attempts."""
    more.setdefault("triggers", [functions.Event(event or identifier)])
    more.setdefault("backoff", SOON)
    return Function(id=identifier, run=run, **more)


@asynccontextmanager
async def running(db: Database, *given: Function, slots: int = 20, timing: Any = QUICK) -> AsyncIterator[jobs.Worker]:
    """A worker that knows these functions runs while the block does."""
    registry = Registry(given)
    engine = Database(db.dsn, size=6)
    queues = [jobs.QueueConfig(jobs.WORKFLOW, slots), jobs.QueueConfig(jobs.FUNCTIONS, 200)]
    worker = jobs.Worker(
        db, functions.tasks(db, registry), queues=queues, engine_db=engine, timing=timing, shutdown_seconds=5.0
    )
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await task
        await engine.close()


async def send(db: Database, name: str, data: dict[str, Any] | None = None, **more: Any) -> str:
    """One event, in a transaction of its own; its id."""
    async with db.begin() as tx:
        return (await functions.send(tx, [{"name": name, "data": data or {}, **more}]))[0]


async def all_of(db: Database, text: str, *args: Any) -> list[Record]:
    """The rows of a statement."""
    return await db.rows(Sql("test", text), *args)


async def one(db: Database, text: str, *args: Any) -> Any:
    """The first value of a statement."""
    return await db.value(Sql("test", text), *args)


async def runs_in(
    db: Database, state: str, count: int = 1, *, of: str | None = None, seconds: float = 60
) -> list[Record]:
    """The runs in that state, once there are so many."""

    async def enough() -> Sequence[Record] | None:
        text = """select * from mainstay.function_runs where state = $1 and ($2::text is null or function_id = $2)
                  order by id"""
        found = await all_of(db, text, state, of)
        return found if len(found) >= count else None

    found: list[Record] = await until(enough, seconds)
    assert len(found) == count
    return found


async def waiting(db: Database, count: int = 1) -> None:
    """So many steps wait."""
    await until(lambda: _is(db, count))


async def _is(db: Database, count: int) -> bool:
    return bool(
        await one(
            db,
            """select count(*) = $1 from mainstay.function_steps s join mainstay.function_runs r on r.id = s.run_id
               join mainstay.jobs j on j.id = r.job_id and j.state = 'delayed'
               where s.state = 'waiting' and r.is_waiting""",
            count,
        )
    )


def output(run: Record) -> Any:
    """What the run gave."""
    return orjson.loads(run["output"])
