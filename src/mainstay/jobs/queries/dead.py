"""Statements about dead jobs, and about jobs that will not be run."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mainstay.kernel.db import Database, Record, Sql, Tx, count_of

_EXPIRE_DEAD = Sql(
    "jobs.expire_dead",
    """delete from mainstay.dead_jobs where id in (
         select id from mainstay.dead_jobs where died_at < mainstay.now() - $1::interval order by died_at limit $2)""",
)
MATCH = """ queue = $1 and ($2::text is null or kind = $2) and ($3::text is null or lane = $3)
           and ($4::uuid is null or company_id = $4)"""
DEAD = (
    MATCH
    + """ and ($5::text is null or position($5 in error) > 0)
           and died_at >= coalesce($6::timestamptz, '-infinity') and died_at < coalesce($7::timestamptz, 'infinity')"""
)
_LIST_DEAD = Sql(
    "jobs.list_dead",
    f"""select * from mainstay.dead_jobs where {DEAD}
          and ($8::timestamptz is null or (died_at, id) < ($8, $9::bigint))
        order by died_at desc, id desc limit $10""",  # noqa: S608 (a constant)
)
_FIND_DEAD = Sql("jobs.find_dead", "select * from mainstay.dead_jobs where id = $1")
_ATTEMPTS = Sql("jobs.attempts", "select * from mainstay.job_attempts where job_id = $1 order by finished_at, attempt")
# Inserted first and deleted only where that succeeded, so that a key taken meanwhile, or twice, costs nothing.
REVIVED = """back as (
           insert into mainstay.jobs (id, queue, kind, priority, max_attempts, lane, company_id, trace_id, backoff,
                                      dedupe_key, payload, epoch, enqueued_at)
           select id, queue, kind, priority, max_attempts, lane, company_id, trace_id, backoff, dedupe_key, payload,
                  epoch + 1, enqueued_at from picked order by died_at, id
           on conflict (kind, dedupe_key) where dedupe_key is not null do nothing returning id, queue
         ), gone as (delete from mainstay.dead_jobs where id in (select id from back))"""
FREE_KEY = """(dedupe_key is null or not exists (
             select from mainstay.jobs j where j.kind = d.kind and j.dedupe_key = d.dedupe_key))"""
_REDRIVE = Sql(
    "jobs.redrive",
    f"""with picked as materialized (select * from mainstay.dead_jobs where id = $1 for update), {REVIVED}
        select id, pg_notify('mainstay_jobs', queue)::text from back""",  # noqa: S608 (a constant)
)
_REDRIVE_MATCHING = Sql(
    "jobs.redrive_matching",
    f"""with picked as materialized (
          select * from mainstay.dead_jobs d where {DEAD} and {FREE_KEY}
          order by died_at, id limit $8 for update skip locked), {REVIVED}
        select count(*), pg_notify('mainstay_jobs', $1)::text from back""",  # noqa: S608 (constants)
)
_CLEAR = Sql("jobs.clear", "delete from mainstay.dead_jobs where id = $1")
_CLEAR_MATCHING = Sql(
    "jobs.clear_matching",
    f"""delete from mainstay.dead_jobs where id in (
          select id from mainstay.dead_jobs where {DEAD} order by died_at, id limit $8)""",  # noqa: S608 (a constant)
)
CANCELLED = """ insert into mainstay.finished_jobs (id, enqueued_at, company_id, attempt, outcome, queue, kind, lane,
                                             trace_id, payload)
         select id, enqueued_at, company_id, attempt, 'cancelled', queue, kind, lane, trace_id, payload from gone
         returning id"""
_CANCEL = Sql(
    "jobs.cancel",
    f"""with gone as (delete from mainstay.jobs where id = $1 and state <> 'active' returning *),
          kept as ({CANCELLED}) select count(*) from kept""",  # noqa: S608 (a constant)
)
_CANCEL_MATCHING = Sql(
    "jobs.cancel_matching",
    f"""with gone as (delete from mainstay.jobs where id in (
            select id from mainstay.jobs where {MATCH} and state <> 'active' limit $5 for update skip locked)
          returning *), kept as ({CANCELLED}) select count(*) from kept""",  # noqa: S608 (constants)
)
# Its place is drawn anew: workers look for new work at the end of the line.
_PROMOTE = Sql(
    "jobs.promote_one",
    """with ready as (
         update mainstay.jobs set state = 'waiting', due_at = mainstay.now(), pos = nextval('mainstay.jobs_pos_seq')
         where id = $1 and state in ('delayed', 'retrying') returning queue)
       select pg_notify('mainstay_jobs', queue)::text from ready""",
)


async def list_dead_everywhere(
    tx: Tx, match: Sequence[object], before: tuple[datetime, int] | None, count: int
) -> list[Record]:
    """Dead jobs that match (queue, kind, lane, company, error, since, until), youngest first, below (died at, id)."""
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


async def redrive_matching_everywhere(tx: Tx, match: Sequence[object], count: int) -> int:
    """Of up to `count` dead jobs that match, oldest first, those whose key is free are in line again; how many."""
    return int(await tx.value(_REDRIVE_MATCHING, *match, count))


async def clear_everywhere(tx: Tx, job_id: int) -> bool:
    """Whether there was such a dead job; it is gone."""
    return count_of(await tx.run(_CLEAR, job_id)) == 1


async def clear_matching_everywhere(tx: Tx, match: Sequence[object], count: int) -> int:
    """Up to `count` dead jobs that match are gone; how many."""
    return count_of(await tx.run(_CLEAR_MATCHING, *match, count))


async def cancel_everywhere(tx: Tx, job_id: int) -> bool:
    """Whether the job had not been started; it will not be."""
    return int(await tx.value(_CANCEL, job_id)) == 1


async def cancel_matching_everywhere(tx: Tx, match: Sequence[object], count: int) -> int:
    """Up to `count` jobs that match and are not active will not run; how many."""
    return int(await tx.value(_CANCEL_MATCHING, *match, count))


async def promote_one_everywhere(tx: Tx, job_id: int) -> bool:
    """Whether the job was delayed or retrying; it is in line."""
    return bool(await tx.rows(_PROMOTE, job_id))


async def expire_dead_everywhere(db: Database, keep: timedelta, count: int) -> int:
    """Up to `count` jobs dead for longer than that are gone; how many."""
    return count_of(await db.run(_EXPIRE_DEAD, keep, count))
