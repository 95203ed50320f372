"""HTTP by which operators see queues and jobs, and act on them one by one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request

from mainstay.jobs import bulk_routes, control_routes, desk, enqueue_routes, finding, findings, reasons
from mainstay.jobs.answers import (
    NO_JOB,
    NO_QUEUE,
    Done,
    FindingList,
    JobList,
    JobShown,
    QueueFigures,
    QueueList,
    ReasonsShown,
    told,
)
from mainstay.jobs.dead import Match
from mainstay.jobs.desk import queue_named
from mainstay.jobs.finding import LIST_STATES, ListState
from mainstay.jobs.parts import (
    REGION,
    FindRegion,
    Parts,
    job_numbered,
)
from mainstay.jobs.schedule_routes import schedule_router
from mainstay.jobs.shown import finding_shown, job_shown, listed, queue_shown, reasons_shown
from mainstay.jobs.stats import stats
from mainstay.kernel import ids
from mainstay.kernel.clock import SystemClock, iso
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault, Invalid, Unavailable
from mainstay.kernel.outbox import Actor
from mainstay.kernel.paging import DEFAULT_LIMIT, MAX_LIMIT, Cursors, check_limit
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.web.callers import Caller, Callers, May, Operator
from mainstay.web.json import Answer, refuse_unknown_query

STATS_PATH: Final = "/api/v1/queue/stats"
_READS_STATS = May("queues.read")
_IN_REGION = frozenset({"region"})
_LIST_QUERY = frozenset({"region", "state", "kind", "lane", "companyId", "error", "cursor", "limit"})
_COUNTED = ("waiting", "delayed", "active", "retrying", "completed", "dead", "failed")
_Doing = Callable[[Tx, Actor, int], Awaitable[None]]
_TEXT = {"type": "string"}
_LIST_PARAMETERS: Final[list[dict[str, Any]]] = [
    REGION,
    {
        "name": "state",
        "in": "query",
        "schema": {"type": "string", "enum": [*LIST_STATES, "failed"], "default": "waiting"},
        "description": "`failed` is another name of `dead`, and what the name of a set stands for.",
    },
    {"name": "kind", "in": "query", "schema": _TEXT},
    {"name": "lane", "in": "query", "schema": _TEXT},
    {"name": "companyId", "in": "query", "schema": {"type": "string", "format": "uuid"}},
    {"name": "error", "in": "query", "schema": _TEXT, "description": "A text that the error of a dead job holds."},
    {"name": "cursor", "in": "query", "schema": _TEXT, "description": "`meta.nextCursor`"},
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
]


def router(settings: Settings, regions: Regions, cursors: Cursors, find_region: FindRegion) -> APIRouter:
    """The room's routes; `find_region` tells where the data of a company live."""
    parts = Parts(regions, cursors, find_region)
    whole = APIRouter(tags=["queues"], default_response_class=Answer)
    _add_stats(whole, settings, regions)
    own = APIRouter(prefix="/internal")
    _add_queues(own, parts)
    _add_jobs(own, parts)
    control_routes.add(own, parts)
    enqueue_routes.add(own, parts)
    bulk_routes.add(own, parts)
    whole.include_router(own)
    whole.include_router(schedule_router(regions, cursors))
    return whole


def _add_stats(router: APIRouter, settings: Settings, regions: Regions) -> None:
    either: dict[str, Any] = {"security": [{"accessToken": []}, {"operatorToken": []}]}

    @router.get(STATS_PATH, openapi_extra=either, **told(QueueFigures))
    async def queue_stats(request: Request) -> Answer:
        """How many jobs of each queue are in each state.

        Open in development; in production for owners, managers and the operators' token.
        """
        refuse_unknown_query(request, frozenset())
        if settings.profile == "production":
            token = request.headers.get("x-internal-token")
            callers: Callers = request.app.state.callers
            await (_READS_STATS(request) if token is None else callers.operator(token))
        found, away = [await stats(regions.home)], []
        for name, db in regions.all()[1:]:
            try:
                found.append(await stats(db))
            except Unavailable:
                away.append(name)
        shown = [queue_shown(one) for each in found for one in each.values()]
        return Answer({"queues": summed(shown), "away": away, "at": iso(SystemClock().now())})


