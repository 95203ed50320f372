"""Statements on meters: raising, reading, recounting, closing."""

from datetime import date

from sqlalchemy import select

from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of
from mainstay.plans.tables import meter_counts

_METER = Sql("plans.meter", "select mainstay.meter($1, $2, $3, $4)")
_PERIOD = Sql("plans.period", "select date_trunc('month', mainstay.now(), 'UTC') as start, mainstay.now() as now")
_BY_WORKSPACE = Sql(
    "plans.usage_by_workspace",
    """select meter, workspace_id, quantity from mainstay.meter_counts
        where company_id = $1 and period_start = $2 and meter = any($3::text[])
          and ($4::uuid is null or workspace_id = $4)
        order by meter, quantity desc, workspace_id""",
)
_SNAPSHOTS = Sql(
    "plans.snapshots",
    """select period_start, meter, sum(quantity)::bigint as quantity, max(closed_at) as closed_at
         from mainstay.usage_snapshots where company_id = $1 and ($2::uuid is null or workspace_id = $2)
        group by period_start, meter order by period_start desc, meter limit $3""",
)
# One snapshot of the database: an event and its count commit together, so what differs here has drifted.
_RECOUNT = Sql(
    "plans.recount",
    """select h.workspace_id, h.company_id, coalesce(m.quantity, 0) as metered, o.seq as remembered,
              opening.seq as opening,
              coalesce(n.seq, mainstay.seq_before(h.workspace_id, ($2::date)::timestamp at time zone 'UTC'))
                - opening.seq as counted
         from mainstay.chain_heads h
         left join mainstay.meter_counts m
           on m.workspace_id = h.workspace_id and m.meter = 'events' and m.period_start = $1
         left join mainstay.meter_openings o on o.workspace_id = h.workspace_id and o.period_start = $1
         left join mainstay.meter_openings n on n.workspace_id = h.workspace_id and n.period_start = $2
        cross join lateral (
          select coalesce(o.seq, mainstay.seq_before(h.workspace_id, ($1::date)::timestamp at time zone 'UTC')) as seq
        ) opening
        where h.metered and h.workspace_id > $3 and ($4::uuid is null or h.workspace_id = $4)
          and m.closed_at is null
          and (m.workspace_id is not null or (h.received_at >= ($1::date)::timestamp at time zone 'UTC'
               and not exists (select from mainstay.meter_closings c where c.period_start = $1)))
        order by h.workspace_id limit $5""",
)
_REMEMBER = Sql(
    "plans.remember_openings",
    """insert into mainstay.meter_openings (workspace_id, period_start, company_id, seq)
       select w, $1, c, s from unnest($2::uuid[], $3::uuid[], $4::bigint[]) as u(w, c, s) on conflict do nothing""",
)
_FORGET = Sql("plans.forget_openings", "delete from mainstay.meter_openings where period_start < $1")
_LOCK_HEAD = Sql(
    "plans.lock_head", "select from mainstay.chain_heads where workspace_id = $1 and company_id = $2 for update"
)
_BEAR = Sql(
    "plans.bear_meter",
    """insert into mainstay.meter_counts (company_id, workspace_id, meter, period_start, quantity)
       values ($1, $2, 'events', $3, 0) on conflict do nothing""",
)
# Uncapped for the one statement: a correction says what happened, whatever was allowed.
_CORRECT = Sql(
    "plans.correct",
    """update mainstay.meter_counts set quantity = $4, capped = false
        where company_id = $1 and workspace_id = $2 and meter = 'events' and period_start = $3 and closed_at is null""",
)
_CAP_AGAIN = Sql(
    "plans.cap_again",
    """update mainstay.meter_counts m set capped = true
        where company_id = $1 and workspace_id = $2 and meter = 'events' and period_start = $3 and closed_at is null
          and exists (select from mainstay.meter_caps c where c.company_id = m.company_id and c.meter = m.meter)""",
)
_DUE = Sql(
    "plans.due_periods",
    """select distinct period_start from mainstay.meter_counts
        where closed_at is null and period_start < $1 order by 1""",
)
_LOCK_BIRTHS = Sql(
    "plans.lock_births",
    "select pg_advisory_xact_lock(mainstay.meter_lock('period ' || to_char($1::date, 'YYYY-MM-DD')))",
)
_END = Sql("plans.end_period", "insert into mainstay.meter_closings (period_start) values ($1) on conflict do nothing")
_CLOSE = Sql(
    "plans.close_meters",
    """with due as (
         select m.workspace_id, m.meter, m.period_start from mainstay.meter_counts m
          where m.closed_at is null and m.period_start = $1 and m.company_id in (
            select distinct d.company_id from mainstay.meter_counts d
             where d.closed_at is null and d.period_start = $1 order by 1 limit $3)
          order by m.workspace_id, m.meter for update
       ), closed as (
         update mainstay.meter_counts m set closed_at = mainstay.now() from due d
          where m.workspace_id = d.workspace_id and m.meter = d.meter and m.period_start = d.period_start
         returning m.company_id, m.workspace_id, m.meter, m.period_start, m.quantity, m.closed_at
       ), kept as (
         insert into mainstay.usage_snapshots (company_id, workspace_id, meter, period_start, quantity, closed_at)
         select company_id, workspace_id, meter, period_start, quantity, closed_at from closed
       ), opened as (
         insert into mainstay.meter_counts (company_id, workspace_id, meter, period_start, quantity)
         select company_id, workspace_id, meter, $2, 0 from closed order by workspace_id, meter on conflict do nothing
       )
       select company_id, meter, sum(quantity)::bigint as quantity from closed group by 1, 2 order by 1, 2""",
)


