"""One turn of each side: the worker is warm and idle, the deliveries are offered, all of them are recorded."""

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg
import psutil

from benchmarks import machine
from benchmarks.delivery import bare, company, processes
from benchmarks.redis_server import Redis
from mainstay import webhooks
from mainstay.kernel.db import Database

PEER_CONCURRENCY = 200
_WARMING = 2_000
_PEER_TABLES = """
create schema if not exists peer;
create table if not exists peer.deliveries (
  id bigint generated always as identity primary key, url text not null, secret text not null, body text not null,
  status text not null default 'PENDING', updated_at timestamptz);
create index if not exists deliveries_pending on peer.deliveries (id) where status = 'PENDING';
create table if not exists peer.attempts (
  delivery_id bigint not null, started_at timestamptz not null, duration_ms int not null, status_code smallint not null,
  response text not null);
truncate peer.deliveries, peer.attempts;
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """Deliveries a second, and microseconds of CPU a delivery: the worker, and PostgreSQL with Redis where used."""

    rate: float
    worker_us: float
    store_us: float

    @property
    def all_us(self) -> float:
        """Microseconds of CPU a delivery in worker, PostgreSQL and Redis."""
        return self.worker_us + self.store_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a turn works on."""

    db: Database
    sink_url: str
    environment: dict[str, str]
    deliveries: int
    endpoints: int
    postgres: psutil.Process
    redis: Redis | None
    node: Sequence[str]


class _Meter:
    """CPU seconds that the worker, and the stores, have used since it was made."""

    def __init__(self, scene: Scene, worker: psutil.Process) -> None:
        self._worker = worker
        self._stores = [scene.postgres, *([scene.redis.process] if scene.redis else [])]
        self._from = self._now()

    def _now(self) -> tuple[float, float]:
        return machine.cpu_seconds([self._worker]), sum(machine.tree_seconds(store) for store in self._stores)

    def read(self) -> tuple[float, ...]:
        return tuple(after - before for before, after in zip(self._from, self._now(), strict=True))


async def _take_turn(
    scene: Scene,
    connection: asyncpg.Connection,
    schema: str,
    command: Sequence[str],
    offer: Callable[[int], Awaitable[object]],
) -> Turn:
    """The command's process has delivered what was offered: first some that only warm it, then those that count."""
    still = f"select count(*) from {schema}.deliveries where status in ('PENDING', 'RETRYING', 'ACTIVE')"
    async with processes.running(command, scene.environment) as worker:
        await offer(_WARMING)
        await processes.until_zero(connection, still)
        await machine.settle(scene.environment["DATABASE_URL"])
        since = await connection.fetchval("select clock_timestamp()")
        meter = _Meter(scene, worker)
        await offer(scene.deliveries)
        await processes.until_zero(connection, still)
        await asyncio.sleep(processes.SETTLE_SECONDS)
        spent = meter.read()
        done, seconds = await connection.fetchrow(
            f"""select count(*), extract(epoch from max(d.updated_at) - min(a.started_at))::float8
                  from {schema}.deliveries d join {schema}.attempts a on a.delivery_id = d.id
                 where d.status = 'DELIVERED' and a.started_at >= $1""",
            since,
        )
        assert done == scene.deliveries, f"{done} of {scene.deliveries} delivered"
        return Turn(done / seconds, *(used / done * 1e6 for used in spent))


async def ours(scene: Scene) -> Turn:
    """The worker over its share of messages to every endpoint."""
    async with scene.db.connection() as connection:
        await company.empty(connection)
        company_id = await company.make_company(scene.db, [scene.sink_url] * scene.endpoints, scene.environment)

        async def offer(count: int) -> None:
            messages = [company.message(company_id, number) for number in range(count // scene.endpoints)]
            async with scene.db.begin() as tx:
                await webhooks.publish(tx, messages)

        return await _take_turn(scene, connection, "mainstay", processes.module("ours"), offer)


async def floor(scene: Scene) -> Turn:
    """The bare loop."""
    async with scene.db.connection() as connection:
        await connection.execute(bare.SCHEMA + "truncate bare.deliveries, bare.attempts")

        async def offer(count: int) -> None:
            rows = [(scene.sink_url, os.urandom(32), company.body_of(number)) for number in range(count)]
            await connection.copy_records_to_table(
                "deliveries", schema_name="bare", columns=["url", "secret", "body"], records=rows
            )

        return await _take_turn(scene, connection, "bare", processes.module("bare"), offer)


async def node(scene: Scene) -> Turn:
    """BullMQ on Redis, undici, and the log in PostgreSQL."""
    assert scene.redis is not None
    places = [scene.redis.url, scene.environment["DATABASE_URL"], scene.sink_url]

    async def offer(count: int) -> None:
        bodies = json.dumps([company.body_of(number) for number in range(count)])
        fill = [*scene.node, "fill", *places]
        await asyncio.to_thread(subprocess.run, fill, input=bodies, text=True, check=True, timeout=120)

    async with scene.db.connection() as connection:
        await connection.execute(_PEER_TABLES)
        command = [*scene.node, "work", *places, str(PEER_CONCURRENCY)]
        return await _take_turn(scene, connection, "peer", command, offer)


SIDES: dict[str, tuple[str, Callable[[Scene], Awaitable[Turn]]]] = {
    "bare": ("bare loop around aiohttp (floor)", floor),
    "ours": ("Mainstay", ours),
    "node": ("BullMQ 6.7, undici 7.30 (Node), Redis", node),
}
