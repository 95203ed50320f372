"""Meters: raised in the transaction that uses, read by period and workspace."""

from dataclasses import dataclass
from datetime import date

from mainstay.kernel.db import Connection, Tx
from mainstay.plans.queries import metering as queries


@dataclass(frozen=True, slots=True)
class Usage:
    """What one workspace used of one meter in the calendar month (UTC) that begins on `period_start`."""

    period_start: date
    workspace_id: str
    quantity: int


async def meter(tx: Tx, company_id: str, workspace_id: str, *, name: str, quantity: int) -> None:
    """The workspace's count of the current month is `quantity` higher once the transaction commits."""
    await queries.meter(tx, company_id, workspace_id, name, quantity)


async def usage(db: Connection, company_id: str, name: str) -> list[Usage]:
    """The company's use of a meter by period and workspace, newest period first."""
    rows = await queries.usage(db, company_id, name)
    return [Usage(row["period_start"], str(row["workspace_id"]), row["quantity"]) for row in rows]
