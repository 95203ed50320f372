"""Statements about kinds of jobs: stopping one, letting a share of it start, and what was set aside meanwhile."""

from collections.abc import Sequence
from typing import Final

from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

# Ids in a row are spread evenly by the golden ratio: of any hundred in a row as many start as the share says.
BUCKET: Final = "((((id & 2147483647) * 2654435761) & 4294967295) * 100) >> 32"
"""From 0 to 99, always the same for one id: the job starts at every share above it."""
# Every claim holds this lock in share until its commit, without waiting for it; or else those of all kinds but some.
GATE: Final = "hashtext('mainstay.kinds'), 0"
_LOCK_GATE = Sql("jobs.lock_kinds", f"select pg_advisory_xact_lock({GATE})::text")
_LOCK_KIND = Sql(
    "jobs.lock_kind",
    """select pg_advisory_xact_lock(hashtext('mainstay.kind'), hashtext($1))::text,
              set_config('idle_in_transaction_session_timeout', '10s', true)""",
)
_UNSETTLED = Sql(
    "jobs.unsettled_kinds",
    """select kind from mainstay.job_kinds
       where not pg_try_advisory_xact_lock_shared(hashtext('mainstay.kind'), hashtext(kind))""",
)
_SHARE_OF = Sql("jobs.share_of_kind", "select share from mainstay.kind_pauses where kind = $1")
_SET_SHARE = Sql(
    "jobs.set_share_of_kind",
    """insert into mainstay.kind_pauses as p (kind, share, paused_by) values ($1, $2, $3)
       on conflict (kind) do update
         set share = excluded.share, paused_at = mainstay.now(), paused_by = excluded.paused_by""",
)
_FREE = Sql("jobs.free_kind", "delete from mainstay.kind_pauses where kind = $1")
_EXISTS = Sql("jobs.kind_exists", "select exists (select from mainstay.job_kinds where kind = $1)")
_PAUSES = Sql("jobs.kind_pauses", "select kind, share, paused_at, paused_by from mainstay.kind_pauses order by kind")
_PARK_AHEAD = Sql(
    "jobs.park_ahead",
    f"""with pauses as materialized (select kind, share from mainstay.kind_pauses
       ), ahead as materialized (
         select id, kind, priority, lane, pos from mainstay.jobs
         where state = 'waiting' and queue = $1 and pos > $2 order by pos limit $3 for update skip locked
       ), judged as materialized (
         select *, exists (select from pauses p where p.kind = a.kind and {BUCKET} >= p.share) as is_paused
         from ahead a
       ), parked as (
         update mainstay.jobs set state = 'parked' where id = any(array(select id from judged where is_paused)))
       select priority, lane, min(pos) filter (where not is_paused) as kept, max(pos) as last
       from judged group by priority, lane""",  # noqa: S608 (a constant)
)
_UNPARK = Sql(
    "jobs.unpark",
    f"""with due as materialized (
         select id, pos from mainstay.jobs
         where state = 'parked' and queue = $1 and kind = $2 and pos > $3
           and {BUCKET} < coalesce((select share from mainstay.kind_pauses where kind = $2), 100)
         order by pos limit $4 for update
       ), back as (
         update mainstay.jobs set state = 'waiting' where id = any(array(select id from due)))
       select count(*) as jobs, max(pos) as last, case when count(*) > 0 then pg_notify('mainstay_jobs', $1)::text end
       from due""",  # noqa: S608 (a constant)
)
_PARKED_LINES = Sql(
    "jobs.parked_lines",
    """with recursive line(queue, kind) as (
         (select queue, kind from mainstay.jobs where state = 'parked' order by queue, kind limit 1)
         union all
         select n.queue, n.kind from line l cross join lateral (
           select queue, kind from mainstay.jobs where state = 'parked' and (queue, kind) > (l.queue, l.kind)
           order by queue, kind limit 1) n)
       select queue, kind, exists (select from mainstay.kind_pauses p where p.kind = line.kind) as is_paused
       from line""",
)


async def set_share_everywhere(tx: Tx, kind: str, share: int, by: str) -> int | None:
    """So many of a hundred jobs of the kind start from the commit on; the share until now, None where all did.

    Every claim of its jobs has either committed or will keep to it. The transaction may stand idle for 10 s at most.
    """
    await tx.value(_LOCK_GATE)
    await tx.value(_LOCK_KIND, kind)
    before: int | None = await tx.value(_SHARE_OF, kind)
    if share >= 100:
        await tx.run(_FREE, kind)
    elif before != share:
        await tx.run(_SET_SHARE, kind, share, by)
    return before


async def unsettled_everywhere(tx: Tx) -> list[str]:
    """The kinds that are just being paused or resumed; until the transaction ends no other one will be."""
    return [row["kind"] for row in await tx.rows(_UNSETTLED)]


async def kind_exists_everywhere(tx: Connection, kind: str) -> bool:
    """Whether any worker ever had a task for the kind."""
    return bool(await tx.value(_EXISTS, kind))


async def pauses_everywhere(db: Connection) -> list[Record]:
    """The kinds that do not start all of their jobs."""
    return await db.rows(_PAUSES)


async def park_ahead_everywhere(tx: Tx, queue: str, pos: int, count: int) -> list[Record]:
    """Of the queue's next `count` waiting jobs behind `pos` the paused ones are set aside.

    By priority and lane: the place of the first that may start, if any, and of the last that was looked at.
    """
    return await tx.rows(_PARK_AHEAD, queue, pos, count)


async def unpark_everywhere(tx: Tx, queue: str, kind: str, pos: int, count: int) -> tuple[int, int]:
    """Up to `count` parked jobs behind `pos` that may start wait in their places again; how many, and the last place.

    Workers are told with the commit.
    """
    row = (await tx.rows(_UNPARK, queue, kind, pos, count))[0]
    return row["jobs"], row["last"] or pos


async def parked_lines_everywhere(db: Database) -> Sequence[Record]:
    """Every queue and kind that has a parked job, and whether the kind is paused or at a share."""
    return await db.rows(_PARKED_LINES)
