"""Add-ons: granted and removed by operators, held by companies."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from mainstay.kernel import outbox
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.outbox import Actor
from mainstay.plans.catalogue import ADD_ONS
from mainstay.plans.errors import AddOnUnknown, CompanyUnknown
from mainstay.plans.queries import limits as queries


@dataclass(frozen=True, slots=True)
class HeldAddOn:
    """An add-on that a company holds."""

    code: str
    granted_at: datetime


async def grant_add_on(tx: Tx, actor: Actor, company_id: str, *, code: str) -> bool:
    """The company holds the add-on; whether that is new (then `add_on.granted` is announced). Home database.

    AddOnUnknown, CompanyUnknown.
    """
    await _check(tx, company_id, code)
    if not await queries.grant(tx, company_id, code, granted_by=msgspec.json.encode(actor).decode()):
        return False
    await outbox.announce(tx, "add_on.granted", company_id=company_id, actor=actor, data={"code": code})
    return True


async def remove_add_on(tx: Tx, actor: Actor, company_id: str, *, code: str) -> bool:
    """The company does not hold the add-on; whether it did (then `add_on.removed` is announced). Home database.

    AddOnUnknown, CompanyUnknown.
    """
    await _check(tx, company_id, code)
    if not await queries.remove(tx, company_id, code):
        return False
    await outbox.announce(tx, "add_on.removed", company_id=company_id, actor=actor, data={"code": code})
    return True


async def list_add_ons(db: Connection, company_id: str) -> list[HeldAddOn]:
    """The company's add-ons, oldest grant first."""
    return [HeldAddOn(row["code"], row["granted_at"]) for row in await queries.add_ons(db, company_id)]


async def _check(tx: Tx, company_id: str, code: str) -> None:
    if code not in ADD_ONS:
        raise AddOnUnknown(f"There is no add-on '{code[:100]}': there is {', '.join(ADD_ONS)}.")
    if await queries.lock_company(tx, company_id) is None:
        raise CompanyUnknown
