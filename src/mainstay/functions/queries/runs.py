"""Statements about runs as they begin, are taken up by a worker, and end."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_INSERT = Sql(
    "functions.insert_runs",
    """insert into mainstay.function_runs (id, job_id, company_id, event_id, rerun_of, parent_id, parent_step,
                                           function_id, event_name, input, limits, state, reason, ended_at)
       select n.id, n.job_id, n.company_id, n.event_id, n.rerun_of, n.parent_id, n.parent_step, n.function_id,
              n.event_name, n.input::json, n.limits::json, n.state, n.reason,
              case when n.state <> 'open' then mainstay.now() end
       from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
                   $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
            as n(id, job_id, company_id, event_id, rerun_of, parent_id, parent_step, function_id, event_name, input,
                 limits, state, reason)
       on conflict (event_id, function_id) where event_id is not null and rerun_of is null do nothing""",
)
# A failed run is taken up again only by the first start of its job, which is what a redrive gives it.
_TAKE = Sql(
    "functions.take_runs",
    """with mine as materialized (
         select r.id, a.job_id, a.epoch, r.started_at is null as is_first, r.state = 'failed' as is_redriven
         from unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[]) as a(id, job_id, epoch, attempt)
         join mainstay.function_runs r on r.id = a.id
         where r.id = any($1) and r.job_id = a.job_id and r.epoch < a.epoch
           and (r.state = 'open' or (r.state = 'failed' and a.attempt = 1))
         order by r.id for update of r)
       update mainstay.function_runs r
          set epoch = m.epoch, is_waiting = false, state = 'open', ended_at = null, reason = null, error = null,
              started_at = coalesce(r.started_at, mainstay.now()),
              failures = case when m.is_redriven then 0 else r.failures end,
              retries = case when m.is_redriven then 0 else r.retries end,
              seen_losses = case when m.is_redriven then 0 else r.seen_losses end
       from mine m where r.id = m.id and r.id = any($1)
       returning r.id, r.function_id, r.company_id, r.event_id, r.input, r.limits, r.failures, r.retries,
                 r.seen_steps, r.seen_losses, m.is_first, m.is_redriven, mainstay.now() as now,
                 coalesce(mainstay.now() - r.unknown_since, interval '0') as unknown_for""",
)
_SEE_PROGRESS = Sql(
    "functions.see_progress", "update mainstay.function_runs set seen_steps = $2, seen_losses = $3 where id = $1"
)
_END = Sql(
    "functions.end_runs",
    """update mainstay.function_runs r
          set state = a.state, is_waiting = a.state = 'open', failures = a.failures, retries = r.retries + a.retries,
              ended_at = case when a.state <> 'open' then mainstay.now() end,
              output = a.output::json, error = a.error::json,
              unknown_since = case when a.is_unknown then coalesce(r.unknown_since, mainstay.now()) end
       from unnest($1::uuid[], $2::int[], $3::text[], $4::smallint[], $5::smallint[], $6::text[], $7::text[],
                   $8::boolean[]) as a(id, epoch, state, failures, retries, output, error, is_unknown)
       where r.id = any($1) and r.id = a.id and r.epoch = a.epoch and r.state = 'open'
       returning r.id, r.parent_id, r.parent_step""",
)
_CANCEL = Sql(
    "functions.cancel_runs",
    """update mainstay.function_runs set state = 'cancelled', is_waiting = false, ended_at = mainstay.now(),
              reason = $2
       where id = any($1::uuid[]) and state = 'open'
       returning id, function_id, company_id, limits, parent_id, parent_step""",
)
_OPEN = Sql(
    "functions.open_runs",
    """select id, input, company_id from mainstay.function_runs
       where function_id = $1 and state = 'open' and id > $2 order by id limit $3""",
)
# A job that has not been begun is put in line; of one that has, the worker at hand sees to the rest.
_HASTEN_RUNS = Sql(
    "functions.hasten_runs",
    """with hastened as (
         update mainstay.jobs set state = 'waiting', pos = nextval('mainstay.jobs_pos_seq')
         where id = any(array(select job_id from mainstay.function_runs where id = any($1::uuid[]) and state = 'open'))
           and state in ('delayed', 'retrying') returning queue)
       select pg_notify('mainstay_jobs', queue)::text from (select distinct queue from hastened) q""",
)
# Of a run that is over, the job that has not been begun is put in line, where its worker finds nothing to do.
_END_JOBS = Sql(
    "functions.end_jobs",
    """with hastened as (
         update mainstay.jobs set state = 'waiting', pos = nextval('mainstay.jobs_pos_seq')
         where id = any(array(select job_id from mainstay.function_runs where id = any($1::uuid[])))
           and state in ('delayed', 'retrying') returning queue)
       select pg_notify('mainstay_jobs', queue)::text from (select distinct queue from hastened) q""",
)
_ORPHANS = Sql(
    "functions.orphans",
    """select r.id, d.error from mainstay.function_runs r
       left join mainstay.dead_jobs d on d.id = r.job_id
       where r.state = 'open' and r.id > $1 and r.created_at < mainstay.now() - interval '1 minute'
         and not exists (select from mainstay.jobs j where j.id = r.job_id)
       order by r.id limit $2 for update of r skip locked""",
)
_PRUNE = Sql(
    "functions.prune_runs",
    """delete from mainstay.function_runs where id in (
         select id from mainstay.function_runs where id < $1 and state = any($2::text[])
           and ended_at < mainstay.now() - interval '30 days' limit $3)
         and state = any($2) and ended_at < mainstay.now() - interval '30 days'""",
)


async def insert_runs_everywhere(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """The runs stand, but those whose event has started their function already. Columns as the statement has them."""
    await tx.run(_INSERT, *([list(column) for column in zip(*rows, strict=True)]))


async def take_runs_everywhere(
    tx: Tx, ids: Sequence[str], job_ids: Sequence[int], epochs: Sequence[int], attempts: Sequence[int]
) -> list[Record]:
    """The runs that these claims may go on with, under their epochs; nobody writes for them under an older one now."""
    return await tx.rows(_TAKE, ids, job_ids, epochs, attempts)


async def see_progress_everywhere(tx: Tx, run_id: str, steps: int, losses: int) -> None:
    """So many steps were done when the worker had been lost so many times."""
    await tx.run(_SEE_PROGRESS, run_id, steps, losses)


async def end_runs_everywhere(tx: Tx, rows: Sequence[Sequence[Any]]) -> list[Record]:
    """Runs still held under their epoch have ended, or wait. Columns: id, epoch, state, failures, retries, output,
    error, whether nobody knew the function."""
    return await tx.rows(_END, *([list(column) for column in zip(*rows, strict=True)]))


async def cancel_runs_everywhere(tx: Tx, ids: Sequence[str], reason: str) -> list[Record]:
    """Those of the runs that had not ended are cancelled."""
    return await tx.rows(_CANCEL, ids, reason)


async def open_runs_everywhere(tx: Tx, function_id: str, after: str, count: int) -> list[Record]:
    """Runs of a function that have not ended, in the order of their beginnings."""
    return await tx.rows(_OPEN, function_id, after, count)


async def hasten_runs_everywhere(tx: Tx, run_ids: Sequence[str]) -> None:
    """The jobs of these runs are in line, where they are put off."""
    await tx.rows(_HASTEN_RUNS, run_ids)


async def end_jobs_everywhere(tx: Tx, run_ids: Sequence[str]) -> None:
    """The jobs of these runs end at once, where they are put off."""
    await tx.rows(_END_JOBS, run_ids)


async def orphans_everywhere(tx: Tx, after: str, count: int) -> list[Record]:
    """Runs that have not ended and whose job is gone, with what their job died of."""
    return await tx.rows(_ORPHANS, after, count)


async def prune_runs_everywhere(db: Connection, before_id: str, states: Sequence[str], count: int) -> int:
    """Up to `count` runs that ended over 30 days ago are gone with their steps; how many."""
    return count_of(await db.run(_PRUNE, before_id, states, count))
