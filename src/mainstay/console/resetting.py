"""A forgotten password, and what the links of letters lead to: another password, a confirmed address."""

from fastapi import APIRouter, Request, Response

from mainstay import accounts
from mainstay.console import visiting
from mainstay.console.drafts import Draft
from mainstay.console.explaining import say
from mainstay.console.ground import Ground
from mainstay.console.guards import pages
from mainstay.console.onward import SIGN_IN
from mainstay.kernel.errors import MainstayError
from mainstay.web import limiting
from mainstay.web.callers import address_of

FORGOT = "/console/forgot-password"
RESET = "/console/reset-password"
CONFIRM = "/console/confirm-email"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    _add_forgetting(router, ground)
    _add_resetting(router, ground)
    _add_confirming(router, ground)
    return router


def _add_forgetting(router: APIRouter, ground: Ground) -> None:
    @router.get(FORGOT)
    async def ask(request: Request) -> Response:
        """The form."""
        return visiting.show(ground, request, "forgot.html", draft=Draft.of(["email"]), is_sent=False)

    @router.post(FORGOT)
    async def forget(request: Request) -> Response:
        """A letter goes to the address if somebody has it; the page does not tell whether."""
        form = await visiting.read_visitor_form(ground, request)
        draft = Draft.of(["email"], form)
        try:
            await limiting.hold(request, "letters")
            address = address_of(request.scope.get("client"))
            await accounts.resetting.ask_for_reset(
                ground.home, ground.keyring, email=draft.typed["email"], address=address
            )
        except MainstayError as refusal:
            draft.take(refusal)
            return visiting.show(ground, request, "forgot.html", refusal=refusal, draft=draft, is_sent=False)
        return visiting.show(ground, request, "forgot.html", draft=draft, is_sent=True)


def _add_resetting(router: APIRouter, ground: Ground) -> None:
    @router.get(RESET)
    async def ask(request: Request) -> Response:
        """The form, for whoever comes by the link of a letter."""
        landed = visiting.land(ground, request)
        if landed is not None:
            return landed
        token = visiting.link_token(request)
        is_open = await accounts.links.find_link(ground.home, "password_reset", token) is not None
        draft = Draft.of(["newPassword"])
        return visiting.show(ground, request, "reset.html", draft=draft, token=token, is_over=not is_open)

    @router.post(RESET)
    async def reset(request: Request) -> Response:
        """The password is the new one; signing in is another step."""
        form = await visiting.read_visitor_form(ground, request)
        token, draft = form.get("token", ""), Draft.of(["newPassword"])
        try:
            await limiting.hold(request, "login")
            await accounts.resetting.reset_password(ground.accounts, token=token, new=form.get("newPassword", ""))
        except MainstayError as refusal:
            draft.take(refusal)
            is_over = isinstance(refusal, accounts.LinkOver)
            return visiting.show(
                ground, request, "reset.html", refusal=refusal, draft=draft, token=token, is_over=is_over
            )
        answer = visiting.lead_visitor(SIGN_IN)
        said = "Your password is the new one, and every session has ended. Sign in with it."
        say(answer, said, is_https=ground.is_https)
        return visiting.drop_link(ground, request, answer)


def _add_confirming(router: APIRouter, ground: Ground) -> None:
    @router.get(CONFIRM)
    async def ask(request: Request) -> Response:
        """What the link of a letter confirms; opening it does nothing."""
        landed = visiting.land(ground, request)
        if landed is not None:
            return landed
        token = visiting.link_token(request)
        change = await accounts.links.find_link(ground.home, "email_change", token)
        is_open = change is not None or bool(await accounts.links.find_link(ground.home, "email_confirmation", token))
        email = "" if change is None else str(change.data["email"])
        return visiting.show(ground, request, "confirm_email.html", token=token, email=email, is_over=not is_open)

    @router.post(CONFIRM)
    async def confirm(request: Request) -> Response:
        """The address of the link is the person's, and confirmed."""
        form = await visiting.read_visitor_form(ground, request)
        token = form.get("token", "")
        try:
            await limiting.hold(request, "login")
            email = await accounts.emails.confirm(ground.home, ground.keyring, token=token)
        except MainstayError as refusal:
            is_over = isinstance(refusal, accounts.LinkOver)
            return visiting.show(
                ground, request, "confirm_email.html", refusal=refusal, token=token, email="", is_over=is_over
            )
        answer = visiting.lead_visitor("/console/account")
        say(answer, f"{email} is confirmed.", is_https=ground.is_https)
        return visiting.drop_link(ground, request, answer)
