"""The live tail over HTTP: server-sent events of the key's workspace."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mainstay import plans
from mainstay.events.filters import DESCRIBED, NAMES, filters_of
from mainstay.events.tail import Tail
from mainstay.events.tailing import STALE_SECONDS, Tails
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Forbidden, Invalid
from mainstay.web.callers import WorkspaceKey
from mainstay.web.json import refuse_unknown_query

PATH = "/v1/key/workspace/events/tail"
LEAST_PLAN = "growth"
_KNOWN = frozenset({*NAMES, "lastEventId"})
_CURSOR_CHARACTERS = 1_024
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events as they are stored, until either side ends it", "content": {"text/event-stream": {}}},
    403: {"description": "The plan does not have it", "content": {"application/problem+json": {}}},
    429: {"description": "The company has too many tails open", "content": {"application/problem+json": {}}},
}
LastId = Annotated[str | None, Query(alias="lastEventId", max_length=_CURSOR_CHARACTERS)]
LastIdHeader = Annotated[str | None, Header(alias="Last-Event-ID", max_length=_CURSOR_CHARACTERS)]


def tail_router(home: Database, tails: Tails, book: plans.Book) -> APIRouter:
    """The route of the tail; it stands before that of one event, whose path would take its name for an id."""
    routes = APIRouter(tags=["events"])

    @routes.get(PATH, openapi_extra={"parameters": DESCRIBED}, responses=_RESPONSES, response_class=Response)
    async def tail_events(
        request: Request, caller: WorkspaceKey, last_id: LastId = None, last_id_header: LastIdHeader = None
    ) -> Response:
        """The key's workspace live, as server-sent events: from now on, or from a last id on."""
        refuse_unknown_query(request, _KNOWN)
        standing = await book.standing(home, caller.company_id)
        if not standing.is_at_least(LEAST_PLAN):
            raise Forbidden(
                f"Following events live needs the plan {LEAST_PLAN} or better; this company has {standing.plan}."
            )
        filters = filters_of(request.query_params)
        try:
            # A browser that connects again sends the header, beside the address it was given first.
            tail = await tails.open(caller, filters, after=last_id_header or last_id or None)
        except Invalid:
            where = "Last-Event-ID" if last_id_header else "lastEventId"
            raise Invalid(
                "The id is not one that a tail of this workspace gave.", faults=[Fault("not an id of this tail", where)]
            ) from None
        return _Stream(tails, tail)

    return routes


class _Stream(Response):
    """An answer that goes on until the client has gone, the tail ends, or a write takes 60 s."""

    def __init__(self, tails: Tails, tail: Tail) -> None:
        super().__init__()
        self._tails = tails
        self._tail = tail
        self.raw_headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer, and its end."""
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._tails.leave(self._tail)
            sending.cancel()
            gone.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        loop = asyncio.get_running_loop()
        async for frames in self._tails.frames(self._tail):
            async with asyncio.timeout(STALE_SECONDS):
                await send({"type": "http.response.body", "body": frames, "more_body": True})
            self._tail.written_at = loop.time()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Ends when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