def summed(queues_shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each queue once, with the jobs of all databases; paused where it is so in any."""
    found: dict[str, dict[str, Any]] = {}
    for one in queues_shown:
        known = found.setdefault(one["queue"], one)
        if known is not one:
            known.update({name: known[name] + one[name] for name in (*_COUNTED, "bound")})
            ages = [age for age in (known["oldestReadySeconds"], one["oldestReadySeconds"]) if age is not None]
            known["oldestReadySeconds"] = max(ages, default=None)
            if one["paused"] and not known["paused"]:
                known.update({name: one[name] for name in ("paused", "pausedAt", "pausedBy")})
    return [found[name] for name in sorted(found)]


def _add_queues(router: APIRouter, parts: Parts) -> None:
    @router.get("/queues", openapi_extra={"parameters": [REGION]}, **told(QueueList))
    async def list_queues(request: Request, _: Operator) -> Answer:
        """Every queue with its jobs by state."""
        refuse_unknown_query(request, _IN_REGION)
        found = await stats(parts.db_of(request))
        return Answer({"data": [queue_shown(one) for one in found.values()]})

    @router.get("/queues/{queue}/jobs", openapi_extra={"parameters": _LIST_PARAMETERS}, **told(JobList, 200, NO_QUEUE))
    async def list_queue_jobs(queue: str, request: Request, _: Operator) -> Answer:
        """A queue's jobs in one state, newest first; a queue's name with `:failed` lists its dead jobs.

        Where few of many match, a page is short and still has a next one.
        """
        refuse_unknown_query(request, _LIST_QUERY)
        db = parts.db_of(request)
        async with db.begin(readonly=True) as tx:
            name, is_set = await queue_named(tx, queue)
            return Answer(await _page(tx, parts, request, name, is_set))


async def _page(tx: Tx, parts: Parts, request: Request, queue: str, is_set: bool) -> dict[str, Any]:
    query = request.query_params
    state = _state_of(query.get("state"), is_set)
    match = Match(queue, query.get("kind"), query.get("lane"), query.get("companyId"), query.get("error"))
    faults = [
        Fault("must not hold the character NUL", name)
        for name in ("kind", "lane", "error")
        if "\0" in query.get(name, "")
    ]
    if match.company_id is not None and not ids.is_uuid(match.company_id):
        faults.append(Fault("must be the id of a company", "companyId"))
    if match.error is not None and state != "dead":
        faults.append(Fault("speaks of dead jobs alone", "error"))
    if faults:
        raise Invalid(faults=faults)
    limit = _limit_of(query.get("limit"))
    scope = "/".join(("jobs", request.query_params.get("region", ""), state, *(str(one) for one in match.values)))
    cursor = query.get("cursor")
    position = None if cursor is None else parts.cursors.open(scope, cursor)
    page = await finding.read_page(tx, state, match, position=position, limit=limit)
    following = None if page.following is None else parts.cursors.seal(scope, page.following)
    return {
        "queue": queue,
        "state": state,
        "set": queue + finding.SET_SUFFIX if state == "dead" else None,
        "data": [listed(row) for row in page.rows],
        "meta": {"limit": limit, "nextCursor": following, "hasMore": following is not None},
    }


def _state_of(given: str | None, is_set: bool) -> ListState:
    if is_set and given not in (None, "dead", "failed"):
        raise Invalid(faults=[Fault("a set of failed jobs holds dead jobs alone", "state")])
    found = finding.state_named(given, is_set=is_set)
    if found is None:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(LIST_STATES)}, failed", "state")])
    return found


def _limit_of(given: str | None) -> int:
    if given is None:
        return DEFAULT_LIMIT
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    return check_limit(int(given))


def _add_jobs(router: APIRouter, parts: Parts) -> None:
    @router.get("/jobs/{job}", openapi_extra={"parameters": [REGION]}, **told(JobShown, 200, NO_JOB))
    async def show_job(job: str, request: Request, _: Operator) -> Answer:
        """One job wherever it is: its state, payload, trace and failed attempts."""
        refuse_unknown_query(request, _IN_REGION)
        async with parts.db_of(request).begin(readonly=True) as tx:
            return Answer(job_shown(*await finding.get_with_attempts(tx, job_numbered(job))))

    @router.get("/jobs/{job}/why", openapi_extra={"parameters": [REGION]}, **told(ReasonsShown, 200, NO_JOB))
    async def why_not_running(job: str, request: Request, _: Operator) -> Answer:
        """Why the job is not running now: every reason that holds, in order."""
        refuse_unknown_query(request, _IN_REGION)
        return Answer(reasons_shown(await reasons.why(parts.db_of(request), job_numbered(job))))

    @router.get("/findings", openapi_extra={"parameters": [REGION]}, **told(FindingList, 200))
    async def list_findings(request: Request, _: Operator) -> Answer:
        """Patterns in failures: the same one again and again, backoff at its end, exhaustion, full memory."""
        refuse_unknown_query(request, _IN_REGION)
        async with parts.db_of(request).begin(readonly=True) as tx:
            return Answer({"data": [finding_shown(one) for one in await findings.find(tx)]})

    async def act(request: Request, caller: Caller, job: str, done: str, doing: _Doing) -> Answer:
        refuse_unknown_query(request, _IN_REGION)
        job_id = job_numbered(job)
        async with parts.db_of(request).begin() as tx:
            await doing(tx, caller.actor, job_id)
        return Answer({"id": str(job_id), "done": done})

    @router.post("/jobs/{job}/retry", openapi_extra={"parameters": [REGION]}, **told(Done, 200, NO_JOB))
    async def retry_job(job: str, request: Request, caller: Operator) -> Answer:
        """The delayed or retrying job is in line now."""
        return await act(request, caller, job, "retried", desk.retry)

    @router.post("/jobs/{job}/cancel", openapi_extra={"parameters": [REGION]}, **told(Done, 200, NO_JOB))
    async def cancel_job(job: str, request: Request, caller: Operator) -> Answer:
        """The job that has not begun will not run."""
        return await act(request, caller, job, "cancelled", desk.cancel)

    taken = {409: "An unfinished job has the same dedupe key."}

    @router.post("/jobs/{dead_job}/redrive", openapi_extra={"parameters": [REGION]}, **told(Done, 200, NO_JOB, taken))
    async def redrive_job(dead_job: str, request: Request, caller: Operator) -> Answer:
        """The dead job is in line again with all its attempts ahead."""
        return await act(request, caller, dead_job, "redriven", desk.redrive)

    @router.post("/jobs/{dead_job}/clear", openapi_extra={"parameters": [REGION]}, **told(Done, 200, NO_JOB))
    async def clear_job(dead_job: str, request: Request, caller: Operator) -> Answer:
        """The dead job is gone."""
        return await act(request, caller, dead_job, "cleared", desk.clear)
