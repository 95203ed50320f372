"""Statements on thresholds, their targets, alerts and what is sent of them."""

from datetime import date, timedelta

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_THRESHOLDS = Sql(
    "plans.thresholds",
    """select t.id, t.meter, t.kind, t.unit, t.amount, t.created_at,
              coalesce((select jsonb_agg(jsonb_build_object('kind', g.kind, 'to', g.shown) order by g.id)
                          from mainstay.threshold_targets g where g.threshold_id = t.id), '[]'::jsonb) as targets,
              a.id as alert_id, a.quantity as alert_quantity, a.raised_at, a.settled_at
         from mainstay.thresholds t
         left join mainstay.threshold_alerts a on a.threshold_id = t.id and a.period_start = $2
        where t.company_id = $1 order by t.id""",
)
_LOCK = Sql("plans.lock_thresholds", "select pg_advisory_xact_lock(mainstay.meter_lock('thresholds ' || $1::uuid))")
_COUNT = Sql("plans.count_thresholds", "select count(*) from mainstay.thresholds where company_id = $1")
_ADD = Sql(
    "plans.add_threshold",
    "insert into mainstay.thresholds (company_id, id, meter, kind, unit, amount) values ($1, $2, $3, $4, $5, $6)",
)
_ADD_TARGET = Sql(
    "plans.add_target",
    """insert into mainstay.threshold_targets (company_id, id, threshold_id, kind, shown, sealed)
       values ($1, $2, $3, $4, $5, $6)""",
)
_DELETE = Sql(
    "plans.delete_threshold",
    "delete from mainstay.thresholds where company_id = $1 and id = $2 returning meter, kind, unit, amount",
)
_HARD = Sql(
    "plans.hard_thresholds",
    "select unit, amount from mainstay.thresholds where company_id = $1 and meter = $2 and kind = 'hard'",
)
_UNCROSSED = Sql(
    "plans.uncrossed",
    """select t.id, t.company_id, t.meter, t.kind, t.unit, t.amount, u.period_start, u.quantity
         from (select * from mainstay.thresholds where id > $1 order by id limit $3) t
         left join lateral (
           select m.period_start, sum(m.quantity)::bigint as quantity from mainstay.meter_counts m
            where m.company_id = t.company_id and m.meter = t.meter and m.period_start >= $2 and m.closed_at is null
              and not exists (select from mainstay.threshold_alerts a
                               where a.threshold_id = t.id and a.period_start = m.period_start)
            group by m.period_start) u on true
        order by t.id, u.period_start""",
)
_RAISE = Sql(
    "plans.raise_alert",
    """insert into mainstay.threshold_alerts
         (company_id, id, threshold_id, meter, kind, unit, amount, period_start, limit_quantity, quantity)
       select t.company_id, $3, t.id, t.meter, t.kind, t.unit, t.amount, $4, $5, $6
         from mainstay.thresholds t where t.company_id = $1 and t.id = $2 for key share of t
       on conflict (threshold_id, period_start) do nothing""",
)
_ADD_SENDS = Sql(
    "plans.add_sends",
    """insert into mainstay.alert_sends (id, alert_id, company_id, target_id, target_kind, shown)
       select mainstay.uuid7(), $3, g.company_id, g.id, g.kind, g.shown
         from mainstay.threshold_targets g where g.company_id = $1 and g.threshold_id = $2""",
)
_CLAIM = Sql(
    "plans.claim_sends",
    """with due as (
         select id from mainstay.alert_sends where ended_at is null and due_at <= mainstay.now()
          order by due_at limit $1 for update skip locked
       ), claimed as (
         update mainstay.alert_sends s set attempts = s.attempts + 1, due_at = mainstay.now() + $2::interval
           from due where s.id = due.id
         returning s.id, s.alert_id, s.company_id, s.target_id, s.target_kind, s.attempts
       )
       select c.*, g.sealed, a.meter, a.kind, a.unit, a.amount, a.period_start, a.limit_quantity, a.quantity,
              a.raised_at, a.threshold_id
         from claimed c join mainstay.threshold_alerts a on a.id = c.alert_id
         left join mainstay.threshold_targets g on g.id = c.target_id""",
)
_END = Sql(
    "plans.end_send",
    """update mainstay.alert_sends set ended_at = mainstay.now(), outcome = $4, last_error = $5
        where company_id = $1 and id = $2 and attempts = $3 and ended_at is null""",
)
_PUT_OFF = Sql(
    "plans.put_off_send",
    """update mainstay.alert_sends set due_at = mainstay.now() + $4::interval, last_error = $5
        where company_id = $1 and id = $2 and attempts = $3 and ended_at is null""",
)
_SETTLE = Sql(
    "plans.settle_alerts",
    """with done as (
         select a.id from mainstay.threshold_alerts a
          where a.settled_at is null
            and not exists (select from mainstay.alert_sends s where s.alert_id = a.id and s.ended_at is null)
          order by a.id limit $1 for update skip locked
       ), settled as (
         update mainstay.threshold_alerts a set settled_at = mainstay.now() from done where a.id = done.id
         returning a.id, a.company_id, a.threshold_id, a.meter, a.kind, a.period_start
       )
       select s.*, coalesce((select jsonb_agg(jsonb_build_object('kind', x.target_kind, 'to', x.shown,
                               'outcome', x.outcome, 'error', x.last_error) order by x.target_id)
                               from mainstay.alert_sends x where x.alert_id = s.id), '[]'::jsonb) as sends
         from settled s""",
)
_ALERTS = Sql(
    "plans.alerts",
    """select a.id, a.threshold_id, a.meter, a.kind, a.unit, a.amount, a.period_start, a.limit_quantity, a.quantity,
              a.raised_at, a.settled_at,
              coalesce((select jsonb_agg(jsonb_build_object('kind', x.target_kind, 'to', x.shown,
                          'attempts', x.attempts, 'outcome', x.outcome, 'error', x.last_error) order by x.target_id)
                          from mainstay.alert_sends x where x.alert_id = a.id), '[]'::jsonb) as sends
         from mainstay.threshold_alerts a where a.company_id = $1 order by a.id desc limit $2""",
)


