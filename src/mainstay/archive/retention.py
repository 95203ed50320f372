"""What companies and workspaces say about keeping: days of a workspace's own, and the grace before anything leaves."""

from typing import Final

from mainstay.archive import queries
from mainstay.archive.ground import DEFAULT_GRACE_DAYS, MOST_DAYS
from mainstay.kernel import outbox
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor

MOST_GRACE_DAYS: Final = 3_650


async def override_retention(tx: Tx, actor: Actor, company_id: str, workspace_id: str, *, days: int | None) -> None:
    """From the next marking on the workspace's window is so many days; None: its company's again. At home; Invalid."""
    if days is not None and not 0 <= days <= MOST_DAYS:
        raise Invalid(faults=[Fault(f"must be from 0 to {MOST_DAYS}", "#/days")])
    await queries.set_override(tx, company_id, workspace_id, days=days)
    data = {"workspaceId": workspace_id, "days": days}
    await outbox.announce(tx, "retention.overridden", company_id=company_id, actor=actor, data=data)


async def grant_grace(tx: Tx, actor: Actor, company_id: str, *, days: int) -> None:
    """The company's events stay in the table so many days after they left the window. At home; Invalid."""
    if not 0 <= days <= MOST_GRACE_DAYS:
        raise Invalid(faults=[Fault(f"must be from 0 to {MOST_GRACE_DAYS}", "#/graceDays")])
    await queries.set_grace(tx, company_id, days=days)
    await outbox.announce(tx, "retention.grace_set", company_id=company_id, actor=actor, data={"graceDays": days})


async def grace_days_of(db: Connection, company_id: str) -> int:
    """How many days the company's events stay in the table after they left the window."""
    return (await queries.graces_everywhere(db, [company_id])).get(company_id, DEFAULT_GRACE_DAYS)
