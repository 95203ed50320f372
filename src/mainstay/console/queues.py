"""The service's queues, for those who operate it: how much is in each, live, and the ways to all that can be done."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response

from mainstay.console import queues_bulk, queues_job, queues_one, queues_stopping
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.queues_one import kinds_of, read_all
from mainstay.console.queues_words import PATH
from mainstay.jobs import QueueStats
from mainstay.kernel.db import Database

AREA = Area("Jobs", PATH, "layers", "Delivery", operators_only=True)
FIGURES = ("waiting", "delayed", "active", "retrying", "completed", "dead")
_LIVE = "/console/live/queues"
_PARTS = "queues_parts.html"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: OperatorPage) -> Response:
        """Every queue."""
        kinds = [one for one in await kinds_of(page.db) if one["pause"] is not None]
        acts = await queues_bulk.recent(page.db)
        return page.show("queues.html", kinds=kinds, acts=acts, **await _whole(page.db))

    @router.get(_LIVE)
    async def follow(page: OperatorPage) -> Response:
        """The figures of every queue."""
        db = page.db

        async def load() -> Parts:
            return parts_of(ground, **await _whole(db))

        return ground.live.stream(Subject("queues", page.company_id, "service"), page.session.id, load)

    for module in (queues_stopping, queues_bulk, queues_job, queues_one):
        router.include_router(module.routes(ground))
    return router


def parts_of(ground: Ground, queues: Sequence[QueueStats], sparks: Mapping[str, Any]) -> dict[str, str]:
    """The live parts by the id of their element."""
    piece = ground.frame.piece
    parts = {"queues-standing": piece(_PARTS, "standing", queues)}
    for queue in queues:
        for name in FIGURES:
            parts[f"queue-{queue.queue}-{name}"] = piece(_PARTS, "figure", getattr(queue, name), queue.bound, name)
        parts[f"queue-{queue.queue}-state"] = piece(_PARTS, "state", queue)
        parts[f"queue-{queue.queue}-act"] = piece(_PARTS, "act", queue)
        parts[f"queue-{queue.queue}-line"] = piece(_PARTS, "line", sparks[queue.queue])
    return parts


async def _whole(db: Database) -> dict[str, Any]:
    """Every queue's counts, and how much waited in each, minute by minute up to now."""
    queues, depths = await read_all(db)
    return {"queues": list(queues.values()), "sparks": {name: [point[1] for point in depths[name]] for name in queues}}
