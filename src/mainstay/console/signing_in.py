"""Signing in and out, choosing company and workspace, and the colours of pages."""

import re
import secrets

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from mainstay import accounts, identity
from mainstay.console import csrf
from mainstay.console.frame import HEADERS
from mainstay.console.ground import Ground
from mainstay.console.guards import (
    SIGN_IN,
    THEME,
    THEMES,
    AnyPage,
    check_token,
    pages,
    read_form,
    read_session,
    theme_of,
)
from mainstay.kernel.errors import MainstayError
from mainstay.web import limiting, refusals
from mainstay.web.callers import address_of

_START = "mainstay_start"
_CHALLENGE = "mainstay_challenge"
CODE = f"{SIGN_IN}/code"
_HOME = "/console"
_SAFE_NEXT = re.compile(r"/console(?:[/?][\w./?=&%:,+~@-]*)?", re.ASCII)
_YEAR_SECONDS = 365 * 86_400
_MOST_PLACES = 200


def is_safe_next(href: str) -> bool:
    """Whether somebody may be sent there after signing in: a page of this console, on this host."""
    return _SAFE_NEXT.fullmatch(href) is not None and "//" not in href and not href.startswith(SIGN_IN)


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(SIGN_IN)
    async def ask(request: Request) -> Response:
        """The form; somebody who is signed in goes on."""
        href = _next_of(request.query_params.get("next", ""))
        if await _is_signed_in(ground, request):
            return RedirectResponse(href, 303, HEADERS)
        return _form(ground, request, href=href)

    @router.post(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        """Email and password become a session."""
        form = await read_form(request)
        href, email = _next_of(form.get("next", "")), form.get("email", "")
        check_token(request, ground, csrf.of_start(_bound(request)), form)
        try:
            outcome = await _sign_in(ground, request, email=email, password=form.get("password", ""))
        except MainstayError as refusal:
            refusals.tell(request.scope, refusal)
            if refusal.status >= 500 and refusal.code != "too-many-logins":
                raise
            return _form(ground, request, href=href, email=email, refusal=refusal)
        if isinstance(outcome, accounts.Challenged):
            answer = _code_form(ground, request, href=href)
            seconds = int(accounts.CHALLENGE_LIFETIME.total_seconds())
            answer.set_cookie(
                _CHALLENGE, outcome.token, max_age=seconds, path=SIGN_IN, httponly=True, samesite="strict",
                secure=ground.is_https,
            )  # fmt: skip
            return answer
        return _enter(ground, href, outcome)

    @router.post(CODE)
    async def answer_challenge(request: Request) -> Response:
        """The challenge and a code become a session."""
        form = await read_form(request)
        href = _next_of(form.get("next", ""))
        check_token(request, ground, csrf.of_start(_bound(request)), form)
        challenge = request.cookies.get(_CHALLENGE, "")
        try:
            signed_in = await _answer(ground, request, challenge, form.get("code", ""))
        except MainstayError as refusal:
            if refusal.status >= 500:
                raise
            if refusal.code == "challenge-over":
                return _form(ground, request, href=href, refusal=refusal)
            return _code_form(ground, request, href=href, refusal=refusal)
        return _enter(ground, href, signed_in)

    @router.post("/console/sign-out")
    async def sign_out(page: AnyPage) -> Response:
        """The session is over; with `everywhere` all of the person's."""
        async with ground.home.begin() as tx:
            if page.form.get("everywhere"):
                await accounts.end_sessions(tx, page.caller)
            else:
                await accounts.end_session(tx, page.caller, page.session.id)
        answer = page.go(SIGN_IN)
        answer.delete_cookie(ground.cookie, path="/", secure=ground.is_https, httponly=True, samesite="lax")
        accounts.take_cookies(answer, is_https=ground.is_https)
        return answer

    @router.get("/console/place")
    async def show_places(page: AnyPage) -> Response:
        """The companies and workspaces that the person may look at."""
        companies = await ground.sessions.companies(page.caller.id)
        workspaces = await identity.list_workspaces(ground.home, page.company_id, limit=_MOST_PLACES)
        return page.show("place.html", companies=companies, workspaces=workspaces)

    @router.post("/console/place")
    async def choose_place(page: AnyPage) -> Response:
        """The session looks at that company and workspace from now on."""
        form = page.form
        await ground.sessions.move(
            page.session, company_id=form.get("company", page.company_id), workspace_id=form.get("workspace", "")
        )
        return page.go(_HOME)

    @router.post("/console/theme")
    async def choose_theme(page: AnyPage) -> Response:
        """Pages have those colours in this browser from now on."""
        back = page.form.get("back", "")
        answer = page.go(_next_of(back))
        theme = page.form.get("theme", "")
        if theme in THEMES:
            answer.set_cookie(
                THEME, theme, max_age=_YEAR_SECONDS, path="/console", samesite="lax", secure=ground.is_https
            )
        return answer

    return router


async def _sign_in(
    ground: Ground, request: Request, *, email: str, password: str
) -> accounts.SignedIn | accounts.Challenged:
    """What `accounts.sign_in` gives, under the limits of logins."""
    await limiting.hold(request, "login")
    async with limiting.failing(request, "login_failures"):
        return await accounts.sign_in(ground.accounts, _arrival(request), email=email, password=password)


async def _answer(ground: Ground, request: Request, challenge: str, code: str) -> accounts.SignedIn:
    """What `accounts.answer_challenge` gives, under the limit of codes."""
    await limiting.hold(request, "codes")
    return await accounts.answer_challenge(ground.accounts, _arrival(request), challenge, code)


def _arrival(request: Request) -> accounts.Arrival:
    address = address_of(request.scope.get("client"))
    return accounts.Arrival("console", address, request.headers.get("user-agent", ""))


def _enter(ground: Ground, href: str, signed_in: accounts.SignedIn) -> Response:
    """On to the page that was wanted, with the cookie of a new session; nothing that the browser sent before counts."""
    answer = RedirectResponse(href, 303, HEADERS)
    answer.set_cookie(
        ground.cookie, signed_in.opened.token, expires=signed_in.opened.expires_at, path="/", httponly=True,
        samesite="lax", secure=ground.is_https,
    )  # fmt: skip
    answer.delete_cookie(_CHALLENGE, path=SIGN_IN, httponly=True, samesite="strict", secure=ground.is_https)
    return answer


async def _is_signed_in(ground: Ground, request: Request) -> bool:
    try:
        await read_session(ground, request)
    except MainstayError:
        return False
    return True


def _form(
    ground: Ground, request: Request, *, href: str, email: str = "", refusal: MainstayError | None = None
) -> Response:
    return _page(ground, request, "sign_in.html", refusal, next=href, email=email)


def _code_form(ground: Ground, request: Request, *, href: str, refusal: MainstayError | None = None) -> Response:
    return _page(ground, request, "sign_in_code.html", refusal, next=href)


def _page(ground: Ground, request: Request, template: str, refusal: MainstayError | None, **more: str) -> Response:
    bound = _bound(request) or secrets.token_urlsafe(24)
    context = {
        "page": None, "theme": theme_of(request), "said": "",
        "csrf": csrf.token_of(ground.keyring, csrf.of_start(bound)),
        "refusal": refusal, "brand": ground.settings.brand, **more,
    }  # fmt: skip
    answer = ground.frame.respond(
        template, context, status=200 if refusal is None else refusal.status, headers=_retry_of(refusal)
    )
    answer.set_cookie(_START, bound, path="/console", httponly=True, samesite="strict", secure=ground.is_https)
    return answer


def _retry_of(refusal: MainstayError | None) -> dict[str, str]:
    """When to come again, where the refusal says so; a page asks for no other scheme of credentials."""
    given = {} if refusal is None else refusal.headers
    return {name: value for name, value in given.items() if name == "Retry-After"}


def _bound(request: Request) -> str:
    return request.cookies.get(_START, "")


def _next_of(href: str) -> str:
    return href if is_safe_next(href) else _HOME
