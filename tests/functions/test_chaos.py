"""Workers killed between and within steps, and workers that come too late."""

import asyncio
import os
import signal
import sys
from collections import Counter
from datetime import timedelta

import orjson

from mainstay import functions
from mainstay.functions import Received, Steps
from mainstay.functions.upkeep import keep
from mainstay.kernel.db import Database
from mainstay.kernel.work import Retry
from tests.conftest import SqlClock
from tests.functions.conftest import all_of, function, one, running, runs_in, send, waiting
from tests.functions.victim import STEPS
from tests.jobs.conftest import until

RUNS, KILLS = 60, 2


async def test_a_worker_killed_at_any_moment_costs_a_repeated_step_of_each_run_at_most(db: Database) -> None:
    async with db.connection() as connection:
        await connection.execute(
            "create table public.effects (run text, step text, at timestamptz default clock_timestamp())"
        )
    async with db.begin() as tx:
        await functions.send(tx, [{"name": "chaos.f", "data": {"n": number}} for number in range(RUNS)])
    for kill in range(1, KILLS + 2):
        victim = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.functions.victim", db.dsn)
        try:
            if kill <= KILLS:
                enough = RUNS * len(STEPS) * kill // (KILLS + 2)
                await until(lambda wanted=enough: one(db, "select count(*) >= $1 from public.effects", wanted))
            else:
                await runs_in(db, "completed", RUNS)
        finally:
            os.kill(victim.pid, signal.SIGKILL)
            await victim.wait()
    effects = Counter((row["run"], row["step"]) for row in await all_of(db, "select run, step from public.effects"))
    assert len(effects) == RUNS * len(STEPS)
    repeats = Counter(run for (run, _), times in effects.items() for _ in range(times - 1))
    assert max(repeats.values(), default=0) <= KILLS
    late = """select count(*) from public.effects e join mainstay.function_steps s
              on s.run_id::text = e.run and s.step_id = e.step where e.at > s.ended_at"""
    assert await one(db, late) == 0
    assert await one(db, "select count(*) from mainstay.jobs") == 0


async def test_a_worker_that_comes_too_late_writes_nothing(db: Database) -> None:
    is_in, is_let, calls = asyncio.Event(), asyncio.Event(), []

    async def slow() -> None:
        calls.append(1)
        is_in.set()
        await is_let.wait()

    async def run(step: Steps, _: Received) -> None:
        await step.run("slow", slow)

    async with running(db, function("a.f", run)):
        await send(db, "a.f")
        await is_in.wait()
        # Another worker has taken the run up meanwhile.
        await all_of(db, "update mainstay.function_runs set epoch = epoch + 5 returning id")
        is_let.set()
        await until(lambda: one(db, "select count(*) = 0 from mainstay.jobs where state = 'active'"))
        assert await one(db, "select count(*) from mainstay.function_steps") == 0
        assert await one(db, "select state from mainstay.function_runs") == "open"


async def test_a_run_whose_workers_all_die_ends_as_failed(db: Database, sql_clock: SqlClock) -> None:
    calls = []

    def busy() -> None:
        calls.append(1)
        raise Retry("busy", after=timedelta(days=1))

    async def run(step: Steps, _: Received) -> None:
        await step.run("busy", busy)

    async with running(db, function("a.f", run)):
        await send(db, "a.f")
        await until(lambda: one(db, "select count(*) from mainstay.jobs where state = 'retrying'"))
        # So many more starts than ended in a failure or were given back: their workers were lost.
        await all_of(db, "update mainstay.jobs set attempt = 1 + 3 returning id")
        await sql_clock.move(timedelta(days=2))
        (ended,) = await runs_in(db, "failed")
    assert orjson.loads(ended["error"])["name"] == "WorkerLost"
    assert calls == [1]


async def test_a_run_whose_job_an_operator_cancelled_is_cancelled(db: Database) -> None:
    async def run(step: Steps, _: Received) -> None:
        await step.wait_for_event("never", "never", timeout=timedelta(days=1))

    async with running(db, function("a.f", run)):
        await send(db, "a.f")
        await waiting(db)
        await all_of(db, "update mainstay.function_runs set created_at = created_at - interval '1 hour' returning id")
        await all_of(db, "delete from mainstay.jobs returning id")
        await keep(db)
    (ended,) = await runs_in(db, "cancelled")
    assert ended["reason"] == "its job was cancelled"
