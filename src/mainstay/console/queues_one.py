"""One queue, live: its depth by the minute, its kinds, its jobs by state and filter, and what can be done with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import APIRouter, Response

from mainstay import jobs
from mainstay.console.charts import MINUTES, Chart, Point
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.queues_words import (
    FILTERS,
    PATH,
    STATE_WORDS,
    STATES,
    State,
    acts_of,
    address_of,
    chosen_of,
    kept_of,
    with_filter,
)
from mainstay.console.shown import count
from mainstay.console.trail import Trail, address, trail_of
from mainstay.jobs import Match, QueueStats
from mainstay.kernel import ids
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Fault, Invalid, NotFound

MOST_COUNTED = 10_000
"""So far each state is counted; beyond, a page says that there may be more."""
SHOWN = 50
_LIVE = "/console/live/queues"
_PARTS = "queues_parts.html"

Depth = tuple[datetime, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a queue's jobs in one state, and where it stands."""

    state: State
    rows: Sequence[Mapping[str, Any]]
    trail: Trail
    older: str | None


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(_LIVE + "/{queue}")
    async def follow(page: OperatorPage, queue: str) -> Response:
        """The figures of one queue."""
        db, query = page.db, page.request.query_params
        state, kept = query.get("state", ""), kept_of(query)

        async def load() -> Parts:
            return parts_of(ground, *await read_one(db, queue), state, kept)

        scope = f"{state} {urlencode(kept)} {queue}"
        return ground.live.stream(Subject("queue", page.company_id, scope), page.session.id, load)

    @router.get(PATH + "/{queue}")
    async def show(page: OperatorPage, queue: str) -> Response:
        """One queue with its jobs."""
        query = page.request.query_params
        if "add" in query:
            return page.go(address(address_of(queue), with_filter(query)))
        return await show_queue(page, queue)

    return router


async def read_all(db: Database) -> tuple[dict[str, QueueStats], dict[str, list[Depth]]]:
    """Counts and depths of every queue; what is counted now stands as the last of its depths."""
    queues = await jobs.stats(db, bound=MOST_COUNTED)
    async with db.begin(readonly=True) as tx:
        written = await jobs.depths(tx, minutes=MINUTES)
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    return queues, {
        name: [
            *(point for point in written.get(name, []) if point[0] < minute),
            (minute, one.waiting, one.active, one.retrying, one.dead),
        ]
        for name, one in queues.items()
    }


async def read_one(db: Database, queue: str) -> tuple[QueueStats, list[Depth]]:
    """The same of one queue; NotFound."""
    queues, depths = await read_all(db)
    if queue not in queues:
        raise NotFound(f"There is no queue {queue}.")
    return queues[queue], depths[queue]


def parts_of(
    ground: Ground, stats: QueueStats, points: Sequence[Depth], state: str, kept: Mapping[str, str]
) -> dict[str, str]:
    """The live parts of a queue's page by the id of their element."""
    parts = {"queue-tabs": ground.frame.piece(_PARTS, "tabs", tabs_of(stats, state, kept))}
    for chart in charts_of(points):
        parts[f"chart-{chart.id}-now"] = chart.now
        parts[f"chart-{chart.id}-data"] = ground.frame.piece("pieces.html", "chart_data", chart)
    return parts


def tabs_of(stats: QueueStats, state: str, kept: Mapping[str, str] | None = None) -> list[tuple[str, str, bool]]:
    """The states with how many jobs are in each, their addresses, and which is shown.

    Jobs set aside are counted with those that wait; their list is offered where it is looked at.
    """
    held = dict(kept or {})
    shown = [one for one in STATES if one != "parked" or state == "parked"]
    return [
        (
            STATE_WORDS[name] if name == "parked" else f"{STATE_WORDS[name]} {_counted(stats, name)}",
            address(address_of(stats.queue), {"state": name, **_fitting(name, held)}),
            name == state,
        )
        for name in shown
    ]


def charts_of(points: Sequence[Depth]) -> list[Chart]:
    """A queue's depth by state, minute by minute."""

    def chart(name: str, values: Sequence[Point], meaning: Any) -> Chart:
        return Chart(name.lower(), name, "jobs", values, meaning, is_level=True)

    return [
        chart("Waiting", [(minute, waiting) for minute, waiting, *_ in points], "accent"),
        chart("Active", [(minute, active) for minute, _, active, *_ in points], "good"),
        chart("Retrying", [(minute, retrying) for minute, *_, retrying, _ in points], "neutral"),
        chart("Dead", [(minute, dead) for minute, *_, dead in points], "bad"),
    ]


