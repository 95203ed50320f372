"""HTTP of the plans room: usage for keys and people, thresholds for owners and managers."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay.kernel.addresses import AllowList
from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.regions import Regions
from mainstay.plans import add_ons, caps, limits, periods, reports, thresholds
from mainstay.plans.reports import PerMinute, WebhookFigures
from mainstay.plans.schemas import (
    AddOnList,
    AddOnShown,
    AlertList,
    AlertShown,
    CompanyStatsAnswer,
    CompanyUsageAnswer,
    NewThreshold,
    ThresholdList,
    ThresholdShown,
    UsageChoices,
    WorkspaceUsageAnswer,
)
from mainstay.plans.standing import Book
from mainstay.web.callers import Caller, CompanyKey, May, WorkspaceKey
from mainstay.web.json import Answer, json_body, openapi_body

_Reader = Annotated[Caller, Depends(May("usage.read"))]
_Editor = Annotated[Caller, Depends(May("usage.change"))]
"""Thresholds and alerts too: they name those who are told."""
_KEYS, _PEOPLE = "/v1/key", "/api/v1/company"
_Threshold = Annotated[NewThreshold, Depends(json_body(NewThreshold, most=65_536))]
_Choices = Annotated[UsageChoices, Depends(json_body(UsageChoices, most=1_024))]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes stand on; the last two ask other rooms."""

    regions: Regions
    book: Book
    keyring: Keyring
    allow: AllowList
    per_minute: PerMinute
    webhooks: WebhookFigures

    def of(self, caller: Caller) -> Database:
        """Where the caller's meters are."""
        return self.regions.of(caller.region)

    async def usage(self, caller: Caller) -> CompanyUsageAnswer:
        """The usage of the caller's company."""
        return CompanyUsageAnswer(
            data=await reports.company_usage(self.regions.home, self.of(caller), self.book, caller.company_id)
        )

    async def settle(self, caller: Caller) -> None:
        """The allowances of the caller's company are as it has just chosen."""
        await caps.settle(self.regions.home, self.of(caller), self.book, caller.company_id)

    async def choose_blocking(self, caller: Caller, *, blocks: bool) -> None:
        """Events of the caller's company are refused at its hard limit, or not."""
        async with self.regions.home.begin() as tx:
            await limits.choose_blocking(tx, caller.actor, caller.company_id, blocks=blocks)
        await self.settle(caller)

    async def thresholds(self, caller: Caller) -> list[ThresholdShown]:
        """The thresholds of the caller's company with their state in this month; targets without their secrets."""
        regional = self.of(caller)
        standing = await self.book.standing(self.regions.home, caller.company_id)
        return await reports.threshold_list(regional, standing, await periods.current(regional), with_targets=True)

    async def add_threshold(self, caller: Caller, new: NewThreshold) -> tuple[str, list[dict[str, str]]]:
        """The threshold exists; its id, and its targets, of which a webhook shows its secret only here."""
        async with self.of(caller).begin() as tx:
            made = await thresholds.add_threshold(
                tx, caller.actor, caller.company_id, new=new, keyring=self.keyring, allow=self.allow
            )
        await self.settle(caller)
        return made

    async def delete_threshold(self, caller: Caller, threshold_id: str) -> None:
        """The threshold is gone; alerts that it raised stay."""
        async with self.of(caller).begin() as tx:
            await thresholds.delete_threshold(tx, caller.actor, caller.company_id, threshold_id)
        await self.settle(caller)

    async def alerts(self, caller: Caller) -> list[AlertShown]:
        """The newest 100 alerts of the caller's company with what became of each send."""
        return await reports.alert_list(self.of(caller), caller.company_id)


def router(parts: Parts) -> APIRouter:
    """The room's routes for keys and people, each answered from the region of its caller."""
    routes = APIRouter()
    _add_key_routes(routes, parts)
    _add_usage(routes, parts)
    _add_thresholds(routes, parts)
    return routes


