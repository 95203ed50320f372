"""Statements about the slots of schedules and their runs, and the database's time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from mainstay.kernel.db import Connection, Database, Record, Sql, Tx, count_of

_LOOK = Sql(
    "jobs.look_at_slots",
    """select mainstay.now() as now, n.name,
              (select max(due_at) from mainstay.schedule_runs r where r.schedule = n.name) as due_at
       from (select) as always left join unnest($1::text[]) as n(name) on true""",
)
# Whoever settles slots and stands still is cut off, so that the others can.
_LEAD = Sql(
    "jobs.lead_schedules",
    """select pg_try_advisory_xact_lock(hashtextextended('mainstay.schedules.' || $1, 0)),
              set_config('idle_in_transaction_session_timeout', '5s', true), set_config('lock_timeout', '5s', true)""",
)
_TELL = Sql(
    "jobs.tell_schedules",
    """insert into mainstay.schedules as s (name, family, title, kind, queue, priority, max_attempts, payload, slots,
                                            missed, late_after, seen_at)
       select n.*, mainstay.now()
       from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::smallint[],
                   $8::jsonb[], $9::text[], $10::text[], $11::interval[])
            as n(name, family, title, kind, queue, priority, max_attempts, payload, slots, missed, late_after)
       order by n.name
       on conflict (name) do update
         set family = excluded.family, title = excluded.title, kind = excluded.kind, queue = excluded.queue,
             priority = excluded.priority, max_attempts = excluded.max_attempts, payload = excluded.payload,
             slots = excluded.slots, missed = excluded.missed, late_after = excluded.late_after,
             seen_at = excluded.seen_at""",
)
_ENQUEUE = Sql(
    "jobs.enqueue_due",
    """with given as materialized (
         select n.*, nextval('mainstay.jobs_id_seq') as id
         from unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::jsonb[], $7::text[])
              with ordinality as n(name, kind, queue, priority, max_attempts, payload, trace_id, place)
       ), added as (
         insert into mainstay.jobs (id, queue, kind, priority, max_attempts, trace_id, dedupe_key, payload)
         select id, queue, kind, priority, max_attempts, trace_id, 'schedule ' || name, payload
         from given order by place
         on conflict (kind, dedupe_key) where dedupe_key is not null do nothing returning id, queue
       ), told as materialized (
         select pg_notify('mainstay_jobs', queue)::text from (select distinct queue from added) q)
       select g.name, a.id, (select count(*) from told) from given g left join added a on a.id = g.id""",
)
_UNFINISHED = Sql(
    "jobs.unfinished_runs",
    """select n.name, j.id, j.enqueued_at from unnest($1::text[], $2::text[]) as n(name, kind)
       join mainstay.jobs j on j.kind = n.kind and j.dedupe_key = 'schedule ' || n.name""",
)
_TAKE_SLOTS = Sql(
    "jobs.take_slots",
    """with given as (
         select * from unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::boolean[], $5::int[])
                as n(schedule, due_at, job_id, is_covered, missed)
       ), run as (
         insert into mainstay.schedule_jobs (job_id, schedule, due_at)
         select job_id, schedule, due_at from given where job_id is not null and not is_covered)
       insert into mainstay.schedule_runs (schedule, due_at, job_id, is_covered, missed)
       select schedule, due_at, job_id, is_covered, missed from given on conflict do nothing""",
)
_ADD_RUN = Sql(
    "jobs.add_run_by_hand",
    "insert into mainstay.schedule_jobs (job_id, schedule, asked_by) values ($1, $2, $3)",
)
# Written by the transaction that acknowledges, which for some handlers began with the handler: hence the clock.
_NOTE = Sql(
    "jobs.note_runs",
    """with told as (
         select n.*, n.at - n.ms * interval '1 ms' as began_at, r.late_at, s.family, s.late_after
         from (select *, mainstay.now() + (clock_timestamp() - pg_catalog.now()) as at
               from unnest($1::bigint[], $2::real[], $3::smallint[], $4::text[]) as g(job_id, ms, attempt, outcome)) n
         join mainstay.schedule_jobs r on r.job_id = n.job_id
         left join mainstay.schedules s on s.name = r.schedule for update of r)
       update mainstay.schedule_jobs r
          set started_at = coalesce(r.started_at, t.began_at), attempt = t.attempt, outcome = t.outcome,
              ended_at = case when t.outcome is not null then t.at end,
              duration_ms = case when t.outcome is not null
                                 then extract(epoch from t.at - coalesce(r.started_at, t.began_at)) * 1000 end,
              late_at = coalesce(r.late_at, case when coalesce(r.started_at, t.began_at) > r.due_at + t.late_after
                                                 then t.at end)
       from told t where r.job_id = t.job_id
       returning r.*, coalesce(t.family, '') as family, t.late_at is null and r.late_at is not null as is_newly_late""",
)
_FIND_LATE = Sql(
    "jobs.find_late_runs",
    """update mainstay.schedule_jobs r set late_at = mainstay.now()
       from mainstay.schedules s
       where s.name = r.schedule and r.ended_at is null and r.started_at is null and r.late_at is null
         and r.due_at < mainstay.now() - s.late_after
         and not exists (select from mainstay.jobs j where j.id = r.job_id and j.state = 'active'
                                                       and j.started_at <= r.due_at + s.late_after)
       returning r.schedule, r.job_id, r.due_at, r.started_at""",
)
# A run whose job went another way than by an acknowledgement of a worker that knows the schedule: its worker was lost
# for good, it was cancelled, or it completed under a worker from before. Of some kinds nothing is kept but what failed.
_FIND_GONE = Sql(
    "jobs.find_gone_runs",
    """with gone as (
         select r.job_id, s.family, d.died_at, f.finished_at, f.duration_ms, coalesce(d.attempt, f.attempt) as attempt,
                coalesce(d.started_at, f.started_at) as started_at,
                case when d.id is not null then 'dead' else coalesce(f.outcome, 'completed') end as outcome
         from mainstay.schedule_jobs r
         left join mainstay.schedules s on s.name = r.schedule
         left join mainstay.dead_jobs d on d.id = r.job_id
         left join lateral (
           select outcome, attempt, started_at, finished_at, duration_ms from mainstay.finished_jobs
           where id = r.job_id and finished_at >= r.enqueued_at order by finished_at desc limit 1) f on d.id is null
         where r.ended_at is null and not exists (select from mainstay.jobs j where j.id = r.job_id))
       update mainstay.schedule_jobs r
          set outcome = g.outcome, started_at = coalesce(r.started_at, g.started_at),
              attempt = coalesce(nullif(g.attempt, 0), r.attempt),
              ended_at = coalesce(g.died_at, g.finished_at, mainstay.now()),
              duration_ms = coalesce(g.duration_ms,
                                     extract(epoch from g.died_at - coalesce(r.started_at, g.started_at)) * 1000)
       from gone g
       where r.job_id = g.job_id and r.ended_at is null
       returning r.*, coalesce(g.family, '') as family, false as is_newly_late""",
)
_PRUNE_SLOTS = Sql(
    "jobs.prune_slots",
    """with bounds as (
         select n.schedule, n.newest, greatest(mainstay.now() - $1::interval, least(mainstay.now() - $2::interval,
                (select r.due_at from mainstay.schedule_runs r where r.schedule = n.schedule
                 order by r.due_at desc offset $3 limit 1))) as until
         from (select schedule, max(due_at) as newest from mainstay.schedule_runs group by schedule) n)
       delete from mainstay.schedule_runs r using bounds b
       where r.schedule = b.schedule and r.due_at < b.until and r.due_at < b.newest""",
)
_PRUNE_RUNS = Sql(
    "jobs.prune_runs",
    """with bounds as (
         select n.schedule, n.newest, greatest(mainstay.now() - $1::interval, least(mainstay.now() - $2::interval,
                (select r.enqueued_at from mainstay.schedule_jobs r where r.schedule = n.schedule
                 order by r.job_id desc offset $3 limit 1))) as until
         from (select schedule, max(job_id) as newest from mainstay.schedule_jobs group by schedule) n)
       delete from mainstay.schedule_jobs r using bounds b
       where r.schedule = b.schedule and r.enqueued_at < b.until and r.job_id < b.newest and r.ended_at is not null""",
)
_PRUNE_SCHEDULES = Sql(
    "jobs.prune_schedules", "delete from mainstay.schedules where seen_at < mainstay.now() - $1::interval"
)


class ScheduleRow(NamedTuple):
    """A schedule as the database knows it; `payload` is JSON, `slots` as `timetable.write` has it."""

    name: str
    family: str
    title: str
    kind: str
    queue: str
    priority: int
    max_attempts: int
    payload: str
    slots: str
    missed: str
    late_after: timedelta


class SlotRow(NamedTuple):
    """A slot that is settled: the job that stands for it, whether that was there before, how many were missed."""

    schedule: str
    due_at: datetime
    job_id: int | None
    is_covered: bool
    missed: int


async def look_everywhere(db: Connection, names: Sequence[str]) -> tuple[datetime, dict[str, datetime | None]]:
    """The database's time, and the newest slot on record of each of the schedules."""
    found = await db.rows(_LOOK, names)
    return found[0]["now"], {row["name"]: row["due_at"] for row in found if row["name"] is not None}


