"""The service's queues, for those who operate it: how much is in each, live, stopping one, and jobs that died."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Response

from mainstay import jobs
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.overview import MINUTES, Chart, Point
from mainstay.console.shown import count, plural
from mainstay.console.trail import Trail, trail_of
from mainstay.jobs import DeadJob, ListedJob, Match, QueueStats
from mainstay.kernel import outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Fault, Invalid, NotFound

PATH = "/console/queues"
AREA = Area("Jobs", PATH, "layers", "Delivery", operators_only=True)
State = Literal["dead", "retrying", "active", "waiting", "delayed"]
STATES: tuple[State, ...] = ("dead", "retrying", "active", "waiting", "delayed")
"""In the order in which somebody should look at them."""
FIGURES = ("waiting", "delayed", "active", "retrying", "completed", "dead")
MOST_AT_ONCE = 10_000
"""As many dead jobs go at once, and so far each state is counted; beyond, a page says that there may be more."""
_SHOWN = 50
_HIGHEST_ID = 2**63 - 2
_LIVE = "/console/live/queues"
_PARTS = "queues_parts.html"

Depth = tuple[datetime, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a queue's jobs in one state, and where it stands."""

    state: State
    rows: Sequence[DeadJob | ListedJob]
    trail: Trail
    older: str | None


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: OperatorPage) -> Response:
        """Every queue."""
        return page.show("queues.html", **await _whole(page.db))

    @router.get(_LIVE)
    async def follow(page: OperatorPage) -> Response:
        """The figures of every queue."""
        db = page.db

        async def load() -> Parts:
            return parts_of(ground, **await _whole(db))

        return ground.live.stream(Subject("queues", page.company_id, "service"), page.session.id, load)

    @router.get(_LIVE + "/{queue}")
    async def follow_queue(page: OperatorPage, queue: str) -> Response:
        """The figures of one queue."""
        db, state = page.db, page.request.query_params.get("state", "")

        async def load() -> Parts:
            return parts_of_one(ground, *await _one(db, queue), state)

        return ground.live.stream(Subject("queue", page.company_id, f"{state} {queue}"), page.session.id, load)

    @router.get(PATH + "/{queue}")
    async def show_queue(page: OperatorPage, queue: str) -> Response:
        """One queue with its jobs."""
        return await _show_queue(page, queue)

    @router.get(PATH + "/{queue}/jobs/{job_id}")
    async def show_job(page: OperatorPage, queue: str, job_id: str) -> Response:
        """One job, dead or on its way."""
        async with page.db.begin(readonly=True) as tx:
            state, job = await find_job(tx, queue, job_id)
            attempts = await jobs.attempts_of_job(tx, job.id)
        return await _show_queue(page, queue, ask="job", job=job, job_state=state, attempts=attempts)

    _add_stopping(router, ground)
    _add_dead(router, ground)
    return router


def _add_stopping(router: APIRouter, ground: Ground) -> None:
    @router.get(PATH + "/{queue}/pause")
    async def ask_pause(page: OperatorPage, queue: str) -> Response:
        """What pausing or resuming will do."""
        return await _show_queue(page, queue, ask="pause")

    @router.post(PATH + "/{queue}/pause")
    async def pause(page: OperatorPage, queue: str) -> Response:
        """The queue starts nothing from now on."""
        async with page.db.begin() as tx:
            await jobs.pause(tx, page.caller.actor, queue)
        return page.go(PATH, said=f"{queue} is paused. What runs now runs to its end.")

    @router.post(PATH + "/{queue}/resume")
    async def resume(page: OperatorPage, queue: str) -> Response:
        """The queue's jobs start again."""
        async with page.db.begin() as tx:
            await jobs.resume(tx, page.caller.actor, queue)
        return page.go(PATH, said=f"{queue} runs again.")


