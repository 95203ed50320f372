"""Runs the comparison; see the package's docstring."""

import argparse
import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import uvloop

from benchmarks import machine
from benchmarks.jobs import bare, ours, report, sides
from benchmarks.jobs.report import Turn
from benchmarks.jobs.sides import Side
from benchmarks.peers import Missing
from benchmarks.redis_server import Redis, redis
from mainstay import main
from mainstay.kernel import migrations

_SHARED, _OWN = "bench_shared", "bench_peer"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=sides.FULL, help="jobs a turn; slow peers get a share of it")
    parser.add_argument("--sides", default=",".join(sides.NAMES), help="who takes part, by commas")
    parser.add_argument("--backlog", type=int, default=0, help="waiting jobs behind those that are measured")
    parser.add_argument("--open-transaction", action="store_true", help="beside an open snapshot and what it keeps")
    parser.add_argument("--churn", type=int, default=500_000, help="jobs that came and went since that snapshot")
    parser.add_argument("--redis-in-memory", action="store_true", help="a Redis that keeps nothing on disk")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put table and plot into this documentation")
    parser.add_argument("--drain", choices=["bare", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.sides.split(",")) - set(sides.NAMES):
        parser.error(f"no side is called {', '.join(sorted(unknown))}; there are {', '.join(sides.NAMES)}")
    return options


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


class Stage:
    """The stores that the sides of a run work on."""

    def __init__(self, server_url: str, cache: Redis | None) -> None:
        self._server_url = server_url
        self._cache = cache
        self._postgres = asyncio.run(machine.postmaster(server_url))
        self.shared = asyncio.run(machine.create_database(server_url, _SHARED))

    def close(self) -> None:
        """The databases of the run are gone."""
        for name in (_SHARED, _OWN):
            asyncio.run(machine.drop_database(self._server_url, name))

    def take_turn(self, side: Side, count: int) -> Turn:
        """One drain of that many jobs: how fast, and what it cost in microseconds of CPU a job."""
        url = self._place(side)
        side.fill(url, count)
        asyncio.run(machine.settle(self._server_url))
        store = self._cache.process if side.place == "redis" and self._cache else self._postgres
        spent = machine.tree_seconds(store)
        done, seconds, cpu = sides.drained(side.drain(url, count))
        spent = machine.tree_seconds(store) - spent
        return Turn(done / seconds, cpu / done * 1e6, spent / count * 1e6)

    def _place(self, side: Side) -> str:
        if side.place == "shared":
            return self.shared
        if side.place == "own":
            return asyncio.run(machine.create_database(self._server_url, _OWN))
        assert self._cache is not None
        return self._cache.url


async def _prepare(options: argparse.Namespace, url: str) -> None:
    await migrations.migrate(url, main.partitioned())
    connection = await asyncpg.connect(url)
    await connection.execute(bare.TABLES)
    await connection.close()
    if options.backlog:
        await ours.fill(url, sides.PAYLOAD, options.backlog)


async def _snapshot(url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    await connection.execute("begin isolation level repeatable read")
    await connection.fetchval("select count(*) from mainstay.queues")
    return connection


@contextmanager
def _held_open(stage: Stage, churn: int) -> Iterator[None]:
    """A snapshot is open, and that many jobs have come and gone since."""
    loop = asyncio.new_event_loop()
    snapshot = loop.run_until_complete(_snapshot(stage.shared))
    sides.fill_ours_without_vacuum(stage.shared, churn)
    sides.drained(sides.HOUSE[1].drain(stage.shared, churn))
    yield
    loop.run_until_complete(snapshot.close())
    loop.close()


def run(options: argparse.Namespace, found: list[Side], stage: Stage) -> dict[str, list[Turn]]:
    """Every side has taken its turns, in an order that moves on with each round."""
    turns: dict[str, list[Turn]] = {side.name: [] for side in found}
    for number in range(options.runs):
        first = number % len(found)
        for side in found[first:] + found[:first]:
            turn = stage.take_turn(side, max(100, round(options.jobs * side.share)))
            turns[side.name].append(turn)
            print(f"run {number + 1}  {side.title:32} {turn.rate:>8,.0f} jobs/s, CPU a job: "
                  f"worker {turn.worker_us:,.0f} + store {turn.store_us:,.0f} us", flush=True)  # fmt: skip
    return turns


def compare(options: argparse.Namespace, server_url: str) -> None:
    """Every figure of the comparison has been printed, and written where that was asked for."""
    alone = options.backlog or options.open_transaction
    found, absent = sides.find(["bare", "ours"] if alone else options.sides.split(","))
    with ExitStack() as stack:
        cache = None
        if any(side.place == "redis" for side in found):
            try:
                cache = stack.enter_context(redis(durable=not options.redis_in_memory))
            except Missing as missing:
                absent += [f"{side.name}: {missing}" for side in found if side.place == "redis"]
                found = [side for side in found if side.place != "redis"]
        stage = Stage(server_url, cache)
        stack.callback(stage.close)
        asyncio.run(_prepare(options, stage.shared))
        if options.open_transaction:
            stack.enter_context(_held_open(stage, options.churn))
            found = [replace(s, fill=sides.fill_ours_without_vacuum) if s.name == "ours" else s for s in found]
        for line in absent:
            print(f"left out: {line}")
        turns = run(options, found, stage)
    report.tell(options, found, turns, absent=absent, store=cache.title if cache else "")


if __name__ == "__main__":
    given = _options()
    if given.drain:
        _drain(given)
    else:
        print(machine.describe(), flush=True)
        with machine.database(given.database_url) as address:
            compare(given, address)
