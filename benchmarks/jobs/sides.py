"""Who takes part, and what each needs: how its queue is filled, and the command that drains it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from benchmarks import peers
from benchmarks.jobs import bare, ours

PAYLOAD = {"to": "someone@example.com", "template": "welcome", "data": {"name": "Someone", "note": "x" * 120}}
FULL = 150_000
_HERE = Path(__file__).parent
_FILL_SECONDS, _DRAIN_SECONDS = 300, 300


@dataclass(frozen=True, slots=True)
class Side:
    """One engine with its settings: `share` of the jobs of a full turn, and the place that its jobs are in."""

    name: str
    title: str
    settings: str
    share: float
    place: Literal["shared", "own", "redis"]
    fill: Callable[[str, int], None]
    drain: Callable[[str, int], Sequence[str]]


def _run(command: Sequence[str], limit_seconds: int) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


def drained(command: Sequence[str]) -> tuple[int, float, float]:
    """What a drain told: jobs, seconds and CPU seconds of its process."""
    count, seconds, cpu = _run(command, _DRAIN_SECONDS).split()[-3:]
    return int(count), float(seconds), float(cpu)


def _fill_bare(url: str, count: int) -> None:
    asyncio.run(bare.fill(url, orjson.dumps(PAYLOAD).decode(), count))


def _fill_ours(url: str, count: int) -> None:
    asyncio.run(ours.fill(url, PAYLOAD, count))


def fill_ours_without_vacuum(url: str, count: int) -> None:
    """Ours has that many jobs more, and nothing was vacuumed, as a vacuum could remove nothing beside a snapshot."""
    asyncio.run(ours.fill(url, PAYLOAD, count, vacuum=False))


def _house(name: str) -> Callable[[str, int], Sequence[str]]:
    def command(url: str, count: int) -> Sequence[str]:
        module = [sys.executable, "-m", "benchmarks.jobs", "--drain", name]
        return [*module, "--database-url", url, "--jobs", str(count)]

    return command


def _peer(
    name: str, title: str, settings: str, share: float, place: Literal["own", "redis"], how: tuple[list[str], list[str]]
) -> Side:
    program, arguments = how

    def command(mode: str, url: str, count: int) -> Sequence[str]:
        return [*program, mode, *arguments[:-1], url, str(count), *arguments[-1].split()]

    def fill(url: str, count: int) -> None:
        _run(command("fill", url, count), _FILL_SECONDS)

    return Side(name, title, settings, share, place, fill, lambda url, count: command("drain", url, count))


def _pgqueuer(batch: int, cap: int) -> tuple[list[str], list[str]]:
    script = str(_HERE / "peer_pgqueuer.py")
    return [str(peers.python("requirements.txt")), script], [f"{batch} {cap}"]


def _procrastinate() -> tuple[list[str], list[str]]:
    return [str(peers.python("requirements.txt")), str(_HERE / "peer_procrastinate.py")], ["30"]


def _bullmq_python() -> tuple[list[str], list[str]]:
    return [str(peers.python("requirements-bullmq.txt")), str(_HERE / "peer_bullmq.py")], ["100"]


def _bullmq_node(store: str, concurrency: int) -> tuple[list[str], list[str]]:
    return peers.node("jobs.mjs"), [store, str(concurrency)]


HOUSE = [
    Side("bare", "bare loop (floor)", "claims 200, acknowledges up to 1,000 a statement, 4 connections", 1, "shared",
         _fill_bare, _house("bare")),
    Side("ours", "Mainstay", f"50 lanes, {ours.SLOTS:,} slots, 6 connections", 1, "shared", _fill_ours, _house("ours")),
]  # fmt: skip

PEERS: dict[str, Callable[[], Side]] = {
    "pgqueuer": lambda: _peer("pgqueuer", "PgQueuer 1.6, bounded",
        "batches of 200, at most 400 jobs at once, 4 connections", 0.3, "own", _pgqueuer(200, 400)),
    "pgqueuer-unbounded": lambda: _peer("pgqueuer-unbounded", "PgQueuer 1.6, unbounded",
        "batches of 500, no bound on jobs in memory (its upper bound), 4 connections", 0.3, "own", _pgqueuer(500, 0)),
    "procrastinate": lambda: _peer("procrastinate", "procrastinate 3.10",
        "concurrency 30, 8 connections, deletes what succeeded", 0.012, "own", _procrastinate()),
    "bullmq-node-redis": lambda: _peer("bullmq-node-redis", "BullMQ 6.7 (Node), Redis",
        "concurrency 100, removeOnComplete", 0.25, "redis", _bullmq_node("redis", 100)),
    "bullmq-node-postgres": lambda: _peer("bullmq-node-postgres", "BullMQ 6.7 (Node), PostgreSQL",
        "concurrency 50, pool of 10, removeOnComplete", 0.03, "own", _bullmq_node("postgres", 50)),
    "bullmq-python-redis": lambda: _peer("bullmq-python-redis", "BullMQ 3.4 (Python), Redis",
        "concurrency 100, removeOnComplete, uvloop", 0.04, "redis", _bullmq_python()),
}  # fmt: skip
"""Each is made when it is asked for, which installs it where needed; Missing where that cannot be done."""

NAMES = [side.name for side in HOUSE] + list(PEERS)


def find(names: Sequence[str]) -> tuple[list[Side], list[str]]:
    """The sides of these names that can run here, and a line for each that cannot."""
    sides, absent = [side for side in HOUSE if side.name in names], []
    for name in (name for name in PEERS if name in names):
        try:
            sides.append(PEERS[name]())
        except peers.Missing as missing:
            absent.append(f"{name}: {missing}")
    return sides, absent
