"""One turn: so many jobs drained by a worker of its own process, and what that cost."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from benchmarks import machine
from benchmarks.growth.filling import KIND, QUEUE, fill
from mainstay import jobs
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Task

SLOTS = 2_000


@dataclass(frozen=True, slots=True)
class Turn:
    """Jobs a second, and microseconds of CPU a job in worker and PostgreSQL together."""

    rate: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Side:
    """What is measured, its database, and over how many lanes its jobs are spread."""

    name: str
    url: str
    lanes: int


async def drain(url: str, count: int) -> tuple[int, float, float]:
    """That many jobs have been run: how many (a claim may bring some more), seconds, and CPU seconds of all processes.

    The clock starts once the worker has counted what waits for its metrics. It does so when it starts and then for a
    fiftieth of the time at most, however long the line is; a turn is too short to spread that.
    """
    db = Database(url, size=6)
    store, ours = await machine.postmaster(url), psutil.Process()
    acted = 0
    go, enough = asyncio.Event(), asyncio.Event()

    async def nothing(_: Job) -> None:
        nonlocal acted
        if not go.is_set():
            await go.wait()
        acted += 1
        if acted >= count:
            enough.set()

    task = Task(kind=KIND, queue=QUEUE, run=nothing, is_public=True)
    worker = jobs.Worker(db, [task], queues=[jobs.QueueConfig(QUEUE, SLOTS)], listen_url=url)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    while telemetry.REGISTRY.get_sample_value("queue_size", {"queue": QUEUE}) is None or not worker.runner.running:
        await asyncio.sleep(0.01)
    cpu, started = machine.tree_seconds(store) + machine.cpu_seconds([ours]), time.perf_counter()
    go.set()
    await enough.wait()
    stop.set()
    await running
    seconds = time.perf_counter() - started
    cpu = machine.tree_seconds(store) + machine.cpu_seconds([ours]) - cpu
    await db.close()
    return acted, seconds, cpu


def take_turn(server_url: str, url: str, count: int) -> Turn:
    """A worker process has drained so many jobs of that database."""
    asyncio.run(machine.settle(server_url))
    command = [sys.executable, "-m", "benchmarks.growth", "--drain", str(count), "--database-url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"a worker failed: {done.stderr.strip()[-1000:]}")
    jobs_done, seconds, cpu = (float(word) for word in done.stdout.split()[-3:])
    return Turn(jobs_done / seconds, cpu / jobs_done * 1e6)


def turns_of(server_url: str, sides: Sequence[Side], count: int, runs: int) -> dict[str, list[Turn]]:
    """Every side has taken its turns, in an order that moves on with each round; each turn drains what it filled in."""
    found: dict[str, list[Turn]] = {side.name: [] for side in sides}
    for number in range(runs):
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            asyncio.run(fill(side.url, count, side.lanes))
            turn = take_turn(server_url, side.url, count)
            found[side.name].append(turn)
            print(
                f"run {number + 1}  {side.name:48} {turn.rate:>8,.0f} jobs/s, CPU a job {turn.cpu_us:,.0f} us",
                flush=True,
            )
    return found


def drain_here(url: str, count: int) -> None:
    """The work of a worker process: prints jobs, seconds and CPU seconds."""
    print(*asyncio.run(drain(url, count)))