async def show_queue(page: Page, queue: str, *, state: State | None = None, **panel: Any) -> Response:
    """The page of a queue; to htmx, which asks for the panel, no more than that. `ask` names the panel's template."""
    stats, points = await read_one(page.db, queue)
    kept = kept_of(page.request.query_params)
    here = address_of(queue)
    shown = {"queue": stats, "here": here, "ask": "", "most": MOST_COUNTED, "close": here, "kept": kept, **panel}
    if page.wanted == "panel":
        shown["close"] = _under(page, here) or shown["close"]
        return page.show("queues_one.html", **{**_NOTHING, **shown})
    status, more = 200, dict(_NOTHING)
    try:
        more["kinds"] = await kinds_of(page.db, queue)
        async with page.db.begin(readonly=True) as tx:
            more["listed"] = listed = await _list(page, tx, stats, kept, state)
        more |= _beside(listed, queue, kept)
    except Invalid as wrong:
        status = 400
        more["wrong"] = [fault.detail for fault in wrong.faults] or [wrong.detail]
    more |= {"charts": charts_of(points), "tabs": tabs_of(stats, more["state"], kept)}
    return page.show("queues_one.html", status=status, **{**more, **shown})


_NOTHING: Mapping[str, Any] = {
    "listed": None, "charts": (), "tabs": (), "wrong": None, "live": "", "state": "", "chosen": (), "names": (),
    "acts": (), "kinds": (),
}  # fmt: skip


def _beside(listed: Listed, queue: str, kept: Mapping[str, str]) -> dict[str, Any]:
    """What stands around the list: its filters, what can be done with all of it, and where it is followed."""
    state = listed.state
    names = [(name, words) for name, words in FILTERS.items() if name != "error" or state == "dead"]
    return {
        "state": state,
        "chosen": chosen_of(address_of(queue), kept, state),
        "names": names,
        "acts": acts_of(state, queue, kept),
        "live": address(f"{_LIVE}/{quote(queue, safe=':')}", {"state": state, **kept}),
    }


def _under(page: Page, here: str) -> str:
    """The list over which the panel opens, with its filters; '' where it is another page."""
    current = urlsplit(page.request.headers.get("hx-current-url", ""))
    return current._replace(scheme="", netloc="", fragment="").geturl() if current.path in (PATH, here) else ""


async def kinds_of(db: Database, queue: str | None = None) -> list[dict[str, Any]]:
    """The kinds of jobs (of the queue) with how they fared in the last hour, and who paused them.

    Those that do not start all of their jobs stand first, then those with most attempts.
    """
    pauses = {one.kind: one for one in await jobs.kinds.list_kind_pauses(db)}
    figures = {(one.queue, one.kind): one for one in await jobs.kind_figures(db, minutes=MINUTES)}
    known = [one for one in await jobs.desk.public.list_kinds(db) if queue in (None, one["queue"])]
    found = [
        {
            **one,
            "pause": pauses.get(one["kind"]),
            "seenAt": datetime.fromisoformat(one["seenAt"]),
            "figures": figures.get((one["queue"], one["kind"])),
        }
        for one in known
    ]
    return sorted(found, key=lambda one: (one["pause"] is None, -attempts_of(one["figures"]), one["kind"]))


def attempts_of(figures: Any) -> int:
    """How many attempts of a kind ended in the span of its figures."""
    return 0 if figures is None else figures.completed + figures.retried + figures.dead


def match_of(queue: str, kept: Mapping[str, str]) -> Match:
    """The filters as the engine takes them; Invalid where the company is no id."""
    company_id = kept.get("company")
    if company_id is not None and not ids.is_uuid(company_id):
        raise Invalid(faults=[Fault("A company is filtered by its id, such as 01890a5d-ac96-774b-bcce-b302099a8057.")])
    return Match(queue, kept.get("kind"), kept.get("lane"), company_id, kept.get("error"))


async def _list(page: Page, tx: Tx, stats: QueueStats, kept: Mapping[str, str], state: State | None) -> Listed:
    query, queue = page.request.query_params, stats.queue
    first = next((name for name in STATES if name not in ("parked", "completed") and getattr(stats, name)), "waiting")
    wanted = query.get("state") or state or first
    found = next((name for name in STATES if name == wanted), None)
    if found is None:
        raise Invalid(faults=[Fault(f"There is no state {wanted}: choose one of those above.", "state")])
    if "error" in kept and found != "dead":
        raise Invalid(faults=[Fault("Only dead jobs can be filtered by their error.", "error")])
    trail = trail_of(address_of(queue), {"state": found, **kept}, query)
    cursors, scope = page.ground.cursors, f"console/jobs/{queue}/{found}/{urlencode(kept)}"
    position = cursors.open(scope, trail.cursor) if trail.cursor else None
    looked = await jobs.desk.finding.read_page(tx, found, match_of(queue, kept), position=position, limit=SHOWN)
    older = None if looked.following is None else cursors.seal(scope, looked.following)
    return Listed(found, looked.rows, trail, trail.older(older))


def _fitting(state: str, kept: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in kept.items() if name != "error" or state == "dead"}


def _counted(stats: QueueStats, state: str) -> str:
    if state == "completed":
        return count(stats.completed)
    return count(getattr(stats, state), most=stats.bound)
