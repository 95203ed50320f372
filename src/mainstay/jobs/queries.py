"""Every SQL statement of the engine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from mainstay.kernel.db import Database, Record, Sql, Tx, count_of

CHANNEL = "mainstay_jobs"


class JobSpec(NamedTuple):
    """What a kind of job brings along."""

    queue: str
    kind: str
    priority: int
    max_attempts: int


_INSERT_JOB = Sql(
    "jobs.enqueue",
    """with added as (
         insert into mainstay.jobs (queue, kind, priority, max_attempts, lane, company_id, trace_id, backoff,
                                    dedupe_key, payload, state, due_at)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                case when d.due_at > mainstay.now() then 'delayed' else 'waiting' end, d.due_at
         from (select coalesce($11::timestamptz, mainstay.now() + $12::interval) as due_at) d
         on conflict (kind, dedupe_key) where dedupe_key is not null do nothing
         returning id, queue, state)
       select id, case when state = 'waiting' then pg_notify('mainstay_jobs', queue)::text end from added""",
)
_INSERT_JOBS = Sql(
    "jobs.enqueue_many",
    """with added as (
         insert into mainstay.jobs (queue, kind, priority, max_attempts, lane, company_id, payload, trace_id, state,
                                    due_at)
         select $1, $2, $3, $4, n.lane, n.company_id, n.payload, $8,
                case when d.due_at > mainstay.now() then 'delayed' else 'waiting' end, d.due_at
         from (select mainstay.now() + $9::interval as due_at) d,
              unnest($5::text[], $6::uuid[], $7::jsonb[]) as n(lane, company_id, payload)
         returning id)
       select array_agg(id order by id), pg_notify('mainstay_jobs', $1)::text from added""",
)
_BY_DEDUPE_KEY = Sql("jobs.by_dedupe_key", "select id from mainstay.jobs where kind = $1 and dedupe_key = $2")
_NOTIFY = Sql("jobs.notify", "select pg_notify('mainstay_jobs', $1)")
_PAUSE = Sql(
    "jobs.pause",
    """update mainstay.queues set paused_at = coalesce(paused_at, mainstay.now()), paused_by = coalesce(paused_by, $2)
       where name = $1""",
)
_RESUME = Sql(
    "jobs.resume",
    """with resumed as (update mainstay.queues set paused_at = null, paused_by = null where name = $1 returning name)
       select pg_notify('mainstay_jobs', name)::text from resumed""",
)


async def insert_job_everywhere(tx: Tx, spec: JobSpec, *values: Any) -> int | None:
    """The new job's id; None where an unfinished job of the kind has the dedupe key.

    Values: lane, company id, trace id, backoff, dedupe key, payload, run at, delay.
    """
    added: int | None = await tx.value(_INSERT_JOB, *spec, *values)
    return added


async def insert_jobs_everywhere(tx: Tx, spec: JobSpec, *values: Any) -> list[int]:
    """The new jobs' ids, in the order given. Values: lanes, company ids, payloads, trace id, delay."""
    added: list[int] = await tx.value(_INSERT_JOBS, *spec, *values)
    return added


async def find_by_dedupe_key_everywhere(tx: Tx, kind: str, dedupe_key: str) -> int | None:
    """The unfinished job that has the key."""
    found: int | None = await tx.value(_BY_DEDUPE_KEY, kind, dedupe_key)
    return found


async def notify_everywhere(db: Database | Tx, queue: str) -> None:
    """Workers that listen look at the queue."""
    await db.value(_NOTIFY, queue)


async def pause_queue_everywhere(tx: Tx, queue: str, by: str) -> bool:
    """Whether there is such a queue; it is paused."""
    return count_of(await tx.run(_PAUSE, queue, by)) == 1


async def resume_queue_everywhere(tx: Tx, queue: str) -> bool:
    """Whether there is such a queue; it is not paused."""
    return bool(await tx.rows(_RESUME, queue))


