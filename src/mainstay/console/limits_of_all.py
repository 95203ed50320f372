"""Rate limits of everybody, for those who operate the service: figures, modes, exceptions, and whom each refuses."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from fastapi import APIRouter, Response

from mainstay import identity, limits
from mainstay.console.drafts import Draft
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, pages
from mainstay.console.people_words import address
from mainstay.kernel.errors import Fault, Invalid, MainstayError

PATH = "/console/all-limits"
AREA = Area("All limits", PATH, "list-checks", "Limits and plans", operators_only=True)
_WEEK = timedelta(days=7)
_REPORTED = 20
_FIGURES = ("companyId", "allowance", "windowSeconds", "until", "reason")


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    desk = _Desk(ground)

    @router.get(PATH)
    async def show(page: OperatorPage) -> Response:
        """Every limit, and the one that the query names beside the list."""
        return await desk.show(page, page.request.query_params.get("policy", ""))

    @router.post(PATH + "/mode")
    async def set_mode(page: OperatorPage) -> Response:
        """The limit refuses, only counts whom it would refuse, or does nothing."""
        policy = limits.known_policy(desk.policies, page.form.get("policy", ""))
        mode = next((one for one in get_args(limits.Mode) if one == page.form.get("mode")), None)
        if mode is None:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(get_args(limits.Mode))}", "mode")])
        draft = Draft.of(("reason",), page.form)
        try:
            async with ground.home.begin() as tx:
                await limits.set_mode(tx, page.caller.actor, policy, mode=mode, reason=draft.typed["reason"])
        except MainstayError as refusal:
            if not draft.take(refusal):
                raise
            return await desk.show(page, policy.name, moded=draft, mode=mode, status=400)
        return page.go(
            address(PATH, policy=policy.name), said=f"{policy.name} is {mode} on every node within a second."
        )

    @router.post(PATH + "/figures")
    async def set_figures(page: OperatorPage) -> Response:
        """These figures hold for everybody, or for the company that is named."""
        policy = limits.known_policy(desk.policies, page.form.get("policy", ""))
        draft = Draft.of(_FIGURES, page.form)
        if not await desk.set_figures(page, policy, draft):
            return await desk.show(page, policy.name, figured=draft, status=400)
        return page.go(address(PATH, policy=policy.name), said="The figures hold on every node within a second.")

    @router.post(PATH + "/drop")
    async def drop(page: OperatorPage) -> Response:
        """What held before the figures were set holds again."""
        policy = limits.known_policy(desk.policies, page.form.get("policy", ""))
        async with ground.home.begin() as tx:
            await limits.drop_override(tx, page.caller.actor, policy, page.form.get("companyId") or None)
        return page.go(address(PATH, policy=policy.name), said="The figures are dropped; what held before holds again.")

    return router


class _Desk:
    """What the routes share: the policies, and how one is shown and changed."""

    def __init__(self, ground: Ground) -> None:
        self.home = ground.home
        self.policies = limits.policies_of(ground.settings)

    async def show(
        self,
        page: Page,
        name: str,
        *,
        moded: Draft | None = None,
        figured: Draft | None = None,
        mode: str = "",
        status: int = 200,
    ) -> Response:
        """The list, with the policy of that name beside it."""
        snapshot = await limits.Current(self.home, self.policies).now()
        rows = [snapshot.of(one, "") for one in self.policies]
        one = snapshot.of(limits.known_policy(self.policies, name).name, "") if name else None
        more: dict[str, Any] = {}
        if one is not None:
            companies = [company for policy, company in snapshot.figures if policy == one.policy.name and company]
            report = await limits.report(self.home, one.policy.name, since=datetime.now(UTC) - _WEEK)
            shown = report[:_REPORTED]
            named = {*companies, *(str(row["company_id"]) for row in shown if row["company_id"] is not None)}
            more = {
                "own": {company: snapshot.of(one.policy.name, company) for company in companies},
                "report": shown,
                "reported": len(report),
                "names": await self._names(named),
            }
        return page.show(
            "limits_of_all.html", status=status, rows=rows, one=one, moded=moded or Draft({"reason": ""}),
            mode=mode or (one.mode if one else ""), figured=figured or Draft.of(_FIGURES), **more,
        )  # fmt: skip

    async def set_figures(self, page: Page, policy: limits.Policy, draft: Draft) -> bool:
        """Whether the figures hold as typed; else the draft says what is wrong."""
        typed = draft.typed
        numbers = {name: _whole(draft, name) for name in ("allowance", "windowSeconds")}
        if numbers["allowance"] is None:
            draft.wrong.setdefault("allowance", "Must be a whole number of at least 1.")
        until = None
        if typed["until"]:
            try:
                until = datetime.strptime(typed["until"], "%Y-%m-%d").replace(tzinfo=UTC)
            except ValueError:
                draft.wrong["until"] = "Must be a day such as 2027-01-31, or empty."
        if draft.wrong:
            return False
        try:
            async with self.home.begin() as tx:
                await limits.set_override(
                    tx, page.caller.actor, policy, typed["companyId"] or None, allowance=numbers["allowance"] or 0,
                    window_seconds=numbers["windowSeconds"], until=until, reason=typed["reason"],
                )  # fmt: skip
        except MainstayError as refusal:
            if refusal.status == 404:
                draft.wrong["companyId"] = "There is no such company."
            elif not draft.take(refusal):
                raise
            return False
        return True

    async def _names(self, company_ids: set[str]) -> dict[str, str]:
        found = [await identity.find_company(self.home, one) for one in sorted(company_ids)[: 2 * _REPORTED]]
        return {one.id: one.name for one in found if one is not None}


def _whole(draft: Draft, name: str) -> int | None:
    text = draft.typed[name]
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        draft.wrong[name] = "Must be a whole number."
        return None
    return int(text)