async def meter(tx: Tx, company_id: str, workspace_id: str, name: str, quantity: int) -> None:
    """The current period's count is raised."""
    await tx.run(_METER, company_id, workspace_id, name, quantity)


async def usage(db: Connection, company_id: str, name: str) -> list[Record]:
    """The counts of one meter, newest period first."""
    c = meter_counts.c
    statement = (
        select(c.period_start, c.workspace_id, c.quantity)
        .where((c.company_id == company_id) & (c.meter == name))
        .order_by(c.period_start.desc(), c.workspace_id)
    )
    return await db.rows(*compose("plans.usage", statement))


async def period_everywhere(db: Connection) -> Record:
    """The moment at which the current month began, and now."""
    row = await db.row(_PERIOD)
    assert row is not None
    return row


async def usage_by_workspace(
    db: Connection, company_id: str, period: date, *, meters: list[str], workspace_id: str | None
) -> list[Record]:
    """What each workspace (or the one asked for) used in a period, the most first."""
    return await db.rows(_BY_WORKSPACE, company_id, period, meters, workspace_id)


async def snapshots(db: Connection, company_id: str, *, workspace_id: str | None, limit: int) -> list[Record]:
    """The closed periods of the company or of one workspace, newest first."""
    return await db.rows(_SNAPSHOTS, company_id, workspace_id, limit)


async def recount_everywhere(
    db: Connection, period: date, following: date, *, after: str, limit: int, workspace_id: str | None = None
) -> list[Record]:
    """By workspace what its open meter says and what its chain says; `counted` is None where that is lost."""
    return await db.rows(_RECOUNT, period, following, after, workspace_id, limit)


async def remember_openings_everywhere(tx: Tx, period: date, rows: list[Record]) -> None:
    """Where each chain stood when the period began is kept, for when the events themselves are gone."""
    columns = [[row[name] for row in rows] for name in ("workspace_id", "company_id", "opening")]
    await tx.run(_REMEMBER, period, *columns)


async def forget_openings_everywhere(tx: Tx, before: date) -> None:
    """What was kept of periods before that one is gone."""
    await tx.run(_FORGET, before)


async def lock_head(tx: Tx, company_id: str, workspace_id: str) -> None:
    """No event is added to the workspace until the transaction ends."""
    await tx.row(_LOCK_HEAD, workspace_id, company_id)


async def correct(tx: Tx, company_id: str, workspace_id: str, period: date, *, quantity: int) -> bool:
    """The workspace's open meter of events holds that quantity; False where it was closed meanwhile."""
    await tx.run(_BEAR, company_id, workspace_id, period)
    if count_of(await tx.run(_CORRECT, company_id, workspace_id, period, quantity)) == 0:
        return False
    await tx.run(_CAP_AGAIN, company_id, workspace_id, period)
    return True


async def due_periods_everywhere(db: Connection, current: date) -> list[date]:
    """The periods before the current one that have open meters, oldest first."""
    return [row["period_start"] for row in await db.rows(_DUE, current)]


async def end_period_everywhere(tx: Tx, period: date) -> None:
    """No meter of that period is born any more, and every birth that was under way is over."""
    await tx.run(_LOCK_BIRTHS, period)
    await tx.run(_END, period)


async def close_everywhere(tx: Tx, period: date, current: date, *, companies: int) -> list[Record]:
    """Up to that many companies' meters of the period are closed and kept; what each used, by company and meter."""
    return await tx.rows(_CLOSE, period, current, companies)
