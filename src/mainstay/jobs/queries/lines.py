"""Statements that find waiting jobs and take them, and that put due ones in line."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

_HEAD = Sql("jobs.head", "select last_value from mainstay.jobs_pos_seq")
_LOOK = Sql(
    "jobs.look",
    """select q.queue, (k.paused_at is not null or not q.is_open) as is_paused, s.head, s.xmin, s.xmax,
              f.priority, f.lane, f.first, f.last, f.jobs
       from (select (select last_value from mainstay.jobs_pos_seq) as head,
                    pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin,
                    pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xmax) s
       cross join (
         select queue, pos, count,
                pg_try_advisory_xact_lock_shared(hashtext('mainstay.queues'), hashtext(queue)) as is_open
         from unnest($1::text[], $2::bigint[], $3::int[]) as n(queue, pos, count) offset 0) q
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
_ACTIVE_OF = Sql("jobs.active_of", "select id, epoch from mainstay.jobs where state = 'active' and worker_id = $1")


_LISTED = (
    "id, kind, lane, priority, attempt, max_attempts, company_id, trace_id, enqueued_at, started_at, due_at, worker_id"
)
_WINDOW = {
    # Waiting jobs have no index by id, and need none: the newest are those last in line.
    "waiting": """select id from mainstay.jobs where state = 'waiting' and queue = $1 order by pos desc limit 10000""",
    "active": "select id from mainstay.jobs where state = 'active' and queue = $1",
}
_LIST = {
    state: Sql(
        f"jobs.list_{state}",
        f"""select {_LISTED} from mainstay.jobs where state = '{state}' and id = any(array(
              select id from ({window}) w where $2::bigint is null or id < $2 order by id desc limit $3))
            order by id desc""",  # noqa: S608 (constants)
    )
    for state, window in _WINDOW.items()
} | {
    state: Sql(
        f"jobs.list_{state}",
        f"""select {_LISTED} from mainstay.jobs where state = '{state}' and queue = $1
              and id < coalesce($2, 9223372036854775807) order by id desc limit $3""",  # noqa: S608 (constants)
    )
    for state in ("delayed", "retrying")
}


async def head_everywhere(db: Database) -> int:
    """The highest place drawn so far."""
    head: int = await db.value(_HEAD)
    return head


async def look_everywhere(tx: Tx, queues: Sequence[str], places: Sequence[int], counts: Sequence[int]) -> list[Record]:
    """The lines of up to `counts` waiting jobs of each queue from its place on, with the snapshot they were seen in.

    Until the transaction ends no pause of these queues commits; a queue that is just being paused is shown as paused.
    """
    return await tx.rows(_LOOK, queues, places, counts)


async def sweep_everywhere(tx: Tx, queue: str, priority: int, lane: str, count: int) -> list[Record]:
    """The next `count` lines of a queue after the given one, each with its lowest place."""
    return await tx.rows(_SWEEP, queue, priority, lane, count)


async def claim_everywhere(tx: Tx, queue: str, worker_id: int, takes: Sequence[Sequence[Any]]) -> list[Record]:
    """Jobs that are this worker's from now on; none if the queue is paused or the worker was declared lost.

    Takes, as columns: priorities, lanes, places, counts.
    """
    return await tx.rows(_CLAIM, queue, worker_id, *takes)


async def promote_everywhere(tx: Tx, since: datetime, count: int) -> Record:
    """Up to `count` jobs whose time came since then are in line: the time, and how many."""
    return (await tx.rows(_PROMOTE, since, count))[0]


async def active_of_everywhere(tx: Tx, worker_id: int) -> list[Record]:
    """What the database takes this worker to hold."""
    return await tx.rows(_ACTIVE_OF, worker_id)


async def list_jobs_everywhere(
    db: Connection, state: str, queue: str, before_id: int | None, count: int
) -> list[Record]:
    """The queue's jobs in that state with ids below the given one, highest first; of those waiting the last 10,000."""
    return await db.rows(_LIST[state], queue, before_id, count)
