"""Invitations over HTTP: for those who invite, and for whoever holds a link."""

from typing import Annotated, get_args

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request

from mainstay import identity
from mainstay.kernel import once
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.errors import Forbidden, Unauthenticated
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.members import accepting, inviting
from mainstay.members.inviting import State
from mainstay.members.listing import DEFAULT, Cursor, Limit, choice_of, page_of
from mainstay.members.schemas import AcceptRequest, InviteRequest
from mainstay.members.shown import invitation_shown, joined_shown, offer_shown
from mainstay.web.callers import Caller, May, address_of
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query
from mainstay.web.limiting import Limited

_AT = "/api/v1/invites"
_BODY = 16_384
_NO_STORE = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
_Reader = Annotated[Caller, Depends(May("members.read"))]
_Sender = Annotated[Caller, Depends(May("members.invite", limit="invites"))]
_Inviter = Annotated[Caller, Depends(May("members.invite"))]
_Invite = Annotated[InviteRequest, Depends(json_body(InviteRequest, most=_BODY))]
_Accept = Annotated[AcceptRequest, Depends(json_body(AcceptRequest, most=_BODY))]
_OnceKey = Annotated[str | None, Header(alias=once.HEADER)]
_Token = Annotated[str, Query(max_length=200)]
_account = May("account.use")


def add_invite_routes(
    routes: APIRouter, regions: Regions, keyring: Keyring, passwords: identity.Passwords, cursors: Cursors
) -> None:
    """The routes of invitations are there; those of links first, as their path would fit an id."""
    _add_accepting(routes, regions, passwords)
    _add_reading(routes, regions, cursors)
    _add_inviting(routes, regions, keyring)


def _add_accepting(routes: APIRouter, regions: Regions, passwords: identity.Passwords) -> None:
    limited = [Depends(Limited("login"))]

    @routes.get(f"{_AT}/accept", tags=["members"], dependencies=limited)
    async def read_offer(request: Request, token: _Token) -> Answer:
        """What the link of a letter is an invitation to; looking at it changes nothing."""
        refuse_unknown_query(request, frozenset({"token"}))
        return Answer(offer_shown(await accepting.read_offer(regions.home, token)), headers=_NO_STORE)

    @routes.post(
        f"{_AT}/accept", tags=["members"], openapi_extra=dict(openapi_body(AcceptRequest)), dependencies=limited
    )
    async def accept(request: Request, body: _Accept) -> Answer:
        """Joins the company: with a new account, or with the one that there is, signed in or by its password."""
        given = accepting.Answer(
            body.token,
            body.name,
            body.password,
            signed_in=await _signed_in(request),
            address=address_of(request.scope.get("client")),
        )
        return Answer(joined_shown(await accepting.accept(regions.home, passwords, given)), headers=_NO_STORE)


def _add_reading(routes: APIRouter, regions: Regions, cursors: Cursors) -> None:
    @routes.get(_AT, tags=["members"])
    async def list_invitations(
        request: Request, caller: _Reader, state: str | None = None, limit: Limit = DEFAULT, cursor: Cursor = None
    ) -> Answer:
        """The company's invitations, newest first."""
        page = page_of(request, cursors, f"invites:{caller.company_id}", limit, cursor, frozenset({"state"}))
        wanted = choice_of(state, get_args(State), "state")
        found, total = await inviting.list_invitations(
            regions.home, caller.company_id, state=wanted, before=page.position, limit=page.one_more
        )
        return page.answer(found, total, invitation_shown, lambda one: one.id)

    @routes.get(_AT + "/{invitation_id}", tags=["members"])
    async def read_invitation(caller: _Reader, invitation_id: str) -> Answer:
        """One invitation."""
        return Answer(invitation_shown(await inviting.get_invitation(regions.home, caller.company_id, invitation_id)))


def _add_inviting(routes: APIRouter, regions: Regions, keyring: Keyring) -> None:
    @routes.post(_AT, tags=["members"], status_code=201, openapi_extra=dict(openapi_body(InviteRequest)))
    async def invite(caller: _Sender, body: _Invite, once_key: _OnceKey = None) -> Answer:
        """Invites an address by letter, for 7 days; again renews the invitation."""
        key, content = once.header_key(once_key), msgspec.json.encode(body).decode()
        request = None if key is None else once.Request(f"members.invite:{caller.id}", key, content)
        async with regions.home.begin() as tx:
            invitation = await inviting.invite(
                tx, keyring, caller, email=body.email, role=body.role, features=body.features, request=request
            )
        return Answer(invitation_shown(invitation), 201)

    @routes.post(_AT + "/{invitation_id}/resend", tags=["members"])
    async def resend(caller: _Sender, invitation_id: str) -> Answer:
        """Sends another letter, good for 7 days from now; the link of the older one is over."""
        async with regions.home.begin() as tx:
            return Answer(invitation_shown(await inviting.resend(tx, keyring, caller, invitation_id)))

    @routes.delete(_AT + "/{invitation_id}", tags=["members"])
    async def withdraw(caller: _Inviter, invitation_id: str) -> Answer:
        """Withdraws the invitation: its link opens nothing any more."""
        async with regions.home.begin() as tx:
            return Answer(invitation_shown(await inviting.withdraw(tx, caller, invitation_id)))


async def _signed_in(request: Request) -> Caller | None:
    """Who calls, where they prove to be signed in."""
    try:
        return await _account(request)
    except (Unauthenticated, Forbidden):
        return None
