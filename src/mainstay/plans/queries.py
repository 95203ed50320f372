"""Every SQL statement of the plans room."""

from collections.abc import Sequence

from sqlalchemy import select

from mainstay.kernel.db import Connection, Record, Sql, Tx, compose
from mainstay.plans.tables import meter_counts

_METER = Sql("plans.meter", "select mainstay.meter($1, $2, $3, $4)")
_STANDINGS = Sql(
    "plans.standings",
    """select c.id, c.plan,
              array(select a.code from mainstay.add_ons a where a.company_id = c.id) as add_ons,
              coalesce((select jsonb_object_agg(l.name, l.amount) from mainstay.company_limits l
                         where l.company_id = c.id), '{}'::jsonb) as limits,
              coalesce((select o.blocks_at_limit from mainstay.company_choices o where o.company_id = c.id), false)
                as blocks_at_limit
         from mainstay.companies c where c.id = any($1::uuid[])""",
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


async def standings_everywhere(db: Connection, company_ids: Sequence[str]) -> list[Record]:
    """Plan, add-ons, own limits and choices of each of these companies."""
    return await db.rows(_STANDINGS, list(company_ids))
