"""What pages answer where something does not go: what happened, or where to go on instead."""

import base64
from typing import Literal

from fastapi import Request, Response
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse

from mainstay.console.frame import HEADERS
from mainstay.console.ground import Ground
from mainstay.console.onward import HOME, SIGN_IN
from mainstay.kernel import telemetry
from mainstay.kernel.errors import MainstayError, Unauthenticated
from mainstay.web import refusals
from mainstay.web.callers import READING

THEME = "mainstay_theme"
Theme = Literal["system", "light", "dark"]
THEMES: tuple[Theme, ...] = ("system", "light", "dark")
_SAID = "mainstay_said"
_SAID_CHARACTERS = 200


def theme_of(request: Request) -> Theme:
    """The colours that the browser's cookie asks for."""
    wanted = request.cookies.get(THEME)
    return next((theme for theme in THEMES if theme == wanted), "system")


def say(answer: Response, words: str, *, is_https: bool) -> None:
    """The next page says so once; nothing where there is nothing to say."""
    if words:
        text = base64.urlsafe_b64encode(words[:_SAID_CHARACTERS].encode()).decode()
        answer.set_cookie(_SAID, text, max_age=60, path=HOME, httponly=True, samesite="lax", secure=is_https)


def said_of(request: Request) -> str:
    """What the page before wants this one to say."""
    given = request.cookies.get(_SAID, "")
    try:
        return base64.urlsafe_b64decode(given.encode()).decode()[:_SAID_CHARACTERS]
    except ValueError:
        return ""


def take_said(request: Request, answer: Response) -> None:
    """It was said, and is not said again."""
    if _SAID in request.cookies:
        answer.delete_cookie(_SAID, path=HOME)


def asked_for(request: Request) -> str:
    """The page's address without its host."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def lead(request: Request, href: str, *, status: int = 403) -> Response:
    """On to that page; htmx, which has the status, goes there by itself."""
    if request.headers.get("hx-request"):
        return Response(status_code=status, headers={**HEADERS, "hx-redirect": href})
    return RedirectResponse(href, 303, HEADERS)


def lead_to_sign_in(request: Request, error: Unauthenticated) -> Response:
    """On to signing in, and back afterwards; a stream of events is refused."""
    refusals.tell(request.scope, error)
    if "text/event-stream" in request.headers.get("accept", ""):
        raise error
    wanted = asked_for(request) if request.method in READING else HOME
    return lead(request, f"{SIGN_IN}?{QueryParams({'next': wanted})}", status=401)


def explain(request: Request, error: MainstayError) -> Response:
    """What happened, what was not lost, what to do, and the request id to quote."""
    ground: Ground = request.app.state.console
    refusals.tell(request.scope, error)
    context = {
        "page": getattr(request.state, "page", None), "theme": theme_of(request), "said": "", "error": error,
        "request_id": telemetry.current_trace().request_id, "is_reading": request.method in READING,
        "back": request.url.path if request.method in READING else HOME,
    }  # fmt: skip
    headers = dict(error.headers)
    if request.headers.get("hx-request"):
        headers |= {"hx-retarget": "#notice", "hx-reswap": "innerHTML"}
        return ground.frame.respond("only_error.html", context, status=error.status, headers=headers)
    template = "error.html" if context["page"] is not None else "error_plain.html"
    return ground.frame.respond(template, {**context, "layout": "base.html"}, status=error.status, headers=headers)
