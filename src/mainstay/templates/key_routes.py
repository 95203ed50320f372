"""Event schemas over HTTP: of a workspace for its keys, of a company for its keys, owners and managers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from mainstay.kernel.regions import Regions
from mainstay.templates import event_schemas
from mainstay.templates.event_schemas import SCHEMA_BYTES, VERSIONS_AT_MOST
from mainstay.templates.schemas import NewOwnSchema, NewSchema, SchemaChange
from mainstay.web.callers import Caller, Guards
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query

_BODY = 4 * SCHEMA_BYTES
_FAMILIES: Mapping[str, tuple[Guards, type[NewSchema]]] = {
    "/v1/key/workspace": (Guards.of_keys("workspace_key"), NewSchema),
    "/v1/key/company": (Guards.of_keys("company_key"), NewOwnSchema),
    "/api/v1": (Guards.of_people("templates.read", "templates.change"), NewOwnSchema),
}
_Change = Annotated[SchemaChange, Depends(json_body(SchemaChange, most=_BODY))]
_Version = Annotated[int | None, Query(ge=1, le=VERSIONS_AT_MOST)]
_Action = Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00]*$")]


def add(routes: APIRouter, regions: Regions, own: Callable[[Any, str], Awaitable[str]]) -> None:
    """The same five acts for each kind of caller; `own` gives the id of a workspace that is the caller's company's."""
    for prefix, (guards, new) in _FAMILIES.items():
        one = APIRouter(prefix=f"{prefix}/schemas", tags=["schemas"], default_response_class=Answer)
        _add_making(one, regions, own, guards, new)
        _add_rest(one, regions, guards)
        routes.include_router(one)


def _add_making(
    routes: APIRouter,
    regions: Regions,
    own: Callable[[Any, str], Awaitable[str]],
    guards: Guards,
    new: type[NewSchema],
) -> None:
    @routes.post("", status_code=201, openapi_extra=dict(openapi_body(new)))
    async def create(
        caller: Annotated[Caller, guards.changing], wanted: Annotated[NewSchema, Depends(json_body(new, most=_BODY))]
    ) -> Answer:
        """Makes the schema of an action; it holds within a second."""
        workspace_id = caller.workspace_id or None
        if isinstance(wanted, NewOwnSchema) and wanted.workspace_id is not None:
            workspace_id = await own(caller, wanted.workspace_id)
        async with regions.of(caller.region).begin() as tx:
            made = await event_schemas.create(tx, caller.actor, caller.company_id, workspace_id, wanted)
        return Answer(made, 201)


def _add_rest(routes: APIRouter, regions: Regions, guards: Guards) -> None:
    @routes.get("")
    async def list_all(request: Request, caller: Annotated[Caller, guards.reading], action: _Action = None) -> Answer:
        """The schemas by action, without their text."""
        refuse_unknown_query(request, frozenset({"action"}))
        db, workspace_id = regions.of(caller.region), caller.workspace_id or None
        return Answer({"data": await event_schemas.list_all(db, caller.company_id, workspace_id, action=action)})

    @routes.get("/{schema_id}")
    async def read(
        request: Request, caller: Annotated[Caller, guards.reading], schema_id: str, version: _Version = None
    ) -> Answer:
        """One schema with its version in force, or the one asked for, and the list of its versions."""
        refuse_unknown_query(request, frozenset({"version"}))
        db, workspace_id = regions.of(caller.region), caller.workspace_id or None
        return Answer(await event_schemas.read(db, caller.company_id, workspace_id, schema_id, version=version))

    @routes.patch("/{schema_id}", openapi_extra=dict(openapi_body(SchemaChange)))
    async def change(caller: Annotated[Caller, guards.changing], schema_id: str, wanted: _Change) -> Answer:
        """Changes what is given; another schema is the next version, in force within a second."""
        async with regions.of(caller.region).begin() as tx:
            changed = await event_schemas.change(
                tx, caller.actor, caller.company_id, caller.workspace_id or None, schema_id, wanted
            )
        return Answer(changed)

    @routes.delete("/{schema_id}", status_code=204)
    async def delete(caller: Annotated[Caller, guards.changing], schema_id: str) -> Response:
        """Ends the schema with its versions."""
        async with regions.of(caller.region).begin() as tx:
            await event_schemas.delete(tx, caller.actor, caller.company_id, caller.workspace_id or None, schema_id)
        return Response(status_code=204)
