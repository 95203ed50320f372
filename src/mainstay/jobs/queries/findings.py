"""Statements about what fails now: each reads a bounded number of rows of each kind that failed lately."""

from datetime import timedelta

from mainstay.kernel.db import Connection, Record, Sql

_FAILING = """failing as materialized (
         select distinct queue, kind from mainstay.kind_minutes
         where minute > mainstay.now() - $1::interval and outcome in ('retried', 'dead'))"""
_LAST_FAILURES = Sql(
    "jobs.last_failures",
    f"""with {_FAILING}
       select f.queue, f.kind, a.error, a.outcome, a.finished_at from failing f cross join lateral (
         select error, outcome, finished_at from mainstay.job_attempts j
         where j.kind = f.kind and j.queue = f.queue and finished_at > mainstay.now() - $1::interval
         order by finished_at desc limit $2) a
       order by f.queue, f.kind, a.finished_at desc""",  # noqa: S608 (a constant)
)
_TIMEOUTS = Sql(
    "jobs.timeouts_by_memory",
    f"""with {_FAILING}
       select f.queue, f.kind, w.name as worker, count(*) as timeouts, max(w.memory_share) as memory_share
       from failing f cross join lateral (
         select worker_id from mainstay.job_attempts j
         where j.kind = f.kind and j.queue = f.queue and finished_at > mainstay.now() - $1::interval
           and outcome = 'timeout' order by finished_at desc limit $2) a
       join mainstay.workers w on w.id = a.worker_id and w.memory_high_at > mainstay.now() - $1::interval
       group by f.queue, f.kind, w.name order by f.queue, f.kind, w.name""",  # noqa: S608 (a constant)
)
_RESTING = Sql(
    "jobs.resting",
    """select j.queue, j.kind, j.attempt, j.max_attempts, coalesce(j.backoff, k.backoff) as backoff, count(*) as jobs,
              min(j.due_at) as next_at
       from (select queue, kind, attempt, max_attempts, backoff, due_at from mainstay.jobs
             where state = 'retrying' order by due_at limit $1) j
       left join mainstay.job_kinds k on k.kind = j.kind
       group by j.queue, j.kind, j.attempt, j.max_attempts, coalesce(j.backoff, k.backoff)
       order by j.queue, j.kind, j.attempt""",
)
_EXHAUSTED = Sql(
    "jobs.exhausted",
    """select queue, kind, count(*) as jobs, max(died_at) as last_at, max(attempt) as attempts
       from (select queue, kind, died_at, attempt from mainstay.dead_jobs
             where died_at > mainstay.now() - $1::interval and attempt >= max_attempts and reason <> 'discarded'
             order by died_at desc limit $2) d
       group by queue, kind order by queue, kind""",
)


async def last_failures_everywhere(db: Connection, span: timedelta, count: int) -> list[Record]:
    """Of each kind that failed in that span its last failed attempts, youngest first."""
    return await db.rows(_LAST_FAILURES, span, count)


async def timeouts_by_memory_everywhere(db: Connection, span: timedelta, count: int) -> list[Record]:
    """Timeouts of that span on workers whose memory was exhausted within it, by kind and worker."""
    return await db.rows(_TIMEOUTS, span, count)


async def resting_everywhere(db: Connection, count: int) -> list[Record]:
    """Jobs that wait for their next try, by kind, attempt and backoff."""
    return await db.rows(_RESTING, count)


async def exhausted_everywhere(db: Connection, span: timedelta, count: int) -> list[Record]:
    """Jobs that died in that span after their last attempt, by kind."""
    return await db.rows(_EXHAUSTED, span, count)