# Plans of hot statements must not hang on statistics: the table is empty one minute and has a million rows the next.
# So jobs are reached by their lines in order, or by `id = any(...)` for which only the primary key serves.
_SAME_PLAN = (
    "set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_mergejoin = off;"
    "set local jit = off; set local plan_cache_mode = force_generic_plan;"
)
_BY_LINE = _SAME_PLAN + (
    "set local enable_sort = off; set local enable_incremental_sort = off; set local enable_hashjoin = off;"
    "set local enable_nestloop = on"
)
_FREE = "; ".join(
    f"set local {name} to default"
    for name in (
        "enable_seqscan", "enable_bitmapscan", "enable_mergejoin", "enable_hashjoin", "enable_nestloop", "jit",
        "plan_cache_mode",
    )
)  # fmt: skip
_BY_ID = _SAME_PLAN + "set local enable_nestloop = off; set local enable_hashjoin = on"


@asynccontextmanager
async def begin_by_line(db: Database) -> AsyncIterator[Tx]:
    """A transaction in which every plan walks an index in its order. It has no savepoints."""
    async with _begin(db, _BY_LINE) as tx:
        yield tx


@asynccontextmanager
async def begin_by_id(db: Database) -> AsyncIterator[Tx]:
    """A transaction in which every plan reaches its jobs by id. It has no savepoints."""
    async with _begin(db, _BY_ID) as tx:
        yield tx


async def plan_by_id(tx: Tx) -> None:
    """For the rest of the transaction every plan reaches its jobs by id, and matches them to arrays by hashing."""
    await tx.connection.execute(_BY_ID)


async def plan_freely(tx: Tx) -> None:
    """For the rest of the transaction plans are the planner's choice again."""
    await tx.connection.execute(_FREE)


@asynccontextmanager
async def _begin(db: Database, settings: str) -> AsyncIterator[Tx]:
    """Begin and settings in one trip, because the hot loops make little else than trips."""
    async with db.connection() as connection:
        try:
            await connection.execute("begin;" + settings)
            yield Tx(connection)
        except BaseException:
            if not connection.is_closed():
                await connection.execute("rollback")
            raise
        await connection.execute("commit")


_HEAD = Sql("jobs.head", "select last_value from mainstay.jobs_pos_seq")
_LOOK = Sql(
    "jobs.look",
    """select q.queue, (k.paused_at is not null) as is_paused, s.head, s.xmin, s.xmax,
              f.priority, f.lane, f.first, f.last, f.jobs
       from (select (select last_value from mainstay.jobs_pos_seq) as head,
                    pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin,
                    pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xmax) s
       cross join unnest($1::text[], $2::bigint[], $3::int[]) as q(queue, pos, count)
       left join mainstay.queues k on k.name = q.queue
       left join lateral (
         select w.priority, w.lane, min(w.pos) as first, max(w.pos) as last, count(*) as jobs
         from (select priority, lane, pos from mainstay.jobs
               where state = 'waiting' and queue = q.queue and pos >= q.pos order by pos limit q.count) w
         group by w.priority, w.lane) f on true""",
)
_SWEEP = Sql(
    "jobs.sweep",
    """with recursive line(priority, lane, pos) as (
         (select priority, lane, pos from mainstay.jobs
          where state = 'waiting' and queue = $1 and (priority, lane) > ($2::smallint, $3::text)
          order by priority, lane, pos limit 1)
         union all
         select n.priority, n.lane, n.pos from line l cross join lateral (
           select priority, lane, pos from mainstay.jobs
           where state = 'waiting' and queue = $1 and (priority, lane) > (l.priority, l.lane)
           order by priority, lane, pos limit 1) n)
       select priority, lane, pos from line limit $4""",
)
# The order by lane, which one lane does not need, is what rules out a walk through all other lanes by arrival.
_CLAIM = Sql(
    "jobs.claim",
    """with alive as materialized (
         select id from mainstay.workers where id = $2 and ended_at is null for key share
       ), turn as materialized (
         select j.id from unnest($3::smallint[], $4::text[], $5::bigint[], $6::int[]) as l(priority, lane, pos, count)
         cross join lateral (
           select id from mainstay.jobs
           where state = 'waiting' and queue = $1 and priority = l.priority
             and (lane, pos) >= (l.lane, l.pos) and lane <= l.lane
           order by lane, pos limit l.count for update skip locked) j
         where exists (select from alive)
           and not exists (select from mainstay.queues where name = $1 and paused_at is not null))
       update mainstay.jobs j
          set state = 'active', attempt = attempt + 1, epoch = epoch + 1, worker_id = $2, started_at = mainstay.now()
       where j.id = any(array(select id from turn))
       returning j.id, j.kind, j.payload, j.attempt, j.max_attempts, j.epoch, j.lane, j.company_id, j.trace_id,
                 j.enqueued_at, j.priority, j.pos, j.backoff""",
)


