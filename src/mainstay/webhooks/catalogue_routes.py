"""The catalogue of event types over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from mainstay.kernel.paging import MAX_LIMIT
from mainstay.web.callers import Caller, Guards
from mainstay.web.json import Answer, json_body, openapi_body
from mainstay.webhooks import catalogue, repeats
from mainstay.webhooks.answers import NOT_VALID, TypeList, TypeShown, told
from mainstay.webhooks.parts import PAGING, Parts, page_of
from mainstay.webhooks.repeats import ONCE, OnceKey
from mainstay.webhooks.schemas import TypeWanted

# A type is found by its name: what is kept is whether it was new.
_NEW, _REPLACED = str(UUID(int=1)), str(UUID(int=0))
_NO_TYPE = {404: "There is no such event type."}
_RESERVED = {409: "The name is one of Mainstay's own types, or the company has as many types as it may have."}
_MADE = {201: {"description": "The type is new.", "model": TypeShown}}


def add(router: APIRouter, parts: Parts, guards: Guards) -> None:
    """The router lists, shows, makes, changes and deprecates event types."""

    @router.get("", openapi_extra={"parameters": PAGING}, **told(TypeList, 200, NOT_VALID))
    async def list_types(request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """The company's event types and Mainstay's own by name, each with the schema and an example of its `data`."""
        page = page_of(request, parts, f"event-types:{caller.company_id}", most=MAX_LIMIT)
        found = await catalogue.read(
            parts.db_of(caller), company_id=caller.company_id, after=page.position, limit=page.limit
        )
        return page.answer(found.types, found.next_after)

    @router.get("/{type_name}", **told(TypeShown, 200, _NO_TYPE))
    async def read_type(type_name: str, caller: Annotated[Caller, guards.reading]) -> Answer:
        """One event type."""
        return Answer(await catalogue.get(parts.db_of(caller), company_id=caller.company_id, name=type_name))

    putting = told(TypeShown, 200, NOT_VALID, _RESERVED, ONCE)
    putting["responses"] |= _MADE

    @router.put("/{type_name}", openapi_extra=dict(openapi_body(TypeWanted)), **putting)
    async def put_type(
        type_name: str,
        caller: Annotated[Caller, guards.changing],
        wanted: Annotated[TypeWanted, Depends(json_body(TypeWanted))],
        once_key: OnceKey = None,
    ) -> Answer:
        """Makes the type (201) or replaces it (200); `version` counts the changes of its schema."""
        async with parts.db_of(caller).begin() as tx:
            claimed = await repeats.claim(tx, caller, once_key, "event_types.put", type_name, wanted)
            if claimed.earlier is not None:
                again = await catalogue.get(tx, company_id=caller.company_id, name=type_name)
                return Answer(again, 201 if claimed.earlier == _NEW else 200)
            shown, is_new = await catalogue.put(tx, caller.actor, wanted, company_id=caller.company_id, name=type_name)
            await claimed.made(_NEW if is_new else _REPLACED)
        return Answer(shown, 201 if is_new else 200)

    @router.delete("/{type_name}", status_code=204, response_class=Response)
    async def deprecate_type(type_name: str, caller: Annotated[Caller, guards.changing]) -> Response:
        """Deprecates the type: it stays readable, and messages of it go out as before. `PUT` takes that back."""
        async with parts.db_of(caller).begin() as tx:
            await catalogue.deprecate(tx, caller.actor, company_id=caller.company_id, name=type_name)
        return Response(status_code=204)
