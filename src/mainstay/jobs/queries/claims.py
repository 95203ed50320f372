"""Statements about jobs under a claim: how it is confirmed and how it ends; each looks at the epoch."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from mainstay.kernel.db import Record, Sql, Tx

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
# One announcement for each failed attempt, in the order of a table `{rows}` that says how it ended in `{outcome}`.
FAILED = """ told as (
         insert into mainstay.announcements (id, name, company_id, actor, data, trace_id)
         select mainstay.uuid7(), 'admin/job.failed', company_id,
                jsonb_build_object('kind', 'job', 'id', id::text, 'name', kind),
                jsonb_build_object('id', id, 'queue', queue, 'kind', kind, 'attempt', attempt,
                                   'outcome', {outcome}, 'error', {error}), trace_id from {rows})"""
_RETRY = Sql(
    "jobs.retry",
    f"""with held as (
         update mainstay.jobs j
            set state = 'retrying', due_at = mainstay.now() + a.delay, worker_id = null
         from unnest($2::bigint[], $3::int[], $4::interval[], $5::text[], $6::text[], $7::real[])
              as a(id, epoch, delay, outcome, error, duration_ms)
         where j.id = any($2) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null
         returning j.id, j.started_at, j.attempt, j.queue, j.kind, a.outcome, a.error, a.duration_ms, j.company_id,
                   j.trace_id
       ), logged as (
         insert into mainstay.job_attempts (job_id, worker_id, started_at, duration_ms, attempt, outcome, queue, kind,
                                            error)
         select id, $1, started_at, duration_ms, attempt, outcome, queue, kind, error from held
       ),{FAILED.format(rows="held", outcome="outcome", error="error")}
       select id from held""",  # noqa: S608 (constants)
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
DIED = f""" died as (
         insert into mainstay.dead_jobs (id, worker_id, enqueued_at, started_at, company_id, epoch, priority, attempt,
             max_attempts, reason, queue, kind, lane, trace_id, dedupe_key, backoff, error, payload)
         select id, worker_id, enqueued_at, started_at, company_id, epoch, priority, attempt,
             max_attempts, reason, queue, kind, lane, trace_id, dedupe_key, backoff, error, payload from gone
       ), logged as (
         insert into mainstay.job_attempts (job_id, worker_id, started_at, duration_ms, attempt, outcome, queue, kind,
                                            error)
         select id, worker_id, started_at, duration_ms, attempt, reason, queue, kind, error from gone
       ),{FAILED.format(rows="gone", outcome="reason", error="error")}
       select id, company_id::text as company_id, queue, kind, attempt, reason, error, trace_id from gone"""  # noqa: S608 (constants)
_BURY = Sql(
    "jobs.bury",
    f"""with gone as (
         delete from mainstay.jobs j
         using unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::real[])
               as a(id, epoch, reason, error, duration_ms)
         where j.id = any($1) and j.id = a.id and j.epoch = a.epoch and j.worker_id is not null
         returning j.*, a.reason, a.error, a.duration_ms
       ),{DIED}""",  # noqa: S608 (two constants)
)


async def complete_everywhere(
    tx: Tx, ids: Sequence[int], epochs: Sequence[int], durations_ms: Sequence[float], are_kept: Sequence[bool]
) -> list[Record]:
    """Jobs still held under their epoch have left the hot table, counted and (if kept) in the history; their ids."""
    return await tx.rows(_COMPLETE, ids, epochs, durations_ms, are_kept)


async def retry_everywhere(tx: Tx, worker_id: int, *columns: Sequence[Any]) -> list[Record]:
    """Jobs still held wait for their next try, with an attempt row, and announced as failed.

    Columns: id, epoch, delay, outcome, error, duration in ms.
    """
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
