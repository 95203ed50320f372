"""HTTP of the identity room: what a key may know about itself, and what it may do."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from mainstay.identity import companies, key_health, keys
from mainstay.identity.key_routes import Figures, add_key_routes
from mainstay.identity.person_key_routes import add_person_key_routes
from mainstay.identity.schemas import (
    CompanyOfKey,
    KeyShown,
    ListMeta,
    WorkspaceList,
    WorkspaceOfKey,
    company_shown,
    key_shown,
    workspace_shown,
)
from mainstay.kernel import paging
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.web import problem
from mainstay.web.callers import Caller, CompanyKey, WorkspaceKey
from mainstay.web.json import refuse_unknown_query

_LIST_QUERY = frozenset({"limit", "cursor"})


_KEY_PROBLEMS = problem.responses(
    {
        401: "The key is missing, unknown, expired or revoked.",
        403: "The key is of the other kind, or may not be used from this address.",
    }
)
_LIST_PROBLEMS = {**problem.responses({400: "A parameter is not valid."}), **_KEY_PROBLEMS}
_Limit = Annotated[str, Query(description=f"1 to {paging.MAX_LIMIT}")]
_Cursor = Annotated[str | None, Query(description="`meta.nextCursor` of the page before")]


def router(regions: Regions, cursors: Cursors, figures: Figures) -> APIRouter:
    """The room's routes: people and companies are at home, a key is in its region; `figures` asks rooms above."""
    routes = APIRouter()
    _add_key_itself(routes, regions)
    _add_workspace_list(routes, regions.home, cursors)
    add_key_routes(routes, regions, figures)
    add_person_key_routes(routes, regions, cursors)
    return routes


def _add_key_itself(routes: APIRouter, regions: Regions) -> None:
    @routes.get("/v1/key/workspace", tags=["keys"], responses=_KEY_PROBLEMS)
    async def show_workspace(caller: WorkspaceKey) -> WorkspaceOfKey:
        """The workspace that the key opens, and the key itself."""
        workspace = await companies.get_workspace(regions.home, caller.company_id, caller.workspace_id)
        company = await companies.get_company(regions.home, caller.company_id)
        shown, key = workspace_shown(workspace).model_dump(), await _key_of(regions, caller)
        return WorkspaceOfKey(**shown, data_region=company.data_region, plan=company.plan, key=key)

    @routes.get("/v1/key/company", tags=["keys"], responses=_KEY_PROBLEMS)
    async def show_company(caller: CompanyKey) -> CompanyOfKey:
        """The company that the key opens, and the key itself."""
        company = await companies.get_company(regions.home, caller.company_id)
        return CompanyOfKey(**company_shown(company).model_dump(), key=await _key_of(regions, caller))


def _add_workspace_list(routes: APIRouter, db: Database, cursors: Cursors) -> None:
    @routes.get("/v1/key/company/workspaces", tags=["keys"], responses=_LIST_PROBLEMS)
    async def list_workspaces(
        request: Request, caller: CompanyKey, limit: _Limit = str(paging.DEFAULT_LIMIT), cursor: _Cursor = None
    ) -> WorkspaceList:
        """The company's workspaces, oldest first."""
        refuse_unknown_query(request, _LIST_QUERY)
        most, scope = paging.check_limit(_whole(limit)), f"workspaces:{caller.company_id}"
        after = None if cursor is None else str(cursors.open(scope, cursor)[0])
        found = await companies.list_workspaces(db, caller.company_id, after=after, limit=most + 1)
        total, exact = await companies.count_workspaces(db, caller.company_id)
        page = found[:most]
        next_cursor = cursors.seal(scope, [page[-1].id]) if len(found) > most else None
        meta = ListMeta(limit=most, total=total, total_is_exact=exact, next_cursor=next_cursor)
        return WorkspaceList(data=[workspace_shown(one) for one in page], meta=meta)


async def _key_of(regions: Regions, caller: Caller) -> KeyShown:
    db = regions.of(caller.region)
    key = await keys.get_key(db, caller.company_id, caller.id)
    return key_shown(key, (await key_health.health_of(db, caller.company_id, [key.id]))[key.id])


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    return int(text)
