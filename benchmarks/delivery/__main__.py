"""Runs the comparison; see the package's docstring."""

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import psutil

from benchmarks import machine
from benchmarks.delivery import bare
from benchmarks.delivery.sink import sink
from mainstay import jobs, main, webhooks
from mainstay.kernel import ids, migrations
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor
from mainstay.kernel.settings import load

_ACTOR = Actor(kind="operator", id="benchmark")
_WARM_SECONDS = 2.0
_SETTLE_SECONDS = 1.0


def body_of(number: int) -> str:
    """A message of about 500 bytes."""
    data = {
        "id": f"evt_{number:08}",
        "action": "invoice.paid",
        "actor": {"id": "user_8412", "name": "Ada Lovelace", "email": "ada@example.com"},
        "target": {"id": "inv_20931", "type": "invoice"},
        "payload": {"amount": 1250, "currency": "EUR", "method": "card", "note": "n" * 190},
    }
    body = {"type": "invoice.paid", "timestamp": "2026-01-02T03:04:05.000006Z", "data": data}
    return json.dumps(body, separators=(",", ":"))


@asynccontextmanager
async def process(module: str, environment: dict[str, str]) -> AsyncIterator[psutil.Process]:
    """A warm process of its own, stopped by a signal at the end."""
    started = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.delivery.{module}"], env={**os.environ, **environment}
    )
    try:
        await asyncio.sleep(_WARM_SECONDS)
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(30)


async def until_zero(connection: asyncpg.Connection, count: str, limit_seconds: float = 120) -> None:
    async with asyncio.timeout(limit_seconds):
        while await connection.fetchval(count):
            await asyncio.sleep(0.2)


def messages_for(company_id: str, count: int) -> list[webhooks.Message]:
    return [
        webhooks.Message(
            id=ids.new_id(),
            company_id=company_id,
            workspace_id=None,
            type="invoice.paid",
            body=body_of(number),
            trace_id=ids.new_trace_id(),
        )
        for number in range(count)
    ]


async def make_company(db: Database, url: str, endpoints: int, environment: dict[str, str]) -> str:
    """A company id whose endpoints all want every message."""
    settings = load({**os.environ, **environment})
    company_id, keyring = ids.new_id(), Keyring(settings.secret)
    async with db.begin() as tx:
        for _ in range(endpoints):
            wanted = webhooks.NewEndpoint(url=url, events=["invoice.*"])
            await webhooks.register(
                tx, _ACTOR, wanted, company_id=company_id, keyring=keyring, allow=settings.outbound_allow
            )
        await tx.connection.execute("delete from mainstay.announcements")
    return company_id


