"""HTTP: functions and their runs for operators."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends

from mainstay.functions import operating, schemas
from mainstay.functions.event_routes import add_event_routes, add_register_route
from mainstay.functions.registry import Registry
from mainstay.functions.sending import send
from mainstay.functions.serving import Serving
from mainstay.kernel import outbox, paging
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import REGIONS, Regions
from mainstay.kernel.settings import Settings
from mainstay.web.callers import Operator
from mainstay.web.json import json_body, openapi_body

_RUN = "/internal/function-runs/{function_run_id}"
_Event = Annotated[schemas.EventIn, Depends(json_body(schemas.EventIn))]
_State = Literal["queued", "running", "waiting", "completed", "failed", "cancelled", "skipped"]


def router(settings: Settings, regions: Regions, cursors: Cursors, registry: Registry) -> APIRouter:
    """The room's routes: operators' own, and the intake of events. `region` chooses the database, home unless given."""
    routes = APIRouter()
    own = APIRouter(tags=["functions"])
    serving = Serving(registry, settings.inngest_signing_key, settings.outbound_allow)
    _add_reading(own, regions, cursors, serving)
    _add_acting(own, regions)
    routes.include_router(own)
    add_event_routes(routes, settings, regions.home)
    add_register_route(routes, settings, regions.home, registry)
    return routes


def _add_reading(routes: APIRouter, regions: Regions, cursors: Cursors, serving: Serving) -> None:
    @routes.get("/internal/functions")
    async def list_functions(_: Operator, region: str | None = None) -> schemas.FunctionsAnswer:
        """Every function that is declared, with its triggers, what steers it, and its runs by state."""
        await serving.refresh(regions.home)
        found = await operating.list_functions(_db_of(regions, region), serving.registry)
        return schemas.FunctionsAnswer(data=[schemas.FunctionAnswer(**one._asdict()) for one in found])

    @routes.get("/internal/function-runs")
    async def list_function_runs(
        _: Operator,
        functionId: str | None = None,
        state: _State | None = None,
        cursor: str | None = None,
        limit: int = paging.DEFAULT_LIMIT,
        region: str | None = None,
    ) -> schemas.RunsAnswer:
        """Runs, newest first, by function and state."""
        paging.check_limit(limit)
        scope = f"function-runs/{region or ''}/{functionId or ''}/{state or ''}"
        before = None if cursor is None else str(cursors.open(scope, cursor)[0])
        found = await operating.list_runs(
            _db_of(regions, region), function_id=functionId, state=state, before_id=before, limit=limit + 1
        )
        page, has_more = found[:limit], len(found) > limit
        following = cursors.seal(scope, [page[-1].id]) if has_more else None
        return schemas.RunsAnswer(
            data=[schemas.RunAnswer(**one._asdict()) for one in page],
            meta=schemas.PageAnswer(limit=limit, next_cursor=following, has_more=has_more),
        )

    @routes.get(_RUN)
    async def read_function_run(_: Operator, function_run_id: str, region: str | None = None) -> schemas.WholeRunAnswer:
        """A run with its events, its output and the timeline of its steps."""
        found = await operating.get_run(_db_of(regions, region), function_run_id)
        return schemas.WholeRunAnswer(
            **found.run._asdict(),
            events=[dict(event) for event in found.events],
            output=found.output,
            parent_id=found.parent_id,
            steps=[schemas.StepAnswer(**step._asdict()) for step in found.steps],
        )


def _add_acting(routes: APIRouter, regions: Regions) -> None:
    @routes.post(_RUN + "/cancel", status_code=204)
    async def cancel_function_run(caller: Operator, function_run_id: str, region: str | None = None) -> None:
        """No step of the run begins any more; the one at hand runs to its end."""
        async with _db_of(regions, region).begin() as tx:
            await operating.cancel_run(tx, caller.actor, function_run_id)

    @routes.post(_RUN + "/rerun", status_code=201)
    async def rerun_function_run(
        caller: Operator, function_run_id: str, region: str | None = None
    ) -> schemas.RerunAnswer:
        """A new run with the same events is in line, from its first step."""
        async with _db_of(regions, region).begin() as tx:
            new_id = await operating.rerun(tx, caller.actor, function_run_id)
        return schemas.RerunAnswer(id=new_id, rerun_of=function_run_id)

    @routes.post("/internal/function-events", openapi_extra=dict(openapi_body(schemas.EventIn)))
    async def send_function_event(caller: Operator, event: _Event, region: str | None = None) -> schemas.SentAnswer:
        """The event is sent, as applications send theirs."""
        async with _db_of(regions, region).begin() as tx:
            given = {"name": event.name, "data": event.data, "user": event.user, "id": event.id}
            sent = await send(tx, [given])
            data = {"name": event.name, "eventId": sent[0]}
            await outbox.announce(tx, "function_event.sent_by_hand", company_id=None, actor=caller.actor, data=data)
        return schemas.SentAnswer(ids=sent)


def _db_of(regions: Regions, region: str | None) -> Database:
    if region is not None and region not in REGIONS:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(REGIONS)}", "region")])
    return regions.home if region is None else regions.of(region)
