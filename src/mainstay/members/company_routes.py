"""The company over HTTP."""

from typing import Annotated

import msgspec
import orjson
from fastapi import APIRouter, Depends, Request

from mainstay import identity
from mainstay.kernel.cache import Cache
from mainstay.kernel.regions import Regions
from mainstay.members import company as companies
from mainstay.members.schemas import CompanyChange
from mainstay.members.shown import company_shown, stats_shown
from mainstay.web.callers import Caller, May
from mainstay.web.json import Answer, Json, json_body, openapi_body, refuse_unknown_query

_AT = "/api/v1/company"
_Reader = Annotated[Caller, Depends(May("company.read"))]
_StatsReader = Annotated[Caller, Depends(May("members.read"))]
_Changer = Annotated[Caller, Depends(May("company.change"))]
_Change = Annotated[CompanyChange, Depends(json_body(CompanyChange, most=4_096))]


def add_company_routes(routes: APIRouter, regions: Regions, cache: Cache) -> None:
    """The routes of the company are there."""

    @routes.get(_AT, tags=["members"])
    async def read_company(request: Request, caller: _Reader) -> Answer:
        """The company for which the caller acts."""
        refuse_unknown_query(request, frozenset())
        return Answer(company_shown(await companies.read_company(regions.home, caller.company_id)))

    @routes.patch(_AT, tags=["members"], openapi_extra=dict(openapi_body(CompanyChange)))
    async def change_company(caller: _Changer, body: _Change) -> Answer:
        """Changes what is given; limits of sessions need an owner and a recent proof."""
        given = {
            name: value
            for name in CompanyChange.__struct_fields__
            if (value := getattr(body, name)) is not msgspec.UNSET
        }
        async with regions.home.begin() as tx:
            return Answer(company_shown(await companies.change_company(tx, caller, given)))

    @routes.get(f"{_AT}/stats", tags=["members"])
    async def read_stats(request: Request, caller: _StatsReader) -> Json:
        """How many members, departments, invitations, workspaces and keys the company has: as they are after every act
        here, and at most a minute ago where time alone ended an invitation or a key."""
        refuse_unknown_query(request, frozenset())
        company_id, db = caller.company_id, regions.of(caller.region)

        async def load() -> bytes:
            return orjson.dumps(stats_shown(await companies.read_stats(regions.home, db, company_id)))

        return Json(await cache.get(identity.cached.COMPANY_STATS, company_id, load, scope=company_id))
