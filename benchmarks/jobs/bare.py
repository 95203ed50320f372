"""The floor: the shortest loop that claims with SKIP LOCKED and acknowledges by delete plus one attempt row."""

import asyncio

import asyncpg

TABLES = """
drop table if exists bare_jobs, bare_attempts;
create table bare_jobs (
  id bigint generated always as identity primary key, queue smallint not null default 0,
  run_at timestamptz not null default now(), attempt smallint not null default 0, state smallint not null default 0,
  lease_until timestamptz, payload jsonb not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index on bare_jobs (queue, run_at, id) where state = 0;
create index on bare_jobs (lease_until) where state = 1;
create table bare_attempts (
  id bigint not null, attempt smallint not null, status text not null, ms real not null, payload jsonb not null)
"""
ENQUEUE = "insert into bare_jobs (payload) select * from unnest($1::jsonb[])"
CLAIM = """
with c as (select id from bare_jobs where queue = 0 and state = 0 and run_at <= now() order by run_at, id limit $1
           for update skip locked)
update bare_jobs j set state = 1, attempt = attempt + 1, lease_until = now() + interval '30s'
from c where j.id = c.id returning j.id, j.payload
"""
ACK = """
with d as (delete from bare_jobs where id = any($1::bigint[]) returning id, attempt, payload)
insert into bare_attempts (id, attempt, status, ms, payload) select id, attempt, 'ok', 0, payload from d
"""
_CLAIMED, _ACKED = 200, 1_000


async def fill(url: str, payload: str, jobs: int) -> None:
    """The table has that many waiting jobs, and fresh statistics."""
    connection = await asyncpg.connect(url)
    for start in range(0, jobs, 5_000):
        await connection.execute(ENQUEUE, [payload] * min(5_000, jobs - start))
    await connection.execute("vacuum analyze bare_jobs")
    await connection.close()


async def drain(url: str, jobs: int) -> None:
    """That many jobs have been claimed, run (they do nothing) and acknowledged."""
    pool = await asyncpg.create_pool(url, min_size=4, max_size=4)
    ready: asyncio.Queue[int | None] = asyncio.Queue(_CLAIMED)
    done: asyncio.Queue[int] = asyncio.Queue(4 * _CLAIMED)
    acked = 0

    async def claim() -> None:
        claimed = 0
        while claimed < jobs:
            rows = await pool.fetch(CLAIM, _CLAIMED)
            claimed += len(rows)
            for row in rows:
                await ready.put(row["id"])

    async def act() -> None:
        while True:
            await done.put(await ready.get())

    async def acknowledge() -> None:
        nonlocal acked
        while acked < jobs:
            ids = [await done.get()]
            while len(ids) < _ACKED and not done.empty():
                ids.append(done.get_nowait())
            await pool.execute(ACK, ids)
            acked += len(ids)

    acting = [asyncio.create_task(act()) for _ in range(_CLAIMED)]
    finishing = [asyncio.create_task(acknowledge()) for _ in range(2)]
    await claim()
    await asyncio.wait(finishing, return_when=asyncio.FIRST_COMPLETED)
    for task in (*acting, *finishing):
        task.cancel()
    await asyncio.gather(*acting, *finishing, return_exceptions=True)
    await pool.close()
