"""The floor: claim, sign, POST and record in one pipelined loop around aiohttp, and nothing else."""

import asyncio
import base64
import hmac
import os
import signal
import time
from typing import Any

import aiohttp
import asyncpg
import uvloop

SCHEMA = """
create schema if not exists bare;
create table if not exists bare.deliveries (
  id bigint generated always as identity primary key, url text not null, secret bytea not null, body text not null,
  status text not null default 'PENDING', lease_until timestamptz, epoch int not null default 0,
  updated_at timestamptz);
create index if not exists deliveries_pending on bare.deliveries (id) where status = 'PENDING';
create table if not exists bare.attempts (
  delivery_id bigint not null, started_at timestamptz not null, duration_ms int not null, status_code smallint not null,
  response text not null);
"""
_CLAIM = """
update bare.deliveries d set status = 'ACTIVE', epoch = epoch + 1, lease_until = now() + interval '30 seconds'
 where id in (select id from bare.deliveries where status = 'PENDING' order by id limit 200 for update skip locked)
returning id, epoch, url, secret, body
"""
_RECORD = """
with r as (select * from unnest($1::bigint[], $2::int[], $3::float8[], $4::int[], $5::smallint[], $6::text[])
             as r (id, epoch, started, duration_ms, status, response)),
done as (update bare.deliveries d set status = 'DELIVERED', updated_at = clock_timestamp()
           from r where d.id = r.id and d.epoch = r.epoch returning d.id)
insert into bare.attempts
select r.id, to_timestamp(r.started), r.duration_ms, r.status, r.response from r join done using (id)
"""
IN_FLIGHT = 200


async def _claim(pool: asyncpg.Pool, waiting: asyncio.Queue[Any]) -> None:
    while True:
        while waiting.qsize() >= IN_FLIGHT:
            await asyncio.sleep(0.001)
        rows = await pool.fetch(_CLAIM)
        for row in rows:
            waiting.put_nowait(row)
        if not rows:
            await asyncio.sleep(0.01)


async def _send(session: aiohttp.ClientSession, waiting: asyncio.Queue[Any], results: asyncio.Queue[Any]) -> None:
    while True:
        number, epoch, url, secret, text = await waiting.get()
        started, body = time.time(), text.encode()
        signed = b"%d.%d.%b" % (number, int(started), body)
        token = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": str(number),
            "webhook-timestamp": str(int(started)),
            "webhook-signature": f"v1,{token}",
        }
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            answer = await response.read()
        duration_ms = int((time.time() - started) * 1000)
        results.put_nowait((number, epoch, started, duration_ms, response.status, answer[:4096].decode()))


async def _record(pool: asyncpg.Pool, results: asyncio.Queue[Any]) -> None:
    while True:
        rows = [await results.get()]
        while len(rows) < 500 and not results.empty():
            rows.append(results.get_nowait())
        await pool.execute(_RECORD, *(list(column) for column in zip(*rows, strict=True)))


async def _main() -> None:
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=3, max_size=3)
    waiting: asyncio.Queue[Any] = asyncio.Queue()
    results: asyncio.Queue[Any] = asyncio.Queue()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        tasks = [asyncio.create_task(_claim(pool, waiting)), asyncio.create_task(_record(pool, results))]
        tasks += [asyncio.create_task(_send(session, waiting, results)) for _ in range(IN_FLIGHT)]
        await stop.wait()
        for task in tasks:
            task.cancel()
    pool.terminate()


if __name__ == "__main__":
    uvloop.run(_main())
