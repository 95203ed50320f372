"""What the clock starts, for those who operate the service: when each schedule runs, what became of it, and run now."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response

from mainstay import jobs
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.trail import trail_of
from mainstay.kernel.db import Database

PATH = "/console/schedules"
AREA = Area("Schedules", PATH, "calendar-clock", "Delivery", operators_only=True)
ListedSchedule = jobs.recurring.ListedSchedule
CONCERNS = {
    "failing": ("bad", "The last run died: look at its job, then run it again."),
    "missing": ("bad", "A slot that is due has no run: no worker that knows this schedule is awake."),
    "late": ("warning", "The last run began later than it may, or still waits: workers are busy or few."),
    "overlapping": ("warning", "A slot came while the run before it went on; that run stands for it."),
}
"""What is wrong with a schedule now, the worst first, and what that means."""
MISSED = {
    "latest": "of those that pass while no worker runs, the newest is run",
    "skip": "those that pass while no worker runs are not run",
}
"""What becomes of slots that passed while nothing ran."""
SHOWN = 50
_LIVE = "/console/live/schedules"
_PARTS = "schedules_parts.html"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: OperatorPage) -> Response:
        """Every schedule, those that something is wrong with first."""
        return page.show("schedules.html", live=_LIVE, missed=MISSED, concerns=CONCERNS, **await _whole(page.db))

    @router.get(_LIVE)
    async def follow(page: OperatorPage) -> Response:
        """The schedules as they stand."""
        db, piece = page.db, ground.frame.piece

        async def load() -> Parts:
            found = await _whole(db)
            rows = piece(_PARTS, "rows", found["schedules"], MISSED, live=True)
            return {"schedules-standing": piece(_PARTS, "standing", **found), "schedule-rows": rows}

        return ground.live.stream(Subject("schedules", page.company_id, "service"), page.session.id, load)

    @router.get(PATH + "/{schedule}")
    async def show_one(page: OperatorPage, schedule: str) -> Response:
        """One schedule with its runs."""
        return await _one(page, schedule)

    @router.get(PATH + "/{schedule}/run")
    async def ask_run(page: OperatorPage, schedule: str) -> Response:
        """What running it now will do."""
        return await _one(page, schedule, ask="run")

    @router.post(PATH + "/{schedule}/run")
    async def run(page: OperatorPage, schedule: str) -> Response:
        """One run is in line, unless one is unfinished."""
        async with page.db.begin() as tx:
            made = await jobs.recurring.run_now(tx, page.caller.actor, schedule)
        said = (
            f"Job {made.job_id} is in line." if made.is_new else f"Job {made.job_id} is unfinished and stands for it."
        )
        return page.go(address_of(schedule), said=said)

    return router


def address_of(schedule: str) -> str:
    """The page of a schedule."""
    return f"{PATH}/{quote(schedule, safe=':')}"


async def _whole(db: Database) -> dict[str, Any]:
    return {"schedules": sorted(await jobs.recurring.list_schedules(db), key=order_of)}


def order_of(one: ListedSchedule) -> tuple[int, str, str]:
    """Those that something is wrong with stand first, the worst before the others."""
    worst = min((list(CONCERNS).index(name) for name in one.concerns if name in CONCERNS), default=len(CONCERNS))
    return worst, one.family, one.name


async def _one(page: Page, schedule: str, *, ask: str = "") -> Response:
    found = await jobs.recurring.get_schedule(page.db, schedule)
    shown: dict[str, Any] = {
        "one": found, "here": address_of(schedule), "ask": ask, "missed": MISSED, "concerns": CONCERNS, "runs": (),
        "newer": None, "older": None, "is_unfinished": False,
    }  # fmt: skip
    if ask:
        shown["is_unfinished"] = await jobs.recurring.is_unfinished(page.db, schedule)
    if page.wanted == "panel":
        return page.show("schedules_one.html", **shown)
    trail = trail_of(address_of(schedule), {}, page.request.query_params)
    scope = f"console/schedules/{schedule}"
    before = int(str(page.ground.cursors.open(scope, trail.cursor)[0])) if trail.cursor else None
    runs = await jobs.recurring.list_runs(page.db, schedule, before_id=before, limit=SHOWN + 1)
    older = page.ground.cursors.seal(scope, [runs[SHOWN - 1].job_id]) if len(runs) > SHOWN else None
    shown |= {"runs": runs[:SHOWN], "newer": trail.newer, "older": trail.older(older), "now": datetime.now(UTC)}
    return page.show("schedules_one.html", **shown)
