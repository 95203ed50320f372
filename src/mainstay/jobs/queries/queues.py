"""Statements about queues as wholes: stopping them, and how much is in them."""

from datetime import timedelta

from mainstay.kernel.db import Database, Record, Sql, Tx, count_of

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
_FOLD_TALLIES = Sql(
    "jobs.fold_tallies",
    """with gone as (delete from mainstay.queue_tallies returning queue, day, completed)
       insert into mainstay.queue_tallies (queue, day, completed)
       select queue, day, sum(completed) from gone
       where day >= ((mainstay.now() - $1::interval) at time zone 'UTC')::date group by queue, day""",
)


async def pause_queue_everywhere(tx: Tx, queue: str, by: str) -> bool:
    """Whether there is such a queue; it is paused."""
    return count_of(await tx.run(_PAUSE, queue, by)) == 1


async def resume_queue_everywhere(tx: Tx, queue: str) -> bool:
    """Whether there is such a queue; it is not paused."""
    return bool(await tx.rows(_RESUME, queue))


async def stats_everywhere(tx: Tx, bound: int) -> list[Record]:
    """Jobs by queue and state, each counted up to `bound`."""
    return await tx.rows(_STATS, bound)


async def fold_tallies_everywhere(db: Database, keep: timedelta) -> None:
    """Tallies are one row a queue and day, none older than that."""
    await db.run(_FOLD_TALLIES, keep)
