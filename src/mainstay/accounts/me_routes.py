"""HTTP of one's own account: who am I, what may I, and what I tell of myself."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response

from mainstay import identity
from mainstay.accounts import profiles, signing_in
from mainstay.accounts.ground import Ground
from mainstay.accounts.profiles import Account
from mainstay.accounts.schemas import AccountShown, MeAnswer, ProfileRequest, choices_shown
from mainstay.kernel.clock import iso
from mainstay.web import problem
from mainstay.web.callers import Caller, May
from mainstay.web.json import json_body, openapi_body
from mainstay.web.roles import ACTS

_ME = "/api/v1/auth/me"
_Account = Annotated[Caller, Depends(May("account.use"))]
_Profile = Annotated[ProfileRequest, Depends(json_body(ProfileRequest, most=16_384))]
_INVALID = problem.responses({400: "Something is not valid; `errors` point at it, and nothing was changed."})


def add_me_routes(routes: APIRouter, ground: Ground) -> None:
    """The routes of one's own account are among the given ones."""

    @routes.get(_ME, tags=["people"])
    async def read_me(caller: _Account, response: Response) -> MeAnswer:
        """The person, the company of this session, and what they may do there."""
        response.headers["cache-control"] = "no-store"
        profile = identity.cached.USER_PROFILE

        async def load() -> bytes:
            return _shown(await profiles.read_account(ground.db, caller.id)).model_dump_json().encode()

        account = AccountShown.model_validate_json(await ground.cache.get(profile, caller.id, load, scope=caller.id))
        companies = await signing_in.companies_of(ground, caller.id)
        assert caller.role is not None, "a person has a role"
        return MeAnswer(
            **account.model_dump(),
            company_id=caller.company_id,
            role=caller.role,
            features=sorted(caller.features),
            acts=[name for name, act in ACTS.items() if act.allows(caller.role, caller.features)],
            companies=choices_shown(companies),
            session_id=caller.session_id,
            is_fresh=caller.is_fresh,
            mfa_setup_required=caller.must_set_up_mfa,
            csrf_token=ground.who.tokens.csrf_of(caller.session_id),
        )

    @routes.patch(_ME, tags=["people"], openapi_extra=dict(openapi_body(ProfileRequest)), responses=_INVALID)
    async def change_me(caller: _Account, body: _Profile) -> AccountShown:
        """Name and profile are what is given; what is left out stays."""
        given = {
            "title": body.title, "phone": body.phone, "timeZone": body.time_zone, "locale": body.locale,
        }  # fmt: skip
        wanted = {name: text for name, text in given.items() if text is not msgspec.UNSET}
        name = None if body.name is msgspec.UNSET else body.name
        return _shown(await profiles.change_account(ground.db, caller, name=name, profile=wanted))


def _shown(account: Account) -> AccountShown:
    return AccountShown(
        id=account.id,
        email=account.email,
        email_confirmed=account.email_confirmed_at is not None,
        name=account.name,
        title=account.profile.get("title"),
        phone=account.profile.get("phone"),
        time_zone=account.profile.get("timeZone"),
        locale=account.profile.get("locale"),
        mfa_enabled=account.mfa_enabled_at is not None,
        created_at=iso(account.created_at),
    )
