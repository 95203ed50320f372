"""With what a person signs in: another address, another password."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from mainstay import accounts
from mainstay.console.account_answers import refused, show_form
from mainstay.console.drafts import Draft
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, Page, PageMay, pages
from mainstay.console.onward import ACCOUNT
from mainstay.console.shown import plural
from mainstay.kernel.errors import MainstayError

EMAIL = f"{ACCOUNT}/email"
PASSWORD = f"{ACCOUNT}/password"
_PASSWORDS = ("current", "newPassword", "keepOthers")
_FreshPage = Annotated[Page, Depends(PageMay("account.use", fresh=True))]


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(EMAIL)
    async def ask_email(page: _FreshPage) -> Response:
        """The form of another address."""
        return show_form(page, "account_email.html", Draft.of(["email"]))

    @router.post(EMAIL)
    async def change_email(page: _FreshPage) -> Response:
        """A letter with a link waits for the new address; nothing changes until it is used."""
        draft = Draft.of(["email"], page.form)
        try:
            email = await accounts.emails.ask_for_change(
                ground.home, ground.keyring, page.caller, email=draft.typed["email"]
            )
        except MainstayError as refusal:
            return refused(page, "account_email.html", draft, refusal)
        return page.go(ACCOUNT, said=f"A letter with a link goes to {email}. Until you open it, nothing changes.")

    @router.get(PASSWORD)
    async def ask_password(page: AnyPage) -> Response:
        """The form of another password."""
        return show_form(page, "account_password.html", Draft.of(_PASSWORDS))

    @router.post(PASSWORD)
    async def change_password(page: AnyPage) -> Response:
        """The password is the new one; other sessions end unless they are to be kept."""
        draft = Draft.of(_PASSWORDS, page.form, hidden=("current", "newPassword"))
        try:
            ended = await accounts.passwords_changing.change_password(
                ground.accounts,
                page.caller,
                current=page.form.get("current", ""),
                new=page.form.get("newPassword", ""),
                keeps_others=bool(draft.typed["keepOthers"]),
            )
        except MainstayError as refusal:
            at = {"wrong-password": "current", "too-many-tries": "current"}
            return refused(page, "account_password.html", draft, refusal, at)
        told = f" {plural(ended, 'other session')} ended." if ended else ""
        return page.go(ACCOUNT, said=f"Your password is the new one.{told}")

    return router
