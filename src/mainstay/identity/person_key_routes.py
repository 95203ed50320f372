"""HTTP by which people manage the keys of their company, and by which operators and scanners report leaked ones."""

from datetime import timedelta
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Query, Request, Response

from mainstay.identity import key_health, keys, leaks
from mainstay.identity.key_routes import overlap_of
from mainstay.identity.key_schemas import (
    KeyIssued,
    KeyRevoked,
    KeyRotated,
    NewKeyOfCompany,
    issued_shown,
    revoked_shown,
    rotated_shown,
)
from mainstay.identity.key_tokens import SHOWN_CHARACTERS
from mainstay.identity.keys import ApiKey, State
from mainstay.identity.person_key_schemas import (
    KeyChange,
    KeyList,
    KeyListed,
    KeyListMeta,
    Leak,
    LeakReport,
    LeaksTold,
    PersonsRevocation,
    PersonsRotation,
    listed_shown,
)
from mainstay.kernel import ids, paging
from mainstay.kernel.db import Connection
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.web import problem
from mainstay.web.callers import Caller, May, Operator
from mainstay.web.json import json_body, openapi_body, refuse_unknown_query

AT = "/api/v1/keys"
_MOST_BYTES = 65_536
_LIST_QUERY = frozenset({"limit", "cursor", "state", "workspaceId"})

_Reader = Annotated[Caller, Depends(May("keys.read"))]
_Changer = Annotated[Caller, Depends(May("keys.change"))]
_Issuer = Annotated[Caller, Depends(May("keys.change", fresh=True))]
_New = Annotated[NewKeyOfCompany, Depends(json_body(NewKeyOfCompany, most=_MOST_BYTES))]
_Rotation = Annotated[PersonsRotation, Depends(json_body(PersonsRotation, most=_MOST_BYTES))]
_Revocation = Annotated[PersonsRevocation, Depends(json_body(PersonsRevocation, most=_MOST_BYTES))]
_Change = Annotated[KeyChange, Depends(json_body(KeyChange, most=_MOST_BYTES))]
_Report = Annotated[LeakReport, Depends(json_body(LeakReport, most=_MOST_BYTES))]
_Limit = Annotated[str, Query(description=f"1 to {paging.MAX_LIMIT}")]
_Cursor = Annotated[str | None, Query(description="`meta.nextCursor` of the page before")]
_State = Annotated[str | None, Query(description=f"Only keys that are {', '.join(get_args(State))}")]
_Workspace = Annotated[str | None, Query(alias="workspaceId", description="Only keys of this workspace")]


def _told(tag: str = "people", **more: str) -> dict[str, Any]:
    why = {
        "s401": "The access token is missing, wrong or over.",
        "s403": "Your role may not do this, or you must prove who you are first (`step-up-required`).",
        **more,
    }
    return {
        "tags": [tag],
        "responses": problem.responses({int(status[1:]): text for status, text in why.items()}),
    }


_BAD = "The body or a parameter is not valid."
_NO_KEY = "The company has no such key."


def add_person_key_routes(routes: APIRouter, regions: Regions, cursors: Cursors) -> None:
    """People see and change the keys of their company; operators report leaked ones."""
    _add_reading(routes, regions, cursors)
    _add_issuing(routes, regions)
    _add_changing(routes, regions)
    _add_leaks(routes, regions)


def _add_reading(routes: APIRouter, regions: Regions, cursors: Cursors) -> None:
    @routes.get(AT, **_told(s400="A parameter is not valid."))
    async def list_keys(
        request: Request,
        caller: _Reader,
        limit: _Limit = str(paging.DEFAULT_LIMIT),
        cursor: _Cursor = None,
        state: _State = None,
        workspace_id: _Workspace = None,
    ) -> KeyList:
        """The company's keys with how they are used, oldest first; their secrets are kept nowhere."""
        refuse_unknown_query(request, _LIST_QUERY)
        most, scope = paging.check_limit(_whole(limit)), f"keys:{caller.company_id}:{state}:{workspace_id}"
        if state is not None and state not in get_args(State):
            raise Invalid(faults=[Fault(f"must be one of {', '.join(get_args(State))}", "state")])
        if workspace_id is not None and not ids.is_uuid(workspace_id):
            raise Invalid(faults=[Fault("must be the id of a workspace", "workspaceId")])
        found = await keys.list_keys(
            regions.of(caller.region),
            caller.company_id,
            workspace_id=workspace_id,
            state=None if state is None else _state_of(state),
            after=None if cursor is None else str(cursors.open(scope, cursor)[0]),
            limit=most + 1,
        )
        page = found[:most]
        next_cursor = cursors.seal(scope, [page[-1].id]) if len(found) > most else None
        return KeyList(data=await _shown(regions, caller, page), meta=KeyListMeta(limit=most, next_cursor=next_cursor))

    @routes.get(f"{AT}/{{key_id}}", **_told(s404=_NO_KEY))
    async def read_key(caller: _Reader, key_id: str) -> KeyListed:
        """One key of the company, and how it is used."""
        key = await keys.get_key(regions.of(caller.region), caller.company_id, key_id)
        return (await _shown(regions, caller, [key]))[0]


