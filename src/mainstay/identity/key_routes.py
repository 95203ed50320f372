"""HTTP by which keys make, rotate and revoke keys, and see their limit and the workspaces of their company."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Request, Response

from mainstay.identity import companies, granting, keys
from mainstay.identity.granting import Wish
from mainstay.identity.key_schemas import (
    KeyIssued,
    KeyRevoked,
    KeyRotated,
    NewKey,
    NewKeyOfCompany,
    RateLimit,
    Revocation,
    Rotation,
    WorkspaceDetail,
    WorkspaceStats,
    issued_shown,
    rate_shown,
    revoked_shown,
    rotated_shown,
)
from mainstay.identity.schemas import workspace_shown
from mainstay.kernel import once
from mainstay.kernel.db import Connection
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.regions import Regions
from mainstay.web import limiting, problem
from mainstay.web.callers import Caller, CompanyKey, WorkspaceKey
from mainstay.web.json import json_body, openapi_body

Figures = Callable[[Caller, str], Awaitable[Mapping[str, Any]]]
"""What a workspace of the caller's company holds, as `WorkspaceStats` has it."""

_MOST_BYTES = 65_536
_OnceKey = Annotated[
    str | None, Header(alias=once.HEADER, description="1 to 255 printable ASCII: the request makes one key at most.")
]
_New = Annotated[NewKey, Depends(json_body(NewKey, most=_MOST_BYTES))]
_NewOfCompany = Annotated[NewKeyOfCompany, Depends(json_body(NewKeyOfCompany, most=_MOST_BYTES))]
_Rotation = Annotated[Rotation, Depends(json_body(Rotation, most=_MOST_BYTES))]
_Revocation = Annotated[Revocation, Depends(json_body(Revocation, most=_MOST_BYTES))]


def _told(*, writes: bool = True, **more: str) -> dict[str, Any]:
    """OpenAPI responses for refusals, those of every key route among them."""
    why = {
        **({"s400": "The body is not valid."} if writes else {}),
        "s401": "The key is missing, unknown, expired or revoked.",
        "s403": "The key is of the other kind, may only read, may not be used from this address, or has fewer rights "
        "than it is to give.",
        **more,
    }
    return {
        "tags": ["keys"],
        "responses": problem.responses({int(status[1:]): text for status, text in why.items()}),
    }


_NO_KEY = "There is no such key in what the calling key opens."
_REPEATED = "The request made its key before: `keyId` names it, its secret is not kept."
_OTHER = "The idempotency key was used for another request within 24 hours."
_CREATING = _told(s404="There is no such workspace.", s409=_REPEATED, s422=_OTHER)
_ROTATING = _told(s404=_NO_KEY, s409=f"The key was rotated before, or works no more. {_REPEATED}", s422=_OTHER)
_REVOKING = _told(s404=_NO_KEY)


@dataclass(frozen=True, slots=True)
class _Acts:
    """What the routes of both kinds of key do."""

    regions: Regions

    def home_of(self, caller: Caller) -> Connection | None:
        """Where companies are, if not in the database of the caller's region."""
        return None if self.regions.is_home(caller.region) else self.regions.home

    async def issue(self, caller: Caller, body: NewKey, once_key: str | None) -> KeyIssued:
        """A key is made."""
        wish = Wish(
            body.name,
            body.workspace_id if isinstance(body, NewKeyOfCompany) else None,
            body.read_only,
            body.labels,
            body.ip_allowlist,
            body.expires_at,
            body.scopes,
        )
        async with self.regions.of(caller.region).begin() as tx:
            request = _request("keys.create", caller, body, once_key)
            return issued_shown(await granting.issue(tx, caller, wish, home=self.home_of(caller), request=request))

    async def rotate(self, caller: Caller, body: Rotation, once_key: str | None) -> KeyRotated:
        """A key is replaced."""
        overlap = overlap_of(revoke_old=body.revoke_old, seconds=body.overlap_seconds)
        async with self.regions.of(caller.region).begin() as tx:
            request = _request("keys.rotate", caller, body, once_key)
            home = self.home_of(caller)
            issued = await granting.rotate(
                tx, caller, body.key_id, overlap=overlap, name=body.name, home=home, request=request
            )
            old = await keys.get_key(tx, caller.company_id, body.key_id or caller.id)
            return rotated_shown(issued, old, ended=not overlap)

    async def revoke(self, caller: Caller, body: Revocation) -> KeyRevoked:
        """A key is ended."""
        async with self.regions.of(caller.region).begin() as tx:
            return revoked_shown(await granting.revoke(tx, caller, body.key_id, reason=body.reason))


