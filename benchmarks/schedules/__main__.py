"""Runs the comparison; see the package's docstring."""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import machine, peers, written
from benchmarks.peers import Missing
from benchmarks.schedules import ours
from mainstay import main
from mainstay.kernel import migrations

_DATABASE = "bench_schedules"
_HERE = Path(__file__).parent
TITLES = {"bare": "bare loop (asyncio, keeps nothing)", "ours": "Mainstay", "procrastinate": "procrastinate 3.10"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one side did: the lateness of its runs in milliseconds, and the slots that had none."""

    name: str
    late_ms: list[float]
    slots: int

    def at(self, share: float) -> float:
        """The lateness that this share of the runs did not exceed."""
        return self.late_ms[min(int(len(self.late_ms) * share), len(self.late_ms) - 1)]

    @property
    def missing(self) -> int:
        """Slots without a run."""
        return max(0, self.slots - len(self.late_ms))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__)
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=30, help="how long each side is measured")
    parser.add_argument("--warm", type=int, default=3, help="seconds that are not counted at first")
    parser.add_argument("--sides", default=",".join(TITLES), help="who takes part, by commas")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    parser.add_argument("--measure", choices=["bare", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.sides.split(",")) - set(TITLES):
        parser.error(f"no side is called {', '.join(sorted(unknown))}; there are {', '.join(TITLES)}")
    return options


def _measure(options: argparse.Namespace) -> None:
    """One side in a process of its own: prints the moments of its runs."""
    if options.measure == "bare":
        moments = uvloop.run(ours.bare(options.schedules, options.seconds))
    else:
        moments = uvloop.run(ours.measure(options.database_url, options.schedules, options.seconds))
    print(json.dumps(moments))


def _house(options: argparse.Namespace, name: str, url: str, seconds: int) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.schedules", "--measure", name, "--database-url", url]
    return [*command, "--schedules", str(options.schedules), "--seconds", str(seconds)]


def _procrastinate(options: argparse.Namespace, _: str, url: str, seconds: int) -> list[str]:
    script = [str(peers.python("requirements.txt")), str(_HERE / "peer_procrastinate.py")]
    return [*script, url, str(options.schedules), str(seconds)]


COMMANDS: dict[str, Callable[[argparse.Namespace, str, str, int], list[str]]] = {
    "bare": _house,
    "ours": _house,
    "procrastinate": _procrastinate,
}


def take_turn(options: argparse.Namespace, name: str, server_url: str) -> Measured:
    """One side has been measured on a database of its own."""
    url = asyncio.run(machine.create_database(server_url, _DATABASE))
    try:
        if name == "ours":
            asyncio.run(migrations.migrate(url, main.partitioned()))
        seconds = options.seconds + options.warm + 2
        command = COMMANDS[name](options, name, url, seconds)
        asyncio.run(machine.settle(server_url))
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    finally:
        asyncio.run(machine.drop_database(server_url, _DATABASE))
    if done.returncode:
        raise SystemExit(f"{name} failed: {done.stderr.strip()[-1_000:]}")
    moments = sorted(json.loads(done.stdout.splitlines()[-1]))
    first = int(moments[0]) + options.warm if moments else int(time.time())
    counted = [moment for moment in moments if first <= moment < first + options.seconds]
    return Measured(name, sorted((one - int(one)) * 1_000 for one in counted), options.schedules * options.seconds)


def compare(options: argparse.Namespace, server_url: str) -> None:
    """Every side has taken its turn, and the table has been printed, and written where that was asked for."""
    rows = []
    for name in options.sides.split(","):
        try:
            found = take_turn(options, name, server_url)
        except Missing as missing:
            print(f"left out: {name}: {missing}")
            continue
        figures = [f"{found.at(share):,.1f}" for share in (0.5, 0.99, 1.0)] if found.late_ms else ["-"] * 3
        rows.append([TITLES[name], *figures, f"{found.missing:,} of {found.slots:,}"])
        print(f"{TITLES[name]:36} p50 {figures[0]:>8} ms  p99 {figures[1]:>8} ms  most {figures[2]:>8} ms  "
              f"missing {rows[-1][-1]}", flush=True)  # fmt: skip
    head = ["schedules due each second", "lateness p50 ms", "p99 ms", "most ms", "slots without a run"]
    table = written.table([f"{options.schedules} {head[0]}", *head[1:]], rows)
    print(table)
    if options.write:
        command = f"`python -m benchmarks.schedules`, {options.seconds} s a side."
        written.write(options.write, "schedules", f"{written.when_and_where()} {command}\n\n{table}")


if __name__ == "__main__":
    given = _options()
    if given.measure:
        _measure(given)
    else:
        print(machine.describe(), flush=True)
        with machine.database(given.database_url) as address:
            compare(given, address)
