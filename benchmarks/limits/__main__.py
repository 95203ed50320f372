"""Runs the comparison; see the package's docstring."""

import argparse
import asyncio
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from benchmarks import machine, peers, redis_server, written
from mainstay import main
from mainstay.kernel import migrations
from mainstay.kernel.db import Database
from mainstay.kernel.redis import Redis
from mainstay.limits import Rule, Store
from mainstay.limits.memory import Memory
from mainstay.limits.postgres import PostgreSQL
from mainstay.limits.redis_store import RedisStore

_RULE = Rule("bench", 100, timedelta(minutes=1))
_DATABASE = "bench_limits"
_PATIENT_SECONDS = 30.0
TITLES = {
    "memory": "Mainstay, memory", "postgresql": "Mainstay, PostgreSQL", "redis": "Mainstay, Redis",
    "limits-memory": "limits, memory", "limits-redis": "limits, Redis",
}  # fmt: skip


class _Case(NamedTuple):
    at_once: int
    keys: int

    @property
    def title(self) -> str:
        return f"{self.at_once} at once, {'one key' if self.keys == 1 else f'{self.keys:,} keys'}"


class _Turn(NamedTuple):
    """Checks a second, and microseconds of CPU a check: of the caller, and of the server where there is one."""

    rate: float
    cpu_us: float


@dataclass(slots=True)
class _Places:
    """Where sides count; `servers` are the processes whose CPU counts too."""

    urls: dict[str, str]
    servers: dict[str, psutil.Process]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checks", type=int, default=8_000, help="checks a turn; memory gets ten times as many")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--keys", type=int, nargs="+", default=[1, 1_000])
    parser.add_argument("--sides", default=",".join(TITLES))
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    return parser.parse_args()


async def _ours(store: Store, case: _Case, checks: int) -> tuple[float, float]:
    """Seconds, and seconds of CPU."""
    left = iter(range(checks))

    async def one_after_another() -> None:
        for number in left:
            await store.take(f"k{number % case.keys}", _RULE)

    await store.take("warm", _RULE)
    started, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_after_another() for _ in range(case.at_once)))
    return time.perf_counter() - started, time.process_time() - used


async def _turn_of_ours(side: str, case: _Case, checks: int, urls: dict[str, str]) -> tuple[float, float]:
    if side == "memory":
        return await _ours(Memory(), case, checks)
    if side == "redis":
        client = Redis(urls["redis"], use="bench", timeout_seconds=_PATIENT_SECONDS)
        try:
            return await _ours(RedisStore(client), case, checks)
        finally:
            await client.close()
    db = Database(urls["postgresql"], size=4)
    try:
        async with db.connection() as connection:
            await connection.execute("truncate mainstay.rate_limits")
        return await _ours(PostgreSQL(db, timeout_seconds=_PATIENT_SECONDS), case, checks)
    finally:
        await db.close()


def _turn_of_limits(side: str, case: _Case, checks: int, urls: dict[str, str]) -> tuple[float, float]:
    storage = "async+memory://" if side == "limits-memory" else urls["redis"].replace("redis://", "async+redis://")
    script = Path(__file__).with_name("peer_limits.py")
    command = [str(peers.python("requirements-limits.txt")), str(script), storage, str(checks)]
    command += [str(case.at_once), str(case.keys)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed: {done.stderr.strip()[-2000:]}")
    seconds, used = done.stdout.split()[-2:]
    return float(seconds), float(used)


def _take(side: str, case: _Case, options: argparse.Namespace, places: _Places) -> _Turn:
    checks = options.checks * 10 if side.endswith("memory") else options.checks
    server = places.servers.get(side.removeprefix("limits-"))
    if side.endswith("redis"):
        asyncio.run(_empty(places.urls["redis"]))
    before = machine.tree_seconds(server) if server else 0.0
    if side.startswith("limits-"):
        seconds, used = _turn_of_limits(side, case, checks, places.urls)
    else:
        seconds, used = asyncio.run(_turn_of_ours(side, case, checks, places.urls))
    if server:
        # The CPU of a session counts once its process is gone.
        time.sleep(0.3)
        used += machine.tree_seconds(server) - before
    return _Turn(checks / seconds, used / checks * 1_000_000)


async def _empty(url: str) -> None:
    client = Redis(url, use="bench", timeout_seconds=_PATIENT_SECONDS)
    await client.ask("FLUSHALL")
    await client.close()


def compare(options: argparse.Namespace) -> None:
    """Each side has taken its turns; figures and ratios are printed, and written where that was asked for."""
    sides, absent, places = options.sides.split(","), [], _Places({}, {})
    cases = [_Case(at_once, keys) for at_once in options.at_once for keys in options.keys]
    with ExitStack() as opened:
        if "postgresql" in sides:
            server = opened.enter_context(machine.database(options.database_url))
            url = places.urls["postgresql"] = asyncio.run(machine.create_database(server, _DATABASE))
            opened.callback(lambda: asyncio.run(machine.drop_database(server, _DATABASE)))
            asyncio.run(migrations.migrate(url, main.partitioned()))
            places.servers["postgresql"] = asyncio.run(machine.postmaster(url))
        try:
            if any("redis" in side for side in sides):
                redis = opened.enter_context(redis_server.redis(durable=False))
                places.urls["redis"], places.servers["redis"] = redis.url, redis.process
            if any(side.startswith("limits-") for side in sides):
                peers.python("requirements-limits.txt")
        except peers.Missing as missing:
            sides = [side for side in sides if side in ("memory", "postgresql")]
            absent.append(f"Left out: Redis and limits: {missing}.")
        found: dict[tuple[_Case, str], list[_Turn]] = {(case, side): [] for case in cases for side in sides}
        for number in range(options.rounds):
            for case in cases:
                for side in sides if number % 2 == 0 else sides[::-1]:
                    turn = _take(side, case, options, places)
                    found[case, side].append(turn)
                    told = f"{turn.rate:>10,.0f} checks/s {turn.cpu_us:>8.1f} us CPU"
                    print(f"round {number + 1}  {case.title:24} {TITLES[side]:22} {told}", flush=True)
    verdicts = [*_verdicts(cases, found), *absent]
    print("\n".join(verdicts))
    if options.write:
        rows = [
            [case.title, TITLES[side], machine.spread([one.rate for one in turns]),
             machine.spread([one.cpu_us for one in turns], ",.1f")]
            for (case, side), turns in found.items()
        ]  # fmt: skip
        text = f"{written.when_and_where()} Medians of {options.rounds} turns [least - greatest], 100 a minute each."
        text += "\n\n" + written.table(["", "", "checks/s", "us of CPU a check"], rows)
        written.write(options.write, "limits", f"{text}\n\n{' '.join(verdicts)}")


def _verdicts(cases: list[_Case], found: dict[tuple[_Case, str], list[_Turn]]) -> list[str]:
    told = []
    for case in cases:
        for ours, theirs in (("memory", "limits-memory"), ("redis", "limits-redis"), ("postgresql", "limits-redis")):
            if (case, ours) in found and (case, theirs) in found:
                rate, cpu = (
                    median(one[place] for one in found[case, ours]) / median(one[place] for one in found[case, theirs])
                    for place in (0, 1)
                )
                told.append(f"{case.title}, {TITLES[ours]} to {TITLES[theirs]}: rate {rate:.2f}, CPU {cpu:.2f}.")
    return told


if __name__ == "__main__":
    compare(_options())