def add_key_routes(routes: APIRouter, regions: Regions, figures: Figures) -> None:
    """The routes by which keys deal with keys are there; `figures` tells what a workspace holds."""
    acts = _Acts(regions)
    _add_workspace_keys(routes, acts)
    _add_company_keys(routes, acts)
    _add_limits(routes)

    @routes.get("/v1/key/company/workspaces/{workspace_id}", **_told(writes=False, s404="There is no such workspace."))
    async def show_workspace(caller: CompanyKey, workspace_id: str) -> WorkspaceDetail:
        """One workspace of the company, what it holds and what it used in this month (UTC)."""
        workspace = await companies.get_workspace(regions.home, caller.company_id, workspace_id)
        stats = WorkspaceStats.model_validate(await figures(caller, workspace.id))
        return WorkspaceDetail(workspace=workspace_shown(workspace), stats=stats)


def _add_workspace_keys(routes: APIRouter, acts: _Acts) -> None:
    at = "/v1/key/workspace"

    @routes.post(f"{at}/create", status_code=201, openapi_extra=dict(openapi_body(NewKey)), **_CREATING)
    async def create_key(caller: WorkspaceKey, body: _New, response: Response, once_key: _OnceKey = None) -> KeyIssued:
        """A key of the same workspace with no more rights than the one that asks; its secret is shown this once."""
        _no_store(response)
        return await acts.issue(caller, body, once_key)

    @routes.post(f"{at}/rotate", openapi_extra=dict(openapi_body(Rotation)), **_ROTATING)
    async def rotate_key(
        caller: WorkspaceKey, body: _Rotation, response: Response, once_key: _OnceKey = None
    ) -> KeyRotated:
        """A successor of the key that asks, or of one of its workspace; both work until the overlap ends."""
        _no_store(response)
        return await acts.rotate(caller, body, once_key)

    @routes.post(f"{at}/revoke", openapi_extra=dict(openapi_body(Revocation)), **_REVOKING)
    async def revoke_key(caller: WorkspaceKey, body: _Revocation) -> KeyRevoked:
        """The key that asks, or one of its workspace, ends for good."""
        return await acts.revoke(caller, body)


def _add_company_keys(routes: APIRouter, acts: _Acts) -> None:
    at = "/v1/key/company"

    @routes.post(f"{at}/create", status_code=201, openapi_extra=dict(openapi_body(NewKeyOfCompany)), **_CREATING)
    async def create_company_key(
        caller: CompanyKey, body: _NewOfCompany, response: Response, once_key: _OnceKey = None
    ) -> KeyIssued:
        """A key of the company, or of the workspace that `workspaceId` names; its secret is shown this once."""
        _no_store(response)
        return await acts.issue(caller, body, once_key)

    @routes.post(f"{at}/rotate", openapi_extra=dict(openapi_body(Rotation)), **_ROTATING)
    async def rotate_company_key(
        caller: CompanyKey, body: _Rotation, response: Response, once_key: _OnceKey = None
    ) -> KeyRotated:
        """A successor of the key that asks, or of one of its company; both work until the overlap ends."""
        _no_store(response)
        return await acts.rotate(caller, body, once_key)

    @routes.post(f"{at}/revoke", openapi_extra=dict(openapi_body(Revocation)), **_REVOKING)
    async def revoke_company_key(caller: CompanyKey, body: _Revocation) -> KeyRevoked:
        """The key that asks, or one of its company, ends for good."""
        return await acts.revoke(caller, body)


def _add_limits(routes: APIRouter) -> None:
    @routes.get("/v1/key/workspace/rate-limit", **_told(writes=False))
    async def show_limit(_: WorkspaceKey, request: Request, response: Response) -> RateLimit:
        """How often the key may call, and how much of that is left after this call."""
        _no_store(response)
        return rate_shown(limiting.noted(request.scope))

    @routes.get("/v1/key/company/rate-limit", **_told(writes=False))
    async def show_company_limit(_: CompanyKey, request: Request, response: Response) -> RateLimit:
        """How often the key may call, and how much of that is left after this call."""
        _no_store(response)
        return rate_shown(limiting.noted(request.scope))


def overlap_of(*, revoke_old: bool, seconds: int | None) -> timedelta:
    """How long the old key works beside its successor: not at all, as told, or a day; Invalid where both are told."""
    if not revoke_old:
        return keys.DEFAULT_OVERLAP if seconds is None else timedelta(seconds=seconds)
    if seconds:
        raise Invalid(faults=[Fault("must be 0 where revokeOld is true", "#/overlapSeconds")])
    return timedelta(0)


def _request(act: str, caller: Caller, body: msgspec.Struct, given: str | None) -> once.Request | None:
    key = once.header_key(given)
    return None if key is None else once.Request(f"{act}:{caller.id}", key, msgspec.json.encode(body).decode())


def _no_store(response: Response) -> None:
    response.headers["cache-control"] = "no-store"
