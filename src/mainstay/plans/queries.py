"""Every SQL statement of the plans room."""

from sqlalchemy import select

from mainstay.kernel.db import Connection, Record, Sql, Tx, compose
from mainstay.plans.tables import meter_counts

_METER = Sql("plans.meter", "select mainstay.meter($1, $2, $3, $4)")


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
