"""Proving oneself once more, where an act needs a proof that is younger than 15 minutes."""

from dataclasses import replace

from fastapi import APIRouter, Response

from mainstay import accounts
from mainstay.console import onward
from mainstay.console.drafts import Draft
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, Page, pages, show_proof
from mainstay.console.onward import PROVE, Wish
from mainstay.console.visiting import words_of
from mainstay.kernel.errors import MainstayError
from mainstay.web import refusals


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PROVE)
    async def ask(page: AnyPage) -> Response:
        """The form."""
        return await show_proof(page, Wish(onward.safe(page.request.query_params.get("next", ""), onward.ACCOUNT)))

    @router.post(PROVE)
    async def prove(page: AnyPage) -> Response:
        """A new session is in this one's place, and what was wanted goes on."""
        form = page.form
        wish = onward.read_wish(form.multi_items())
        try:
            opened = await accounts.step_up(
                ground.accounts, page.caller, password=form.get("password"), code=form.get("code")
            )
        except MainstayError as refusal:
            if refusal.status >= 500 or refusal.status == 401:
                raise
            refusals.tell(page.request.scope, refusal)
            draft = Draft({"code": "", "password": ""})
            draft.take(refusal)
            words = draft.wrong.get(draft.first_wrong, "") or words_of(refusal)
            return await show_proof(page, wish, status=refusal.status, refusal=words)
        return _keep(ground, page, opened, _go_on(page, wish, opened))

    return router


def _go_on(page: Page, wish: Wish, opened: accounts.Opened) -> Response:
    if wish.fields is None:
        return page.go(wish.href)
    page.session = replace(page.session, id=opened.id)
    return page.show("prove_on.html", wish=wish)


def _keep(ground: Ground, page: Page, opened: accounts.Opened, answer: Response) -> Response:
    """The answer, with which the browser has the new session."""
    if not opened.token:
        accounts.give_cookies(answer, ground.accounts, page.caller, opened)
        return answer
    answer.set_cookie(
        ground.cookie, opened.token, expires=opened.expires_at, path="/", httponly=True, samesite="lax",
        secure=ground.is_https,
    )  # fmt: skip
    return answer
