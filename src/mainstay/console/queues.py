"""The service's queues, for those who operate it: is it fine, how much is in each, live, and the ways to every act."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response

from mainstay import jobs
from mainstay.console import queues_bulk, queues_job, queues_one, queues_stopping
from mainstay.console.concerns import Concern
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.queues_concerns import concerns_of
from mainstay.console.queues_one import attempts_of, kinds_of, read_all
from mainstay.console.queues_words import PATH, Fares, fares_of
from mainstay.jobs import QueueStats
from mainstay.kernel.db import Database

AREA = Area("Jobs", PATH, "layers", "Delivery", operators_only=True)
FIGURES = ("waiting", "delayed", "active", "retrying", "dead")
KINDS_SHOWN = 20
FINDINGS_EVERY_SECONDS = 10
"""Patterns in the failures of an hour change slowly."""
_LIVE = "/console/live/queues"
_PARTS = "queues_parts.html"


@dataclass(frozen=True, slots=True)
class Dashboard:
    """All that the page shows live."""

    concerns: Sequence[Concern]
    queues: Sequence[QueueStats]
    sparks: Mapping[str, Sequence[int]]
    fares: Mapping[str, Fares]
    kinds: Sequence[Mapping[str, Any]]

    @property
    def whole(self) -> Fares:
        """How the attempts of all queues ended."""
        return fares_of(one["figures"] for one in self.kinds if one["figures"])

    @property
    def oldest(self) -> float:
        """For how many seconds the longest of those that are first in line has waited."""
        return max((one.oldest_ready_seconds or 0 for one in self.queues if one.waiting), default=0)


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: OperatorPage) -> Response:
        """Every queue."""
        acts = await queues_bulk.recent(page.db)
        seen = await _read(page.db, await jobs.desk.findings.find(page.db))
        return page.show("queues.html", seen=seen, acts=acts, live=_LIVE, names=FIGURES, most=KINDS_SHOWN)

    @router.get(_LIVE)
    async def follow(page: OperatorPage) -> Response:
        """The figures of every queue."""
        db, clock = page.db, asyncio.get_running_loop()
        found, found_at = await jobs.desk.findings.find(db), clock.time()

        async def load() -> Parts:
            nonlocal found, found_at
            if clock.time() - found_at >= FINDINGS_EVERY_SECONDS:
                found, found_at = await jobs.desk.findings.find(db), clock.time()
            return parts_of(ground, await _read(db, found))

        return ground.live.stream(Subject("queues", page.company_id, "service"), page.session.id, load)

    for module in (queues_stopping, queues_bulk, queues_job, queues_one):
        router.include_router(module.routes(ground))
    return router


def parts_of(ground: Ground, seen: Dashboard) -> dict[str, str]:
    """The live parts by the id of their element."""
    piece = ground.frame.piece
    parts = {
        "queues-standing": piece("overview_parts.html", "standing", seen.concerns),
        "queues-figures": piece(_PARTS, "whole", seen),
        "kind-rows": piece(_PARTS, "kind_rows", seen.kinds[:KINDS_SHOWN], with_queue=True),
    }
    for queue in seen.queues:
        name = f"queue-{queue.queue}"
        for figure in FIGURES:
            parts[f"{name}-{figure}"] = piece(_PARTS, "figure", getattr(queue, figure), queue.bound, figure)
        parts[f"{name}-state"] = piece(_PARTS, "state", queue)
        parts[f"{name}-oldest"] = piece(_PARTS, "oldest", queue)
        parts[f"{name}-rate"] = piece(_PARTS, "rate", seen.fares[queue.queue])
        parts[f"{name}-failed"] = piece(_PARTS, "failed", seen.fares[queue.queue])
        parts[f"{name}-act"] = piece(_PARTS, "act", queue)
        parts[f"{name}-line"] = piece(_PARTS, "line", seen.sparks[queue.queue])
    return parts


async def _read(db: Database, found: Sequence[Any]) -> Dashboard:
    """Every queue's counts, how much waited in each minute by minute, how its kinds fared, and what is not fine."""
    queues, depths = await read_all(db)
    kinds = await kinds_of(db)
    figures = [one["figures"] for one in kinds if one["figures"]]
    pauses = {one["kind"]: (one["queue"], one["pause"]) for one in kinds if one["pause"] is not None}
    return Dashboard(
        concerns_of(list(queues.values()), figures, pauses, found),
        list(queues.values()),
        {name: [point[1] for point in depths[name]] for name in queues},
        {name: fares_of(one for one in figures if one.queue == name) for name in queues},
        [one for one in kinds if one["pause"] is not None or attempts_of(one["figures"])],
    )
