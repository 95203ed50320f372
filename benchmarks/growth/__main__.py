"""Runs every measurement of growth and prints its ratios: `python -m benchmarks.growth [--write docs]`."""

import argparse
import asyncio
import gc
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from benchmarks import machine, written
from benchmarks.growth import filling, history, tenants, turns
from benchmarks.growth.turns import Side, Turn

NAME, _TEMPLATE = "growth", "bench_growth_template"
_CALM = "no open transaction"
_QUIET = "alter table mainstay.jobs set (autovacuum_enabled = {})"
_HEAD = ["", "jobs/s", "CPU a job, worker + PostgreSQL", "rate to the first", "CPU to the first"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    parser.add_argument("--runs", type=int, default=3, help="turns of each side in each comparison")
    parser.add_argument("--jobs", type=int, default=40_000, help="jobs a turn")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="jobs that wait behind them")
    parser.add_argument("--lanes", type=int, default=10_000)
    parser.add_argument("--dead", type=int, default=600_000, help="jobs that came and went beside the open transaction")
    parser.add_argument("--history", type=int, default=1_000_000, help="rows of the partition that goes")
    parser.add_argument("--flood", type=int, default=100_000, help="jobs that one tenant puts in line at once")
    parser.add_argument("--only", default=",".join(PARTS), help="what is measured, by commas")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the tables into this documentation")
    parser.add_argument("--drain", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


class Stage:
    """The databases of a run, on one server."""

    def __init__(self, server_url: str) -> None:
        self.server_url = server_url
        self._names = [_TEMPLATE]
        url = asyncio.run(machine.create_database(server_url, _TEMPLATE))
        asyncio.run(filling.migrate(url))
        asyncio.run(filling.run(url, _QUIET.format("off")))

    def database(self, name: str, jobs: int = 0, lanes: int = 1) -> str:
        """A database of Mainstay's with so many jobs in line, which nothing has analyzed or vacuumed."""
        self._names.append(f"bench_growth_{name}")
        asyncio.run(machine.drop_database(self.server_url, self._names[-1]))
        asyncio.run(filling.run(self.server_url, f"create database {self._names[-1]} template {_TEMPLATE}"))
        url = self.server_url.rpartition("/")[0] + "/" + self._names[-1]
        asyncio.run(filling.fill(url, jobs, lanes))
        return url

    def close(self) -> None:
        """They are gone."""
        for name in self._names:
            asyncio.run(machine.drop_database(self.server_url, name))


def backlogs(stage: Stage, options: argparse.Namespace) -> list[str]:
    """A million waiting jobs against a thousand, first as the load left them, then vacuumed and analyzed."""
    million = f"{options.backlog:,}"
    spread = f"over {options.lanes:,} lanes"
    sides = [
        Side("behind 1,000 jobs in one lane", stage.database("few", 1_000), 1),
        Side(f"behind {million} in one lane", stage.database("lane", options.backlog), 1),
        Side(f"behind 1,000 jobs {spread}", stage.database("few_lanes", 1_000, options.lanes), options.lanes),
        Side(f"behind {million} {spread}", stage.database("lanes", options.backlog, options.lanes), options.lanes),
    ]
    lines = []
    for title in ("As the bulk load left it: neither vacuumed nor analyzed.", "Vacuumed and analyzed."):
        print(title, flush=True)
        found = turns.turns_of(stage.server_url, sides, options.jobs, options.runs)
        lines += [title, "", _table(sides[:2], found), "", _table(sides[2:], found), ""]
        for side in sides:
            asyncio.run(filling.run(side.url, _QUIET.format("on")))
            asyncio.run(filling.run(side.url, "vacuum analyze mainstay.jobs"))
    return lines


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    loop = asyncio.new_event_loop()

    async def open_one() -> asyncpg.Connection:
        connection = await asyncpg.connect(url)
        await connection.execute("begin isolation level repeatable read; select count(*) from mainstay.queues")
        return connection

    held = loop.run_until_complete(open_one())
    yield
    loop.run_until_complete(held.close())
    loop.close()


def open_transaction(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Beside a snapshot that keeps the dead rows of so many jobs, against none."""
    title = f"beside a transaction open since {options.dead:,} jobs ago"
    sides = [Side(_CALM, stage.database("calm", 1_000), 1), Side(title, stage.database("held", 1_000), 1)]
    for side in sides:
        asyncio.run(filling.run(side.url, _QUIET.format("on")))
    with _snapshot(sides[1].url):
        asyncio.run(filling.fill(sides[1].url, options.dead, 1))
        turns.take_turn(stage.server_url, sides[1].url, options.dead)
        found = turns.turns_of(stage.server_url, sides, options.jobs, options.runs)
    lost = 1 - _rate(found[title]) / _rate(found[_CALM])
    more = _cpu(found[title]) / _cpu(found[_CALM]) - 1
    line = (
        f"The open transaction costs {lost:.0%} of the rate, and {more:+.0%} of CPU a job. Goal, under 25% of the rate:"
    )
    line += " met." if lost < 0.25 else " NOT met."
    table = _table(sides, found)
    print(line, flush=True)
    return [table, "", line, ""]


def old_history(stage: Stage, options: argparse.Namespace) -> list[str]:
    """A partition dropped, against its rows deleted."""
    dropped, deleted, vacuumed = asyncio.run(history.measure(stage.database("history"), options.history))
    times = (deleted + vacuumed) / dropped
    line = (
        f"A week of history with {options.history:,} jobs is dropped in {dropped * 1_000:,.0f} ms. Deleting the same"
        f" rows takes {deleted:,.1f} s, and the vacuum after it {vacuumed:,.1f} s: {times:,.0f} times as long."
    )
    print(line, flush=True)
    return [line, ""]


def neighbours(stage: Stage, options: argparse.Namespace) -> list[str]:
    """What a flood of one tenant costs another."""
    url = stage.database("tenants")
    calm = asyncio.run(tenants.measure(url, 0, min(3.0, options.flood / 1_000)))
    seen = asyncio.run(tenants.measure(url, options.flood, 0.0))
    rows = [_waits("nobody else", calm), _waits(f"another tenant's {options.flood:,} jobs drain", seen)]
    table = written.table(["from enqueue to start, while", "p50", "p99", "most", "jobs"], rows)
    verdict = "met" if max(seen.waits_ms) < 1_000 else "NOT met"
    line = f"The flood took {seen.flood_seconds:.1f} s. Goal, the most under a second: {verdict}."
    print(table, line, sep="\n", flush=True)
    return [table, "", line]


def _waits(title: str, seen: tenants.Seen) -> list[str]:
    waits = sorted(seen.waits_ms)
    p99 = waits[min(len(waits) - 1, round(0.99 * len(waits)))]
    return [title, *(f"{value:,.1f} ms" for value in (statistics.median(waits), p99, waits[-1])), f"{len(waits):,}"]


def _rate(found: Sequence[Turn]) -> float:
    return statistics.median([turn.rate for turn in found])


def _cpu(found: Sequence[Turn]) -> float:
    return statistics.median([turn.cpu_us for turn in found])


def _table(sides: Sequence[Side], found: dict[str, list[Turn]]) -> str:
    first = found[sides[0].name]
    rows = []
    for side in sides:
        mine = found[side.name]
        ratios = (_rate(mine) / _rate(first), _cpu(mine) / _cpu(first))
        print(f"{side.name}: {ratios[0]:.2f} of the rate, {ratios[1]:.2f} of the CPU a job of '{sides[0].name}'")
        shown = machine.spread([turn.rate for turn in mine]), machine.spread([turn.cpu_us for turn in mine]) + " µs"
        rows.append([side.name, *shown, *(f"{ratio:.2f}" for ratio in ratios)])
    return written.table(_HEAD, rows)


_BUFFERS = "4GB"
"""A sixth of the machine's memory, so that a backlog of a million is in it, as on a server that is set up for it."""
PARTS = {"backlogs": backlogs, "open": open_transaction, "history": old_history, "tenants": neighbours}


def main(options: argparse.Namespace, server_url: str) -> None:
    """Everything has been measured, and written where that was asked for."""
    stage = Stage(server_url)
    try:
        lines = [f"{written.when_and_where()} Medians of {options.runs} turns [least - greatest].", ""]
        for name, measure in PARTS.items():
            if name in options.only.split(","):
                lines += measure(stage, options)
    finally:
        stage.close()
    if options.write:
        written.write(options.write, NAME, "\n".join(lines))


if __name__ == "__main__":
    given = _options()
    if given.drain:
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        turns.drain_here(given.database_url, given.drain)
    else:
        print(machine.describe(), flush=True)
        with machine.database(given.database_url, shared_buffers=_BUFFERS) as address:
            main(given, address)
