"""What pages for people who are not signed in share: their form's token, the link of a letter, and entering."""

import re
import secrets
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse

from mainstay import accounts, mfa
from mainstay.console import csrf
from mainstay.console.drafts import Draft
from mainstay.console.explaining import said_of, say, take_said, theme_of
from mainstay.console.frame import HEADERS
from mainstay.console.ground import Ground
from mainstay.console.guards import check_token, read_form
from mainstay.console.onward import SIGN_IN
from mainstay.console.shown import duration
from mainstay.kernel.errors import MainstayError, TooManyRequests
from mainstay.web import limiting, refusals
from mainstay.web.callers import address_of

CHALLENGE = "mainstay_challenge"
CODE = f"{SIGN_IN}/code"
_START = "mainstay_start"
_LINK = "mainstay_link"
_LINK_SECONDS = 900
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_NOT_OURS = ("too-many-logins",)


async def read_visitor_form(ground: Ground, request: Request) -> QueryParams:
    """The fields of a form that a page of ours showed to this browser; Forbidden otherwise."""
    form = await read_form(request)
    check_token(request, ground, csrf.of_start(_bound(request)), form)
    return form


def show(
    ground: Ground,
    request: Request,
    template: str,
    *,
    refusal: MainstayError | None = None,
    draft: Draft | None = None,
    **more: Any,
) -> Response:
    """The page, with what was refused: at the fields of the draft, else above them. Our own failures are raised."""
    words = ""
    if refusal is not None:
        refusals.tell(request.scope, refusal)
        if refusal.status >= 500 and refusal.code not in _NOT_OURS:
            raise refusal
        if draft is None or not draft.wrong:
            words = words_of(refusal)
    bound = _bound(request) or secrets.token_urlsafe(24)
    context = {
        "page": None, "theme": theme_of(request), "said": said_of(request), "brand": ground.settings.brand,
        "csrf": csrf.token_of(ground.keyring, csrf.of_start(bound)), "refusal": words, "draft": draft, **more,
    }  # fmt: skip
    status = 200 if refusal is None else refusal.status
    answer = ground.frame.respond(template, context, status=status, headers=_retry_of(refusal))
    answer.set_cookie(_START, bound, path="/console", httponly=True, samesite="strict", secure=ground.is_https)
    take_said(request, answer)
    return answer


def words_of(refusal: MainstayError) -> str:
    """What was refused, as people read it: of a limit when to come again, without its figures."""
    if refusal.code != TooManyRequests.code:
        return refusal.detail
    wait = refusal.headers.get("Retry-After", "")
    when = f"in {duration(int(wait) * 1_000)}" if wait.isdigit() else "in a few minutes"
    return f"Too many tries for now. Try again {when}."


async def sign_in(
    ground: Ground, request: Request, *, email: str, password: str
) -> accounts.SignedIn | accounts.Challenged:
    """What `accounts.sign_in` gives, under the limits of logins."""
    await limiting.hold(request, "login")
    async with limiting.failing(request, "login_failures"):
        return await accounts.sign_in(ground.accounts, arrival_of(request), email=email, password=password)


def arrival_of(request: Request) -> accounts.Arrival:
    """Where somebody who signs in at the console comes from."""
    address = address_of(request.scope.get("client"))
    return accounts.Arrival("console", address, request.headers.get("user-agent", ""))


def admit(
    ground: Ground, request: Request, href: str, outcome: accounts.SignedIn | accounts.Challenged, *, said: str = ""
) -> Response:
    """On to the page that was wanted, or to the code where a second factor is on."""
    if isinstance(outcome, accounts.SignedIn):
        return enter(ground, href, outcome, said=said)
    answer = RedirectResponse(f"{CODE}?{QueryParams({'next': href})}", 303, HEADERS)
    answer.set_cookie(
        CHALLENGE, outcome.token, max_age=int(accounts.CHALLENGE_LIFETIME.total_seconds()), path=SIGN_IN,
        httponly=True, samesite="strict", secure=ground.is_https,
    )  # fmt: skip
    return answer


def enter(ground: Ground, href: str, signed_in: accounts.SignedIn, *, said: str = "") -> Response:
    """On to the page that was wanted, with the cookie of a new session; nothing that the browser sent before counts."""
    left = signed_in.codes_left
    if left is not None and left <= mfa.FEW_CODES:
        said = f"Only {left} of your recovery codes are left: make new ones in your account."
    answer = RedirectResponse(href, 303, HEADERS)
    answer.set_cookie(
        ground.cookie, signed_in.opened.token, expires=signed_in.opened.expires_at, path="/", httponly=True,
        samesite="lax", secure=ground.is_https,
    )  # fmt: skip
    answer.delete_cookie(CHALLENGE, path=SIGN_IN, httponly=True, samesite="strict", secure=ground.is_https)
    say(answer, said, is_https=ground.is_https)
    return answer


def lead_visitor(href: str) -> Response:
    """On to another page after something was done."""
    return RedirectResponse(href, 303, HEADERS)


def land(ground: Ground, request: Request) -> Response | None:
    """On to the same page without the token of a letter's link, which a cookie of that page holds: so it stays in no
    history and no address bar. None where the address has none."""
    token = request.query_params.get("token")
    if token is None:
        return None
    answer = RedirectResponse(request.url.path, 303, HEADERS)
    kept = token if _TOKEN.fullmatch(token) else ""
    answer.set_cookie(
        _LINK, kept, max_age=_LINK_SECONDS, path=request.url.path, httponly=True, samesite="lax",
        secure=ground.is_https,
    )  # fmt: skip
    return answer


def link_token(request: Request) -> str:
    """The token with which somebody landed on this page; '' where there is none."""
    return request.cookies.get(_LINK, "")


def drop_link(ground: Ground, request: Request, answer: Response) -> Response:
    """The answer, after which the browser holds no token of the page."""
    answer.delete_cookie(_LINK, path=request.url.path, httponly=True, samesite="lax", secure=ground.is_https)
    return answer


def _retry_of(refusal: MainstayError | None) -> dict[str, str]:
    """When to come again, where the refusal says so; a page asks for no other scheme of credentials."""
    given = {} if refusal is None else refusal.headers
    return {name: value for name, value in given.items() if name == "Retry-After"}


def _bound(request: Request) -> str:
    return request.cookies.get(_START, "")
