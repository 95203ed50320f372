"""Who may open a page: guards that routes name in their signatures, and the page that they give.

A route takes `page: Annotated[Page, Depends(PageMay("webhooks.change"))]`, an act of `web.roles`, `AnyPage` (whoever is
signed in) or `OperatorPage` (people that CONSOLE_OPERATORS names) and stands in a router made by `pages()`. A guard
of a POST has checked the CSRF token.
"""

import base64
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse

from mainstay import incidents
from mainstay.console import csrf
from mainstay.console.assets import PREFIX
from mainstay.console.frame import HEADERS, Area
from mainstay.console.ground import Ground
from mainstay.identity import Session
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Forbidden, Invalid, MainstayError, MfaSetupRequired, Unauthenticated
from mainstay.kernel.logs import logger
from mainstay.web import bodies, front, refusals
from mainstay.web.callers import ACCESS_COOKIE, READING, Caller
from mainstay.web.framework import invalid_of
from mainstay.web.roles import ACTS

_log = logger(__name__)
SIGN_IN = "/console/sign-in"
MAX_FORM_BYTES = 65_536
SAID = "mainstay_said"
THEME = "mainstay_theme"
Theme = Literal["system", "light", "dark"]
THEMES: tuple[Theme, ...] = ("system", "light", "dark")
_FORM_TYPE = "application/x-www-form-urlencoded"
_SAID_CHARACTERS = 200