async def lead_everywhere(tx: Tx, part: str) -> bool:
    """Whether this transaction, and no other, does this part until it ends; it may stand idle for 5 s at most."""
    return bool(await tx.value(_LEAD, part))


async def tell_schedules_everywhere(db: Connection, rows: Sequence[ScheduleRow]) -> None:
    """The schedules are known, as they are now."""
    await db.run(_TELL, *(list(column) for column in zip(*rows, strict=True)))


async def enqueue_due_everywhere(tx: Tx, rows: Sequence[ScheduleRow], traces: Sequence[str]) -> dict[str, int | None]:
    """By schedule its new job, and None where the one of an earlier slot has not ended; workers are told."""
    columns = [
        [row.name for row in rows],
        [row.kind for row in rows],
        [row.queue for row in rows],
        [row.priority for row in rows],
        [row.max_attempts for row in rows],
        [row.payload for row in rows],
        list(traces),
    ]
    return {row["name"]: row["id"] for row in await tx.rows(_ENQUEUE, *columns)}


async def unfinished_everywhere(
    db: Connection, names: Sequence[str], kinds: Sequence[str]
) -> dict[str, tuple[int, datetime]]:
    """By schedule its job that has not ended, and since when that is in line; schedules without one are left out."""
    return {row["name"]: (row["id"], row["enqueued_at"]) for row in await db.rows(_UNFINISHED, names, kinds)}


