"""The catalogue of event types over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, params
from fastapi.responses import Response

from mainstay.kernel.paging import MAX_LIMIT
from mainstay.web.callers import Caller
from mainstay.web.json import Answer, json_body, openapi_body
from mainstay.webhooks import catalogue
from mainstay.webhooks.parts import PAGING, Parts, page_of
from mainstay.webhooks.schemas import TypeWanted


def add(router: APIRouter, parts: Parts, guard: params.Depends) -> None:
    """The router lists, shows, makes, changes and deprecates event types."""

    @router.get("", openapi_extra={"parameters": PAGING})
    async def list_types(request: Request, caller: Annotated[Caller, guard]) -> Answer:
        """The company's event types and Mainstay's own by name, each with the schema and an example of its `data`."""
        page = page_of(request, parts, f"event-types:{caller.company_id}", most=MAX_LIMIT)
        found = await catalogue.read(
            parts.db_of(caller), company_id=caller.company_id, after=page.position, limit=page.limit
        )
        return page.answer(found.types, found.next_after)

    @router.get("/{type_name}")
    async def read_type(type_name: str, caller: Annotated[Caller, guard]) -> Answer:
        """One event type."""
        return Answer(await catalogue.get(parts.db_of(caller), company_id=caller.company_id, name=type_name))

    @router.put("/{type_name}", openapi_extra=dict(openapi_body(TypeWanted)))
    async def put_type(
        type_name: str,
        caller: Annotated[Caller, guard],
        wanted: Annotated[TypeWanted, Depends(json_body(TypeWanted))],
    ) -> Answer:
        """Makes the type (201) or replaces it (200); `version` counts the changes of its schema."""
        async with parts.db_of(caller).begin() as tx:
            shown, is_new = await catalogue.put(tx, caller.actor, wanted, company_id=caller.company_id, name=type_name)
        return Answer(shown, 201 if is_new else 200)

    @router.delete("/{type_name}", status_code=204, response_class=Response)
    async def deprecate_type(type_name: str, caller: Annotated[Caller, guard]) -> Response:
        """Deprecates the type: it stays readable, and messages of it go out as before. `PUT` takes that back."""
        async with parts.db_of(caller).begin() as tx:
            await catalogue.deprecate(tx, caller.actor, company_id=caller.company_id, name=type_name)
        return Response(status_code=204)
