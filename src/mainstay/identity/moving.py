"""A company moves to another region: its new events are stored there, the old ones stay where they are (G-30)."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from mainstay.identity import companies
from mainstay.identity.companies import OPERATOR_COMPANY, Company
from mainstay.identity.queries import keys as key_rows
from mainstay.identity.queries import tenants as tenant_rows
from mainstay.kernel import outbox
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Region, Regions

Carry = Callable[[Tx, Sequence[Tx]], Awaitable[None]]
"""Brings what other rooms have of the company there, from the databases that it leaves."""


async def move_company(
    regions: Regions, actor: Actor, company_id: str, region: Region, *, carry: Carry | None = None
) -> Company:
    """The company is of that region, its keys are there and work as before, and `company.moved` is announced.

    CompanyNotFound, Invalid; Unavailable where a database does not answer, and nothing has changed then. The databases
    commit one after another: home, the new one, the old ones. A run that was cut off between them is to be run again;
    then keys are collected wherever they are, and one that was revoked anywhere is revoked. `carry` runs in the same
    transactions, so it too must bear a run that was cut off.
    """
    if company_id == OPERATOR_COMPANY:
        raise Invalid(faults=[Fault("the operator's own company is in every database", "#/company")])
    target = regions.of(region)
    async with AsyncExitStack() as commits:
        # Entered last, committed first.
        others = [await commits.enter_async_context(db.begin()) for _, db in regions.all() if db is not target]
        there = await commits.enter_async_context(target.begin())
        home = await commits.enter_async_context(regions.home.begin())
        before = await tenant_rows.lock_region(home, company_id)
        if before is not None and before != region:
            await tenant_rows.move_company(home, company_id, region)
            data = {"companyId": company_id, "from": before, "to": region}
            await outbox.announce(home, "company.moved", company_id=company_id, actor=actor, data=data)
        for one in others:
            await key_rows.insert_moved(there, company_id, await key_rows.take_keys(one, company_id))
        await key_rows.retag_keys(there, company_id, region)
        if carry is not None:
            await carry(there, others)
    return await companies.get_company(regions.home, company_id)
