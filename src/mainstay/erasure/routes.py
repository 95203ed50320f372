"""Erasures and holds over HTTP: the same acts for a company's owners and by its key; holds also by operators."""

from typing import Annotated

from fastapi import APIRouter, Depends

from mainstay.erasure import erasures, holds
from mainstay.erasure.ground import Ground
from mainstay.erasure.key_routes import key_router
from mainstay.erasure.schemas import ErasureIn, HoldIn
from mainstay.kernel import paging
from mainstay.kernel.errors import Invalid
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.web.callers import Caller, Guards, Operator
from mainstay.web.json import Answer, json_body, openapi_body

_NOT_KEPT = {"cache-control": "no-store"}
_FAMILIES = {
    "/api/v1/company": Guards.of_people("erasures.change", "erasures.change"),
    "/v1/key/company": Guards.of_keys("company_key"),
}


def router(ground: Ground, cursors: Cursors) -> APIRouter:
    """Erasures and holds for owners and company keys, holds for operators, and exports of a person's events."""
    whole = APIRouter(tags=["erasure"], default_response_class=Answer)
    for prefix, guards in _FAMILIES.items():
        one = APIRouter(prefix=prefix)
        _add_erasures(one, ground, cursors, guards)
        _add_holds(one, ground, guards)
        whole.include_router(one)
    _add_operators_holds(whole, ground)
    whole.include_router(key_router(ground))
    return whole


def _add_erasures(router: APIRouter, ground: Ground, cursors: Cursors, guards: Guards) -> None:
    regions = ground.regions

    @router.post("/erasures", status_code=202, openapi_extra=dict(openapi_body(ErasureIn)))
    async def request(
        caller: Annotated[Caller, guards.changing], wanted: Annotated[ErasureIn, Depends(json_body(ErasureIn))]
    ) -> Answer:
        """Erases a person from what is stored by now, or counts what that would touch (`dryRun`)."""
        db = regions.of(caller.region)
        made = await erasures.request(db, ground.keyring, caller.actor, caller.company_id, wanted)
        return Answer(made, 202, _NOT_KEPT)

    @router.get("/erasures")
    async def list_all(caller: Annotated[Caller, guards.reading]) -> Answer:
        """The 100 newest erasures: what was erased, when, and by whom."""
        return Answer({"data": await erasures.read_all(regions, caller.company_id)})

    @router.get("/erasures/{erasure_id}")
    async def read(caller: Annotated[Caller, guards.reading], erasure_id: str) -> Answer:
        """One erasure and how far it is."""
        return Answer(await erasures.read(regions, caller.company_id, erasure_id))

    @router.get("/erasures/{erasure_id}/events")
    async def list_events(
        caller: Annotated[Caller, guards.reading],
        erasure_id: str,
        cursor: str | None = None,
        limit: int = paging.DEFAULT_LIMIT,
    ) -> Answer:
        """The events that lost parts by it, and which parts."""
        paging.check_limit(limit)
        scope = f"erased/{caller.company_id}/{erasure_id}/by-database"
        await erasures.read(regions, caller.company_id, erasure_id)
        after = None if cursor is None else _position(cursors.open(scope, cursor), regions)
        found = await erasures.read_events(regions, caller.company_id, erasure_id, after=after, limit=limit + 1)
        page, more = found[:limit], len(found) > limit
        last = [page[-1][name] for name in ("storedIn", "workspaceId", "seq")] if more else []
        following = cursors.seal(scope, last) if more else None
        return Answer({"data": page, "meta": {"limit": limit, "nextCursor": following, "hasMore": more}})

    @router.post("/erasures/{erasure_id}/resume", status_code=202)
    async def resume(caller: Annotated[Caller, guards.changing], erasure_id: str) -> Answer:
        """Goes on with an erasure that a hold stopped or that failed."""
        resumed = await erasures.resume(regions, ground.keyring, caller.actor, caller.company_id, erasure_id)
        return Answer(resumed, 202, _NOT_KEPT)


def _position(opened: list[object], regions: Regions) -> tuple[str, str, int]:
    """Where a page ended; Invalid where the database that it names is no more."""
    name, workspace_id, seq = opened
    if name not in [one for one, _ in regions.all()]:
        raise Invalid("Regions have moved to other databases since: read from the first event again.")
    return str(name), str(workspace_id), int(str(seq))


def _add_holds(router: APIRouter, ground: Ground, guards: Guards) -> None:
    @router.post("/holds", status_code=201, openapi_extra=dict(openapi_body(HoldIn)))
    async def set_hold(
        caller: Annotated[Caller, guards.changing], wanted: Annotated[HoldIn, Depends(json_body(HoldIn))]
    ) -> Answer:
        """Keeps the company's events, a workspace's, or a person's from erasure and from retention."""
        made = await holds.set_hold(ground.regions, ground.keyring, caller.actor, caller.company_id, wanted)
        return Answer(made, 201, _NOT_KEPT)

    @router.get("/holds")
    async def list_holds(caller: Annotated[Caller, guards.reading]) -> Answer:
        """The 200 newest holds, standing and lifted."""
        return Answer(
            {"data": await holds.read_all(ground.regions, ground.keyring, caller.company_id)}, headers=_NOT_KEPT
        )

    @router.post("/holds/{hold_id}/lift")
    async def lift(caller: Annotated[Caller, guards.changing], hold_id: str) -> Answer:
        """Lifts the hold; whom it was on is forgotten."""
        return Answer(await holds.lift(ground.regions, ground.keyring, caller.actor, caller.company_id, hold_id))


def _add_operators_holds(router: APIRouter, ground: Ground) -> None:
    @router.post("/internal/companies/{company_id}/holds", status_code=201)
    async def set_hold(
        caller: Operator, company_id: str, wanted: Annotated[HoldIn, Depends(json_body(HoldIn))]
    ) -> Answer:
        """Keeps a company's events, a workspace's, or a person's."""
        company = await holds.company_of(ground.regions, company_id)
        made = await holds.set_hold(ground.regions, ground.keyring, caller.actor, company, wanted)
        return Answer(made, 201, _NOT_KEPT)

    @router.post("/internal/companies/{company_id}/holds/{hold_id}/lift")
    async def lift(caller: Operator, company_id: str, hold_id: str) -> Answer:
        """Lifts a hold of the company."""
        company = await holds.company_of(ground.regions, company_id)
        return Answer(await holds.lift(ground.regions, ground.keyring, caller.actor, company, hold_id))