async def head_everywhere(db: Database) -> int:
    """The highest place drawn so far."""
    head: int = await db.value(_HEAD)
    return head


async def look_everywhere(tx: Tx, queues: Sequence[str], places: Sequence[int], counts: Sequence[int]) -> list[Record]:
    """The lines of up to `counts` waiting jobs of each queue from its place on, with the snapshot they were seen in."""
    return await tx.rows(_LOOK, queues, places, counts)


async def sweep_everywhere(tx: Tx, queue: str, priority: int, lane: str, count: int) -> list[Record]:
    """The next `count` lines of a queue after the given one, each with its lowest place."""
    return await tx.rows(_SWEEP, queue, priority, lane, count)


async def claim_everywhere(tx: Tx, queue: str, worker_id: int, takes: Sequence[Sequence[Any]]) -> list[Record]:
    """Jobs that are this worker's from now on; none if the queue is paused or the worker was declared lost.

    Takes, as columns: priorities, lanes, places, counts.
    """
    return await tx.rows(_CLAIM, queue, worker_id, *takes)


_COMPLETE = Sql(
    "jobs.complete",
    """with gone as (
         delete from mainstay.jobs j
         using unnest($1::bigint[], $2::int[], $3::real[], $4::boolean[]) as a(id, epoch, duration_ms, is_kept)
         where j.id = any($1) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null
         returning j.*, a.duration_ms, a.is_kept
       ), kept as (
         insert into mainstay.finished_jobs (id, worker_id, enqueued_at, started_at, company_id, duration_ms, attempt,
                                             outcome, queue, kind, lane, trace_id, payload)
         select id, worker_id, enqueued_at, started_at, company_id, duration_ms, attempt,
                'completed', queue, kind, lane, trace_id, payload from gone where is_kept
       ), counted as (
         insert into mainstay.queue_tallies (queue, day, completed)
         select queue, (mainstay.now() at time zone 'UTC')::date, count(*) from gone group by queue)
       select id from gone""",
)
_RETRY = Sql(
    "jobs.retry",
    """with held as (
         update mainstay.jobs j
            set state = 'retrying', due_at = mainstay.now() + a.delay, worker_id = null
         from unnest($2::bigint[], $3::int[], $4::interval[], $5::text[], $6::text[], $7::real[])
              as a(id, epoch, delay, outcome, error, duration_ms)
         where j.id = any($2) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null
         returning j.id, j.started_at, j.attempt, j.queue, j.kind, a.outcome, a.error, a.duration_ms
       ), logged as (
         insert into mainstay.job_attempts (job_id, worker_id, started_at, duration_ms, attempt, outcome, queue, kind,
                                            error)
         select id, $1, started_at, duration_ms, attempt, outcome, queue, kind, error from held)
       select id from held""",
)
_SNOOZE = Sql(
    "jobs.snooze",
    """update mainstay.jobs j
          set state = 'delayed', due_at = mainstay.now() + a.delay, attempt = j.attempt - 1, worker_id = null
       from unnest($1::bigint[], $2::int[], $3::interval[]) as a(id, epoch, delay)
       where j.id = any($1) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null returning j.id""",
)
_HAND_BACK = Sql(
    "jobs.hand_back",
    """with back as (
         update mainstay.jobs j
            set state = 'waiting', pos = nextval('mainstay.jobs_pos_seq'), attempt = j.attempt - 1,
                epoch = j.epoch + 1, worker_id = null, started_at = null
         from unnest($1::bigint[], $2::int[]) as a(id, epoch)
         where j.id = any($1) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null returning j.id, j.queue)
       select id, pg_notify('mainstay_jobs', queue)::text from back""",
)
_HOLD = Sql(
    "jobs.hold",
    """update mainstay.jobs j
          set state = 'waiting', attempt = j.attempt - 1, epoch = j.epoch + 1, worker_id = null, started_at = null
       from unnest($1::bigint[], $2::int[]) as a(id, epoch)
       where j.id = any($1) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null returning j.id""",
)
# A worker that freezes within such a transaction holds up whoever gives its jobs back, so it may not stand idle long.
_CONFIRM = Sql(
    "jobs.confirm",
    """select set_config('idle_in_transaction_session_timeout', '10s', true) from mainstay.jobs
       where id = $1 and epoch = $2 and worker_id is not null for share""",
)
_DIED = """ died as (
         insert into mainstay.dead_jobs (id, worker_id, enqueued_at, started_at, company_id, epoch, priority, attempt,
             max_attempts, reason, queue, kind, lane, trace_id, dedupe_key, backoff, error, payload)
         select id, worker_id, enqueued_at, started_at, company_id, epoch, priority, attempt,
             max_attempts, reason, queue, kind, lane, trace_id, dedupe_key, backoff, error, payload from gone
       ), logged as (
         insert into mainstay.job_attempts (job_id, worker_id, started_at, duration_ms, attempt, outcome, queue, kind,
                                            error)
         select id, worker_id, started_at, duration_ms, attempt, reason, queue, kind, error from gone)
       select id, company_id::text as company_id, queue, kind, attempt, reason, error, trace_id from gone"""
