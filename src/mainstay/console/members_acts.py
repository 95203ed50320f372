"""What is done with one member: another role, seen before it is given, suspended, restored, removed, a factor reset."""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Response

from mainstay import members, mfa
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, Page, PageMay
from mainstay.console.onward import SIGN_IN
from mainstay.console.people_words import acts_told
from mainstay.kernel.errors import Fault, Invalid, MainstayError
from mainstay.web.roles import FEATURES, Role

PATH = "/console/members"
ONE = PATH + "/{person_id}"
_Edit = Annotated[Page, Depends(PageMay("members.change"))]
_FreshEdit = Annotated[Page, Depends(PageMay("members.change", fresh=True))]


def add_routes(router: APIRouter, ground: Ground) -> None:
    """The routes of one member are there; leaving first, as its path would fit an id."""
    _add_leaving(router, ground)
    _add_role(router, ground)
    _add_suspending(router, ground)
    _add_factor(router, ground)


def _add_role(router: APIRouter, ground: Ground) -> None:
    @router.get(ONE + "/role")
    async def preview(page: _Edit, person_id: str) -> Response:
        """What the member would gain and lose; nothing is changed."""
        one = await members.members.get_member(ground.home, page.company_id, person_id)
        query = page.request.query_params
        role, features = rights_of(query.get("role", one.rights.role), query.getlist("features"))
        context: dict[str, Any] = {"one": one, "role": role, "features": features, "refusal": None, "change": None}
        try:
            async with ground.home.begin() as tx:
                change = await members.changing.change_role(
                    tx, page.caller, one.id, role=role, features=features, is_tried=True
                )
        except MainstayError as refusal:
            if refusal.status not in (403, 409):
                raise
            return page.show("members_role.html", **{**context, "refusal": refusal})
        gained, lost = change.difference.acts_gained, change.difference.acts_lost
        return page.show(
            "members_role.html", **{**context, "change": change}, gained=acts_told(gained), lost=acts_told(lost)
        )

    @router.post(ONE + "/role")
    async def change(page: _Edit, person_id: str) -> Response:
        """The member has that role, and of the staff those features and no others."""
        one = await members.members.get_member(ground.home, page.company_id, person_id)
        role, features = rights_of(page.form.get("role", ""), page.form.getlist("features"))
        async with ground.home.begin() as tx:
            await members.changing.change_role(tx, page.caller, one.id, role=role, features=features, is_tried=False)
        return page.go(f"{PATH}/{one.id}", said=f"{one.name} is {role} now. It holds at their next click.")


def _add_suspending(router: APIRouter, ground: Ground) -> None:
    @router.post(ONE + "/suspend")
    async def suspend(page: _Edit, person_id: str) -> Response:
        """The member may do nothing in the company from now on."""
        one = await members.members.get_member(ground.home, page.company_id, person_id)
        async with ground.home.begin() as tx:
            await members.leaving.suspend(tx, ground.keyring, page.caller, one.id)
        return page.go(f"{PATH}/{one.id}", said=f"{one.name} is suspended and signed out of the company everywhere.")

    @router.post(ONE + "/restore")
    async def restore(page: _Edit, person_id: str) -> Response:
        """The member may act again after signing in."""
        one = await members.members.get_member(ground.home, page.company_id, person_id)
        async with ground.home.begin() as tx:
            await members.leaving.restore(tx, page.caller, one.id)
        return page.go(f"{PATH}/{one.id}", said=f"{one.name} may act again, once they sign in.")

    @router.post(ONE + "/remove")
    async def remove(page: _Edit, person_id: str) -> Response:
        """The person is no member any more, where their address was typed."""
        one = await members.members.get_member(ground.home, page.company_id, person_id)
        if page.form.get("confirm", "").strip() != one.email:
            raise Invalid(f"Type {one.email} to remove this member.")
        async with ground.home.begin() as tx:
            await members.leaving.remove(tx, page.caller, one.id)
        return page.go(PATH, said=f"{one.name} is no member any more.")


def _add_factor(router: APIRouter, ground: Ground) -> None:
    @router.post(ONE + "/second-factor")
    async def reset(page: _FreshEdit, person_id: str) -> Response:
        """The member has no second factor any more, and is signed out everywhere."""
        one = await members.members.get_member(ground.home, page.company_id, person_id)
        await mfa.reset_member(ground.home, page.caller, one.id)
        return page.go(f"{PATH}/{one.id}", said=f"{one.name} has no second factor, and was told by letter.")


def _add_leaving(router: APIRouter, ground: Ground) -> None:
    @router.post(PATH + "/leave")
    async def leave(page: AnyPage) -> Response:
        """Whoever asks is no member any more, where the company's name was typed."""
        if page.form.get("confirm", "").strip() != page.session.company_name:
            raise Invalid(f"Type {page.session.company_name} to leave this company.")
        async with ground.home.begin() as tx:
            await members.leaving.leave(tx, page.caller)
        return page.go(SIGN_IN, said=f"You are no member of {page.session.company_name} any more.")


def rights_of(role: str, features: Sequence[str]) -> tuple[Role, Sequence[str]]:
    """The role and, of the staff, the features that a form gives; Invalid."""
    found = next((one for one in get_args(Role) if one == role), None)
    if found is None:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(get_args(Role))}", "role")])
    return found, [one for one in features if one in FEATURES] if found == "staff" else []