@dataclass(slots=True)
class Page:
    """One request of somebody who is signed in: who asks, for which company, and how to answer."""

    request: Request
    ground: Ground
    session: Session
    form: QueryParams = field(default_factory=QueryParams)
    restriction: incidents.Restriction | None = None
    """Why people's routes are closed, for those who operate the service."""

    @property
    def caller(self) -> Caller:
        """The person, with their role in the company."""
        return self.session.caller

    @property
    def company_id(self) -> str:
        """The company that the page shows."""
        return self.session.caller.company_id

    @property
    def region(self) -> str:
        """The region of the company."""
        return self.session.caller.region

    @property
    def db(self) -> Database:
        """Where the company's events, webhooks and jobs are."""
        return self.ground.regions.of(self.region)

    @property
    def workspace_id(self) -> str:
        """The workspace that the person chose to look at; '' for all of the company's."""
        return self.session.workspace_id

    @property
    def is_operator(self) -> bool:
        """Whether the person may operate the whole service."""
        return self.ground.is_operator(self.caller.email)

    def may(self, act: str) -> bool:
        """Whether the person may do the act of `web.roles`."""
        return ACTS[act].allows(self.caller.role, self.caller.features)

    @property
    def csrf(self) -> str:
        """The token that every form of the page carries."""
        return csrf.token_of(self.ground.keyring, csrf.of_session(self.session.id))

    @property
    def path(self) -> str:
        """The page's own path."""
        return self.request.url.path

    @property
    def wanted(self) -> str:
        """The block that htmx asked for alone, by the id of its target; '' for the whole page."""
        return self.request.headers.get("hx-target", "") if self.request.headers.get("hx-request") else ""

    @property
    def areas(self) -> list[Area]:
        """The areas that the person may open."""
        return [
            area
            for area in self.ground.frame.areas
            if (self.is_operator or not area.operators_only) and self.may(area.act)
        ]

    def show(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """The page; to htmx only the block that it asked for by the id of its target (`panel` or `rows`)."""
        layout = f"only_{self.wanted}.html" if self.wanted in ("panel", "rows") else "base.html"
        said = _said_of(self.request)
        shown = {
            "page": self, "layout": layout, "said": said, "theme": theme_of(self.request), **context,
        }  # fmt: skip
        answer = self.ground.frame.respond(template, shown, status=status)
        if said:
            answer.delete_cookie(SAID, path="/console")
        return answer

    def go(self, href: str, *, said: str = "") -> Response:
        """On to another page after something was done, which then says so once."""
        answer: Response
        if self.request.headers.get("hx-request"):
            answer = Response(status_code=200, headers={**HEADERS, "hx-redirect": href})
        else:
            answer = RedirectResponse(href, 303, HEADERS)
        if said:
            text = base64.urlsafe_b64encode(said[:_SAID_CHARACTERS].encode()).decode()
            answer.set_cookie(
                SAID, text, max_age=60, path="/console", httponly=True, samesite="lax", secure=self.ground.is_https
            )
        return answer


class FormRefused(Forbidden):
    """The form is not of this session, or too old. Load the page again; nothing was changed."""

    code = "form-refused"


class PageMay:
    """Admits people who are signed in, may do the act of `web.roles` and, where asked, operate the service."""

    kind = "session"

    def __init__(self, act: str, *, operators_only: bool = False) -> None:
        self.act = ACTS[act]
        self.needs_mfa = act != "account.use"
        self.operators_only = operators_only

    async def __call__(self, request: Request) -> Page:
        ground: Ground = request.app.state.console
        session = await read_session(ground, request)
        page = request.state.page = Page(request, ground, session)
        page.restriction = await ground.mode.current() if page.is_operator else None
        if request.method not in READING:
            page.form = await read_form(request)
            check_token(request, ground, csrf.of_session(session.id), page.form)
        if self.operators_only and not page.is_operator:
            raise Forbidden("This needs a person whom CONSOLE_OPERATORS names.")
        if page.caller.must_set_up_mfa and self.needs_mfa:
            raise MfaSetupRequired
        if not self.act.allows(page.caller.role, page.caller.features):
            raise Forbidden(f"Your role may not do this: {self.act.title}. You are {page.caller.role} here.")
        return page


AnyPage = Annotated[Page, Depends(PageMay("account.use"))]
OperatorPage = Annotated[Page, Depends(PageMay("account.use", operators_only=True))]


async def read_session(ground: Ground, request: Request) -> Session:
    """The session of the console's cookie, else of the API's, whose value is an access token; SessionOver."""
    return await ground.sessions.read(request.cookies.get(ground.cookie, ""), request.cookies.get(ACCESS_COOKIE, ""))


async def read_form(request: Request) -> QueryParams:
    """The fields of the form; Invalid for another content type, TooLarge past 64 KiB."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await bodies.read(request.scope, request.receive, most=MAX_FORM_BYTES)
    if body and kind != _FORM_TYPE:
        raise Invalid(f"A form must come as {_FORM_TYPE}.")
    return QueryParams(body)


def check_token(request: Request, ground: Ground, bound_to: str, form: QueryParams) -> None:
    """Passes a request that one of our own pages sent, with the token bound to the session; Forbidden otherwise."""
    token = request.headers.get(csrf.HEADER) or form.get(csrf.FIELD, "")
    from_us = csrf.is_from_us(request.headers, ground.settings.base_url)
    if not (from_us and csrf.is_token_of(ground.keyring, bound_to, token)):
        raise FormRefused


def theme_of(request: Request) -> Theme:
    """The colours that the browser's cookie asks for."""
    wanted = request.cookies.get(THEME)
    return next((theme for theme in THEMES if theme == wanted), "system")


def pages() -> APIRouter:
    """A router for pages: whatever goes wrong in it is answered as a page."""
    return APIRouter(route_class=_PageRoute, include_in_schema=False)


class _PageRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        goes_on = self.path.startswith(PREFIX) or any(
            isinstance(one.call, PageMay) and one.call.operators_only for one in self.dependant.dependencies
        )

        async def handle_as_page(request: Request) -> Response:
            try:
                if not goes_on and await request.app.state.console.mode.current() is not None:
                    raise incidents.Restricted
                return await handle(request)
            except bodies.ClientGone:
                raise
            except Unauthenticated as error:
                return _to_sign_in(request, error)
            except RequestValidationError as error:
                return _explain(request, invalid_of(error))
            except Exception as error:
                known = front.as_known(error)
                if known.status == 500:
                    _log.exception("page failed", method=request.method, path=request.url.path)
                return _explain(request, known)

        return handle_as_page


def _to_sign_in(request: Request, error: Unauthenticated) -> Response:
    refusals.tell(request.scope, error)
    if "text/event-stream" in request.headers.get("accept", ""):
        raise error
    query = f"?{request.url.query}" if request.url.query else ""
    wanted = request.url.path + query if request.method in READING else "/console"
    href = f"{SIGN_IN}?{QueryParams({'next': wanted})}"
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={**HEADERS, "hx-redirect": href})
    return RedirectResponse(href, 303, HEADERS)


def _explain(request: Request, error: MainstayError) -> Response:
    """What happened, what was not lost, what to do, and the request id to quote."""
    ground: Ground = request.app.state.console
    refusals.tell(request.scope, error)
    context = {
        "page": getattr(request.state, "page", None), "theme": theme_of(request), "said": "", "error": error,
        "request_id": telemetry.current_trace().request_id, "is_reading": request.method in READING,
        "back": request.url.path if request.method in READING else "/console",
    }  # fmt: skip
    headers = dict(error.headers)
    if request.headers.get("hx-request"):
        headers |= {"hx-retarget": "#notice", "hx-reswap": "innerHTML"}
        return ground.frame.respond("only_error.html", context, status=error.status, headers=headers)
    template = "error.html" if context["page"] is not None else "error_plain.html"
    return ground.frame.respond(template, {**context, "layout": "base.html"}, status=error.status, headers=headers)


def _said_of(request: Request) -> str:
    given = request.cookies.get(SAID, "")
    try:
        return base64.urlsafe_b64decode(given.encode()).decode()[:_SAID_CHARACTERS]
    except ValueError:
        return ""
