"""Members of the company: who may do what, and what changes that."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import members
from mainstay.console import invitations, members_acts
from mainstay.console.frame import Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.members_acts import ONE, PATH
from mainstay.console.people_words import FEATURES_TOLD, ROLES_TOLD, SHOWN, address, cut, position

_View = Annotated[Page, Depends(PageMay("members.read"))]

AREA = Area(
    "Members",
    PATH,
    "users",
    "People",
    (
        Action("Invite somebody", f"{PATH}/invitations/new", "members.invite"),
        Action("Invitations", f"{PATH}/invitations", "members.read"),
    ),
    act="members.read",
)
_FILTERS: dict[str, dict[str, Any]] = {
    "": {},
    "owner": {"role": "owner"},
    "manager": {"role": "manager"},
    "staff": {"role": "staff"},
    "suspended": {"suspended": True},
    "no-factor": {"has_mfa": False},
}
_WORDS = {
    "": "All", "owner": "Owners", "manager": "Managers", "staff": "Staff", "suspended": "Suspended",
    "no-factor": "Without second factor",
}  # fmt: skip


def routes(ground: Ground) -> APIRouter:
    """The routes; invitations first, as their path would fit an id."""
    router = pages()
    router.include_router(invitations.routes(ground))

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The members, in the order in which their accounts were made."""
        return page.show("members.html", one=None, **await _listed(page))

    @router.get(ONE)
    async def show_one(page: _View, person_id: str) -> Response:
        """One member, beside the list."""
        one = await members.members.get_member(ground.home, page.company_id, person_id)
        listed = {} if page.wanted == "panel" else await _listed(page)
        return page.show("members.html", one=one, **await _told_of(page, one), **listed)

    members_acts.add_routes(router, ground)
    return router


async def _listed(page: Page) -> dict[str, Any]:
    query, cursors = page.request.query_params, page.ground.cursors
    chosen, search = query.get("show", ""), query.get("search", "").strip()
    chosen = chosen if chosen in _FILTERS else ""
    scope = f"console members {page.company_id}"
    wanted = members.members.Wanted(search=search or None, **_FILTERS[chosen])
    after = position(cursors, scope, query.get("after", ""))
    found, total = await members.members.list_members(
        page.ground.home, page.company_id, wanted, after=after, limit=SHOWN + 1
    )
    rows, following = cut(cursors, scope, found)
    return {
        "members": rows,
        "total": total,
        "search": search,
        "show": chosen,
        "is_filtered": bool(search or chosen),
        "choices": [(words, address(PATH, show=name, search=search), name == chosen) for name, words in _WORDS.items()],
        "first": address(PATH, show=chosen, search=search) if after else "",
        "following": address(PATH, show=chosen, search=search, after=following) if following else "",
    }


async def _told_of(page: Page, one: members.members.Member) -> dict[str, Any]:
    """What stands beside a member: what may be done with them, and what goes on without them."""
    is_self = one.id == page.caller.id
    acting_owners = members.members.Wanted(role="owner", suspended=False)
    _, owners = await members.members.list_members(
        page.ground.home, page.company_id, acting_owners, after=None, limit=1
    )
    return {
        "is_self": is_self,
        "is_last_owner": is_self and one.rights.role == "owner" and owners == 1,
        "may_change": page.may("members.change")
        and not is_self
        and (one.rights.role != "owner" or page.may("owners.change")),
        "keys": await members.leaving.count_keys_of(page.db, page.company_id, one.id),
        "roles": [(role, told) for role, told in ROLES_TOLD.items() if role != "owner" or page.may("owners.change")],
        "features": FEATURES_TOLD,
    }
