"""Statements about steps: what they gave, what they wait for."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx

_SETTLE_DUE = Sql(
    "functions.settle_due",
    """update mainstay.function_steps set state = 'done', ended_at = mainstay.now()
       where run_id = any($1::uuid[]) and state = 'waiting' and wake_at <= mainstay.now()""",
)
_REVIVE = Sql(
    "functions.revive_steps",
    """update mainstay.function_steps set state = 'retrying', attempt = 0
       where run_id = any($1::uuid[]) and state = 'failed'""",
)
_READ = Sql(
    "functions.read_steps",
    """select run_id, step_id, kind, state, attempt, output, error,
              extract(epoch from wake_at - mainstay.now())::float8 as wait_seconds
       from mainstay.function_steps where run_id = any($1::uuid[])""",
)
_COMMIT = Sql(
    "functions.commit_steps",
    """with held as materialized (
         select r.id from mainstay.function_runs r
         join unnest($1::uuid[], $2::int[]) as f(id, epoch) on r.id = f.id
         where r.id = any($1) and r.epoch = f.epoch and r.state = 'open' for share of r)
       insert into mainstay.function_steps as s (run_id, step_id, place, kind, state, attempt, started_at, ended_at,
                                                 output, error)
       select a.run_id, a.step_id, a.place, a.kind, a.state, a.attempt,
              mainstay.now() - a.seconds * interval '1 second', mainstay.now(), a.output::json, a.error::json
       from unnest($1::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::smallint[], $8::float8[],
                   $9::text[], $10::text[])
            as a(run_id, step_id, place, kind, state, attempt, seconds, output, error)
       where a.run_id in (select id from held)
       on conflict (run_id, step_id) do update
         set state = excluded.state, attempt = excluded.attempt, started_at = excluded.started_at,
             ended_at = excluded.ended_at, output = excluded.output, error = excluded.error
         where s.state = 'retrying'
       returning run_id, step_id""",
)
# What was sent before these waits were begun is not for them: the number of the newest event so far.
_WAIT = Sql(
    "functions.wait_steps",
    """insert into mainstay.function_steps (run_id, step_id, place, kind, state, wake_at, event_name, match_path,
                                            match_value, condition, since)
       select a.run_id, a.step_id, a.place, a.kind, 'waiting', coalesce(a.at, mainstay.now() + a.after), a.event_name,
              a.match_path, a.match_value, a.condition,
              (select case when is_called then last_value else 0 end from mainstay.function_events_seq)
       from unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::timestamptz[], $6::interval[], $7::text[],
                   $8::text[], $9::text[], $10::text[])
            as a(run_id, step_id, place, kind, at, after, event_name, match_path, match_value, condition)
       on conflict do nothing""",
)
_STILL_WAITING = Sql(
    "functions.still_waiting",
    """select run_id, step_id from mainstay.function_steps where run_id = any($1::uuid[]) and state = 'waiting'
       order by run_id, step_id for update""",
)
_PATHS = Sql(
    "functions.wait_paths",
    """with recursive p(event_name, match_path) as (
         select n.name, (select min(match_path) from mainstay.function_steps s
                         where s.state = 'waiting' and s.event_name is not null and s.event_name = n.name)
         from unnest($1::text[]) as n(name)
         union all
         select p.event_name, (select min(match_path) from mainstay.function_steps s
                               where s.state = 'waiting' and s.event_name is not null
                                 and s.event_name = p.event_name and s.match_path > p.match_path)
         from p where p.match_path is not null)
       select event_name, match_path from p where match_path is not null""",
)
_WAITING = Sql(
    "functions.find_waits",
    """select s.run_id, s.step_id, s.event_name, s.match_path, s.match_value, s.condition, s.since, r.input
       from unnest($1::text[], $2::text[], $3::text[]) as k(event_name, match_path, match_value)
       join mainstay.function_steps s
         on s.state = 'waiting' and s.event_name is not null and s.event_name = k.event_name
        and s.match_path = k.match_path and s.match_value = k.match_value
       join mainstay.function_runs r on r.id = s.run_id and r.state = 'open'""",
)
_MATCH = Sql(
    "functions.match_waits",
    """update mainstay.function_steps s set state = 'done', ended_at = mainstay.now(), output = a.output::json
       from unnest($1::uuid[], $2::text[], $3::text[]) as a(run_id, step_id, output)
       where s.run_id = any($1) and s.run_id = a.run_id and s.step_id = a.step_id and s.state = 'waiting'
       returning s.run_id""",
)
_CANCEL_WAITS = Sql(
    "functions.cancel_waits",
    """update mainstay.function_steps set state = 'cancelled', ended_at = mainstay.now()
       where run_id = any($1::uuid[]) and state = 'waiting'""",
)
_END_WAIT = Sql(
    "functions.end_wait",
    """update mainstay.function_steps set state = $3, ended_at = mainstay.now(), output = $4::json, error = $5::json
       where run_id = $1 and step_id = $2 and state = 'waiting' returning run_id""",
)


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


async def settle_due_everywhere(tx: Tx, run_ids: Sequence[str]) -> None:
    """What these runs waited for until now is over; an event that comes later finds nobody waiting."""
    await tx.run(_SETTLE_DUE, run_ids)


async def revive_steps_everywhere(tx: Tx, run_ids: Sequence[str]) -> None:
    """Steps of these runs that failed for good have their attempts anew."""
    await tx.run(_REVIVE, run_ids)


async def read_steps_everywhere(tx: Tx, run_ids: Sequence[str]) -> list[Record]:
    """Every step of these runs, with how long those that wait have still to wait."""
    return await tx.rows(_READ, run_ids)


async def commit_steps_everywhere(db: Connection, rows: Sequence[Sequence[Any]]) -> set[tuple[str, str]]:
    """Which of the results stand: those of runs still held under their epoch. Columns as the statement has them."""
    return {(str(row[0]), row[1]) for row in await db.rows(_COMMIT, *_columns(rows))}


async def wait_steps_everywhere(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """These steps wait, from the commit on. Columns as the statement has them."""
    await tx.run(_WAIT, *_columns(rows))


async def still_waiting_everywhere(tx: Tx, run_ids: Sequence[str]) -> set[tuple[str, str]]:
    """The steps of these runs that wait; until the transaction ends nobody gives them what they wait for."""
    return {(str(row[0]), row[1]) for row in await tx.rows(_STILL_WAITING, run_ids)}


async def wait_paths_everywhere(tx: Tx, event_names: Sequence[str]) -> list[Record]:
    """By what paths events of these names are waited for."""
    return await tx.rows(_PATHS, event_names)


async def find_waits_everywhere(
    tx: Tx, names: Sequence[str], paths: Sequence[str], values: Sequence[str]
) -> list[Record]:
    """Waiting steps with these names, paths and values, with the event that started their run."""
    return await tx.rows(_WAITING, names, paths, values)


async def match_waits_everywhere(tx: Tx, rows: Sequence[Sequence[Any]]) -> list[str]:
    """Steps that still waited have their event: the runs. Columns: run, step, event."""
    return [str(row[0]) for row in await tx.rows(_MATCH, *_columns(rows))]


async def cancel_waits_everywhere(tx: Tx, run_ids: Sequence[str]) -> None:
    """Nothing waits for these runs, which are over."""
    await tx.run(_CANCEL_WAITS, run_ids)


async def end_wait_everywhere(tx: Tx, run_id: str, step_id: str, state: str, *given: str | None) -> bool:
    """Whether the step still waited; it has its output, or its error."""
    return await tx.value(_END_WAIT, run_id, step_id, state, *given) is not None
