"""Statements on what operators set of limits at run time."""

from datetime import datetime

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_CURRENT = Sql(
    "limits.current",
    """select 'figures' as what, policy, company_id, allowance, window_seconds, until, null as mode
         from mainstay.limit_overrides where until is null or until > mainstay.now()
       union all
       select 'mode', policy, null, null, null, null, mode from mainstay.limit_modes""",
)
_OVERRIDES = Sql(
    "limits.overrides",
    """select policy, company_id, allowance, window_seconds, until, reason, set_by, set_at
         from mainstay.limit_overrides
        where (until is null or until > mainstay.now()) and (company_id = $1::uuid or company_id is null or $1 is null)
        order by policy, company_id nulls first limit $2""",
)
_MODES = Sql("limits.modes", "select policy, mode, reason, set_by, set_at from mainstay.limit_modes")
_SET = Sql(
    "limits.set_override",
    """insert into mainstay.limit_overrides
         (id, policy, company_id, allowance, window_seconds, until, reason, set_by)
       values ($1, $2, $3, $4, $5, $6, $7, $8)
       on conflict (policy, company_id) do update
         set allowance = excluded.allowance, window_seconds = excluded.window_seconds, until = excluded.until,
             reason = excluded.reason, set_by = excluded.set_by, set_at = mainstay.now()""",
)
_DROP = Sql(
    "limits.drop_override",
    "delete from mainstay.limit_overrides where policy = $2 and company_id is not distinct from $1::uuid",
)
_SET_MODE = Sql(
    "limits.set_mode",
    """insert into mainstay.limit_modes (policy, mode, reason, set_by) values ($1, $2, $3, $4)
       on conflict (policy) do update
         set mode = excluded.mode, reason = excluded.reason, set_by = excluded.set_by, set_at = mainstay.now()""",
)
_DROP_MODE = Sql("limits.drop_mode", "delete from mainstay.limit_modes where policy = $1")
_PRUNE = Sql(
    "limits.prune_overrides", "delete from mainstay.limit_overrides where until < mainstay.now() - interval '30 days'"
)
_IS_PAST = Sql("limits.is_past", "select $1::timestamptz <= mainstay.now()")
_PLAN = Sql("limits.plan", "select plan from mainstay.companies where id = $1")


async def current_everywhere(db: Connection) -> list[Record]:
    """What holds now: figures of companies or everybody, and modes."""
    return await db.rows(_CURRENT)


async def overrides(db: Connection, company_id: str | None, *, most: int) -> list[Record]:
    """The figures that hold for a company, those for everybody among them; of every company where none is given."""
    return await db.rows(_OVERRIDES, company_id, most)


async def modes_everywhere(db: Connection) -> list[Record]:
    """The mode of each policy that has one of its own."""
    return await db.rows(_MODES)


async def set_override(
    tx: Tx,
    company_id: str | None,
    override_id: str,
    *,
    policy: str,
    figures: tuple[int, int],
    until: datetime | None,
    reason: str,
    set_by: str,
) -> None:
    """These calls in so many seconds hold for the company, or for everybody."""
    await tx.run(_SET, override_id, policy, company_id, *figures, until, reason, set_by)


async def drop_override(tx: Tx, company_id: str | None, *, policy: str) -> bool:
    """Nothing that was set holds for the company (or everybody) any more; whether something did."""
    return count_of(await tx.run(_DROP, company_id, policy)) > 0


async def set_mode_everywhere(tx: Tx, policy: str, *, mode: str, reason: str, set_by: str) -> None:
    """The policy is in that mode."""
    await tx.run(_SET_MODE, policy, mode, reason, set_by)


async def drop_mode_everywhere(tx: Tx, policy: str) -> bool:
    """The policy is in its usual mode; whether it had another entry."""
    return count_of(await tx.run(_DROP_MODE, policy)) > 0


async def prune_everywhere(db: Connection) -> int:
    """Overrides that ended 30 days ago are gone; how many."""
    return count_of(await db.run(_PRUNE))


async def is_past_everywhere(db: Connection, moment: datetime) -> bool:
    """Whether that moment is over."""
    return bool(await db.value(_IS_PAST, moment))


async def find_plan(db: Connection, company_id: str) -> str | None:
    """The plan that the company is on, or None where there is no such company."""
    found: str | None = await db.value(_PLAN, company_id)
    return found
