"""Exports over HTTP: answers that stream at the client's pace, and that show whether they are whole."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mainstay import plans
from mainstay.events.export_forms import MEDIA_TYPES
from mainstay.events.exporting import Export, Exports, Wanted
from mainstay.events.filters import DESCRIBED, NAMES, Filters, filters_of
from mainstay.events.queries.exporting import Form
from mainstay.events.sealing import Sealer
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.errors import Fault, Invalid, Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Regions
from mainstay.web.asgi import ABORT
from mainstay.web.callers import Caller, CompanyKey, WorkspaceKey
from mainstay.web.json import refuse_unknown_query

STALL_SECONDS: Final = 60.0
"""A client has to take the next 64 KiB within so long, or its export is ended."""
_PIECE_BYTES: Final = 64 * 1024
_KNOWN = frozenset({*NAMES, "include", "end"})
_FORMS: Final[tuple[Form, ...]] = ("json", "csv", "ndjson")
_log = logger(__name__)
Include = Annotated[Literal["proof"] | None, Query(description="`proof` adds what verifying needs; not in CSV.")]
WithEnd = Annotated[bool, Query(alias="end", description="CSV ends with a record `#end`; the other forms always do.")]
_HEADERS = {
    "x-export-cap": {"schema": {"type": "string"}, "description": "The plan's most rows an export, or `none`"},
    "x-export-truncated": {
        "schema": {"type": "string", "enum": ["true", "false"]},
        "description": "Whether the cap cuts this export; absent where only its end tells",
    },
}


class Exporter:
    """The exports of one process, each answered from the region of whoever asks; all routes that give them share it."""

    def __init__(self, regions: Regions, keyring: Keyring, book: plans.Book) -> None:
        self._home = regions.home
        self._exports = regions.each(lambda db: Exports(db, Sealer(keyring)))
        self._book = book

    async def answer(
        self,
        caller: Caller,
        *,
        filters: Filters,
        form: Form,
        workspace_id: str | None,
        with_proof: bool = False,
        with_end: bool = False,
    ) -> Response:
        """The events of the workspace, or of all of the caller's company, up to what its plan allows an export."""
        standing = await self._book.standing(self._home, caller.company_id)
        wanted = Wanted(
            company_id=caller.company_id,
            workspace_id=workspace_id,
            filters=filters,
            form=form,
            cap=standing.export_rows,
            with_proof=with_proof,
            with_end=with_end,
        )
        return _Streamed(self._exports[caller.region], wanted, caller.actor)

    def router(self) -> APIRouter:
        """The routes of exports for keys."""
        return _key_routes(self)


def _key_routes(exporter: Exporter) -> APIRouter:
    routes = APIRouter(tags=["events"])

    async def answer(request: Request, caller: Caller, form: Form, include: str | None, *, with_end: bool) -> Response:
        refuse_unknown_query(request, _KNOWN)
        if include and form == "csv":
            raise Invalid(faults=[Fault("CSV has no room for proofs; take .ndjson", "include")])
        return await exporter.answer(
            caller,
            filters=filters_of(request.query_params),
            form=form,
            workspace_id=caller.workspace_id or None,
            with_proof=include == "proof",
            with_end=with_end,
        )

    def add(form: Form) -> None:
        described: dict[str, Any] = {
            "openapi_extra": {"parameters": DESCRIBED},
            "response_class": Response,
            "responses": {
                200: {
                    "description": "The events, oldest first",
                    "content": {MEDIA_TYPES[form]: {}},
                    "headers": _HEADERS,
                }
            },
        }

        @routes.get(f"/v1/key/workspace/export.{form}", name=f"export_workspace_{form}", **described)
        async def export_workspace(
            request: Request, caller: WorkspaceKey, include: Include = None, end: WithEnd = False
        ) -> Response:
            """Events of the key's workspace that are not archived, in the order of its chain."""
            return await answer(request, caller, form, include, with_end=end)

        @routes.get(f"/v1/key/company/export.{form}", name=f"export_company_{form}", **described)
        async def export_company(
            request: Request, caller: CompanyKey, include: Include = None, end: WithEnd = False
        ) -> Response:
            """Events of all workspaces of the key's company that are not archived, oldest first."""
            return await answer(request, caller, form, include, with_end=end)

    for form in _FORMS:
        add(form)
    return routes


class _Streamed(Response):
    """An export on its way: it ends whole, or so that the client sees that it is not.

    Whole it ends only once the company's log is sure to tell of it; one that breaks off is told of as well.
    """

    def __init__(self, exports: Exports, wanted: Wanted, actor: Actor) -> None:
        super().__init__()
        self._actor = actor
        self._exports = exports
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer, from its first byte as soon as that is known."""
        async with self._exports.admitted():
            export = await self._exports.begin(self._wanted)
            sending = asyncio.create_task(self._send(export, send))
            gone = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    await sending
            except _Stalled:
                _log.info("an export was ended: its client took nothing", seconds=STALL_SECONDS)
                _abort(scope)
            finally:
                sending.cancel()
                gone.cancel()
                await asyncio.gather(sending, gone, return_exceptions=True)
                await self._tell_of_broken(export)

    async def _tell_of_broken(self, export: Export) -> None:
        try:
            await self._exports.tell(export, self._actor, is_whole=False)
        except Unavailable:
            _log.warning("an export that broke off could not be told of", rows=export.rows, actor=self._actor.id)

    async def _send(self, export: Export, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._told(export)})

        async def tell() -> None:
            await self._exports.tell(export, self._actor, is_whole=True)

        async for piece in export.pieces(tell):
            view = memoryview(piece)
            for start in range(0, len(piece), _PIECE_BYTES):
                await _in_time(send, bytes(view[start : start + _PIECE_BYTES]), more=True)
        await _in_time(send, b"", more=False)

    def _told(self, export: Export) -> list[tuple[bytes, bytes]]:
        form, cap = self._wanted.form, self._wanted.cap
        name = f"events-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{form}"
        headers = [
            (b"content-type", MEDIA_TYPES[form].encode()),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"x-export-cap", b"none" if cap is None else str(cap).encode()),
        ]
        if export.is_cut is not None:
            headers.append((b"x-export-truncated", b"true" if export.is_cut else b"false"))
        return headers


class _Stalled(Exception):
    pass


async def _in_time(send: Send, body: bytes, *, more: bool) -> None:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": more})
    except TimeoutError:
        raise _Stalled from None


async def _gone(receive: Receive) -> None:
    """Ends when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _abort(scope: Scope) -> None:
    """The connection is closed with what was never taken; a server that cannot do that gives it up by itself."""
    extension = scope.get("extensions", {}).get(ABORT)
    if extension is not None:
        call: Callable[[], None] = extension["call"]
        call()
