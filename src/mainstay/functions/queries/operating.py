"""Statements for operators: runs by function and state, one of them with its steps, and figures."""

from collections.abc import Sequence
from datetime import datetime

from mainstay.kernel.db import Connection, Record, Sql

_STATE = """case when state <> 'open' then state when started_at is null then 'queued' when is_waiting then 'waiting'
         else 'running' end"""
_LISTED = f"""id, function_id, event_name, company_id, created_at, started_at, ended_at, reason, job_id,
    rerun_of, error, {_STATE} as state"""


def _list(name: str, of_function: str) -> Sql:
    return Sql(
        name,
        f"""select {_LISTED} from mainstay.function_runs where id = any(array(
              select r.id from unnest($1::text[]) as s(state) cross join lateral (
                select id from mainstay.function_runs
                where state = s.state and {of_function} ($2::uuid is null or id < $2)
                  and ($4::text is null or {_STATE} = $4)
                order by id desc limit $3) r order by r.id desc limit $3))
            order by id desc""",  # noqa: S608 (constants)
    )


_LIST = _list("functions.list_runs", "")
_LIST_OF = _list("functions.list_runs_of", "function_id = $5 and")
_GET = Sql(
    "functions.get_run",
    f"""select {_LISTED}, input, output, event_id, parent_id, limits from mainstay.function_runs
        where id = $1""",  # noqa: S608 (a constant)
)
_STEPS = Sql(
    "functions.steps_of_run",
    """select step_id, kind, state, attempt, started_at, ended_at, wake_at, event_name, condition, match_path, output,
              error from mainstay.function_steps where run_id = $1 order by started_at, place, step_id""",
)
_COUNT_OPEN = Sql(
    "functions.count_open",
    """select case when started_at is null then 'queued' when is_waiting then 'waiting' else 'running' end as state,
              count(*) as runs
       from (select started_at, is_waiting from mainstay.function_runs where state = 'open' limit 100000) r
       group by 1""",
)
_FIGURES = Sql(
    "functions.figures",
    """select f.id as function_id, s.state, (
           select count(*) from (select 1 from mainstay.function_runs r
                                 where r.function_id = f.id and r.state = s.state limit $3) c) as runs
       from unnest($1::text[]) as f(id) cross join unnest($2::text[]) as s(state)""",
)
_FUNCTIONS = Sql(
    "functions.functions_with_runs",
    """with recursive f(id) as (
         select min(function_id) from mainstay.function_runs
         union all
         select (select min(function_id) from mainstay.function_runs r where r.function_id > f.id) from f
         where f.id is not null)
       select id from f where id is not null""",
)
_NOW = Sql("functions.now", "select mainstay.now()")


async def list_runs_everywhere(
    db: Connection, states: Sequence[str], before_id: str | None, count: int, shown: str | None, function_id: str | None
) -> list[Record]:
    """Runs with ids below the given one in these states of their rows (and shown in that state), newest first."""
    if function_id is None:
        return await db.rows(_LIST, states, before_id, count, shown)
    return await db.rows(_LIST_OF, states, before_id, count, shown, function_id)


async def get_run_everywhere(db: Connection, run_id: str) -> Record | None:
    """The run with its input and output."""
    return await db.row(_GET, run_id)


async def steps_of_run_everywhere(db: Connection, run_id: str) -> list[Record]:
    """The run's steps in the order in which they began."""
    return await db.rows(_STEPS, run_id)


async def count_open_everywhere(db: Connection) -> dict[str, int]:
    """How many runs have not ended, of 100,000 at most: queued, running, waiting."""
    found = {row["state"]: row["runs"] for row in await db.rows(_COUNT_OPEN)}
    return {state: found.get(state, 0) for state in ("queued", "running", "waiting")}


async def figures_everywhere(
    db: Connection, function_ids: Sequence[str], states: Sequence[str], bound: int
) -> list[Record]:
    """How many runs of each function are in each state; a count of `bound` is a floor."""
    return await db.rows(_FIGURES, function_ids, states, bound)


async def functions_with_runs_everywhere(db: Connection) -> list[str]:
    """The functions that have runs."""
    return [row["id"] for row in await db.rows(_FUNCTIONS)]


async def now_everywhere(db: Connection) -> datetime:
    """The database's time."""
    now: datetime = await db.value(_NOW)
    return now