def _add_dead(router: APIRouter, ground: Ground) -> None:
    @router.get(PATH + "/{queue}/redrive")
    async def ask_redrive(page: OperatorPage, queue: str) -> Response:
        """What redriving all dead jobs will do."""
        return await _show_queue(page, queue, ask="redrive")

    @router.post(PATH + "/{queue}/redrive")
    async def redrive_all(page: OperatorPage, queue: str) -> Response:
        """The queue's dead jobs are in line again."""
        async with page.db.begin() as tx:
            many = await jobs.redrive_matching(tx, Match(queue), limit=MOST_AT_ONCE)
            await _announce(tx, page, "queue.redriven", queue=queue, jobs=many)
        return page.go(address_of(queue), said=f"{plural(many, 'job')} of {queue} in line again.")

    @router.get(PATH + "/{queue}/clear")
    async def ask_clear(page: OperatorPage, queue: str) -> Response:
        """What clearing all dead jobs will do."""
        return await _show_queue(page, queue, ask="clear")

    @router.post(PATH + "/{queue}/clear")
    async def clear_all(page: OperatorPage, queue: str) -> Response:
        """The queue's dead jobs are gone."""
        if page.form.get("confirm", "").strip() != queue:
            raise Invalid(faults=[Fault(f"must be {queue}: clearing cannot be undone", "confirm")])
        async with page.db.begin() as tx:
            many = await jobs.clear_matching(tx, Match(queue), limit=MOST_AT_ONCE)
            await _announce(tx, page, "queue.cleared", queue=queue, jobs=many)
        return page.go(address_of(queue), said=f"{plural(many, 'dead job')} of {queue} cleared.")

    @router.post(PATH + "/{queue}/jobs/{job_id}/redrive")
    async def redrive(page: OperatorPage, queue: str, job_id: str) -> Response:
        """The dead job is in line again with all its attempts ahead."""
        async with page.db.begin() as tx:
            job = await get_dead(tx, queue, job_id)
            await jobs.redrive(tx, job.id)
            await _announce(tx, page, "job.redriven", queue=queue, id=job.id, kind=job.kind)
        return page.go(f"{address_of(queue)}?state=dead", said=f"Job {job.id} is in line again.")

    @router.post(PATH + "/{queue}/jobs/{job_id}/clear")
    async def clear(page: OperatorPage, queue: str, job_id: str) -> Response:
        """The dead job is gone."""
        async with page.db.begin() as tx:
            job = await get_dead(tx, queue, job_id)
            await jobs.clear(tx, job.id)
            await _announce(tx, page, "job.cleared", queue=queue, id=job.id, kind=job.kind)
        return page.go(f"{address_of(queue)}?state=dead", said=f"Job {job.id} is cleared.")


def address_of(queue: str) -> str:
    """The page of a queue."""
    return f"{PATH}/{quote(queue, safe=':')}"


async def find_job(tx: Tx, queue: str, job_id: str) -> tuple[State, DeadJob | ListedJob]:
    """The queue's job of that id and its state; NotFound where it ended well, was cleared, or never was."""
    number = _number_of(job_id)
    try:
        return "dead", await get_dead(tx, queue, job_id)
    except NotFound:
        for state in STATES:
            if state != "dead":
                found = await jobs.list_jobs(tx, queue=queue, state=state, before_id=number + 1, limit=1)
                if found and found[0].id == number:
                    return state, found[0]
    raise NotFound(f"{queue} has no job {job_id} that is dead or still on its way. It may have completed.")


async def get_dead(tx: Tx, queue: str, job_id: str) -> DeadJob:
    """The queue's dead job of that id; NotFound."""
    job = await jobs.get_dead(tx, _number_of(job_id))
    if job.queue != queue:
        raise NotFound(f"{queue} has no dead job {job_id}.")
    return job


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


def parts_of_one(ground: Ground, stats: QueueStats, points: Sequence[Depth], state: str) -> dict[str, str]:
    """The live parts of a queue's page by the id of their element."""
    parts = {"queue-tabs": ground.frame.piece(_PARTS, "tabs", tabs_of(stats, state))}
    for chart in charts_of(points):
        parts[f"chart-{chart.id}-now"] = chart.now
        parts[f"chart-{chart.id}-data"] = ground.frame.piece("pieces.html", "chart_data", chart)
    return parts


