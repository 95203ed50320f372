"""Statements that put jobs in line, and the wake-up for them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

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
# Ids are drawn before, so that each job of the request is told its own.
_INSERT_EACH = Sql(
    "jobs.enqueue_each",
    """with given as materialized (
         select n.*, nextval('mainstay.jobs_id_seq') as id, coalesce(n.run_at, mainstay.now() + n.delay) as due_at
         from unnest($3::text[], $4::smallint[], $5::smallint[], $6::text[], $7::uuid[], $8::text[], $9::text[],
                     $10::jsonb[], $11::timestamptz[], $12::interval[])
           with ordinality as n(kind, priority, max_attempts, lane, company_id, backoff, dedupe_key, payload, run_at,
                                delay, place)
       ), added as (
         insert into mainstay.jobs (id, queue, trace_id, kind, priority, max_attempts, lane, company_id, backoff,
                                    dedupe_key, payload, state, due_at)
         select id, $1, $2, kind, priority, max_attempts, lane, company_id, backoff, dedupe_key, payload,
                case when due_at > mainstay.now() then 'delayed' else 'waiting' end, due_at
         from given order by place
         on conflict (kind, dedupe_key) where dedupe_key is not null do nothing
         returning id)
       select g.place - 1 as place, a.id from given g left join added a on a.id = g.id order by g.place""",
)
_BY_DEDUPE_KEYS = Sql(
    "jobs.by_dedupe_keys",
    """select n.kind, n.dedupe_key, j.id from unnest($1::text[], $2::text[]) as n(kind, dedupe_key)
       join mainstay.jobs j on j.kind = n.kind and j.dedupe_key = n.dedupe_key""",
)
_KINDS = Sql(
    "jobs.kinds",
    "select kind, queue, priority, max_attempts, is_public from mainstay.job_kinds where kind = any($1::text[])",
)
_INTRODUCE = Sql(
    "jobs.introduce_kinds",
    """with known as (
         insert into mainstay.queues (name, priority)
         select distinct n.queue, n.place from unnest($2::text[], $7::smallint[]) as n(queue, place)
         on conflict (name) do nothing)
       insert into mainstay.job_kinds (kind, queue, priority, max_attempts, backoff, is_public, seen_at)
       select n.*, mainstay.now()
       from unnest($1::text[], $2::text[], $3::smallint[], $4::smallint[], $5::text[], $6::boolean[])
            as n(kind, queue, priority, max_attempts, backoff, is_public)
       on conflict (kind) do nothing""",
)
_ALL_KINDS = Sql(
    "jobs.all_kinds",
    """select k.kind, k.queue, k.priority, k.max_attempts, k.is_public, k.seen_at, coalesce(p.share, 100) as share
       from mainstay.job_kinds k left join mainstay.kind_pauses p on p.kind = k.kind order by k.kind""",
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


async def insert_each_everywhere(
    tx: Tx, queue: str, trace_id: str, columns: Sequence[Sequence[Any]]
) -> list[int | None]:
    """The new jobs' ids in the order given; None for one whose key an unfinished job of its kind has.

    Columns: kind, priority, attempts, lane, company id, backoff, dedupe key, payload, run at, delay.
    """
    return [row["id"] for row in await tx.rows(_INSERT_EACH, queue, trace_id, *columns)]


async def find_by_dedupe_keys_everywhere(
    tx: Tx, kinds: Sequence[str], keys: Sequence[str]
) -> dict[tuple[str, str], int]:
    """The unfinished jobs that have the keys, by (kind, key)."""
    return {(row["kind"], row["dedupe_key"]): row["id"] for row in await tx.rows(_BY_DEDUPE_KEYS, kinds, keys)}


async def introduce_kinds_everywhere(db: Database, columns: Sequence[Sequence[Any]]) -> None:
    """The kinds and their queues are known, where no worker has told of them yet.

    Columns: kind, queue, priority, attempts, backoff, is public, the queue's priority.
    """
    await db.run(_INTRODUCE, *columns)


async def find_kinds_everywhere(db: Connection, kinds: Sequence[str]) -> dict[str, Record]:
    """Those of the kinds that a worker ever had a task for, by name."""
    return {row["kind"]: row for row in await db.rows(_KINDS, list(kinds))}


async def list_kinds_everywhere(db: Connection) -> list[Record]:
    """Every kind that a worker ever had a task for."""
    return await db.rows(_ALL_KINDS)


async def find_by_dedupe_key_everywhere(tx: Tx, kind: str, dedupe_key: str) -> int | None:
    """The unfinished job that has the key."""
    found: int | None = await tx.value(_BY_DEDUPE_KEY, kind, dedupe_key)
    return found


async def notify_everywhere(db: Database | Tx, queue: str) -> None:
    """Workers that listen look at the queue."""
    await db.value(_NOTIFY, queue)