def _add_issuing(routes: APIRouter, regions: Regions) -> None:
    @routes.post(AT, status_code=201, openapi_extra=dict(openapi_body(NewKeyOfCompany)), **_told(s400=_BAD))
    async def issue_key(caller: _Issuer, body: _New, response: Response) -> KeyIssued:
        """A key of the company, or of the workspace that `workspaceId` names; its secret is shown this once."""
        response.headers["cache-control"] = "no-store"
        async with regions.of(caller.region).begin() as tx:
            issued = await keys.issue_key(
                tx,
                caller.actor,
                caller.company_id,
                kind="company" if body.workspace_id is None else "workspace",
                name=body.name,
                workspace_id=body.workspace_id,
                read_only=body.read_only,
                allow_list=body.ip_allowlist,
                expires_at=body.expires_at,
                labels=body.labels,
                scopes=body.scopes,
                home=_home_of(regions, caller),
            )
        return issued_shown(issued)

    @routes.post(
        f"{AT}/{{key_id}}/rotate",
        openapi_extra=dict(openapi_body(PersonsRotation)),
        **_told(s400=_BAD, s404=_NO_KEY, s409="The key was rotated before, or works no more."),
    )
    async def rotate_key(caller: _Issuer, key_id: str, body: _Rotation, response: Response) -> KeyRotated:
        """A successor with the same rights, whose secret is shown this once; both work until the overlap ends."""
        response.headers["cache-control"] = "no-store"
        overlap: timedelta = overlap_of(revoke_old=body.revoke_old, seconds=body.overlap_seconds)
        home = _home_of(regions, caller)
        async with regions.of(caller.region).begin() as tx:
            issued = await keys.rotate_key(
                tx, caller.actor, caller.company_id, key_id, overlap=overlap, name=body.name, home=home
            )
            old = await keys.get_key(tx, caller.company_id, key_id)
        return rotated_shown(issued, old, ended=not overlap)


def _add_changing(routes: APIRouter, regions: Regions) -> None:
    @routes.post(
        f"{AT}/{{key_id}}/revoke",
        openapi_extra=dict(openapi_body(PersonsRevocation)),
        **_told(s400=_BAD, s404=_NO_KEY),
    )
    async def revoke_key(caller: _Changer, key_id: str, body: _Revocation) -> KeyRevoked:
        """The key ends for good; once this answers, no request succeeds with it."""
        async with regions.of(caller.region).begin() as tx:
            ended = await keys.revoke_key(tx, caller.actor, caller.company_id, key_id, reason=body.reason)
        return revoked_shown(ended)

    @routes.patch(f"{AT}/{{key_id}}", openapi_extra=dict(openapi_body(KeyChange)), **_told(s400=_BAD, s404=_NO_KEY))
    async def change_key(caller: _Changer, key_id: str, body: _Change) -> KeyListed:
        """The key has another name or other labels; what it may do does not change."""
        async with regions.of(caller.region).begin() as tx:
            key = await keys.change_key(tx, caller.actor, caller.company_id, key_id, name=body.name, labels=body.labels)
        return (await _shown(regions, caller, [key]))[0]


def _add_leaks(routes: APIRouter, regions: Regions) -> None:
    @routes.post(
        "/internal/keys/leaked",
        openapi_extra=dict(openapi_body(LeakReport)),
        **_told("operations", s400=_BAD, s403="The token is of another kind."),
    )
    async def report_leaked(caller: Operator, body: _Report, response: Response) -> LeaksTold:
        """Keys that somebody found in the open are revoked (or flagged), and their companies told."""
        response.headers["cache-control"] = "no-store"
        outcomes = await leaks.report(
            regions, caller.actor, body.tokens, source=body.source, url=body.url, revokes=body.act == "revoke"
        )
        return LeaksTold(
            data=[
                Leak(prefix=token[:SHOWN_CHARACTERS] if outcome != "no_key" else "", outcome=outcome)
                for token, outcome in zip(body.tokens, outcomes, strict=True)
            ]
        )


async def _shown(regions: Regions, caller: Caller, found: list[ApiKey]) -> list[KeyListed]:
    db = regions.of(caller.region)
    health = await key_health.health_of(db, caller.company_id, [key.id for key in found])
    return [listed_shown(key, health[key.id]) for key in found]


def _home_of(regions: Regions, caller: Caller) -> Connection | None:
    return None if regions.is_home(caller.region) else regions.home


def _state_of(text: str) -> State:
    return next(state for state in get_args(State) if state == text)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    return int(text)
