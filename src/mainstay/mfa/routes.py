"""HTTP of a person's own second factor; `company_routes` adds what companies and operators do."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.mfa import factors
from mainstay.mfa.company_routes import add_company_routes
from mainstay.mfa.factors import State
from mainstay.mfa.schemas import CodeRequest, CodesAnswer, QrShown, SetupAnswer, StateAnswer
from mainstay.web import problem
from mainstay.web.callers import Caller, May
from mainstay.web.json import json_body, openapi_body

_AT = "/api/v1/auth/mfa"
_Account = Annotated[Caller, Depends(May("account.use"))]
_FreshAccount = Annotated[Caller, Depends(May("account.use", fresh=True))]
_Code = Annotated[CodeRequest, Depends(json_body(CodeRequest, most=1_024))]
_SET_UP_PROBLEMS = problem.responses(
    {
        403: "`step-up-required`: prove who you are once more first.",
        409: "`mfa-already-on`.",
    }
)
_CODE_PROBLEMS = problem.responses(
    {
        400: "`wrong-code`: the code is wrong or was used before; nothing has changed.",
        409: "No factor was set up, or none is on, or one is on already.",
        429: "`too-many-codes`: ten wrong codes within 15 minutes; `Retry-After` says when.",
    }
)
_FRESH_CODE_PROBLEMS = {**_CODE_PROBLEMS, 403: _SET_UP_PROBLEMS[403]}


def router(db: Database, keyring: Keyring, *, issuer: str) -> APIRouter:
    """The room's routes; apps show `issuer` beside the code."""
    routes = APIRouter()
    _add_beginning(routes, db, keyring, issuer)
    _add_changes(routes, db, keyring)
    add_company_routes(routes, db)
    return routes


def _add_beginning(routes: APIRouter, db: Database, keyring: Keyring, issuer: str) -> None:
    described = dict(openapi_body(CodeRequest))

    @routes.get(_AT, tags=["people"])
    async def read_state(caller: _Account) -> StateAnswer:
        """Whether the second factor is on, and how many recovery codes are left."""
        return _state_shown(await factors.state(db, caller.id))

    @routes.post(f"{_AT}/setup", tags=["people"], responses=_SET_UP_PROBLEMS)
    async def set_up(caller: _FreshAccount, response: Response) -> SetupAnswer:
        """A new secret with its QR code and ten recovery codes; signing in is as before until `verify`."""
        setup = await factors.set_up(db, keyring, caller, issuer=issuer)
        response.headers["cache-control"] = "no-store"
        return SetupAnswer(
            secret=setup.secret,
            otpauth_uri=setup.otpauth_uri,
            qr=QrShown(png=setup.pictures.png_data_uri, svg=setup.pictures.svg),
            recovery_codes=setup.recovery_codes,
        )

    @routes.post(f"{_AT}/verify", tags=["people"], openapi_extra=described, responses=_CODE_PROBLEMS)
    async def verify(caller: _Account, body: _Code) -> StateAnswer:
        """The first code of the app turns the second factor on."""
        return _state_shown(await factors.verify(db, keyring, caller, body.code))


def _add_changes(routes: APIRouter, db: Database, keyring: Keyring) -> None:
    described = dict(openapi_body(CodeRequest))

    @routes.post(f"{_AT}/disable", tags=["people"], openapi_extra=described, responses=_FRESH_CODE_PROBLEMS)
    async def disable(caller: _FreshAccount, body: _Code) -> StateAnswer:
        """A code turns the second factor off; its recovery codes are gone."""
        await factors.disable(db, keyring, caller, body.code)
        return _state_shown(await factors.state(db, caller.id))

    @routes.post(f"{_AT}/recovery-codes", tags=["people"], openapi_extra=described, responses=_FRESH_CODE_PROBLEMS)
    async def renew_codes(caller: _FreshAccount, body: _Code, response: Response) -> CodesAnswer:
        """Ten new recovery codes for a code; the old ones are gone."""
        response.headers["cache-control"] = "no-store"
        return CodesAnswer(recovery_codes=await factors.renew_codes(db, keyring, caller, body.code))


def _state_shown(state: State) -> StateAnswer:
    return StateAnswer(
        enabled=state.enabled_at is not None,
        enabled_at=None if state.enabled_at is None else iso(state.enabled_at),
        waiting=state.is_waiting,
        last_used_at=None if state.last_used_at is None else iso(state.last_used_at),
        recovery_codes_left=state.codes_left,
    )
