"""Statements of bulk acts: counting what they mean, their steps, and their rows."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from mainstay.jobs.queries.dead import CANCELLED, DEAD, FREE_KEY, MATCH, REVIVED
from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

_ORDERS: Final = {
    "waiting": ("$5::text is not null and pos > $6", "pos"),
    "delayed": ("$5::text is not null and id > $6", "id"),
    "retrying": ("$5::text is not null and id > $6", "id"),
    "parked": ("(kind, pos) > ($5, $6)", "kind, pos"),
}
"""Where a step goes on in each state after (kind, place), and in what order jobs are walked: those of an index."""
_COUNT_DEAD = Sql(
    "jobs.count_matching_dead",
    f"select count(*) from (select from mainstay.dead_jobs where {DEAD} limit $8) n",  # noqa: S608 (a constant)
)
_COUNT = Sql(
    "jobs.count_matching",
    f"""select count(*) from (
          select from mainstay.jobs where state = any($5::text[]) and {MATCH}
            and enqueued_at <= mainstay.now() limit $6) n""",  # noqa: S608 (a constant)
)
_AFTER = "(died_at, id) > ($8::timestamptz, $9::bigint) order by died_at, id limit $10 for update skip locked"
_LAST = """(select count(*) from picked) as picked, f.died_at as last_at, f.id as last_id
            from (select) one left join lateral (
              select died_at, id from picked order by died_at desc, id desc limit 1) f on true"""
_DEAD_STEPS = {
    "redrive": Sql(
        "jobs.bulk_redrive",
        f"""with picked as materialized (
              select * from mainstay.dead_jobs d where {DEAD} and {FREE_KEY} and {_AFTER}), {REVIVED}
            select (select count(*) from back) as done, pg_notify('mainstay_jobs', $1)::text, {_LAST}""",  # noqa: S608
    ),
    "clear": Sql(
        "jobs.bulk_clear",
        f"""with picked as materialized (select id, died_at from mainstay.dead_jobs where {DEAD} and {_AFTER}),
              gone as (delete from mainstay.dead_jobs where id = any(array(select id from picked)) returning id)
            select (select count(*) from gone) as done, {_LAST}""",  # noqa: S608
    ),
}
_PICKED = """picked as materialized (
              select id, kind, {place} as place from mainstay.jobs where state = '{state}' and {match}
                and {after} and {when} <= $7
              order by {order} limit $8 for update skip locked)"""
_LAST_PLACE = """(select count(*) from picked) as picked, f.kind as last_kind, f.place as last
            from (select) one left join lateral (
              select kind, place from picked order by {backwards} limit 1) f on true"""
_ENDS = {
    "cancel": f"""gone as (delete from mainstay.jobs where id = any(array(select id from picked)) returning *),
              acted as ({CANCELLED})
            select (select count(*) from acted) as done, """,  # noqa: S608
    "promote": """acted as (
              update mainstay.jobs set state = 'waiting', due_at = mainstay.now(),
                     pos = nextval('mainstay.jobs_pos_seq')
              where id = any(array(select id from picked)) returning id)
            select (select count(*) from acted) as done, pg_notify('mainstay_jobs', $1)::text, """,
}
# Who was started since it was asked for has had its turn, and is not hurried again.
_WHEN = {"cancel": "enqueued_at", "promote": "coalesce(started_at, enqueued_at)"}


def _step(act: str, state: str) -> Sql:
    after, order = _ORDERS[state]
    backwards = "kind desc, place desc" if "kind" in order else "place desc"
    picked = _PICKED.format(
        place=order.rpartition(" ")[2], state=state, match=MATCH, after=after, when=_WHEN[act], order=order
    )
    told = _LAST_PLACE.format(backwards=backwards)
    return Sql(f"jobs.bulk_{act}_{state}", f"with {picked}, {_ENDS[act]}{told}")


_STEPS = {
    (act, state): _step(act, state)
    for act in _ENDS
    for state in _ORDERS
    if act == "cancel" or state in ("delayed", "retrying")
}
_COLUMNS = """b.id, b.act, b.queue, b.filter, b.asked_by, b.state, b.counted, b.is_floor, b.done, b.position, b.job_id,
              b.created_at, b.started_at, b.finished_at, b.error"""
_ADD = Sql(
    "jobs.add_bulk_act",
    """insert into mainstay.bulk_acts (id, act, queue, filter, asked_by, state, counted, is_floor)
       values ($1, $2, $3, $4, $5, $6, $7, $8) returning created_at""",
)
_NAME_JOB = Sql("jobs.name_bulk_job", "update mainstay.bulk_acts set job_id = $2 where id = $1")
_LOCK = Sql(
    "jobs.lock_bulk_act",
    f"select {_COLUMNS} from mainstay.bulk_acts b where id = $1 for update",  # noqa: S608 (a constant)
)
_READ = """select {columns}, d.error as died from mainstay.bulk_acts b
           left join mainstay.dead_jobs d on d.id = b.job_id and b.finished_at is null"""
_FIND = Sql("jobs.find_bulk_act", _READ.format(columns=_COLUMNS) + " where b.id = $1")
_LIST = Sql("jobs.list_bulk_acts", _READ.format(columns=_COLUMNS) + " order by b.id desc limit $1")
_MOVE = Sql(
    "jobs.move_bulk_act",
    """update mainstay.bulk_acts set state = 'running', done = done + $2, position = $3,
              started_at = coalesce(started_at, mainstay.now()) where id = $1""",
)
_END = Sql(
    "jobs.end_bulk_act",
    f"""update mainstay.bulk_acts b set state = $2, error = $3, finished_at = mainstay.now(),
              started_at = coalesce(started_at, mainstay.now())
       where id = $1 and finished_at is null returning {_COLUMNS}""",  # noqa: S608 (a constant)
)
_PRUNE = Sql("jobs.prune_bulk_acts", "delete from mainstay.bulk_acts where finished_at < mainstay.now() - $1::interval")


async def count_dead_everywhere(tx: Tx, match: Sequence[object], most: int) -> int:
    """How many dead jobs match; `most` where there are as many or more."""
    return int(await tx.value(_COUNT_DEAD, *match, most))


async def count_everywhere(tx: Tx, match: Sequence[object], states: Sequence[str], most: int) -> int:
    """How many jobs in those states match; `most` where there are as many or more."""
    return int(await tx.value(_COUNT, *match, list(states), most))


async def step_dead_everywhere(tx: Tx, act: str, match: Sequence[object], after: tuple[Any, int], count: int) -> Record:
    """The next `count` dead jobs that match have been redriven or cleared: done, picked, last_at, last_id."""
    return (await tx.rows(_DEAD_STEPS[act], *match, *after, count))[0]


async def step_everywhere(
    tx: Tx,
    act: str,
    state: str,
    match: Sequence[object],
    after: tuple[str, int],
    asked_at: datetime,
    count: int,
) -> Record:
    """The next `count` jobs in the state that match and were there when it was asked for have been cancelled or put in
    line, after (kind, place): done, picked, last_kind, last."""
    return (await tx.rows(_STEPS[act, state], *match, *after, asked_at, count))[0]


async def add_act_everywhere(tx: Tx, *values: Any) -> datetime:
    """A bulk act is on record; since when. Values: id, act, queue, filter, asked by, state, counted, is floor."""
    moment: datetime = await tx.value(_ADD, *values)
    return moment


async def name_job_everywhere(tx: Tx, act_id: str, job_id: int) -> None:
    """The act names the job that carries it out."""
    await tx.run(_NAME_JOB, act_id, job_id)


async def lock_act_everywhere(tx: Tx, act_id: str) -> Record | None:
    """The act; until the transaction ends nobody else changes it."""
    return await tx.row(_LOCK, act_id)


async def find_act_everywhere(db: Connection, act_id: str) -> Record | None:
    """The act, with the error of its job where that died."""
    return await db.row(_FIND, act_id)


async def list_acts_everywhere(db: Connection, count: int) -> list[Record]:
    """The newest acts."""
    return await db.rows(_LIST, count)


async def move_act_everywhere(tx: Tx, act_id: str, done: int, position: str | None) -> None:
    """So many jobs more are done, and the act has come as far as that."""
    await tx.run(_MOVE, act_id, done, position)


async def end_act_everywhere(tx: Tx, act_id: str, state: str, error: str | None = None) -> Record | None:
    """The act has ended in that state; None where it had ended before."""
    return await tx.row(_END, act_id, state, error)


async def prune_acts_everywhere(db: Database, keep: timedelta) -> None:
    """Acts that ended longer ago than that are forgotten."""
    await db.run(_PRUNE, keep)