async def thresholds(db: Connection, company_id: str, *, period: date) -> list[Record]:
    """The company's thresholds, oldest first, each with its alert of that period."""
    return await db.rows(_THRESHOLDS, company_id, period)


async def count_thresholds(tx: Tx, company_id: str) -> int:
    """How many thresholds the company has, which nobody else adds to until the transaction ends."""
    await tx.row(_LOCK, company_id)
    return int(await tx.value(_COUNT, company_id))


async def add_threshold(
    tx: Tx, company_id: str, threshold_id: str, *, meter: str, kind: str, unit: str, amount: int
) -> None:
    """The threshold exists, without targets yet."""
    await tx.run(_ADD, company_id, threshold_id, meter, kind, unit, amount)


async def add_target(
    tx: Tx, company_id: str, target_id: str, *, threshold_id: str, kind: str, shown: str, sealed: bytes
) -> None:
    """Alerts of the threshold go there, too."""
    await tx.run(_ADD_TARGET, company_id, target_id, threshold_id, kind, shown, sealed)


async def delete_threshold(tx: Tx, company_id: str, threshold_id: str) -> Record | None:
    """The threshold and its targets are gone, its alerts stay; what it was, or None where there was none."""
    return await tx.row(_DELETE, company_id, threshold_id)


async def hard_thresholds(db: Connection, company_id: str, meter: str) -> list[Record]:
    """Unit and amount of each hard threshold of a meter."""
    return await db.rows(_HARD, company_id, meter)


async def uncrossed_everywhere(db: Connection, *, after: str, since: date, limit: int) -> list[Record]:
    """Up to `limit` thresholds, each with every open period that has no alert of it yet and what that used."""
    return await db.rows(_UNCROSSED, after, since, limit)


async def raise_alert(
    tx: Tx, company_id: str, alert_id: str, *, threshold_id: str, period: date, limit_quantity: int, quantity: int
) -> bool:
    """Whether the alert is new, with one send for each target; False where another was first, or no threshold is."""
    tag = await tx.run(_RAISE, company_id, threshold_id, alert_id, period, limit_quantity, quantity)
    if count_of(tag) == 0:
        return False
    await tx.run(_ADD_SENDS, company_id, threshold_id, alert_id)
    return True


async def claim_sends_everywhere(tx: Tx, *, limit: int, lease: timedelta) -> list[Record]:
    """Sends that are due, counted as tried and due again when the lease has run out, with what to tell and where."""
    return await tx.rows(_CLAIM, limit, lease)


async def end_send(tx: Tx, company_id: str, send_id: str, *, attempts: int, outcome: str, error: str | None) -> None:
    """The send has ended, unless it was claimed again meanwhile."""
    await tx.run(_END, company_id, send_id, attempts, outcome, error)


async def put_off_send(tx: Tx, company_id: str, send_id: str, *, attempts: int, wait: timedelta, error: str) -> None:
    """The send is due again after that time, unless it was claimed again meanwhile."""
    await tx.run(_PUT_OFF, company_id, send_id, attempts, wait, error)


async def settle_everywhere(tx: Tx, *, limit: int) -> list[Record]:
    """Alerts of which nothing is left to send are settled; each with what became of its sends."""
    return await tx.rows(_SETTLE, limit)


async def alerts(db: Connection, company_id: str, *, limit: int) -> list[Record]:
    """The company's newest alerts with what became of their sends."""
    return await db.rows(_ALERTS, company_id, limit)
