"""Statements about who is alive, and about what the lost held."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from mainstay.jobs.queries.claims import DIED, FAILED
from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

_ENLIST = Sql(
    "jobs.enlist",
    """with known as (
         insert into mainstay.queues (name, priority) select * from unnest($2::text[], $3::smallint[])
         on conflict (name) do nothing
       ), told as (
         insert into mainstay.job_kinds as k (kind, queue, priority, max_attempts, backoff, is_public, seen_at)
         select n.*, mainstay.now()
         from unnest($4::text[], $5::text[], $6::smallint[], $7::smallint[], $8::text[], $9::boolean[])
              as n(kind, queue, priority, max_attempts, backoff, is_public)
         order by n.kind
         on conflict (kind) do update
           set queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
               backoff = excluded.backoff, is_public = excluded.is_public, seen_at = excluded.seen_at)
       insert into mainstay.workers (name, queues, kinds, slots, started_at, heartbeat_at)
       values ($1, $2, $4, $10, clock_timestamp(), clock_timestamp()) returning id""",
)
# Leases live by the server's real clock: tests shift mainstay.now() past due times without killing live workers.
_BEAT = Sql(
    "jobs.heartbeat",
    """with beat as (
         update mainstay.workers
            set heartbeat_at = clock_timestamp(), memory_share = $2::real,
                memory_high_at = case when $2 >= $3::real then mainstay.now() else memory_high_at end
         where id = $1 and ended_at is null returning id)
       select q.name, q.concurrency from beat left join mainstay.queues q on q.concurrency is not null""",
)
_SERVING = Sql(
    "jobs.serving_workers",
    """select w.id, w.name, w.kinds, coalesce(q.concurrency, w.slots[array_position(w.queues, $1)]) as slots,
              extract(epoch from clock_timestamp() - w.heartbeat_at)::float8 as silent_seconds,
              (select jsonb_object_agg(kind, jobs)::text from (
                 select kind, count(*) as jobs from (
                   select kind from mainstay.jobs
                   where state = 'active' and worker_id = w.id and queue = $1 limit 10000) a group by kind) k) as acting
       from mainstay.workers w left join mainstay.queues q on q.name = $1
       where w.ended_at is null and $1 = any(w.queues) order by w.id limit 1000""",
)
_HOLDER = Sql(
    "jobs.holder",
    """select id, name, ended_at, extract(epoch from clock_timestamp() - heartbeat_at)::float8 as silent_seconds
       from mainstay.workers where id = $1""",
)
_LEAVE = Sql(
    "jobs.leave",
    # Who still holds jobs at its sign-off stays to be found lost, so that they are given back.
    """update mainstay.workers set ended_at = clock_timestamp(), end_reason = $2 where id = $1 and ended_at is null
         and ($2 <> 'stopped' or not exists (
           select 1 from mainstay.jobs j where j.state = 'active' and j.worker_id = $1))""",
)
_FIND_LOST = Sql(
    "jobs.find_lost",
    """select id from mainstay.workers where ended_at is null and heartbeat_at < clock_timestamp() - $1::interval
       order by heartbeat_at limit 1 for update skip locked""",
)
_REQUEUE_LOST = Sql(
    "jobs.requeue_lost",
    f"""with lost as (
         update mainstay.jobs set state = 'waiting', pos = nextval('mainstay.jobs_pos_seq'), worker_id = null,
                                  epoch = epoch + 1
         where state = 'active' and worker_id = $1 and attempt < max_attempts
         returning id, started_at, attempt, queue, kind, company_id, trace_id
       ), logged as (
         insert into mainstay.job_attempts (job_id, worker_id, started_at, attempt, outcome, queue, kind, error)
         select id, $1, started_at, attempt, 'lost', queue, kind, 'worker lost' from lost
       ),{FAILED.format(rows="lost", outcome="'lost'", error="'worker lost'")}
       select queue, kind, count(*) as jobs, pg_notify('mainstay_jobs', queue)::text from lost
       group by queue, kind""",  # noqa: S608 (constants)
)
_BURY_LOST = Sql(
    "jobs.bury_lost",
    f"""with gone as (
         delete from mainstay.jobs where state = 'active' and worker_id = $1
         returning *, 'lost' as reason, 'worker lost' as error, null::real as duration_ms
       ),{DIED}""",  # noqa: S608 (two constants)
)
_PRUNE_WORKERS = Sql(
    "jobs.prune_workers", "delete from mainstay.workers where ended_at < clock_timestamp() - $1::interval"
)


class KindRow(NamedTuple):
    """A kind as the database knows it: what a job of it brings along. `backoff` None is its queue's rule."""

    kind: str
    queue: str
    priority: int
    max_attempts: int
    backoff: str | None
    is_public: bool


async def enlist_worker_everywhere(
    db: Database,
    name: str,
    queues: Sequence[str],
    priorities: Sequence[int],
    kinds: Sequence[KindRow],
    slots: Sequence[int] = (),
) -> int:
    """A new worker's id; its queues, with their slots if given, and its kinds are known."""
    columns = [list(column) for column in zip(*kinds, strict=True)] or [[] for _ in KindRow._fields]
    added: int = await db.value(_ENLIST, name, queues, priorities, *columns, slots)
    return added


async def beat_everywhere(
    db: Database, worker_id: int, memory_share: float | None = None, memory_high: float = 1.0
) -> list[Record]:
    """The worker's lease runs anew: a row with `name` and `concurrency` for each queue with slots set by operators.

    One row without a name where there is none; no row if the worker is not counted as alive.
    """
    return await db.rows(_BEAT, worker_id, memory_share, memory_high)


async def leave_everywhere(tx: Tx, worker_id: int, reason: str) -> None:
    """The worker is no longer counted as alive."""
    await tx.run(_LEAVE, worker_id, reason)


async def find_lost_worker_everywhere(tx: Tx, lease: timedelta) -> int | None:
    """A worker whose heartbeat is older than the lease, locked."""
    found: int | None = await tx.value(_FIND_LOST, lease)
    return found


async def requeue_lost_everywhere(tx: Tx, worker_id: int) -> list[Record]:
    """What the lost worker held and may be tried again is in line, under a new epoch; how many by queue and kind."""
    return await tx.rows(_REQUEUE_LOST, worker_id)


async def bury_lost_everywhere(tx: Tx, worker_id: int) -> list[Record]:
    """What the lost worker still holds is dead."""
    return await tx.rows(_BURY_LOST, worker_id)


async def prune_workers_everywhere(db: Database, keep: timedelta) -> None:
    """Workers that ended longer ago than that are gone."""
    await db.run(_PRUNE_WORKERS, keep)


async def serving_workers_everywhere(db: Connection, queue: str) -> list[Record]:
    """Workers of the queue that have not signed off, with their slots in it and what fills them, by kind."""
    return await db.rows(_SERVING, queue)


async def holder_everywhere(db: Connection, worker_id: int) -> Record | None:
    """The worker, and for how long it has been silent."""
    return await db.row(_HOLDER, worker_id)
