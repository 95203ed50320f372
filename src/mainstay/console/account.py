"""A person's own account: who they are to others, and the address and password with which they sign in."""

from typing import Any
from zoneinfo import available_timezones

from fastapi import APIRouter, Response

from mainstay import accounts, mfa
from mainstay.console.account_answers import refused, show_form
from mainstay.console.drafts import Draft
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, Page, pages
from mainstay.console.onward import ACCOUNT
from mainstay.kernel.errors import MainstayError

FIELDS = ("name", "title", "phone", "timeZone", "locale")
_PAGE = "account.html"
_PLACES = ("Africa/", "America/", "Antarctica/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
_ZONES = ["UTC", *sorted(zone for zone in available_timezones() if zone.startswith(_PLACES))]
"""What is offered; whatever else the API took stays."""


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(ACCOUNT)
    async def show(page: AnyPage) -> Response:
        """What there is to know and to change."""
        found = await _standing(ground, page)
        return show_form(page, _PAGE, _profile(found["account"]), **found)

    @router.post(ACCOUNT)
    async def change(page: AnyPage) -> Response:
        """Name and profile are what was typed; an empty field is taken away."""
        draft = Draft.of(FIELDS, page.form)
        profile = {name: draft.typed[name] or None for name in FIELDS if name != "name"}
        try:
            await accounts.profiles.change_account(ground.home, page.caller, name=draft.typed["name"], profile=profile)
        except MainstayError as refusal:
            return refused(page, _PAGE, draft, refusal, **await _standing(ground, page))
        return page.go(ACCOUNT, said="Your profile is saved.")

    @router.post(f"{ACCOUNT}/confirmation")
    async def ask_again(page: AnyPage) -> Response:
        """The letter that asks to confirm the address is written once more."""
        try:
            await accounts.confirming.ask_again(ground.home, ground.keyring, page.caller)
        except MainstayError as refusal:
            found = await _standing(ground, page)
            return refused(page, _PAGE, _profile(found["account"]), refusal, **found)
        return page.go(ACCOUNT, said=f"A letter with a link goes to {page.caller.email}.")

    return router


async def _standing(ground: Ground, page: Page) -> dict[str, Any]:
    account = await accounts.profiles.read_account(ground.home, page.caller.id)
    zone = account.profile.get("timeZone", "")
    zones = [("", "Not set"), *((one, one.replace("_", " ")) for one in dict.fromkeys((*_ZONES, zone)) if one)]
    return {"account": account, "factor": await mfa.state(ground.home, page.caller.id), "zones": zones}


def _profile(account: accounts.profiles.Account) -> Draft:
    return Draft.of(FIELDS, {**account.profile, "name": account.name})
