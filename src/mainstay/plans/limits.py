"""What operators set for one company, and what the company chooses for itself."""

from mainstay.kernel import outbox
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.plans.catalogue import LIMIT_NAMES, PLANS
from mainstay.plans.errors import CompanyUnknown
from mainstay.plans.queries import limits as queries

MOST = 1_000_000_000_000
"""The greatest limit that is one."""
MOST_RETENTION_DAYS = 36_500


async def set_plan(tx: Tx, actor: Actor, company_id: str, *, plan: str) -> bool:
    """The company is on that plan; whether that is new (then `plan.changed` is announced). Home database.

    Invalid, CompanyUnknown.
    """
    if plan not in PLANS:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(PLANS)}", "#/plan")])
    row = await _lock(tx, company_id)
    if row == plan:
        return False
    await queries.set_plan(tx, company_id, plan)
    await outbox.announce(tx, "plan.changed", company_id=company_id, actor=actor, data={"was": row, "now": plan})
    return True


async def set_limit(tx: Tx, actor: Actor, company_id: str, *, name: str, amount: int | None) -> None:
    """The company's own limit holds in place of its plan's (None: no limit); `limit.set` is announced. Home database.

    Amounts are whole numbers from 1 to 1,000,000,000,000, of days to 36,500. Invalid, CompanyUnknown.
    """
    _check_name(name)
    most = MOST_RETENTION_DAYS if name == "retention_days" else MOST
    if amount is not None and not 1 <= amount <= most:
        raise Invalid(faults=[Fault(f"must be from 1 to {most}, or null for no limit", "#/amount")])
    await _lock(tx, company_id)
    await queries.set_limit(tx, company_id, name, amount=amount)
    data = {"limit": name, "amount": amount}
    await outbox.announce(tx, "limit.set", company_id=company_id, actor=actor, data=data)


async def drop_limit(tx: Tx, actor: Actor, company_id: str, *, name: str) -> None:
    """The limit of the company's plan holds; `limit.dropped` is announced. Home database; Invalid, CompanyUnknown."""
    _check_name(name)
    await _lock(tx, company_id)
    await queries.drop_limit(tx, company_id, name)
    await outbox.announce(tx, "limit.dropped", company_id=company_id, actor=actor, data={"limit": name})


async def choose_blocking(tx: Tx, actor: Actor, company_id: str, *, blocks: bool) -> None:
    """Events are refused at the company's hard limit, or not; `blocking.chosen` is announced. Home database.

    `caps.settle` makes it hold in the company's region. CompanyUnknown.
    """
    await _lock(tx, company_id)
    await queries.choose_blocking(tx, company_id, blocks)
    data = {"blocksAtLimit": blocks}
    await outbox.announce(tx, "blocking.chosen", company_id=company_id, actor=actor, data=data)


def _check_name(name: str) -> None:
    if name not in LIMIT_NAMES:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(LIMIT_NAMES)}", "#/limit")])


async def _lock(tx: Tx, company_id: str) -> str:
    row = await queries.lock_company(tx, company_id)
    if row is None:
        raise CompanyUnknown
    plan: str = row["plan"]
    return plan
