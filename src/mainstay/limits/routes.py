"""HTTP of the limits room: operators change limits at run time and see whom they refuse, managers see their own."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.limits import overrides, report
from mainstay.limits.overrides import Current, Snapshot
from mainstay.limits.policies import Policy
from mainstay.limits.report import Tally
from mainstay.limits.schemas import (
    CompanyLimitList,
    FigureChange,
    LimitAnswer,
    LimitList,
    LimitOfCompany,
    LimitReport,
    LimitShown,
    ModeChange,
    RefusedShown,
    calls_of,
    members_of,
)
from mainstay.web.callers import Caller, May, Operator
from mainstay.web.json import json_body, openapi_body, refuse_unknown_query

_LIMITS, _OF_COMPANY = "/internal/limits", "/internal/companies/{company_id}/rate-limits"
_Mode = Annotated[ModeChange, Depends(json_body(ModeChange, most=4_096))]
_Figures = Annotated[FigureChange, Depends(json_body(FigureChange, most=4_096))]
_See = Annotated[Caller, Depends(May("usage.read"))]
_Since = Annotated[str | None, Query(description="A time; whole hours count. A day ago unless given")]
_DAY = timedelta(days=1)


class _Desk:
    """What the routes stand on: the home database, every policy, and what this node has not written down yet."""

    def __init__(self, home: Database, policies: Mapping[str, Policy], tally: Tally) -> None:
        self.home = home
        self.policies = policies
        self.tally = tally

    def policy(self, name: str) -> Policy:
        """The policy of that name; PolicyUnknown."""
        return overrides.known_policy(self.policies, name)

    async def snapshot(self) -> Snapshot:
        """What holds at this moment."""
        return await Current(self.home, self.policies).now()

    async def shown(self, policy: Policy, company_id: str = "") -> LimitAnswer:
        """One limit as it holds now."""
        return LimitAnswer(data=LimitShown(**members_of((await self.snapshot()).of(policy.name, company_id))))

    async def of_company(self, company_id: str) -> CompanyLimitList:
        """The limits that count the company's calls, and what they refused today; CompanyUnknown."""
        await self.tally.flush()
        data = []
        for figures, found in await report.of_company(self.home, self.policies, company_id):
            last = None if found is None else iso(found["last_at"])
            data.append(LimitOfCompany(**members_of(figures), refused_today=calls_of(found), last_refused_at=last))
        return CompanyLimitList(data=data)

    async def report(self, policy: Policy, since: datetime) -> LimitReport:
        """Whom the policy refused since then."""
        await self.tally.flush()
        rows = await report.report(self.home, policy.name, since=since)
        shown = [
            RefusedShown(
                company_id=None if row["company_id"] is None else str(row["company_id"]),
                mode=row["mode"],
                calls=row["calls"],
                first_at=iso(row["first_at"]),
                last_at=iso(row["last_at"]),
            )
            for row in rows
        ]
        companies = {one.company_id for one in shown} - {None}
        calls = sum(one.calls for one in shown)
        return LimitReport(policy=policy.name, since=iso(since), companies=len(companies), calls=calls, data=shown)


def router(home: Database, policies: Mapping[str, Policy], tally: Tally) -> APIRouter:
    """The room's routes."""
    routes = APIRouter()
    desk = _Desk(home, policies, tally)
    _add_limits(routes, desk)
    _add_companies(routes, desk)
    return routes


