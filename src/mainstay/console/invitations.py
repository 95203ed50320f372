"""Invitations: who was asked by letter to join the company, asked again, and asked no more."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Response

from mainstay import members
from mainstay.console.drafts import Draft
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.people_words import FEATURES_TOLD, OUTBOX, ROLES_TOLD, SHOWN, address, cut, position
from mainstay.kernel.errors import MainstayError, StepUpRequired
from mainstay.web import limiting
from mainstay.web.roles import FEATURES, Role

PATH = "/console/members/invitations"
ONE = PATH + "/{invitation_id}"
_View = Annotated[Page, Depends(PageMay("members.read"))]
_Edit = Annotated[Page, Depends(PageMay("members.invite"))]
_STATES = {"": "All", "open": "Open", "expired": "Expired", "accepted": "Accepted", "withdrawn": "Withdrawn"}
_FIELDS = ("email", "role", "features")
_AT = {"already-member": "email", "company-full": "email", "owners-only": "role"}


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    _add_inviting(router, ground)

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The invitations, newest first."""
        return page.show("invitations.html", one=None, **await _listed(page))

    @router.get(ONE)
    async def show_one(page: _View, invitation_id: str) -> Response:
        """One invitation, beside the list."""
        one = await members.inviting.get_invitation(ground.home, page.company_id, invitation_id)
        listed = _letters(page) if page.wanted == "panel" else await _listed(page)
        return page.show("invitations.html", one=one, **listed)

    @router.post(ONE + "/resend")
    async def resend(page: _Edit, invitation_id: str) -> Response:
        """Another letter, good for 7 days; the link of the older one is over."""
        one = await members.inviting.get_invitation(ground.home, page.company_id, invitation_id)
        await limiting.hold_person(page.request, page.company_id, page.caller.id, "invites")
        async with ground.home.begin() as tx:
            await members.inviting.resend(tx, ground.keyring, page.caller, one.id)
        return page.go(f"{PATH}/{one.id}", said=f"Another letter waits for {one.email}. The older link is over.")

    @router.post(ONE + "/withdraw")
    async def withdraw(page: _Edit, invitation_id: str) -> Response:
        """The link of the invitation opens nothing any more."""
        one = await members.inviting.get_invitation(ground.home, page.company_id, invitation_id)
        async with ground.home.begin() as tx:
            await members.inviting.withdraw(tx, page.caller, one.id)
        return page.go(f"{PATH}/{one.id}", said=f"Withdrawn. The link that {one.email} got opens nothing.")

    return router


def _add_inviting(router: APIRouter, ground: Ground) -> None:
    @router.get(PATH + "/new")
    async def ask(page: _Edit) -> Response:
        """The form."""
        return _form(page, Draft({"email": "", "role": "staff", "features": ""}), [])

    @router.post(PATH)
    async def invite(page: _Edit) -> Response:
        """A letter with a link that is good once and for 7 days waits for the address."""
        draft = Draft.of(_FIELDS, page.form)
        chosen = [one for one in page.form.getlist("features") if one in FEATURES]
        role = next((one for one in get_args(Role) if one == draft.typed["role"]), None)
        if role is None:
            draft.wrong["role"] = "Choose one of the roles."
            return _form(page, draft, chosen, status=400)
        try:
            await limiting.hold_person(page.request, page.company_id, page.caller.id, "invites")
            async with ground.home.begin() as tx:
                made = await members.inviting.invite(
                    tx, ground.keyring, page.caller, email=draft.typed["email"], role=role,
                    features=chosen if role == "staff" else None,
                )  # fmt: skip
        except MainstayError as refusal:
            if isinstance(refusal, StepUpRequired) or not draft.take(refusal, _AT):
                raise
            return _form(page, draft, chosen, status=refusal.status)
        return page.go(f"{PATH}/{made.id}", said=f"{made.email} is invited. The letter waits.")


def _form(page: Page, draft: Draft, chosen: Sequence[str], *, status: int = 200) -> Response:
    roles = [(role, told) for role, told in ROLES_TOLD.items() if role != "owner" or page.may("owners.change")]
    return page.show(
        "invitations_form.html", status=status, draft=draft, chosen=chosen, roles=roles, features=FEATURES_TOLD,
        **_letters(page),
    )  # fmt: skip


def _letters(page: Page) -> Mapping[str, Any]:
    """Where letters can be read: in the development profile alone."""
    return {"outbox": OUTBOX if page.ground.settings.profile == "development" else ""}


async def _listed(page: Page) -> dict[str, Any]:
    query, cursors = page.request.query_params, page.ground.cursors
    chosen = next((one for one in get_args(members.inviting.State) if one == query.get("state")), None)
    scope = f"console invitations {page.company_id}"
    before = position(cursors, scope, query.get("before", ""))
    found, total = await members.inviting.list_invitations(
        page.ground.home, page.company_id, state=chosen, before=before, limit=SHOWN + 1
    )
    rows, following = cut(cursors, scope, found)
    state = chosen or ""
    return {
        "invitations": rows,
        "total": total,
        "choices": [(words, address(PATH, state=name), name == state) for name, words in _STATES.items()],
        "first": address(PATH, state=state) if before else "",
        "following": address(PATH, state=state, before=following) if following else "",
        "is_filtered": bool(state),
        **_letters(page),
    }
