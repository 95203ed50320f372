"""HTTP by which operators see schedules and their runs, and start one by hand."""

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from mainstay.jobs import recurring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import DEFAULT_LIMIT, MAX_LIMIT, Cursors, check_limit
from mainstay.kernel.regions import REGIONS, Regions
from mainstay.web.callers import Operator
from mainstay.web.json import refuse_unknown_query

_TEXT: Final[dict[str, str]] = {"type": "string"}
_REGION: Final[dict[str, Any]] = {
    "name": "region",
    "in": "query",
    "schema": {"type": "string", "enum": list(REGIONS)},
    "description": "Look at the database of this region instead of the home one.",
}
_FAMILY: Final[dict[str, Any]] = {"name": "family", "in": "query", "schema": _TEXT}
_PAGE: Final[list[dict[str, Any]]] = [
    _REGION,
    {"name": "cursor", "in": "query", "schema": _TEXT, "description": "`meta.nextCursor`"},
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
]


class _Shown(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class RunShown(_Shown):
    """One run: of the slot `dueAt`, or by hand. `covered` later slots came while it went on; times in seconds."""

    job_id: str
    due_at: str | None
    asked_by: str | None
    enqueued_at: str
    started_at: str | None
    ended_at: str | None
    state: str
    attempt: int | None
    duration_seconds: float | None
    lateness_seconds: float | None
    is_late: bool
    covered: int


class ScheduleShown(_Shown):
    """A schedule in UTC; `concerns` are of now: late, missing, overlapping, failing."""

    name: str
    family: str
    title: str
    kind: str
    queue: str
    slots: str
    cron: str | None
    missed: str
    late_after_seconds: float
    next_at: str
    last_slot_at: str | None
    last_run: RunShown | None
    concerns: list[str]
    missed_slots: int
    missed_before: str | None
    seen_at: str


class ScheduleList(_Shown):
    """Schedules by family and name."""

    data: list[ScheduleShown]


class ScheduleAnswer(_Shown):
    """One schedule."""

    data: ScheduleShown


class PageMeta(_Shown):
    """Where a page stands."""

    limit: int
    next_cursor: str | None
    has_more: bool


class RunList(_Shown):
    """Runs, newest first."""

    data: list[RunShown]
    meta: PageMeta


class RunStarted(_Shown):
    """The job that runs; not new where one of the schedule was unfinished already."""

    job_id: str
    is_new: bool


def schedule_router(regions: Regions, cursors: Cursors) -> APIRouter:
    """The routes of schedules, for operators."""
    routes = APIRouter(tags=["operators"])

    @routes.get("/internal/schedules", openapi_extra={"parameters": [_REGION, _FAMILY]})
    async def list_schedules(_: Operator, request: Request) -> ScheduleList:
        """Every schedule: when it runs next, what became of its last run, and what is wrong now."""
        refuse_unknown_query(request, frozenset({"region", "family"}))
        found = await recurring.list_schedules(_db_of(regions, request), family=request.query_params.get("family"))
        return ScheduleList(data=[ScheduleShown.model_validate(one.shown()) for one in found])

    @routes.get("/internal/schedules/{schedule}", openapi_extra={"parameters": [_REGION]})
    async def read_schedule(_: Operator, request: Request, schedule: str) -> ScheduleAnswer:
        """One of them."""
        refuse_unknown_query(request, frozenset({"region"}))
        found = await recurring.get_schedule(_db_of(regions, request), _kept(schedule))
        return ScheduleAnswer(data=ScheduleShown.model_validate(found.shown()))

    @routes.get("/internal/schedules/{schedule}/runs", openapi_extra={"parameters": _PAGE})
    async def list_runs(_: Operator, request: Request, schedule: str) -> RunList:
        """Its runs, of slots and by hand, newest first: of the last two days, and up to 1,000 of the last 30."""
        refuse_unknown_query(request, frozenset({"region", "cursor", "limit"}))
        db, query = _db_of(regions, request), request.query_params
        limit, name = check_limit(_whole(query.get("limit", str(DEFAULT_LIMIT)))), _kept(schedule)
        await recurring.get_schedule(db, name)
        scope = f"schedule-runs/{query.get('region', '')}/{name}"
        before = int(str(cursors.open(scope, query["cursor"])[0])) if "cursor" in query else None
        found = await recurring.list_runs(db, name, before_id=before, limit=limit + 1)
        page, has_more = found[:limit], len(found) > limit
        cursor = cursors.seal(scope, [str(page[-1].job_id)]) if has_more else None
        meta = PageMeta(limit=limit, next_cursor=cursor, has_more=has_more)
        return RunList(data=[RunShown.model_validate(one.shown()) for one in page], meta=meta)

    @routes.post("/internal/schedules/{schedule}/runs", status_code=202, openapi_extra={"parameters": [_REGION]})
    async def run_schedule(caller: Operator, request: Request, schedule: str) -> RunStarted:
        """Runs it once as soon as a worker is free; an unfinished run stands for it. It counts as no slot."""
        refuse_unknown_query(request, frozenset({"region"}))
        async with _db_of(regions, request).begin() as tx:
            run = await recurring.run_now(tx, caller.actor, _kept(schedule))
        return RunStarted(job_id=str(run.job_id), is_new=run.is_new)

    return routes


def _db_of(regions: Regions, request: Request) -> Database:
    region = request.query_params.get("region")
    if region is None:
        return regions.home
    if region not in REGIONS:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(REGIONS)}", "region")])
    return regions.of(region)


def _kept(name: str) -> str:
    """A name that can be asked for: one that cannot be stored is nobody's."""
    return name if name.isprintable() else ""


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    return int(text)
