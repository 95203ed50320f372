"""What the company has used of its plan, where it wants to be warned, and what happens at its limit."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response

from mainstay import identity, plans
from mainstay.console import usage_form
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.usage_form import Draft
from mainstay.kernel.errors import Fault, MainstayError
from mainstay.web.json import fault_of

_View = Annotated[Page, Depends(PageMay("usage.read"))]
_Edit = Annotated[Page, Depends(PageMay("usage.change"))]

PATH = "/console/usage"
AREA = Area("Usage", PATH, "gauge", "Limits and plans", act="usage.read")
WIDTH = 1_000
"""Units of the drawn bar."""
_MOST_WORKSPACES = 200
_ALERTS = 10


@dataclass(frozen=True, slots=True)
class Mark:
    """A line on the bar: a quota or a threshold, at its place."""

    kind: str
    label: str
    limit: int
    at: float
    is_reached: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """The period as one bar: what is used, what it comes to if it goes on so, and the lines."""

    used: float
    projected: float
    marks: list[Mark]


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    parts = ground.usage

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The period against the quota, thresholds with alerts, and the months before."""
        return await _show(ground, page)

    @router.post(PATH + "/thresholds")
    async def add(page: _Edit) -> Response:
        """A threshold more; the secrets of webhooks that it tells are shown for the only time."""
        draft = usage_form.read(page.form)
        if draft.wrong:
            return await _show(ground, page, draft=draft, status=400)
        try:
            wanted = msgspec.convert(draft.given, plans.NewThreshold)
            _, targets = await parts.add_threshold(page.caller, wanted)
        except msgspec.ValidationError as error:
            draft.take_faults([fault_of(error)])
            return await _show(ground, page, draft=draft, status=400)
        except MainstayError as refusal:
            if refusal.status >= 500:
                raise
            draft.take_faults(refusal.faults or [Fault(refusal.detail, "#/amount")])
            return await _show(ground, page, draft=draft, status=400)
        secrets = [target for target in targets if "secret" in target]
        if secrets:
            return await _show(ground, page, secrets=secrets, status=201)
        return page.go(PATH, said="The threshold is set.")

    @router.post(PATH + "/thresholds/{threshold_id}/delete")
    async def delete(page: _Edit, threshold_id: str) -> Response:
        """The threshold is gone; its alerts stay."""
        await parts.delete_threshold(page.caller, threshold_id)
        return page.go(PATH, said="The threshold is deleted. Alerts that it raised stay.")

    @router.post(PATH + "/blocking")
    async def choose(page: _Edit) -> Response:
        """Events are refused at the limit, or counted on."""
        blocks = page.form.get("blocks") == "1"
        await parts.choose_blocking(page.caller, blocks=blocks)
        said = "Events are refused once the limit is reached." if blocks else "Events are taken beyond the limit, too."
        return page.go(PATH, said=said)

    return router


async def _show(
    ground: Ground,
    page: Page,
    *,
    draft: Draft | None = None,
    secrets: list[dict[str, str]] | None = None,
    status: int = 200,
) -> Response:
    usage = (await ground.usage.usage(page.caller)).data
    (meter,) = [one for one in usage.meters if one.meter == "events"]
    thresholds = await ground.usage.thresholds(page.caller)
    workspaces = await identity.list_workspaces(ground.home, page.company_id, limit=_MOST_WORKSPACES)
    lines = [(one.kind, _label(one.kind, one.unit, one.amount), one.limit) for one in thresholds]
    alerts = (await ground.usage.alerts(page.caller))[:_ALERTS]
    return page.show(
        "usage.html",
        status=status,
        usage=usage,
        meter=meter,
        begins=datetime.fromisoformat(usage.period.start),
        ends=datetime.fromisoformat(usage.period.end),
        bar=bar_of(meter.quantity, meter.projected, meter.quota, lines),
        thresholds=[(one, _label(one.kind, one.unit, one.amount), _moment(one.alert)) for one in thresholds],
        alerts=[(one, datetime.fromisoformat(one.raised_at)) for one in alerts],
        months=[(one, _month(one.period_start)) for one in usage.history if one.meter == "events"],
        workspaces={one.id: one.name for one in workspaces},
        draft=draft or Draft(dict(usage_form.BLANK)),
        secrets=secrets or [],
    )


def bar_of(used: int, projected: int, quota: int | None, lines: list[tuple[str, str, int | None]]) -> Bar:
    """The bar, as wide as the largest of what it shows; lines that have no place, without a quota, are left out."""
    marks = [(kind, label, limit) for kind, label, limit in lines if limit is not None]
    if quota is not None:
        marks.append(("quota", "Quota", quota))
    top = max([used, projected, 1, *(limit for _, _, limit in marks)]) * 1.04
    return Bar(
        used=round(used / top * WIDTH, 1),
        projected=round(projected / top * WIDTH, 1),
        marks=[
            Mark(kind, label, limit, round(limit / top * WIDTH, 1), used >= limit)
            for kind, label, limit in sorted(marks, key=lambda one: one[2])
        ],
    )


def _label(kind: str, unit: str, amount: int) -> str:
    return f"{kind.title()}, {amount:,} %" if unit == "percentage" else kind.title()


def _month(day: date) -> str:
    return day.strftime("%B %Y")


def _moment(alert: Any) -> datetime | None:
    return None if alert is None else datetime.fromisoformat(alert.raised_at)
