"""Statements that find jobs to look at, wherever they are: one by its id, or a page of a queue in one state."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql

_MATCH = """($2::text is null or kind = $2) and ($3::text is null or lane = $3)
           and ($4::uuid is null or company_id = $4)"""
_LISTED = """id, kind, lane, priority, attempt, max_attempts, company_id, trace_id, enqueued_at, started_at, due_at,
             worker_id, state"""
_PAGE = """with looked as materialized (
             select {columns}, {place} as place from {table} where {state} and queue = $1
               and {place} < coalesce($5, 9223372036854775807) order by {place} desc limit $7)
           select b.jobs as looked_at, b.last, f.* from (select count(*) as jobs, min(place) as last from looked) b
           left join lateral (select * from looked where {match} order by place desc limit $6) f on true"""
_UNFINISHED = {
    state: Sql(
        f"jobs.page_{state}",
        _PAGE.format(columns=_LISTED, place=place, table="mainstay.jobs", state=f"state = '{state}'", match=_MATCH),
    )
    for state, place in (("waiting", "pos"), ("delayed", "id"), ("retrying", "id"))
}
# Who is active has no index by queue, and there are few.
_FEW = {
    state: Sql(
        f"jobs.page_{state}",
        f"""select {_LISTED}, id as place from mainstay.jobs where state = '{state}' and queue = $1 and {_MATCH}
              and id < coalesce($5, 9223372036854775807) order by id desc limit $6""",  # noqa: S608 (constants)
    )
    for state in ("active", "parked")
}
_COMPLETED = Sql(
    "jobs.page_completed",
    f"""select id, kind, lane, attempt, company_id, trace_id, enqueued_at, started_at, finished_at, duration_ms,
               worker_id, outcome as state
        from mainstay.finished_jobs
        where finished_at > $5 and finished_at <= $6 and (finished_at, id) < ($7, $8) and queue = $1 and {_MATCH}
        order by finished_at desc, id desc limit $9""",  # noqa: S608 (constants)
)
_DEAD = Sql(
    "jobs.page_dead",
    f"""with looked as materialized (
          select id, kind, lane, priority, attempt, max_attempts, company_id, trace_id, enqueued_at, started_at,
                 died_at, worker_id, reason, error, 'dead' as state
          from mainstay.dead_jobs
          where queue = $1 and (died_at, id) < (coalesce($5, 'infinity'::timestamptz), coalesce($6, 0))
          order by died_at desc, id desc limit $8)
        select b.jobs as looked_at, e.died_at as last_at, e.id as last_id, f.*
        from (select count(*) as jobs from looked) b
        left join lateral (select died_at, id from looked order by died_at, id limit 1) e on true
        left join lateral (
          select * from looked where {_MATCH} and ($9::text is null or position($9 in error) > 0)
          order by died_at desc, id desc limit $7) f on true""",  # noqa: S608 (constants)
)
_FIND = Sql(
    "jobs.find",
    """select id, queue, kind, state, lane, priority, attempt, max_attempts, company_id, trace_id, dedupe_key, backoff,
              enqueued_at, due_at, started_at, null::timestamptz as ended_at, null::real as duration_ms, worker_id,
              null as reason, null as error, payload
       from mainstay.jobs where id = $1
       union all
       select id, queue, kind, 'dead', lane, priority, attempt, max_attempts, company_id, trace_id, dedupe_key, backoff,
              enqueued_at, null, started_at, died_at, null, worker_id, reason, error, payload
       from mainstay.dead_jobs where id = $1""",
)
_FIND_FINISHED = Sql(
    "jobs.find_finished",
    """select id, queue, kind, outcome as state, lane, null::smallint as priority, attempt,
              null::smallint as max_attempts, company_id, trace_id, null as dedupe_key, null as backoff, enqueued_at,
              null::timestamptz as due_at, started_at, finished_at as ended_at, duration_ms, worker_id, null as reason,
              null as error, payload
       from mainstay.finished_jobs where id = $1 order by finished_at desc limit 1""",
)
_NOW = Sql("jobs.finding_now", "select mainstay.now()")


async def page_everywhere(
    db: Connection, state: str, match: Sequence[object], before: int | None, limit: int, looked: int
) -> list[Record]:
    """Jobs of the queue in that state below the given place, highest first, among the next `looked`.

    Each row tells how many were looked at and the last place; without a match there is one row, whose id is null.
    """
    return await db.rows(_UNFINISHED[state], *match, before, limit, looked)


async def few_everywhere(
    db: Connection, state: str, match: Sequence[object], before: int | None, limit: int
) -> list[Record]:
    """The same of states with few jobs, all of them looked at."""
    return await db.rows(_FEW[state], *match, before, limit)


async def dead_page_everywhere(
    db: Connection, match: Sequence[object], error: str | None, before: tuple[Any, Any], limit: int, looked: int
) -> list[Record]:
    """Dead jobs below (died at, id), youngest first, among the next `looked`; rows as of `page_everywhere`."""
    return await db.rows(_DEAD, *match, *before, limit, looked, error)


async def completed_everywhere(
    db: Connection,
    match: Sequence[object],
    window: tuple[datetime, datetime],
    before: tuple[datetime, int],
    limit: int,
) -> list[Record]:
    """Finished jobs after the first and up to the second moment, and below (finished at, id), youngest first."""
    return await db.rows(_COMPLETED, *match, *window, *before, limit)


async def find_job_everywhere(db: Connection, job_id: int) -> Record | None:
    """The job, where it is not finished or is dead."""
    return await db.row(_FIND, job_id)


async def find_finished_everywhere(db: Connection, job_id: int) -> Record | None:
    """The job, where it completed or was cancelled, and its kind keeps a history."""
    return await db.row(_FIND_FINISHED, job_id)


async def now_everywhere(db: Connection) -> datetime:
    """The database's time."""
    moment: datetime = await db.value(_NOW)
    return moment
