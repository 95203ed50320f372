"""Acts on many jobs of a queue by the filters of its list: counted first, then done, and how far a large one is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from fastapi import APIRouter, Response

from mainstay import jobs
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.queues_one import match_of, show_queue
from mainstay.console.queues_words import BULK, PATH, about, address_of, kept_of, progress_of
from mainstay.console.shown import count
from mainstay.console.trail import address
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid, NotFound

Act = jobs.desk.bulk.Act
ONE = PATH + "/{queue}"
SHOWN = 5
AT_ONCE = 10_000
"""Up to so many are done before the answer; of more, a job takes care."""
_LIVE = "/console/live/bulk-acts/{bulk_act}"
_FILTER_NAMES = {"companyId": "company"}


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    for act in BULK:
        _add_act(router, cast(Act, act))

    @router.get(ONE + "/acts/{bulk_act}")
    async def show_act(page: OperatorPage, queue: str, bulk_act: str) -> Response:
        """How far the act is."""
        found = shown(await jobs.desk.bulk.get(page.db, bulk_act))
        if found["queue"] != queue:
            raise NotFound(f"{queue} has no such act.")
        live = "" if found["finishedAt"] else _LIVE.format(bulk_act=found["id"])
        return page.show("queues_act.html", act=found, here=address_of(queue), live=live)

    @router.get(_LIVE)
    async def follow(page: OperatorPage, bulk_act: str) -> Response:
        """How far the act is, live."""
        db = page.db
        await jobs.desk.bulk.get(db, bulk_act)

        async def load() -> Parts:
            found = shown(await jobs.desk.bulk.get(db, bulk_act))
            return {"act-progress": ground.frame.piece("queues_parts.html", "progress", found)}

        return ground.live.stream(Subject("bulk-act", page.company_id, bulk_act), page.session.id, load)

    @router.post(ONE + "/acts/{bulk_act}/cancel")
    async def cancel(page: OperatorPage, queue: str, bulk_act: str) -> Response:
        """The act goes no further; what it has done stays."""
        async with page.db.begin() as tx:
            found = await jobs.desk.bulk.cancel(tx, page.caller.actor, bulk_act)
        return page.go(f"{address_of(queue)}/acts/{found['id']}", said="Stopped. What it has done stays done.")

    return router


def _add_act(router: APIRouter, act: Act) -> None:
    words = BULK[act]

    @router.get(f"{ONE}/{act}", name=f"ask_{act}")
    async def ask(page: OperatorPage, queue: str) -> Response:
        kept = kept_of(page.request.query_params)
        async with page.db.begin(readonly=True) as tx:
            found = await jobs.desk.bulk.count(tx, act, match_of(queue, kept))
        told = {"act": act, "words": words, "matched": found.matched, "is_floor": found.is_floor, "at_once": AT_ONCE}
        return await show_queue(page, queue, state=words.states[0], ask="bulk", about=about(kept), **told)

    @router.post(f"{ONE}/{act}", name=f"begin_{act}")
    async def begin(page: OperatorPage, queue: str) -> Response:
        kept = kept_of(page.form)
        if act == "clear" and page.form.get("confirm", "").strip() != queue:
            raise Invalid(faults=[Fault(f"must be {queue}: clearing cannot be undone", "confirm")])
        async with page.db.begin() as tx:
            made = await jobs.desk.bulk.begin(tx, page.caller.actor, act, match_of(queue, kept))
        if made["state"] != "done":
            await jobs.wake(page.db, jobs.UPKEEP)
            return page.go(f"{address_of(queue)}/acts/{made['id']}")
        noun = words.noun if made["done"] == 1 else words.noun.replace("job", "jobs")
        back = address(address_of(queue), {"state": words.states[0], **kept})
        return page.go(back, said=f"{count(made['done'])} {noun} of {queue} {words.done}.")


async def recent(db: Database) -> list[dict[str, Any]]:
    """The newest acts on many jobs."""
    return [shown(one) for one in (await jobs.desk.bulk.read(db))[:SHOWN]]


def shown(act: Mapping[str, Any]) -> dict[str, Any]:
    """The act with its times as moments, its filters in words, and how far it is, of a hundred."""
    moments = {
        name: act[name] and datetime.fromisoformat(act[name]) for name in ("createdAt", "startedAt", "finishedAt")
    }
    kept = {_FILTER_NAMES.get(name, name): value for name, value in act["filter"].items()}
    asked = act["askedBy"]
    return {
        **act,
        **moments,
        "words": BULK[act["act"]],
        "about": about({name: value for name, value in kept.items() if name in ("kind", "lane", "company", "error")}),
        "by": asked.get("name") or asked.get("email") or asked.get("id") or "",
        "percent": progress_of(act),
    }
