"""The first page: is it fine, what is to be done, and the last 60 minutes at a glance, live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Response

from mainstay import events, jobs, webhooks
from mainstay.console.charts import MINUTES, Chart, Point
from mainstay.console.concerns import FAILING_TRIES, Concern, Standing, concerns_of
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.live import Parts, Subject
from mainstay.kernel.db import Database

_View = Annotated[Page, Depends(PageMay("overview.read"))]

AREA = Area("Overview", "/console", "layout-dashboard")
_EVERY_SECONDS = 5.0
"""Figures are gathered every 10 s; asking much more often tells nothing new."""
_COUNTED_TO = 10_000
_LIVE = "/console/live/overview"
_PIECES = "overview_parts.html"

Depths = Mapping[str, Sequence[tuple[datetime, int, int, int, int]]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may see of it: the company's events, its webhooks, the jobs of the whole service."""

    events: bool
    webhooks: bool
    service: bool

    @classmethod
    def of(cls, page: Page) -> Self:
        """What the person may see."""
        return cls(page.may("events.read"), page.may("webhooks.read"), page.is_operator)


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows."""

    concerns: Sequence[Concern]
    charts: Sequence[Chart]
    trouble: webhooks.Trouble | None
    is_quiet: bool
    """Whether no event was stored in the window, for those who may see events."""


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get("/console")
    async def show(page: _View) -> Response:
        """The overview."""
        seen = await read(page.db, page.company_id, Sight.of(page))
        return page.show("overview.html", seen=seen, live=_LIVE, line=_line_of(ground))

    @router.get(_LIVE)
    async def follow(page: _View) -> Response:
        """The live parts of the overview."""
        db, company_id, sight = page.db, page.company_id, Sight.of(page)

        async def load() -> Parts:
            return parts_of(ground, await read(db, company_id, sight))

        subject = Subject("overview", company_id, str(sight))
        return ground.live.stream(subject, page.session.id, load, every_seconds=_EVERY_SECONDS)

    return router


async def read(db: Database, company_id: str, sight: Sight) -> Overview:
    """What the overview shows of the company, and of the whole service to those who operate it."""
    trouble, charts, known = None, [], Standing()
    async with db.begin(readonly=True) as tx:
        stored = await events.per_minute(tx, company_id=company_id, minutes=MINUTES)
        if sight.events:
            charts.append(Chart("events", "Events", "a minute", stored))
        if sight.webhooks:
            figures = await webhooks.read_figures(tx, company_id=company_id, window="hour")
            trouble = await webhooks.read_trouble(tx, company_id=company_id)
            charts += _charts_of(figures["series"])
            known = _standing_of(figures["totals"], trouble)
        depths = await jobs.depths(tx, minutes=MINUTES) if sight.service else {}
    queues = await jobs.stats(db, bound=_COUNTED_TO) if sight.service else {}
    if sight.service:
        waiting = depth_of(depths, [minute for minute, _ in stored])
        charts.append(Chart("depth", "Queue depth", "jobs waiting", waiting, "neutral", is_level=True))
    standing = replace(
        known,
        silent_minutes=_silent_minutes(depths, stored[-1][0]),
        dead=[(name, one.dead) for name, one in queues.items() if one.dead],
        paused=[name for name, one in queues.items() if one.paused],
    )
    is_quiet = sight.events and not any(value for _, value in stored)
    return Overview(concerns_of(standing), charts, trouble, is_quiet)


def _charts_of(series: Sequence[Mapping[str, Any]]) -> list[Chart]:
    tries = [(datetime.fromisoformat(one["bucket"]), one) for one in series]
    return [
        Chart("delivered", "Delivered", "a minute", [(at, one["delivered"]) for at, one in tries], "good"),
        Chart("failed", "Failed tries", "a minute", [(at, one["failed"]) for at, one in tries], "bad", "bars"),
    ]


def _standing_of(totals: Mapping[str, int], trouble: webhooks.Trouble) -> Standing:
    return Standing(
        tries=totals["attempts"],
        tries_failed=totals["failed"],
        endpoints_failing=sum(one.disabled_at is None and one.failures >= FAILING_TRIES for one in trouble.endpoints),
        endpoints_disabled=sum(one.disabled_at is not None for one in trouble.endpoints),
    )


def depth_of(depths: Depths, minutes: Sequence[datetime]) -> list[Point]:
    """How many jobs waited in all queues together in each of these minutes; None where nobody counted."""
    found: dict[datetime, int] = {}
    for points in depths.values():
        for minute, waiting, *_ in points:
            found[minute] = found.get(minute, 0) + waiting
    return [(minute, found.get(minute)) for minute in minutes]


def _silent_minutes(depths: Depths, now: datetime) -> int:
    """Minutes since a worker wrote down how much waits; 0 where none ever did."""
    written = [points[-1][0] for points in depths.values() if points]
    return int((now - max(written)).total_seconds() // 60) if written else 0


def parts_of(ground: Ground, seen: Overview) -> dict[str, str]:
    """The live parts by the id of their element."""
    piece = ground.frame.piece
    parts = {
        "overview-standing": piece(_PIECES, "standing", seen.concerns),
        "overview-quiet": piece(_PIECES, "quiet", seen.is_quiet, _line_of(ground)),
    }
    if seen.trouble is not None:
        parts["overview-trouble"] = piece(_PIECES, "trouble", seen.trouble)
    for chart in seen.charts:
        parts[f"chart-{chart.id}-now"] = chart.now
        parts[f"chart-{chart.id}-data"] = piece("pieces.html", "chart_data", chart)
    return parts


def _line_of(ground: Ground) -> str:
    """A command that stores an event, but for the key."""
    return (
        f'curl {ground.settings.base_url}/v1/key/workspace/events -H "authorization: Bearer $MAINSTAY_KEY"'
        """ -H 'content-type: application/json' -d '{"action":"user.signed_in","actor":{"id":"u-1"}}'"""
    )
