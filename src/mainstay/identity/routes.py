"""HTTP of the identity room: logging in, and what a key may know about itself.

The application's state gives `db`, `identity`, `passwords` and `cursors`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from mainstay.identity import companies, key_use, keys, people
from mainstay.identity.schemas import (
    CompanyOfKey,
    KeyShown,
    ListMeta,
    LoginAnswer,
    LoginRequest,
    WorkspaceList,
    WorkspaceOfKey,
    company_shown,
    key_shown,
    login_shown,
    workspace_shown,
)
from mainstay.kernel import paging
from mainstay.kernel.errors import Fault, Invalid
from mainstay.web.callers import Caller, CompanyKey, WorkspaceKey
from mainstay.web.json import json_body, openapi_body, refuse_unknown_query

router = APIRouter()
_LIST_QUERY = frozenset({"limit", "cursor"})


def _problems(**told: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for refusals: `s401="why"`."""
    content = {"application/problem+json": {"schema": {"type": "object"}}}
    return {int(status[1:]): {"description": why, "content": content} for status, why in told.items()}


_KEY_PROBLEMS = _problems(
    s401="The key is missing, unknown, expired or revoked.",
    s403="The key is of the other kind, or may not be used from this address.",
)


@router.post(
    "/api/v1/auth/login",
    tags=["people"],
    openapi_extra=dict(openapi_body(LoginRequest)),
    responses=_problems(
        s400="The body is not valid.",
        s401="The email or the password is wrong.",
        s403="The person is suspended or belongs to no company.",
        s404="The person is no member of that company.",
        s409="The person has several companies and named none; `companies` lists them.",
        s503="Too many logins at this moment; `Retry-After` says when to come again.",
    ),
)
async def log_in(
    request: Request, response: Response, body: Annotated[LoginRequest, Depends(json_body(LoginRequest, most=16_384))]
) -> LoginAnswer:
    """A person's email and password become an access token for 15 minutes."""
    state = request.app.state
    login = await people.log_in(
        state.db,
        state.passwords,
        state.identity.tokens,
        email=body.email,
        password=body.password,
        company_id=body.company_id,
    )
    response.headers["cache-control"] = "no-store"
    return login_shown(login)


@router.get("/v1/key/workspace", tags=["keys"], responses=_KEY_PROBLEMS)
async def show_workspace(request: Request, caller: WorkspaceKey) -> WorkspaceOfKey:
    """The workspace that the key opens, and the key itself."""
    db = request.app.state.db
    workspace = await companies.get_workspace(db, caller.company_id, caller.workspace_id)
    company = await companies.get_company(db, caller.company_id)
    shown = workspace_shown(workspace).model_dump()
    key = await _key_of(request, caller)
    return WorkspaceOfKey(**shown, data_region=company.data_region, plan=company.plan, key=key)


@router.get("/v1/key/company", tags=["keys"], responses=_KEY_PROBLEMS)
async def show_company(request: Request, caller: CompanyKey) -> CompanyOfKey:
    """The company that the key opens, and the key itself."""
    company = await companies.get_company(request.app.state.db, caller.company_id)
    return CompanyOfKey(**company_shown(company).model_dump(), key=await _key_of(request, caller))


@router.get(
    "/v1/key/company/workspaces",
    tags=["keys"],
    responses={**_problems(s400="A parameter is not valid."), **_KEY_PROBLEMS},
)
async def list_workspaces(
    request: Request,
    caller: CompanyKey,
    limit: Annotated[str, Query(description=f"1 to {paging.MAX_LIMIT}")] = str(paging.DEFAULT_LIMIT),
    cursor: Annotated[str | None, Query(description="`meta.nextCursor` of the page before")] = None,
) -> WorkspaceList:
    """The company's workspaces, oldest first."""
    refuse_unknown_query(request, _LIST_QUERY)
    most = paging.check_limit(_whole(limit))
    state, scope = request.app.state, f"workspaces:{caller.company_id}"
    after = None if cursor is None else str(state.cursors.open(scope, cursor)[0])
    found = await companies.list_workspaces(state.db, caller.company_id, after=after, limit=most + 1)
    total, exact = await companies.count_workspaces(state.db, caller.company_id)
    page = found[:most]
    next_cursor = state.cursors.seal(scope, [page[-1].id]) if len(found) > most else None
    meta = ListMeta(limit=most, total=total, total_is_exact=exact, next_cursor=next_cursor)
    return WorkspaceList(data=[workspace_shown(one) for one in page], meta=meta)


async def _key_of(request: Request, caller: Caller) -> KeyShown:
    db = request.app.state.db
    key = await keys.get_key(db, caller.company_id, caller.id)
    return key_shown(key, await key_use.usage_5m(db, caller.company_id, caller.id))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    return int(text)
