"""HTTP of email addresses: asking for another one, and confirming one by the link of a letter."""

from typing import Annotated

from fastapi import APIRouter, Depends

from mainstay.accounts import confirming, emails
from mainstay.accounts.change_schemas import (
    Accepted,
    AcceptedAnswer,
    Address,
    AddressAnswer,
    AddressRequest,
    TokenRequest,
)
from mainstay.accounts.ground import Ground
from mainstay.web import problem
from mainstay.web.callers import Caller, May
from mainstay.web.json import json_body, openapi_body
from mainstay.web.limiting import Limited

_AT = "/api/v1/auth/email"
_MOST_BYTES = 4_096
_Account = Annotated[Caller, Depends(May("account.use"))]
_FreshAccount = Annotated[Caller, Depends(May("account.use", fresh=True))]
_Address = Annotated[AddressRequest, Depends(json_body(AddressRequest, most=_MOST_BYTES))]
_Token = Annotated[TokenRequest, Depends(json_body(TokenRequest, most=_MOST_BYTES))]
_OFTEN = "Five such letters within the hour, or too many calls."
_CHANGE_PROBLEMS = problem.responses(
    {
        400: "That is no email address, or the person's already.",
        403: "`step-up-required`: prove who you are once more first.",
        429: _OFTEN,
    }
)
_CONFIRM_PROBLEMS = problem.responses(
    {
        400: "`link-over`: unknown, used already, expired, or of another purpose.",
        409: "`email-taken`: somebody else has the address by now.",
        429: _OFTEN,
    }
)
_AGAIN_PROBLEMS = problem.responses(
    {
        409: "`email-confirmed`: there is nothing to confirm.",
        429: _OFTEN,
    }
)


def add_email_routes(routes: APIRouter, ground: Ground) -> None:
    """Adds the routes of email addresses."""

    @routes.post(
        _AT,
        status_code=202,
        tags=["people"],
        openapi_extra=dict(openapi_body(AddressRequest)),
        responses=_CHANGE_PROBLEMS,
    )
    async def ask_for_change(caller: _FreshAccount, body: _Address) -> AddressAnswer:
        """A letter with a link goes to the new address, and one without to the old; nothing changes until then."""
        email = await emails.ask_for_change(ground.db, ground.keyring, caller, email=body.email)
        return AddressAnswer(data=Address(email=email))

    @routes.post(
        f"{_AT}/confirm",
        tags=["people"],
        openapi_extra=dict(openapi_body(TokenRequest)),
        responses=_CONFIRM_PROBLEMS,
        dependencies=[Depends(Limited("login"))],
    )
    async def confirm(body: _Token) -> AddressAnswer:
        """The address of the link is the person's, and confirmed."""
        email = await emails.confirm(ground.db, ground.keyring, token=body.token)
        return AddressAnswer(data=Address(email=email))

    @routes.post(f"{_AT}/confirmation", status_code=202, tags=["people"], responses=_AGAIN_PROBLEMS)
    async def ask_again(caller: _Account) -> AcceptedAnswer:
        """The letter that asks to confirm the address goes out once more; an older link is over."""
        await confirming.ask_again(ground.db, ground.keyring, caller)
        return AcceptedAnswer(data=Accepted(message="A letter with a link goes to your address."))