_BURY = Sql(
    "jobs.bury",
    f"""with gone as (
         delete from mainstay.jobs j
         using unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::real[])
               as a(id, epoch, reason, error, duration_ms)
         where j.id = any($1) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null
         returning j.*, a.reason, a.error, a.duration_ms
       ),{_DIED}""",  # noqa: S608 (two constants)
)


async def complete_everywhere(
    tx: Tx, ids: Sequence[int], epochs: Sequence[int], durations_ms: Sequence[float], are_kept: Sequence[bool]
) -> list[Record]:
    """Jobs still held under their epoch have left the hot table, counted and (if kept) in the history; their ids."""
    return await tx.rows(_COMPLETE, ids, epochs, durations_ms, are_kept)


async def retry_everywhere(tx: Tx, worker_id: int, *columns: Sequence[Any]) -> list[Record]:
    """Jobs still held wait for their next try, with an attempt row. Columns: id, epoch, delay, outcome, error, ms."""
    return await tx.rows(_RETRY, worker_id, *columns)


async def snooze_everywhere(
    tx: Tx, ids: Sequence[int], epochs: Sequence[int], delays: Sequence[timedelta]
) -> list[Record]:
    """Jobs still held wait for their time and have their attempt back; their ids."""
    return await tx.rows(_SNOOZE, ids, epochs, delays)


async def hand_back_everywhere(tx: Tx, ids: Sequence[int], epochs: Sequence[int]) -> list[Record]:
    """Jobs still held are in line again with their attempt back, and workers are told; their ids."""
    return await tx.rows(_HAND_BACK, ids, epochs)


async def hold_everywhere(tx: Tx, ids: Sequence[int], epochs: Sequence[int]) -> list[Record]:
    """Jobs still held wait in the places that they had, with their attempt back; nobody is told; their ids."""
    return await tx.rows(_HOLD, ids, epochs)


async def confirm_everywhere(tx: Tx, job_id: int, epoch: int) -> bool:
    """Whether the job is still held under its epoch; then nobody takes it away until the transaction ends."""
    return await tx.value(_CONFIRM, job_id, epoch) is not None


async def bury_everywhere(tx: Tx, *columns: Sequence[Any]) -> list[Record]:
    """Jobs still held are dead, with an attempt row. Columns: id, epoch, reason, error, duration in ms."""
    return await tx.rows(_BURY, *columns)