def tabs_of(stats: QueueStats, state: str) -> list[tuple[str, str, bool]]:
    """The states with how many jobs are in each, their addresses, and which is shown."""
    return [
        (
            f"{name.title()} {count(getattr(stats, name), most=stats.bound)}",
            f"{address_of(stats.queue)}?state={name}",
            name == state,
        )
        for name in STATES
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


async def _whole(db: Database) -> dict[str, Any]:
    """Every queue's counts, and how much waited in each, minute by minute up to now."""
    queues, depths = await _read(db)
    return {"queues": list(queues.values()), "sparks": {name: [point[1] for point in depths[name]] for name in queues}}


async def _one(db: Database, queue: str) -> tuple[QueueStats, list[Depth]]:
    queues, depths = await _read(db)
    if queue not in queues:
        raise NotFound(f"There is no queue {queue}.")
    return queues[queue], depths[queue]


async def _read(db: Database) -> tuple[dict[str, QueueStats], dict[str, list[Depth]]]:
    """Counts and depths of every queue; what is counted now stands as the last of its depths."""
    queues = await jobs.stats(db, bound=MOST_AT_ONCE)
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


async def _show_queue(page: Page, queue: str, **panel: Any) -> Response:
    """The page of a queue; to htmx, which asks for the panel, no more than that."""
    stats, points = await _one(page.db, queue)
    shown = {"queue": stats, "ask": "", "listed": None, "charts": (), "tabs": (), "wrong": None, **panel}
    under = urlsplit(page.request.headers.get("hx-current-url", "")).path
    shown |= {"here": address_of(queue), "most": MOST_AT_ONCE, "live": ""}
    shown["close"] = PATH if page.wanted == "panel" and under == PATH else address_of(queue)
    if page.wanted == "panel":
        return page.show("queues_one.html", **shown)
    status, state = 200, ""
    try:
        async with page.db.begin(readonly=True) as tx:
            shown["listed"] = listed = await _list(page, tx, stats, panel.get("job_state"))
        state = listed.state
    except Invalid as wrong:
        status = 400
        shown["wrong"] = [fault.detail for fault in wrong.faults] or [wrong.detail]
    shown |= {"charts": charts_of(points), "tabs": tabs_of(stats, state)}
    shown["live"] = f"{_LIVE}/{quote(queue, safe=':')}?state={state}"
    return page.show("queues_one.html", status=status, **shown)


async def _list(page: Page, tx: Tx, stats: QueueStats, state: State | None) -> Listed:
    query, queue = page.request.query_params, stats.queue
    wanted = query.get("state") or state or next((name for name in STATES if getattr(stats, name)), "waiting")
    found = next((name for name in STATES if name == wanted), None)
    if found is None:
        raise Invalid(faults=[Fault(f"There is no state {wanted}: choose one of those above.", "state")])
    trail = trail_of(address_of(queue), {"state": found}, query)
    cursors, scope = page.ground.cursors, f"console/jobs/{queue}/{found}"
    position = cursors.open(scope, trail.cursor) if trail.cursor else []
    rows: Sequence[DeadJob | ListedJob]
    if found == "dead":
        before = (datetime.fromisoformat(str(position[0])), int(str(position[1]))) if position else None
        rows = await jobs.list_dead(tx, Match(queue), before=before, limit=_SHOWN + 1)
    else:
        before_id = int(str(position[0])) if position else None
        rows = await jobs.list_jobs(tx, queue=queue, state=found, before_id=before_id, limit=_SHOWN + 1)
    older = None
    if len(rows) > _SHOWN:
        rows, last = rows[:_SHOWN], rows[_SHOWN - 1]
        older = cursors.seal(scope, [iso(last.died_at), last.id] if isinstance(last, DeadJob) else [last.id])
    return Listed(found, rows, trail, trail.older(older))


async def _announce(tx: Tx, page: Page, name: str, **facts: Any) -> None:
    if facts.get("jobs", 1):
        await outbox.announce(tx, name, company_id=None, actor=page.caller.actor, data=facts)


def _number_of(job_id: str) -> int:
    if not (job_id.isascii() and job_id.isdigit()) or len(job_id) > 19 or int(job_id) > _HIGHEST_ID:
        raise NotFound("There is no such job.")
    return int(job_id)
