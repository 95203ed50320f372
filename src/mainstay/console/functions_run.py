"""One run of a function, live: a timeline of its steps, what each gave, what it waits for, and what can be done."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response

from mainstay import functions, jobs
from mainstay.console.functions_timeline import timeline_of, waits_of
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, pages
from mainstay.console.live import Parts, Subject
from mainstay.kernel.db import Database

PATH = "/console/functions"
ONE = PATH + "/runs/{function_run_id}"
_LIVE = "/console/live/function-runs/{function_run_id}"
_PARTS = "functions_parts.html"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(ONE)
    async def show(page: OperatorPage, function_run_id: str) -> Response:
        """One run."""
        found = await _read(page.db, function_run_id)
        live = "" if found["run"].ended_at else _LIVE.format(function_run_id=found["run"].id)
        queue = jobs.WORKFLOW
        return page.show("functions_run.html", **found, live=live, queue=queue, path=PATH)

    @router.get(_LIVE)
    async def follow(page: OperatorPage, function_run_id: str) -> Response:
        """How far the run is."""
        db = page.db
        await functions.get_run(db, function_run_id)

        async def load() -> Parts:
            return parts_of(ground, await _read(db, function_run_id))

        return ground.live.stream(Subject("function-run", page.company_id, function_run_id), page.session.id, load)

    @router.post(ONE + "/cancel")
    async def cancel(page: OperatorPage, function_run_id: str) -> Response:
        """No step of the run begins any more."""
        async with page.db.begin() as tx:
            await functions.cancel_run(tx, page.caller.actor, function_run_id)
        return page.go(
            f"{PATH}/runs/{function_run_id}", said="Cancelled. The step at hand runs to its end, no other begins."
        )

    @router.post(ONE + "/rerun")
    async def rerun(page: OperatorPage, function_run_id: str) -> Response:
        """A new run of the same function with the same events is in line."""
        async with page.db.begin() as tx:
            new_id = await functions.rerun(tx, page.caller.actor, function_run_id)
        return page.go(f"{PATH}/runs/{new_id}", said="A new run with the same events is in line, from its first step.")

    return router


async def _read(db: Database, run_id: str) -> dict[str, Any]:
    shown = await functions.get_run(db, run_id)
    timeline = timeline_of(shown, datetime.now(UTC))
    return {"run": shown.run, "shown": shown, "timeline": timeline, "waits": waits_of(shown)}


def parts_of(ground: Ground, found: dict[str, Any]) -> dict[str, str]:
    """The live parts by the id of their element."""
    piece, timeline = ground.frame.piece, found["timeline"]
    return {
        "run-state": piece(_PARTS, "run_state", found["run"], timeline.took),
        "run-waits": piece(_PARTS, "waits", found["waits"]),
        "run-axis": piece(_PARTS, "axis", timeline.ticks),
        "run-steps": piece(_PARTS, "steps", timeline.rows),
    }