def _add_limits(routes: APIRouter, desk: _Desk) -> None:
    told: dict[str, Any] = {"tags": ["operators"]}

    @routes.get(_LIMITS, **told)
    async def list_limits(_: Operator) -> LimitList:
        """Every limit with the figures that hold for everybody, who set them, and its mode."""
        snapshot = await desk.snapshot()
        return LimitList(data=[LimitShown(**members_of(snapshot.of(name, ""))) for name in desk.policies])

    @routes.put(f"{_LIMITS}/{{policy}}", openapi_extra=dict(openapi_body(ModeChange)), **told)
    async def set_mode(caller: Operator, policy: str, body: _Mode) -> LimitAnswer:
        """The limit is enforced, in shadow mode, or off, on every node within a second."""
        found = desk.policy(policy)
        async with desk.home.begin() as tx:
            await overrides.set_mode(tx, caller.actor, found, mode=body.mode, reason=body.reason)
        return await desk.shown(found)

    @routes.delete(f"{_LIMITS}/{{policy}}", **told)
    async def drop_mode(caller: Operator, policy: str) -> LimitAnswer:
        """The limit is enforced again."""
        found = desk.policy(policy)
        async with desk.home.begin() as tx:
            await overrides.drop_mode(tx, caller.actor, found)
        return await desk.shown(found)

    @routes.put(f"{_LIMITS}/{{policy}}/figures", openapi_extra=dict(openapi_body(FigureChange)), **told)
    async def set_figures(caller: Operator, policy: str, body: _Figures) -> LimitAnswer:
        """These figures hold for everybody who has none of their own, on every node within a second."""
        return await _set(desk, caller, policy, None, body)

    @routes.delete(f"{_LIMITS}/{{policy}}/figures", **told)
    async def drop_figures(caller: Operator, policy: str) -> LimitAnswer:
        """What settings or the default say holds for everybody again."""
        return await _drop(desk, caller, policy, None)

    @routes.get(f"{_LIMITS}/{{policy}}/report", **told)
    async def read_report(_: Operator, request: Request, policy: str, since: _Since = None) -> LimitReport:
        """Whom the limit refused, or would have refused in shadow mode: companies, calls, first and last."""
        found = desk.policy(policy)
        refuse_unknown_query(request, frozenset({"since"}))
        return await desk.report(found, _moment(since))


def _add_companies(routes: APIRouter, desk: _Desk) -> None:
    told: dict[str, Any] = {"tags": ["operators"]}

    @routes.get("/api/v1/company/rate-limits", tags=["usage"])
    async def read_own(caller: _See, response: Response) -> CompanyLimitList:
        """The limits that hold for the company, who set them, and what they refused today (UTC)."""
        response.headers["cache-control"] = "no-store"
        return await desk.of_company(caller.company_id)

    @routes.get(_OF_COMPANY, **told)
    async def read_company(_: Operator, company_id: str) -> CompanyLimitList:
        """The same of any company."""
        return await desk.of_company(company_id)

    @routes.put(f"{_OF_COMPANY}/{{policy}}", openapi_extra=dict(openapi_body(FigureChange)), **told)
    async def set_override(caller: Operator, company_id: str, policy: str, body: _Figures) -> LimitAnswer:
        """These figures hold for the company, until then where told, on every node within a second."""
        return await _set(desk, caller, policy, company_id, body)

    @routes.delete(f"{_OF_COMPANY}/{{policy}}", **told)
    async def drop_override(caller: Operator, company_id: str, policy: str) -> LimitAnswer:
        """What holds for everybody holds for the company again."""
        return await _drop(desk, caller, policy, company_id)


async def _set(desk: _Desk, caller: Caller, policy: str, company_id: str | None, body: FigureChange) -> LimitAnswer:
    found = desk.policy(policy)
    async with desk.home.begin() as tx:
        await overrides.set_override(
            tx,
            caller.actor,
            found,
            company_id,
            allowance=body.allowance,
            window_seconds=body.window_seconds,
            until=body.until,
            reason=body.reason,
        )
    return await desk.shown(found, company_id or "")


async def _drop(desk: _Desk, caller: Caller, policy: str, company_id: str | None) -> LimitAnswer:
    found = desk.policy(policy)
    async with desk.home.begin() as tx:
        await overrides.drop_override(tx, caller.actor, found, company_id)
    return await desk.shown(found, company_id or "")


def _moment(since: str | None) -> datetime:
    if since is None:
        return datetime.now(UTC) - _DAY
    try:
        moment = datetime.fromisoformat(since)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(faults=[Fault("must be a time such as 2026-01-02T03:04:05Z", "since")]) from None
