"""A company's events and data over all regions, over HTTP."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from mainstay.events import filters, shape
from mainstay.events.across import Across
from mainstay.events.filters import filters_of
from mainstay.kernel import paging
from mainstay.web.callers import CompanyKey
from mainstay.web.json import Answer, refuse_unknown_query

_KNOWN = frozenset({*filters.NAMES, "limit", "cursor", "order", "include"})
_Limit = Annotated[int, Query(ge=1, le=paging.MAX_LIMIT)]
_Order = Annotated[Literal["asc", "desc"], Query(description="By createdAt, over all regions.")]
_Include = Annotated[Literal["proof"] | None, Query(description="`proof` adds salts, to check hashes offline.")]
_Cursor = Annotated[str | None, Query(max_length=2_048, description="`meta.nextCursor`")]


def add(routes: APIRouter, across: Across) -> None:
    """The router answers over all regions; to be called before routes that take an event's id."""

    @routes.get("/v1/key/company/events/global", openapi_extra={"parameters": filters.DESCRIBED})
    async def list_events_everywhere(
        request: Request,
        caller: CompanyKey,
        cursor: _Cursor = None,
        limit: _Limit = paging.DEFAULT_LIMIT,
        order: _Order = "desc",
        include: _Include = None,
    ) -> Response:
        """Events of the key's company in every region, merged; `meta.regions` tells which did not answer."""
        refuse_unknown_query(request, _KNOWN)
        found = await across.page(
            caller.company_id,
            filters_of(request.query_params),
            limit=limit,
            cursor=cursor,
            ascending=order == "asc",
        )
        meta: dict[str, Any] = {
            "limit": limit,
            "total": found.total,
            "totalIsFloor": found.total_is_floor,
            "nextCursor": found.next_cursor,
            "hasMore": found.has_more,
            "regions": [{"region": one.region, "answered": one.answered} for one in found.regions],
            **({} if found.searched is None else {"searched": found.searched.told()}),
        }
        data = b",".join(shape.flat(row, with_proof=include == "proof") for row in found.rows)
        body = b'{"data":[' + data + b'],"meta":' + Answer(meta).body + b"}"
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    @routes.get("/v1/key/company/regions")
    async def show_regions(caller: CompanyKey) -> Answer:
        """Every region, and what each holds of the company; new events are stored in `dataRegion`."""
        regions = [
            {
                "region": one.region,
                "isCurrent": one.region == caller.region,
                "answered": one.answered,
                "events": one.events,
                "sharesDatabaseWith": list(one.shares_with),
            }
            for one in await across.regions(caller.company_id)
        ]
        return Answer({"dataRegion": caller.region, "regions": regions})
