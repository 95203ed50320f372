"""Templates, their assignments and reports over HTTP, for owners and managers."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from mainstay import identity
from mainstay.kernel import ids, paging
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.templates import key_routes, reports, templates
from mainstay.templates.schemas import NewTemplate, TemplateChange, assignment_shown, template_shown
from mainstay.web.callers import Caller, May
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query

_AT = "/api/v1/templates"
_BODY = 65_536
_Reader = Annotated[Caller, Depends(May("templates.read"))]
_Editor = Annotated[Caller, Depends(May("templates.change"))]
_New = Annotated[NewTemplate, Depends(json_body(NewTemplate, most=_BODY))]
_Change = Annotated[TemplateChange, Depends(json_body(TemplateChange, most=_BODY))]
_Limit = Annotated[int, Query(ge=1, le=200)]
_Cursor = Annotated[str | None, Query(max_length=1_024)]
_Own = Callable[[Caller, str], Awaitable[str]]


def router(regions: Regions, cursors: Cursors) -> APIRouter:
    """The room's routes: templates for owners and managers, event schemas for keys and for them."""
    routes = APIRouter(default_response_class=Answer)

    async def own(caller: Caller, workspace_id: str) -> str:
        """The id of a workspace of the caller's company that takes templates; WorkspaceNotFound."""
        workspace = await identity.get_workspace(regions.home, caller.company_id, workspace_id)
        if workspace.system:
            raise Invalid(faults=[Fault("is the company's own log, which has no templates", "workspaceId")])
        return workspace.id

    _add_reports(routes, regions, cursors)
    _add_templates(routes, regions)
    _add_assignments(routes, regions, own)
    key_routes.add(routes, regions, own)
    return routes


def _add_templates(routes: APIRouter, regions: Regions) -> None:
    @routes.post(_AT, tags=["templates"], status_code=201, openapi_extra=dict(openapi_body(NewTemplate)))
    async def create(caller: _Editor, wanted: _New) -> Answer:
        """Makes a template; no workspace has it yet."""
        async with regions.of(caller.region).begin() as tx:
            row = await templates.create(tx, caller.actor, caller.company_id, wanted)
        return Answer(template_shown(row), 201)

    @routes.get(_AT, tags=["templates"])
    async def list_all(request: Request, caller: _Reader) -> Answer:
        """The company's templates by name."""
        refuse_unknown_query(request, frozenset())
        found = await templates.list_all(regions.of(caller.region), caller.company_id)
        return Answer({"data": [template_shown(row) for row in found]})

    @routes.get(_AT + "/{template_id}", tags=["templates"])
    async def read(caller: _Reader, template_id: str) -> Answer:
        """One template."""
        return Answer(template_shown(await templates.get(regions.of(caller.region), caller.company_id, template_id)))

    @routes.patch(_AT + "/{template_id}", tags=["templates"], openapi_extra=dict(openapi_body(TemplateChange)))
    async def change(caller: _Editor, template_id: str, wanted: _Change) -> Answer:
        """Changes what is given; rules are given whole, and other rules are a new version."""
        async with regions.of(caller.region).begin() as tx:
            row = await templates.change(tx, caller.actor, caller.company_id, template_id, wanted)
        return Answer(template_shown(row))

    @routes.delete(_AT + "/{template_id}", tags=["templates"], status_code=204)
    async def delete(caller: _Editor, template_id: str) -> Response:
        """Takes the template from its workspaces and ends it; the reports about it stay."""
        async with regions.of(caller.region).begin() as tx:
            await templates.delete(tx, caller.actor, caller.company_id, template_id)
        return Response(status_code=204)


def _add_assignments(routes: APIRouter, regions: Regions, own: _Own) -> None:
    at = _AT + "/{template_id}/assignments"

    @routes.get(at, tags=["templates"])
    async def list_assignments(caller: _Reader, template_id: str) -> Answer:
        """The workspaces that have the template."""
        found = await templates.assignments(regions.of(caller.region), caller.company_id, template_id)
        return Answer({"data": [assignment_shown(row) for row in found]})

    @routes.put(at + "/{workspace_id}", tags=["templates"], status_code=204)
    async def assign(caller: _Editor, template_id: str, workspace_id: str) -> Response:
        """Gives the template to the workspace; it holds within a second."""
        workspace_id = await own(caller, workspace_id)
        async with regions.of(caller.region).begin() as tx:
            await templates.assign(tx, caller.actor, caller.company_id, template_id, workspace_id)
        return Response(status_code=204)

    @routes.delete(at + "/{workspace_id}", tags=["templates"], status_code=204)
    async def unassign(caller: _Editor, template_id: str, workspace_id: str) -> Response:
        """Takes the template from the workspace."""
        workspace_id = await own(caller, workspace_id)
        async with regions.of(caller.region).begin() as tx:
            await templates.unassign(tx, caller.actor, caller.company_id, template_id, workspace_id)
        return Response(status_code=204)


def _add_reports(routes: APIRouter, regions: Regions, cursors: Cursors) -> None:
    known = frozenset({"workspaceId", "templateId", "limit", "cursor"})

    @routes.get(_AT + "/reports", tags=["templates"])
    async def list_reports(
        request: Request,
        caller: _Reader,
        workspace: Annotated[str | None, Query(alias="workspaceId")] = None,
        template: Annotated[str | None, Query(alias="templateId")] = None,
        limit: _Limit = paging.DEFAULT_LIMIT,
        cursor: _Cursor = None,
    ) -> Answer:
        """What the daily checks found, newest first: a row a day, workspace, template and rule."""
        refuse_unknown_query(request, known)
        for name, value in (("workspaceId", workspace), ("templateId", template)):
            if value is not None and not ids.is_uuid(value):
                raise Invalid(faults=[Fault("must be an id", name)])
        found: dict[str, Any] = await reports.list_reports(
            regions.of(caller.region),
            cursors,
            caller.company_id,
            workspace_id=workspace,
            template_id=template,
            cursor=cursor,
            limit=limit,
        )
        return Answer(found)