_PROMOTE = Sql(
    "jobs.promote",
    """with due as materialized (
         select id from mainstay.jobs where state in ('delayed', 'retrying')
           and due_at >= $1 and due_at <= mainstay.now() order by due_at limit $2 for update skip locked
       ), ready as (
         update mainstay.jobs j set state = 'waiting', pos = nextval('mainstay.jobs_pos_seq')
         where j.id = any(array(select id from due)) returning j.queue)
       select mainstay.now() as now, (select count(*) from ready) as jobs""",
)
_ENLIST = Sql(
    "jobs.enlist",
    """with known as (
         insert into mainstay.queues (name, priority) select * from unnest($2::text[], $3::smallint[])
         on conflict (name) do nothing)
       insert into mainstay.workers (name, queues, started_at, heartbeat_at)
       values ($1, $2, clock_timestamp(), clock_timestamp()) returning id""",
)
# Leases live by the server's real clock: tests shift mainstay.now() past due times without killing live workers.
_BEAT = Sql(
    "jobs.heartbeat",
    "update mainstay.workers set heartbeat_at = clock_timestamp() where id = $1 and ended_at is null",
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
    """with lost as (
         update mainstay.jobs set state = 'waiting', pos = nextval('mainstay.jobs_pos_seq'), worker_id = null,
                                  epoch = epoch + 1
         where state = 'active' and worker_id = $1 and attempt < max_attempts
         returning id, started_at, attempt, queue, kind
       ), logged as (
         insert into mainstay.job_attempts (job_id, worker_id, started_at, attempt, outcome, queue, kind, error)
         select id, $1, started_at, attempt, 'lost', queue, kind, 'worker lost' from lost)
       select queue, count(*) as jobs, pg_notify('mainstay_jobs', queue)::text from lost group by queue""",
)
_BURY_LOST = Sql(
    "jobs.bury_lost",
    f"""with gone as (
         delete from mainstay.jobs where state = 'active' and worker_id = $1
         returning *, 'lost' as reason, 'worker lost' as error, null::real as duration_ms
       ),{_DIED}""",  # noqa: S608 (two constants)
)


async def promote_everywhere(tx: Tx, since: datetime, count: int) -> Record:
    """Up to `count` jobs whose time came since then are in line: the time, and how many."""
    return (await tx.rows(_PROMOTE, since, count))[0]


async def enlist_worker_everywhere(db: Database, name: str, queues: Sequence[str], priorities: Sequence[int]) -> int:
    """A new worker's id; its queues are known."""
    added: int = await db.value(_ENLIST, name, queues, priorities)
    return added


async def beat_everywhere(db: Database, worker_id: int) -> bool:
    """Whether the worker is still counted as alive; if so its lease runs anew."""
    return count_of(await db.run(_BEAT, worker_id)) == 1


async def leave_everywhere(tx: Tx | Database, worker_id: int, reason: str) -> None:
    """The worker is no longer counted as alive."""
    await tx.run(_LEAVE, worker_id, reason)


async def find_lost_worker_everywhere(tx: Tx, lease: timedelta) -> int | None:
    """A worker whose heartbeat is older than the lease, locked."""
    found: int | None = await tx.value(_FIND_LOST, lease)
    return found


async def requeue_lost_everywhere(tx: Tx, worker_id: int) -> list[Record]:
    """What the lost worker held and may be tried again is in line, under a new epoch."""
    return await tx.rows(_REQUEUE_LOST, worker_id)


async def bury_lost_everywhere(tx: Tx, worker_id: int) -> list[Record]:
    """What the lost worker still holds is dead."""
    return await tx.rows(_BURY_LOST, worker_id)


_ACTIVE_OF = Sql("jobs.active_of", "select id, epoch from mainstay.jobs where state = 'active' and worker_id = $1")


async def active_of_everywhere(tx: Tx, worker_id: int) -> list[Record]:
    """What the database takes this worker to hold."""
    return await tx.rows(_ACTIVE_OF, worker_id)


_NOW = Sql("jobs.now", "select mainstay.now()")
_LAST_RUN = Sql("jobs.last_run", "select max(due_at) from mainstay.schedule_runs where schedule = $1")
_TAKE_SLOT = Sql(
    "jobs.take_slot",
    "insert into mainstay.schedule_runs (schedule, due_at) values ($1, $2) on conflict do nothing returning schedule",
)
_FILL_SLOT = Sql("jobs.fill_slot", "update mainstay.schedule_runs set job_id = $3 where schedule = $1 and due_at = $2")
_PRUNE_SLOTS = Sql(
    "jobs.prune_slots",
    """delete from mainstay.schedule_runs r where due_at < mainstay.now() - $1::interval
       and exists (select from mainstay.schedule_runs n where n.schedule = r.schedule and n.due_at > r.due_at)""",
)
_PRUNE_WORKERS = Sql(
    "jobs.prune_workers", "delete from mainstay.workers where ended_at < clock_timestamp() - $1::interval"
)
_EXPIRE_DEAD = Sql(
    "jobs.expire_dead",
    """delete from mainstay.dead_jobs where id in (
         select id from mainstay.dead_jobs where died_at < mainstay.now() - $1::interval order by died_at limit $2)""",
)
_FOLD_TALLIES = Sql(
    "jobs.fold_tallies",
    """with gone as (delete from mainstay.queue_tallies returning queue, day, completed)
       insert into mainstay.queue_tallies (queue, day, completed)
       select queue, day, sum(completed) from gone
       where day >= ((mainstay.now() - $1::interval) at time zone 'UTC')::date group by queue, day""",
)


