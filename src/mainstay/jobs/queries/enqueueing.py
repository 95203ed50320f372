"""Statements that put jobs in line, and the wake-up for them."""

from typing import Any, NamedTuple

from mainstay.kernel.db import Database, Sql, Tx

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
