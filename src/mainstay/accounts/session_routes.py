"""HTTP of sessions: refreshing, signing out, listing and ending them, proving oneself once more, another company."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from mainstay import identity
from mainstay.accounts import cookies, sessions, signing_in
from mainstay.accounts.errors import RefreshRefused
from mainstay.accounts.ground import Ground
from mainstay.accounts.schemas import (
    EndedAnswer,
    RefreshRequest,
    SessionList,
    SessionShown,
    StepUpRequest,
    SwitchRequest,
    TokensAnswer,
)
from mainstay.accounts.sessions import Opened, ShownSession, Tokens
from mainstay.kernel.clock import iso
from mainstay.kernel.errors import Fault, Invalid
from mainstay.web import callers, problem
from mainstay.web.callers import Caller, May
from mainstay.web.json import json_body, openapi_body

_AT = "/api/v1/auth"
_Account = Annotated[Caller, Depends(May("account.use"))]
_Refresh = Annotated[RefreshRequest, Depends(json_body(RefreshRequest, most=8_192))]
_StepUp = Annotated[StepUpRequest, Depends(json_body(StepUpRequest, most=8_192))]
_Switch = Annotated[SwitchRequest, Depends(json_body(SwitchRequest, most=8_192))]


_REFRESH_PROBLEMS = problem.responses(
    {
        401: "Expired, over, or used before: then the whole session has ended.",
        403: "It came as a cookie, without the CSRF token.",
    }
)
_STEP_UP_PROBLEMS = problem.responses(
    {400: "What is needed is missing, or the code is wrong.", 403: "The password is wrong.", 429: "Too many guesses."}
)
_NOT_YOURS = problem.responses({404: "No open session of yours has this id."})
_REFRESH = "#/refreshToken"
_NO_COMPANY = problem.responses({404: "You are no member of that company."})


def add_session_routes(routes: APIRouter, ground: Ground) -> None:
    """The routes of sessions are among the given ones."""
    _add_refreshing(routes, ground)
    _add_ending(routes, ground)
    _add_list(routes, ground)
    _add_replacing(routes, ground)


def _add_refreshing(routes: APIRouter, ground: Ground) -> None:
    described = dict(openapi_body(RefreshRequest))

    @routes.post(f"{_AT}/refresh", tags=["people"], openapi_extra=described, responses=_REFRESH_PROBLEMS)
    async def refresh(request: Request, response: Response, body: _Refresh) -> TokensAnswer:
        """A refresh token becomes the next tokens of its session, once; a second use ends the session."""
        token = cookies.refresh_token_of(request) if body.refresh_token is None else body.refresh_token
        if not token:
            raise RefreshRefused("Authentication required: send `refreshToken`, or its cookie.")
        if body.refresh_token is None:
            session_id = ground.who.refresh_tokens.read(token).session_id
            callers.check_csrf(request, ground.who, session_id)
        tokens = await sessions.refresh(ground, token)
        cookies.give(response, tokens, is_https=ground.is_https)
        return tokens_shown(tokens)


def _add_ending(routes: APIRouter, ground: Ground) -> None:
    @routes.post(f"{_AT}/logout", tags=["people"], status_code=204)
    async def log_out(caller: _Account, response: Response) -> None:
        """This session is over, on every node at the next request."""
        async with ground.db.begin() as tx:
            await sessions.end_session(tx, caller, caller.session_id)
        cookies.take_away(response, is_https=ground.is_https)

    @routes.post(f"{_AT}/logout-everywhere", tags=["people"])
    async def log_out_everywhere(caller: _Account, response: Response) -> EndedAnswer:
        """Every session of the person is over, at console and API and in every company."""
        async with ground.db.begin() as tx:
            ended = await sessions.end_sessions(tx, caller)
        cookies.take_away(response, is_https=ground.is_https)
        return EndedAnswer(ended=ended)


def _add_list(routes: APIRouter, ground: Ground) -> None:
    @routes.get(f"{_AT}/sessions", tags=["people"])
    async def list_sessions(caller: _Account) -> SessionList:
        """The person's sessions, with device and address, newest first."""
        found = await sessions.list_sessions(ground.db, caller.id)
        return SessionList(data=[_session_shown(one, caller) for one in found])

    @routes.delete(f"{_AT}/sessions/{{session_id}}", tags=["people"], status_code=204, responses=_NOT_YOURS)
    async def end_session(caller: _Account, session_id: str) -> None:
        """One of the person's sessions is over."""
        async with ground.db.begin() as tx:
            await sessions.end_session(tx, caller, session_id, reason="ended_by_person")


def _add_replacing(routes: APIRouter, ground: Ground) -> None:
    step, other = dict(openapi_body(StepUpRequest)), dict(openapi_body(SwitchRequest))

    @routes.post(f"{_AT}/step-up", tags=["people"], openapi_extra=step, responses=_STEP_UP_PROBLEMS)
    async def step_up(caller: _Account, response: Response, body: _StepUp) -> TokensAnswer:
        """The person proves who they are once more: new tokens of a fresh session, and the old ones are over."""
        opened = await signing_in.step_up(ground, caller, password=body.password, code=body.code)
        return _give(ground, response, caller.id, caller.company_id, opened)

    @routes.post(f"{_AT}/switch", tags=["people"], openapi_extra=other, responses=_NO_COMPANY)
    async def switch(request: Request, caller: _Account, response: Response, body: _Switch) -> TokensAnswer:
        """New tokens for another of the person's companies, in the place of these, which are used up.

        The refresh token is asked for, so that an access token alone never becomes more than its quarter of an hour.
        """
        token = cookies.refresh_token_of(request) if body.refresh_token is None else body.refresh_token
        if not token or ground.who.refresh_tokens.read(token).session_id != caller.session_id:
            raise Invalid(faults=[Fault("must be the refresh token of this session, or come as its cookie", _REFRESH)])
        signed_in = await signing_in.switch(ground, caller, body.company_id, refresh_token=token)
        return _give(ground, response, caller.id, str(signed_in.member["id"]), signed_in.opened)


def _give(ground: Ground, response: Response, person_id: str, company_id: str, opened: Opened) -> TokensAnswer:
    tokens = sessions.tokens_of(ground, person_id, company_id, opened)
    cookies.give(response, tokens, is_https=ground.is_https)
    return tokens_shown(tokens)


def tokens_shown(tokens: Tokens) -> TokensAnswer:
    """Tokens as answers show them."""
    return TokensAnswer(
        access_token=tokens.access,
        expires_in=int(identity.ACCESS_LIFETIME.total_seconds()),
        refresh_token=tokens.refresh,
        refresh_expires_at=iso(tokens.expires_at),
        csrf_token=tokens.csrf,
        session_id=tokens.session_id,
    )


def _session_shown(one: ShownSession, caller: Caller) -> SessionShown:
    return SessionShown(
        id=one.id,
        kind="console" if one.kind == "console" else "api",
        device=one.device,
        address=one.address,
        company_id=one.company_id,
        company_name=one.company_name,
        second_factor=one.is_strong,
        created_at=iso(one.created_at),
        last_used_at=iso(one.last_used_at),
        expires_at=iso(one.expires_at),
        is_current=one.id == caller.session_id,
    )