async def now_everywhere(db: Database) -> datetime:
    """The database's time."""
    moment: datetime = await db.value(_NOW)
    return moment


async def last_run_everywhere(tx: Tx, schedule: str) -> datetime | None:
    """The newest slot on record."""
    found: datetime | None = await tx.value(_LAST_RUN, schedule)
    return found


async def take_slot_everywhere(tx: Tx, schedule: str, due_at: datetime) -> bool:
    """Whether this transaction, and no other, has the slot."""
    return await tx.value(_TAKE_SLOT, schedule, due_at) is not None


async def fill_slot_everywhere(tx: Tx, schedule: str, due_at: datetime, job_id: int) -> None:
    """The slot names its job."""
    await tx.run(_FILL_SLOT, schedule, due_at, job_id)


async def prune_everywhere(db: Database, keep: timedelta) -> None:
    """Slots and workers that ended longer ago than that are gone, but each schedule's newest slot stays."""
    await db.run(_PRUNE_SLOTS, keep)
    await db.run(_PRUNE_WORKERS, keep)


async def expire_dead_everywhere(db: Database, keep: timedelta, count: int) -> int:
    """Up to `count` jobs dead for longer than that are gone; how many."""
    return count_of(await db.run(_EXPIRE_DEAD, keep, count))


async def fold_tallies_everywhere(db: Database, keep: timedelta) -> None:
    """Tallies are one row a queue and day, none older than that."""
    await db.run(_FOLD_TALLIES, keep)


_STATS = Sql(
    "jobs.stats",
    """with resting as materialized (
         select queue, state, count(*) as jobs from (
           select queue, state from mainstay.jobs where state in ('delayed', 'retrying') limit $1) r
         group by queue, state
       ), running as materialized (
         select queue, count(*) as jobs from (
           select queue from mainstay.jobs where state = 'active' limit $1) a group by queue
       ), done as materialized (
         select queue, sum(completed)::bigint as jobs from mainstay.queue_tallies group by queue)
       select q.name as queue, q.priority, q.paused_at, q.paused_by,
         (select count(*) from (
            select from mainstay.jobs where state = 'waiting' and queue = q.name limit $1) w) as waiting,
         coalesce((select jobs from resting where queue = q.name and state = 'delayed'), 0) as delayed,
         coalesce((select jobs from running where queue = q.name), 0) as active,
         coalesce((select jobs from resting where queue = q.name and state = 'retrying'), 0) as retrying,
         coalesce((select jobs from done where queue = q.name), 0) as completed,
         (select count(*) from (select from mainstay.dead_jobs where queue = q.name limit $1) d) as dead
       from mainstay.queues q order by q.name""",
)


async def stats_everywhere(tx: Tx, bound: int) -> list[Record]:
    """Jobs by queue and state, each counted up to `bound`."""
    return await tx.rows(_STATS, bound)


_MATCH = """ queue = $1 and ($2::text is null or kind = $2) and ($3::text is null or lane = $3)
           and ($4::uuid is null or company_id = $4)"""
_LIST_DEAD = Sql(
    "jobs.list_dead",
    f"""select * from mainstay.dead_jobs where {_MATCH}
          and ($5::timestamptz is null or (died_at, id) < ($5, $6::bigint))
        order by died_at desc, id desc limit $7""",  # noqa: S608 (a constant)
)
_FIND_DEAD = Sql("jobs.find_dead", "select * from mainstay.dead_jobs where id = $1")
_ATTEMPTS = Sql("jobs.attempts", "select * from mainstay.job_attempts where job_id = $1 order by finished_at, attempt")
_REVIVED = """ insert into mainstay.jobs (id, queue, kind, priority, max_attempts, lane, company_id, trace_id, backoff,
                                    dedupe_key, payload, epoch, enqueued_at)
         select id, queue, kind, priority, max_attempts, lane, company_id, trace_id, backoff, dedupe_key, payload,
                epoch + 1, enqueued_at from gone order by died_at, id returning id, queue"""
