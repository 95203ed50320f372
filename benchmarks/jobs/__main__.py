"""`python -m benchmarks.jobs`: no-op jobs a second and CPU a job, ours beside the bare loop, interleaved."""

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import orjson
import psutil
import uvloop

from benchmarks.jobs import bare, ours
from mainstay import embedded, main
from mainstay.kernel import migrations

_PAYLOAD = {"to": "someone@example.com", "template": "welcome", "data": {"name": "Someone", "note": "x" * 120}}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument(
        "--database-url", help="an empty database on a local server; default: an embedded durable server"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=150_000, help="jobs a run")
    parser.add_argument("--backlog", type=int, default=0, help="waiting jobs behind those that are measured")
    parser.add_argument("--open-transaction", action="store_true", help="beside an open snapshot and what it keeps")
    parser.add_argument("--churn", type=int, default=500_000, help="jobs that came and went since that snapshot")
    parser.add_argument("--only", choices=["bare", "ours"])
    parser.add_argument("--drain", choices=["bare", "ours"], help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def _database(given: str | None) -> Iterator[str]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as directory:
        server = embedded.start(Path(directory) / "pg", database="mainstay", durable=True)
        try:
            yield server.dsn
        finally:
            server.stop()


async def _postmaster(url: str) -> psutil.Process:
    connection = await asyncpg.connect(url)
    backend = psutil.Process(await connection.fetchval("select pg_backend_pid()"))
    parent = backend.parent()
    await connection.close()
    assert parent is not None
    return parent


def _server_seconds(url: str) -> float:
    """CPU seconds of the server's processes, those that have ended included."""
    postmaster = asyncio.run(_postmaster(url))
    total = 0.0
    for process in postmaster.children():
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    ended = postmaster.cpu_times()
    return total + ended.user + ended.system + ended.children_user + ended.children_system


def _measure(options: argparse.Namespace, side: str, url: str) -> tuple[float, float, float]:
    """Jobs a second, and microseconds of CPU a job in the worker's process and in PostgreSQL."""
    server = _server_seconds(url)
    command = [
        sys.executable,
        "-m",
        "benchmarks.jobs",
        "--drain",
        side,
        "--database-url",
        url,
        "--jobs",
        str(options.jobs),
    ]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    count, seconds, cpu = int(answer[-3]), float(answer[-2]), float(answer[-1])
    return count / seconds, cpu / count * 1e6, (_server_seconds(url) - server) / count * 1e6


def _drain(options: argparse.Namespace) -> None:
    """One side in a process of its own: prints jobs, seconds and CPU seconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    cpu, started = time.process_time(), time.perf_counter()
    count = options.jobs
    if options.drain == "bare":
        uvloop.run(bare.drain(options.database_url, count))
    else:
        count = uvloop.run(ours.drain(options.database_url, count))
    print(count, time.perf_counter() - started, time.process_time() - cpu)


async def _snapshot(url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    await connection.execute("begin isolation level repeatable read")
    await connection.fetchval("select count(*) from mainstay.queues")
    return connection


async def _prepare(options: argparse.Namespace, url: str) -> None:
    await migrations.migrate(url, main.partitioned())
    connection = await asyncpg.connect(url)
    await connection.execute(bare.TABLES)
    await connection.close()
    if options.backlog:
        await ours.fill(url, _PAYLOAD, options.backlog)


def run(options: argparse.Namespace, url: str) -> None:
    """Every figure of the comparison has been printed."""
    asyncio.run(_prepare(options, url))
    loop = asyncio.new_event_loop()
    if options.open_transaction:
        snapshot = loop.run_until_complete(_snapshot(url))
        loop.run_until_complete(ours.fill(url, _PAYLOAD, options.churn, vacuum=False))
        _measure(argparse.Namespace(jobs=options.churn), "ours", url)
    figures: dict[str, list[tuple[float, float, float]]] = {"bare": [], "ours": []}
    sides = [options.only] if options.only else ["bare", "ours"]
    for number in range(options.runs):
        for side in sides if number % 2 == 0 else reversed(sides):
            if side == "bare":
                asyncio.run(bare.fill(url, orjson.dumps(_PAYLOAD).decode(), options.jobs))
            else:
                asyncio.run(ours.fill(url, _PAYLOAD, options.jobs, vacuum=not options.open_transaction))
            figures[side].append(_measure(options, side, url))
            rate, worker, server = figures[side][-1]
            print(f"run {number + 1} {side}: {rate:,.0f} jobs/s, CPU {worker:.0f} + {server:.0f} us a job", flush=True)
    if options.open_transaction:
        loop.run_until_complete(snapshot.close())
    loop.close()
    medians = {side: statistics.median(rate for rate, _, _ in runs) for side, runs in figures.items() if runs}
    memory = psutil.virtual_memory().total / 2**30
    print(f"medians of {options.runs}: " + ", ".join(f"{side} {rate:,.0f} jobs/s" for side, rate in medians.items()))
    if len(medians) == 2:
        print(f"ratio {medians['ours'] / medians['bare']:.2f}; {os.cpu_count()} cores, {memory:.0f} GiB")


if __name__ == "__main__":
    given = _options()
    if given.drain:
        _drain(given)
    else:
        with _database(given.database_url) as address:
            run(given, address)
