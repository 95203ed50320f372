"""Cookies of a session of the API: the access token for every path, the refresh token for its own."""

from fastapi import Request, Response

from mainstay.accounts import sessions
from mainstay.accounts.ground import Ground
from mainstay.accounts.sessions import Opened, Tokens
from mainstay.identity import ACCESS_LIFETIME
from mainstay.web.callers import ACCESS_COOKIE, Caller

REFRESH_COOKIE = "mainstay_refresh"
REFRESH_PATH = "/api/v1/auth"


def give(response: Response, tokens: Tokens, *, is_https: bool) -> None:
    """The browser has the tokens in cookies that scripts cannot read, and the answer is not kept anywhere."""
    response.headers["cache-control"] = "no-store"
    response.set_cookie(
        ACCESS_COOKIE, tokens.access, max_age=int(ACCESS_LIFETIME.total_seconds()), path="/",
        httponly=True, samesite="lax", secure=is_https,
    )  # fmt: skip
    response.set_cookie(
        REFRESH_COOKIE, tokens.refresh, expires=tokens.expires_at, path=REFRESH_PATH,
        httponly=True, samesite="lax", secure=is_https,
    )  # fmt: skip


def give_anew(response: Response, ground: Ground, caller: Caller, opened: Opened) -> None:
    """The browser has the tokens of the session that stands in the place of the caller's."""
    give(response, sessions.tokens_of(ground, caller.id, caller.company_id, opened), is_https=ground.is_https)


def take_away(response: Response, *, is_https: bool) -> None:
    """The browser has the cookies no longer."""
    response.headers["cache-control"] = "no-store"
    for name, path in ((ACCESS_COOKIE, "/"), (REFRESH_COOKIE, REFRESH_PATH)):
        response.delete_cookie(name, path=path, httponly=True, samesite="lax", secure=is_https)


def refresh_token_of(request: Request) -> str:
    """The refresh token of the cookie; '' where there is none."""
    return request.cookies.get(REFRESH_COOKIE, "")