async def take_slots_everywhere(tx: Tx, slots: Sequence[SlotRow]) -> bool:
    """The slots and the runs of their new jobs are on record; False where somebody else has one of them."""
    return count_of(await tx.run(_TAKE_SLOTS, *(list(column) for column in zip(*slots, strict=True)))) == len(slots)


async def add_run_by_hand_everywhere(tx: Tx, job_id: int, schedule: str, asked_by: str) -> None:
    """The job is a run of the schedule that stands for no slot."""
    await tx.run(_ADD_RUN, job_id, schedule, asked_by)


async def note_runs_everywhere(tx: Tx, *columns: Sequence[Any]) -> list[Record]:
    """Ended attempts of jobs are on record where they are runs. Columns: job id, ms, attempt, outcome or None."""
    return await tx.rows(_NOTE, *columns)


async def find_late_everywhere(tx: Tx) -> list[Record]:
    """Runs that should have begun and were not known to be late; now they are."""
    return await tx.rows(_FIND_LATE)


async def find_gone_everywhere(tx: Tx) -> list[Record]:
    """Runs whose job ended without an acknowledgement; now that is on record."""
    return await tx.rows(_FIND_GONE)


async def prune_history_everywhere(db: Database, keep: timedelta, keep_whole: timedelta, most: int) -> None:
    """Slots and runs older than `keep` are gone, and those older than `keep_whole` beyond the newest `most`.

    Each schedule's newest slot and run stay, and runs that have not ended.
    """
    for statement in (_PRUNE_SLOTS, _PRUNE_RUNS):
        await db.run(statement, keep, keep_whole, most)


async def prune_schedules_everywhere(db: Database, keep: timedelta) -> None:
    """Schedules that no worker has told of for that long are gone."""
    await db.run(_PRUNE_SCHEDULES, keep)