def _add_key_routes(routes: APIRouter, parts: Parts) -> None:
    @routes.get(f"{_KEYS}/workspace/usage", tags=["usage"])
    async def show_workspace_usage(caller: WorkspaceKey, response: Response) -> WorkspaceUsageAnswer:
        """What the key's workspace used in this month (UTC) and in the months before."""
        _no_store(response)
        home, regional = parts.regions.home, parts.of(caller)
        return WorkspaceUsageAnswer(
            data=await reports.workspace_usage(
                home, regional, parts.book, caller.company_id, workspace_id=caller.workspace_id
            )
        )

    @routes.get(f"{_KEYS}/company/usage", tags=["usage"])
    async def show_company_usage(caller: CompanyKey, response: Response) -> CompanyUsageAnswer:
        """What the key's company used in this month (UTC), may use, is warned of, and used in the months before."""
        _no_store(response)
        return await parts.usage(caller)

    @routes.get(f"{_KEYS}/company/stats", tags=["usage"])
    async def show_company_stats(caller: CompanyKey, response: Response) -> CompanyStatsAnswer:
        """Events of the company today, over 24 hours and this month, by workspace, and its deliveries at a glance."""
        _no_store(response)
        home, regional = parts.regions.home, parts.of(caller)
        return CompanyStatsAnswer(
            data=await reports.company_stats(
                home,
                regional,
                parts.book,
                caller.company_id,
                per_minute=parts.per_minute,
                webhooks=parts.webhooks,
            )
        )


def _add_usage(routes: APIRouter, parts: Parts) -> None:
    @routes.get(f"{_PEOPLE}/usage", tags=["usage"])
    async def read_usage(caller: _Reader, response: Response) -> CompanyUsageAnswer:
        """What the company used in this month (UTC), may use, is warned of, and used in the months before."""
        _no_store(response)
        return await parts.usage(caller)

    @routes.patch(f"{_PEOPLE}/usage", tags=["usage"], openapi_extra=dict(openapi_body(UsageChoices)))
    async def change_usage(caller: _Editor, body: _Choices, response: Response) -> CompanyUsageAnswer:
        """Events are refused with 429 once the hard limit is reached, or are taken beyond it: the company's choice."""
        _no_store(response)
        await parts.choose_blocking(caller, blocks=body.blocks_at_limit)
        return await parts.usage(caller)

    @routes.get(f"{_PEOPLE}/add-ons", tags=["usage"])
    async def read_add_ons(caller: _Reader) -> AddOnList:
        """The add-ons that the company holds; operators grant and remove them."""
        found = await add_ons.list_add_ons(parts.regions.home, caller.company_id)
        return AddOnList(data=[AddOnShown(code=one.code, granted_at=iso(one.granted_at)) for one in found])


def _add_thresholds(routes: APIRouter, parts: Parts) -> None:
    @routes.get(f"{_PEOPLE}/thresholds", tags=["usage"])
    async def list_thresholds(caller: _Editor) -> ThresholdList:
        """The company's thresholds with their state in this month; targets are shown without their secrets."""
        return ThresholdList(data=await parts.thresholds(caller))

    @routes.post(f"{_PEOPLE}/thresholds", tags=["usage"], openapi_extra=dict(openapi_body(NewThreshold)))
    async def add_threshold(caller: _Editor, body: _Threshold) -> Answer:
        """A threshold, soft or hard, absolute or a percentage of the quota; a webhook's secret is shown only here."""
        threshold_id, targets = await parts.add_threshold(caller, body)
        shown = {one.id: one for one in await parts.thresholds(caller)}
        made: dict[str, Any] = {} if threshold_id not in shown else shown[threshold_id].model_dump(by_alias=True)
        return Answer({"data": {**made, "targets": targets}}, 201, {"cache-control": "no-store"})

    @routes.delete(f"{_PEOPLE}/thresholds/{{threshold_id}}", tags=["usage"], status_code=204)
    async def delete_threshold(caller: _Editor, threshold_id: str) -> Response:
        """The threshold is gone; alerts that it raised stay."""
        await parts.delete_threshold(caller, threshold_id)
        return Response(status_code=204)

    @routes.get(f"{_PEOPLE}/alerts", tags=["usage"])
    async def list_alerts(caller: _Editor) -> AlertList:
        """The company's newest 100 alerts with what became of each send."""
        return AlertList(data=await parts.alerts(caller))


def _no_store(response: Response) -> None:
    response.headers["cache-control"] = "no-store"
