"""Runs what was asked for; see the package's docstring."""

import argparse
import asyncio
import secrets
from contextlib import ExitStack
from pathlib import Path

from benchmarks import machine, peers
from benchmarks.delivery import comparing, isolation, latency
from benchmarks.delivery.sides import SIDES, Scene
from benchmarks.delivery.sink import sink
from benchmarks.redis_server import Redis, redis
from mainstay import main
from mainstay.kernel import migrations
from mainstay.kernel.db import Database


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery", description=__doc__)
    parser.add_argument("--rounds", type=int, help="turns of each side; default 4, with --isolation 3")
    parser.add_argument("--deliveries", type=int, default=20_000)
    parser.add_argument("--endpoints", type=int, help="default 50, with --isolation 1,000")
    parser.add_argument("--sides", default=",".join(SIDES), help="who takes part, by commas")
    parser.add_argument("--latency", action="store_true", help="the wait for the first attempt, at a steady rate")
    parser.add_argument("--isolation", action="store_true", help="the same beside endpoints that hang or fail")
    parser.add_argument("--rate", type=float, default=300, help="messages/s of --latency and --isolation")
    parser.add_argument("--seconds", type=float, help="measured seconds; default 10, with --isolation of each turn")
    parser.add_argument("--warm", type=float, default=10, help="seconds before those, with --isolation")
    parser.add_argument("--redis-in-memory", action="store_true", help="a Redis that keeps nothing on disk")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the result into this documentation")
    parser.add_argument("--database-url", help="a local server, as its superuser; default: an embedded durable one")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.isolation else 4)
    options.endpoints = options.endpoints or (1_000 if options.isolation else 50)
    options.seconds = options.seconds or 10
    return options


def _node(options: argparse.Namespace, stack: ExitStack) -> tuple[list[str], Redis | None, list[str]]:
    """What the side under Node needs, and notes on it."""
    if options.latency or options.isolation or "node" not in options.sides.split(","):
        return [], None, []
    try:
        program = peers.node("delivery.mjs")
        store = stack.enter_context(redis(durable=not options.redis_in_memory))
    except peers.Missing as missing:
        return [], None, [f"Left out: node: {missing}."]
    return program, store, [f"{store.title}."]


async def _measure(server_url: str, options: argparse.Namespace) -> None:
    name = f"delivery_{secrets.token_hex(4)}"
    url = await machine.create_database(server_url, name)
    environment = {
        "DATABASE_URL": url,
        "PROFILE": "development",
        "MAINSTAY_SECRET": secrets.token_hex(20),
        "JWT_ACCESS_SECRET": secrets.token_hex(20),
        "RATE_LIMITS": "all=1000000000/60",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "LOG_LEVEL": "ERROR" if options.isolation else "WARNING",
    }
    await asyncio.to_thread(asyncio.run, migrations.migrate(url, main.partitioned()))
    db = Database(url, size=8)
    with ExitStack() as stack:
        program, store, notes = _node(options, stack)
        target, what = "", "Receivers: asyncio and httptools"
        if not options.isolation:
            target, what = stack.enter_context(sink())
            what = f"Receiver: {what}"
        scene = Scene(
            db=db,
            sink_url=target,
            environment=environment,
            deliveries=options.deliveries,
            endpoints=options.endpoints,
            postgres=await machine.postmaster(url),
            redis=store,
            node=program,
        )
        if options.isolation:
            await isolation.measure(scene, options)
        elif options.latency:
            await latency.measure(scene, options)
        else:
            await comparing.compare(scene, options, notes=[f"{what}.", *notes])
    await db.close()
    await machine.drop_database(server_url, name)


if __name__ == "__main__":
    given = _options()
    print(machine.describe(), flush=True)
    with machine.database(given.database_url) as server:
        asyncio.run(_measure(server, given))
