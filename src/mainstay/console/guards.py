"""Who may open a page: guards that routes name in their signatures, and the page that they give.

A route takes `page: Annotated[Page, Depends(PageMay("webhooks.change"))]`, an act of `web.roles`, `AnyPage` (whoever is
signed in) or `OperatorPage` (people that CONSOLE_OPERATORS names) and stands in a router made by `pages()`. A guard
of a POST has checked the CSRF token. With `fresh=True` somebody whose proof is old gives another and goes on.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse

from mainstay import incidents, mfa
from mainstay.console import csrf, explaining, onward
from mainstay.console.assets import PREFIX
from mainstay.console.frame import HEADERS, Area
from mainstay.console.ground import Ground
from mainstay.console.onward import PROVE, SECOND_FACTOR, Wish
from mainstay.identity import Session
from mainstay.kernel.db import Database
from mainstay.kernel.errors import (
    Forbidden,
    Invalid,
    MfaSetupRequired,
    StepUpRequired,
    Unauthenticated,
)
from mainstay.kernel.logs import logger
from mainstay.web import bodies, front, refusals
from mainstay.web.callers import ACCESS_COOKIE, READING, Caller
from mainstay.web.framework import invalid_of
from mainstay.web.roles import ACTS

_log = logger(__name__)
MAX_FORM_BYTES = 65_536
_FORM_TYPE = "application/x-www-form-urlencoded"


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
        """The areas that the person may open; none before a second factor that is demanded."""
        if self.caller.must_set_up_mfa:
            return []
        return [
            area
            for area in self.ground.frame.areas
            if (self.is_operator or not area.operators_only) and self.may(area.act)
        ]

    def show(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """The page; to htmx only the block that it asked for by the id of its target (`panel` or `rows`)."""
        layout = f"only_{self.wanted}.html" if self.wanted in ("panel", "rows") else "base.html"
        said = explaining.said_of(self.request)
        shown = {
            "page": self, "layout": layout, "said": said, "theme": explaining.theme_of(self.request), **context,
        }  # fmt: skip
        answer = self.ground.frame.respond(template, shown, status=status)
        explaining.take_said(self.request, answer)
        return answer

    def go(self, href: str, *, said: str = "") -> Response:
        """On to another page after something was done, which then says so once."""
        answer: Response
        if self.request.headers.get("hx-request"):
            answer = Response(status_code=200, headers={**HEADERS, "hx-redirect": href})
        else:
            answer = RedirectResponse(href, 303, HEADERS)
        explaining.say(answer, said, is_https=self.ground.is_https)
        return answer


class FormRefused(Forbidden):
    """The form is not of this session, or too old. Load the page again; nothing was changed."""

    code = "form-refused"


class PageMay:
    """Admits people who are signed in, may do the act of `web.roles` and, where asked, operate the service, or proved
    who they are within the last 15 minutes (`fresh`)."""

    kind = "session"

    def __init__(self, act: str, *, operators_only: bool = False, fresh: bool = False) -> None:
        self.act = ACTS[act]
        self.needs_mfa = act != "account.use" or operators_only
        self.operators_only = operators_only
        self.fresh = fresh

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
        if self.fresh and not page.caller.is_fresh:
            raise StepUpRequired
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
                return explaining.lead_to_sign_in(request, error)
            except StepUpRequired as error:
                return await _ask_for_proof(request, error)
            except MfaSetupRequired as error:
                refusals.tell(request.scope, error)
                return explaining.lead(request, SECOND_FACTOR)
            except RequestValidationError as error:
                return explaining.explain(request, invalid_of(error))
            except Exception as error:
                known = front.as_known(error)
                if known.status == 500:
                    _log.exception("page failed", method=request.method, path=request.url.path)
                return explaining.explain(request, known)

        return handle_as_page


async def _ask_for_proof(request: Request, error: StepUpRequired) -> Response:
    """A page is opened once the proof was given; a form that was sent waits in the page that asks for it."""
    refusals.tell(request.scope, error)
    href, page = explaining.asked_for(request), onward.path_of(request.headers.get("referer", ""))
    if request.headers.get("hx-request") or request.method in READING:
        wanted = href if request.method in READING else onward.safe(page)
        return explaining.lead(request, f"{PROVE}?{QueryParams({'next': wanted})}")
    asks: Page = request.state.page
    return await show_proof(asks, onward.wish_of(href, asks.form.multi_items(), page=page), status=403)


async def show_proof(page: Page, wish: Wish, *, status: int = 200, refusal: str = "") -> Response:
    """The page that asks for a proof, with what somebody wanted in it."""
    by_code = await mfa.is_on(page.ground.home, page.caller.id)
    return page.show("prove.html", status=status, wish=wish, refusal=refusal, by_code=by_code, prefix=onward.FIELD)
