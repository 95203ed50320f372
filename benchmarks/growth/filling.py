"""Databases full of jobs and of history, filled the way a host fills them: with SQL, in bulk."""

import asyncpg

from mainstay import main
from mainstay.kernel import migrations

QUEUE, KIND = "bench", "bench.nothing"
_CHUNK = 50_000
_KIND = """
insert into mainstay.queues (name, priority) values ('bench', 5) on conflict do nothing;
insert into mainstay.job_kinds values ('bench.nothing', 'bench', 5, 3, null, true, mainstay.now())
on conflict do nothing
"""
_FILL = """
select count(*) from mainstay.enqueue_many('bench.nothing',
  (select array_agg(jsonb_build_object('to', 'someone@example.com', 'n', n, 'note', repeat('x', 120)))
     from generate_series(1, $1::int) n),
  lanes => (select array_agg('lane-' || n % $2::int) from generate_series($3::int, $3::int + $1::int - 1) n))
"""
_WEEK = "select date_trunc('week', mainstay.now() at time zone 'UTC') at time zone 'UTC' - $1 * interval '7 days'"
_HISTORY = """
insert into mainstay.finished_jobs
       (id, worker_id, enqueued_at, started_at, finished_at, duration_ms, attempt, outcome, queue, kind, lane, trace_id,
        payload)
select n, 1, s.at, s.at, s.at + n * interval '1 ms', 1.5, 1, 'completed', 'bench', 'bench.nothing', 'lane-' || n % 50,
       md5(n::text), jsonb_build_object('to', 'someone@example.com', 'note', repeat('x', 120))
  from (select $1::timestamptz as at) s, generate_series(1, $2::int) n
"""


async def migrate(url: str) -> None:
    """The database is Mainstay's, and knows the kind of job that is measured."""
    await migrations.migrate(url, main.partitioned())
    connection = await asyncpg.connect(url)
    await connection.execute(_KIND)
    await connection.close()


async def fill(url: str, jobs: int, lanes: int) -> None:
    """So many jobs more are in line, put there by `mainstay.enqueue_many`; nothing was analyzed."""
    connection = await asyncpg.connect(url)
    for start in range(0, jobs, _CHUNK):
        await connection.fetchval(_FILL, min(_CHUNK, jobs - start), lanes, start)
    await connection.close()


async def run(url: str, statement: str) -> None:
    """One statement, outside a transaction."""
    connection = await asyncpg.connect(url)
    await connection.execute(statement, timeout=300)
    await connection.close()


async def fill_history(url: str, rows: int, weeks_ago: int) -> None:
    """So many jobs of that week are in the history, and its partition is there."""
    connection = await asyncpg.connect(url)
    start = await connection.fetchval(_WEEK, weeks_ago)
    name = f"mainstay.finished_jobs_p{start:%Y%m%d}"
    await connection.execute(
        f"""create table {name} (like mainstay.finished_jobs including all);
            alter table mainstay.finished_jobs attach partition {name}
              for values from ('{start.isoformat()}') to (timestamptz '{start.isoformat()}' + interval '7 days')"""
    )
    await connection.execute(_HISTORY, start, rows, timeout=300)
    await connection.close()
