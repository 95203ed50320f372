"""The first page: is it fine, what is to be done, and the last 60 minutes at a glance, live."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response

from mainstay import events, jobs
from mainstay.console.concerns import Concern, Standing, concerns_of
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.shown import count

AREA = Area("Overview", "/console", "layout-dashboard")
MINUTES = 60
_LIVE = "/console/live/overview"
_PIECES = "overview_parts.html"

Point = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Chart:
    """One small chart: its newest whole value, and the points of the window, oldest first."""

    id: str
    title: str
    unit: str
    points: Sequence[Point]
    meaning: Literal["accent", "good", "bad", "neutral"] = "accent"
    kind: Literal["line", "bars"] = "line"

    @property
    def values(self) -> list[int]:
        """The points without their times."""
        return [value for _, value in self.points]

    @property
    def now(self) -> str:
        """The newest value; a dash where nothing is known."""
        return count(self.points[-1][1]) if self.points else "–"  # noqa: RUF001 - a dash for a missing number


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows."""

    concerns: Sequence[Concern]
    charts: Sequence[Chart]


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get("/console")
    async def show(page: AnyPage) -> Response:
        """The overview."""
        seen = await read(ground, page.company_id, is_operator=page.is_operator)
        return page.show("overview.html", seen=seen, live=_LIVE)

    @router.get(_LIVE)
    async def follow(page: AnyPage) -> Response:
        """The live parts of the overview."""
        company_id, is_operator = page.company_id, page.is_operator

        async def load() -> Parts:
            return parts_of(ground, await read(ground, company_id, is_operator=is_operator))

        subject = Subject("overview", company_id, "service" if is_operator else "")
        return ground.live.stream(subject, page.session.id, load)

    return router


async def read(ground: Ground, company_id: str, *, is_operator: bool) -> Overview:
    """What the overview shows of the company, and of the whole service to those who operate it."""
    stored = await events.per_minute(ground.db, company_id=company_id, minutes=MINUTES)
    charts = [Chart("events", "Events", "a minute", stored)]
    standing = Standing()
    if is_operator:
        queues = await jobs.stats(ground.db)
        standing = Standing(
            dead=[(name, one.dead) for name, one in queues.items() if one.dead],
            paused=[name for name, one in queues.items() if one.paused],
        )
    return Overview(concerns_of(standing), charts)


def parts_of(ground: Ground, seen: Overview) -> dict[str, str]:
    """The live parts by the id of their element."""
    piece = ground.frame.piece
    parts = {"overview-standing": piece(_PIECES, "standing", seen.concerns)}
    for chart in seen.charts:
        parts[f"chart-{chart.id}-now"] = chart.now
        parts[f"chart-{chart.id}-data"] = piece("pieces.html", "chart_data", chart)
    return parts
