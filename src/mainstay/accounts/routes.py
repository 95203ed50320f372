"""HTTP of the accounts room: registering and signing in; other files add sessions, the own account and the rest."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from mainstay.accounts import cookies, registering, sessions, signing_in
from mainstay.accounts.email_routes import add_email_routes
from mainstay.accounts.ground import Arrival, Ground
from mainstay.accounts.letter_routes import add_letter_routes
from mainstay.accounts.me_routes import add_me_routes
from mainstay.accounts.password_routes import add_password_routes
from mainstay.accounts.registering import Registration
from mainstay.accounts.schemas import (
    ChallengeAnswer,
    ChallengeRequest,
    LoginAnswer,
    LoginRequest,
    RegisterRequest,
    company_shown,
    person_shown,
)
from mainstay.accounts.session_routes import add_session_routes, tokens_shown
from mainstay.accounts.signing_in import CHALLENGE_LIFETIME, Challenged, SignedIn
from mainstay.web import problem
from mainstay.web.callers import address_of
from mainstay.web.json import json_body, openapi_body
from mainstay.web.limiting import FAILED_LOGINS, Limited

_AT = "/api/v1/auth"
_MOST_BYTES = 16_384
_Register = Annotated[RegisterRequest, Depends(json_body(RegisterRequest, most=_MOST_BYTES))]
_Login = Annotated[LoginRequest, Depends(json_body(LoginRequest, most=_MOST_BYTES))]
_Challenge = Annotated[ChallengeRequest, Depends(json_body(ChallengeRequest, most=_MOST_BYTES))]
_OFTEN = "Too many calls, or too many wrong passwords or codes; `Retry-After` says when to come again."
_BUSY = "Too many logins at this moment; `Retry-After` says when to come again."
_REGISTER_PROBLEMS = problem.responses(
    {400: "Something is not valid; `errors` point at it.", 409: "`email-taken`.", 429: _OFTEN, 503: _BUSY}
)
_LOGIN_PROBLEMS = problem.responses(
    {
        400: "The body is not valid.",
        401: "The email or the password is wrong.",
        403: "The person is suspended or belongs to no company.",
        404: "The person is no member of that company.",
        409: "The person has several companies and named none; `companies` lists them.",
        429: _OFTEN,
        503: _BUSY,
    }
)
_CHALLENGE_PROBLEMS = problem.responses(
    {400: "The body is not valid.", 401: "`wrong-code`, or `challenge-over`: sign in once more.", 429: _OFTEN}
)
_MANY_CODES = 3


def router(ground: Ground) -> APIRouter:
    """The room's routes."""
    routes = APIRouter()
    _add_registering(routes, ground)
    _add_signing_in(routes, ground)
    add_session_routes(routes, ground)
    add_me_routes(routes, ground)
    add_password_routes(routes, ground)
    add_email_routes(routes, ground)
    add_letter_routes(routes, ground)
    return routes


def _add_registering(routes: APIRouter, ground: Ground) -> None:
    described = dict(openapi_body(RegisterRequest))

    @routes.post(
        f"{_AT}/register",
        tags=["people"],
        status_code=201,
        openapi_extra=described,
        responses=_REGISTER_PROBLEMS,
        dependencies=[Depends(Limited("register"))],
    )
    async def register(request: Request, response: Response, body: _Register) -> LoginAnswer:
        """A company and its first owner, who is signed in; a letter asks them to confirm their address."""
        given = Registration(body.company_name, body.name, body.email, body.password, body.data_region)
        return _welcome(ground, response, await registering.register(ground, arrival_of(request), given))


def _add_signing_in(routes: APIRouter, ground: Ground) -> None:
    login, challenge = dict(openapi_body(LoginRequest)), dict(openapi_body(ChallengeRequest))

    @routes.post(
        f"{_AT}/login",
        tags=["people"],
        openapi_extra=login,
        responses=_LOGIN_PROBLEMS,
        dependencies=[Depends(Limited("login")), FAILED_LOGINS],
    )
    async def log_in(request: Request, response: Response, body: _Login) -> LoginAnswer | ChallengeAnswer:
        """Email and password become tokens, or a challenge where a second factor is on: then there are none yet."""
        outcome = await signing_in.sign_in(
            ground, arrival_of(request), email=body.email, password=body.password, company_id=body.company_id
        )
        if isinstance(outcome, Challenged):
            response.headers["cache-control"] = "no-store"
            seconds = int(CHALLENGE_LIFETIME.total_seconds())
            return ChallengeAnswer(challenge=outcome.token, expires_in=seconds)
        return _welcome(ground, response, outcome)

    @routes.post(
        f"{_AT}/mfa/challenge",
        tags=["people"],
        openapi_extra=challenge,
        responses=_CHALLENGE_PROBLEMS,
        dependencies=[Depends(Limited("codes"))],
    )
    async def answer_challenge(request: Request, response: Response, body: _Challenge) -> LoginAnswer:
        """The challenge of a login and a code become tokens, once."""
        signed_in = await signing_in.answer_challenge(ground, arrival_of(request), body.challenge, body.code)
        return _welcome(ground, response, signed_in)


def arrival_of(request: Request) -> Arrival:
    """Where a request to the API comes from."""
    return Arrival("api", address_of(request.scope.get("client")), request.headers.get("user-agent", ""))


def _welcome(ground: Ground, response: Response, signed_in: SignedIn) -> LoginAnswer:
    member, left = signed_in.member, signed_in.codes_left
    tokens = sessions.tokens_of(ground, str(member["person_id"]), str(member["id"]), signed_in.opened)
    cookies.give(response, tokens, is_https=ground.is_https)
    more: dict[str, Any] = {}
    if left is not None:
        few = f"Only {left} recovery codes are left: make new ones." if left <= _MANY_CODES else None
        more = {"recovery_codes_left": left, "warning": few}
    return LoginAnswer(
        **tokens_shown(tokens).model_dump(),
        person=person_shown(member),
        company=company_shown(member),
        mfa_setup_required=signed_in.must_set_up_mfa,
        **more,
    )
