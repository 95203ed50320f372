"""Signing in and out, choosing company and workspace, and the colours of pages."""

from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse

from mainstay import accounts, identity
from mainstay.console import onward, visiting
from mainstay.console.drafts import Draft
from mainstay.console.explaining import THEME, THEMES
from mainstay.console.frame import HEADERS
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, pages, read_session
from mainstay.console.onward import HOME, SIGN_IN
from mainstay.console.visiting import CODE
from mainstay.kernel.errors import MainstayError
from mainstay.web import limiting

_YEAR_SECONDS = 365 * 86_400
_MOST_PLACES = 200


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    _add_signing_in(router, ground)
    _add_challenge(router, ground)
    _add_sign_out(router, ground)
    _add_choices(router, ground)
    return router


def _add_signing_in(router: APIRouter, ground: Ground) -> None:
    @router.get(SIGN_IN)
    async def ask(request: Request) -> Response:
        """The form; somebody who is signed in goes on."""
        href = onward.safe(request.query_params.get("next", ""))
        if await _is_signed_in(ground, request):
            return RedirectResponse(href, 303, HEADERS)
        return _form(ground, request, href)

    @router.post(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        """Email and password become a session, or a challenge."""
        form = await visiting.read_visitor_form(ground, request)
        href, email = onward.safe(form.get("next", "")), form.get("email", "")
        try:
            outcome = await visiting.sign_in(ground, request, email=email, password=form.get("password", ""))
        except MainstayError as refusal:
            return _form(ground, request, href, email=email, refusal=refusal)
        return visiting.admit(ground, request, href, outcome)


def _add_challenge(router: APIRouter, ground: Ground) -> None:
    @router.get(CODE)
    async def ask_for_code(request: Request) -> Response:
        """The form of the code, of the app or for recovery; without a challenge back to the password."""
        query = request.query_params
        href = onward.safe(query.get("next", ""))
        if not request.cookies.get(visiting.CHALLENGE):
            return RedirectResponse(f"{SIGN_IN}?{QueryParams({'next': href})}", 303, HEADERS)
        return _code_form(ground, request, href, "recovery" in query)

    @router.post(CODE)
    async def answer_challenge(request: Request) -> Response:
        """The challenge and a code become a session."""
        form = await visiting.read_visitor_form(ground, request)
        href, by_recovery = onward.safe(form.get("next", "")), bool(form.get("recovery"))
        challenge = request.cookies.get(visiting.CHALLENGE, "")
        try:
            await limiting.hold(request, "codes")
            arrival = visiting.arrival_of(request)
            signed_in = await accounts.answer_challenge(ground.accounts, arrival, challenge, form.get("code", ""))
        except MainstayError as refusal:
            if refusal.code == "challenge-over":
                return _form(ground, request, href, refusal=refusal)
            return _code_form(ground, request, href, by_recovery, refusal=refusal)
        return visiting.enter(ground, href, signed_in)


def _add_sign_out(router: APIRouter, ground: Ground) -> None:
    @router.post("/console/sign-out")
    async def sign_out(page: AnyPage) -> Response:
        """The session is over; with `everywhere` all of the person's."""
        async with ground.home.begin() as tx:
            if page.form.get("everywhere"):
                await accounts.end_sessions(tx, page.caller)
            else:
                await accounts.end_session(tx, page.caller, page.session.id)
        answer = page.go(SIGN_IN, said="You are signed out.")
        answer.delete_cookie(ground.cookie, path="/", secure=ground.is_https, httponly=True, samesite="lax")
        accounts.take_cookies(answer, is_https=ground.is_https)
        return answer


def _add_choices(router: APIRouter, ground: Ground) -> None:
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
        return page.go(HOME)

    @router.post("/console/theme")
    async def choose_theme(page: AnyPage) -> Response:
        """Pages have those colours in this browser from now on."""
        answer = page.go(onward.safe(page.form.get("back", "")))
        theme = page.form.get("theme", "")
        if theme in THEMES:
            answer.set_cookie(
                THEME, theme, max_age=_YEAR_SECONDS, path="/console", samesite="lax", secure=ground.is_https
            )
        return answer


async def _is_signed_in(ground: Ground, request: Request) -> bool:
    try:
        await read_session(ground, request)
    except MainstayError:
        return False
    return True


def _form(
    ground: Ground, request: Request, href: str, *, email: str = "", refusal: MainstayError | None = None
) -> Response:
    return visiting.show(ground, request, "sign_in.html", refusal=refusal, next=href, email=email)


def _code_form(
    ground: Ground, request: Request, href: str, by_recovery: bool, *, refusal: MainstayError | None = None
) -> Response:
    draft = Draft({"code": ""})
    if refusal is not None and refusal.code == "wrong-code":
        draft.wrong["code"] = f"{refusal.detail} After five tries you begin again with your password."
    return visiting.show(
        ground, request, "sign_in_code.html", refusal=refusal, draft=draft, next=href, by_recovery=by_recovery
    )
