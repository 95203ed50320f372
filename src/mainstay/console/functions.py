"""Functions of several steps, for those who operate the service: what starts each, what steers it, and its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response

from mainstay import functions
from mainstay.console import functions_run
from mainstay.console.frame import Area
from mainstay.console.functions_run import PATH
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.shown import count
from mainstay.console.trail import Trail, address, trail_of
from mainstay.functions import ListedFunction, ListedRun
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid, NotFound

AREA = Area("Functions", PATH, "workflow", "Delivery", operators_only=True)
STATES = ("queued", "running", "waiting", "completed", "failed", "cancelled", "skipped")
ENDED = ("completed", "failed", "cancelled", "skipped")
CONTROLS = {
    "idempotency": "Once per", "concurrency": "Concurrency", "throttle": "Throttle", "rateLimit": "Rate limit",
    "debounce": "Debounce", "batch": "Batch", "cancelOn": "Cancelled by",
}  # fmt: skip
"""What steers runs, as a page calls it."""
BOUND = 10_000
"""The runs of a function are counted so far; beyond, a page says that there may be more."""
SHOWN = 50
_LIVE = "/console/live/functions"
_PARTS = "functions_parts.html"


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of runs, and where it stands."""

    rows: Sequence[ListedRun]
    trail: Trail
    older: str | None
    state: str


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    router.include_router(functions_run.routes(ground))

    @router.get(PATH)
    async def show(page: OperatorPage) -> Response:
        """Every function, and the newest runs of all."""
        return await _page(page, None)

    @router.get(PATH + "/{function_id}")
    async def show_one(page: OperatorPage, function_id: str) -> Response:
        """One function with its runs."""
        return await _page(page, function_id)

    @router.get(_LIVE)
    async def follow(page: OperatorPage) -> Response:
        """How many runs of each function are in which state."""
        db = page.db

        async def load() -> Parts:
            found = await functions.list_functions(db, ground.functions)
            piece = ground.frame.piece
            return {f"function-{one.id}": piece(_PARTS, "figures", one, BOUND) for one in found}

        return ground.live.stream(Subject("functions", page.company_id, "service"), page.session.id, load)

    return router


async def _page(page: Page, function_id: str | None) -> Response:
    known = await functions.list_functions(page.db, page.ground.functions)
    one = next((each for each in known if each.id == function_id), None)
    path = PATH if function_id is None else f"{PATH}/{quote(function_id, safe=':')}"
    shown: dict[str, Any] = {
        "functions": known, "one": one, "function_id": function_id, "here": path, "listed": None, "wrong": None,
        "bound": BOUND, "controls": CONTROLS,
    }  # fmt: skip
    status = 200
    try:
        shown["listed"] = listed = await _runs(page, page.db, path, function_id)
        if function_id is not None and one is None and not listed.rows and not listed.state:
            raise NotFound(f"There is no function {function_id}, and no run of it.")
    except Invalid as wrong:
        status = 400
        shown["wrong"] = [fault.detail for fault in wrong.faults] or [wrong.detail]
    state = page.request.query_params.get("state", "")
    shown["tabs"] = tabs_of(path, known if one is None else [one], state)
    shown["live"] = _LIVE
    return page.show("functions.html", status=status, **shown)


async def _runs(page: Page, db: Database, path: str, function_id: str | None) -> Listed:
    query = page.request.query_params
    state: Any = query.get("state", "")
    if state and state not in STATES:
        raise Invalid(faults=[Fault(f"There is no state {state}: choose one of those above.", "state")])
    trail = trail_of(path, {"state": state} if state else {}, query)
    cursors, scope = page.ground.cursors, f"console/functions/{function_id or ''}/{state}"
    before = str(cursors.open(scope, trail.cursor)[0]) if trail.cursor else None
    found = await functions.list_runs(
        db, function_id=function_id, state=state or None, before_id=before, limit=SHOWN + 1
    )
    rows = found[:SHOWN]
    older = cursors.seal(scope, [rows[-1].id]) if len(found) > SHOWN else None
    return Listed(rows, trail, trail.older(older), state)


def tabs_of(path: str, among: Sequence[ListedFunction], state: str) -> list[tuple[str, str, bool]]:
    """The states with how many runs ended in each, their addresses, and which is shown."""
    told: Mapping[str, int] = {name: sum(one.runs.get(name, 0) for one in among) for name in ENDED}
    most = BOUND if len(among) == 1 else None
    tabs = [("All", path, not state)]
    for name in STATES:
        words = f"{name.title()} {count(told[name], most=most)}" if name in told else name.title()
        tabs.append((words, address(path, {"state": name}), name == state))
    return tabs