_FREE_KEY = """(dedupe_key is null or not exists (
             select from mainstay.jobs j where j.kind = d.kind and j.dedupe_key = d.dedupe_key))"""
_REDRIVE = Sql(
    "jobs.redrive",
    f"""with gone as (delete from mainstay.dead_jobs d where id = $1 and {_FREE_KEY} returning *),
          back as ({_REVIVED})
        select id, pg_notify('mainstay_jobs', queue)::text from back""",  # noqa: S608 (constants)
)
_REDRIVE_MATCHING = Sql(
    "jobs.redrive_matching",
    f"""with picked as (select id from mainstay.dead_jobs d where {_MATCH} and {_FREE_KEY}
                        order by died_at, id limit $5 for update skip locked),
          gone as (delete from mainstay.dead_jobs where id in (select id from picked) returning *),
          back as ({_REVIVED})
        select count(*), pg_notify('mainstay_jobs', $1)::text from back""",  # noqa: S608 (constants)
)
_CLEAR = Sql("jobs.clear", "delete from mainstay.dead_jobs where id = $1")
_CLEAR_MATCHING = Sql(
    "jobs.clear_matching",
    f"""delete from mainstay.dead_jobs where id in (
          select id from mainstay.dead_jobs where {_MATCH} order by died_at, id limit $5)""",  # noqa: S608 (a constant)
)
_CANCELLED = """ insert into mainstay.finished_jobs (id, enqueued_at, company_id, attempt, outcome, queue, kind, lane,
                                             trace_id, payload)
         select id, enqueued_at, company_id, attempt, 'cancelled', queue, kind, lane, trace_id, payload from gone
         returning id"""
_CANCEL = Sql(
    "jobs.cancel",
    f"""with gone as (delete from mainstay.jobs where id = $1 and state <> 'active' returning *),
          kept as ({_CANCELLED}) select count(*) from kept""",  # noqa: S608 (a constant)
)
_CANCEL_MATCHING = Sql(
    "jobs.cancel_matching",
    f"""with gone as (delete from mainstay.jobs where id in (
            select id from mainstay.jobs where {_MATCH} and state <> 'active' limit $5 for update skip locked)
          returning *), kept as ({_CANCELLED}) select count(*) from kept""",  # noqa: S608 (constants)
)


async def list_dead_everywhere(
    tx: Tx, match: Sequence[str | None], before: tuple[datetime, int] | None, count: int
) -> list[Record]:
    """Dead jobs that match (queue, kind, lane, company), youngest first, below the given (died at, id)."""
    return await tx.rows(_LIST_DEAD, *match, *(before or (None, None)), count)


async def find_dead_everywhere(tx: Tx, job_id: int) -> Record | None:
    """The dead job."""
    return await tx.row(_FIND_DEAD, job_id)


async def attempts_everywhere(tx: Tx, job_id: int) -> list[Record]:
    """Every failed attempt of the job, oldest first."""
    return await tx.rows(_ATTEMPTS, job_id)


async def redrive_everywhere(tx: Tx, job_id: int) -> bool:
    """Whether the dead job is in line again; not where there is none or its dedupe key is taken."""
    return bool(await tx.rows(_REDRIVE, job_id))


async def redrive_matching_everywhere(tx: Tx, match: Sequence[str | None], count: int) -> int:
    """Up to `count` dead jobs that match are in line again, oldest first; how many."""
    return int(await tx.value(_REDRIVE_MATCHING, *match, count))


async def clear_everywhere(tx: Tx, job_id: int) -> bool:
    """Whether there was such a dead job; it is gone."""
    return count_of(await tx.run(_CLEAR, job_id)) == 1


async def clear_matching_everywhere(tx: Tx, match: Sequence[str | None], count: int) -> int:
    """Up to `count` dead jobs that match are gone; how many."""
    return count_of(await tx.run(_CLEAR_MATCHING, *match, count))


async def cancel_everywhere(tx: Tx, job_id: int) -> bool:
    """Whether the job had not been started; it will not be."""
    return int(await tx.value(_CANCEL, job_id)) == 1


async def cancel_matching_everywhere(tx: Tx, match: Sequence[str | None], count: int) -> int:
    """Up to `count` jobs that match and are not active will not run; how many."""
    return int(await tx.value(_CANCEL_MATCHING, *match, count))
