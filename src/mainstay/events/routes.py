"""Reading events over HTTP, and the description of the ingest routes that `hot` serves."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from mainstay import templates
from mainstay.events import across_routes, filters, hot, schemas, sealing, shape
from mainstay.events.across import Across
from mainstay.events.checkpoints import public_key_text, read_note
from mainstay.events.filters import filters_of
from mainstay.events.reading import Page, Reader
from mainstay.events.sealing import Sealer
from mainstay.kernel import paging
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Record
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.web.callers import Caller, CompanyKey, WorkspaceKey
from mainstay.web.json import Answer, refuse_unknown_query, schema_of

_KNOWN = frozenset({*filters.NAMES, "page", "limit", "cursor", "order", "include"})
Limit = Annotated[int, Query(ge=1, le=paging.MAX_LIMIT)]
PageNumber = Annotated[int | None, Query(ge=1, le=10_000)]
Order = Annotated[Literal["asc", "desc"], Query(description="By seq in a workspace, by createdAt over a company.")]
Include = Annotated[
    Literal["proof", "flags"] | None,
    Query(description="`proof` adds salts, to check hashes offline; `flags` tells in lists which rules were broken."),
]
Cursor = Annotated[str | None, Query(max_length=1_024)]
Flags = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]


def router(regions: Regions, cursors: Cursors, keyring: Keyring) -> APIRouter:
    """The routes of this room, each answered from the region of its caller."""
    routes = APIRouter(tags=["events"], default_response_class=Answer)
    readers = regions.each(lambda db: Reader(db, cursors))
    sealers = regions.each(lambda _: Sealer(keyring))
    across_routes.add(routes, Across(regions, readers, cursors))

    async def answer_page(
        request: Request, caller: Caller, cursor: Cursor, page: PageNumber, limit: int, order: str, include: str | None
    ) -> Response:
        refuse_unknown_query(request, _KNOWN)
        found = await readers[caller.region].page(
            caller.company_id,
            filters_of(request.query_params),
            workspace_id=caller.workspace_id or None,
            limit=limit,
            page=page,
            cursor=cursor,
            ascending=order == "asc",
        )
        flags = await flags_of(caller, found.rows) if include == "flags" else {}
        shown = [_with_flags(row, flags, with_proof=include == "proof") for row in found.rows]
        return _list_answer(found, shown, page=(page or 1) if cursor is None else None, limit=limit)

    async def flags_of(caller: Caller, rows: Sequence[Record]) -> Flags:
        places = [(str(row["workspace_id"]), row["seq"]) for row in rows]
        return await templates.flags_of(regions.of(caller.region), caller.company_id, places)

    async def answer_one(caller: Caller, event_id: str, include: str | None) -> Response:
        workspace_id = caller.workspace_id or None
        row = await readers[caller.region].get(caller.company_id, event_id, workspace_id=workspace_id)
        return _json(_with_flags(row, await flags_of(caller, [row]), with_proof=include == "proof"))

    @routes.get("/v1/key/workspace/events", openapi_extra={"parameters": filters.DESCRIBED})
    async def list_workspace_events(
        request: Request,
        caller: WorkspaceKey,
        cursor: Cursor = None,
        page: PageNumber = None,
        limit: Limit = paging.DEFAULT_LIMIT,
        order: Order = "desc",
        include: Include = None,
    ) -> Response:
        """Events of the key's workspace, newest first unless `order=asc`."""
        return await answer_page(request, caller, cursor, page, limit, order, include)

    @routes.get("/v1/key/company/events", openapi_extra={"parameters": filters.DESCRIBED})
    async def list_company_events(
        request: Request,
        caller: CompanyKey,
        cursor: Cursor = None,
        page: PageNumber = None,
        limit: Limit = paging.DEFAULT_LIMIT,
        order: Order = "desc",
        include: Include = None,
    ) -> Response:
        """Events of all workspaces of the key's company, newest first unless `order=asc`."""
        return await answer_page(request, caller, cursor, page, limit, order, include)

    @routes.get("/v1/key/workspace/events/{event_id}")
    async def read_workspace_event(caller: WorkspaceKey, event_id: str, include: Include = None) -> Response:
        """One event of the key's workspace."""
        return await answer_one(caller, event_id, include)

    @routes.get("/v1/key/company/events/{event_id}")
    async def read_company_event(caller: CompanyKey, event_id: str, include: Include = None) -> Response:
        """One event of any workspace of the key's company."""
        return await answer_one(caller, event_id, include)

    @routes.get("/v1/key/workspace/checkpoint")
    async def read_checkpoint(caller: WorkspaceKey) -> Answer:
        """A signed statement of where the workspace's chain stands, with the keys that check it."""
        async with regions.of(caller.region).begin() as tx:
            note = await sealers[caller.region].seal(tx, caller.company_id, caller.workspace_id)
            keys = await sealing.public_keys(tx)
        checkpoint = read_note(note)
        return Answer(
            {
                "workspaceId": checkpoint.workspace_id,
                "seq": checkpoint.seq,
                "hash": checkpoint.hash.hex(),
                "time": checkpoint.time,
                "note": note,
                "keys": [public_key_text(name, key) for name, key in keys.items()],
            }
        )

    return routes


def _with_flags(row: Record, flags: Flags, *, with_proof: bool) -> bytes:
    whole = shape.flat(row, with_proof=with_proof)
    found = flags.get((str(row["workspace_id"]), row["seq"]))
    return whole if found is None else shape.with_flags(whole.decode(), found).encode()


def _list_answer(found: Page, shown: Sequence[bytes], *, page: int | None, limit: int) -> Response:
    meta: dict[str, Any] = {
        "page": page,
        "limit": limit,
        "total": found.total,
        "totalIsFloor": found.total_is_floor,
        "nextCursor": found.next_cursor,
        "hasMore": found.next_cursor is not None,
        **({} if found.searched is None else {"searched": found.searched.told()}),
    }
    body = b",".join(shown)
    return _json(b'{"data":[' + body + b'],"meta":' + Answer(meta).body + b"}")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


def describe(document: dict[str, Any]) -> None:
    """Adds the ingest routes to an OpenAPI document."""
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": schemas.MAX_KEY_CHARACTERS},
    }
    refusals = {
        status: {"description": text, "content": {"application/problem+json": {}}}
        for status, text in (
            ("400", "Not valid; `errors` points at what is wrong"),
            ("401", "No key, or one that is not valid any more"),
            ("403", "A company key, a reading key, or another address"),
            ("409", "The same key is being stored now"),
            ("413", "Too large"),
            ("422", "The key was used for other content, or the event breaks rules of its workspace"),
            (
                "429",
                "The company chose to be stopped at its limit, which is reached; `resetsAt` says when it may go on",
            ),
            ("503", "The database is away"),
        )
    }
    for path, shape_in, status, text in (
        (hot.SINGLE_PATH, schemas.EventIn, "201", "Store one event"),
        (hot.BATCH_PATH, schemas.BatchIn, "200", f"Store up to {schemas.MAX_BATCH} events, each judged on its own"),
    ):
        document["paths"].setdefault(path, {})["post"] = {
            "tags": ["events"],
            "summary": text,
            "operationId": "store_" + path.rpartition("/")[2],
            "parameters": [key],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(shape_in)}}},
            "responses": {status: {"description": "Stored", "content": {"application/json": {}}}, **refusals},
        }
