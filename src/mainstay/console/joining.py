"""Joining a company by the link of an invitation: with a new account, or with the one that there is."""

from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams

from mainstay import accounts, identity, members
from mainstay.console import visiting
from mainstay.console.drafts import Draft
from mainstay.console.explaining import say
from mainstay.console.ground import Ground
from mainstay.console.guards import pages, read_session
from mainstay.console.onward import HOME, SIGN_IN
from mainstay.kernel.errors import MainstayError, Unauthenticated
from mainstay.web import limiting
from mainstay.web.callers import address_of

PATH = "/console/accept-invitation"
FIELDS = ("name", "password")


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def ask(request: Request) -> Response:
        """What the link is an invitation to; opening it changes nothing."""
        landed = visiting.land(ground, request)
        if landed is not None:
            return landed
        return await _form(ground, request, visiting.link_token(request), Draft.of(FIELDS))

    @router.post(PATH)
    async def join(request: Request) -> Response:
        """Whoever holds the link is a member, and signed in to the company."""
        form = await visiting.read_visitor_form(ground, request)
        token, draft = form.get("token", ""), Draft.of(FIELDS, form, hidden=("password",))
        session, password = await _session(ground, request), form.get("password")
        given = members.accepting.Answer(
            token,
            draft.typed["name"] if "name" in form else None,
            password,
            signed_in=None if session is None else session.caller,
            address=address_of(request.scope.get("client")),
        )
        try:
            await limiting.hold(request, "login")
            async with limiting.failing(request, "login_failures"):
                joined = await members.accepting.accept(ground.home, ground.accounts.passwords, given)
        except MainstayError as refusal:
            if isinstance(refusal, Unauthenticated):
                draft.wrong["password"] = "This is not the password of that account."  # noqa: S105
            draft.take(refusal)
            return await _form(ground, request, token, draft, refusal)
        answer = await _go_in(ground, request, joined, session, password or "")
        return visiting.drop_link(ground, request, answer)

    return router


async def _go_in(
    ground: Ground,
    request: Request,
    joined: members.accepting.Joined,
    session: identity.Session | None,
    password: str,
) -> Response:
    """On to the company that was joined: in the session that there is, or by the password that was just given."""
    said = f"You are a member of {joined.company_name} now."
    company_id = joined.invitation.company_id
    if session is not None and session.caller.id == joined.person_id:
        await ground.sessions.move(session, company_id=company_id)
        answer = visiting.lead_visitor(HOME)
        say(answer, said, is_https=ground.is_https)
        return answer
    try:
        outcome = await accounts.sign_in(
            ground.accounts,
            visiting.arrival_of(request),
            email=joined.email,
            password=password,
            company_id=company_id,
        )
    except MainstayError:
        answer = visiting.lead_visitor(f"{SIGN_IN}?{QueryParams({'next': HOME})}")
        say(answer, f"{said} Sign in to go on.", is_https=ground.is_https)
        return answer
    return visiting.admit(ground, request, HOME, outcome, said=said)


async def _form(
    ground: Ground, request: Request, token: str, draft: Draft, refusal: MainstayError | None = None
) -> Response:
    session = await _session(ground, request)
    try:
        offer = await members.accepting.read_offer(ground.home, token)
    except accounts.LinkOver:
        refused = None if isinstance(refusal, accounts.LinkOver) else refusal
        return visiting.show(ground, request, "join.html", refusal=refused, offer=None, broad=True)
    key = "" if session is None else identity.names.check_email(session.caller.email or "")[1]
    is_me = offer.has_account and key == offer.invitation.email_key
    other = "" if session is None or is_me else session.caller.email
    return visiting.show(
        ground, request, "join.html", refusal=refusal, draft=draft, token=token, offer=offer, is_me=is_me,
        other=other, broad=True,
    )  # fmt: skip


async def _session(ground: Ground, request: Request) -> identity.Session | None:
    try:
        return await read_session(ground, request)
    except MainstayError:
        return None
