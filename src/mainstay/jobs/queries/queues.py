"""Statements about queues as wholes: stopping them, and how much is in them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from mainstay.kernel.db import Connection, Database, Record, Sql, Tx, count_of

# Whoever claims holds this lock in share until its commit, without waiting for it.
_LOCK_LINE = Sql("jobs.lock_line", "select pg_advisory_xact_lock(hashtext('mainstay.queues'), hashtext($1))::text")
_PAUSE = Sql(
    "jobs.pause",
    "update mainstay.queues set paused_at = mainstay.now(), paused_by = $2 where name = $1 and paused_at is null",
)
_RESUME = Sql(
    "jobs.resume",
    """with resumed as (
         update mainstay.queues set paused_at = null, paused_by = null
         where name = $1 and paused_at is not null returning name)
       select pg_notify('mainstay_jobs', name)::text from resumed""",
)
_SET_CONCURRENCY = Sql(
    "jobs.set_concurrency",
    """update mainstay.queues
          set concurrency = $2::integer, concurrency_by = case when $2 is not null then $3 end,
              concurrency_at = case when $2 is not null then mainstay.now() end
       where name = $1 and concurrency is distinct from $2""",
)
_EXISTS = Sql("jobs.queue_exists", "select exists (select from mainstay.queues where name = $1)")
_STATS = Sql(
    "jobs.stats",
    """with running as materialized (
         select queue, count(*) as jobs from (
           select queue from mainstay.jobs where state = 'active' limit $1) a group by queue
       ), done as materialized (
         select queue, sum(completed)::bigint as jobs from mainstay.queue_tallies group by queue)
       select q.name as queue, q.priority, q.paused_at, q.paused_by,
         q.concurrency, q.concurrency_by, q.concurrency_at,
         (select count(*) from (
            (select 1 from mainstay.jobs where state = 'waiting' and queue = q.name limit $1)
            union all
            (select 1 from mainstay.jobs where state = 'parked' and queue = q.name limit $1) limit $1) w) as waiting,
         (select count(*) from (
            select from mainstay.jobs where state = 'delayed' and queue = q.name limit $1) w) as delayed,
         coalesce((select jobs from running where queue = q.name), 0) as active,
         (select count(*) from (
            select from mainstay.jobs where state = 'retrying' and queue = q.name limit $1) w) as retrying,
         coalesce((select jobs from done where queue = q.name), 0) as completed,
         (select count(*) from (select from mainstay.dead_jobs where queue = q.name limit $1) d) as dead,
         (select greatest(extract(epoch from mainstay.now() - coalesce(due_at, enqueued_at)), 0)::float8
           from mainstay.jobs where state = 'waiting' and queue = q.name order by pos limit 1) as oldest_ready_seconds
       from mainstay.queues q order by q.name""",
)
_WRITE_MINUTE = Sql(
    "jobs.write_minute",
    """insert into mainstay.queue_minutes (queue, minute, waiting, active, retrying, dead)
       select queue, date_trunc('minute', mainstay.now()), waiting, active, retrying, dead
       from unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::int[])
            as n(queue, waiting, active, retrying, dead)
       on conflict (minute, queue) do nothing""",
)
_TALLY_KINDS = Sql(
    "jobs.tally_kinds",
    """insert into mainstay.kind_minutes as m (minute, queue, kind, outcome, error_class, attempts)
       select date_trunc('minute', mainstay.now()), n.*
       from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
            as n(queue, kind, outcome, error_class, attempts)
       order by n.queue, n.kind, n.outcome, n.error_class
       on conflict (minute, queue, kind, outcome, error_class) do update
         set attempts = m.attempts + excluded.attempts""",
)
_KIND_FIGURES = Sql(
    "jobs.kind_figures",
    """select queue, kind, outcome, error_class, sum(attempts)::bigint as attempts from mainstay.kind_minutes
       where minute > mainstay.now() - $1::interval
       group by queue, kind, outcome, error_class order by kind, queue, outcome, error_class""",
)
_CUT_KIND_MINUTES = Sql(
    "jobs.cut_kind_minutes", "delete from mainstay.kind_minutes where minute < mainstay.now() - $1::interval"
)
_MINUTES = Sql(
    "jobs.minutes",
    """select queue, minute, waiting, active, retrying, dead from mainstay.queue_minutes
       where minute > mainstay.now() - $1::interval order by minute""",
)
_CUT_MINUTES = Sql(
    "jobs.cut_minutes", "delete from mainstay.queue_minutes where minute < mainstay.now() - $1::interval"
)
_FOLD_TALLIES = Sql(
    "jobs.fold_tallies",
    """with gone as (delete from mainstay.queue_tallies returning queue, day, completed)
       insert into mainstay.queue_tallies (queue, day, completed)
       select queue, day, sum(completed) from gone
       where day >= ((mainstay.now() - $1::interval) at time zone 'UTC')::date group by queue, day""",
)


async def pause_queue_everywhere(tx: Tx, queue: str, by: str) -> bool:
    """Whether the queue was not paused; it is, and every claim of its jobs has either committed or will bring none."""
    await tx.value(_LOCK_LINE, queue)
    return count_of(await tx.run(_PAUSE, queue, by)) == 1


async def resume_queue_everywhere(tx: Tx, queue: str) -> bool:
    """Whether the queue was paused; it is not, and workers are told."""
    return bool(await tx.rows(_RESUME, queue))


async def set_concurrency_everywhere(tx: Tx, queue: str, slots: int | None, by: str) -> bool:
    """Whether the queue had other slots set at run time; each worker has these from its next heartbeat on."""
    return count_of(await tx.run(_SET_CONCURRENCY, queue, slots, by)) == 1


async def queue_exists_everywhere(tx: Tx, queue: str) -> bool:
    """Whether any worker ever served the queue."""
    return bool(await tx.value(_EXISTS, queue))


async def stats_everywhere(tx: Tx, bound: int) -> list[Record]:
    """Jobs by queue and state, each counted up to `bound`."""
    return await tx.rows(_STATS, bound)


async def fold_tallies_everywhere(db: Database, keep: timedelta) -> None:
    """Tallies are one row a queue and day, none older than that."""
    await db.run(_FOLD_TALLIES, keep)


async def write_minute_everywhere(db: Database, columns: Sequence[Sequence[Any]]) -> None:
    """The current minute is on record as whoever came first saw it. Columns: queue, waiting, active, retrying, dead."""
    await db.run(_WRITE_MINUTE, *columns)


async def minutes_everywhere(db: Connection, span: timedelta) -> list[Record]:
    """The minutes of that span up to now, oldest first."""
    return await db.rows(_MINUTES, span)


async def cut_minutes_everywhere(db: Database, keep: timedelta) -> None:
    """Minutes longer ago than that are gone, those of kinds, too."""
    await db.run(_CUT_MINUTES, keep)
    await db.run(_CUT_KIND_MINUTES, keep)


async def tally_kinds_everywhere(db: Database, columns: Sequence[Sequence[Any]]) -> None:
    """So many more attempts ended in this minute. Columns: queue, kind, outcome, class of error, count."""
    await db.run(_TALLY_KINDS, *columns)


async def kind_figures_everywhere(db: Connection, span: timedelta) -> list[Record]:
    """Attempts of that span up to now by queue, kind, outcome and class of error."""
    return await db.rows(_KIND_FIGURES, span)
