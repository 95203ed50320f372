"""Runs the comparison; see the package's docstring."""

import argparse
import asyncio
import subprocess
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from statistics import median

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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checks", type=int, default=6_000, help="checks a turn; memory gets ten times as many")
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--sides", default=",".join(TITLES))
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    return parser.parse_args()


async def _ours(store: Store, options: argparse.Namespace, checks: int) -> float:
    """Checks a second."""
    left = iter(range(checks))

    async def one_after_another() -> None:
        for number in left:
            await store.take(f"k{number % options.keys}", _RULE)

    await store.check()
    started = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(options.at_once)))
    return checks / (time.perf_counter() - started)


async def _turn_of_ours(side: str, options: argparse.Namespace, urls: dict[str, str]) -> float:
    if side == "memory":
        return await _ours(Memory(), options, 10 * options.checks)
    if side == "redis":
        client = Redis(urls["redis"], use="bench", timeout_seconds=_PATIENT_SECONDS)
        await client.ask("FLUSHALL")
        rate = await _ours(RedisStore(client), options, options.checks)
        await client.close()
        return rate
    db = Database(urls["postgresql"], size=4)
    async with db.connection() as connection:
        await connection.execute("truncate mainstay.rate_limits")
    rate = await _ours(PostgreSQL(db, timeout_seconds=_PATIENT_SECONDS), options, options.checks)
    await db.close()
    return rate


def _take(side: str, options: argparse.Namespace, urls: dict[str, str]) -> float:
    if not side.startswith("limits-"):
        return asyncio.run(_turn_of_ours(side, options, urls))
    in_memory = side == "limits-memory"
    storage = "async+memory://" if in_memory else urls["redis"].replace("redis://", "async+redis://")
    checks = options.checks * 10 if in_memory else options.checks
    script = Path(__file__).with_name("peer_limits.py")
    command = [str(peers.python("requirements-limits.txt")), str(script), storage, str(checks)]
    command += [str(options.at_once), str(options.keys)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed: {done.stderr.strip()[-2000:]}")
    return float(done.stdout.split()[-1])


def compare(options: argparse.Namespace) -> None:
    """Each side has taken its turns; figures and ratios are printed, and written where that was asked for."""
    sides, absent, urls = options.sides.split(","), [], {}
    with ExitStack() as opened:
        if "postgresql" in sides:
            server = opened.enter_context(machine.database(options.database_url))
            urls["postgresql"] = asyncio.run(machine.create_database(server, _DATABASE))
            opened.callback(lambda: asyncio.run(machine.drop_database(server, _DATABASE)))
            asyncio.run(migrations.migrate(urls["postgresql"], main.partitioned()))
        try:
            if any("redis" in side for side in sides):
                urls["redis"] = opened.enter_context(redis_server.redis(durable=False)).url
            if any(side.startswith("limits-") for side in sides):
                peers.python("requirements-limits.txt")
        except peers.Missing as missing:
            sides = [side for side in sides if side in ("memory", "postgresql")]
            absent.append(f"Left out: Redis and limits: {missing}.")
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                rates[side].append(_take(side, options, urls))
                print(f"round {number + 1}  {TITLES[side]:22} {rates[side][-1]:>10,.0f} checks/s", flush=True)
    verdicts = [*_verdicts({side: median(found) for side, found in rates.items()}), *absent]
    print("\n".join(verdicts))
    if options.write:
        rows = [[TITLES[side], machine.spread(found)] for side, found in rates.items()]
        text = f"{written.when_and_where()} Medians of {options.rounds} turns [least - greatest], {options.at_once} at "
        text += f"once over {options.keys} keys, 100 a minute each.\n\n{written.table(['', 'checks/s'], rows)}\n\n"
        written.write(options.write, "limits", text + " ".join(verdicts))


def _verdicts(rates: dict[str, float]) -> list[str]:
    found = [f"Checks a second, {TITLES[side]}: {rate:,.0f}." for side, rate in rates.items()]
    for kind in ("memory", "redis"):
        if kind in rates and f"limits-{kind}" in rates:
            found.append(f"In {kind}, ours to limits: {rates[kind] / rates[f'limits-{kind}']:.2f}.")
    return found


if __name__ == "__main__":
    compare(_options())
