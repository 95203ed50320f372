"""A person's second factor: set up with a QR code, verified, with recovery codes that are shown once, and off again."""

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Response

from mainstay import mfa
from mainstay.console.account_answers import refused, show_form
from mainstay.console.drafts import Draft
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, Page, PageMay, pages
from mainstay.console.onward import ACCOUNT, SECOND_FACTOR
from mainstay.kernel.crypto import Unsealable, b64url, unb64url
from mainstay.kernel.errors import MainstayError

_FreshPage = Annotated[Page, Depends(PageMay("account.use", fresh=True))]
_WAITING = "mainstay_setup"
_WAITS_SECONDS = 900
_PAGE = "account_factor.html"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What was set up and is not verified yet: the browser that began holds it sealed, so that a wrong code costs
    nothing and the recovery codes are shown when they count."""

    secret: str
    uri: str
    codes: list[str]


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    _add_setup(router, ground)
    _add_changes(router, ground)
    return router


def _add_setup(router: APIRouter, ground: Ground) -> None:
    @router.get(SECOND_FACTOR)
    async def show(page: AnyPage) -> Response:
        """Whether it is on; while it is set up in this browser, its QR code."""
        return show_form(page, _PAGE, Draft.of(["code"]), **await _standing(ground, page))

    @router.post(f"{SECOND_FACTOR}/setup")
    async def set_up(page: _FreshPage) -> Response:
        """A new secret waits for its first code, in place of one that waited."""
        try:
            setup = await mfa.set_up(ground.home, ground.keyring, page.caller, issuer=ground.settings.brand)
        except mfa.AlreadyOn:
            return page.go(SECOND_FACTOR)
        return _keep(page, page.go(SECOND_FACTOR), Waiting(setup.secret, setup.otpauth_uri, setup.recovery_codes))

    @router.post(f"{SECOND_FACTOR}/verify")
    async def verify(page: AnyPage) -> Response:
        """The first code turns it on; the recovery codes are shown, once."""
        waiting = _waiting(page)
        try:
            await mfa.verify(ground.home, ground.keyring, page.caller, page.form.get("code", ""))
        except MainstayError as refusal:
            return refused(page, _PAGE, Draft.of(["code"]), refusal, _at("code"), **await _standing(ground, page))
        codes = [] if waiting is None else waiting.codes
        return _drop(page, page.show("account_codes.html", codes=codes, is_new=True))

    @router.post(f"{SECOND_FACTOR}/leave")
    async def leave(page: AnyPage) -> Response:
        """What was set up is not gone on with in this browser."""
        return _drop(page, page.go(ACCOUNT))


def _add_changes(router: APIRouter, ground: Ground) -> None:
    @router.post(f"{SECOND_FACTOR}/codes")
    async def renew_codes(page: AnyPage) -> Response:
        """Ten new recovery codes for a code, which is proof enough; they are shown, once."""
        draft = Draft.of(["renew"])
        try:
            codes = await mfa.renew_codes(ground.home, ground.keyring, page.caller, page.form.get("renew", ""))
        except MainstayError as refusal:
            return refused(page, _PAGE, draft, refusal, _at("renew"), **await _standing(ground, page))
        return page.show("account_codes.html", codes=codes, is_new=False)

    @router.post(f"{SECOND_FACTOR}/off")
    async def disable(page: AnyPage) -> Response:
        """A code, which is proof enough, turns it off; the recovery codes are gone."""
        draft = Draft.of(["off"])
        try:
            await mfa.disable(ground.home, ground.keyring, page.caller, page.form.get("off", ""))
        except MainstayError as refusal:
            return refused(page, _PAGE, draft, refusal, _at("off"), **await _standing(ground, page))
        return page.go(SECOND_FACTOR, said="Your second factor is off. Take it out of your app, too.")


async def _standing(ground: Ground, page: Page) -> dict[str, Any]:
    state = await mfa.state(ground.home, page.caller.id)
    waiting = _waiting(page) if state.is_waiting else None
    png = "" if waiting is None else mfa.draw(waiting.uri).png_data_uri
    return {"state": state, "waiting": waiting, "png": png, "few": mfa.FEW_CODES}


def _at(field: str) -> dict[str, str]:
    """Where it stands that a code was refused."""
    return {"wrong-code": field, "too-many-codes": field}


def _keep(page: Page, answer: Response, waiting: Waiting) -> Response:
    """The answer, with which the browser holds what waits: sealed, for this session and these pages alone."""
    sealed = page.ground.keyring.seal(orjson.dumps(waiting), _context(page))
    answer.set_cookie(
        _WAITING, b64url(sealed), max_age=_WAITS_SECONDS, path=SECOND_FACTOR, httponly=True, samesite="strict",
        secure=page.ground.is_https,
    )  # fmt: skip
    return answer


def _drop(page: Page, answer: Response) -> Response:
    answer.delete_cookie(_WAITING, path=SECOND_FACTOR, httponly=True, samesite="strict", secure=page.ground.is_https)
    return answer


def _waiting(page: Page) -> Waiting | None:
    """What the browser holds; None where it is nothing, or of another session."""
    given = page.request.cookies.get(_WAITING, "")
    try:
        return Waiting(**orjson.loads(page.ground.keyring.open(unb64url(given), _context(page))))
    except (Unsealable, ValueError):
        return None


def _context(page: Page) -> bytes:
    return f"console set-up {page.session.id}".encode()
