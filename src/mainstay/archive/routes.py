"""HTTP: archived events back, days and their state, the grace of a company, and runs by hand."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from mainstay import events, identity, plans
from mainstay.archive import days, reading, retention, tasks
from mainstay.archive.objects import Stores
from mainstay.archive.reading import Range
from mainstay.archive.schemas import RetentionIn, RunIn
from mainstay.kernel import ids, paging
from mainstay.kernel.errors import Fault, Invalid, NotFound
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.web.callers import Caller, CompanyKey, Operator
from mainstay.web.json import Answer, json_body

EXPORT_PATH = "/v1/key/company/export-archive.json"
_EXPORTED_BY = {"from", "to", "workspaceId"}


@dataclass(frozen=True, slots=True)
class _Archives:
    """What the routes stand on."""

    settings: Settings
    regions: Regions
    stores: Stores
    book: plans.Book
    cursors: Cursors

    async def workspace_of(self, caller: Caller, workspace_id: str | None) -> str | None:
        """The workspace itself where it is the caller's; NotFound otherwise."""
        if workspace_id is None:
            return None
        found = None
        if ids.is_uuid(workspace_id):
            found = await identity.find_workspace(self.regions.home, caller.company_id, workspace_id)
        if found is None:
            raise NotFound("There is no such workspace.")
        return found.id

    async def retention_of(self, caller: Caller) -> dict[str, Any]:
        """How long the company's events are kept, and what happens then."""
        standing = await self.book.standing(self.regions.home, caller.company_id)
        is_archived = standing.has(plans.RETENTION_S3_ARCHIVE)
        return {
            "retentionDays": standing.retention_days,
            "graceDays": await retention.grace_days_of(self.regions.home, caller.company_id),
            "isArchived": is_archived,
            "isDeleted": self.settings.retention_delete and not is_archived,
        }


def router(settings: Settings, regions: Regions, book: plans.Book, cursors: Cursors) -> APIRouter:
    """The room's routes."""
    archives = _Archives(settings, regions, Stores(settings), book, cursors)
    routes = APIRouter()
    routes.include_router(_company_routes(archives))
    routes.include_router(_operator_routes(regions))
    return routes


def _company_routes(archives: _Archives) -> APIRouter:
    routes = APIRouter(tags=["archive"])
    regions = archives.regions

    @routes.get(EXPORT_PATH, response_class=StreamingResponse)
    async def export_archive(request: Request, caller: CompanyKey) -> StreamingResponse:
        """Archived events with their proofs, by `from`, `to` (receivedAt) and `workspaceId`.

        `meta.incomplete`, at the end, names objects that could not be given whole.
        """
        wanted = _range_of(
            request, caller, await archives.workspace_of(caller, request.query_params.get("workspaceId"))
        )
        pieces = reading.export(regions.of(caller.region), archives.stores, wanted)
        first = await anext(pieces)

        async def all_pieces() -> AsyncIterator[bytes]:
            yield first
            async for piece in pieces:
                yield piece

        headers = {"cache-control": "no-store", "content-disposition": 'attachment; filename="export-archive.json"'}
        return StreamingResponse(all_pieces(), media_type="application/json", headers=headers)

    @routes.get("/v1/key/company/archive/days")
    async def list_archive_days(
        caller: CompanyKey, workspaceId: str | None = None, cursor: str | None = None, limit: int = paging.DEFAULT_LIMIT
    ) -> Answer:
        """Days outside the retention window, newest first, with the state of their archives."""
        paging.check_limit(limit)
        workspace_id = await archives.workspace_of(caller, workspaceId)
        scope = f"archive-days/{caller.company_id}/{workspace_id or ''}"
        before = None if cursor is None else _position(archives.cursors.open(scope, cursor))
        found = await days.list_days(
            regions.of(caller.region), caller.company_id, workspace_id=workspace_id, before=before, limit=limit + 1
        )
        page, more = found[:limit], len(found) > limit
        following = archives.cursors.seal(scope, [page[-1].day.isoformat(), page[-1].workspace_id]) if more else None
        return Answer(
            {"data": [day.shown() for day in page], "meta": {"limit": limit, "nextCursor": following, "hasMore": more}}
        )

    @routes.get("/v1/key/company/retention")
    async def read_retention(caller: CompanyKey) -> Answer:
        """How long the company's events are kept, and what happens then."""
        return Answer(await archives.retention_of(caller))

    @routes.patch("/v1/key/company/retention")
    async def change_retention(
        caller: CompanyKey, given: Annotated[RetentionIn, Depends(json_body(RetentionIn))]
    ) -> Answer:
        """Sets the grace before events that left the window may leave the database."""
        async with regions.home.begin() as tx:
            await retention.grant_grace(tx, caller.actor, caller.company_id, days=given.graceDays)
        return Answer(await archives.retention_of(caller))

    return routes


def _operator_routes(regions: Regions) -> APIRouter:
    routes = APIRouter(tags=["operations"])

    @routes.get("/internal/archive")
    async def read_archive(_: Operator) -> Answer:
        """What waits for the archive and what is in it, by database."""
        return Answer({"databases": [{"name": name, **await days.figures(db)} for name, db in regions.all()]})

    @routes.post("/internal/archive/runs", status_code=202)
    async def run_archive(_: Operator, given: Annotated[RunIn, Depends(json_body(RunIn))]) -> Answer:
        """One step runs on every database as soon as a worker is free."""
        asked = []
        for name, db in regions.all():
            async with db.begin() as tx:
                job = await tasks.ask(tx, given.step)
            asked.append({"name": name, "jobId": str(job.id), "isNew": not job.deduplicated})
        return Answer({"step": given.step, "databases": asked}, 202)

    return routes


def _range_of(request: Request, caller: Caller, workspace_id: str | None) -> Range:
    others = sorted(set(request.query_params) - _EXPORTED_BY)
    if others:
        raise Invalid(faults=[Fault("archives are chosen by from, to and workspaceId alone", name) for name in others])
    filters = events.filters_of(request.query_params)
    return Range(company_id=caller.company_id, workspace_id=workspace_id, since=filters.since, until=filters.until)


def _position(opened: list[object]) -> tuple[date, str]:
    return date.fromisoformat(str(opened[0])), str(opened[1])
