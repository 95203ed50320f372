"""HTTP of passwords: changing one's own, having forgotten it, and choosing another by the link of a letter."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from mainstay.accounts import passwords_changing, resetting
from mainstay.accounts.change_schemas import (
    Accepted,
    AcceptedAnswer,
    AddressRequest,
    PasswordAnswer,
    PasswordChange,
    PasswordChanged,
    PasswordReset,
)
from mainstay.accounts.ground import Ground
from mainstay.web import problem
from mainstay.web.callers import Caller, May, address_of
from mainstay.web.json import json_body, openapi_body
from mainstay.web.limiting import Limited

_AT = "/api/v1/auth/password"
_MOST_BYTES = 16_384
_Account = Annotated[Caller, Depends(May("account.use"))]
_Change = Annotated[PasswordChange, Depends(json_body(PasswordChange, most=_MOST_BYTES))]
_Forgot = Annotated[AddressRequest, Depends(json_body(AddressRequest, most=_MOST_BYTES))]
_Reset = Annotated[PasswordReset, Depends(json_body(PasswordReset, most=_MOST_BYTES))]
_BAD = "The body is not valid, or the password too short, too common or made of known names."
_OFTEN = "Too often; `Retry-After` says when to come again."
_BUSY = "Too many passwords are being checked at this moment."
_CHANGE_PROBLEMS = problem.responses(
    {
        400: _BAD,
        403: "`wrong-password`: the current password is wrong.",
        409: "The password was changed at the same moment.",
        429: _OFTEN,
        503: _BUSY,
    }
)
_FORGOT_PROBLEMS = problem.responses(
    {
        400: "That is no email address.",
        429: _OFTEN,
    }
)
_RESET_PROBLEMS = problem.responses(
    {
        400: "`link-over`, or a password that is refused; the link is good as before then.",
        429: _OFTEN,
        503: _BUSY,
    }
)
FORGOTTEN = "If somebody has an account with this address, a letter with a link goes there. It is good for 60 minutes."


def add_password_routes(routes: APIRouter, ground: Ground) -> None:
    """Adds the routes of passwords."""

    @routes.post(_AT, tags=["people"], openapi_extra=dict(openapi_body(PasswordChange)), responses=_CHANGE_PROBLEMS)
    async def change_password(caller: _Account, body: _Change) -> PasswordAnswer:
        """The person's password is the new one; other sessions end unless they are to be kept. A letter tells of it."""
        ended = await passwords_changing.change_password(
            ground,
            caller,
            current=body.current_password,
            new=body.new_password,
            keeps_others=body.keep_other_sessions,
        )
        return PasswordAnswer(data=PasswordChanged(sessions_ended=ended))

    @routes.post(
        f"{_AT}/forgot",
        status_code=202,
        tags=["people"],
        openapi_extra=dict(openapi_body(AddressRequest)),
        responses=_FORGOT_PROBLEMS,
        dependencies=[Depends(Limited("letters"))],
    )
    async def forget_password(request: Request, body: _Forgot) -> AcceptedAnswer:
        """A letter with a link to a new password goes to the address, if somebody has it; the answer does not tell."""
        address = address_of(request.scope.get("client"))
        await resetting.ask_for_reset(ground.db, ground.keyring, email=body.email, address=address)
        return AcceptedAnswer(data=Accepted(message=FORGOTTEN))

    @routes.post(
        f"{_AT}/reset",
        status_code=204,
        tags=["people"],
        openapi_extra=dict(openapi_body(PasswordReset)),
        responses=_RESET_PROBLEMS,
        dependencies=[Depends(Limited("login"))],
    )
    async def reset_password(body: _Reset) -> Response:
        """The password is the new one and every session has ended. Signing in is another step, with its code."""
        await resetting.reset_password(ground, token=body.token, new=body.new_password)
        return Response(status_code=204)
