"""Members over HTTP: seen, changed, suspended, removed, and leaving."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Tx
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.members import changing, leaving, members
from mainstay.members.listing import DEFAULT, Cursor, Limit, choice_of, page_of
from mainstay.members.members import Wanted
from mainstay.members.schemas import FeaturesRequest, RoleRequest
from mainstay.members.shown import change_shown, keys_shown, member_shown
from mainstay.web.callers import Caller, May
from mainstay.web.json import Answer, json_body, openapi_body
from mainstay.web.roles import ROLES

_AT = "/api/v1/members"
_BODY = 16_384
_FILTERS = frozenset({"role", "suspended", "search", "departmentId"})
_Reader = Annotated[Caller, Depends(May("members.read"))]
_Changer = Annotated[Caller, Depends(May("members.change"))]
_Anybody = Annotated[Caller, Depends(May("account.use"))]
_Role = Annotated[RoleRequest, Depends(json_body(RoleRequest, most=_BODY))]
_Features = Annotated[FeaturesRequest, Depends(json_body(FeaturesRequest, most=_BODY))]


def add_member_routes(routes: APIRouter, regions: Regions, keyring: Keyring, cursors: Cursors) -> None:
    """The routes of members are there."""
    _add_reading(routes, regions, cursors)
    _add_rights(routes, regions)
    _add_leaving(routes, regions, keyring)


def _add_reading(routes: APIRouter, regions: Regions, cursors: Cursors) -> None:
    @routes.get(_AT, tags=["members"])
    async def list_members(
        request: Request,
        caller: _Reader,
        role: str | None = None,
        suspended: Annotated[str | None, Query(description="`true` or `false`")] = None,
        search: Annotated[str | None, Query(description="a part of name or email")] = None,
        department_id: Annotated[str | None, Query(alias="departmentId")] = None,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Answer:
        """The company's members in the order in which their accounts were made."""
        page = page_of(request, cursors, f"members:{caller.company_id}", limit, cursor, _FILTERS)
        state = choice_of(suspended, ("true", "false"), "suspended")
        wanted = Wanted(
            choice_of(role, ROLES, "role"), None if state is None else state == "true", search, department_id
        )
        found, total = await members.list_members(
            regions.home, caller.company_id, wanted, after=page.position, limit=page.one_more
        )
        return page.answer(found, total, member_shown, lambda one: one.id)

    @routes.get(_AT + "/{person_id}", tags=["members"])
    async def read_member(caller: _Reader, person_id: str) -> Answer:
        """One member."""
        return Answer(member_shown(await members.get_member(regions.home, caller.company_id, person_id)))


def _add_rights(routes: APIRouter, regions: Regions) -> None:
    @routes.post(_AT + "/{person_id}/role", tags=["members"], openapi_extra=dict(openapi_body(RoleRequest)))
    async def change_role(caller: _Changer, person_id: str, body: _Role) -> Answer:
        """Gives the member another role, or tells what would be gained and lost (`dryRun`)."""
        async with regions.home.begin() as tx:
            change = await changing.change_role(
                tx, caller, person_id, role=body.role, features=body.features, is_tried=body.dry_run
            )
            member = await members.get_member(tx, caller.company_id, person_id)
        return Answer({**change_shown(change), "member": member_shown(member)})

    @routes.put(_AT + "/{person_id}/features", tags=["members"], openapi_extra=dict(openapi_body(FeaturesRequest)))
    async def change_features(caller: _Changer, person_id: str, body: _Features) -> Answer:
        """Assigns these features, and no others, to a member of the staff."""
        async with regions.home.begin() as tx:
            change = await changing.change_features(tx, caller, person_id, features=body.features)
            member = await members.get_member(tx, caller.company_id, person_id)
        return Answer({**change_shown(change), "member": member_shown(member)})


def _add_leaving(routes: APIRouter, regions: Regions, keyring: Keyring) -> None:
    async def keys_of(caller: Caller, person_id: str) -> dict[str, Any]:
        db = regions.of(caller.region)
        return keys_shown(await leaving.count_keys_of(db, caller.company_id, person_id))

    async def after(tx: Tx, caller: Caller, person_id: str) -> dict[str, Any]:
        return {"member": member_shown(await members.get_member(tx, caller.company_id, person_id))}

    @routes.post(_AT + "/{person_id}/suspend", tags=["members"])
    async def suspend(caller: _Changer, person_id: str) -> Answer:
        """Suspends the member at once, everywhere; keys that they made go on."""
        async with regions.home.begin() as tx:
            await leaving.suspend(tx, keyring, caller, person_id)
            shown = await after(tx, caller, person_id)
        return Answer({**shown, **await keys_of(caller, person_id)})

    @routes.post(_AT + "/{person_id}/restore", tags=["members"])
    async def restore(caller: _Changer, person_id: str) -> Answer:
        """Ends the member's suspension; they sign in anew."""
        async with regions.home.begin() as tx:
            await leaving.restore(tx, caller, person_id)
            return Answer(await after(tx, caller, person_id))

    @routes.delete(_AT + "/{person_id}", tags=["members"])
    async def remove(caller: _Changer, person_id: str) -> Answer:
        """Takes the member out of the company; keys that they made go on."""
        async with regions.home.begin() as tx:
            await leaving.remove(tx, caller, person_id)
        return Answer(await keys_of(caller, person_id))

    @routes.post("/api/v1/company/leave", tags=["members"])
    async def leave(caller: _Anybody) -> Answer:
        """Takes the caller out of the company."""
        async with regions.home.begin() as tx:
            await leaving.leave(tx, caller)
        return Answer(await keys_of(caller, caller.id))
