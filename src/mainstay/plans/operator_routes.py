"""What operators set: a company's plan, its own limits, its add-ons."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.regions import Regions
from mainstay.plans import add_ons, caps, limits, reports
from mainstay.plans.schemas import LimitChange, PlanChange, StandingAnswer
from mainstay.plans.standing import Book
from mainstay.web.callers import Operator
from mainstay.web.json import json_body, openapi_body

_AT = "/internal/companies/{company_id}"
_Plan = Annotated[PlanChange, Depends(json_body(PlanChange, most=1_024))]
_Limit = Annotated[LimitChange, Depends(json_body(LimitChange, most=1_024))]
_LIMITS = {"exportRows": "export_rows", "retentionDays": "retention_days", "eventQuota": "event_quota"}


async def change_company(
    regions: Regions, book: Book, company_id: str, change: Callable[[Tx], Awaitable[Any]]
) -> StandingAnswer:
    """The change is made at home, and the allowances that follow from it hold in the company's region.

    What the company may do then; CompanyUnknown, and whatever the change refuses.
    """
    await book.standing(regions.home, company_id)
    async with regions.home.begin() as tx:
        await change(tx)
    standing = await book.standing(regions.home, company_id)
    await caps.settle(regions.home, regions.of(standing.region), book, company_id)
    return StandingAnswer(data=reports.standing_shown(standing))


def operator_router(regions: Regions, book: Book) -> APIRouter:
    """The room's routes for operators."""
    routes = APIRouter(tags=["operators"])

    @routes.get(f"{_AT}/plan")
    async def read_standing(_: Operator, company_id: str) -> StandingAnswer:
        """What the company may do: plan, add-ons, limits, and its choice at the hard limit."""
        return StandingAnswer(data=reports.standing_shown(await book.standing(regions.home, company_id)))

    @routes.put(f"{_AT}/plan", openapi_extra=dict(openapi_body(PlanChange)))
    async def change_plan(caller: Operator, company_id: str, body: _Plan) -> StandingAnswer:
        """The company is on that plan from now on."""

        async def change(tx: Tx) -> None:
            await limits.set_plan(tx, caller.actor, company_id, plan=body.plan)

        return await change_company(regions, book, company_id, change)

    @routes.put(f"{_AT}/limits/{{limit}}", openapi_extra=dict(openapi_body(LimitChange)))
    async def set_limit(caller: Operator, company_id: str, limit: str, body: _Limit) -> StandingAnswer:
        """The company's own `exportRows`, `retentionDays` or `eventQuota` holds in place of its plan's."""

        async def change(tx: Tx) -> None:
            await limits.set_limit(tx, caller.actor, company_id, name=_name(limit), amount=body.amount)

        return await change_company(regions, book, company_id, change)

    @routes.delete(f"{_AT}/limits/{{limit}}")
    async def drop_limit(caller: Operator, company_id: str, limit: str) -> StandingAnswer:
        """The limit of the company's plan holds again."""

        async def change(tx: Tx) -> None:
            await limits.drop_limit(tx, caller.actor, company_id, name=_name(limit))

        return await change_company(regions, book, company_id, change)

    @routes.put(f"{_AT}/add-ons/{{code}}")
    async def grant_add_on(caller: Operator, company_id: str, code: str) -> StandingAnswer:
        """The company holds the add-on; there is `RETENTION_S3_ARCHIVE`."""

        async def change(tx: Tx) -> None:
            await add_ons.grant_add_on(tx, caller.actor, company_id, code=code)

        return await change_company(regions, book, company_id, change)

    @routes.delete(f"{_AT}/add-ons/{{code}}")
    async def remove_add_on(caller: Operator, company_id: str, code: str) -> StandingAnswer:
        """The company does not hold the add-on any more."""

        async def change(tx: Tx) -> None:
            await add_ons.remove_add_on(tx, caller.actor, company_id, code=code)

        return await change_company(regions, book, company_id, change)

    return routes


def _name(limit: str) -> str:
    if limit not in _LIMITS:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(_LIMITS)}", "limit")])
    return _LIMITS[limit]
