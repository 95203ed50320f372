"""Statements that find waiting jobs and take them, and that put due ones in line."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mainstay.jobs.queries.kinds import BUCKET, GATE
from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

_HEAD = Sql("jobs.head", "select last_value from mainstay.jobs_pos_seq")
_LOOK = Sql(
    "jobs.look",
    f"""select q.queue, (k.paused_at is not null or not q.is_open) as is_paused, s.head, s.xmin, s.xmax,
              f.priority, f.lane, f.first, f.last, f.jobs, s.are_kinds_settled, s.kind_pauses
       from (select (select last_value from mainstay.jobs_pos_seq) as head,
                    pg_try_advisory_xact_lock_shared({GATE}) as are_kinds_settled,
                    (select sum(extract(epoch from paused_at)) from mainstay.kind_pauses) as kind_pauses,
                    pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin,
                    pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xmax offset 0) s
       cross join (
         select queue, pos, count,
                pg_try_advisory_xact_lock_shared(hashtext('mainstay.queues'), hashtext(queue)) as is_open
         from unnest($1::text[], $2::bigint[], $3::int[]) as n(queue, pos, count) offset 0) q
       left join mainstay.queues k on k.name = q.queue
       left join lateral (
         select w.priority, w.lane, min(w.pos) as first, max(w.pos) as last, count(*) as jobs
         from (select priority, lane, pos from mainstay.jobs
               where state = 'waiting' and queue = q.queue and pos >= q.pos order by pos limit q.count) w
         group by w.priority, w.lane) f on true""",  # noqa: S608 (a constant)
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
_TURN = """alive as materialized (
         select id from mainstay.workers where id = $2 and ended_at is null for key share
       ), turn as materialized (
         select j.* from unnest($3::smallint[], $4::text[], $5::bigint[], $6::int[]) as l(priority, lane, pos, count)
         cross join lateral (
           select {columns} from mainstay.jobs
           where state = 'waiting' and queue = $1 and priority = l.priority
             and (lane, pos) >= (l.lane, l.pos) and lane <= l.lane
           order by lane, pos limit l.count for update skip locked) j
         where exists (select from alive)
           and not exists (select from mainstay.queues where name = $1 and paused_at is not null)"""
_START = """update mainstay.jobs j
          set state = 'active', attempt = attempt + 1, epoch = epoch + 1, worker_id = $2, started_at = mainstay.now()"""
_CLAIMED = """j.id, j.kind, j.payload, j.attempt, j.max_attempts, j.epoch, j.lane, j.company_id, j.trace_id,
                 j.enqueued_at, j.priority, j.pos, j.backoff"""
_CLAIM = Sql(
    "jobs.claim",
    f"""with {_TURN.format(columns="id")} and not exists (select from mainstay.kind_pauses))
       {_START}
       where j.id = any(array(select id from turn))
       returning {_CLAIMED}""",  # noqa: S608 (constants)
)
_CLAIM_BY_KIND = Sql(
    "jobs.claim_by_kind",
    f"""with pauses as materialized (select kind, share from mainstay.kind_pauses
       ), {_TURN.format(columns="id, kind")}
       ), judged as materialized (
         select id, exists (select from pauses p where p.kind = t.kind and {BUCKET} >= p.share) as is_paused
         from turn t
         where kind <> all($7::text[])
       ), started as (
         {_START}
         where j.id = any(array(select id from judged where not is_paused)) returning {_CLAIMED}
       ), parked as (
         update mainstay.jobs j set state = 'parked'
         where j.id = any(array(select id from judged where is_paused)) returning j.*)
       select {_CLAIMED} from started j
       union all
       select j.id, j.kind, null, j.attempt, j.max_attempts, null, j.lane, j.company_id, j.trace_id,
              j.enqueued_at, j.priority, j.pos, j.backoff from parked j""",  # noqa: S608 (constants)
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
    "waiting": """(select id from mainstay.jobs where state = 'waiting' and queue = $1 order by pos desc limit 10000)
              union all
              (select id from mainstay.jobs where state = 'parked' and queue = $1 order by kind desc, pos desc
               limit 10000)""",
    "active": "select id from mainstay.jobs where state = 'active' and queue = $1",
}
_LIST = {
    state: Sql(
        f"jobs.list_{state}",
        f"""select {_LISTED} from mainstay.jobs
            where state in ('{state}'{", 'parked'" * (state == "waiting")}) and id = any(array(
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
    Nor does a pause of a kind, if `are_kinds_settled`; `kind_pauses` is None where there is none, and else changes with
    each.
    """
    return await tx.rows(_LOOK, queues, places, counts)


async def sweep_everywhere(tx: Tx, queue: str, priority: int, lane: str, count: int) -> list[Record]:
    """The next `count` lines of a queue after the given one, each with its lowest place."""
    return await tx.rows(_SWEEP, queue, priority, lane, count)


async def claim_everywhere(tx: Tx, queue: str, worker_id: int, takes: Sequence[Sequence[Any]]) -> list[Record]:
    """Jobs that are this worker's from now on; none if the queue is paused or the worker was declared lost.

    None, too, while any kind is paused or at a share. Takes, as columns: priorities, lanes, places, counts.
    """
    return await tx.rows(_CLAIM, queue, worker_id, *takes)


async def claim_by_kind_everywhere(
    tx: Tx, queue: str, worker_id: int, takes: Sequence[Sequence[Any]], unsettled: Sequence[str]
) -> list[Record]:
    """The same where kinds are paused or at a share: what may not start is set aside, and comes with the epoch None.

    Jobs of `unsettled` kinds are left where they are.
    """
    return await tx.rows(_CLAIM_BY_KIND, queue, worker_id, *takes, unsettled)


async def promote_everywhere(tx: Tx, since: datetime, count: int) -> Record:
    """Up to `count` jobs whose time came since then are in line: the time, and how many."""
    return (await tx.rows(_PROMOTE, since, count))[0]


async def active_of_everywhere(tx: Tx, worker_id: int) -> list[Record]:
    """What the database takes this worker to hold."""
    return await tx.rows(_ACTIVE_OF, worker_id)


async def list_jobs_everywhere(
    db: Connection, state: str, queue: str, before_id: int | None, count: int
) -> list[Record]:
    """The queue's jobs in that state with ids below the given one, highest first; of those waiting the last 10,000.

    Paused ones wait, too.
    """
    return await db.rows(_LIST[state], queue, before_id, count)
