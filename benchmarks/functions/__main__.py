"""Runs the comparison; see the package's docstring."""

import argparse
import asyncio
import gc
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks import machine, peers, written
from benchmarks.functions import ours
from mainstay import main
from mainstay.kernel import migrations

_OURS, _PEER, _STEPS = "bench_functions", "bench_dbos", 3
_LIMIT_SECONDS = 300
TITLES = {"ours": "Mainstay", "dbos": "DBOS 3.4 (Python)"}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: steps a second, and microseconds of CPU a step of the process and of PostgreSQL."""

    rate: float
    process_us: float
    store_us: float

    @property
    def all_us(self) -> float:
        """Microseconds of CPU a step in every process that shared in the work."""
        return self.process_us + self.store_us


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.functions", description=__doc__)
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=6_000, help="runs a turn; DBOS gets a sixth of them")
    parser.add_argument("--at-once", type=int, default=100, help="runs that execute at once")
    parser.add_argument("--sides", default="ours,dbos")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    parser.add_argument("--turn", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _turn(options: argparse.Namespace) -> None:
    """Our side in a process of its own: prints runs, seconds and CPU seconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    cpu, started = time.process_time(), time.perf_counter()
    count = uvloop.run(ours.run(options.database_url, options.runs, options.at_once))
    print(count, time.perf_counter() - started, time.process_time() - cpu)


def _command(side: str, url: str, count: int, at_once: int) -> list[str]:
    if side == "ours":
        module = [sys.executable, "-m", "benchmarks.functions", "--turn", "--database-url", url]
        return [*module, "--runs", str(count), "--at-once", str(at_once)]
    script = Path(__file__).with_name("peer_dbos.py")
    return [str(peers.python("requirements-dbos.txt")), str(script), url, str(count), str(at_once)]


def _take(side: str, options: argparse.Namespace, server_url: str) -> Turn:
    name = _OURS if side == "ours" else _PEER
    url = asyncio.run(machine.create_database(server_url, name))
    if side == "ours":
        asyncio.run(migrations.migrate(url, main.partitioned()))
    count = options.runs if side == "ours" else max(options.runs // 6, 10)
    command = _command(side, url, count, options.at_once)
    asyncio.run(machine.settle(server_url))
    store = asyncio.run(machine.postmaster(server_url))
    spent = machine.tree_seconds(store)
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed: {done.stderr.strip()[-2000:]}")
    spent = machine.tree_seconds(store) - spent
    number, seconds, cpu = map(float, done.stdout.split()[-3:])
    asyncio.run(machine.drop_database(server_url, name))
    steps = number * _STEPS
    return Turn(steps / seconds, cpu / steps * 1e6, spent / steps * 1e6)


def compare(options: argparse.Namespace, server_url: str) -> None:
    """Both sides have taken their turns; figures and ratios are printed, and written where that was asked for."""
    names, absent = options.sides.split(","), []
    if "dbos" in names:
        try:
            peers.python("requirements-dbos.txt")
        except peers.Missing as missing:
            names.remove("dbos")
            absent.append(f"Left out: DBOS: {missing}.")
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            turn = _take(name, options, server_url)
            turns[name].append(turn)
            print(f"round {number + 1}  {TITLES[name]:20} {turn.rate:>8,.0f} steps/s, CPU a step: "
                  f"process {turn.process_us:,.0f} + PostgreSQL {turn.store_us:,.0f} us", flush=True)  # fmt: skip
    verdicts = [*_verdicts(turns), *absent]
    print("\n".join(verdicts))
    if options.write:
        _write(options, turns, verdicts)


def _verdicts(turns: dict[str, list[Turn]]) -> list[str]:
    rates = {name: median([turn.rate for turn in taken]) for name, taken in turns.items()}
    costs = {name: median([turn.all_us for turn in taken]) for name, taken in turns.items()}
    if "dbos" not in turns or "ours" not in turns:
        return [f"steps a second: {rate:,.0f}" for rate in rates.values()]
    return [
        f"Steps a second, ours to DBOS: {rates['ours'] / rates['dbos']:.1f}. "
        f"CPU a step of all processes, DBOS to ours: {costs['dbos'] / costs['ours']:.1f}."
    ]


def _write(options: argparse.Namespace, turns: dict[str, list[Turn]], verdicts: list[str]) -> None:
    rows = [
        [
            f"**{TITLES[name]}**" if name == "ours" else TITLES[name],
            machine.spread([turn.rate for turn in taken]),
            machine.spread([turn.all_us for turn in taken]) + " µs",
            f"{median([t.process_us for t in taken]):,.0f} + {median([t.store_us for t in taken]):,.0f} µs",
        ]
        for name, taken in turns.items()
    ]
    head = ["", "steps/s", "CPU a step, all processes", "process + PostgreSQL"]
    text = f"{written.when_and_where()} Medians of {options.rounds} turns [least - greatest], "
    text += f"{options.at_once} runs at once.\n\n"
    written.write(options.write, "functions", text + written.table(head, rows) + "\n\n" + " ".join(verdicts))


if __name__ == "__main__":
    given = _options()
    if given.turn:
        _turn(given)
    else:
        print(machine.describe(), flush=True)
        with machine.database(given.database_url) as address:
            compare(given, address)