async def run_ours(db: Database, url: str, environment: dict[str, str], count: int, endpoints: int) -> dict[str, float]:
    """One run of the worker over `count` deliveries to `endpoints` endpoints."""
    async with db.connection() as connection:
        for table in ("deliveries", "messages", "attempts", "jobs", "endpoints"):
            await connection.execute(f"truncate mainstay.{table}")
        company_id = await make_company(db, url, endpoints, environment)
        async with process("ours", environment) as worker:
            cpu = machine.cpu_seconds([worker])
            async with db.begin() as tx:
                await webhooks.publish(tx, messages_for(company_id, count // endpoints))
            open_ones = "select count(*) from mainstay.deliveries where status in ('PENDING', 'RETRYING')"
            await until_zero(connection, open_ones)
            await asyncio.sleep(_SETTLE_SECONDS)
            cpu = machine.cpu_seconds([worker]) - cpu
        done, seconds = await connection.fetchrow(
            """select count(*), extract(epoch from max(d.updated_at) - min(a.started_at))::float8
                 from mainstay.deliveries d join mainstay.attempts a on a.delivery_id = d.id
                where d.status = 'DELIVERED'"""
        )
    assert done == count, f"{done} of {count} delivered"
    return {"rate": count / seconds, "cpu": cpu / count * 1e6}


async def run_bare(db: Database, url: str, environment: dict[str, str], count: int) -> dict[str, float]:
    """One run of the bare loop over `count` deliveries."""
    rows = [(url, os.urandom(32), body_of(number)) for number in range(count)]
    async with db.connection() as connection:
        await connection.execute(bare.SCHEMA + "truncate bare.deliveries, bare.attempts")
        async with process("bare", environment) as loop:
            cpu = machine.cpu_seconds([loop])
            await connection.copy_records_to_table(
                "deliveries", schema_name="bare", columns=["url", "secret", "body"], records=rows
            )
            await until_zero(connection, "select count(*) from bare.deliveries where status <> 'DELIVERED'")
            await asyncio.sleep(_SETTLE_SECONDS)
            cpu = machine.cpu_seconds([loop]) - cpu
        done, seconds = await connection.fetchrow(
            """select count(*), extract(epoch from max(d.updated_at) - min(a.started_at))::float8
                 from bare.deliveries d join bare.attempts a on a.delivery_id = d.id"""
        )
    assert done == count, f"{done} of {count} delivered"
    return {"rate": count / seconds, "cpu": cpu / count * 1e6}


async def compare(db: Database, url: str, environment: dict[str, str], options: argparse.Namespace) -> None:
    found: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    for number in range(options.rounds):
        found["bare"].append(await run_bare(db, url, environment, options.deliveries))
        found["ours"].append(await run_ours(db, url, environment, options.deliveries, options.endpoints))
        for name in ("bare", "ours"):
            figures = found[name][-1]
            print(
                f"  round {number + 1}  {name}  {figures['rate']:>8,.0f}/s  {figures['cpu']:>6.0f} us/delivery",
                flush=True,
            )
    for name, runs in found.items():
        rate, cpu = (machine.spread([run[key] for run in runs]) for key in ("rate", "cpu"))
        print(f"{name}: {rate} deliveries/s, {cpu} us of CPU a delivery")
    ratio = statistics.median(o["rate"] / b["rate"] for o, b in zip(found["ours"], found["bare"], strict=True))
    print(f"ratio {ratio:.2f} (bar 0.70), {statistics.median(o['rate'] for o in found['ours']):,.0f}/s (bar 4,000/s)")


async def latency(db: Database, url: str, environment: dict[str, str], options: argparse.Namespace) -> None:
    """Messages are published one by one at a steady rate, whatever the worker does; the first second is not counted."""
    count = int(options.rate * (options.seconds + 1))
    async with db.connection() as connection:
        for table in ("deliveries", "messages", "attempts", "jobs", "endpoints"):
            await connection.execute(f"truncate mainstay.{table}")
        company_id = await make_company(db, url, 1, environment)
        messages = messages_for(company_id, count)

        async def publish_at(moment: float, message: webhooks.Message) -> None:
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            async with db.begin() as tx:
                await webhooks.publish(tx, [message])
            await jobs.wake(db, webhooks.QUEUE)

        async with process("ours", environment):
            start = time.monotonic() + 0.2
            await asyncio.gather(*(publish_at(start + n / options.rate, m) for n, m in enumerate(messages)))
            await until_zero(
                connection, "select count(*) from mainstay.deliveries where status in ('PENDING', 'RETRYING')"
            )
        p50, p99, most = await connection.fetchrow(
            """select percentile_cont(0.5) within group (order by w), percentile_cont(0.99) within group (order by w),
                      max(w)
                 from (select extract(epoch from a.started_at - m.created_at)::float8 * 1000 as w
                         from mainstay.attempts a join mainstay.deliveries d on d.id = a.delivery_id
                         join mainstay.messages m on m.id = d.message_id
                        where a.number = 1 and m.created_at > $1::timestamptz + interval '1 second') waits""",
            await connection.fetchval("select min(created_at) from mainstay.messages"),
        )
    print(f"{options.rate:,.0f} messages/s for {options.seconds:.0f} s: acceptance to first attempt "
          f"p50 {p50:.1f} ms (bar 25), p99 {p99:.1f} ms (bar 150), most {most:.1f} ms")  # fmt: skip


async def measure(server_url: str, options: argparse.Namespace) -> None:
    name = f"delivery_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(server_url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = server_url.rpartition("/")[0] + "/" + name
    environment = {
        "DATABASE_URL": url,
        "PROFILE": "development",
        "MAINSTAY_SECRET": secrets.token_hex(20),
        "JWT_ACCESS_SECRET": secrets.token_hex(20),
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "LOG_LEVEL": "WARNING",
    }
    await asyncio.to_thread(asyncio.run, migrations.migrate(url, main.partitioned()))
    db = Database(url, size=8)
    with sink() as (target, what):
        print(f"sink: {what}")
        await (latency if options.latency else compare)(db, target, environment, options)
    await db.close()


def run() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--deliveries", type=int, default=20_000)
    arguments.add_argument("--endpoints", type=int, default=50)
    arguments.add_argument("--latency", action="store_true")
    arguments.add_argument("--rate", type=float, default=300)
    arguments.add_argument("--seconds", type=float, default=10)
    arguments.add_argument("--database-url")
    options = arguments.parse_args()
    print(machine.describe())
    with machine.database(options.database_url) as server_url:
        asyncio.run(measure(server_url, options))


if __name__ == "__main__":
    run()
