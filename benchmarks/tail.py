"""Open tails on one API process: statements a second, memory, and how long an event takes to every client.

Events come at a steady rate while 1, 100 and 1,000 clients follow 100 workspaces of 10 companies; each client checks
that its seqs have no gap. Run with `python -m benchmarks.tail --write docs`.
"""

import argparse
import asyncio
import re
import secrets
import statistics
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson
import psutil

from benchmarks import machine, written
from benchmarks.served import Served
from mainstay import identity, main
from mainstay.kernel import migrations
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor

PATH = "/v1/key/workspace/events"
COMPANIES = 10
WORKSPACES = 10
_COUNT = re.compile(r'^db_query_duration_seconds_count\{operation="([^"]+)"\} (\S+)', re.MULTILINE)
_BY = Actor(kind="operator", id="benchmark")


@dataclass
class Seen:
    """What the clients of one stage saw."""

    latencies_ms: list[float] = field(default_factory=list)
    gaps: int = 0
    open: int = 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tail", description=__doc__)
    parser.add_argument("--tails", type=int, nargs="+", default=[1, 100, 1_000], help="how many are open, by stage")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured time of each stage")
    parser.add_argument("--rate", type=float, default=50.0, help="events a second over all workspaces")
    parser.add_argument("--port", type=int, default=18_110)
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into this documentation")
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    return parser.parse_args()


async def _keys(url: str) -> list[str]:
    """A key of each workspace, those of different companies in turn."""
    db = Database(url, size=2)
    found: list[list[str]] = []
    for _ in range(COMPANIES):
        async with db.begin() as tx:
            company = await identity.open_company(
                tx, _BY, name="Tails", slug=f"t-{secrets.token_hex(6)}", region="US", plan="growth"
            )
            keys = []
            for n in range(WORKSPACES):
                workspace = await identity.open_workspace(tx, _BY, company.id, name=f"W{n}")
                issued = await identity.issue_key(
                    tx, _BY, company.id, kind="workspace", name="k", workspace_id=workspace.id
                )
                keys.append(issued.secret)
            found.append(keys)
    await db.close()
    return [keys[n] for n in range(WORKSPACES) for keys in found]


async def _follow(session: aiohttp.ClientSession, base: str, key: str, seen: Seen) -> None:
    last = None
    headers = {"authorization": f"Bearer {key}"}
    async with session.get(f"{base}{PATH}/tail", headers=headers) as answer:
        if answer.status != 200:
            raise SystemExit(f"a tail was refused: {answer.status} {await answer.text()}")
        seen.open += 1
        async for line in answer.content:
            if line.startswith(b"data: "):
                event = orjson.loads(line[6:])
                late = datetime.now(UTC) - datetime.fromisoformat(event["receivedAt"])
                seen.latencies_ms.append(late.total_seconds() * 1_000)
                seen.gaps += last is not None and event["seq"] != last + 1
                last = event["seq"]


async def _write(session: aiohttp.ClientSession, base: str, keys: list[str], rate: float) -> None:
    number, began = 0, time.perf_counter()
    while True:
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        headers = {"authorization": f"Bearer {keys[number % len(keys)]}"}
        async with session.post(base + PATH, json={"action": "a", "payload": {"n": number}}, headers=headers) as answer:
            if answer.status != 201:
                raise SystemExit(f"an event was refused: {answer.status} {await answer.text()}")
        number += 1


async def _statements(session: aiohttp.ClientSession, base: str) -> dict[str, float]:
    async with session.get(f"{base}/metrics") as answer:
        return {name: float(count) for name, count in _COUNT.findall(await answer.text())}


async def _stage(options: argparse.Namespace, keys: list[str], process: psutil.Process, tails: int) -> list[str]:
    """One row of the table."""
    base, seen = f"http://127.0.0.1:{options.port}", Seen()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        running = [asyncio.create_task(_follow(session, base, keys[n % len(keys)], seen)) for n in range(tails)]
        while seen.open < tails:
            _raise_first(running)
            await asyncio.sleep(0.05)
        running.append(asyncio.create_task(_write(session, base, keys, options.rate)))
        await asyncio.sleep(min(3.0, options.seconds))
        seen.latencies_ms.clear()
        before, cpu, started = await _statements(session, base), machine.cpu_seconds([process]), time.perf_counter()
        await asyncio.sleep(options.seconds)
        after, took = await _statements(session, base), time.perf_counter() - started
        busy = (machine.cpu_seconds([process]) - cpu) / took
        memory = process.memory_info().rss / 2**20
        _raise_first(running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    asked = sum(after[name] - before.get(name, 0.0) for name in after if name.startswith("events.tail_")) / took
    late = statistics.quantiles(seen.latencies_ms, n=100, method="inclusive")
    return [
        f"{tails:,}", f"{asked:.2f}", f"{memory:.0f} MiB", f"{len(seen.latencies_ms) / took:,.0f}", f"{busy:.0%}",
        f"{late[49]:.0f} ms", f"{late[98]:.0f} ms", str(seen.gaps),
    ]  # fmt: skip


def _raise_first(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


def run() -> None:
    """The stages one after the other, printed and, if wanted, written."""
    options = _options()
    secret = {name: secrets.token_urlsafe(40) for name in ("MAINSTAY_SECRET", "JWT_ACCESS_SECRET")}
    with machine.database(options.database_url) as server:
        url = asyncio.run(machine.create_database(server, "bench_tail"))
        asyncio.run(migrations.migrate(url, main.partitioned()))
        keys = asyncio.run(_keys(url))
        served = Served(
            "benchmarks.ingest.ours:build",
            {"DATABASE_URL": url, "PROFILE": "development", "LOG_LEVEL": "WARNING", "RATE_LIMITS": "all=1000000000/60"}
            | secret,
            [options.port],
        )
        try:
            process = psutil.Process(served.processes[0].pid)
            rows = [asyncio.run(_stage(options, keys, process, tails)) for tails in options.tails]
        finally:
            served.stop()
    head = ["open tails", "statements/s", "memory", "frames/s", "CPU of the process", "p50", "p99", "gaps"]
    shown = written.table(head, rows)
    print(shown)
    if options.write:
        note = f"{options.rate:.0f} events a second over {len(keys)} workspaces, {options.seconds:.0f} s each."
        written.write(options.write, "tail", f"{written.when_and_where()} {note}\n\n{shown}")


if __name__ == "__main__":
    run()
