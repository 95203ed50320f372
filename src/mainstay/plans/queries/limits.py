"""Statements on what companies may do: plans, add-ons, own limits, choices, and the allowances that follow."""

from collections.abc import Sequence

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_STANDINGS = Sql(
    "plans.standings",
    """select c.id, c.data_region, c.plan,
              array(select a.code from mainstay.add_ons a where a.company_id = c.id) as add_ons,
              coalesce((select jsonb_object_agg(l.name, l.amount) from mainstay.company_limits l
                         where l.company_id = c.id), '{}'::jsonb) as limits,
              coalesce((select o.blocks_at_limit from mainstay.company_choices o where o.company_id = c.id), false)
                as blocks_at_limit
         from mainstay.companies c where c.id = any($1::uuid[])""",
)
_LOCK_COMPANY = Sql("plans.lock_company", "select plan from mainstay.companies where id = $1 for no key update")
_SET_PLAN = Sql("plans.set_plan", "update mainstay.companies set plan = $2, updated_at = mainstay.now() where id = $1")
_SET_LIMIT = Sql(
    "plans.set_limit",
    """insert into mainstay.company_limits (company_id, name, amount) values ($1, $2, $3)
       on conflict (company_id, name) do update set amount = excluded.amount""",
)
_DROP_LIMIT = Sql("plans.drop_limit", "delete from mainstay.company_limits where company_id = $1 and name = $2")
_CHOOSE = Sql(
    "plans.choose",
    """insert into mainstay.company_choices (company_id, blocks_at_limit) values ($1, $2)
       on conflict (company_id) do update set blocks_at_limit = excluded.blocks_at_limit""",
)
_ADD_ONS = Sql(
    "plans.add_ons", "select code, granted_at from mainstay.add_ons where company_id = $1 order by granted_at, code"
)
_GRANT = Sql(
    "plans.grant",
    "insert into mainstay.add_ons (company_id, code, granted_by) values ($1, $2, $3) on conflict do nothing",
)
_REMOVE = Sql("plans.remove", "delete from mainstay.add_ons where company_id = $1 and code = $2")
_BLOCKING = Sql(
    "plans.blocking",
    """select company_id from mainstay.company_choices where blocks_at_limit and company_id > $1
        order by company_id limit $2""",
)
_CAPPED = Sql("plans.capped", "select distinct company_id from mainstay.meter_caps")
# In the order in which a transaction that stores events takes them.
_LOCK_CAP_ROWS = Sql(
    "plans.lock_cap_rows", "select from mainstay.meter_caps where company_id = $1 order by meter for update"
)
_LOCK_CAPS = Sql("plans.lock_caps", "select pg_advisory_xact_lock(mainstay.meter_lock('company ' || $1::uuid))")
_CAP = Sql(
    "plans.cap",
    """insert into mainstay.meter_caps as c (company_id, meter, allowance) values ($1, $2, $3)
       on conflict (company_id, meter) do update set allowance = excluded.allowance
       where c.allowance <> excluded.allowance""",
)
_UNCAP = Sql("plans.uncap", "delete from mainstay.meter_caps where company_id = $1 and meter = $2")
_MARK = Sql(
    "plans.mark_meters",
    """with mine as (
         select workspace_id, meter, period_start from mainstay.meter_counts
          where company_id = $1 and meter = $2 and closed_at is null and capped <> $3
          order by workspace_id for update
       )
       update mainstay.meter_counts m set capped = $3 from mine
        where m.workspace_id = mine.workspace_id and m.meter = mine.meter and m.period_start = mine.period_start""",
)
_ALLOWANCE = Sql("plans.allowance", "select allowance from mainstay.meter_caps where company_id = $1 and meter = $2")


async def standings_everywhere(db: Connection, company_ids: Sequence[str]) -> list[Record]:
    """Plan, add-ons, own limits and choices of each of these companies."""
    return await db.rows(_STANDINGS, list(company_ids))


async def lock_company(tx: Tx, company_id: str) -> Record | None:
    """The company's plan, which nobody else changes until the transaction ends."""
    return await tx.row(_LOCK_COMPANY, company_id)


async def set_plan(tx: Tx, company_id: str, plan: str) -> None:
    """The company is on that plan."""
    await tx.run(_SET_PLAN, company_id, plan)


async def set_limit(tx: Tx, company_id: str, name: str, *, amount: int | None) -> None:
    """The company's own limit holds in place of its plan's; None is no limit."""
    await tx.run(_SET_LIMIT, company_id, name, amount)


async def drop_limit(tx: Tx, company_id: str, name: str) -> None:
    """The limit of the company's plan holds again."""
    await tx.run(_DROP_LIMIT, company_id, name)


async def choose_blocking(tx: Tx, company_id: str, blocks: bool) -> None:
    """What happens at the company's hard limit is as it chose."""
    await tx.run(_CHOOSE, company_id, blocks)


async def add_ons(db: Connection, company_id: str) -> list[Record]:
    """The company's add-ons with the time of each grant."""
    return await db.rows(_ADD_ONS, company_id)


async def grant(tx: Tx, company_id: str, code: str, *, granted_by: str) -> bool:
    """Whether the company got the add-on just now."""
    return count_of(await tx.run(_GRANT, company_id, code, granted_by)) == 1


async def remove(tx: Tx, company_id: str, code: str) -> bool:
    """Whether the company lost the add-on just now."""
    return count_of(await tx.run(_REMOVE, company_id, code)) == 1


async def blocking_everywhere(db: Connection, *, after: str, limit: int) -> list[str]:
    """Companies that chose to be stopped at their limit."""
    return [str(row["company_id"]) for row in await db.rows(_BLOCKING, after, limit)]


async def capped_everywhere(db: Connection) -> list[str]:
    """Companies for which an allowance holds in this region."""
    return [str(row["company_id"]) for row in await db.rows(_CAPPED)]


async def lock_caps(tx: Tx, company_id: str) -> None:
    """No meter of the company is born, and its allowances are nobody else's to change, until the transaction ends."""
    await tx.run(_LOCK_CAP_ROWS, company_id)
    await tx.run(_LOCK_CAPS, company_id)


async def set_cap(tx: Tx, company_id: str, meter: str, *, allowance: int | None) -> None:
    """The allowance holds for every count from the commit on; None is none."""
    if allowance is None:
        await tx.run(_UNCAP, company_id, meter)
    else:
        await tx.run(_CAP, company_id, meter, allowance)
    await tx.run(_MARK, company_id, meter, allowance is not None)


async def find_allowance(db: Connection, company_id: str, meter: str) -> int | None:
    """The allowance that holds for a meter in this region."""
    found: int | None = await db.value(_ALLOWANCE, company_id, meter)
    return found
